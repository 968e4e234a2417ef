"""The rule that tells photos of nothing from the shop's goods, fitted on the shop's own pictures and on pictures of nothing.

Linear discriminant analysis of two classes (R. A. Fisher 1936), the covariance shrunk towards a sphere as much as itself, for a
shop may have three pictures. benchmarks/nothing.py measures it on photos, shelves and encoders that had no part in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scoring.adapter import Floats
from ..scoring.blank import BlankRule

ROOM = 0.15
"""How far beyond the shop's own pictures a photo must lie to be nothing; goods lie about -1, nothing about 1."""
FARTHEST = 0.8
"""Where the shop's own pictures reach so far, nothing of them is told from nothing, and there is no rule."""


def fit_blank_rule(own: Floats, goods: Floats, nothing: Floats) -> BlankRule | None:
    """From (N, D) plain embeddings of the catalogue's pictures, (G, D) of goods under hard views, which keep a shop of few clean
    pictures from taking all that is no such picture for nothing, and (M, D) of pictures of nothing. None where they can't be told
    apart, or the shop has no pictures."""
    if not len(own) or not len(nothing):
        return None
    pictures = np.concatenate([own, goods])
    means = pictures.mean(axis=0, dtype=np.float64), nothing.mean(axis=0, dtype=np.float64)
    shared = (_scatter(pictures, means[0]) + _scatter(nothing, means[1])) / 2
    shared += max(float(np.trace(shared)) / len(shared), 1e-6) * np.eye(len(shared))
    gap = means[1] - means[0]
    direction = np.linalg.solve(shared, gap)
    length = float(gap @ direction)
    if not length > 0:
        return None
    direction *= 2 / length
    rule = BlankRule.of(direction.astype(np.float32), float(direction @ (means[0] + means[1])) / 2)
    return with_room(rule, own)


def with_room(rule: BlankRule, own: Floats) -> BlankRule | None:
    """The rule by which none of the (N, D) pictures shows nothing, nor what is little beyond them: a picture of the catalogue is
    of something. None where that leaves nothing to tell."""
    if not len(own):
        return rule
    values: NDArray[np.float32] = own @ rule.numbers()
    beyond = float(values.max()) + ROOM - rule.offset
    if beyond <= 0:
        return rule
    return BlankRule(rule.direction, float(f"{rule.offset + beyond:.6g}")) if beyond < FARTHEST else None


def _scatter(rows: Floats, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, D) covariance, added up block by block: the differences of 100,000 rows would be 200 MB."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096] - mean
        total += part.T @ part
    return total / len(rows)
