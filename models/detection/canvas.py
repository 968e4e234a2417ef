"""A picture that products are set into, and where they came to lie."""

from __future__ import annotations

import dataclasses
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]

PRODUCT: Final = 0
GAP: Final = 1
UNSURE: Final = -1
"""What is too small, too much hidden, or cut off by the frame: neither asked for nor denied."""
SHOWN: Final = 0.35
"""The share of a thing that must be in the frame, and not hidden, for it to be asked for."""
NOTICED: Final = 0.06
"""The share above which it is at least not taught to be nothing."""
LEAST: Final = 5.0
"""Pixels of the shorter side below which nothing is asked for."""


@dataclasses.dataclass
class Scene:
    """Pixels (S, S, 3) RGB; boxes (N, 4) x0, y0, x1, y1 in pixels; kinds (N,): PRODUCT, GAP or UNSURE; `complete`: whether all
    else is known to be neither."""

    pixels: Pixels
    boxes: NDArray[np.float32]
    kinds: NDArray[np.int64]
    complete: bool = True


def shrunk(face: Pixels, wide: float, high: float) -> Pixels:
    """A face no larger than it is shown, each pixel the mean of those it stands for."""
    size = (max(2, round(wide)), max(2, round(high)))
    while face.shape[1] >= 2 * size[0] and face.shape[0] >= 2 * size[1]:
        # Halves are quick: what is left for the slow, exact step is a quarter of the pixels, or fewer.
        half = (face.shape[1] // 2, face.shape[0] // 2)
        even = face[: 2 * half[1], : 2 * half[0]]
        face = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA))
    if size[0] >= face.shape[1] or size[1] >= face.shape[0]:
        size = (min(size[0], face.shape[1]), min(size[1], face.shape[0]))
    if size == (face.shape[1], face.shape[0]):
        return face
    return np.asarray(cv2.resize(face, size, interpolation=cv2.INTER_AREA))


def rectangle(x: float, y: float, wide: float, high: float) -> Points:
    """Its corners from the upper left one, clockwise."""
    return np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]], np.float32)


def bounds(points: Points) -> tuple[float, float, float, float]:
    """The upright box around points (N, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


class Canvas:
    """A square picture and, per pixel, the number of the thing seen there (-1: none)."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.side = pixels.shape[0]
        self.owner = np.full(pixels.shape[:2], -1, np.int16)
        self.full: list[tuple[float, float, float, float]] = []
        self.kinds: list[int] = []
        self.areas: list[float] = []

    def paint(self, face: Pixels, quad: Points, light: float = 1.0, kind: int | None = PRODUCT) -> None:
        """Set a premultiplied face (h, w, 4) onto four corners; `kind` None paints what is not asked for."""
        x0, y0, x1, y1 = bounds(quad)
        left, top = max(0, int(np.floor(x0))), max(0, int(np.floor(y0)))
        right, bottom = min(self.side, int(np.ceil(x1))), min(self.side, int(np.ceil(y1)))
        if right - left < 2 or bottom - top < 2:
            return
        small = shrunk(face, float(np.linalg.norm(quad[1] - quad[0])), float(np.linalg.norm(quad[3] - quad[0])))
        high, wide = small.shape[:2]
        source = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
        # Pixel centres lie at a half: OpenCV's at whole numbers.
        matrix = cv2.getPerspectiveTransform(
            source - 0.5, quad.astype(np.float32) - np.array([left, top], np.float32) - 0.5
        )
        shown = cv2.warpPerspective(small, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        part = self.pixels[top:bottom, left:right]
        cover = shown[..., 3:].astype(np.float32) / 255
        mixed = part * (1 - cover) + shown[..., :3] * light
        self.pixels[top:bottom, left:right] = np.clip(mixed, 0, 255).astype(np.uint8)
        seen = shown[..., 3] > 127
        if kind is None:
            self.owner[top:bottom, left:right][seen] = -1
            return
        self.owner[top:bottom, left:right][seen] = len(self.full)
        self._remember((x0, y0, x1, y1), kind)

    def _remember(self, box: tuple[float, float, float, float], kind: int) -> None:
        self.full.append(box)
        self.kinds.append(kind)
        self.areas.append((box[2] - box[0]) * (box[3] - box[1]))

    def also(self, quad: Points, number: int = -1) -> None:
        """A thing, the one painted last where no number is given, has a further face."""
        x0, y0, x1, y1 = self.full[number]
        a0, b0, a1, b1 = bounds(quad)
        self.lies(number, (min(x0, a0), min(y0, b0), max(x1, a1), max(y1, b1)))

    def lies(self, number: int, box: tuple[float, float, float, float]) -> None:
        """A thing has this box instead of the one it had."""
        self.full[number] = box
        self.areas[number] = (box[2] - box[0]) * (box[3] - box[1])

    def ask(self, quad: Points, kind: int = GAP) -> None:
        """Something is there that isn't painted: an empty place."""
        self._remember(bounds(quad), kind)

    def scene(self, hidden: bool) -> Scene:
        """What is asked for; where `hidden`, boxes shrink to what nothing lies before."""
        boxes, kinds = [], []
        for number, (box, kind, area) in enumerate(zip(self.full, self.kinds, self.areas, strict=True)):
            share = 1.0
            if hidden and kind == PRODUCT:
                seen = self.owner == number
                rows, columns = np.where(seen.any(axis=1))[0], np.where(seen.any(axis=0))[0]
                if not len(rows):
                    continue
                box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
                share = float(seen.sum()) / (0.5 * area)
            clipped = (max(0.0, box[0]), max(0.0, box[1]), min(self.side, box[2]), min(self.side, box[3]))
            wide, high = clipped[2] - clipped[0], clipped[3] - clipped[1]
            share = min(share, wide * high / area) if min(wide, high) > 0 else 0.0
            if share >= NOTICED:
                boxes.append(clipped)
                kinds.append(kind if share >= SHOWN and min(wide, high) >= LEAST else UNSURE)
        return Scene(self.pixels, np.array(boxes, np.float32).reshape(-1, 4), np.array(kinds, np.int64))
