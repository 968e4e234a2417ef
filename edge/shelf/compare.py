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
from PIL import Image

from ..imaging.image import Pixels
from ..imaging.opencv import opencv

Floats = NDArray[np.float32]
BLOCK: Final = 4
_NOISE: Final = 5.0
"""Grey levels of standard deviation that noise and JPEG leave in a small picture, doubled."""
LEAST_STRUCTURE: Final = 0.45
MOST_COLOUR: Final = 0.25
"""Natural logarithm of a ratio of channels: a warm lamp beside daylight makes 0.15, another flavour's package 0.3 or more."""
MOST_BRIGHTNESS: Final = 0.45
_AS_IT_IS: Final = 0.2
"""Small pixels: a smaller move changes no block."""
_DARK: Final = 10.0
"""Grey levels added before ratios are taken: colours of black things are noise."""
_IN_WINDOW: Final = np.float32(9 * BLOCK * BLOCK)
"""Pixels of 3x3 blocks."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A small picture's luma (h, w); its mean and variance in each block's window, (rows, columns), with the mean's logarithm; and
    the logarithms of its channels' means, (3, rows, columns). Each is compared more than once: with what is known, and with the
    frame after."""

    luma: Floats
    mean: Floats
    variance: Floats
    level: Floats
    shade: Floats


@dataclass(frozen=True, slots=True)
class Difference:
    """Which blocks (rows, columns) show something else: on the shelf (`things`), or before it (`any`). `gains`:
    (3,) by how much each channel of the whole frame is brighter."""

    things: NDArray[np.bool_]
    any: NDArray[np.bool_]
    gains: Floats


def blocks(small: Pixels | Floats, grey: Floats | None = None) -> Blocks:
    """A small picture, (h, w, 3) with sides that blocks divide, in blocks; `grey`: its luma, where that is known."""
    luma = grey_of(small) if grey is None else grey
    channels = np.stack([_summed(small[:, :, channel]) for channel in range(3)]) / np.float32(BLOCK**2)
    mean = _windows(_summed(luma)) / _IN_WINDOW
    variance = np.maximum(_windows(_summed(luma * luma)) / _IN_WINDOW - mean**2, 0)
    return Blocks(luma, mean, variance, np.log(mean + _DARK), np.log(channels + _DARK))


def grey_of(small: Pixels | Floats) -> Floats:
    """A picture's luma, (h, w) float32 (ITU-R BT.601's weights)."""
    cv2 = opencv()
    if small.dtype == np.uint8 and cv2 is not None:
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
    grey = small[:, :, 0] * np.float32(0.299)
    grey += small[:, :, 1] * np.float32(0.587)
    grey += small[:, :, 2] * np.float32(0.114)
    return grey


def difference(seen: Blocks, known: Blocks) -> Difference:
    """Compare a frame with what is known."""
    level = seen.level - known.level
    middle = _median(level)
    gain = np.float32(np.exp(middle))
    shared = _windows(_summed(seen.luma * known.luma)) / _IN_WINDOW - seen.mean * known.mean
    noise = np.float32(_NOISE**2)
    structure = (2 * shared + noise) / (seen.variance / gain + known.variance * gain + noise)
    shift = seen.shade - known.shade
    things = structure < LEAST_STRUCTURE
    for channel in (0, 2):
        cast = shift[channel] - shift[1]
        things |= np.abs(cast - np.float32(_median(cast))) > MOST_COLOUR
    gains = np.exp(np.array([_median(one) for one in shift], np.float32))
    return Difference(things, things | (np.abs(level - middle) > MOST_BRIGHTNESS), gains)


def is_still(seen: Blocks, before: Blocks) -> NDArray[np.bool_]:
    """Which blocks show the same as in the frame before."""
    return ~difference(seen, before).things


def _median(values: Floats) -> float:
    """As numpy's own, without its checks, which cost more than the median of a few thousand numbers."""
    flat = values.reshape(-1)
    high = flat.size // 2
    low = high - 1 + flat.size % 2
    parts = np.partition(flat, (low, high))
    return float(parts[low] + parts[high]) / 2


def _summed(values: Floats | Pixels) -> Floats:
    """Sums over blocks, (rows, columns). Slices are added: numpy sums short axes ten times as slowly."""
    rows = values[0::BLOCK].astype(np.float32)
    for number in range(1, BLOCK):
        rows += values[number::BLOCK]
    sums = rows[:, 0::BLOCK].copy()
    for number in range(1, BLOCK):
        sums += rows[:, number::BLOCK]
    return sums


def _windows(values: Floats) -> Floats:
    """Sums over 3x3 blocks; at the border, its blocks count again."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:], np.float32)


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """A frame so many times smaller, each pixel the mean of those it stands for, with sides that blocks divide. By OpenCV where it
    is installed (a fifth of Pillow's time)."""
    height, width = (side // factor for side in pixels.shape[:2])
    cv2 = opencv()
    if cv2 is None:
        small = np.asarray(Image.fromarray(pixels).reduce(factor))[:height, :width]
    else:
        # Every second row says as much: half of the frame needn't come from memory, which is most of the time.
        rows = pixels[: height * factor : 2 if factor % 2 == 0 else 1, : width * factor]
        if factor == 4:  # two pixels by two, and linearly two to one: the same mean in a third of the time
            rows = cv2.resize(rows, (2 * width, height), interpolation=cv2.INTER_AREA)
        small = cv2.resize(rows, (width, height), interpolation=cv2.INTER_LINEAR if factor == 4 else cv2.INTER_AREA)
    return np.ascontiguousarray(small[: height - height % BLOCK, : width - width % BLOCK])


def moved_back(small: Pixels, matrix: NDArray[np.float64]) -> Pixels:
    """A small frame laid on the reference; `matrix` (2, 3): pixels of the reference → of the frame. Black where the frame ends."""
    height, width = small.shape[:2]
    off = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    if float(np.abs(off - np.array([[0, width, 0, width], [0, 0, height, height]])).max()) < _AS_IT_IS:
        return small
    cv2 = opencv()
    if cv2 is not None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(small, matrix, (width, height), flags=flags))
    (a, b, c), (d, e, f) = matrix.tolist()
    # Pillow's pixels have their centres at halves.
    data = (a, b, c + 0.5 - 0.5 * (a + b), d, e, f + 0.5 - 0.5 * (d + e))
    return np.asarray(
        Image.fromarray(small).transform((width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    )


def factor_of(width: int) -> int:
    """How many times smaller the small picture of frames of that width is: about 320 pixels wide."""
    return max(1, round(width / 320))
