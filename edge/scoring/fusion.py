"""Several looks at one product → one list of products: the mean of its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Ranked: TypeAlias = list[tuple[int, float]]
"""(product id, score), best first."""

DEPTH = 20
"""Products whose scores are kept of each look; those further down are taken to score as the last one."""


def mean_scores(looks: Sequence[Ranked], weights: Sequence[float] | None = None) -> Ranked:
    """(product id, mean score), best first. `weights`: one a look, any sum; all alike without.

    A look that doesn't list a product counts with its last one's score, the most that the product can have had.
    """
    shares = [1 / len(looks)] * len(looks) if weights is None else [weight / sum(weights) for weight in weights]
    products = {product for ranked in looks for product, _ in ranked}
    totals = dict.fromkeys(products, 0.0)
    for ranked, share in zip(looks, shares, strict=True):
        scores = dict(ranked)
        floor = min(scores.values(), default=0.0)
        for product in products:
            totals[product] += share * scores.get(product, floor)
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))
