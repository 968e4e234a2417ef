"""calibrate: photos of the shop's own camera move threshold and centre where that can be shown to help, and change nothing else."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import (
    Bundle,
    BundleError,
    BundleLocked,
    CatalogError,
    Matcher,
    add_to_bundle,
    build_bundle,
    calibrate_bundle,
    refit_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.build.change import load_branches
from shelfmatch.edge.bundle.writer import BundleWriter
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.evaluation import camera
from shelfmatch.edge.evaluation.calibrate import _committed
from shelfmatch.edge.evaluation.camera import (
    Calibrated,
    Rescaled,
    Seen,
    _answer,
    _confidence_offset,
    _exceeded_by,
    _unknown,
)
from shelfmatch.edge.metrics import logits
from shelfmatch.edge.scoring.camera_shift import CameraShift, fingerprint, with_confidence, with_threshold
from shelfmatch.edge.scoring.decision import Decision
from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view
from tests.support.bundles import contents

SHOP = make_shop(36, 773)
"""A shop where two encoders show what the dark camera moves by three standard errors; a smaller one showed it with one, by two."""
SOLD = 27


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of plain pictures, photos of a dark camera in `photos/`, and `labels.csv`."""
    root = tmp_path_factory.mktemp("calibrate")
    (root / "photos").mkdir()
    catalogue, labels = [("image", "sku")], [("image", "sku")]
    for number, product in enumerate(SHOP):
        if number < SOLD:
            render_plain(product, 200).save(root / f"{number}.png")
            catalogue.append((f"{number}.png", product.sku))
        dark = np.asarray(render_view(product, 3, (320, 240), 0.5), float) * 0.3
        Image.fromarray(dark.astype(np.uint8)).save(root / "photos" / f"{number:02d}.png")
        labels.append((f"photos/{number:02d}.png", product.sku if number < SOLD else ""))
    for name, rows in (("shop.csv", catalogue), ("labels.csv", labels)):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    build_bundle(root / "shop.csv", root / "shop.bundle")
    return root


@pytest.fixture
def bundle(shop: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop / "shop.bundle", tmp_path / "shop.bundle"))


def accepted(bundle: Path, shop: Path) -> tuple[int, int]:
    """Right answers accepted, and false ones."""
    with Matcher.open(bundle, look_again=False) as matcher:
        answers = [matcher.match(shop / "photos" / f"{number:02d}.png").sku for number in range(len(SHOP))]
    right = sum(answer == product.sku for answer, product in zip(answers, SHOP[:SOLD], strict=False))
    return right, sum(answer is not None for answer in answers[SOLD:])


def test_photos_of_the_camera_move_what_is_expected_of_unknown_queries(shop: Path, bundle: Path) -> None:
    before, right = Bundle.open(bundle).manifest, accepted(bundle, shop)[0]
    report = calibrate_bundle(bundle, shop / "photos")
    after = Bundle.open(bundle).manifest
    assert report.photos == len(SHOP) and report.labelled == 0 and report.left_out == []
    assert report.changed and report.generation == after.generation == before.generation + 1
    assert report.rescaled == (after.final_decision.threshold != before.final_decision.threshold)
    assert after.final_decision == report.after and Bundle.open(bundle).verify() == []
    assert after.final_decision.intercept == before.final_decision.intercept  # no labels: probabilities stay
    assert (
        "this camera's unknown queries are surer than" in report.reasons[1]
        and "±" in report.reasons[0] + report.reasons[1]
    )
    # Dark photos are less alike to everything: the threshold was too high for them.
    assert report.after.threshold < report.before.threshold and accepted(bundle, shop)[0] >= right


