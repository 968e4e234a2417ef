"""One frame of a camera: all that the rest of the house sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import check_turn
from ..errors import ImageError
from ..imaging.image import Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`pixels`: (H, W, 3) uint8 RGB; `time`: when it was taken, seconds since the epoch (UTC); `number`: 0, 1, 2, … in its source;
    `source`: what it came from, for people ("camera 0", a file's name)."""

    pixels: Pixels
    time: float
    number: int
    source: str = ""


def turned(pixels: Pixels, turn: int) -> Pixels:
    """Pixels (H, W, 3) turned by one of `arguments.TURNS`, degrees clockwise. Raises ImageError for another."""
    check_turn(turn)
    return np.ascontiguousarray(np.rot90(pixels, -turn // 90)) if turn else pixels


def checked(pixels: Any, source: str) -> Pixels:
    """Pixels as a frame has them. Raises ImageError for another shape or dtype."""
    shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or str(dtype) != "uint8" or min(shape[:2]) < 1:
        raise ImageError(
            f"{source}: a frame of {type(pixels).__name__} {shape} {dtype} arrived; expected (H, W, 3) uint8 RGB pixels"
        )
    result: Pixels = pixels
    return result
