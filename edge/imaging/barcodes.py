"""Bar codes on a photo, read by zxing-cpp (extra `barcode`): those that goods bear, wherever and however they lie."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .image import Pixels

FORMATS = (
    "EANUPC",
    "DataBarOmni",
    "DataBarLtd",
    "DataBarExp",
    "DataBarExpStk",
    "ITF14",
    "Code128",
    "QRCode",
    "DataMatrix",
)
"""What an article number is printed in: EAN-13 and -8, UPC-A and -E, DataBar, ITF-14; GS1-128, GS1 DataMatrix and GS1 Digital Link
as a QR code (GS1 General Specifications, section 5)."""
MOST_PIXELS = 4_000_000
"""A larger photo is halved first: the code of a product that fills a twelfth of it still has two pixels a bar, and four times the
pixels are four times the wait."""
_SLANT = 45
"""Degrees by which a photo without a code is turned for a second try: the reader looks along rows and columns, and a code that is
twice as wide as high is crossed by one of them up to 25 degrees off."""


@dataclass(frozen=True, slots=True)
class Code:
    """`text`: what it says; `format`: "EAN-13", as zxing-cpp names it; `box`: left, top, right, bottom in pixels of the upright
    photo."""

    text: str
    format: str
    box: tuple[int, int, int, int]


@functools.cache
def reader() -> Any:
    """zxing-cpp's module, None where it isn't installed."""
    try:
        import zxingcpp
    except ImportError:
        return None
    return zxingcpp


def read_codes(pixels: Pixels) -> tuple[Code, ...]:
    """The codes on an upright (H, W, 3) uint8 RGB photo; none where the reader isn't installed. Their check digits are right."""
    zxing = reader()
    if zxing is None:
        return ()
    step = 1
    while pixels.shape[0] * pixels.shape[1] > MOST_PIXELS * step * step:
        step *= 2
    grey = _grey(pixels, step)
    formats = [getattr(zxing.BarcodeFormat, name) for name in FORMATS]
    for angle in (0, _SLANT):
        seen = (
            grey
            if not angle
            else np.asarray(Image.fromarray(grey).rotate(angle, Image.Resampling.BILINEAR, expand=True))
        )
        found = zxing.read_barcodes(seen, formats=formats, text_mode=zxing.TextMode.Plain)
        if found:
            turned = _turned_back(angle, seen.shape, grey.shape)
            return tuple(Code(one.text, str(one.format), _box(turned(_corners(one.position)), step)) for one in found)
    return ()


def _grey(pixels: Pixels, step: int) -> Any:
    """(H, W) uint8, a mean of step x step pixels each."""
    high, wide = (length // step * step for length in pixels.shape[:2])
    green = pixels[:high, :wide].astype(np.uint16) @ np.array([77, 150, 29], np.uint16) >> 8  # ITU-R BT.601 in 256ths
    if step > 1:
        green = green.reshape(high // step, step, wide // step, step).mean(axis=(1, 3))
    return np.ascontiguousarray(green, dtype=np.uint8)


def _corners(position: Any) -> Any:
    """(4, 2) x and y."""
    corners = (position.top_left, position.top_right, position.bottom_right, position.bottom_left)
    return np.array([(one.x, one.y) for one in corners], float)


def _turned_back(angle: int, seen: tuple[int, ...], grey: tuple[int, ...]) -> Callable[[Any], Any]:
    """What takes (N, 2) points of a picture that was turned about its middle back to where they were."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    back = np.array([[cosine, sine], [-sine, cosine]])
    middles = [np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2]) for shape in (seen, grey)]
    return lambda points: (points - middles[0]) @ back + middles[1]


def _box(points: Any, step: int) -> tuple[int, int, int, int]:
    low, high = points.min(axis=0), points.max(axis=0)
    return (max(0, round(step * low[0])), max(0, round(step * low[1])), round(step * high[0]), round(step * high[1]))
