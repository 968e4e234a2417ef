"""Building, adding, replacing and removing: the same photos make the same bytes, and nothing of the machine is inside."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    CatalogError,
    Encoder,
    Matcher,
    RuntimeUnavailable,
    VectorError,
    VectorIndex,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
    remove_photos_from_bundle,
)
from shelfmatch.edge.build import build as building
from shelfmatch.edge.build.build import write_bundle
from shelfmatch.edge.bundle.bundle import WORK_FOLDER
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.encoders.runtimes import Probe
from tests.conftest import tile_photo, write_tiles
from tests.support.bundles import contents, interrupt_after, skus_in
from tests.support.marked_cache import mark_embeddings


@pytest.mark.parametrize(("index", "vectors"), [("exact", "i8"), pytest.param("exact", "f16", marks=pytest.mark.slow)])
def test_the_same_photos_make_the_same_bytes(
    index: str, vectors: Any, tile_folder: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    def build(name: str, source: Path, workers: int, **more: Any) -> Path:
        build_bundle(
            source, tmp_path / name, encoder=tiny_tflite, resizer="pillow", index=index, vectors=vectors,
            workers=workers, **more,
        )  # fmt: skip
        return tmp_path / name

    expected = contents(build("one", tile_folder, 1))
    shutil.copytree(tile_folder, tmp_path / "deep" / "down" / "elsewhere")
    assert contents(build("two", tmp_path / "deep" / "down" / "elsewhere", 3)) == expected
    with pytest.raises(KeyboardInterrupt):
        build("three", tile_folder, 2, progress=interrupt_after(20))
    assert contents(build("three", tile_folder, 2)) == expected


def test_nothing_of_the_machine_is_inside(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    photos = tmp_path / "a-telling-folder" / "photos"
    shutil.copytree(tile_folder, photos)
    outside = write_tiles(tmp_path / "another-telling-folder" / "shop", range(50, 51))
    rows = [
        "image,sku",
        *(f"{path},{path.parent.name}" for path in sorted(photos.rglob("*.png"))),
    ]  # absolute paths
    rows += [f"{path},{path.parent.name}" for path in sorted(outside.rglob("*.png"))]
    (photos / "shop.csv").write_text("\n".join(rows))
    build_bundle(photos, tmp_path / "a", encoder=tiny_tflite)
    build_bundle(photos / "shop.csv", tmp_path / "b", encoder=tiny_tflite)
    add_to_bundle(tmp_path / "a", outside)
    telling = [
        b"telling-folder",
        str(tmp_path.parent).encode(),
        str(tiny_tflite.parent).encode(),
        str(Path.home()).encode(),
    ]
    telling += [socket.gethostname().encode(), getpass.getuser().encode(), str(Path(sys.prefix)).encode()]
    for bundle in (tmp_path / "a", tmp_path / "b"):
        for name, data in contents(bundle).items():
            found = [word for word in telling if len(word) > 4 and word in data]
            assert found == [], f"{name} of {bundle.name} tells {found}"
    catalog = Catalog(Bundle.open(tmp_path / "b").file("catalog"))
    labels = [reference.photo for product_id, _ in catalog.products() for reference in catalog.references(product_id)]
    catalog.close()
    assert labels[0] == "sku-000/0.png" and labels[-1] == "sku-050/2.png"


def test_an_interrupted_build_goes_on_with_what_it_has(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "shop.bundle"
    with pytest.raises(KeyboardInterrupt):
        build_bundle(tile_folder, bundle, encoder=tiny_tflite, workers=1, adapt="off", progress=interrupt_after(20))
    path = bundle / WORK_FOLDER / "embeddings.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as cache:
        assert cache.execute("SELECT count(*) FROM embedded").fetchone()[0] >= 20
    # An embedding that no photo has: it can only come from the cache.
    marked = np.eye(48, dtype="<f4")[7]
    photo = tile_folder / "sku-000" / "0.png"
    mark_embeddings(path, marked, hashlib.sha256(photo.read_bytes()).digest())
    build_bundle(tile_folder, bundle, encoder=tiny_tflite, adapt="off")
    index = VectorIndex.load(Bundle.open(bundle).file("vectors"))
    assert index.search(marked, 1)[1][0, 0] > 0.999


def test_another_encoder_does_not_take_cached_embeddings(
    tile_folder: Path, tiny_tflite: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_bundle(tile_folder, tmp_path / "a", encoder=tiny_tflite, progress=interrupt_after(30))
    mark_embeddings(tmp_path / "a" / WORK_FOLDER / "embeddings.sqlite", np.eye(48, dtype=np.float32)[7])
    build_bundle(tile_folder, tmp_path / "a", encoder=tiny_onnx)
    build_bundle(tile_folder, tmp_path / "b", encoder=tiny_onnx)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_photos_it_has_are_skipped(tile_bundle: Path, tile_folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(tile_folder / "sku-000", more / "sku-000")
    write_tiles(more, range(1), photos=2, first_photo=7)
    report = add_to_bundle(tile_bundle, more)
    assert (report.photos, report.references, report.products) == (5, 2, 12)
    assert report.duplicates == [(f"sku-000/{n}.png", f"the same file as sku-000/{n}.png") for n in range(3)]
    assert skus_in(tile_bundle)["sku-000"] == 5
    again = add_to_bundle(tile_bundle, more)
    assert again.references == 0 and len(again.duplicates) == 5 and skus_in(tile_bundle)["sku-000"] == 5


def test_one_file_under_two_products_is_reported(
    tile_bundle: Path, tile_folder: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    shutil.copytree(tile_folder / "sku-001", two / "original")
    shutil.copytree(tile_folder / "sku-001", two / "twin")
    report = build_bundle(two, tmp_path / "two.bundle", encoder=tiny_tflite)
    assert [label for label, _ in report.duplicates] == [f"twin/{n}.png" for n in range(3)]
    assert all("original" in reason and "can't be told apart" in reason for _, reason in report.duplicates)
    assert skus_in(tmp_path / "two.bundle") == {"original": 3, "twin": 3}
    shutil.rmtree(two / "original")
    report = add_to_bundle(tile_bundle, two)  # here the original is in the bundle, not in the source
    assert len(report.duplicates) == 3 and "sku-001" in report.duplicates[0][1]
    assert skus_in(tile_bundle)["twin"] == 3


def test_unreadable_photos_are_listed_and_stop_nothing(
    tile_bundle: Path, tile_folder: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tile_folder, source)
    (source / "sku-002" / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    (source / "sku-003" / "empty.png").touch()
    (source / "only-bad").mkdir()
    (source / "only-bad" / "text.webp").write_text("text")
    (source / "sku-004" / "notes.txt").write_text("not meant as a photo")
    report = build_bundle(source, tmp_path / "s.bundle", encoder=tiny_tflite)
    assert [label for label, _ in report.unreadable] == [
        "only-bad/text.webp",
        "sku-002/broken.jpg",
        "sku-003/empty.png",
    ]
    assert all(reason and str(tmp_path) not in reason for _, reason in report.unreadable)
    assert report.ignored == ["sku-004/notes.txt"] and report.without_photos == ["only-bad"]
    assert skus_in(tmp_path / "s.bundle") == {f"sku-{n:03d}": 3 for n in range(12)}
    more = add_to_bundle(tile_bundle, source)
    assert len(more.unreadable) == 3 and len(skus_in(tile_bundle)) == 12


def test_when_no_photo_can_be_read_nothing_is_left(tile_bundle: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad" / "sku"
    bad.mkdir(parents=True)
    for n in range(3):
        (bad / f"{n}.jpg").write_bytes(b"no photo")
    with pytest.raises(CatalogError, match="none of the 3 photos"):
        build_bundle(bad.parent, tmp_path / "new.bundle", encoder=tiny_tflite)
    assert not (tmp_path / "new.bundle").exists()
    before = contents(tile_bundle)
    for change in (
        lambda: build_bundle(bad.parent, tile_bundle, encoder=tiny_tflite),
        lambda: add_to_bundle(tile_bundle, bad.parent),
        lambda: add_to_bundle(tile_bundle, bad.parent, replace=True),
    ):
        with pytest.raises(CatalogError, match="none of the 3 photos"):
            change()
        assert contents(tile_bundle) == before


def test_an_empty_folder_of_the_users_outlives_a_build_that_came_to_nothing(
    tile_folder: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "1.png").write_text("no photo")
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new", "unfinished"):
        if name == "unfinished":
            with pytest.raises(KeyboardInterrupt):
                build_bundle(tile_folder, tmp_path / name, encoder=tiny_tflite, progress=interrupt_after(2))
        with pytest.raises(CatalogError, match="none of the 1 photos"):
            build_bundle(tmp_path / "texts", tmp_path / name, encoder=tiny_tflite)
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_replace_takes_the_old_photos_away(tile_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sku-001").mkdir(parents=True)
    tile_photo(77, 0).save(source / "sku-001" / "new look.png")
    (source / "sku-002").mkdir()
    (source / "sku-002" / "0.png").write_text("broken")
    write_tiles(source, range(80, 81))
    (source / "unreadable").mkdir()
    (source / "unreadable" / "0.png").write_text("broken")
    report = add_to_bundle(tile_bundle, source, replace=True)
    assert report.removed == 3 and report.references == 4
    assert report.without_photos == ["unreadable"] and report.not_replaced == ["sku-002"]
    expected = {f"sku-{n:03d}": 3 for n in range(12)} | {"sku-001": 1, "sku-080": 3}
    assert skus_in(tile_bundle) == expected
    with Matcher.open(tile_bundle) as matcher:
        assert matcher.match(tile_photo(77, 5)).candidates[0].sku == "sku-001"
        old_look = matcher.match(tile_photo(1, 5))
        assert old_look.sku != "sku-001" and matcher.match(tile_photo(3, 5)).sku == "sku-003"


def test_a_share_that_goes_meanwhile_leaves_the_bundle_as_it_was(
    tile_bundle: Path, tmp_path: Path, tiny_tflite: Path
) -> None:
    """The photos of the rest would have become a smaller bundle in its place, and the exit code was 0."""
    photos, before = write_tiles(tmp_path / "share", range(30)), contents(tile_bundle)

    def reading(stream: Iterable[Any], total: int) -> Iterator[Any]:
        for number, one in enumerate(stream):
            if number == 3:
                photos.rename(tmp_path / "unplugged")
            yield one

    for change in (
        partial(build_bundle, photos, tile_bundle, encoder=tiny_tflite, adapt="off"),
        partial(add_to_bundle, tile_bundle, photos),
    ):
        with pytest.raises(
            CatalogError, match=r"\.png went with its folder while photos were read; nothing was changed"
        ):
            change(progress=reading, workers=1)
        after = contents(tile_bundle)  # what was embedded is kept for the next try
        assert {name: data for name, data in after.items() if not name.startswith(WORK_FOLDER)} == before
        (tmp_path / "unplugged").rename(photos)
    (photos / "sku-003" / "1.png").unlink()  # one photo alone is left out, as ever
    assert add_to_bundle(tile_bundle, photos).products == 30


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc stands for another file system")
def test_the_empty_folder_that_a_share_was_mounted_on_is_not_the_share(
    tile_bundle: Path, tmp_path: Path, tiny_tflite: Path
) -> None:
    """Photos that lie side by side on the share itself: their folder was still there, and they passed for damaged ones."""
    (tmp_path / "disk").mkdir()
    for product in range(30):
        tile_photo(product, 0).save(tmp_path / "disk" / f"{product}.png")
    mounted, before = tmp_path / "share", contents(tile_bundle)
    mounted.symlink_to(tmp_path / "disk")
    rows = "".join(f"share/{product}.png,{product}\n" for product in range(30))
    (tmp_path / "shop.csv").write_text(f"image,sku\n{rows}")

    def reading(stream: Iterable[Any], total: int) -> Iterator[Any]:
        for number, one in enumerate(stream):
            if number == 3:
                mounted.unlink()
                mounted.symlink_to("/proc")
            yield one

    with pytest.raises(CatalogError, match=r"\.png went with its folder while photos were read; nothing was changed"):
        build_bundle(tmp_path / "shop.csv", tile_bundle, encoder=tiny_tflite, adapt="off", progress=reading, workers=1)
    after = contents(tile_bundle)
    assert {name: data for name, data in after.items() if not name.startswith(WORK_FOLDER)} == before


def test_a_broken_upload_leaves_a_product_as_it_was(tile_bundle: Path, tmp_path: Path) -> None:
    """One file that was cut short took the product out of the shop: its photos had gone before the new one was read."""
    write_tiles(tmp_path, range(2, 4), photos=2, first_photo=50)
    (tmp_path / "sku-002" / "51.png").unlink()
    for broken in tmp_path.glob("*/50.png"):
        broken.write_bytes(broken.read_bytes()[:200])
    rows = [f"{photo},{photo.parent.name},another name" for photo in sorted(tmp_path.glob("*/*.png"))]
    (tmp_path / "new.csv").write_text("\n".join(["image,sku,name", *rows]))
    report = add_to_bundle(tile_bundle, tmp_path / "new.csv", replace=True)
    assert (report.not_replaced, report.without_photos, report.removed) == (["sku-002"], [], 3)
    assert report.to_dict()["not_replaced"] == ["sku-002"] and len(report.unreadable) == 2
    assert [(one.sku, one.photos_added, one.photos_removed) for one in report.changes] == [("sku-003", 1, 3)]
    assert skus_in(tile_bundle) == {f"sku-{n:03d}": 3 for n in range(12)} | {"sku-003": 1}
    with Matcher.open(tile_bundle) as matcher:
        kept = matcher.match(tile_photo(2, 5))
        assert kept.sku == "sku-002" and kept.candidates[0].name == ""


def test_photos_replaced_by_themselves_are_the_same_photos(tile_bundle: Path, tile_folder: Path) -> None:
    before = Bundle.open(tile_bundle).manifest
    report = add_to_bundle(tile_bundle, tile_folder, replace=True)
    assert report.duplicates == [] and report.references == report.removed == 36
    after = Bundle.open(tile_bundle).manifest
    assert after.files["vectors"] == before.files["vectors"] and after.decision == before.decision
    assert skus_in(tile_bundle) == {f"sku-{n:03d}": 3 for n in range(12)}


def test_attributes_follow_the_newest_source(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    def csv(name: str, header: str, values: str) -> Path:
        rows = [
            f"image,sku,{header}",
            *(f"{p},{p.parent.name},{values}" for p in sorted(tile_folder.rglob("*.png"))),
        ]
        (tmp_path / name).write_text("\n".join(rows))
        return tmp_path / name

    build_bundle(csv("a.csv", "name,price", "Tile,1.00"), tmp_path / "s.bundle", encoder=tiny_tflite)
    report = add_to_bundle(tmp_path / "s.bundle", csv("b.csv", "price,colour", "2.00,red"))  # the photos it has
    assert len(report.duplicates) == 36
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        product = matcher.match(tile_photo(4, 9)).candidates[0].product
    assert product.name == "Tile" and dict(product.attributes) == {"price": "2.00", "colour": "red"}


def test_removing_what_is_not_there_changes_nothing(tile_bundle: Path) -> None:
    before = contents(tile_bundle)
    with pytest.raises(CatalogError, match="no product 'sku-099'"):
        remove_from_bundle(tile_bundle, ["sku-001", "sku-099"])
    assert contents(tile_bundle) == before


def test_a_product_in_two_spellings_is_removed_once(tile_bundle: Path) -> None:
    report = remove_photos_from_bundle(tile_bundle, " sku-002", [1])
    assert [(one.sku, one.photos_removed) for one in report.changes] == [("sku-002", 1)]
    report = remove_from_bundle(tile_bundle, ["sku-001 ", "sku-001", "sku-003"])
    assert [(one.sku, one.photos_removed) for one in report.changes] == [("sku-001", 3), ("sku-003", 3)]
    assert (report.removed, report.products) == (6, 10)


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_an_emptied_shop_answers_unknown(kind: str, tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "shop.bundle"
    build_bundle(tile_folder, bundle, encoder=tiny_tflite, resizer="pillow", index=kind, adapt="off")
    report = remove_from_bundle(bundle, [f"sku-{n:03d}" for n in range(12)])
    assert (report.products, report.removed) == (0, 36) and skus_in(bundle) == {}
    with Matcher.open(bundle) as matcher:
        result = matcher.match(tile_photo(1, 9))
        assert (result.decision, result.sku, result.candidates, result.confidence) == ("unknown", None, (), 0.0)
        add_to_bundle(bundle, tile_folder)
        assert matcher.match(tile_photo(1, 9)).sku == "sku-001"


def test_make_a_bundle(tiny_tflite: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(tiny_tflite, resizer="pillow")
    products = [Product(f"sku-{n}", f"Product {n}", {"price": str(n)}) for n in range(10)]
    references = [n for n in range(10) for _ in range(3)]
    vectors = encoder.embed(*(tile_photo(n, photo) for n in range(10) for photo in range(3)))
    report = write_bundle(tmp_path / "w.bundle", encoder, products, references, vectors, adapt="off")
    assert (report.products, report.references) == (10, 30)
    with Matcher.open(tmp_path / "w.bundle") as matcher:
        for n in range(10):
            best = matcher.match(tile_photo(n, 9)).candidates[0]
            assert (best.sku, best.name, dict(best.product.attributes)) == (
                f"sku-{n}",
                f"Product {n}",
                {"price": str(n)},
            )
        assert matcher.bundle.manifest.decision.method == "leave-one-out"
    assert add_to_bundle(tmp_path / "w.bundle", write_tiles(tmp_path / "more", range(3))).duplicates == []


def test_that_do_not_fit_are_refused(tiny_tflite: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(tiny_tflite)
    products, good = [Product("a"), Product("b")], np.eye(48, dtype=np.float32)[:2]
    for references, vectors, error in (
        ([0, 1], good[:, :47], VectorError),
        ([0], good, VectorError),
        ([0, 2], good, CatalogError),
        ([-1, 0], good, CatalogError),
        ([0, 1], good * np.nan, VectorError),
        ([0, 1], good[0], VectorError),
    ):
        with pytest.raises(error):
            write_bundle(tmp_path / "w.bundle", encoder, products, references, vectors)
        assert not (tmp_path / "w.bundle").exists()


def test_a_runtime_that_dies_ends_a_build_with_a_sentence(
    tile_folder: Path, tiny_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = Probe("litert", False, problem="dies on import with signal 4; install another version")
    monkeypatch.setattr(building, "probe", lambda runtime: died)
    with pytest.raises(RuntimeUnavailable, match="litert can't be used here: dies on import with signal 4"):
        build_bundle(tile_folder, tmp_path / "b", encoder=tiny_tflite, runtime="litert")
    assert not (tmp_path / "b" / "manifest.json").exists()
