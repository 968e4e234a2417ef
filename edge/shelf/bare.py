"""How bare a place looks where no photo of the empty shelf was taught: goods have edges, back walls and boards have few."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..imaging.image import Pixels

_LEAST_SIDE = 8
_MARGIN = 8
"""An eighth of a place's sides is left out at each border: neighbours lean over."""


def roughness(pixels: Pixels) -> float:
    """The mean gradient of a picture (H, W, 3) at half its size, where noise is less, in grey levels a pixel: 0 for one flat
    colour."""
    return gradient(halved(pixels))


def halved(pixels: Pixels) -> Pixels:
    """A picture (H, W, 3) at half its size; small ones as they are."""
    if min(pixels.shape[:2]) < 2 * _LEAST_SIDE:
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(2))


def gradient(pixels: Pixels) -> float:
    """The mean gradient of a picture (H, W, 3), in grey levels a pixel."""
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if min(grey.shape) < 2:
        return 0.0
    down, across = np.gradient(grey)
    return float(np.hypot(across, down).mean())


def bareness(pixels: Pixels, box: tuple[float, float, float, float], whole: float | None = None) -> float:
    """How bare a place x0, y0, x1, y1 of a photo is: 0 where it has the photo's own roughness, 1 where it has none, below 0 where
    it has more. `whole`: the photo's roughness, where it is known."""
    x0, y0, x1, y1 = (round(side) for side in box)
    across, down = (x1 - x0) // _MARGIN, (y1 - y0) // _MARGIN
    part = pixels[
        max(0, y0 + down) : max(y1 - down, y0 + down + 2), max(0, x0 + across) : max(x1 - across, x0 + across + 2)
    ]
    return 1 - roughness(part) / max(roughness(pixels) if whole is None else whole, 1e-6)
