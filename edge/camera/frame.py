"""One frame of a camera: all that the rest of the house sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..errors import ImageError
from ..imaging.image import Pixels

TURNS: Final = (0, 90, 180, 270)
"""Degrees clockwise by which a camera's pictures can be turned: one that hangs upside down gives them by 180."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`pixels`: (H, W, 3) uint8 RGB; `time`: when it was taken, seconds since the epoch (UTC); `number`: 0, 1, 2, … in its source;
    `source`: what it came from, for people ("camera 0", a file's name)."""

    pixels: Pixels
    time: float
    number: int
    source: str = ""


def check_turn(turn: int) -> None:
    """Raise ImageError for what is none of `TURNS`."""
    if turn not in TURNS:
        raise ImageError(f"a turn of {turn!r} arrived; expected {', '.join(map(str, TURNS))} degrees clockwise")


def turned(pixels: Pixels, turn: int) -> Pixels:
    """Pixels (H, W, 3) turned by one of `TURNS`. Raises ImageError for another."""
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
