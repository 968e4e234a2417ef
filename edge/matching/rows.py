"""Rows of a shelf: which things stand on one board.

Neighbours are chained from left to right, since shelves are seldom level on a photo. That makes a row of each layer of a stack,
and a second one where the chain broke; layers are told from boards by what is between them: things that are stacked touch, and
between two boards there are at least the upper one and its price rail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..detection.detection import Box

BESIDE: Final = 0.5
"""Two neighbours in a row overlap by more than this share of the lower one's height."""
TOUCHING: Final = 0.06
"""Between two things that are stacked there is less than this share of the lower one's height. Boards are 2 to 5 cm thick, goods
stand 20 to 40 cm high on them, and boxes of what touches are off by a few hundredths. Of goods on one board 94.6 % are told so, and
0.9 % of what is told is wrong; with 0.03 it is 93.1 and 0.4 %, with 0.1 95.6 and 1.3 % (`benchmarks/shelf_rows.py --touching`)."""


def rows_of(boxes: Sequence[Box]) -> list[list[int]]:
    """Rows of things that stand on one board, from top to bottom, each as places in `boxes` from left to right.

    The layers of a stack are in one row, and what stands beside it, too.
    """
    if not boxes:
        return []
    found = np.array(boxes, np.float64)
    numbers = _joined(_chained(found), found)
    rows = [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]
    for row in rows:
        row.sort(key=lambda place: boxes[place][0])
    return sorted(rows, key=lambda row: float(found[row][:, [1, 3]].mean()))


def _chained(boxes: NDArray[np.float64]) -> NDArray[np.intp]:
    """(N,) the number of each one's row: that whose latest one, to its left, it overlaps in height. Of several, that which stands
    as high: beside a stack stands its lowest layer."""
    heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)
    numbers = np.zeros(len(boxes), np.intp)
    latest: list[int] = []
    for place in np.argsort(boxes[:, 0], kind="stable"):
        box, last = boxes[place], boxes[latest]
        lower = np.minimum(heights[place], heights[latest])
        shared = (np.minimum(box[3], last[:, 3]) - np.maximum(box[1], last[:, 1])) / lower
        beside = np.flatnonzero(shared > BESIDE)
        if len(beside):
            row = int(beside[np.argmin(np.abs(box[3] - last[beside, 3]) / lower[beside])])
            latest[row] = int(place)
        else:
            row = len(latest)
            latest.append(int(place))
        numbers[place] = row
    return numbers


def _joined(numbers: NDArray[np.intp], boxes: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows that stand on one another are one: where between the things of one and those under them, of the other, there is as good
    as nothing, in the median."""
    above, below, between = _on_one_another(boxes)
    while True:
        apart = numbers[above] != numbers[below]
        above, below, between = above[apart], below[apart], between[apart]
        upper, lower = numbers[above], numbers[below]
        order = np.lexsort((between, lower, upper))
        begins = np.flatnonzero(np.diff(upper[order], prepend=-1) | np.diff(lower[order], prepend=-1))
        medians = between[order[(begins + np.append(begins[1:], len(order)) - 1) // 2]]
        if not len(medians) or medians.min() >= TOUCHING:
            return numbers
        nearest = order[begins[np.argmin(medians)]]
        numbers[numbers == upper[nearest]] = lower[nearest]


def _on_one_another(boxes: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Places of things over others, half of the narrower one's width or more, of those others, and how much is between them, of the
    lower one's height. Only of those with no third thing between: in a stack of four most pairs don't touch."""
    sides, heights = boxes[:, 2] - boxes[:, 0], np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)
    shared = np.minimum(boxes[:, None, 2], boxes[None, :, 2]) - np.maximum(boxes[:, None, 0], boxes[None, :, 0])
    over = shared >= 0.5 * np.minimum(sides[:, None], sides[None, :])
    middles = (boxes[:, 1] + boxes[:, 3]) / 2
    between = (boxes[None, :, 1] - boxes[:, None, 3]) / np.minimum(heights[:, None], heights[None, :])
    # What overlaps by more isn't on but beside or within the other: a box around half of the shelf stands on no board of it.
    stacked = over & (middles[:, None] < middles[None, :]) & (between >= -BESIDE)
    steps = stacked.astype(np.float32)
    above, below = np.nonzero(stacked & (steps @ steps == 0))
    return above, below, between[above, below]
