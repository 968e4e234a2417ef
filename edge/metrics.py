"""Rates with their uncertainty, and how far a confidence is from what it promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RELIABILITY_BINS = 15
"""As in Guo et al. 2017 ("On Calibration of Modern Neural Networks", arXiv:1706.04599)."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers whose confidence lies in [low, high): how many, their mean confidence, and the share that is right. The last
    bin has its upper edge as well; means are None where it is empty."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """As in `eval --json`."""
        return asdict(self)


def reliability(
    confidences: Sequence[float] | NDArray[Any], right: Sequence[bool] | NDArray[Any], bins: int = RELIABILITY_BINS
) -> list[ReliabilityBin]:
    """The reliability table: confidences from 0 to 1 in equal-width bins, against whether each answer is right."""
    values, hits = np.asarray(confidences, float), np.asarray(right, float)
    place = np.minimum((values * bins).astype(np.intp), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, values, minlength=bins)
    rights = np.bincount(place, hits, minlength=bins)
    return [
        ReliabilityBin(
            low=number / bins,
            high=(number + 1) / bins,
            count=int(count),
            confidence=float(sums[number] / count) if count else None,
            accuracy=float(rights[number] / count) if count else None,
        )
        for number, count in enumerate(counts.tolist())
    ]


def calibration_error(
    confidences: Sequence[float] | NDArray[Any], right: Sequence[bool] | NDArray[Any], bins: int = RELIABILITY_BINS
) -> float | None:
    """The expected calibration error (Guo et al. 2017, eq. 3): the mean gap between confidence and accuracy of the bins,
    weighted by how many answers each holds; None without answers."""
    return error_of(reliability(confidences, right, bins))


def error_of(table: Sequence[ReliabilityBin]) -> float | None:
    """The expected calibration error of a reliability table."""
    total = sum(row.count for row in table)
    if not total:
        return None
    gaps = (row.count * abs((row.accuracy or 0.0) - (row.confidence or 0.0)) for row in table if row.count)
    return sum(gaps) / total


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float] | None:
    """The score interval of a binomial rate (E. B. Wilson 1927, JASA 22), 95 % by default; None without trials.

    Unlike the textbook's plus-minus it stays within 0 and 1, and says something of 0 in 20.
    """
    if trials < 1:
        return None
    rate = successes / trials
    middle = rate + z * z / (2 * trials)
    reach = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def log_odds(probability: float, least: float = 1e-12) -> float:
    """log(p / (1 - p)); the probability is held between `least` and 1 - `least`, since at 0 and 1 it is infinite."""
    bounded = min(max(probability, least), 1 - least)
    return math.log(bounded / (1 - bounded))


def logits(values: NDArray[np.float64], least: float = 1e-12) -> NDArray[np.float64]:
    """`log_odds` of each; probabilities are held between `least` and 1 - `least`."""
    bounded = np.clip(values, least, 1 - least)
    result: NDArray[np.float64] = np.log(bounded / (1 - bounded))
    return result


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """The chance that a positive scores above a negative, ties counting half (Mann & Whitney 1947); None without either."""
    if not positives or not negatives:
        return None
    ordered = np.sort(np.asarray(negatives, float))
    values = np.asarray(positives, float)
    below = np.searchsorted(ordered, values, "left")
    up_to = np.searchsorted(ordered, values, "right")
    return float((below + up_to).mean() / (2 * len(ordered)))
