"""For an encoder without a card the rule that finds the shop's own photos is chosen, told and recorded; a card's stays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Bundle, build_bundle
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.registry import names_resize
from tests.conftest import tile_photo, write_tiles

PRODUCTS = 24


def shop(folder: Path) -> Path:
    """Tiles in the middle of photos that are tall once and wide once, on other noise: only the middle says which they are."""
    for product in range(PRODUCTS):
        (folder / f"{product:02d}").mkdir(parents=True)
        for view, size in enumerate([(48, 120), (120, 48)]):
            random = np.random.default_rng([product, view])
            around = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
                size, Image.Resampling.NEAREST
            )
            around.paste(tile_photo(product, view), ((size[0] - 48) // 2, (size[1] - 48) // 2))
            around.save(folder / f"{product:02d}" / f"{view}.png")
    return folder


@pytest.fixture
def bare(tmp_path: Path, tiny_tflite: Path) -> Path:
    """An encoder without a card beside it."""
    model = tmp_path / "bare.tflite"
    model.write_bytes(tiny_tflite.read_bytes())
    return model


def test_the_rule_that_finds_the_shops_photos_is_chosen_and_told(tmp_path: Path, bare: Path) -> None:
    assert inspect_encoder(bare).resize == "squash"
    report = build_bundle(shop(tmp_path / "photos"), tmp_path / "s.bundle", encoder=bare)
    (finding,) = (one for one in report.findings if one.kind == "resize")
    assert "the bundle uses crop" in finding.message
    assert f"of {2 * PRODUCTS}" in finding.message
    assert Bundle.open(tmp_path / "s.bundle").manifest.branches[0].encoder.resize == "crop"


def test_a_card_that_names_its_rule_is_kept_to(tmp_path: Path, bare: Path) -> None:
    card = inspect_encoder(bare)
    Path(f"{bare}.json").write_text(json.dumps(dataclasses.replace(card, resize="squash").to_dict()))
    assert names_resize(bare)
    report = build_bundle(shop(tmp_path / "photos"), tmp_path / "s.bundle", encoder=bare)
    assert not [one for one in report.findings if one.kind == "resize"]
    assert Bundle.open(tmp_path / "s.bundle").manifest.branches[0].encoder.resize == "squash"


@pytest.mark.parametrize("photos", [1, 3])
def test_square_photos_and_single_ones_change_nothing(tmp_path: Path, bare: Path, photos: int) -> None:
    report = build_bundle(
        write_tiles(tmp_path / "p", range(PRODUCTS), photos=photos), tmp_path / "s.bundle", encoder=bare
    )
    assert not report.findings
    assert Bundle.open(tmp_path / "s.bundle").manifest.branches[0].encoder.resize == inspect_encoder(bare).resize


def test_names_come_with_their_cards(bare: Path) -> None:
    assert names_resize("shelfmatch-cnn")
    assert not names_resize(bare)
