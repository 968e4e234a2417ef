"""Whether the benchmark's statistics are honest: intervals that cover, alarms that are true, differences that are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from shelfmatch.edge.bench import statistics
from shelfmatch.edge.bench.statistics import difference, mean_of_rounds, quantiles, smallest_effect
from tests.support import tiers

ROUNDS, BLOCKS, SAMPLES = 10, 8, 25
RUNS = tiers.count(60, soak=200)


def alike(random: np.random.Generator, spread: float = 0.05) -> list[list[np.ndarray]]:
    """Latencies around 1 ms that share the mood of their round and of their block, as those of a real run do."""
    rounds = []
    for _ in range(ROUNDS):
        mood = random.normal(0, spread)
        rounds.append(
            [np.exp(mood + random.normal(0, spread) + random.normal(0, 0.02, SAMPLES)) for _ in range(BLOCKS)]
        )
    return rounds


def test_quantiles_are_numpys() -> None:
    rounds = alike(np.random.default_rng(0))
    values = np.concatenate([block for one in rounds for block in one])
    for level, estimate in zip((0.5, 0.9, 0.99), quantiles(rounds, (0.5, 0.9, 0.99)), strict=True):
        assert estimate.value == pytest.approx(np.quantile(values, level, method="inverted_cdf"))
        assert estimate.low <= estimate.value <= estimate.high


def test_intervals_cover_the_truth_where_samples_are_alike() -> None:
    """Counting every sample as evidence would cover it half of the time: the last lines show that."""
    random = np.random.default_rng(1)
    covered = naively = 0
    for number in range(RUNS):
        rounds = alike(random)
        (estimate,) = quantiles(rounds, (0.5,), resamples=200, seed=number)
        covered += estimate.low <= 1.0 <= estimate.high
        values = np.concatenate([block for one in rounds for block in one])
        half = 1.96 * 1.2533 * values.std() / math.sqrt(len(values))  # of a median of independent samples
        naively += abs(np.median(values) - 1.0) <= half
    assert covered >= 0.85 * RUNS  # ten rounds: a bootstrap over so few is a little too narrow
    assert naively < 0.7 * RUNS


def test_an_empty_run_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantiles([[[]]], (0.5,))
    with pytest.raises(ValueError, match="no rounds"):
        mean_of_rounds([])


@pytest.mark.parametrize(("n", "m"), [(8, 8), (5, 7), (10, 6), (3, 3)])
def test_p_values_are_scipys(n: int, m: int) -> None:
    random = np.random.default_rng(n * m)
    for shift in (0.0, 0.05, 0.2):
        a, b = random.lognormal(0, 0.1, n), random.lognormal(shift, 0.1, m)
        expected = mannwhitneyu(a, b, alternative="two-sided", method="exact").pvalue
        assert difference(a.tolist(), b.tolist()).p_value == pytest.approx(expected)


def test_the_interval_excludes_one_exactly_where_the_test_is_sure() -> None:
    random = np.random.default_rng(7)
    for _ in range(300):
        found = difference(random.lognormal(0, 0.05, 8).tolist(), random.lognormal(0.06, 0.05, 8).tolist(), alpha=0.01)
        assert (found.p_value <= 0.01) == (found.low > 1 or found.high < 1)


@pytest.mark.parametrize("shape", ["even", "heavy-tailed", "bursts"])
def test_false_alarms_are_rare(shape: str) -> None:
    """Rounds of one distribution, whatever it is; 1 % is promised, and the smallest effect makes it fewer."""
    random = np.random.default_rng(2)

    def rounds() -> list[float]:
        logs = random.normal(0, 0.05, 8)
        if shape == "heavy-tailed":
            logs = 0.03 * random.standard_t(2, 8)
        if shape == "bursts":
            logs = logs + (random.random(8) < 0.2) * random.exponential(0.5, 8)
        return np.exp(logs).tolist()

    alarms = sum(difference(rounds(), rounds(), alpha=0.01).verdict != "no difference" for _ in range(2000))
    assert alarms <= 30  # binomial(2000, 0.01): more than 30 in one of a hundred
    loose = sum(difference(rounds(), rounds(), alpha=0.5).verdict != "no difference" for _ in range(200))
    assert loose > 30  # the same data, asked carelessly


@pytest.mark.parametrize(("noise", "least"), [(0.02, 0.99), (0.04, 0.95)])
def test_ten_percent_are_found(noise: float, least: float) -> None:
    random = np.random.default_rng(3)
    found = 0
    for _ in range(500):
        a, b = random.lognormal(0, noise, 10), random.lognormal(math.log(1.1), noise, 10)
        found += difference(a.tolist(), b.tolist(), alpha=0.01).verdict == "slower"
    assert found >= least * 500


def test_a_bad_round_hides_nothing() -> None:
    rounds = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99]
    found = difference([*rounds, 5.0], [value * 1.1 for value in (*rounds, 1.0)])
    assert found.verdict == "slower" and found.ratio == pytest.approx(1.1, abs=0.02)


def test_less_than_the_smallest_effect_is_none() -> None:
    a = [1 + number / 10_000 for number in range(8)]
    small = difference(a, [value * 1.02 for value in a])
    assert small.p_value < 0.001 and small.verdict == "no difference"
    assert difference(a, [value * 1.02 for value in a], min_effect=0.01).verdict == "slower"
    assert difference([value * 1.2 for value in a], a).verdict == "faster"


def test_three_rounds_are_too_few() -> None:
    found = difference([1.0, 1.0, 1.0], [2.0, 2.1, 2.2])
    assert found.verdict == "too few rounds" and math.isinf(found.noise)


def test_a_machine_that_changed_asks_for_more() -> None:
    assert smallest_effect([1.0], [1.0]) == statistics.MIN_EFFECT
    assert smallest_effect([1.0], [1.2]) == smallest_effect([1.2], [1.0]) > 0.07
    assert smallest_effect([1.0], [1.0], 0.5, 0.5) > statistics.MIN_EFFECT
    assert smallest_effect([1.0], [1.0], 0.9, 0.5) > smallest_effect([1.0], [1.0], 0.7, 0.7)
