"""Bundles with two encoders: built, answered from, changed, damaged; and how a cascade is chosen.

One module of over 400 lines: its bundle of two encoders takes longer to build than all tests of it.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    BundleVersion,
    EncoderError,
    Matcher,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.bundle.manifest import BUNDLE_VERSION, ONE_ENCODER_VERSION, roles_of
from shelfmatch.edge.catalog.ids import product_of
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.registry import encoder_names
from shelfmatch.edge.evaluation.evaluate import evaluate
from shelfmatch.edge.evaluation.results import Query
from shelfmatch.edge.fitting.calibration import confidences_of, left_out_products
from shelfmatch.edge.fitting.cascade_fit import _sure_from, pair
from shelfmatch.edge.fitting.pictures import Pictures
from shelfmatch.edge.index.vector_index import VectorIndex
from shelfmatch.edge.matching.pipeline import match
from shelfmatch.edge.scoring.adapter import Adaptation
from shelfmatch.edge.scoring.cascade import ALWAYS, Cascade
from shelfmatch.edge.scoring.decision import Decision
from shelfmatch.edge.scoring.fusion import fused_rank
from shelfmatch.edge.scoring.gallery import Gallery
from tests.conftest import tile_photo, write_tiles
from tests.support import tiny_models
from tests.support.grocery import V1, read_split

pytestmark = pytest.mark.xdist_group("two-encoders")


@pytest.fixture(scope="module")
def other_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of another size and dimension: the pixels of an 8x8 picture."""
    path = tmp_path_factory.mktemp("other") / "pixels.tflite"
    path.write_bytes(tiny_models.identity_tflite())
    return path