def test_what_cannot_be_told_from_chance_changes_nothing(
    shop: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte."""
    monkeypatch.setattr(camera, "LIKELY", 100.0)
    files = contents(bundle)
    report = calibrate_bundle(bundle, shop / "photos")
    assert not report.changed and report.before == report.after and contents(bundle) == files
    assert "no more than chance, it stays" in report.reasons[1]


def test_photos_that_come_again_say_nothing_new(shop: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given three times, twenty photos were believed like sixty, and moved the threshold nearly all of the way."""
    monkeypatch.setattr(camera, "LIKELY", 0.0)
    photos = sorted((shop / "photos").iterdir())
    assert calibrate_bundle(bundle, photos[:20]).changed
    files = contents(bundle)
    report = calibrate_bundle(bundle, photos[:20])
    assert not report.changed and report.photos == 20 and contents(bundle) == files
    assert report.reasons == ("20 of 20 photos were counted before, and at least 8 others are needed",)
    assert "20 of 27 photos" in calibrate_bundle(bundle, photos[:27]).reasons[0] and contents(bundle) == files
    more = calibrate_bundle(bundle, photos)
    assert more.photos == len(SHOP) - 20 and more.reasons[2] == f"20 of {len(SHOP)} photos were counted before"
    assert calibrate_bundle(bundle, shop / "labels.csv").photos == len(SHOP)  # with labels they say more


def test_pictures_of_the_catalogue_are_no_photos_of_the_camera(shop: Path, bundle: Path) -> None:
    """Each found itself, and confidences moved by five log odds for it."""
    files = contents(bundle)
    with pytest.raises(CatalogError, match=r"0 photos that can be used arrived.*is one of the catalogue's own photos"):
        calibrate_bundle(bundle, shop / "shop.csv")
    assert contents(bundle) == files
    photos = [*sorted((shop / "photos").iterdir()), shop / "0.png"]
    report = calibrate_bundle(bundle, photos)
    assert report.photos == len(SHOP) and [Path(label).name for label, _ in report.left_out] == ["0.png"]


def test_copies_of_one_photo_say_no_more_than_it_does(shop: Path, bundle: Path, tmp_path: Path) -> None:
    """Twenty copies of one photo moved the threshold without any doubt, and were held out from a mean of themselves."""
    files, photos = contents(bundle), sorted((shop / "photos").iterdir())
    with pytest.raises(
        CatalogError, match=r"1 photos that can be used arrived; expected at least 8; 19 more are copies"
    ):
        calibrate_bundle(bundle, photos[:1] * 20)
    assert contents(bundle) == files
    again = Path(shutil.copytree(bundle, tmp_path / "again.bundle"))
    once, often = calibrate_bundle(bundle, photos[:10]), calibrate_bundle(again, photos[:10] * 5)
    assert (often.photos, often.reasons, often.after) == (once.photos, once.reasons, once.after)


def test_labels_are_held_against_the_answers(shop: Path, bundle: Path) -> None:
    report = calibrate_bundle(bundle, shop / "labels.csv")
    assert report.labelled == len(SHOP) and "confidences" in report.reasons[1]
    folders = bundle.parent / "labelled"
    for number, product in enumerate(SHOP[:SOLD]):
        (folders / product.sku).mkdir(parents=True)
        shutil.copy(shop / "photos" / f"{number:02d}.png", folders / product.sku)
    assert calibrate_bundle(bundle, folders).labelled == SOLD


def test_the_threshold_is_what_the_asked_share_exceeds() -> None:
    """Not what the median lets expect: with a higher median and a shorter tail it is lower, not higher."""
    random, even = np.random.default_rng(1), np.ones(400)
    needed, error = _exceeded_by(0.05, random.normal(-2.0, 1.0, 400), even)
    assert abs(needed - (-2 + 1.645)) < 3 * error < 0.35
    assert _exceeded_by(0.05, random.normal(-1.5, 0.3, 400), even)[0] < needed - 0.2
    often = [_exceeded_by(0.05, random.normal(-2.0, 1.0, 100), even[:100]) for _ in range(500)]
    told = np.std([one for one, _ in often]) / np.mean([doubt for _, doubt in often])
    assert 0.85 < told < 1.15, "the standard error is what repeated samples are off by"
    assert _exceeded_by(0.05, np.full(9, -1.0), np.ones(9)) == (-1.0, 0.0)


def test_an_unlabelled_photo_may_be_of_the_first_product_or_not(shop: Path) -> None:
    """Sure of the first one, the second is a stranger; unsure, the first is a stranger itself: both count, by the confidence."""
    with Matcher.open(shop / "shop.bundle") as matcher:
        snapshot = matcher.snapshot
        embedding = snapshot.encoder.embed_timed(shop / "photos" / "03.png")
        first, found = _answer(snapshot, embedding, None)
        second = _answer(snapshot, embedding, found)[0]
        photos = [Seen(embedding), Seen(embedding, found), Seen(embedding, None)]
        odds, weights = _unknown(snapshot, photos, [(first, found)] * 3)
    assert np.allclose(odds, logits(np.array([second, first, second, first])))
    assert np.allclose(weights, [first, 1 - first, 1, 1]) and second < first


def test_a_photo_that_is_given_as_two_products_says_nothing_of_either(shop: Path, bundle: Path, tmp_path: Path) -> None:
    folders = tmp_path / "labelled"
    for number, product in enumerate(SHOP[:12]):
        (folders / product.sku).mkdir(parents=True)
        shutil.copy(shop / "photos" / f"{number:02d}.png", folders / product.sku)
    shutil.copy(shop / "photos" / "00.png", folders / SHOP[1].sku)
    report = calibrate_bundle(bundle, folders)
    assert (report.photos, report.labelled) == (11, 11)
    assert sorted(label for label, _ in report.left_out) == sorted(f"{one.sku}/00.png" for one in SHOP[:2])
    assert all(f"{one.sku}" in reason for one in SHOP[:2] for _, reason in report.left_out)
    assert "expected one label, correct it" in report.left_out[0][1]


def test_confidences_move_where_they_are_wrong_and_only_there() -> None:
    random = np.random.default_rng(0)
    true = random.uniform(0.3, 0.99, 300)
    right = random.random(300) < true
    assert _confidence_offset(true, right)[0] == 0.0 or abs(_confidence_offset(true, right)[0]) < 0.2
    too_sure = 1 / (1 + np.exp(-(logits(true) + 2)))
    offset, why = _confidence_offset(too_sure, right)
    assert -2.6 < offset < -1.2 and "log loss better" in why


def test_tune_goes_on_from_there(shop: Path, bundle: Path) -> None:
    from shelfmatch.edge import tune_bundle

    after = calibrate_bundle(bundle, shop / "photos").after
    assert tune_bundle(bundle, 0.2).after.threshold < after.threshold
    assert tune_bundle(bundle, 0.05).after.threshold == pytest.approx(after.threshold, abs=0.003)


def renewed(bundle: Path) -> tuple[Decision, list[np.ndarray]]:
    """What a bundle decides by, and what it compares queries with, in the order of its photos."""
    (branch,) = load_branches(Bundle.open(bundle))
    order = [np.argsort(index.ids) for index in (branch.index, branch.prototypes) if index is not None]
    indexes = [index for index in (branch.index, branch.prototypes) if index is not None]
    assert branch.adapter is not None
    return Bundle.open(bundle).manifest.final_decision, [
        *(index.vectors()[rows] for index, rows in zip(indexes, order, strict=True)),
        branch.adapter.mean,
        branch.adapter.packshot_mean,
    ]


def seen_by_a_camera(bundle: Path, moved: float, threshold: float, confidence: float) -> None:
    """Write down what calibrate would, had photos shown that: by tricks of light alone it depends on the encoder what they show."""
    manifest = Bundle.open(bundle).manifest
    (branch,) = load_branches(Bundle.open(bundle))
    adapter = branch.adapter
    if adapter is not None:
        direction = np.random.default_rng(0).standard_normal(len(adapter.mean)).astype(np.float32)
        adapter = replace(adapter, mean=adapter.mean + moved * direction / np.linalg.norm(direction)).as_stored()
    decision = with_confidence(with_threshold(manifest.final_decision, threshold), confidence)
    shift = CameraShift(0, 0.0, 0.0).joined([bytes(8)] * 40, threshold, confidence, branch.adapter)
    with BundleWriter(bundle, existing=True) as writer:
        writer.opened()
        _committed(writer, Calibrated(adapter, "", Rescaled(decision, threshold, confidence, ""), shift))


@pytest.fixture(scope="module", params=["off", "on"])
def seen(shop: Path, request: pytest.FixtureRequest) -> Path:
    """A bundle of photos, not plain pictures, with local matching or without, and what a camera changed in it."""
    catalogue = [("image", "sku")]
    for number, product in enumerate(SHOP[:SOLD]):
        for view in (0, 1):
            render_view(product, view, (320, 240), 0.3).save(shop / f"{number}-{view}.png")
            catalogue.append((f"{number}-{view}.png", product.sku))
    with (shop / "views.csv").open("w", newline="") as file:
        csv.writer(file).writerows(catalogue)
    target = shop / f"seen-{request.param}.bundle"
    build_bundle(shop / "views.csv", target, adapt="on", local=request.param, keep_embeddings=True)
    seen_by_a_camera(target, 0.2, -0.7, 0.4)
    return target


def test_photos_that_come_later_lie_where_the_catalogue_does(shop: Path, seen: Path, tmp_path: Path) -> None:
    """Queries are centred on the camera's photos; the catalogue's, taken again, come to what they were."""
    bundle = Path(shutil.copytree(seen, tmp_path / "shop.bundle"))
    before, vectors = renewed(bundle)
    add_to_bundle(bundle, shop / "views.csv", replace=True)
    after, again = renewed(bundle)
    assert after == before and len(vectors) == len(again)
    for one, other in zip(vectors, again, strict=True):
        assert np.abs(one - other).max() < 0.01


def test_a_new_fit_keeps_what_the_camera_taught(seen: Path, tmp_path: Path) -> None:
    """Of the same photos the same fit comes out, and with it what calibrate made of that."""
    bundle = Path(shutil.copytree(seen, tmp_path / "shop.bundle"))
    before, vectors = renewed(bundle)
    refit_bundle(bundle)
    after, again = renewed(bundle)
    assert after.threshold == pytest.approx(before.threshold, abs=0.01)
    assert after.intercept == pytest.approx(before.intercept, abs=0.05)
    assert np.abs(again[-2] - vectors[-2]).max() < 0.003  # embeddings are kept in float16
    kept = Bundle.open(bundle).manifest.branches[0].camera
    assert kept is not None and (kept.photos, kept.threshold, kept.confidence) == (40, -0.7, 0.4)
    assert Bundle.open(bundle).verify() == []


def test_a_plain_shop_keeps_its_calibrated_threshold_when_it_grows(shop: Path, seen: Path, tmp_path: Path) -> None:
    """Without an adapter every change decides anew; by so many log odds as calibrate found, it still decides otherwise."""
    with (shop / "views.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1:] = [[str(shop / image), sku] for image, sku in rows[1:]]
    for name, part in (("most", rows[:-2]), ("last", [rows[0], *rows[-2:]])):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(part)
    plain, calibrated = tmp_path / "plain.bundle", tmp_path / "calibrated.bundle"
    build_bundle(tmp_path / "most.csv", plain, adapt="off", local="off")
    shutil.copytree(plain, calibrated)
    seen_by_a_camera(calibrated, 0.0, -0.7, 0.4)
    before = Bundle.open(plain).manifest.decision
    for bundle in (plain, calibrated):
        add_to_bundle(bundle, tmp_path / "last.csv")
    one, other = (Bundle.open(bundle).manifest.decision for bundle in (plain, calibrated))
    assert one.threshold != before.threshold  # it did decide anew
    assert np.diff(logits(np.array([one.threshold, other.threshold])))[0] == pytest.approx(-0.3, abs=1e-6)
    assert other.intercept == pytest.approx(one.intercept + 0.4)


def test_a_record_that_says_nothing_true_is_refused(seen: Path) -> None:
    camera = Bundle.open(seen).manifest.branches[0].camera
    assert camera is not None
    record = camera.to_dict()
    assert CameraShift.from_dict(record, 256) == camera
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"catalogue_mean": "AAAA"}, "3 bytes for 256 numbers"),
        ({"catalogue_mean": "?"}, "not one this version reads"),
        ({"threshold": float("nan")}, "build the bundle again"),
        ({"photos": "many"}, "photos is 'many'"),
        ({"more": 1}, "unknown field more"),
    ]
    for change, told in wrong:
        with pytest.raises(BundleError, match=told):
            CameraShift.from_dict({**record, **change}, 256)


