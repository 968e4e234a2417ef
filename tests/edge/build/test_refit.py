"""A bundle fitted again without its photos, and what a change must not lose of a manifest."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    Matcher,
    add_to_bundle,
    build_bundle,
    refit_bundle,
    remove_from_bundle,
    tune_bundle,
    update_bundle,
)
from shelfmatch.edge.build.change import reindex
from shelfmatch.edge.build.enroll import Enrolled
from shelfmatch.edge.build.keep import Kept
from tests.conftest import tile_photo, write_tiles
from tests.support.commands import document, lines


def built(folder: Path, photos: Path, encoder: Path, **settings: object) -> Path:
    bundle = folder / "shop.bundle"
    build_bundle(photos, bundle, encoder=encoder, resizer="pillow", workers=1, **settings)  # type: ignore[arg-type]
    return bundle


@pytest.mark.parametrize("adapt", ["on", *(pytest.param(one, marks=pytest.mark.slow) for one in ("auto", "off"))])
def test_add_with_refit_comes_to_what_a_build_of_all_would(tmp_path: Path, tiny_tflite: Path, adapt: str) -> None:
    first, more = write_tiles(tmp_path / "first", range(8)), write_tiles(tmp_path / "more", range(8, 30))
    bundle = built(tmp_path, first, tiny_tflite, adapt=adapt, keep_embeddings=True)
    added = add_to_bundle(bundle, more, workers=1)
    assert added.outgrown is not None and added.outgrown.state == ("no" if adapt == "off" else "yes")
    if adapt != "off":
        assert "shelfmatch add --refit fits it again" in added.outgrown.sentence()
    shutil.rmtree(more)
    shutil.rmtree(first)
    report = refit_bundle(bundle)
    assert report.outgrown is not None and report.outgrown.state == "no"
    whole = tmp_path / "whole"
    whole.mkdir()
    other = built(whole, write_tiles(tmp_path / "all", range(30)), tiny_tflite, adapt=adapt, keep_embeddings=True)
    ours, theirs = Bundle.open(bundle), Bundle.open(other)
    assert ours.verify() == [] and ours.manifest.fit == theirs.manifest.fit
    assert ours.manifest.adaptation.method == theirs.manifest.adaptation.method
    assert ours.manifest.adaptation.scoring == theirs.manifest.adaptation.scoring
    assert ours.manifest.decision.threshold == pytest.approx(theirs.manifest.decision.threshold, abs=0.03)
    assert ours.manifest.decision.known == theirs.manifest.decision.known
    with Matcher.open(bundle) as one, Matcher.open(other) as two:
        for number in range(30):
            query = tile_photo(number, 60)
            found, expected = one.match(query), two.match(query)
            assert found.candidates[0].sku == expected.candidates[0].sku == f"sku-{number:03d}"
            assert found.candidates[0].score == pytest.approx(expected.candidates[0].score, abs=0.02)


def test_refit_in_the_same_step_and_what_was_removed_is_gone(tmp_path: Path, tiny_tflite: Path) -> None:
    bundle = built(tmp_path, write_tiles(tmp_path / "first", range(8)), tiny_tflite, adapt="on", keep_embeddings=True)
    report = add_to_bundle(bundle, write_tiles(tmp_path / "more", range(8, 24)), refit=True, workers=1)
    assert report.outgrown is not None and report.outgrown.state == "no"
    assert Bundle.open(bundle).manifest.fit is not None and Bundle.open(bundle).manifest.fit.products == 24
    remove_from_bundle(bundle, ["sku-000", "sku-023"])
    kept = Kept.load(Bundle.open(bundle).check("embeddings"))
    assert len(kept.ids) == 22 * 3 and 0 not in set((kept.ids >> 12).tolist())
    assert sorted(kept.ids.tolist()) == sorted(refit_ids(bundle))
    refit_bundle(bundle)
    with Matcher.open(bundle) as matcher:
        assert matcher.match(tile_photo(0, 60)).candidates[0].sku != "sku-000"
        assert matcher.match(tile_photo(5, 60)).candidates[0].sku == "sku-005"


def refit_ids(bundle: Path) -> list[int]:
    with Matcher.open(bundle) as matcher:
        return [int(one) for one in matcher.index.ids]


def test_a_bundle_that_keeps_nothing_says_so_before_any_work(
    tile_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in tile_bundle.iterdir()}
    more = write_tiles(tmp_path / "more", range(20, 22))
    for call in (lambda: refit_bundle(tile_bundle), lambda: add_to_bundle(tile_bundle, more, refit=True)):
        with pytest.raises(BundleError, match=r"doesn't keep its photos' embeddings.*with --keep-embeddings"):
            call()
    assert {path.name: path.read_bytes() for path in tile_bundle.iterdir()} == before


def test_damage_is_found(tmp_path: Path, tiny_tflite: Path) -> None:
    bundle = built(tmp_path, write_tiles(tmp_path / "first", range(4)), tiny_tflite, keep_embeddings=True)
    path = Bundle.open(bundle).file("embeddings")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert Bundle.open(bundle).verify()
    with pytest.raises(BundleDamaged):
        refit_bundle(bundle)
    (tmp_path / "short.npz").write_bytes(data[:100])
    with pytest.raises(BundleDamaged, match="build the bundle again"):
        Kept.load(tmp_path / "short.npz")


def test_the_commands(tmp_path: Path, tiny_tflite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos, more = write_tiles(tmp_path / "photos", range(8)), write_tiles(tmp_path / "more", range(8, 24))
    bundle = str(tmp_path / "shop.bundle")
    encoder = ["--encoder", str(tiny_tflite), "--resizer", "pillow", "--adapt", "on", "--workers", "1"]
    document(capfd, "build", str(photos), "-o", bundle, *encoder, "--keep-embeddings")
    assert document(capfd, "info", bundle)["keeps_embeddings"] is True
    assert any("add --refit fits it again" in line for line in lines(capfd, "info", bundle, "--verbose"))
    assert document(capfd, "add", bundle, str(more))["outgrown"]["state"] == "yes"
    told = lines(capfd, "add", bundle, "--refit")
    assert told[0].startswith(f"fitted {bundle} again: 24 products")
    assert document(capfd, "info", bundle)["outgrown"]["state"] == "no"


def test_no_change_loses_anything_of_the_manifest(tmp_path: Path, tiny_tflite: Path) -> None:
    """`update` once forgot what a bundle was fitted to: it said "outgrown: unknown" from then on."""
    bundle = built(tmp_path, write_tiles(tmp_path / "photos", range(24)), tiny_tflite, adapt="on", keep_embeddings=True)
    (tmp_path / "prices.csv").write_text("sku,price\nsku-001,2.50\n")
    fields = [one.name for one in dataclasses.fields(Bundle.open(bundle).manifest)]
    first = Bundle.open(bundle).manifest
    changes = {
        "update": (lambda: update_bundle(bundle, tmp_path / "prices.csv"), {"files"}),
        "tune": (lambda: tune_bundle(bundle, 0.2), {"decision"}),
        "reindex": (lambda: reindex(bundle, "hnsw"), {"files", "branches"}),
        "remove": (lambda: remove_from_bundle(bundle, ["sku-000"]), {"files", "branches", "products"}),
        "add": (lambda: add_to_bundle(bundle, again, workers=1), {"files", "branches", "products"}),
    }
    again = write_tiles(tmp_path / "again", range(1))
    for name, (change, may_differ) in changes.items():
        before = Bundle.open(bundle).manifest
        change()
        after = Bundle.open(bundle).manifest
        assert after.generation == before.generation + 1, name
        same = [one for one in fields if one not in {"generation", *may_differ}]
        assert {one: getattr(after, one) for one in same} == {one: getattr(before, one) for one in same}, name
        assert [branch.adaptation for branch in after.branches] == [branch.adaptation for branch in first.branches]
    assert Bundle.open(bundle).manifest.fit == first.fit is not None
    refit_bundle(bundle)


def some_views(first: int, photos: int, viewed: list[int], random: np.random.Generator) -> Enrolled:
    """Photos with cells, of which a part has views."""
    vectors = random.standard_normal((photos, 4)).astype(np.float32)
    views = random.standard_normal((len(viewed), 2, 4)).astype(np.float32)
    return Enrolled(
        (np.arange(first, first + photos) << 12).astype(np.uint32),
        vectors / np.linalg.norm(vectors, axis=-1, keepdims=True),
        views / np.linalg.norm(views, axis=-1, keepdims=True),
        random.random(photos) < 0.5,
        random.integers(0, 256, (photos, 7)).astype(np.uint8),
        random.integers(0, 256, (len(viewed), 2, 7)).astype(np.uint8),
        np.array(viewed) if len(viewed) < photos else None,
    )


class Head:
    """Stands for a local head where only its bytes are kept."""

    def to_bytes(self) -> bytes:
        return b"head"


def test_what_is_kept_of_a_part_with_views_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first, more = some_views(0, 9, [0, 3, 6], random), some_views(9, 2, [0, 1], random)
    keep = np.arange(9) != 3
    kept = Kept.of(first, keep, Head())  # type: ignore[arg-type]
    kept = kept.extended(more).without(np.array([1 << 12], np.uint32))
    kept.save(tmp_path / "kept.npz")
    back = Kept.load(tmp_path / "kept.npz").enrolled()
    assert (back.ids >> 12).tolist() == [0, 2, 4, 5, 6, 7, 8, 9, 10]
    assert (back.ids[back.of_views] >> 12).tolist() == [0, 6, 9, 10]
    rows = {number: row for row, number in enumerate((back.ids >> 12).tolist())}
    assert back.cells is not None and back.view_cells is not None
    assert first.cells is not None and first.view_cells is not None and more.view_cells is not None
    assert (back.cells[rows[4]] == first.cells[4]).all()
    assert np.allclose(back.vectors[rows[5]], first.vectors[5], atol=1e-3)
    for slot, (source, place) in enumerate([(first, 0), (first, 2), (more, 0), (more, 1)]):
        assert source.view_cells is not None
        assert (back.view_cells[slot] == source.view_cells[place]).all()
        assert np.allclose(back.views[slot], source.views[place], atol=1e-3)
    pictures = back.pictures()
    assert pictures.is_view.sum() == 8 and len(pictures) == 17
    found = back.cells_of(pictures, np.arange(len(pictures)))
    assert (found[~pictures.is_view] == back.cells).all()
    assert (found[pictures.is_view] == back.view_cells.reshape(-1, 7)).all()
