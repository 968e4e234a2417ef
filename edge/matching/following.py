"""A box that is followed from frame to frame, so that a hand that holds still costs no look of the detector in each.

What lies around the box in one frame is found in the next by phase correlation (C. Kuglin & D. Hines 1975, "The phase correlation
image alignment method"): of the two windows' spectra the phases alone, whose peak is the shift. Whether it is the same thing there
is told by plain correlation.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..detection.detection import Box, grown
from ..imaging.image import Pixels

Window: TypeAlias = NDArray[np.float32]

_SIDE = 64
_AROUND = 0.5
"""Of a box's sides, how much around it is looked at: so far it may move from one frame to the next."""
LEAST_ALIKE = 0.5
"""Correlation of the two places below which the box is lost: two frames of one thing in a shaking hand have 0.7 and more, different
things under 0.4."""


class Follower:
    """One box on a camera's frames; frames of another size lose it."""

    def __init__(self) -> None:
        self.box: Box | None = None
        self._before: Window | None = None
        self._size = (0, 0)

    def start(self, pixels: Pixels, box: Box) -> None:
        """Follow this box from this frame, (H, W, 3), on."""
        self.box, self._size = box, (pixels.shape[1], pixels.shape[0])
        self._before = window(pixels, box, self._size)

    def stop(self) -> None:
        """Follow nothing."""
        self.box = self._before = None

    def follow(self, pixels: Pixels) -> Box | None:
        """Where the box is on the next frame; None, and it is followed no more, where that can't be told."""
        if self.box is None or self._before is None or self._size != (pixels.shape[1], pixels.shape[0]):
            self.stop()
            return None
        area = grown(self.box, _AROUND, self._size)
        across, down = shift_of(self._before, window(pixels, self.box, self._size))
        move_x, move_y = across * (area[2] - area[0]) / _SIDE, down * (area[3] - area[1]) / _SIDE
        x0, y0, x1, y1 = self.box
        wide, high = x1 - x0, y1 - y0
        left = min(max(0.0, x0 + move_x), max(0.0, self._size[0] - wide))
        top = min(max(0.0, y0 + move_y), max(0.0, self._size[1] - high))
        moved = (left, top, left + wide, top + high)
        seen = window(pixels, moved, self._size)
        if alike(self._before, seen) < LEAST_ALIKE:
            self.stop()
            return None
        self.box, self._before = moved, seen
        return moved


def window(pixels: Pixels, box: Box, size: tuple[int, int]) -> Window:
    """What lies in and around a box, in grey, (64, 64)."""
    x0, y0, x1, y1 = grown(box, _AROUND, size)
    left, top = min(int(x0), size[0] - 1), min(int(y0), size[1] - 1)
    part = pixels[top : max(top + 1, round(y1)), left : max(left + 1, round(x1))]
    grey = Image.fromarray(np.ascontiguousarray(part)).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return np.asarray(grey, np.float32)


def shift_of(before: Window, after: Window) -> tuple[float, float]:
    """By how many pixels (x, y) what was seen before lies elsewhere after."""
    taper = np.hanning(_SIDE).astype(np.float32)
    weights = taper[:, np.newaxis] * taper
    one, other = (np.fft.rfft2((image - image.mean()) * weights) for image in (before, after))
    cross = other * np.conj(one)
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=(_SIDE, _SIDE))
    row, column = np.unravel_index(int(np.argmax(peaks)), peaks.shape)
    down = int(row) - _SIDE if row > _SIDE // 2 else int(row)
    across = int(column) - _SIDE if column > _SIDE // 2 else int(column)
    return float(across), float(down)


def alike(one: Window, other: Window) -> float:
    """Correlation of two windows' middles, where the box is: -1 to 1; 1 of two that are both flat, 0 where one is."""
    edge = round(_SIDE * _AROUND / (1 + 2 * _AROUND))
    a, b = (image[edge:-edge, edge:-edge] - image[edge:-edge, edge:-edge].mean() for image in (one, other))
    spreads = [float(np.sqrt((image * image).sum())) for image in (a, b)]
    if min(spreads) < 1.0:
        return float(max(spreads) < 1.0)
    return float((a * b).sum()) / (spreads[0] * spreads[1])
