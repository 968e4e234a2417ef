"""What could be accepted: the decision held against every other threshold on the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

POINTS = 50
"""Of a risk-coverage curve, at most: a plot shows no more."""


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """Accepted from a confidence of `threshold` on, a share `coverage` of all answers is; of these a share `risk` is wrong: another
    product, or one that isn't in the catalogue."""

    threshold: float
    coverage: float
    risk: float

    def to_dict(self) -> dict[str, float]:
        """As in `eval --json`."""
        return asdict(self)


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[RiskPoint]:
    """The risk-coverage curve (R. El-Yaniv & Y. Wiener 2010, JMLR 11), the surest answers first; at most POINTS points, the last
    of which accepts all."""
    if not confidences:
        return []
    sure, hits = np.asarray(confidences, float), np.asarray(right, bool)
    order = np.argsort(-sure, kind="stable")
    wrong = np.cumsum(~hits[order])
    ends = np.flatnonzero(np.diff(sure[order], append=-1.0))  # equal confidences are accepted together
    if len(ends) > POINTS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, POINTS).round().astype(np.intp))]
    return [
        RiskPoint(float(sure[order[end]]), (end + 1) / len(sure), float(wrong[end]) / (end + 1))
        for end in ends.tolist()
    ]


def best_possible(
    known: NDArray[np.float64], right: NDArray[np.bool_], unknown: NDArray[np.float64], accepted: int
) -> float:
    """The largest share of known queries (confidences `known`, `right` where the best candidate is the product) that any threshold
    accepts rightly while it accepts at most so many of the unknown ones."""
    above = np.sort(unknown)[::-1]
    limit = above[accepted] if accepted < len(above) else -1.0
    return float(((known > limit) & right).mean())


def efficiency(known: Sequence[float], right: Sequence[bool], accepted: Sequence[bool],
               unknown: Sequence[float], false_accepts: int) -> float | None:  # fmt: skip
    """Right answers accepted over the best possible at as many false accepts; None where either kind of query is missing, or no
    threshold accepts one rightly."""
    if not known or not unknown:
        return None
    hits = np.asarray(right, bool)
    best = best_possible(np.asarray(known, float), hits, np.asarray(unknown, float), false_accepts)
    return float((np.asarray(accepted, bool) & hits).mean()) / best if best else None
