"""Which of the things on a photo it is of: what somebody holds up, or laid down to be photographed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .detection import Detection

ALL = 0.8
"""Of the frame: a box that covers more shows what the whole photo shows."""


def most_product_like(found: Sequence[Detection], size: tuple[int, int]) -> list[Detection]:
    """Products in order of how likely each is what the photo is of; none that fills the photo (width, height)."""
    apart = [one for one in found if one.kind == "product" and one.size[0] * one.size[1] < ALL * size[0] * size[1]]
    return sorted(apart, key=lambda one: -prominence(one, size))


def prominence(one: Detection, size: tuple[int, int]) -> float:
    """A detection's score, more for a large one in the middle: who holds a product up holds it there."""
    share = one.size[0] * one.size[1] / (size[0] * size[1])
    x, y = (one.box[0] + one.box[2]) / 2 / size[0] - 0.5, (one.box[1] + one.box[3]) / 2 / size[1] - 0.5
    return float(one.score * share**0.25 * np.exp(-2 * (x * x + y * y)))


def scaled(one: Detection, factor: float) -> Detection:
    """In pixels of a photo that is so many times as large."""
    x0, y0, x1, y1 = (edge * factor for edge in one.box)
    return Detection((x0, y0, x1, y1), one.score, one.kind)
