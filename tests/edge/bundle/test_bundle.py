"""Bundles on disk: one writer at a time, readers that keep what they opened, nothing of the machine inside."""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    BundleLocked,
    BundleVersion,
    CatalogError,
    Encoder,
    Matcher,
    VectorError,
    VectorIndex,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.build.build import write_bundle
from shelfmatch.edge.bundle.bundle import WORK_FOLDER, BundleWriter
from shelfmatch.edge.bundle.manifest import Manifest
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.ids import product_of
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from tests.conftest import tile_photo, write_tiles


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its name there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def skus_in(bundle: Path) -> dict[str, int]:
    """How many photos each product has, as the catalogue says and the vectors agree."""
    opened = Bundle.open(bundle)
    assert opened.verify() == []
    catalog = Catalog(opened.check("catalog"))
    counts = {product.sku: len(catalog.references(product_id)) for product_id, product in catalog.products()}
    index = VectorIndex.load(opened.file("vectors"))
    in_index = np.unique(product_of(index.ids), return_counts=True)
    assert dict(zip(*(part.tolist() for part in in_index), strict=True)) == {
        product_id: len(catalog.references(product_id)) for product_id, _ in catalog.products()
    }
    assert len(counts) == opened.manifest.products and len(index) == opened.manifest.index.references
    catalog.close()
    return counts


def test_a_second_writer_is_told_to_wait(tile_bundle: Path, tile_folder: Path, tiny_tflite: Path) -> None:
    before = contents(tile_bundle)
    with BundleWriter(tile_bundle):
        with pytest.raises(BundleLocked, match="being changed by another process; wait"):
            add_to_bundle(tile_bundle, tile_folder)
        with pytest.raises(BundleLocked):
            remove_from_bundle(tile_bundle, ["sku-000"])
        with pytest.raises(BundleLocked):
            build_bundle(tile_folder, tile_bundle, encoder=tiny_tflite)
    assert contents(tile_bundle) == before
    remove_from_bundle(tile_bundle, ["sku-000"])


