"""Bundles with local matching: built, answered from, changed, damaged; and how it is fitted."""

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
    EncoderError,
    Matcher,
    VectorIndex,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.bundle.manifest import Manifest
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.fitting.local_fit import Described, fit_local
from shelfmatch.edge.fitting.pictures import Pictures
from shelfmatch.edge.fitting.prior import generic_prior
from shelfmatch.edge.matching.pipeline import match
from shelfmatch.edge.scoring.adapter import Adaptation
from shelfmatch.edge.scoring.decision import Decision
from shelfmatch.edge.scoring.local import Cells, Local, described, fused, logits_of, restored, said_of, undescribed
from tests.conftest import tile_photo, write_tiles
from tests.support.bundles import contents
from tests.support.local_heads import NUMBERS, likeness_head, write_encoder

pytestmark = pytest.mark.xdist_group("local-matching")


@pytest.fixture(scope="module", params=["on", "off"])
def built(tmp_path_factory: pytest.TempPathFactory, tile_folder: Path, request: pytest.FixtureRequest) -> Path:
    """With adapters and without."""
    folder = tmp_path_factory.mktemp("local")
    bundle = folder / f"{request.param}.bundle"
    build_bundle(
        tile_folder,
        bundle,
        encoder=write_encoder(folder / "encoder"),
        resizer="pillow",
        adapt=request.param,
        local="on",
    )
    return bundle


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / built.name)


def with_local(bundle: Path, **changes: float) -> None:
    """The same bundle with another record: the tiles are easy, hardly one needs a second look."""
    manifest = Bundle.open(bundle).manifest
    first = manifest.branches[0]
    assert first.local is not None
    local = dataclasses.replace(first.local, **changes)
    changed = dataclasses.replace(manifest, branches=(dataclasses.replace(first, local=local),))
    (bundle / "manifest.json").write_bytes(changed.to_bytes())


def reject_all(bundle: Path) -> None:
    """The same bundle with thresholds that nothing reaches."""
    manifest = Bundle.open(bundle).manifest
    first = manifest.branches[0]
    assert first.local is not None
    strict = [dataclasses.replace(one, threshold=1.0) for one in (manifest.decision, first.local.decision)]
    branch = dataclasses.replace(first, local=dataclasses.replace(first.local, decision=strict[1]))
    changed = dataclasses.replace(manifest, decision=strict[0], branches=(branch,))
    (bundle / "manifest.json").write_bytes(changed.to_bytes())


def cells_of(bundle: Path) -> Cells:
    opened = Bundle.open(bundle)
    assert opened.verify() == []
    cells = Cells.load(opened.file("cells"))
    index = VectorIndex.load(opened.file("vectors"))
    assert np.array_equal(cells.ids, np.sort(index.ids)) and len(cells) == opened.manifest.index.references
    return cells


def test_the_bundle_has_it_and_answers_with_it(bundle: Path) -> None:
    cells_of(bundle)
    with_local(bundle, sure_from=2.0)
    with Matcher.open(bundle) as matcher:
        result = matcher.match(np.asarray(tile_photo(3, 9)))
        assert result.sku == "sku-003" and result.latency_ms["local"] > 0
        assert list(result.latency_ms)[-1] == "total"
    with Matcher.open(bundle, local=False) as matcher:
        plain = matcher.match(np.asarray(tile_photo(3, 9)))
        assert plain.sku == "sku-003" and "local" not in plain.latency_ms
        assert plain.candidates[0].score != result.candidates[0].score
    with_local(bundle, sure_from=0.0)
    with Matcher.open(bundle) as matcher:
        assert "local" not in matcher.match(np.asarray(tile_photo(3, 9))).latency_ms


