"""Facings cut out of a frame at its full resolution, upright and rectified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..imaging.image import Pixels
from .align import Matrix
from .geometry import Quad

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, 0 to 1."""
_UPRIGHT: Final = 1.5
"""Pixels by which a facing's sides may slant and still be cut as they are."""
MOST_SIDE: Final = 640
"""Pixels of a cut's longer side; encoders see 152 to 384."""


def corners_in(frame_of: Matrix, quad: Quad, factor: int) -> NDArray[np.float64]:
    """A quad of the reference photo, (4, 2), in the pixels of a frame. `frame_of`: small reference → small frame, pixel centres at
    whole numbers in both; `factor`: how many times smaller small pictures are."""
    small = np.array(quad, np.float64) / factor - 0.5
    moved = small @ frame_of[:, :2].T + frame_of[:, 2]
    return np.asarray((moved + 0.5) * factor, np.float64)


def box_around(corners: NDArray[np.float64], around: float, size: tuple[int, int]) -> Box:
    """The box around corners (N, 2) in a frame of `size` (width, height), in shares of it, with so much more of its own sides on
    each."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    more = around * (high - low)
    first, last = np.clip((low - more) / size, 0.0, 1.0), np.clip((high + more) / size, 0.0, 1.0)
    return float(first[0]), float(first[1]), float(last[0]), float(last[1])


def cut(pixels: Pixels, corners: NDArray[np.float64]) -> Pixels:
    """What lies between four corners (4, 2), as an upright picture."""
    across = (math.dist(corners[0], corners[1]) + math.dist(corners[3], corners[2])) / 2
    down = (math.dist(corners[0], corners[3]) + math.dist(corners[1], corners[2])) / 2
    scale = min(1.0, MOST_SIDE / max(across, down, 1.0))
    size = max(8, round(across * scale)), max(8, round(down * scale))
    height, width = pixels.shape[:2]
    upright = np.array([corners.min(axis=0), corners.max(axis=0)])
    x, y = corners[:, 0], corners[:, 1]
    skew = max(abs(x[0] - x[3]), abs(x[1] - x[2]), abs(y[0] - y[1]), abs(y[3] - y[2]))
    if skew < _UPRIGHT and scale == 1.0:
        first, last = np.rint(upright).astype(int)
        if first.min() >= 0 and last[0] <= width and last[1] <= height:
            return np.ascontiguousarray(pixels[first[1] : last[1], first[0] : last[0]])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, (width - 2, height - 2))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, low + 2, (width, height))
    part = Image.fromarray(np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]]))
    data = (corners[[0, 3, 2, 1]] - low).reshape(-1)
    return np.asarray(part.transform(size, Image.Transform.QUAD, data.tolist(), Image.Resampling.BILINEAR))


def cuts(pixels: Pixels, frame_of: Matrix, quads: Sequence[Quad], factor: int) -> list[Pixels]:
    """Several facings of one frame."""
    return [cut(pixels, corners_in(frame_of, quad, factor)) for quad in quads]
