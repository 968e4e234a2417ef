"""Bar codes on a photo, read by zxing-cpp (extra `barcode`): those that goods bear, wherever and however they lie."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .image import Pixels

FORMATS = ("EANUPC", "DataBarOmni", "DataBarLtd", "DataBarExp", "DataBarExpStk", "ITF14", "Code128", "QRCode", "DataMatrix")
"""What an article number is printed in: EAN-13 and -8, UPC-A and -E, DataBar, ITF-14; GS1-128, GS1 DataMatrix and GS1 Digital Link
as a QR code (GS1 General Specifications, section 5)."""
MOST_PIXELS = 4_000_000
"""A larger photo is halved first: the code of a product that fills a twelfth of it still has two pixels a bar, and four times the
pixels are four times the wait."""


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
    found = zxing.read_barcodes(grey, formats=formats, text_mode=zxing.TextMode.Plain)
    return tuple(Code(one.text, str(one.format), _box(one.position, step)) for one in found)


def _grey(pixels: Pixels, step: int) -> Any:
    """(H, W) uint8, a mean of step x step pixels each."""
    high, wide = (length // step * step for length in pixels.shape[:2])
    green = pixels[:high, :wide].astype(np.uint16) @ np.array([77, 150, 29], np.uint16) >> 8  # ITU-R BT.601 in 256ths
    if step > 1:
        green = green.reshape(high // step, step, wide // step, step).mean(axis=(1, 3))
    return np.ascontiguousarray(green, dtype=np.uint8)


def _box(position: Any, step: int) -> tuple[int, int, int, int]:
    corners = (position.top_left, position.top_right, position.bottom_right, position.bottom_left)
    xs, ys = [step * int(one.x) for one in corners], [step * int(one.y) for one in corners]
    return min(xs), min(ys), max(xs), max(ys)
