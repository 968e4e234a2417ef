"""Bundles tuned to their shop: built, answered from, changed, damaged, on tiles and on real photos."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import (
    BundleDamaged,
    BundleError,
    BundleVersion,
    CatalogError,
    Matcher,
    add_to_bundle,
    build_bundle,
    refit_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.bundle.bundle import Bundle
from shelfmatch.edge.catalog.ids import PHOTO_BITS, product_of
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.evaluation.evaluate import evaluate
from shelfmatch.edge.evaluation.results import Query
from shelfmatch.edge.scoring.adapter import Floats
from tests.conftest import tile_photo, write_tiles
from tests.support.grocery import V1, read_split


def test_it_answers_in_fewer_dimensions(adapted_bundle: Path) -> None:
    with Matcher.open(adapted_bundle) as matcher:
        manifest = matcher.bundle.manifest
        assert manifest.adaptation.method == "lda" and set(manifest.files) >= {
            "adapter",
            "vectors",
            "catalog",
            "encoder",
        }
        assert matcher.index.dimension == manifest.adaptation.dimension == 11 < manifest.encoder.dimension
        for product in range(12):
            result = matcher.match(tile_photo(product, 9), top_k=3)
            assert result.candidates[0].sku == f"sku-{product:03d}"
            assert len({candidate.sku for candidate in result.candidates}) == 3
        only = matcher.match(tile_photo(3, 9), where={"sku": ["sku-004", "sku-005"]}, top_k=9)
        assert sorted(candidate.sku for candidate in only.candidates) == ["sku-004", "sku-005"]
        assert matcher.similar("sku-003") and matcher.nearest_photos(tile_photo(3, 9), "sku-003")
    assert Bundle.open(adapted_bundle).verify() == []


def test_strangers_are_unknown(tmp_path: Path, tile_folder: Path, tiny_tflite: Path) -> None:
    report = build_bundle(tile_folder, tmp_path / "auto.bundle", encoder=tiny_tflite, resizer="pillow")
    assert report.adaptation is not None and report.decision is not None
    with Matcher.open(tmp_path / "auto.bundle") as matcher:
        accepted = [matcher.match(tile_photo(product, 0)).sku is not None for product in range(100, 160)]
        own = [matcher.match(tile_photo(product, 9)).sku == f"sku-{product:03d}" for product in range(12)]
    assert np.mean(accepted) <= 0.15, report.decision
    assert np.mean(own) >= 0.8, report.decision


def test_photos_come_and_go(adapted_bundle: Path, tmp_path: Path) -> None:
    before = Bundle.open(adapted_bundle).manifest
    add_to_bundle(adapted_bundle, write_tiles(tmp_path / "new", range(11, 14), first_photo=5))
    with Matcher.open(adapted_bundle) as matcher:
        assert [matcher.match(tile_photo(product, 9)).candidates[0].sku for product in (3, 11, 12, 13)] == [
            "sku-003",
            "sku-011",
            "sku-012",
            "sku-013",
        ]
        assert matcher.bundle.manifest.adaptation == before.adaptation
        assert matcher.bundle.manifest.files["encoder"] == before.files["encoder"]
    add_to_bundle(
        adapted_bundle, write_tiles(tmp_path / "moved" / "x", range(3, 4)).rename(tmp_path / "y"), replace=True
    )
    remove_from_bundle(adapted_bundle, ["sku-005", "sku-012"])
    with Matcher.open(adapted_bundle) as matcher:
        prototypes = matcher.gallery.prototypes
        if prototypes is not None:
            left = np.unique(product_of(matcher.index.ids))
            assert sorted(product_of(prototypes.ids).tolist()) == left.tolist()
        assert matcher.match(tile_photo(5, 9)).candidates[0].sku != "sku-005"
        assert matcher.match(tile_photo(3, 9)).candidates[0].sku == "sku-003"
    assert Bundle.open(adapted_bundle).verify() == []


def test_building_again_without_leaves_no_adapter(adapted_bundle: Path, tile_folder: Path, tiny_tflite: Path) -> None:
    build_bundle(tile_folder, adapted_bundle, encoder=tiny_tflite, resizer="pillow", adapt="off")
    manifest = Bundle.open(adapted_bundle).manifest
    assert set(manifest.files) == {"encoder", "vectors", "catalog"} and manifest.adaptation.method == "none"
    assert not list(adapted_bundle.glob("adapter-*")) and not list(adapted_bundle.glob("prototypes-*"))
    assert manifest.generation == 2


@pytest.mark.parametrize("role", ["adapter", "prototypes"])
def test_damage_is_found(adapted_bundle: Path, role: str) -> None:
    bundle = Bundle.open(adapted_bundle)
    if role not in bundle.manifest.files:
        pytest.skip(f"this shop has no {role}")
    path = bundle.file(role)
    data = bytearray(path.read_bytes())
    for place in (0, 9, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert len(bundle.verify()) == 1
        with pytest.raises((BundleDamaged, BundleVersion), match=role):
            Matcher.open(adapted_bundle)
    path.unlink()
    with pytest.raises(BundleDamaged, match="missing"):
        Matcher.open(adapted_bundle)


def test_a_manifest_without_the_adapter_it_names_is_refused(adapted_bundle: Path) -> None:
    bundle = Bundle.open(adapted_bundle)
    files = {role: entry for role, entry in bundle.manifest.files.items() if role != "adapter"}
    manifest = dataclasses.replace(bundle.manifest, files=files)
    (adapted_bundle / "manifest.json").write_bytes(manifest.to_bytes())
    with pytest.raises(BundleError, match="names no adapter file"):
        Matcher.open(adapted_bundle)
    adaptation = dataclasses.replace(bundle.manifest.adaptation, method="none", scoring="max")
    branch = dataclasses.replace(bundle.manifest.branches[0], adaptation=adaptation)
    plain = dataclasses.replace(bundle.manifest, branches=(branch,))
    (adapted_bundle / "manifest.json").write_bytes(plain.to_bytes())
    with pytest.raises(BundleError, match="disagree"):
        Matcher.open(adapted_bundle)


def test_a_budget_of_references(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    write_tiles(tmp_path / "many", range(6), photos=9)
    report = build_bundle(tmp_path / "many", tmp_path / "s.bundle", encoder=tiny_tflite, max_references=2)
    assert report.pruned is not None and report.pruned.removed == 42 and report.references == 12
    assert report.pruned.recall_before == 1.0 and report.pruned.recall_after == 1.0
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        assert len(matcher.index) == 12 and matcher.match(tile_photo(2, 20)).candidates[0].sku == "sku-002"
        assert all(len(matcher.catalog.references(product)) == 2 for product, _ in matcher.catalog.products())
    with pytest.raises(CatalogError, match="max_references is -1"):
        build_bundle(tmp_path / "many", tmp_path / "s.bundle", encoder=tiny_tflite, max_references=-1)
    with pytest.raises(CatalogError, match="expected auto, on or off"):
        build_bundle(tmp_path / "many", tmp_path / "s.bundle", encoder=tiny_tflite, adapt="please")  # type: ignore[arg-type]


def test_pruned_photos_weigh_on_in_their_prototypes(tmp_path: Path, tiny_tflite: Path) -> None:
    """A photo that is added moves a product's prototype as far as if all photos had stayed references."""
    write_tiles(tmp_path / "many", range(12), photos=6)
    (tmp_path / "new" / "sku-003").mkdir(parents=True)
    tile_photo(7, 99).save(tmp_path / "new" / "sku-003" / "unlike.png")
    moved = []
    for most in (0, 1):
        bundle = tmp_path / f"{most}.bundle"
        report = build_bundle(
            tmp_path / "many", bundle, encoder=tiny_tflite, resizer="pillow", workers=1, adapt="on", max_references=most
        )
        assert report.adaptation is not None and report.adaptation.scoring == "prototype"
        before = prototype_of(bundle, "sku-003")
        add_to_bundle(bundle, tmp_path / "new", workers=1)
        moved.append(float(before @ prototype_of(bundle, "sku-003")))
    assert moved[1] == pytest.approx(moved[0], abs=1e-3) and moved[0] < 0.999
    bundle = tmp_path / "1.bundle"
    add_to_bundle(bundle, tmp_path / "new", workers=1, replace=True)  # the pruned photos go with the others
    once = prototype_of(bundle, "sku-003")
    add_to_bundle(bundle, write_tiles(tmp_path / "old", range(3, 4), photos=1), workers=1)
    assert float(once @ prototype_of(bundle, "sku-003")) < 0.95


