"""Which of a product's references to keep, and what the others cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import product_of
from ..fitting.calibration import MAX_SAMPLES, evenly
from ..scoring.adapter import Floats


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `max_references` took away: `removed` references. Of the removed photos, at most 2,000 of them and evenly spread, what
    part found its own product among all the other references (`recall_before`), and what part finds it among those that were
    kept (`recall_after`)."""

    removed: int
    recall_before: float
    recall_after: float


def prune(ids: NDArray[np.uint32], rows: Floats, most: int) -> tuple[NDArray[np.bool_], Pruned | None]:
    """Which of the (N, d) references to keep, at most `most` a product, and what that costs (None where nothing goes).

    A product keeps its most central reference, then each time the one farthest from those kept: what is near a kept one adds
    nothing (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance").
    """
    keep = np.ones(len(ids), bool)
    products = product_of(ids)
    for product in np.unique(products):
        own = np.flatnonzero(products == product)
        if len(own) <= most:
            continue
        likeness = rows[own] @ rows[own].T
        chosen = [int(likeness.sum(axis=1).argmax())]
        nearest = likeness[chosen[0]].copy()
        while len(chosen) < most:
            nearest[chosen] = np.inf
            chosen.append(int(nearest.argmin()))
            nearest = np.maximum(nearest, likeness[chosen[-1]])
        keep[own] = False
        keep[own[chosen]] = True
    if keep.all():
        return keep, None
    gone = np.flatnonzero(~keep)
    # Of 100,000 references all that go would be compared with all for minutes.
    queried = gone[evenly(len(gone), MAX_SAMPLES)]
    return keep, Pruned(len(gone), _found(rows, products, queried, None), _found(rows, products, queried, keep))


def _found(rows: Floats, products: NDArray[Any], queried: NDArray[np.intp], keep: NDArray[np.bool_] | None) -> float:
    """The share of rows whose nearest other row, among the kept ones, is of their product."""
    right = 0
    for start in range(0, len(queried), 256):
        part = queried[start : start + 256]
        scores = rows[part] @ rows.T
        scores[np.arange(len(part)), part] = -np.inf
        if keep is not None:
            scores[:, ~keep] = -np.inf
        right += int((products[scores.argmax(axis=1)] == products[part]).sum())
    return right / len(queried)
