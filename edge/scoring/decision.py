"""Match or unknown: the decision that a bundle carries. `calibration` fits it when the bundle is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import product_of
from ..errors import BundleError

Method = Literal["held-out", "leave-one-out", "synthetic-views", "default"]


@dataclass(frozen=True, slots=True)
class Decision:
    """P(right product) = 1 / (1 + exp(-(intercept + score_weight * score + margin_weight * margin
    + references_weight * log2(references)))), accepted from `threshold` on.

    `score` is the product's cosine, `margin` its lead over the best other product, `references` how many photos the product
    has. `method` says what it was fitted on: groups of like photos held out ("held-out"), single ones ("leave-one-out"),
    synthetic views where products have one photo each, or nothing ("default", a shop too small). `known` and `unknown` count
    the samples; the two rates were measured on them, and `reliability` (mean confidence, share right, queries) on the known.
    """

    method: Method
    intercept: float
    score_weight: float
    margin_weight: float
    references_weight: float
    threshold: float
    target_false_accept_rate: float
    known: int = 0
    unknown: int = 0
    false_accept_rate: float | None = None
    correct_accept_rate: float | None = None
    reliability: tuple[tuple[float, float, int], ...] = ()

    def confidence(self, score: float, margin: float, references: int = 1) -> float:
        """The probability, 0 to 1, that a candidate of this score and margin, with so many references, is the product."""
        logit = self.intercept + self.score_weight * score + self.margin_weight * margin
        logit += self.references_weight * math.log2(max(1, references))
        return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit))))

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Decision:
        """From the manifest. Raises BundleError."""
        try:
            curve = tuple((float(mean), float(share), int(count)) for mean, share, count in record["reliability"])
            return cls(**{**record, "reliability": curve})
        except (TypeError, ValueError, KeyError) as error:
            raise BundleError(
                f"the manifest's decision is not one this version reads: {error}; build the bundle again"
            ) from error


def best_products(reference_ids: NDArray[np.uint32], scores: NDArray[np.float32]) -> list[tuple[int, float]]:
    """(product id, score of its best reference), best first, from references sorted by score."""
    best: dict[int, float] = {}
    for product, score in zip(product_of(reference_ids).tolist(), scores.tolist(), strict=True):
        best.setdefault(product, score)
    return list(best.items())


def margin_of(score: float, best_other: float | None) -> float:
    """A candidate's lead over the best other product; over a cosine of 0 where there is no other."""
    return score - (best_other if best_other is not None else 0.0)