def test_its_scores_are_weighed_into_those_of_the_search(bundle: Path) -> None:
    with_local(bundle, sure_from=2.0, weight=0.5)
    photo = np.asarray(tile_photo(5, 9))
    with Matcher.open(bundle) as matcher, Matcher.open(bundle, local=False) as without:
        found = matcher.match(photo, top_k=12).candidates
        before = {one.sku: one.score for one in without.match(photo, top_k=12).candidates}
        assert len(found) == len(before) == 12
        # 0.5 * score + 0.5 * a number from 0 to 1
        assert all(0 <= (one.score - 0.5 * before[one.sku]) / 0.5 <= 1 for one in found)
    with_local(bundle, sure_from=2.0, weight=1.0)
    with Matcher.open(bundle) as matcher:
        assert matcher.match(photo).candidates[0].sku == "sku-005"


def test_frames_and_the_look_again_pass_use_it(bundle: Path) -> None:
    with_local(bundle, sure_from=2.0, weight=0.9)
    dim = (np.asarray(tile_photo(5, 9)) * 0.1).astype(np.uint8)
    reject_all(bundle)
    with Matcher.open(bundle) as matcher, Matcher.open(bundle, local=False) as without:
        scores = []
        for one in (matcher, without):
            tracker = one.track()
            for frame in range(3):
                decision = tracker.add(np.asarray(tile_photo(7, 20 + frame)))
            assert decision.candidates[0].sku == "sku-007"
            scores.append(decision.candidates[0].score)
        assert scores[0] != pytest.approx(scores[1], abs=1e-3)
        again = [one.match(dim) for one in (matcher, without)]
    assert all(one.look_again is not None and one.candidates[0].sku == "sku-005" for one in again)
    assert again[0].candidates[0].score != pytest.approx(again[1].candidates[0].score, abs=1e-3)


def test_references_come_and_go(bundle: Path, tmp_path: Path) -> None:
    before = cells_of(bundle)
    add_to_bundle(bundle, write_tiles(tmp_path / "more", range(12, 14)))
    added = cells_of(bundle)
    assert len(added) == len(before) + 6
    kept = np.isin(added.ids, before.ids)
    assert np.array_equal(added.vectors[kept], before.vectors) and np.array_equal(
        added.embeddings[kept], before.embeddings
    )
    add_to_bundle(bundle, write_tiles(tmp_path / "again", range(3, 4), photos=1, first_photo=8), replace=True)
    assert len(cells_of(bundle)) == len(added) - 2
    remove_from_bundle(bundle, ["sku-000", "sku-012"])
    assert len(cells_of(bundle)) == len(added) - 2 - 6
    with_local(bundle, sure_from=2.0)
    with Matcher.open(bundle) as matcher:
        assert matcher.match(np.asarray(tile_photo(13, 9))).sku == "sku-013"
        assert matcher.match(np.asarray(tile_photo(3, 9))).candidates[0].sku == "sku-003"


def test_a_matcher_follows_a_bundle_that_is_changed(bundle: Path, tmp_path: Path) -> None:
    with_local(bundle, sure_from=2.0)
    with Matcher.open(bundle) as matcher:
        encoder = matcher.encoder
        add_to_bundle(bundle, write_tiles(tmp_path / "more", range(12, 13)))
        assert matcher.match(np.asarray(tile_photo(12, 9))).candidates[0].sku == "sku-012"
        assert matcher.encoder is encoder


@pytest.mark.parametrize("role", ["cells", "local"])
def test_damage_is_found(bundle: Path, role: str) -> None:
    file = Bundle.open(bundle).file(role)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleDamaged, match="sha256"):
        Matcher.open(bundle)
    assert len(Bundle.open(bundle).verify()) == 1
    file.unlink()
    with pytest.raises(BundleDamaged, match="missing"):
        Matcher.open(bundle)


def test_a_bundle_without_it_is_the_same_as_before_it_was_there(tile_folder: Path, tmp_path: Path) -> None:
    bundles = []
    for head, local in (("none", "auto"), ("likeness", "off"), ("opposite", "auto")):
        encoder = write_encoder(tmp_path / head, head)
        report = build_bundle(tile_folder, tmp_path / f"{head}.bundle", encoder=encoder, resizer="pillow", local=local)  # type: ignore[arg-type]
        assert report.local is None and ("it wouldn't help" in report.local_reason) == (head == "opposite")
        bundles.append(contents(tmp_path / f"{head}.bundle"))
    assert bundles[0] == bundles[1] == bundles[2]


