"""Boxes that show the same thing: found by how much they cover each other, and merged into the surest one."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Boxes: TypeAlias = NDArray[np.float32]
"""(N, 4): x0, y0, x1, y1."""


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """(N,) in square pixels; 0 for a box turned inside out."""
    result: NDArray[np.float32] = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    return result


def shared(box: NDArray[np.float32], boxes: Boxes) -> NDArray[np.float32]:
    """(N,) area that one box (4,) shares with each."""
    wide = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    high = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    result: NDArray[np.float32] = np.maximum(wide, 0) * np.maximum(high, 0)
    return result


def iou(box: NDArray[np.float32], boxes: Boxes) -> NDArray[np.float32]:
    """(N,) intersection over union of one box (4,) with each."""
    both = shared(box, boxes)
    own = max(float(box[2] - box[0]), 0.0) * max(float(box[3] - box[1]), 0.0)
    result: NDArray[np.float32] = both / np.maximum(own + areas(boxes) - both, 1e-9)
    return result


def surest(boxes: Boxes, scores: NDArray[np.float32], most_iou: float, limit: int) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: the places of the boxes that stay, best first, at most `limit`; each that a surer one
    overlaps by more than `most_iou` goes."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < limit:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        order = rest[iou(boxes[first], boxes[rest]) <= most_iou]
    return np.array(kept, np.intp)


def merged(
    boxes: Boxes, scores: NDArray[np.float32], parts: NDArray[np.intp], cut: NDArray[np.bool_], most_iou: float
) -> NDArray[np.intp]:
    """The places of the boxes that stay of several parts of one photo, best first.

    `parts` (N,): which part each was found in; `cut` (N,): whether its part's edge cuts it, so that a neighbouring part may have
    it whole. Boxes of two parts are one thing already where one lies mostly inside the other; a cut box gives way to a whole one.
    """
    order = np.lexsort((-scores, cut))
    kept: list[int] = []
    sizes = areas(boxes)
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        both = shared(boxes[first], boxes[rest])
        smaller = np.maximum(np.minimum(sizes[first], sizes[rest]), 1e-9)
        most_inside = np.where(cut[rest], CUT_INSIDE, INSIDE)
        same = (parts[rest] != parts[first]) & (both / smaller > most_inside)
        same |= both / np.maximum(sizes[first] + sizes[rest] - both, 1e-9) > most_iou
        order = rest[~same]
    return np.array(sorted(kept, key=lambda place: -float(scores[place])), np.intp)


def doubted(boxes: Boxes, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the scores, less those that lie mostly in a surer box (a label, a lid; or a product before another) or around two surer
    ones (a group; or a product with two pictures): times `DOUBT`, as Soft-NMS does (Bodla et al. 2017, arXiv:1704.04503), since
    some of them are products."""
    sizes = np.maximum(areas(boxes), 1e-9)
    result = scores.copy()
    plain: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        if plain:
            both = shared(boxes[place], boxes[plain])
            if (both > WITHIN * sizes[place]).any() or (both > WITHIN * sizes[plain]).sum() >= 2:
                result[place] *= DOUBT
                continue
        plain.append(place)
    return result


DOUBT = np.float32(0.7)
"""Of photos and scenes that trained (phone, heaps, a fridge, shelves), the average precision is 1 to 4 points higher than with all
of those dropped, and a shelf's facings are counted as well."""
WITHIN = 0.8
"""Of a box, how much of it lies in another that has it."""
INSIDE = 0.7
"""Of the smaller of two boxes from different parts of a photo, how much lies in the other where both show one product: neighbours
on a shelf share next to nothing."""
CUT_INSIDE = 0.4
"""The same where a part's edge cuts the other one, whose seen end may be off by some pixels."""
