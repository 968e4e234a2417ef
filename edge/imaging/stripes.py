"""Where on a photo there are stripes side by side, as a bar code has them, and which way they run: from gradients alone.

The structure tensor of a place (J. Bigün & G. Granlund 1987, "Optimal orientation detection of linear symmetry") says how strong
its gradients are and how far they agree on one direction, up to their sign; both are high where there are bars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BLOCK = 8
"""Pixels a side that are summed up before places are compared: twenty bars of a code that is just readable."""
_REACH = 12
"""The shorter side of the photo over the half side of a place: a code covers a sixth of it and more."""
SIDE, WIDE_SIDE = 0.5, 1.2
"""What is cut out around the stripes, of the photo's shorter side: a code and what is beside it; most of the photo. Of 60 rendered
packages with a code under hard views 54 are read in the small part alone, as many as in one of 0.7
(as `benchmarks/barcodes.py` makes them, from other seeds)."""


@dataclass(frozen=True, slots=True)
class Stripes:
    """The middle of the most striped place in pixels, and by how many degrees its bars lean, clockwise, from upright."""

    x: float
    y: float
    angle: float


def find_stripes(grey: NDArray[np.uint8]) -> Stripes | None:
    """The most striped place of an (H, W) uint8 picture, None where it has no edges or is too small."""
    high, wide = (length // _BLOCK for length in grey.shape)
    if min(high, wide) < 3:
        return None
    across, down = _gradients(grey)
    reach = max(1, round(min(high, wide) / _REACH))
    parts = (across * across, down * down, across * down)
    of_x, of_y, mixed = (_around(_blocks(part, high, wide), reach) for part in parts)
    agreeing = np.hypot(of_x - of_y, 2 * mixed)
    striped = agreeing * agreeing / (of_x + of_y + 1e-6)
    row, column = (int(place) for place in np.unravel_index(int(striped.argmax()), striped.shape))
    if striped[row, column] <= 0:
        return None
    angle = math.degrees(math.atan2(2 * mixed[row, column], of_x[row, column] - of_y[row, column])) / 2
    return Stripes((column + 0.5) * _BLOCK, (row + 0.5) * _BLOCK, angle)


def upright_part(
    grey: NDArray[np.uint8], stripes: Stripes, side_share: float = SIDE
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A square around the stripes, of `side_share` of the shorter side, turned so that its bars stand upright; and the (2, 3)
    matrix that takes x, y, 1 in it to where they are in the picture. Not enlarged: enlarged, more codes are misread than read."""
    side = int(side_share * min(grey.shape))
    cosine, sine = math.cos(math.radians(stripes.angle)), math.sin(math.radians(stripes.angle))
    half = side / 2
    back = np.array(
        [
            [cosine, -sine, stripes.x - cosine * half + sine * half],
            [sine, cosine, stripes.y - sine * half - cosine * half],
        ]
    )
    turned = Image.fromarray(grey).transform(
        (side, side), Image.Transform.AFFINE, tuple(back.reshape(-1).tolist()), Image.Resampling.BICUBIC
    )
    return np.asarray(turned), back


def _gradients(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Central differences across and down, 0 at the border."""
    values = grey.astype(np.float32)
    across, down = np.zeros_like(values), np.zeros_like(values)
    across[:, 1:-1] = values[:, 2:] - values[:, :-2]
    down[1:-1] = values[2:] - values[:-2]
    return across, down


def _blocks(values: NDArray[np.float32], high: int, wide: int) -> NDArray[np.float64]:
    """(high, wide): sums over blocks."""
    whole = values[: high * _BLOCK, : wide * _BLOCK].reshape(high, _BLOCK, wide, _BLOCK)
    found: NDArray[np.float64] = whole.sum(axis=(1, 3), dtype=np.float64)
    return found


def _around(blocks: NDArray[np.float64], reach: int) -> Any:
    """Sums over squares of 2 * `reach` + 1 blocks a side, of the same shape: by a table of sums (F. Crow 1984)."""
    sums = np.pad(np.pad(blocks, reach).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    side = 2 * reach + 1
    return sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
