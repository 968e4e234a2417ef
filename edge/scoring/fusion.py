"""Several rankings of one product → one: scores of frames and variants averaged, scores of two encoders added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import product_of

if TYPE_CHECKING:
    from .adapter import Floats
    from .gallery import Gallery

Ranked: TypeAlias = list[tuple[int, float]]
"""(product id, score), best first."""

Allowed: TypeAlias = NDArray[np.bool_] | None
"""Which of an index's references a filter lets pass; None: all."""

DEPTH = 20
"""Products whose scores are kept of each ranking; those further down are taken to score as the last one. Where more are asked for,
these are listed below, and change nothing of what the first ones come to: an answer doesn't depend on how long a list is."""


def mean_scores(rankings: Sequence[Ranked], weights: Sequence[float] | None = None) -> Ranked:
    """(product id, mean score), best first. `weights`: one a ranking, any sum; all alike without.

    A ranking, best first, that doesn't have a product among its best `DEPTH` counts with the last one's score of those, the most
    that the product can have had.
    """
    shares = [1 / len(rankings)] * len(rankings) if weights is None else [weight / sum(weights) for weight in weights]
    found = _means([ranked[:DEPTH] for ranked in rankings], shares)
    if max(map(len, rankings)) <= DEPTH:
        return found
    listed = {product for product, _ in found}
    last = found[-1][1]
    rest = [(product, min(score, last)) for product, score in _means(rankings, shares) if product not in listed]
    return [*found, *rest]


def _means(rankings: Sequence[Ranked], shares: Sequence[float]) -> Ranked:
    products = {product for ranked in rankings for product, _ in ranked}
    totals = dict.fromkeys(products, 0.0)
    for ranked, share in zip(rankings, shares, strict=True):
        scores = dict(ranked)
        floor = min(scores.values(), default=0.0)
        for product in products:
            totals[product] += share * scores.get(product, floor)
    return _best_first(totals)


def _best_first(totals: dict[int, float]) -> Ranked:
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def fused_rank(
    galleries: Sequence[Gallery],
    vectors: Sequence[Floats],
    weights: Sequence[float],
    count: int,
    allowed: Sequence[Allowed] = (None, None),
) -> Ranked:
    """(product id, weighted sum of its scores) of the `count` best products, best first, for a photo's adapted vectors.

    Those that either gallery has among its best `DEPTH` are compared, by their exact scores in both.
    """
    depth = max(DEPTH, count)
    listed = [
        dict(gallery.rank(vector, depth, passing))
        for gallery, vector, passing in zip(galleries, vectors, allowed, strict=True)
    ]
    products = set().union(*listed)
    totals = dict.fromkeys(products, 0.0)
    for gallery, vector, passing, scores, weight in zip(galleries, vectors, allowed, listed, weights, strict=True):
        missing = products - scores.keys()
        if missing:
            own = np.isin(product_of(gallery.index.ids), np.fromiter(missing, np.uint32, len(missing)))
            scores.update(gallery.rank(vector, len(missing), own if passing is None else own & passing))
        for product in products:
            totals[product] += weight * scores[product]
    return _best_first(totals)[:count]
