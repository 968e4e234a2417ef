"""Noisy sums: the noise has the distribution that the proof needs, and nothing is said that wasn't paid for first."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from shelfmatch.edge import PrivacyError
from shelfmatch.edge.privacy import counts
from shelfmatch.edge.privacy.counts import Budget, PassersBy, read_sums
from shelfmatch.edge.privacy.laplace import discrete_laplace

NOON = 20_000 * 86_400.0 + 12 * 3600


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("epsilon", "sensitivity"), [(Fraction(1, 2), 1), (Fraction(3, 7), 1), (Fraction(2), 3), (Fraction(3), 1)]
)
def test_the_noise_is_discrete_laplace(epsilon: Fraction, sensitivity: int) -> None:
    rng, count = random.Random(11), 20_000
    drawn = Counter(discrete_laplace(epsilon, sensitivity, rng.randrange) for _ in range(count))
    ratio = math.exp(-float(epsilon) / sensitivity)
    statistic, degrees, rest = 0.0, -1, 1.0
    for x in range(-60, 61):
        chance = (1 - ratio) / (1 + ratio) * ratio ** abs(x)
        if chance * count >= 10:
            statistic += (drawn[x] - chance * count) ** 2 / (chance * count)
            degrees += 1
            rest -= chance
    # A chi-squared variable of n degrees is below n + 4 sqrt(2n) + 8 but for one time in some thousands.
    assert statistic < degrees + 4 * math.sqrt(2 * degrees) + 8
    assert sum(drawn.values()) == count and rest < 0.05


def test_the_noise_takes_no_seed() -> None:
    first, second = ([discrete_laplace(Fraction(1, 10)) for _ in range(40)] for _ in range(2))
    assert first != second
    for epsilon, sensitivity in ((Fraction(0), 1), (Fraction(-1), 1), (Fraction(1), 0)):
        with pytest.raises(PrivacyError, match="expected more than 0"):
            discrete_laplace(epsilon, sensitivity)


def test_the_budget_is_spent_once(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "budget.json"
    budget = Budget(path, Fraction(1), clock)
    assert budget.spend(Fraction(1, 3)) and budget.spend(Fraction(1, 3)) and budget.spend(Fraction(1, 3))
    assert not budget.spend(Fraction(1, 1000))
    assert Budget(path, Fraction(1), clock).left() == 0, "a restart gives nothing back"
    clock.now -= 3 * 86_400
    assert not budget.spend(Fraction(1, 3)), "nor does a clock that goes back"
    clock.now += 4 * 86_400
    assert budget.left() == 1 and budget.spend(Fraction(1))
    for damage in ("{", '{"day": Infinity, "spent": "0"}'):
        path.write_text(damage)
        assert budget.left() == 0 and not budget.spend(Fraction(1, 3)), "what can't be read counts as spent"


def test_a_sum_is_paid_before_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    passers = PassersBy(tmp_path, clock=clock)
    seen: list[Fraction] = []

    def noise(epsilon: Fraction) -> int:
        seen.append(Budget(tmp_path / "budget.json", clock=clock).left())
        return -2

    monkeypatch.setattr(counts, "discrete_laplace", noise)
    for _ in range(7):
        passers.count()
    assert passers.release() is None, "the hour isn't over"
    clock.now += 3600
    said = passers.release()
    assert said is not None and said.sum == 5 and said.end_time - said.start_time == 3600
    assert seen == [Fraction(23, 2)]
    assert read_sums(tmp_path) == [said]
    (tmp_path / "passers-by.json").write_text("[1")
    assert read_sums(tmp_path) == []


def test_damaged_sums_are_set_aside(tmp_path: Path) -> None:
    """They were written over: thirty sums became one."""
    clock = Clock()
    passers = PassersBy(tmp_path, clock=clock)
    for damage in ("[1", None):
        if damage:
            (tmp_path / "passers-by.json").write_text(damage)
        clock.now += 3600
        assert passers.release() is not None
    assert len(read_sums(tmp_path)) == 2
    (aside,) = tmp_path.glob("passers-by.json.damaged-*")
    assert aside.read_text() == "[1"


def _no_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("spoil", ["broke", "disk", "late", "gap"])
def test_nothing_is_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    clock = Clock()
    clock.now += 120 if spoil == "late" else 0  # the hour had begun
    passers = PassersBy(tmp_path, Fraction(1), Fraction(1), clock)
    passers.count(3)
    if spoil == "broke":
        assert Budget(tmp_path / "budget.json", Fraction(1), clock).spend(Fraction(1))
    if spoil == "disk":
        write: Callable[..., None] = _no_disk
        monkeypatch.setattr(counts, "write_atomic", write)
    clock.now += 7200 if spoil == "gap" else 3600
    assert passers.release() is None
    assert read_sums(tmp_path) == []


def test_wrong_settings(tmp_path: Path) -> None:
    for epsilon, daily in ((Fraction(0), Fraction(1)), (Fraction(2), Fraction(1))):
        with pytest.raises(PrivacyError, match="expected more than 0"):
            PassersBy(tmp_path, epsilon, daily)
    with pytest.raises(PrivacyError, match="a day arrived"):
        Budget(tmp_path / "x", Fraction(0))
    with pytest.raises(PrivacyError, match="expected 0 or more"):
        PassersBy(tmp_path).count(-1)