@pytest.fixture(scope="module", params=["on", "off"])
def built(
    tmp_path_factory: pytest.TempPathFactory,
    tile_folder: Path,
    tiny_tflite: Path,
    other_tflite: Path,
    request: pytest.FixtureRequest,
) -> Path:
    bundle = tmp_path_factory.mktemp("two") / f"{request.param}.bundle"
    build_bundle(tile_folder, bundle, encoder=(tiny_tflite, other_tflite), resizer="pillow", adapt=request.param)
    return bundle


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy to change, with adapters and without."""
    shutil.copytree(built, tmp_path / built.name)
    return tmp_path / built.name


def with_cascade(bundle: Path, threshold: float | None = None, **changes: float) -> None:
    """The same bundle with another cascade, and perhaps another threshold. The tiles are easy, one encoder has all the weight: here
    both get some."""
    manifest = Bundle.open(bundle).manifest
    assert manifest.cascade is not None
    cascade = dataclasses.replace(manifest.cascade, weights=(0.4, 0.6), **changes)
    decision = dataclasses.replace(manifest.decision, **({} if threshold is None else {"threshold": threshold}))
    changed = dataclasses.replace(manifest, cascade=cascade, decision=decision)
    (bundle / "manifest.json").write_bytes(changed.to_bytes())


def test_both_are_in_the_bundle_and_it_answers(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    assert len(manifest.branches) == 2 and manifest.cascade is not None and opened.verify() == []
    assert {"encoder", "encoder2", "vectors", "vectors2", "catalog"} <= set(manifest.files)
    assert ("adapter2" in manifest.files) == (manifest.branches[1].adaptation.method == "lda")
    assert manifest.encoder.dimension == 48 and manifest.branches[1].encoder.dimension == 192
    assert json.loads((bundle / "manifest.json").read_bytes())["format_version"] == BUNDLE_VERSION
    with Matcher.open(bundle) as matcher:
        assert len(matcher.index) == 36
        for product in range(12):
            result = matcher.match(tile_photo(product, 9))
            assert result.candidates[0].sku == f"sku-{product:03d}" and result.second_encoder is not None
            assert result.to_dict()["second_encoder"] == result.second_encoder


def test_one_encoder_is_what_it_was(tile_bundle: Path) -> None:
    record = json.loads((tile_bundle / "manifest.json").read_bytes())
    assert record["format_version"] == ONE_ENCODER_VERSION and "second" not in record
    assert set(record["files"]) == {"encoder", "vectors", "catalog"}
    with Matcher.open(tile_bundle) as matcher:
        result = matcher.match(tile_photo(1, 9))
        assert result.second_encoder is None and "second_encoder" not in result.to_dict()


def test_the_second_looks_only_where_the_first_is_not_sure(bundle: Path) -> None:
    photo = tile_photo(3, 9)
    for sure_from, asked in ((0.0, False), (ALWAYS, True)):
        with_cascade(bundle, sure_from=sure_from)
        with Matcher.open(bundle, look_again=False) as matcher:
            result = matcher.match(photo)
            assert result.second_encoder is asked and ("second_encoder" in result.latency_ms) is asked
            snapshot = matcher._current()
            assert snapshot.cascade is not None
            vectors = [branch.gallery.adapted(branch.encoder.embed(photo)[0]) for branch in snapshot.branches]
            expected = snapshot.gallery.rank(vectors[0], 5)
            if asked:
                expected = fused_rank(snapshot.galleries, vectors, snapshot.cascade.weights, 5)
            assert [(c.sku, c.score) for c in result.candidates] == [
                (matcher.catalog.product(product).sku, score) for product, score in expected
            ]
            judge = snapshot.decision if asked else snapshot.cascade.first
            margin = expected[0][1] - expected[1][1]
            assert result.confidence == judge.confidence(expected[0][1], margin, 3)


def test_scores_are_added_exactly() -> None:
    """Also those of products that only one of the galleries has among its best."""
    random = np.random.default_rng(4)
    ids = ((np.repeat(np.arange(1, 101), 3) << 12) + np.tile(np.arange(3), 100)).astype(np.uint32)
    galleries, vectors, scores = [], [], []
    for dimension in (16, 24):
        rows = random.normal(size=(300, dimension)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        order = random.permutation(300)  # the two indexes need not have the same order
        galleries.append(Gallery(VectorIndex.build(rows[order], ids[order], dtype="f32")))
        vectors.append(rows[7] + 0.2 * rows[200])
        vectors[-1] /= np.linalg.norm(vectors[-1])
        scores.append((rows @ vectors[-1]).reshape(100, 3).max(axis=1))
    for weights in ((0.5, 0.5), (0.9, 0.1), (1.0, 0.0)):
        whole = weights[0] * scores[0] + weights[1] * scores[1]
        found = fused_rank(galleries, vectors, weights, 100)
        assert [product for product, _ in found] == (np.argsort(-whole, kind="stable") + 1).tolist()
        assert np.allclose([score for _, score in found], np.sort(whole)[::-1], atol=1e-5)
        few = fused_rank(galleries, vectors, weights, 2)
        assert [product for product, _ in few] == [product for product, _ in found[:2]]
        passing = [np.isin(product_of(one.index.ids), [4, 60, 61]) for one in galleries]
        kept = fused_rank(galleries, vectors, weights, 5, passing)
        assert [p for p, _ in kept] == [p for p, _ in found if p in (4, 60, 61)]


def test_filters_hold_for_both(bundle: Path) -> None:
    with_cascade(bundle, sure_from=ALWAYS)
    with Matcher.open(bundle) as matcher:
        only = matcher.match(tile_photo(3, 9), where={"sku": ["sku-004", "sku-005"]}, top_k=9)
        assert sorted(candidate.sku for candidate in only.candidates) == ["sku-004", "sku-005"]
        tracker = matcher.track(where={"sku": ["sku-003", "sku-005"]}, top_k=9)
        assert {c.sku for c in tracker.add(tile_photo(3, 8)).candidates} == {"sku-003", "sku-005"}


def test_track_explain_and_look_again_use_both(bundle: Path, tile_folder: Path) -> None:
    with_cascade(bundle, sure_from=ALWAYS)
    with Matcher.open(bundle) as matcher:
        tracker = matcher.track()
        for number in range(5):
            decision = tracker.add(tile_photo(6, 20 + number))
        assert decision.candidates[0].sku == "sku-006" and decision.frames == 5
        fused = matcher.match(tile_photo(6, 20)).candidates[0].score
        one = matcher.track().add(tile_photo(6, 20)).candidates[0].score
        assert one == pytest.approx(fused, abs=1e-6)
        explanation = matcher.explain(tile_photo(6, 20), photos=tile_folder, grid=(4, 4))
        assert explanation.heat.shape == (4, 4) and explanation.heat.any() and explanation.reference is not None
        assert matcher.similar("sku-003") and matcher.nearest_photos(tile_photo(3, 9), "sku-003")


def test_rejected_photos_are_looked_at_again_by_both(bundle: Path) -> None:
    with_cascade(bundle, threshold=1.0, sure_from=ALWAYS)
    with Matcher.open(bundle) as matcher:
        dark = matcher.match(np.asarray(tile_photo(6, 20)) // 12)
        assert dark.look_again is not None and dark.look_again.tried[0].startswith("auto-levels")
        assert dark.decision == "unknown" and dark.candidates[0].sku == "sku-006"
        assert {"second_encoder", "look_again"} <= set(dark.latency_ms)
        cascade = matcher._current().cascade
        assert cascade is not None and dark.candidates[0].score <= sum(cascade.weights) + 1e-6
        assert matcher.explain(np.asarray(tile_photo(6, 20)) // 12, grid=(2, 2)).heat.any()


def test_what_the_heat_map_is_of(bundle: Path) -> None:
    """Of the scores that the match rests on: the first encoder's, or both."""
    heats = []
    for sure_from in (0.0, ALWAYS):
        with_cascade(bundle, sure_from=sure_from)
        with Matcher.open(bundle, look_again=False) as matcher:
            heats.append(matcher.explain(tile_photo(6, 20), grid=(2, 2)).heat)
    assert not np.allclose(*heats)


