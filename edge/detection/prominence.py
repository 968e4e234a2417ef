"""Which of the things on a photo it is of: what somebody holds up, or laid down to be photographed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .detection import Detection

ALL = 0.8
"""Of the frame: a box that covers more shows what the whole photo shows."""
MOST = 0.5
"""Of the frame: if nothing is surer than one that covers as much, the photo is of that."""
LEAST = 16
"""Pixels of a box's longer side: fewer show no product that anybody could name."""
_SHARE, _MIDDLE, _CUT = 0.1, 8.0, 0.7
"""How much its share of the frame, its distance from the middle (in sides of the frame, squared) and each edge that cuts it count.
Chosen on 163 phone photos of classes that trained the detector (benchmarks/scenes.py measures the others)."""
_EDGE = 0.003
"""Of a side of the frame: so near an edge a box counts as cut by it."""


def is_filled(found: Sequence[Detection], size: tuple[int, int]) -> bool:
    """Whether the surest product takes up most of the photo (width, height), which so is cut to it, or was taken from near."""
    surest = max((one for one in found if one.kind == "product"), key=lambda one: one.score, default=None)
    return surest is not None and surest.size[0] * surest.size[1] >= MOST * size[0] * size[1]


def most_product_like(found: Sequence[Detection], size: tuple[int, int]) -> list[Detection]:
    """Products in order of how likely each is what the photo is of; none that fills the photo (width, height), or is tiny."""
    apart = [
        one
        for one in found
        if one.kind == "product" and one.size[0] * one.size[1] < ALL * size[0] * size[1] and max(one.size) >= LEAST
    ]
    return sorted(apart, key=lambda one: -prominence(one, size))


def prominence(one: Detection, size: tuple[int, int]) -> float:
    """A detection's score, more for one in the middle, less for one that the photo's edges cut: who holds a product up holds it
    into the picture."""
    share = one.size[0] * one.size[1] / (size[0] * size[1])
    x, y = (one.box[0] + one.box[2]) / 2 / size[0] - 0.5, (one.box[1] + one.box[3]) / 2 / size[1] - 0.5
    near = [_EDGE * length for length in size]
    cut = (one.box[0] <= near[0]) + (one.box[1] <= near[1])
    cut += (one.box[2] >= size[0] - near[0]) + (one.box[3] >= size[1] - near[1])
    return float(one.score * share**_SHARE * np.exp(-_MIDDLE * (x * x + y * y) - _CUT * cut))


def scaled(one: Detection, factor: float) -> Detection:
    """In pixels of a photo that is so many times as large."""
    x0, y0, x1, y1 = (edge * factor for edge in one.box)
    return Detection((x0, y0, x1, y1), one.score, one.kind)
