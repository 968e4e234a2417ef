"""How good found boxes are: average precision, recall at few false finds, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Of one photo: boxes (N, 4) and scores (N,), true boxes (G, 4), and boxes (U, 4) whose finds count neither way."""

    boxes: Boxes
    scores: NDArray[np.float32]
    true: Boxes
    unsure: Boxes


def overlaps(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union, (N, M)."""
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inner = inner.clip(min=0).prod(axis=2)
    sizes = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    found: NDArray[np.float32] = inner / (sizes[0][:, None] + sizes[1][None] - inner + 1e-9)
    return found


def matched(found: Found, least: float) -> NDArray[np.int8]:
    """Of each find, best score first: 1 right, 0 false, -1 neither. A true box is found once."""
    order = np.argsort(-found.scores, kind="stable")
    result = np.zeros(len(order), np.int8)
    boxes = found.boxes[order]
    overlap = overlaps(boxes, found.true)
    taken = np.zeros(len(found.true), bool)
    covered = np.zeros(len(order), np.float32)
    if len(found.unsure):
        covered = overlaps(boxes, found.unsure).max(axis=1)
    for row in range(len(order)):
        free = np.where(taken, -1.0, overlap[row]) if len(found.true) else np.zeros(0)
        if len(free) and free.max() >= least:
            taken[int(free.argmax())] = True
            result[row] = 1
        elif covered[row] >= 0.3:
            result[row] = -1
    return result


def average_precision(photos: Sequence[Found], least: float) -> float:
    """Area under precision over recall with precision made falling (as PASCAL VOC 2010 has it), 0 to 1, of all photos together; a
    find is right with at least `least` of overlap (IoU)."""
    scores = np.concatenate([np.sort(photo.scores)[::-1] for photo in photos])
    right = np.concatenate([matched(photo, least) for photo in photos])
    total = sum(len(photo.true) for photo in photos)
    order = np.argsort(-scores, kind="stable")
    right = right[order][right[order] >= 0]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[right == 1].sum() / max(1, total))


def recall_at(photos: Sequence[Found], false_a_photo: float, least: float = 0.5) -> tuple[float, float]:
    """The share of true boxes found at the lowest score with at most so many false finds a photo in the mean; and that score."""
    scores = np.concatenate([np.sort(photo.scores)[::-1] for photo in photos])
    right = np.concatenate([matched(photo, least) for photo in photos])
    total = sum(len(photo.true) for photo in photos)
    order = np.argsort(-scores, kind="stable")
    allowed = np.cumsum(right[order] == 0) <= false_a_photo * len(photos)
    last = int(allowed.sum())
    if not last:
        return 0.0, 1.0
    return float((right[order][:last] == 1).sum() / max(1, total)), float(scores[order][last - 1])