def test_pruned_photos_do_not_come_back(tmp_path: Path, tiny_tflite: Path) -> None:
    """The folder that a bundle was built from is added again, with one photo more, after each kind of change."""
    bundle = tmp_path / "s.bundle"
    write_tiles(tmp_path / "many", range(4), photos=6)
    build_bundle(tmp_path / "many", bundle, encoder=tiny_tflite, max_references=2, keep_embeddings=True)
    tile_photo(3, 99).save(tmp_path / "many" / "sku-003" / "new.png")
    report = add_to_bundle(bundle, tmp_path / "many")
    assert report.references == 1 and len(report.duplicates) == 24
    assert sum("left out before, by max_references" in reason for _, reason in report.duplicates) == 16
    refit_bundle(bundle)
    assert add_to_bundle(bundle, tmp_path / "many").references == 0
    assert add_to_bundle(bundle, tmp_path / "many", replace=True).references == 25


def test_products_that_share_photos_take_no_answers_from_the_others(tmp_path: Path, tiny_tflite: Path) -> None:
    """Sizes of one product, photographed once: the shop's threshold stays, and none of the two is named."""
    write_tiles(tmp_path / "shop", range(12), photos=4)
    thresholds, answers = [], []
    for copies in (0, 3):
        for product in range(copies):
            shutil.copytree(tmp_path / "shop" / f"sku-{product:03d}", tmp_path / "shop" / f"sku-{product:03d}-XL")
        bundle = tmp_path / f"{copies}.bundle"
        build_bundle(tmp_path / "shop", bundle, encoder=tiny_tflite, adapt="on")
        with Matcher.open(bundle, look_again=False) as matcher:
            thresholds.append(matcher.snapshot.decision.threshold)
            answers.append([matcher.match(tile_photo(product, 99)).sku for product in range(12)])
            twin = matcher.match(tile_photo(1, 99)).candidates
    assert answers[0] == [f"sku-{product:03d}" for product in range(12)]
    assert answers[1] == [None, None, None, *answers[0][3:]]
    assert {one.sku for one in twin[:2]} == {"sku-001", "sku-001-XL"} and twin[0].confidence <= 0.5
    assert thresholds[1] <= thresholds[0] + 0.05