def test_two_calibrations_add_up(shop: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "LIKELY", 0.0)
    photos = sorted((shop / "photos").iterdir())
    first, second = calibrate_bundle(bundle, photos[:20]), calibrate_bundle(bundle, photos[20:])
    shift = Bundle.open(bundle).manifest.branches[0].camera
    assert first.changed and shift is not None
    assert shift.photos == len(shift.counted_before()) == (len(SHOP) if second.changed else 20)
    moved = logits(np.array(second.after.threshold)) - logits(np.array(first.before.threshold))
    assert shift.threshold == pytest.approx(float(moved), abs=1e-6)


def test_the_last_thousand_photos_are_known_again() -> None:
    prints = [fingerprint(np.full(4, number, np.float32), -1) for number in range(1_200)]
    shift = CameraShift(0, 0.0, 0.0).joined(prints[:700], 0.1, 0.0).joined(prints[700:], 0.1, 0.0)
    assert shift.photos == 1_200 and shift.counted_before() == frozenset(prints[200:])
    assert CameraShift.from_dict(shift.to_dict(), 256) == shift
    with pytest.raises(BundleError, match="build the bundle again"):
        CameraShift.from_dict({**shift.to_dict(), "counted": "?"}, 256)


def test_wrong_input_is_told_and_changes_nothing(shop: Path, bundle: Path, tmp_path: Path) -> None:
    files = contents(bundle)
    photos = sorted((shop / "photos").iterdir())
    with pytest.raises(CatalogError, match=r"3 photos that can be used arrived; expected at least 8"):
        calibrate_bundle(bundle, photos[:3])
    (tmp_path / "labels.csv").write_text(f"image,sku\n{photos[0]},nothing-like-it\n")
    with pytest.raises(CatalogError, match="the SKU 'nothing-like-it', which the bundle doesn't"):
        calibrate_bundle(bundle, tmp_path / "labels.csv")
    with BundleWriter(bundle, existing=True), pytest.raises(BundleLocked):
        calibrate_bundle(bundle, photos)
    assert contents(bundle) == files