def test_photos_come_and_go(bundle: Path, tmp_path: Path) -> None:
    before = Bundle.open(bundle).manifest
    report = add_to_bundle(bundle, write_tiles(tmp_path / "new", range(11, 14), first_photo=5))
    assert report.references == 9 and report.cascade is not None
    add_to_bundle(bundle, write_tiles(tmp_path / "moved", range(3, 4)), replace=True)
    remove_from_bundle(bundle, ["sku-005", "sku-012"])
    opened = Bundle.open(bundle)
    assert opened.verify() == [] and len(opened.manifest.branches) == 2
    assert opened.manifest.cascade == before.cascade is not None
    assert opened.manifest.decision == before.decision
    for role in ("encoder", "encoder2"):
        assert opened.manifest.files[role] == before.files[role]
    with_cascade(bundle, sure_from=ALWAYS)
    with Matcher.open(bundle) as matcher:
        first, second = matcher._current().galleries
        assert sorted(first.index.ids.tolist()) == sorted(second.index.ids.tolist())
        for product in (3, 11, 13):
            assert matcher.match(tile_photo(product, 9)).candidates[0].sku == f"sku-{product:03d}"
        assert matcher.match(tile_photo(5, 9)).candidates[0].sku != "sku-005"


def test_a_matcher_follows_a_change(bundle: Path) -> None:
    with Matcher.open(bundle) as matcher:
        before = matcher._current()
        remove_from_bundle(bundle, ["sku-005"])
        assert matcher.match(tile_photo(3, 9)).generation == 2
        after = matcher._current()
        for branch, earlier in zip(after.branches, before.branches, strict=True):
            assert branch.encoder is earlier.encoder  # not loaded again


def test_building_again_with_one_leaves_nothing_of_the_other(
    bundle: Path, tile_folder: Path, tiny_tflite: Path
) -> None:
    build_bundle(tile_folder, bundle, encoder=tiny_tflite, resizer="pillow", adapt="off")
    assert Bundle.open(bundle).manifest.cascade is None and len(Bundle.open(bundle).manifest.branches) == 1
    assert not list(bundle.glob("*2-*")) and len(list(bundle.iterdir())) == 4


