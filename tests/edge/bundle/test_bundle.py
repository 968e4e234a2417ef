"""Readers of a bundle keep the version they opened, whatever a writer does meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    Matcher,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.bundle.bundle import WORK_FOLDER
from shelfmatch.edge.bundle.manifest import Manifest
from shelfmatch.edge.cli.app import main
from tests.conftest import tile_photo, write_tiles
from tests.support.bundles import contents, interrupt_after, skus_in


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


def test_the_manifest_is_the_table_of_contents(tile_bundle: Path) -> None:
    manifest = Bundle.open(tile_bundle).manifest
    data = (tile_bundle / "manifest.json").read_bytes()
    assert manifest.to_bytes() == data and Manifest.from_bytes(data, "here") == manifest
    assert manifest.encoder.file == manifest.files["encoder"].name
    assert manifest.encoder.sha256 == manifest.files["encoder"].sha256
    assert (manifest.products, manifest.index.references, manifest.index.dimension) == (12, 36, 48)
    assert os.listdir(tile_bundle).count("manifest.json") == 1  # noqa: PTH208