def test_a_stray_photo_does_not_cost_the_labels(shop: Path, bundle: Path, tmp_path: Path, capsys: Any) -> None:
    """One photo beside the folders, and all were read as unlabelled, without a word."""
    files, labelled = contents(bundle), tmp_path / "labelled"
    for number in range(len(SHOP)):
        folder = labelled / (SHOP[number].sku if number < SOLD else "unknown")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(shop / "photos" / f"{number:02d}.png", folder)
    shutil.copy(shop / "photos" / "00.png", labelled / "stray.png")
    assert main(["calibrate", str(bundle), str(labelled)]) == 2
    assert f"{labelled}/stray.png lies beside folders whose names are labels, like " in capsys.readouterr().err
    assert contents(bundle) == files
    (labelled / "stray.png").unlink()
    assert calibrate_bundle(bundle, labelled).labelled == len(SHOP)
    days = tmp_path / "days"
    shutil.copytree(shop / "photos", days / "monday")
    shutil.copy(shop / "photos" / "00.png", days)
    assert calibrate_bundle(bundle, days).labelled == 0  # folders that say nothing of products


def test_an_emptied_shop_has_nothing_to_calibrate_with(shop: Path, bundle: Path) -> None:
    """IndexError: list index out of range."""
    remove_from_bundle(bundle, [product.sku for product in SHOP[:SOLD]])
    files = contents(bundle)
    with pytest.raises(CatalogError, match="has no products to calibrate with; add some first: shelfmatch add"):
        calibrate_bundle(bundle, shop / "photos")
    assert contents(bundle) == files