def test_what_is_wanted_and_can_t_be_is_refused(
    tile_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = write_encoder(tmp_path / "e", "none")
    with pytest.raises(EncoderError, match=r"no local matching; expected one with a file tapped\.tflite\.local"):
        build_bundle(tile_folder, tmp_path / "a.bundle", encoder=encoder, local="on")
    with pytest.raises(Exception, match="local is 'perhaps'; expected auto, on or off"):
        build_bundle(tile_folder, tmp_path / "a.bundle", encoder=encoder, local="perhaps")  # type: ignore[arg-type]
    arguments = [
        "build",
        str(tile_folder),
        "-o",
        str(tmp_path / "a.bundle"),
        "--encoder",
        str(encoder),
        "--local",
        "on",
    ]
    assert main(arguments) == 2
    assert "no local matching" in capsys.readouterr().err
    assert not (tmp_path / "a.bundle").exists()


def test_build_and_info_say_what_it_does(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundle), "--verbose"]) == 0
    assert "local matching where the first search is less than" in capsys.readouterr().out


def test_the_manifest_keeps_the_record(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    again = Manifest.from_bytes(manifest.to_bytes(), "m")
    assert again == manifest and again.branches[0].local is not None
    assert again.final_decision == again.branches[0].local.decision
    record = again.branches[0].local.to_dict()
    for bad in ({**record, "weight": 0}, {**record, "weight": "much"}, {**record, "more": 1}, {"weight": 1}, [], None):
        with pytest.raises(BundleError, match="local matching"):
            Local.from_dict(bad)


def random_cells(count: int, seed: int = 0) -> Cells:
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(count, 256)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    vectors = random.integers(-127, 128, (count, 100, 32)).astype(np.int8)
    lengths = random.uniform(0, 30, (count, 100)).astype(np.float16)
    return Cells.of(np.arange(count, dtype=np.uint32)[::-1] << 12, embeddings, vectors, lengths)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_cells_come_back_from_the_file_and_take_4_kb_at_most(tmp_path: Path, count: int) -> None:
    cells = random_cells(count)
    cells.save(tmp_path / "a.cells")
    again = Cells.load(tmp_path / "a.cells")
    for name in Cells.__slots__:
        assert np.array_equal(getattr(again, name), getattr(cells, name))
    assert (tmp_path / "a.cells").stat().st_size <= 4096 * count + 64
    (tmp_path / "a.cells").write_bytes((tmp_path / "a.cells").read_bytes()[:-1])
    with pytest.raises(BundleDamaged):
        Cells.load(tmp_path / "a.cells")


def test_kept_cells_are_near_what_they_were() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(100, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = random.uniform(0.1, 40, 100).astype(np.float32)
    kept = undescribed(described((vectors, lengths))[np.newaxis], 32)
    found = restored(kept[0][0], kept[1][0])
    assert np.abs(found[0] - vectors).max() <= 0.5 / 127 + 1e-6
    assert found[1] == pytest.approx(lengths, rel=1e-3)


def test_the_nearest_references_of_each_product_are_looked_at() -> None:
    cells = random_cells(6)
    three = Cells(
        np.array([4096, 4097, 4098, 8192, 8193, 12288], np.uint32), *(getattr(cells, n) for n in Cells.__slots__[1:])
    )
    own = (three.embeddings[1] * three.scales[1]).astype(np.float32)
    rows, cosines, owners = three.nearest(own, [1, 2, 3, 77])
    assert rows[0] == 1 and cosines[0] == pytest.approx(1.0, abs=0.02)
    assert owners.tolist() == [0, 0, 1, 2]
    assert three.nearest(own, [3, 2, 1, 2, 3, 1])[2].tolist() == [0, 1, 2, 3, 4], "five looks, and no more"
    assert [len(part) for part in three.nearest(own, [])] == [0, 0, 0]


def test_products_that_are_not_looked_at_count_as_the_lowest_that_is() -> None:
    ranked = [(1, 0.9), (2, 0.8), (3, 0.7)]
    assert fused(ranked, said_of({1: -4.0, 2: 4.0}), 0.0) == ranked
    found = fused(ranked, said_of({1: -4.0, 2: 4.0}), 0.5)
    assert [product for product, _ in found] == [2, 1, 3]
    assert dict(found)[1] - dict(found)[3] == pytest.approx(0.1)


def shop_of(confused: bool) -> tuple[Pictures, Described]:
    """Forty products, three photos each: embeddings that tell hardly anything (or everything), and cells that do."""
    random = np.random.default_rng(0)

    def unit(rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)

    products = np.repeat(np.arange(1, 41), 3)
    spread = 2.5 if confused else 0.05
    vectors = unit(random.normal(size=(40, 24))[products - 1] + spread * random.normal(size=(120, 24)))
    own = random.normal(size=(40, 16, NUMBERS))[products - 1] + 0.1 * random.normal(size=(120, 16, NUMBERS))
    ids = ((products << 12) + np.tile(np.arange(3), 40)).astype(np.uint32)
    kept = np.rint(unit(own) * 127).astype(np.int8)
    no = np.zeros(120, bool)
    pictures = Pictures(vectors, products.astype(np.int64), np.arange(120), no, no)
    return pictures, Described(ids, lambda places: (kept[places], np.ones((len(places), 16), np.float16)))


FIRST = Decision("held-out", -10.0, 20.0, 0.0, 0.0, 0.5, 0.05, 100, 100)
PLAIN = Adaptation("none", "max", "switched off", 24)


def test_it_is_fitted_where_cells_say_more_than_embeddings() -> None:
    local, why = fit_local(*shop_of(confused=True), likeness_head(b""), PLAIN, FIRST, generic_prior())
    assert local is not None, why
    assert local.recall_with > local.recall_without + 0.1 and local.auroc_with > local.auroc_without
    assert local.decision.method == "held-out" and local.decision.known > 100
    assert local.asked_known > 0 and FIRST.threshold <= local.sure_from


def test_it_is_left_out_where_it_doesn_t_help() -> None:
    for shop, sign in ((shop_of(confused=False), 1.0), (shop_of(confused=False), -1.0)):
        local, why = fit_local(*shop, likeness_head(b"", sign), PLAIN, FIRST, generic_prior())
        assert local is None and why.startswith("it wouldn't help; held-out photos: recall@1")
        forced, _ = fit_local(*shop, likeness_head(b"", sign), PLAIN, FIRST, generic_prior(), force=True)
        assert forced is not None
    pictures, cells = shop_of(confused=True)
    few = Described(cells.ids[:9], cells.of)
    local, why = fit_local(
        pictures.take(np.arange(9)), few, likeness_head(b""), PLAIN, FIRST, generic_prior(), force=True
    )
    assert local is not None and "too few to tell" in why and local.sure_from > 1


def test_a_logit_is_that_of_the_best_reference() -> None:
    _, cells = shop_of(confused=True)
    pictures = shop_of(confused=True)[0]
    vectors, lengths = cells.of(np.arange(len(cells.ids)))
    kept = Cells.of(cells.ids, pictures.vectors, vectors, lengths)
    found = logits_of(likeness_head(b""), kept, pictures.vectors[0], restored(vectors[0], lengths[0]), [1, 2, 3])
    assert max(found, key=found.__getitem__) == 1 and set(found) == {1, 2, 3}


def test_the_pipeline_is_still_a_function_of_the_snapshot(bundle: Path) -> None:
    with Matcher.open(bundle) as matcher:
        photo = np.asarray(tile_photo(2, 9))
        assert match(matcher._current(), photo).candidates == matcher.match(photo).candidates
