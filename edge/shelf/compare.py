"""What in a frame differs from the shelf as it was last known: block by block, whatever the light does.

Both pictures are small (a quarter of a camera's frame) and lie on each other. Blocks of 4x4 pixels are compared in windows of
3x3 blocks:

- structure: the contrast-structure term of SSIM (Z. Wang et al. 2004, equation 10 with C1 left out), after the whole frame's gain
  is taken out: 1 where the same edges are there, 0 where others are. Light on flat parts doesn't touch it.
- colour: how the ratios of red and blue to green changed, after the whole frame's cast is taken out.
- brightness: how the level changed beyond the whole frame's gain. It tells a flat jacket from a flat rail, and a sun patch does
  it, too: it counts only for what stands before the shelf, never for what stands on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..imaging.image import Pixels

Floats = NDArray[np.float32]
BLOCK: Final = 4
_NOISE: Final = 5.0
"""Grey levels of standard deviation that noise and JPEG leave in a small picture, doubled."""
LEAST_STRUCTURE: Final = 0.45
MOST_COLOUR: Final = 0.25
"""Natural logarithm of a ratio of channels: a warm lamp beside daylight makes 0.15, another flavour's package 0.3 or more."""
MOST_BRIGHTNESS: Final = 0.45
_DARK: Final = 10.0
"""Grey levels added before ratios are taken: colours of black things are noise."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A small picture's sums over blocks: luma and its square, and the channels' means."""

    luma: Floats
    sums: Floats
    squares: Floats
    channels: Floats


@dataclass(frozen=True, slots=True)
class Difference:
    """Which blocks (rows, columns) show something else: on the shelf (`things`), or before it (`any`). `gains`:
    (3,) by how much each channel of the whole frame is brighter."""

    things: NDArray[np.bool_]
    any: NDArray[np.bool_]
    gains: Floats


def blocks(small: Floats) -> Blocks:
    """A small picture, (h, w, 3) float32 with sides that blocks divide, in blocks."""
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    height, width = luma.shape
    channels = small.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3).mean(axis=(1, 3), dtype=np.float32)
    return Blocks(luma, _summed(luma), _summed(luma * luma), channels)


def difference(seen: Blocks, known: Blocks) -> Difference:
    """Compare a frame with what is known."""
    count = np.float32(9 * BLOCK * BLOCK)
    mean_a, mean_b = _windows(seen.sums) / count, _windows(known.sums) / count
    level = np.log(mean_a + _DARK) - np.log(mean_b + _DARK)
    middle = float(np.median(level))
    gain = np.float32(np.exp(middle))
    var_a = np.maximum(_windows(seen.squares) / count - mean_a**2, 0) / gain
    var_b = np.maximum(_windows(known.squares) / count - mean_b**2, 0) * gain
    shared = _windows(_summed(seen.luma * known.luma)) / count - mean_a * mean_b
    noise = np.float32(_NOISE**2)
    structure = (2 * shared + noise) / (var_a + var_b + noise)
    shift = np.log(seen.channels + _DARK) - np.log(known.channels + _DARK)
    gains = np.exp(np.median(shift, axis=(0, 1)))
    casts = shift[..., ::2] - shift[..., 1:2]
    casts -= np.median(casts, axis=(0, 1))
    things = (structure < LEAST_STRUCTURE) | (np.abs(casts).max(axis=-1) > MOST_COLOUR)
    return Difference(things, things | (np.abs(level - middle) > MOST_BRIGHTNESS), gains.astype(np.float32))


def is_still(seen: Blocks, before: Blocks) -> NDArray[np.bool_]:
    """Which blocks show the same as in the frame before."""
    return ~difference(seen, before).things


def _summed(values: Floats) -> Floats:
    height, width = values.shape
    sums: Floats = values.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).sum(axis=(1, 3), dtype=np.float32)
    return sums


def _windows(values: Floats) -> Floats:
    """Sums over 3x3 blocks; at the border, its blocks count again."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:], np.float32)


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """A frame so many times smaller, each pixel the mean of those it stands for, with sides that blocks divide."""
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).reduce(factor))
    height, width = (side - side % BLOCK for side in small.shape[:2])
    return np.ascontiguousarray(small[:height, :width])


def factor_of(width: int) -> int:
    """How many times smaller the small picture of frames of that width is: about 320 pixels wide."""
    return max(1, round(width / 320))
