"""What is wrong with a photo: brightness, contrast, noise and blur, measured on the pixels that the encoder takes.

There, not on the file: noise that the resize averages out and blur of a pixel in twelve megapixels reach no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .image import Pixels

Luma: TypeAlias = NDArray[np.float32]
Fault: TypeAlias = Literal["dark", "low contrast", "noisy", "blurred", "blocky"]
Problem: TypeAlias = Literal["too dark", "too blurred", "nothing to see"]

_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_REBLUR_PX = 1.5
_BLOCK = 8
_EDGES_SHARE = 5.0
"""Per cent of the pixels that count as edges; blur is measured on them alone."""
_NO_EDGE = 1.0
"""Grey levels that a pixel must differ from its neighbours by to be an edge at all."""
MAX_BLUR_PX = 12.0
"""Beyond this the re-blur changes less than rounding does."""

DARK, LOW_CONTRAST, NOISY, BLURRED_PX, BLOCKY = 50.0, 90.0, 2.5, 1.6, 1.5
"""From where on a photo has a fault. Photos of the Grocery Store Dataset (63 of train) at 224 pixels: mean luma over 77, contrast
over 156, noise under 1.8, blur under 1.1 px, blocks under 1.35; those that benchmarks/lookagain.py ruins: luma under 33, noise
over 4.6, blur over 2.0 px, blocks over 1.8. Each had its own fault and no other."""


@dataclass(frozen=True, slots=True)
class Quality:
    """`brightness`: mean luma, 0 to 255; `contrast`: its 99th less its 1st percentile; `noise`: standard deviation in grey levels;
    `blur_px`: standard deviation of the blur at the edges, in pixels of the encoder's input (a sharp photo: 0.5 to 1);
    `blocks`: steps at the borders of JPEG's blocks over steps elsewhere (1: no blocks)."""

    brightness: float
    contrast: float
    noise: float
    blur_px: float
    blocks: float = 1.0

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What look-again should mend, worst first."""
        found: list[Fault] = []
        if self.brightness < DARK:
            found.append("dark")
        elif self.contrast < LOW_CONTRAST:
            found.append("low contrast")
        if self.noise > NOISY:
            found.append("noisy")
        if self.blur_px > BLURRED_PX:
            found.append("blurred")
        if self.blocks > BLOCKY and not found:
            found.append("blocky")
        return tuple(found)

    def to_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {
            "brightness": round(self.brightness, 1),
            "contrast": round(self.contrast, 1),
            "noise": round(self.noise, 2),
            "blur_px": round(self.blur_px, 2),
        }


def measure(pixels: Pixels, decoded: Pixels | None = None) -> Quality:
    """Measure a photo: (H, W, 3) uint8 RGB, at least 8x8. About 3 ms at 224x224.

    `decoded`: the photo as it came, whose JPEG blocks the resize would hide.
    """
    grey = luma(pixels)
    low, high = np.percentile(grey, [1, 99])
    return Quality(float(grey.mean()), float(high - low), noise_of(grey), blur_of(grey), blocks_of(decoded))


def luma(pixels: Pixels) -> Luma:
    """(H, W, 3) RGB → (H, W) float32, 0 to 255."""
    grey: Luma = pixels.astype(np.float32) @ _LUMA
    return grey


def noise_of(grey: Luma) -> float:
    """Standard deviation of white noise in grey levels, from the difference of two Laplacians, which edges and slopes hardly move
    (J. Immerkær 1996, "Fast noise variance estimation"), by the median instead of the mean, so that edges don't count at all
    (D. Donoho 1995: a normal distribution's median deviation is 0.6745 of its standard deviation)."""
    if min(grey.shape) < 3:
        return 0.0
    rows = grey[:-2] - 2 * grey[1:-1] + grey[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.median(np.abs(both))) / 0.6745 / 6  # the kernel's norm is 6


def blur_of(grey: Luma) -> float:
    """Standard deviation of a Gaussian blur in pixels, from how much the edges' slopes lose when blurred once more by a known
    amount: s = s0 / sqrt(R² - 1) with R the ratio of the slopes (S. Zhuo & T. Sim 2011, "Defocus map estimation from a single
    image", equation 6). `MAX_BLUR_PX` where there are no edges."""
    picture = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    slopes = _slopes(picture)
    if not slopes.size:
        return MAX_BLUR_PX
    share, steepest = np.percentile(slopes, [100 - _EDGES_SHARE, 99.9])
    # Few edges: not their flanks, which a blur makes steeper.
    edges = slopes >= max(float(share), float(steepest) * 0.6, _NO_EDGE)
    if not edges.any():
        return MAX_BLUR_PX
    again = _slopes(picture.filter(ImageFilter.GaussianBlur(_REBLUR_PX)))
    ratio = float(np.median(slopes[edges] / np.maximum(again[edges], 0.3)))
    return min(MAX_BLUR_PX, _REBLUR_PX / float(np.sqrt(max(ratio * ratio - 1, 1e-3))))


def _slopes(picture: Image.Image) -> Luma:
    grey = np.asarray(picture, np.float32)
    across, down = grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]
    slopes: Luma = np.hypot(across, down)
    return slopes


def blocks_of(decoded: Pixels | None) -> float:
    """Mean step between the pixels on both sides of an 8x8 block's border, over that between others (Z. Wang, A. Bovik & B. Evans
    2000, "Blind measurement of blocking artifacts in images", in the picture rather than its spectrum)."""
    if decoded is None or min(decoded.shape[:2]) < 8 * _BLOCK:  # too few borders to tell blocks from the product
        return 1.0
    grey = luma(decoded)
    ratios = []
    for steps in (np.abs(np.diff(grey, axis=1)).mean(axis=0), np.abs(np.diff(grey, axis=0)).mean(axis=1)):
        border = steps[_BLOCK - 1 :: _BLOCK]
        inside = np.delete(steps, np.s_[_BLOCK - 1 :: _BLOCK])
        ratios.append(float(border.mean()) / max(float(inside.mean()), 0.1))
    return min(ratios)


def detail_box(grey: Luma) -> tuple[float, float, float, float]:
    """(left, top, right, bottom), each from 0 to 1: where nine tenths of the picture's edges lie, and a tenth around it."""
    if min(grey.shape) < 2 * _BLOCK:
        return 0.0, 0.0, 1.0, 1.0
    across = np.abs(np.diff(grey, axis=1)).sum(axis=0) + 1e-6
    down = np.abs(np.diff(grey, axis=0)).sum(axis=1) + 1e-6
    spans = []
    for steps in (across, down):
        places = np.searchsorted(np.cumsum(steps) / steps.sum(), [0.05, 0.95]) / len(steps)
        margin = (places[1] - places[0]) * 0.1
        spans.append((max(0.0, float(places[0] - margin)), min(1.0, float(places[1] + margin))))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]
