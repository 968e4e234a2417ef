"""One writer at a time, generations, and what a writer replaces, sweeps and leaves alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    BundleLocked,
    BundleVersion,
    CatalogError,
    Matcher,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.bundle import writer
from shelfmatch.edge.bundle.bundle import WORK_FOLDER
from shelfmatch.edge.bundle.writer import BundleWriter
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.files import write_atomic
from tests.conftest import tile_photo, write_tiles
from tests.support.bundles import contents, skus_in


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
        "import sys, time\nfrom shelfmatch.edge.bundle.writer import BundleWriter\n"
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


def test_a_link_to_what_is_not_there_is_named(tile_folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "shop.bundle"
    link.symlink_to(tmp_path / "unplugged" / "shop.bundle")
    with pytest.raises(BundleError, match=r"shop\.bundle is a link to what isn't there; expected the name of a bundle"):
        build_bundle(tile_folder, link, encoder="shelfmatch-nano")
    assert link.is_symlink() and not (tmp_path / "unplugged").exists()


def test_waiting_for_another_writer(tile_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_tiles(tmp_path / "more", range(50, 51), photos=1)
    command = ["add", str(tile_bundle), str(tmp_path / "more")]
    held = threading.Event()

    def hold() -> None:
        with BundleWriter(tile_bundle, existing=True):
            held.set()
            time.sleep(1.5)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(10)
    assert main(command) == 2
    assert "is being changed by another process; wait for it to finish" in capfd.readouterr().err
    assert main([*command, "--wait", "0.2"]) == 2
    assert "another process, still after 0.2 s; wait" in capfd.readouterr().err
    assert main([*command, "--wait", "30", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["products"] == 13
    other.join()
    with pytest.raises(SystemExit):
        main([*command, "--wait=-1"])
    assert "'-1' arrived, expected seconds" in capfd.readouterr().err


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupt_just_after_the_manifest_keeps_its_files(
    tile_bundle: Path, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    """The files of the new version were swept as if they were of none: the bundle was lost."""

    def interrupted(path: Path, data: bytes) -> None:
        write_atomic(path, data)
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_atomic", interrupted)
        with pytest.raises(interrupt):
            remove_from_bundle(tile_bundle, ["sku-003"])
    changed = Bundle.open(tile_bundle)
    assert changed.verify() == [] and changed.manifest.products == 11