def test_an_emptied_bundle_still_says_what_it_is(
    tmp_path: Path, tiny_tflite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "s.bundle"
    write_tiles(tmp_path / "shop", range(4), photos=4)
    build_bundle(tmp_path / "shop", bundle, encoder=tiny_tflite, adapt="on", keep_embeddings=True)
    shutil.copytree(bundle, tmp_path / "whole.bundle")
    refit_bundle(tmp_path / "whole.bundle")
    assert main(["remove", str(bundle), *(f"sku-{product:03d}" for product in range(4))]) == 0
    assert main(["info", str(bundle), "--verbose"]) == 0 and main(["info", str(bundle), "--json"]) == 0
    assert "0 products, 0 photos" in capsys.readouterr().out
    with pytest.raises(BundleError, match="has no products; add some first"):
        refit_bundle(bundle)
    add_to_bundle(bundle, tmp_path / "shop", refit=True)
    filled, whole = (Bundle.open(one).manifest for one in (bundle, tmp_path / "whole.bundle"))
    assert filled.adaptation == whole.adaptation and filled.decision == whole.decision


def prototype_of(bundle: Path, sku: str) -> Floats:
    with Matcher.open(bundle) as matcher:
        prototypes, product_id = matcher.gallery.prototypes, matcher.catalog.product_id(sku)
        assert prototypes is not None and product_id is not None
        row = prototypes.ids.tolist().index(product_id << PHOTO_BITS)
        return prototypes.vectors()[row]


def test_info_says_what_was_chosen_and_why(
    adapted_bundle: Path, tile_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(adapted_bundle), "--verbose"]) == 0
    shown = capsys.readouterr().out
    assert "adapter" in shown and "recall@1" in shown and "11 dimensions" in shown
    assert main(["info", str(tile_bundle), "--verbose"]) == 0
    assert "switched off" in capsys.readouterr().out
    assert main(["info", str(adapted_bundle), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["adaptation"]["method"] == "lda" and record["adaptation"]["recall_with"] is not None
    assert all(len(point) == 3 for point in record["decision"]["reliability"])


@pytest.mark.slow
def test_it_finds_more_of_the_grocers_photos(grocery: Path, coral_models: Path, tmp_path: Path) -> None:
    """Every third train photo as the shop: enough to gain more than ten points on the photos of another visit."""
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "sku"), *read_split(grocery, "train.txt")[::3]])
    queries = [Query(path, path.name, label) for path, label in read_split(grocery, "val.txt")]
    found = {}
    for adapt in ("off", "auto"):
        build_bundle(
            tmp_path / "train.csv",
            tmp_path / f"{adapt}.bundle",
            encoder=coral_models / V1,
            resizer="pillow",
            adapt=adapt,
        )
        with Matcher.open(tmp_path / f"{adapt}.bundle") as matcher:
            found[adapt] = evaluate(matcher, queries)
            dimension = matcher.index.dimension
    assert found["off"].recall_at_1 and found["auto"].recall_at_1
    assert dimension <= 80 and found["auto"].recall_at_1 > found["off"].recall_at_1 + 0.1
