"""A photo that shows nothing is no product, in any shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Matcher, build_bundle
from shelfmatch.edge.matching.opinions import FLAT
from tests.conftest import tile_photo

NOISE = np.random.default_rng(3)


def flat(level: int, size: tuple[int, int] = (640, 480), noise: float = 0.0) -> Any:
    """A photo of one colour, (H, W, 3) uint8 RGB, with sensor noise."""
    pixels = np.full((size[1], size[0], 3), float(level)) + NOISE.normal(0, noise or 1e-9, (size[1], size[0], 3))
    return pixels.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A black, a white and a grey product among tiles: what nothing is most like."""
    folder = tmp_path_factory.mktemp("nothing")
    for number in range(6):
        (folder / "photos" / f"tile-{number}").mkdir(parents=True)
        for view in range(3):
            tile_photo(number, view).save(folder / "photos" / f"tile-{number}" / f"{view}.png")
    for name, level in (("black", 6), ("white", 250), ("grey", 128)):
        (folder / "photos" / name).mkdir()
        for view in range(3):
            picture = Image.fromarray(flat(level, (96, 96), 1.0))
            picture.paste(Image.fromarray(flat(min(255, level + 40), (30, 20), 3.0)), (20 + view, 30))
            picture.save(folder / "photos" / name / f"{view}.png")
    build_bundle(folder / "photos", folder / "shop.bundle")
    return folder / "shop.bundle"


@pytest.mark.parametrize("size", [(640, 480), (300, 900), (200, 200)])
@pytest.mark.parametrize(("level", "noise"), [(0, 0.0), (2, 2.0), (255, 0.0), (250, 2.0), (128, 0.0), (90, 2.0)])
def test_nothing_is_no_match(shop: Path, level: int, noise: float, size: tuple[int, int]) -> None:
    with Matcher.open(shop) as matcher:
        result = matcher.match(flat(level, size, noise))
    assert result.decision == "unknown" and result.sku is None and result.confidence == 0.0 and result.candidates == ()
    assert result.look_again is not None and result.look_again.tried == ()
    assert result.look_again.problem == ("too dark" if level < 7 else "nothing to see")
    assert result.to_dict()["look_again"]["problem"] == result.look_again.problem


def test_a_product_in_the_dark_is_something(shop: Path) -> None:
    """A tile under a twelfth of the light still spreads over more grey levels than the limit: it is ranked."""
    dark = (np.asarray(tile_photo(3, 50)).astype(float) / 12).round().astype(np.uint8)
    with Matcher.open(shop) as matcher:
        assert matcher.encoder.embed_timed(dark).spread > FLAT
        assert matcher.match(dark).candidates


def test_frames_of_nothing_are_no_evidence(shop: Path) -> None:
    with Matcher.open(shop) as matcher:
        tracker = matcher.track()
        tracker.add(np.asarray(tile_photo(3, 50)))
        decision = tracker.add(flat(0))
    assert decision.unreadable == 1 and decision.frames == 1
    assert "shows nothing" in decision.problem


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_border_is_not_taken_for_a_picture(tiny_tflite: Path, resize: str, tmp_path: Path) -> None:
    """A tall white photo on a grey border has contrast that isn't its own."""
    import json

    from shelfmatch.edge import Encoder
    from shelfmatch.edge.encoders.infer_card import inspect_encoder

    card = {**inspect_encoder(tiny_tflite).to_dict(), "resize": resize}
    (tmp_path / tiny_tflite.name).write_bytes(tiny_tflite.read_bytes())
    (tmp_path / "card.json").write_text(json.dumps(card))
    encoder = Encoder.load(tmp_path / "card.json")
    assert encoder.embed_timed(flat(255, (100, 400))).spread < 0.5
    half = flat(255, (100, 400))
    half[:200] = 0
    assert encoder.embed_timed(half).spread > 50
