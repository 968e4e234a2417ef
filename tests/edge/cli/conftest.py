"""The folder that the commands work in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shelfmatch.edge.cli.app import main
from tests.conftest import tile_photo, write_tiles
from tests.support import tiny_models
from tests.support.commands import CSVS, tiny_options


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_tflite: Path) -> Path:
    """Photos, files that are no photos, encoders, CSVs, and a bundle of 12 products."""
    folder = tmp_path_factory.mktemp("cli")
    write_tiles(folder / "photos", range(12))
    tile_photo(3, 99).save(folder / "query.png")
    tile_photo(4, 99).save(folder / "other.png")
    tile_photo(77, 0).save(folder / "stranger.png")
    (folder / "text.jpg").write_text("not a photo")
    (folder / "empty.jpg").touch()
    (folder / "nothing").mkdir()
    (folder / "texts" / "sku").mkdir(parents=True)
    (folder / "texts" / "sku" / "readme.txt").write_text("no photo")
    (folder / "unreadable" / "sku").mkdir(parents=True)
    (folder / "unreadable" / "sku" / "a.jpg").write_text("no photo")
    for name in ("tiny.tflite", "tiny.blank"):
        shutil.copy(tiny_tflite.with_name(name), folder / name)
    (folder / "tiny.onnx").write_bytes(tiny_models.average_onnx())
    (folder / "float.onnx").write_bytes(tiny_models.average_onnx(dtype="float32"))
    (folder / "two.tflite").write_bytes(tiny_models.average_tflite(extra_output=True))
    (folder / "text.tflite").write_text("not a network")
    (folder / "cut.tflite").write_bytes(tiny_models.average_tflite()[:400])
    (folder / "card.json").write_text('{"width": 3')
    for name, lines in CSVS.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (folder / "cyrillic.csv").write_bytes("image,sku\nquery.png,Зелёный\n".encode("cp1251"))
    assert main(["build", str(folder / "photos"), "-o", str(folder / "shop.bundle"), *tiny_options(folder)]) == 0
    return folder


@pytest.fixture
def shop(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, which is also the current folder: messages name what the user typed."""
    shutil.copytree(prepared, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"