def test_the_lock_goes_when_its_holder_dies(tile_bundle: Path) -> None:
    script = (
        "import sys, time\nfrom shelfmatch.edge.bundle.bundle import BundleWriter\n"
        "with BundleWriter(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, tile_bundle], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(BundleLocked):
            remove_from_bundle(tile_bundle, ["sku-000"])
        holder.kill()
    remove_from_bundle(tile_bundle, ["sku-000"])
    assert "sku-000" not in skus_in(tile_bundle)


def test_generations_count_and_files_are_named_by_their_content(
    tile_bundle: Path, tile_folder: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    def check(generation: int) -> None:
        manifest = Bundle.open(tile_bundle).manifest
        assert manifest.generation == generation
        names = {entry.name for entry in manifest.files.values()}
        assert {entry.name for entry in tile_bundle.iterdir()} == names | {"manifest.json"}
        for role, entry in manifest.files.items():
            digest = hashlib.sha256((tile_bundle / entry.name).read_bytes()).hexdigest()
            assert entry.sha256 == digest and entry.name.startswith(f"{role}-{digest[:12]}.")

    check(1)
    encoder = Bundle.open(tile_bundle).file("encoder")
    inode = encoder.stat().st_ino
    add_to_bundle(tile_bundle, write_tiles(tmp_path / "more", range(20, 22)))
    check(2)
    assert encoder.stat().st_ino == inode  # what didn't change is not written again
    remove_from_bundle(tile_bundle, ["sku-020"])
    check(3)
    build_bundle(tile_folder, tile_bundle, encoder=tiny_tflite, resizer="pillow")
    check(4)
    assert len(skus_in(tile_bundle)) == 12


def test_files_of_others_stay(tile_bundle: Path) -> None:
    others = ["notes.txt", "catalog-old.csv", "vectors-backup.vec", "vectors-2024.vec", "mine.tmp", ".hidden"]
    for name in others:
        (tile_bundle / name).write_text(name)
    remove_from_bundle(tile_bundle, ["sku-000"])
    assert [name for name in others if (tile_bundle / name).read_text() != name] == []
    with Matcher.open(tile_bundle) as matcher:
        assert matcher.match(tile_photo(1, 9)).sku == "sku-001"


def test_what_a_killed_writer_left_is_swept(tile_bundle: Path) -> None:
    named = set(contents(tile_bundle))
    for name in (".staging-catalog", ".staging-catalog-journal", ".manifest.json.0a1b2c3d.tmp"):
        (tile_bundle / name).write_text("half")
    (tile_bundle / "..staging-vectors.0a1b2c3d.tmp").write_text("half")
    (tile_bundle / "vectors-0123456789ab.vec").write_text("of a commit that never was")
    with pytest.raises(CatalogError):
        remove_from_bundle(tile_bundle, ["no such product"])
    assert set(contents(tile_bundle)) == named


def test_a_folder_of_photos_is_refused_and_untouched(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "manifest.json").write_text('{"name": "a web page"}')
    half_app = tmp_path / "half-app"
    half_app.mkdir()
    (half_app / "manifest.json").write_text("// not even JSON")
    (half_app / "index.html").write_text("…")
    models = tmp_path / "models"
    models.mkdir()
    (models / "net.tflite").write_bytes(b"a network")
    (models / "cache.tmp").write_bytes(b"of theirs")
    photos = write_tiles(tmp_path / "photos", range(3))
    for folder in (photos, app, half_app, models):
        before = contents(folder)
        with pytest.raises(BundleError):
            build_bundle(tile_folder, folder, encoder=tiny_tflite)
        assert contents(folder) == before and not (folder / WORK_FOLDER).exists()
    (tmp_path / "file").write_text("text")
    with pytest.raises(BundleError, match="is a file"):
        build_bundle(tile_folder, tmp_path / "file", encoder=tiny_tflite)
    with pytest.raises(BundleError, match="can't be written"):
        build_bundle(tile_folder, tmp_path / "file" / "shop.bundle", encoder=tiny_tflite)
    assert (tmp_path / "file").read_text() == "text"


def test_an_empty_folder_becomes_a_bundle(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    build_bundle(tile_folder, tmp_path / "new", encoder=tiny_tflite)
    assert len(skus_in(tmp_path / "new")) == 12


def test_changing_what_is_no_bundle_makes_nothing(tile_folder: Path, tmp_path: Path) -> None:
    for change in (
        lambda path: add_to_bundle(path, tile_folder),
        lambda path: remove_from_bundle(path, ["sku-000"]),
    ):
        with pytest.raises(BundleError, match="does not exist"):
            change(tmp_path / "no" / "shop.bundle")
        assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_can_only_be_built_again(tile_bundle: Path, tile_folder: Path, tiny_tflite: Path) -> None:
    def build() -> None:
        build_bundle(tile_folder, tile_bundle, encoder=tiny_tflite, resizer="pillow", workers=1, adapt="off")

    def lose_vectors() -> None:
        Bundle.open(tile_bundle).file("vectors").unlink()

    def cut_manifest() -> None:
        manifest = tile_bundle / "manifest.json"
        manifest.write_bytes(manifest.read_bytes()[:300])

    def folder_for_file() -> None:
        catalog = Bundle.open(tile_bundle).file("catalog")
        catalog.unlink()
        (catalog / "deeper").mkdir(parents=True)

    whole = contents(tile_bundle)
    for damage, generation in ((lose_vectors, 2), (folder_for_file, 3), (cut_manifest, 1)):
        damage()
        with pytest.raises(BundleDamaged):
            add_to_bundle(tile_bundle, tile_folder)
        with pytest.raises(BundleDamaged):
            remove_from_bundle(tile_bundle, ["sku-000"])
        build()
        assert Bundle.open(tile_bundle).manifest.generation == generation
        assert len(skus_in(tile_bundle)) == 12
    assert contents(tile_bundle) == whole


def reformatted(data: bytes, version: int) -> bytes:
    """A manifest in another format version, sealed."""
    body = data[: data.rindex(b',\n  "sha256": "')].replace(b'"format_version": 2', b'"format_version": %d' % version)
    return body + b',\n  "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def test_what_says_to_build_it_again_can_be_built_again(
    tile_bundle: Path, tile_folder: Path, tiny_tflite: Path
) -> None:
    manifest = tile_bundle / "manifest.json"
    good, opened = manifest.read_bytes(), Bundle.open(tile_bundle).manifest
    incomplete = replace(opened, files={role: entry for role, entry in opened.files.items() if role != "vectors"})
    for wrong in (reformatted(good, 1), incomplete.to_bytes(), good.replace(b'"products": 12', b'"products": 13')):
        manifest.write_bytes(wrong)
        with pytest.raises(BundleError, match="again"):
            Bundle.open(tile_bundle)
        with pytest.raises(BundleError, match="again"):
            remove_from_bundle(tile_bundle, ["sku-000"])
        assert manifest.read_bytes() == wrong
        build_bundle(tile_folder, tile_bundle, encoder=tiny_tflite, resizer="pillow", workers=1, adapt="off")
        assert len(skus_in(tile_bundle)) == 12
    future = reformatted(good, 4)
    for newer in (future, future.replace(b'"products": 12', b'"products": 13')):  # perhaps sealed in another way
        manifest.write_bytes(newer)
        with pytest.raises(BundleVersion, match="install a newer one"):
            build_bundle(tile_folder, tile_bundle, encoder=tiny_tflite)
        assert manifest.read_bytes() == newer


def test_somebody_elses_file_keeps_a_damaged_bundle_from_being_replaced(
    tile_bundle: Path, tile_folder: Path, tiny_tflite: Path
) -> None:
    (tile_bundle / "manifest.json").write_text("{}")
    (tile_bundle / "thesis.txt").write_text("years of work")
    before = contents(tile_bundle)
    with pytest.raises(BundleError):
        build_bundle(tile_folder, tile_bundle, encoder=tiny_tflite)
    assert contents(tile_bundle) == before


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_readers_keep_the_version_they_opened(kind: str, tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "shop.bundle"
    build_bundle(tile_folder, bundle, encoder=tiny_tflite, resizer="pillow", index=kind, adapt="off")
    reader = Matcher.open(bundle, follow=False)  # its network is not even opened yet
    first = contents(bundle)
    add_to_bundle(bundle, write_tiles(tmp_path / "more", range(20, 30)))
    remove_from_bundle(bundle, [f"sku-{n:03d}" for n in range(6)])
    build_bundle(
        write_tiles(tmp_path / "other", range(40, 44)), bundle, encoder=tiny_tflite, resizer="pillow", adapt="off"
    )
    assert not set(first) & set(contents(bundle)) - {"manifest.json", reader.bundle.file("encoder").name}
    for product in range(12):
        result = reader.match(tile_photo(product, 9), top_k=50)
        assert result.sku == f"sku-{product:03d}" and result.generation == 1
        assert {candidate.sku for candidate in result.candidates} == {f"sku-{n:03d}" for n in range(12)}
    reader.close()


def removing_behind(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, bundle: Path, *skus: str) -> list[str]:
    """From now on a product goes each time after `owner.name` was called, while there are any left; those that are left."""
    real, left = getattr(owner, name), list(skus)

    def slow(*arguments: Any) -> Any:
        made = real(*arguments)
        if left:
            sku = left.pop(0)
            with monkeypatch.context() as quick:
                quick.setattr(owner, name, real)
                remove_from_bundle(bundle, [sku])
        return made

    monkeypatch.setattr(owner, name, slow)
    return left


def test_opening_goes_on_when_a_writer_was_faster(tile_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files vanish between reading the manifest and reading them: the new manifest is read instead."""
    left = removing_behind(monkeypatch, Bundle, "open", tile_bundle, "sku-003", "sku-004")
    with Matcher.open(tile_bundle) as matcher:
        result = matcher.match(tile_photo(1, 9), top_k=50)
    assert not left and result.generation == 3
    assert len(result.candidates) == 10


def test_a_bundle_that_changes_while_it_is_opened_is_not_damaged(
    tile_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a manifest that was read are swept before they are looked for."""
    left = removing_behind(monkeypatch, Manifest, "from_bytes", tile_bundle, "sku-003", "sku-004")
    assert Bundle.open(tile_bundle).manifest.generation == 3 and not left


@pytest.mark.parametrize(
    "command", [["info", "--products"], ["verify"], ["similar", "sku-001"], ["find", "sku"]], ids=lambda one: one[0]
)
def test_commands_go_on_when_a_writer_was_faster(
    command: list[str], tile_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = removing_behind(monkeypatch, Bundle, "open", tile_bundle, "sku-003")
    assert main([command[0], str(tile_bundle), *command[1:]]) == 0
    told = capsys.readouterr()
    assert told.err == "" and told.out and "sku-003" not in told.out and not left


def test_a_file_that_vanished_for_good_is_named(tile_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Bundle.open

    def open_and_lose(path: Any) -> Bundle:
        opened = real(path)
        opened.file("vectors").unlink()
        return opened

    monkeypatch.setattr(Bundle, "open", open_and_lose)
    with pytest.raises(BundleDamaged, match=r"vectors-.*\.vec"):
        Matcher.open(tile_bundle)


def test_a_copy_elsewhere_answers_alike(tile_bundle: Path, tmp_path: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        expected = matcher.match(tile_photo(5, 9)).to_dict()
    elsewhere = tmp_path / "år %41 och #1?"
    shutil.copytree(tile_bundle, elsewhere)
    shutil.rmtree(tile_bundle)
    with Matcher.open(elsewhere) as matcher:
        answer = matcher.match(tile_photo(5, 9)).to_dict()
    assert {**answer, "latency_ms": 0} == {**expected, "latency_ms": 0}


def test_an_unfinished_build_says_what_to_do(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "shop.bundle"
    with pytest.raises(KeyboardInterrupt):
        build_bundle(tile_folder, bundle, encoder=tiny_tflite, progress=interrupt_after(5))
    with pytest.raises(BundleError, match="did not finish; run the same build again"):
        Matcher.open(bundle)
    with pytest.raises(BundleError, match="did not finish"):
        add_to_bundle(bundle, tile_folder)
    assert (bundle / WORK_FOLDER).is_dir()
    build_bundle(tile_folder, bundle, encoder=tiny_tflite)
    assert len(skus_in(bundle)) == 12 and not (bundle / WORK_FOLDER).exists()


def interrupt_after(photos: int) -> Any:
    """A progress that presses Ctrl-C."""

    def progress(stream: Iterator[Any], total: int) -> Iterable[Any]:
        for number, one in enumerate(stream):
            if number == photos:
                raise KeyboardInterrupt
            yield one

    return progress


@pytest.mark.parametrize(("index", "vectors"), [("exact", "i8"), ("exact", "f16")])
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
    cache = sqlite3.connect(bundle / WORK_FOLDER / "embeddings.sqlite")
    assert cache.execute("SELECT count(*) FROM embedded").fetchone()[0] >= 20
    # An embedding that no photo has: it can only come from the cache.
    marked = np.eye(48, dtype="<f4")[7]
    photo = tile_folder / "sku-000" / "0.png"
    digest = hashlib.sha256(photo.read_bytes()).digest()
    cache.execute("UPDATE embedded SET vectors = ? WHERE photo_sha256 = ?", (marked.tobytes(), digest))
    cache.commit()
    cache.close()
    build_bundle(tile_folder, bundle, encoder=tiny_tflite, adapt="off")
    index = VectorIndex.load(Bundle.open(bundle).file("vectors"))
    assert index.search(marked, 1)[1][0, 0] > 0.999


def test_another_encoder_does_not_take_cached_embeddings(
    tile_folder: Path, tiny_tflite: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_bundle(tile_folder, tmp_path / "a", encoder=tiny_tflite, progress=interrupt_after(30))
    cache = sqlite3.connect(tmp_path / "a" / WORK_FOLDER / "embeddings.sqlite")
    cache.execute("UPDATE embedded SET vectors = ?", (np.eye(48, dtype="<f4")[7].tobytes(),))
    cache.commit()
    cache.close()
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
    assert report.removed == 6 and report.references == 4
    assert report.without_photos == ["sku-002", "unreadable"]
    expected = {f"sku-{n:03d}": 3 for n in range(12) if n != 2} | {"sku-001": 1, "sku-080": 3}
    assert skus_in(tile_bundle) == expected
    with Matcher.open(tile_bundle) as matcher:
        assert matcher.match(tile_photo(77, 5)).candidates[0].sku == "sku-001"
        old_look = matcher.match(tile_photo(1, 5))
        assert old_look.sku != "sku-001" and matcher.match(tile_photo(3, 5)).sku == "sku-003"


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
        assert matcher.bundle.manifest.decision["method"] == "leave-one-out"
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


def test_the_manifest_is_the_table_of_contents(tile_bundle: Path) -> None:
    manifest = Bundle.open(tile_bundle).manifest
    data = (tile_bundle / "manifest.json").read_bytes()
    assert manifest.to_bytes() == data and Manifest.from_bytes(data, "here") == manifest
    assert manifest.encoder.file == manifest.files["encoder"].name
    assert manifest.encoder.sha256 == manifest.files["encoder"].sha256
    assert (manifest.products, manifest.index.references, manifest.index.dimension) == (12, 36, 48)
    assert os.listdir(tile_bundle).count("manifest.json") == 1  # noqa: PTH208
