"""How sure a figure is, and whether two of them differ.

Samples of one run are alike: neighbours in time share the machine's mood, a process its memory's layout. So nothing here counts
single samples as evidence: intervals resample whole rounds and the blocks in them, and comparisons weigh rounds against rounds,
each a process of its own, by ranks, which no single bad round can turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 1000
MIN_EFFECT = 0.03
"""Below this a difference isn't called one: the layout of a build in memory alone moves programs by as much (Mytkowicz et al.
2009, "Producing wrong data without doing anything obviously wrong")."""
_DRIFT = 0.25
"""So much of what the yardstick moved is not believed to be corrected by it: it is not the program."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def quantiles(
    rounds: Sequence[Sequence[Sequence[float] | Floats]],
    levels: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Quantiles of samples, given round by round and block by block, with intervals from a two-stage bootstrap: rounds are
    drawn, then blocks of each (Davison & Hinkley 1997, section 3.8). Raises ValueError for no samples."""
    blocks = [(number, np.asarray(block, float)) for number, one in enumerate(rounds) for block in one if len(block)]
    if not blocks:
        raise ValueError("no samples arrived; expected at least one")
    values = np.concatenate([block for _, block in blocks])
    owner = np.repeat(np.arange(len(blocks)), [len(block) for _, block in blocks])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    of_round = np.array([number for number, _ in blocks])
    members = [np.flatnonzero(of_round == number) for number in np.unique(of_round)]
    random = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(levels)))
    for row in range(resamples):
        weights = np.zeros(len(blocks))
        for place in random.integers(0, len(members), len(members)):
            chosen = members[place]
            weights += np.bincount(chosen[random.integers(0, len(chosen), len(chosen))], minlength=len(blocks))
        drawn[row] = _weighted_quantiles(values, weights[owner], levels)
    estimates = _weighted_quantiles(values, np.ones(len(values)), levels)
    tail = 100 * (1 - CONFIDENCE) / 2
    lows, highs = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return [
        Estimate(*map(float, row))
        for row in zip(estimates, np.minimum(lows, estimates), np.maximum(highs, estimates), strict=True)
    ]


def _weighted_quantiles(values: Floats, weights: Floats, levels: Sequence[float]) -> Floats:
    """Of sorted values: the first whose share of the weight up to it reaches the level."""
    total = np.cumsum(weights)
    places = np.searchsorted(total, np.asarray(levels) * total[-1] - 1e-9)
    result: Floats = values[np.minimum(places, len(values) - 1)]
    return result


def mean_of_rounds(values: Sequence[float], *, seed: int = 0) -> Estimate:
    """The median of one figure a round, with a bootstrap interval over rounds. Raises ValueError for none."""
    rows = np.asarray(values, float)
    if not len(rows):
        raise ValueError("no rounds arrived; expected at least one")
    draws = np.random.default_rng(seed).integers(0, len(rows), (RESAMPLES, len(rows)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.median(rows[draws], axis=1), [tail, 100 - tail])
    return Estimate(float(np.median(rows)), float(low), float(high))


_SHARED, _UNEQUAL = 0.05, 0.15
"""Caches and memory that others use: measured beside two trainings on two cores, see benchmarks/bench_honesty.py."""

Verdict = Literal["slower", "faster", "no difference", "too few rounds"]


@dataclass(frozen=True, slots=True)
class Difference:
    """B against A of one figure where more is worse. `ratio` B/A with its interval at `confidence`; `noise`: the smallest
    relative difference that would have been called one."""

    ratio: float
    low: float
    high: float
    confidence: float
    p_value: float
    noise: float
    verdict: Verdict


def difference(
    a: Sequence[float], b: Sequence[float], *, alpha: float = 0.01, min_effect: float = MIN_EFFECT
) -> Difference:
    """Whether positive figures, one a round, differ between A and B: the exact rank-sum test (Mann & Whitney 1947), the ratio
    as the median of all pairs (Hodges & Lehmann 1963), and both the test and `min_effect` must agree."""
    logs_a, logs_b = np.log(np.asarray(a, float)), np.log(np.asarray(b, float))
    pairs = np.sort((logs_b[:, None] - logs_a[None, :]).ravel())
    n, m = len(logs_a), len(logs_b)
    wins = float((pairs > 0).sum() + (pairs == 0).sum() / 2)
    p_value = _p_value(n, m, min(wins, n * m - wins))
    middle = float(np.median(pairs))
    critical = _critical(n, m, alpha)
    if critical < 0:
        return Difference(math.exp(middle), 0.0, math.inf, 1 - alpha, p_value, math.inf, "too few rounds")
    low, high = float(pairs[critical]), float(pairs[n * m - 1 - critical])
    significant = p_value <= alpha and (low > 0 or high < 0)
    verdict: Verdict = "no difference"
    if significant and abs(middle) >= math.log1p(min_effect):
        verdict = "slower" if middle > 0 else "faster"
    noise = max(min_effect, math.expm1((high - low) / 2))
    return Difference(math.exp(middle), math.exp(low), math.exp(high), 1 - alpha, p_value, noise, verdict)


def smallest_effect(
    yardstick_a: Sequence[float], yardstick_b: Sequence[float], quiet_a: float = 1.0, quiet_b: float = 1.0
) -> float:
    """MIN_EFFECT; more where the machine's own speed changed between the two, and where it was shared: `quiet`, the share of
    samples that nobody interrupted."""
    moved = abs(math.log(float(np.median(yardstick_b)) / float(np.median(yardstick_a))))
    shared = _SHARED * (1 - (quiet_a + quiet_b) / 2) + _UNEQUAL * abs(quiet_a - quiet_b)
    return MIN_EFFECT + _DRIFT * moved + shared


@lru_cache(maxsize=32)
def _counts(n: int, m: int) -> tuple[int, ...]:
    """In how many of the orders of n and m values the second kind wins u of the n*m pairs, for u = 0 … n*m."""
    counts = np.zeros(n * m + 1, object)
    counts[0] = 1
    # The Gaussian binomial coefficient: multiply by (1 - q^(m+i)), divide by (1 - q^i).
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, n * m + 1):
            counts[u] += counts[u - i]
    return tuple(int(count) for count in counts)


def _p_value(n: int, m: int, u: float) -> float:
    """Two-sided; ties between the values make it a little too large or small."""
    counts = _counts(n, m)
    return min(1.0, 2 * sum(counts[: math.floor(u) + 1]) / sum(counts))


def _critical(n: int, m: int, alpha: float) -> int:
    """The largest u that is still significant, -1 for none: the interval reaches from pair u+1 to its mirror."""
    counts = _counts(n, m)
    total, below, u = sum(counts), 0, -1
    while 2 * (below + counts[u + 1]) <= alpha * total:
        below, u = below + counts[u + 1], u + 1
    return u
