"""Bar codes on a photo, read by zxing-cpp (extra `barcode`): those that goods bear, wherever and however they lie."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .image import Pixels
from .stripes import SIDE, WIDE_SIDE, Stripes, find_stripes, upright_part

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
    stripes = find_stripes(grey)
    # The reader looks along rows and columns: upright it reads more codes, and fewer of them wrongly.
    found = [] if stripes is None else _read_upright(zxing, grey, stripes, SIDE)
    elsewhere = [(one, _corners(one.position)) for one in _read(zxing, grey)]
    found += [one for one in elsewhere if not any(_same_place(one[1], other[1]) for other in found)]
    if not found and stripes is not None:
        found = _read_upright(zxing, grey, stripes, WIDE_SIDE)
    return tuple(Code(one.text, str(one.format), _box(corners, step)) for one, corners in found)


def _read_upright(zxing: Any, grey: Any, stripes: Stripes, side: float) -> list[tuple[Any, Any]]:
    """The codes around the stripes, and their corners in the picture."""
    part, back = upright_part(grey, stripes, side)
    return [(one, _corners(one.position) @ back[:, :2].T + back[:, 2]) for one in _read(zxing, part)]


def _read(zxing: Any, grey: Any) -> Any:
    formats = [getattr(zxing.BarcodeFormat, name) for name in FORMATS]
    return zxing.read_barcodes(np.ascontiguousarray(grey), formats=formats, text_mode=zxing.TextMode.Plain)


def _same_place(corners: Any, others: Any) -> bool:
    """Whether the middle of one code lies in the other's box: what was read there, upright, stands."""
    low, high = others.min(axis=0), others.max(axis=0)
    edge = 0.1 * (high - low).max()  # a code's box may be a single line of it
    return bool(((corners.mean(axis=0) > low - edge) & (corners.mean(axis=0) < high + edge)).all())


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


def _box(points: Any, step: int) -> tuple[int, int, int, int]:
    low, high = points.min(axis=0), points.max(axis=0)
    return (max(0, round(step * low[0])), max(0, round(step * low[1])), round(step * high[0]), round(step * high[1]))
