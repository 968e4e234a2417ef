"""Bars are found where they are and turned upright, and a small slanting code is read for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shelfmatch.edge.imaging.barcodes import read_codes
from shelfmatch.edge.imaging.stripes import find_stripes, upright_part


def striped(angle: float, at: tuple[int, int]) -> np.ndarray[Any, Any]:
    """(400, 600) uint8: a patch of upright bars, turned counterclockwise by `angle` degrees, on noise."""
    noise = np.random.default_rng(3).integers(90, 120, (400, 600)).astype(np.uint8)
    bars = Image.fromarray(np.tile(np.repeat(np.array([30, 220], np.uint8), 3), (120, 24)))
    cover = Image.new("L", bars.size, 255).rotate(angle, expand=True)
    turned, picture = bars.rotate(angle, Image.Resampling.BICUBIC, expand=True), Image.fromarray(noise)
    picture.paste(turned, (at[0] - turned.width // 2, at[1] - turned.height // 2), cover)
    return np.asarray(picture)


@pytest.mark.parametrize("angle", [-60.0, -20.0, 0.0, 35.0, 80.0])
def test_bars_are_found_and_stand_upright_in_the_part(angle: float) -> None:
    picture = striped(angle, (380, 190))
    first = find_stripes(picture)
    assert first is not None
    assert abs(first.x - 380) < 40
    assert abs(first.y - 190) < 40
    part, back = upright_part(picture, first)
    middle = part[80:120, 60:140].astype(float)
    assert np.abs(np.diff(middle, axis=1)).mean() > 4 * np.abs(np.diff(middle, axis=0)).mean()
    place = back @ np.array([part.shape[1] / 2, part.shape[0] / 2, 1])
    assert np.abs(place - [first.x, first.y]).max() < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (20, 500), (200, 300)])
def test_without_edges_there_are_none(shape: tuple[int, int]) -> None:
    assert find_stripes(np.full(shape, 77, np.uint8)) is None


def test_small_slanting_codes_are_read() -> None:
    """Under two pixels a bar, turned, a little blurred, noisy. Whole photos alone, also turned by 45 degrees, gave 7 of these."""
    zxing: Any = pytest.importorskip("zxingcpp", reason="pip install 'shelfmatch[barcode]'")
    made = zxing.create_barcode("4006381333931", zxing.BarcodeFormat.EAN13)
    code = Image.fromarray(np.pad(np.asarray(zxing.write_barcode_to_image(made, scale=6)), 60, constant_values=255))
    label = code.convert("L").resize((230, 130), Image.Resampling.LANCZOS)
    read = []
    for number, angle in enumerate(range(8, 180, 9)):
        random = np.random.default_rng(number)
        photo = Image.fromarray(random.integers(60, 200, (12, 16, 3), dtype=np.uint8)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        cover = Image.new("L", label.size, 255).rotate(angle, expand=True)
        photo.paste(label.rotate(angle, Image.Resampling.BICUBIC, expand=True).convert("RGB"), (180, 120), cover)
        pixels = np.asarray(photo.filter(ImageFilter.GaussianBlur(0.6)), float) + random.normal(0, 5, (480, 640, 1))
        read += [one.text for one in read_codes(pixels.clip(0, 255).astype(np.uint8))]
    assert set(read) == {"4006381333931"}
    assert len(read) >= 18