def test_a_shop_of_one_product_is_not_calibrated(shop: Path, bundle: Path) -> None:
    """Photos were held against nothing: the threshold fell to 0.0005, and everything was that product."""
    remove_from_bundle(bundle, [product.sku for product in SHOP[1:SOLD]])
    files = contents(bundle)
    with pytest.raises(CatalogError, match=r"has one product; expected two or more"):
        calibrate_bundle(bundle, shop / "photos")
    assert contents(bundle) == files


def test_photos_that_are_not_there_are_told_so(shop: Path, bundle: Path, capsys: Any) -> None:
    """They were no CSV that could be read."""
    for command, words in (
        ("calibrate", "a folder of photos, a CSV"),
        ("eval", "a folder of folders named by SKU, or a CSV"),
    ):
        assert main([command, str(bundle), str(shop / "nope")]) == 2
        assert f"{shop / 'nope'} does not exist; expected {words}" in capsys.readouterr().err
    assert main(["update", str(bundle), str(shop / "nope.csv")]) == 2
    assert f"{shop / 'nope.csv'} does not exist; expected a CSV\n" in capsys.readouterr().err


def test_bundles_that_cannot_be_calibrated_say_so(shop: Path, bundle: Path) -> None:
    from tests.edge.build.test_tune import strip

    manifest = Bundle.open(bundle).manifest
    if manifest.branches[0].local is not None:
        pytest.skip("the table is local matching's here")
    strip(bundle, "confidences")
    with pytest.raises(BundleError, match="built before that was kept; build it again"):
        calibrate_bundle(bundle, shop / "photos")


def test_the_command(shop: Path, bundle: Path, tmp_path: Path, capfd: Any) -> None:
    assert main(["calibrate", str(bundle), str(shop / "photos"), "--json"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert {"bundle", "photos", "labelled", "recentred", "rescaled", "reasons", "before", "after", "left_out"} <= set(
        record
    )
    mixed = tmp_path / "mixed"
    shutil.copytree(shop / "photos", mixed)
    (mixed / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    Image.new("RGB", (64, 64), "black").save(mixed / "black.png")
    assert main(["calibrate", str(bundle), str(mixed)]) == 2
    out, err = capfd.readouterr()
    assert f"{len(SHOP)} photos" in out and "broken.jpg" in err and "black.png: shows nothing" in err