def test_damage_is_found(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    for role in [role for role in opened.manifest.files if role.endswith("2")]:
        path = opened.file(role)
        data = path.read_bytes()
        for place in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert len(opened.verify()) == 1
            with pytest.raises((BundleDamaged, BundleVersion), match=path.name):
                Matcher.open(bundle)
        path.unlink()
        with pytest.raises(BundleDamaged, match="missing"):
            Matcher.open(bundle)
        path.write_bytes(data)
    assert opened.verify() == []


def test_a_manifest_that_contradicts_itself_is_refused(bundle: Path) -> None:
    whole = (bundle / "manifest.json").read_bytes()
    manifest = Bundle.open(bundle).manifest
    assert manifest.cascade is not None
    first, second = manifest.branches
    files = {role: entry for role, entry in manifest.files.items() if role != "vectors2"}
    lacking = dataclasses.replace(manifest, files=files)
    swapped = dataclasses.replace(manifest, files={**manifest.files, "encoder2": manifest.files["encoder"]})
    fewer = dataclasses.replace(second, index=dataclasses.replace(second.index, references=35))
    others = dataclasses.replace(manifest, branches=(first, fewer))
    weightless = dataclasses.replace(manifest, cascade=dataclasses.replace(manifest.cascade, weights=(0.0, 0.0)))
    for wrong, told in (
        (lacking, "names no vectors2 file"),
        (swapped, "not the one that made the vectors"),
        (others, "disagree"),
        (weightless, "cascade is not one"),
    ):
        (bundle / "manifest.json").write_bytes(wrong.to_bytes())
        with pytest.raises(BundleError, match=told) as refusal:
            Matcher.open(bundle)
        assert "\n" not in str(refusal.value)
    (bundle / "manifest.json").write_bytes(whole)
    assert Bundle.open(bundle).verify() == []


def test_a_third_branch_has_its_place_in_the_records(bundle: Path) -> None:
    """In roles and in answers; only the format on disk has none for it yet."""
    manifest = Bundle.open(bundle).manifest
    three = dataclasses.replace(manifest, branches=(*manifest.branches, manifest.branches[1]))
    roles = roles_of(three.branches)
    assert {"vectors", "vectors2", "vectors3", "encoder3"} <= set(roles) and roles.count("catalog") == 1
    assert roles[: len(roles_of(manifest.branches))] == roles_of(manifest.branches) == tuple(manifest.files)
    with pytest.raises(BundleError, match="a manifest of 3 encoders with a cascade arrived; format 3 holds"):
        three.to_bytes()
    with Matcher.open(bundle) as matcher:
        snapshot = matcher._current()
        assert snapshot.cascade is not None
        weights: Any = (0.4, 0.3, 0.3)
        cascade = dataclasses.replace(snapshot.cascade, weights=weights, sure_from=ALWAYS)
        wider = dataclasses.replace(snapshot, branches=(*snapshot.branches, snapshot.branches[1]), cascade=cascade)
        two = dataclasses.replace(snapshot, cascade=dataclasses.replace(cascade, weights=(0.4, 0.6)))
        photo = tile_photo(3, 9)
        scores = [[c.score for c in match(one, photo, look_again=False).candidates] for one in (wider, two)]
        assert np.allclose(*scores, atol=1e-6)  # the second encoder twice, with half of its weight each time


def test_wrong_encoders(
    tile_folder: Path, tiny_tflite: Path, other_tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "no.bundle"
    copied = tmp_path / "copy.tflite"
    shutil.copy(tiny_tflite, copied)
    cases: list[tuple[list[str], str]] = [
        (["--encoder", f"{tiny_tflite},{other_tflite},{copied}"], "expected one, or two with a comma"),
        (["--encoder", f"{tiny_tflite},"], "expected one, or two with a comma"),
        (["--encoder", f"{tiny_tflite},{copied}"], "are the same file"),
        (["--encoder", f"{tiny_tflite},nonesuch"], "unknown encoder 'nonesuch'"),
        (["--encoder", f"{tiny_tflite},{other_tflite}", "--output", "cells"], "with two encoders"),
    ]
    for arguments, told in cases:
        assert main(["build", str(tile_folder), "-o", str(target), *arguments]) == 2
        shown = capsys.readouterr()
        assert told in shown.err and shown.err.count("\n") == 1 and shown.out == "" and not target.exists()
    with pytest.raises(EncoderError, match="none arrived"):
        build_bundle(tile_folder, target, encoder=())


def test_names_with_a_comma(tmp_path: Path) -> None:
    odd = tmp_path / "a,b.tflite"
    odd.touch()
    assert encoder_names(str(odd)) == (str(odd),)
    assert encoder_names("a, b") == ("a", "b") and encoder_names(odd) == (odd,) and encoder_names(["a"]) == ("a",)


def test_a_photo_that_the_second_cannot_use_is_not_entered(
    tmp_path: Path, tiny_tflite: Path, tile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dark.tflite").write_bytes(
        tiny_models.identity_tflite("uint8", zero_point=128)
    )  # mid grey says nothing
    shutil.copytree(tile_folder, tmp_path / "photos")
    tile_photo(0, 0).point(lambda value: 128).save(tmp_path / "photos" / "sku-000" / "grey.png")
    report = build_bundle(
        tmp_path / "photos", tmp_path / "s.bundle", encoder=(tiny_tflite, tmp_path / "dark.tflite"), adapt="off"
    )
    assert report.references == 36 and [label for label, _ in report.unreadable] == ["sku-000/grey.png"]
    with_cascade(tmp_path / "s.bundle", sure_from=ALWAYS)
    monkeypatch.setattr("shelfmatch.edge.matching.opinions.FLAT", 0.0)  # or such a photo isn't ranked at all
    monkeypatch.setattr("shelfmatch.edge.matching.snapshot.Snapshot.is_blank", lambda *_: False)  # nor is another asked
    with Matcher.open(tmp_path / "s.bundle", look_again=False) as matcher:
        result = matcher.match(np.full((48, 48, 3), 128, np.uint8))  # the first encoder's answer stays
        assert result.second_encoder and len(result.candidates) == 5


def test_a_budget_of_references_is_the_same_for_both(tmp_path: Path, tiny_tflite: Path, other_tflite: Path) -> None:
    write_tiles(tmp_path / "many", range(6), photos=9)
    report = build_bundle(
        tmp_path / "many", tmp_path / "s.bundle", encoder=f"{tiny_tflite},{other_tflite}", max_references=2
    )
    assert report.pruned is not None and report.references == 12
    with Matcher.open(tmp_path / "s.bundle") as matcher:  # opening checks that both have the same references
        assert len(matcher.index) == 12 and matcher.match(tile_photo(2, 20)).candidates[0].sku == "sku-002"


def test_small_shops_ask_both_always(tmp_path: Path, tiny_tflite: Path, other_tflite: Path) -> None:
    report = build_bundle(
        write_tiles(tmp_path / "few", range(2), photos=1), tmp_path / "s.bundle", encoder=(tiny_tflite, other_tflite)
    )
    assert report.decision is not None and report.decision.method == "default"
    assert report.cascade is not None and report.cascade.sure_from == ALWAYS
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        assert matcher.match(tile_photo(1, 4)).second_encoder is True
    build_bundle(
        write_tiles(tmp_path / "one", range(1), photos=1), tmp_path / "s.bundle", encoder=(tiny_tflite, other_tflite)
    )
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        assert matcher.match(tile_photo(0, 4)).candidates[0].sku == "sku-000"


def test_one_photo_a_product_is_measured_on_views(tmp_path: Path, tiny_tflite: Path, other_tflite: Path) -> None:
    shop = write_tiles(tmp_path / "single", range(30), photos=1)
    for adapt in ("off", "auto"):
        report = build_bundle(shop, tmp_path / "s.bundle", encoder=(tiny_tflite, other_tflite), adapt=adapt)  # type: ignore[arg-type]
        assert report.decision is not None and report.decision.method == "synthetic-views"
        assert report.cascade is not None and report.cascade.asked_known is not None


def test_the_command_line_tells_both(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundle), "--verbose"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  encoder ") == 2 and shown.count("  adapter ") == 2
    assert "the second encoder is left to frames and the look-again pass" in shown
    assert main(["info", str(bundle), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["second"]["encoder"]["dimension"] == 192 and record["second"]["cascade"]["weights"]
    assert main(["verify", str(bundle)]) == 0
    tile_photo(3, 9).save(tmp_path / "q.png")
    (tmp_path / "q.csv").write_text("image,sku\nq.png,sku-003\n")
    capsys.readouterr()
    assert main(["eval", str(bundle), str(tmp_path / "q.csv")]) == 0
    assert "second encoder asked" in capsys.readouterr().out
    assert main(["eval", str(bundle), str(tmp_path / "q.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["second_encoder_rate"] in (0.0, 1.0)


def pictures_of(vectors: np.ndarray, products: np.ndarray) -> Pictures:
    count = len(vectors)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Pictures(unit, products, np.arange(count), np.zeros(count, bool), np.zeros(count, bool))


def noisy_shop(noise: float, seed: int) -> Pictures:
    """30 products with 8 photos each: a point each, and noise."""
    products = np.repeat(np.arange(30), 8)
    points = np.random.default_rng(9).normal(size=(30, 24))
    return pictures_of(points[products] + np.random.default_rng(seed).normal(0, noise, (240, 24)), products)


PLAIN = Adaptation("none", "max", "", 24)


def test_the_better_encoder_weighs_more() -> None:
    good, bad = noisy_shop(1.0, 1), noisy_shop(2.5, 2)
    ahead, _ = pair((good, bad), (PLAIN, PLAIN), 0.05)
    behind, _ = pair((bad, good), (PLAIN, PLAIN), 0.05)
    assert ahead.weights[0] > 0.6 > 0.4 > behind.weights[0]
    assert sum(ahead.weights) == pytest.approx(1)


def test_a_cascade_keeps_what_both_find_and_its_target() -> None:
    shops = noisy_shop(1.3, 1), noisy_shop(1.3, 2)
    for rate in (0.05, 0.2):
        cascade, decision = pair(shops, (PLAIN, PLAIN), rate)
        assert cascade.recall_fused is not None and cascade.recall_cascade is not None
        assert cascade.recall_first is not None and cascade.recall_second is not None
        assert cascade.recall_fused > max(cascade.recall_first, cascade.recall_second) + 0.02
        assert cascade.recall_cascade >= cascade.recall_fused - 0.005 and 0 < (cascade.asked_known or 0) < 1
        assert decision.method == "held-out" and decision.target_false_accept_rate == rate
        assert decision.false_accept_rate is not None and decision.false_accept_rate <= 1.5 * rate


def test_a_second_encoder_that_adds_nothing_is_not_asked() -> None:
    useful, blind = (
        noisy_shop(0.8, 1),
        pictures_of(np.random.default_rng(3).normal(size=(240, 24)), np.repeat(np.arange(30), 8)),
    )
    cascade, _ = pair((useful, blind), (PLAIN, PLAIN), 0.05)
    assert cascade.sure_from == 0.0 and cascade.asked_known == 0.0


def test_the_threshold_of_the_first_is_the_lowest_that_keeps_recall() -> None:
    first = np.linspace(0, 0.99, 100)
    alone = np.arange(100) >= 30  # the first is wrong where it is least sure
    fused = np.ones(100, bool)
    sure_from = _sure_from(first, alone, fused)
    assert 0.29 <= sure_from <= 0.35
    assert _sure_from(first, fused, fused) == 0.0
    assert _sure_from(first, ~fused, fused) == ALWAYS


def test_a_part_of_a_shop_takes_its_threshold_from_the_whole() -> None:
    """`Pictures` of a third of the products, as of a shop with more photos than are looked at."""
    shops = noisy_shop(1.3, 1), noisy_shop(1.3, 2)
    ids = ((shops[0].products << 12) + np.tile(np.arange(8), 30)).astype(np.uint32)
    galleries = (
        Gallery(VectorIndex.build(shops[0].vectors, ids)),
        Gallery(VectorIndex.build(shops[1].vectors[::-1].copy(), ids[::-1].copy())),
    )
    third = shops[0].products % 3 == 0
    pictures = shops[0].take(third), shops[1].take(third)
    part, held = pair(pictures, (PLAIN, PLAIN), 0.05)
    whole, decision = pair(pictures, (PLAIN, PLAIN), 0.05, galleries)
    assert part == whole
    assert (decision.score_weight, decision.margin_weight) == (held.score_weight, held.margin_weight)
    # Among three times as many products a stranger finds one that is more like it.
    assert decision.threshold > held.threshold
    alone, fused = left_out_products(galleries[:1]), left_out_products(galleries, whole.weights)
    first, both = confidences_of(whole.first, alone), confidences_of(decision, fused)
    passed = (np.where(first < whole.sure_from, both, first) >= decision.threshold).mean()
    assert 0.02 < passed <= 0.05


def test_products_left_out_of_both_galleries() -> None:
    """Against plain matrix products."""
    shops = noisy_shop(1.0, 1), noisy_shop(1.5, 2)
    ids = ((shops[0].products << 12) + np.tile(np.arange(8), 30)).astype(np.uint32)
    first = Gallery(VectorIndex.build(shops[0].vectors, ids, dtype="f32"))
    # The second scores products by prototypes.
    means = shops[1].vectors.reshape(30, 8, -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    second = Gallery(
        VectorIndex.build(shops[1].vectors[::-1].copy(), ids[::-1].copy(), dtype="f32"),
        prototypes=VectorIndex.build(means, (np.arange(30) << 12).astype(np.uint32), dtype="f32"),
    )
    scores = [(shops[0].vectors @ shops[0].vectors.T).reshape(240, 30, 8).max(axis=2), shops[1].vectors @ means.T]
    for galleries, weights in (([first], (1.0,)), ([second], (1.0,)), ([first, second], (0.7, 0.3))):
        shown = [scores[gallery is second] for gallery in galleries]
        fused = sum(weight * one for weight, one in zip(weights, shown, strict=True))
        fused[np.arange(240), shops[0].products] = -1
        found = left_out_products(galleries, weights)
        expected = fused.max(axis=1)[:: -1 if galleries[0] is second else 1]
        # Of two, a look that lists a product too low counts with its last one's score.
        assert np.isclose(found.scores, expected, atol=2e-3).mean() > (0.9 if len(galleries) == 2 else 0.99)
        assert not found.right.any() and (found.references == 8).all()


def test_records_round_trip_and_nonsense_is_refused() -> None:
    first = Decision("held-out", 0.0, 1.0, 1.0, 0.0, 0.5, 0.05)
    cascade = Cascade(first, (0.7, 0.3), 0.6, 0.8, 0.7, 0.85, 0.84, 0.2, 0.5)
    record = json.loads(json.dumps(cascade.to_dict()))
    assert Cascade.from_dict(record) == cascade
    assert "60% sure: on 20%" in cascade.sentence() and "84.0%" in cascade.sentence()
    never = dataclasses.replace(cascade, sure_from=0.0, asked_known=0.0, asked_unknown=0.0).sentence()
    assert "left to frames and the look-again pass" in never and "80.0% alone, and both 85.0%" in never
    for wrong in ({"weights": [1]}, {"weights": [-1, 2]}, {"sure_from": "high"}, {"first": None}, {"more": 1}):
        with pytest.raises(BundleError, match="is not one this version reads"):
            Cascade.from_dict({**record, **wrong})


@pytest.mark.slow
def test_two_encoders_find_more_of_the_grocers_photos(grocery: Path, coral_models: Path, tmp_path: Path) -> None:
    """Every sixth train photo as the shop; the second encoder is asked, and nothing is lost against the first."""
    from shelfmatch.export import cut

    v2 = cut(coral_models / "tf2_mobilenet_v2_1.0_224_ptq.tflite", "172", tmp_path / "v2.tflite")
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "sku"), *read_split(grocery, "train.txt")[::6]])
    queries = [Query(path, path.name, label) for path, label in read_split(grocery, "val.txt")]
    report = build_bundle(
        tmp_path / "train.csv", tmp_path / "s.bundle", encoder=(coral_models / V1, v2), resizer="pillow"
    )
    assert report.cascade is not None and report.cascade.recall_cascade is not None
    found = {}
    for sure_from in (0.0, report.cascade.sure_from):
        with_cascade(tmp_path / "s.bundle", sure_from=sure_from)
        with Matcher.open(tmp_path / "s.bundle", look_again=False) as matcher:
            found[sure_from] = evaluate(matcher, queries)
    alone, cascade = found[0.0], found[report.cascade.sure_from]
    assert alone.recall_at_1 and cascade.recall_at_1 and cascade.second_encoder_rate
    assert alone.second_encoder_rate == 0 and cascade.second_encoder_rate < 0.8
    assert cascade.recall_at_1 >= alone.recall_at_1 - 0.01
