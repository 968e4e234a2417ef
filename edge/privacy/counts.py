"""How many people pass, and nothing about any of them: noisy sums of hours, and a budget that is spent before a sum is seen.

The true count lives in memory for its hour alone. What one passing can change is hidden by noise; a person who passes five times
in a day is hidden five times less well, and the documents say so.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ..errors import PrivacyError
from ..files import write_atomic
from ..records import read_record
from .laplace import discrete_laplace

logger = logging.getLogger(__name__)

DEFAULT_EPSILON: Final = Fraction(1, 2)
"""Of one sum: the noise's standard deviation is about 2.8 people."""
DEFAULT_DAILY: Final = Fraction(12)
"""Of a day: 24 sums."""
HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400
_MOST_SUMS: Final = 24 * 400
_FILE: Final = "passers-by.json"
_DAMAGE: Final = (ValueError, TypeError, PrivacyError)
"""What reading a damaged file raises."""


@dataclass(frozen=True, slots=True)
class NoisySum:
    """People who passed between two times (seconds since 1970), with noise: it may be below zero. `epsilon`: a fraction as text."""

    start_time: float
    end_time: float
    sum: int
    epsilon: str


class Budget:
    """How much may still be said on a day (UTC), kept in a file. Spending is on the disk before it is granted; a file that can't be
    read counts as spent for today; a clock that goes back finds the later day's file and gets nothing new."""

    def __init__(self, path: Path, daily: Fraction = DEFAULT_DAILY, clock: Callable[[], float] = time.time) -> None:
        if daily <= 0:
            raise PrivacyError(f"a budget of {daily} a day arrived; expected more than 0")
        self._path, self._daily, self._clock = path, daily, clock

    def left(self) -> Fraction:
        """What is left of today's."""
        day, spent = self._read()
        return self._daily if self._today() > day else max(Fraction(0), self._daily - spent)

    def spend(self, epsilon: Fraction) -> bool:
        """Take from today's; whether there was enough, and it is on the disk that it is gone."""
        if epsilon <= 0:
            raise PrivacyError(f"epsilon {epsilon} arrived; expected more than 0")
        left = self.left()
        if epsilon > left:
            return False
        day = max(self._today(), self._read()[0])
        try:
            write_atomic(self._path, json.dumps({"day": day, "spent": str(self._daily - left + epsilon)}).encode())
        except OSError as error:
            logger.warning("%s: nothing is said, since it can't be noted: %s", self._path, error)
            return False
        return True

    def _today(self) -> int:
        return int(self._clock() // _DAY_S)

    def _read(self) -> tuple[int, Fraction]:
        try:
            values = json.loads(self._path.read_bytes())
            return int(values["day"]), Fraction(str(values["spent"]))
        except FileNotFoundError:
            return -1, Fraction(0)
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:  # Infinity is a number of JSON's
            logger.warning("%s can't be read (%s); today's budget counts as spent", self._path, error)
            return self._today(), self._daily


class PassersBy:
    """Counts people and says noisy sums of whole hours. Files go into `folder`: the sums that were said, and the budget."""

    def __init__(
        self,
        folder: Path,
        epsilon: Fraction = DEFAULT_EPSILON,
        daily: Fraction = DEFAULT_DAILY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 < epsilon <= daily:
            raise PrivacyError(
                f"epsilon {epsilon} with {daily} a day arrived; expected more than 0, and no more than a day's"
            )
        self._path = folder / _FILE
        self._budget = Budget(folder / "budget.json", daily, clock)
        self._epsilon, self._clock = epsilon, clock
        self._count, self._hour = 0, self._hour_of(clock())
        self._begun = clock()

    @staticmethod
    def _hour_of(time_s: float) -> int:
        return int(time_s // HOUR_S)

    def count(self, people: int = 1) -> None:
        """So many people came by now. Raises PrivacyError for a negative number."""
        if people < 0:
            raise PrivacyError(f"{people} people arrived; expected 0 or more")
        self.release()
        self._count += people

    def release(self) -> NoisySum | None:
        """Say the sum of the hour that is over, if one is, it was counted in full, and the budget has something left. To be called
        now and then."""
        hour = self._hour_of(self._clock())
        if hour == self._hour:
            return None
        count, over, begun = self._count, self._hour, self._begun
        self._count, self._hour, self._begun = 0, hour, self._clock()
        is_whole = begun <= over * HOUR_S + HOUR_S / 60 and hour == over + 1
        if not is_whole or not self._budget.spend(self._epsilon):
            return None
        noisy = count + discrete_laplace(self._epsilon)
        said = NoisySum(over * HOUR_S, (over + 1) * HOUR_S, noisy, str(self._epsilon))
        try:
            sums = [*self._kept(), said][-_MOST_SUMS:]
            write_atomic(self._path, json.dumps([asdict(one) for one in sums]).encode())
        except OSError as error:
            logger.warning("%s: a sum wasn't kept: %s", self._path, error)
        return said

    def _kept(self) -> list[NoisySum]:
        """The sums of before; a damaged file is set aside, not written over. Raises OSError."""
        try:
            return _sums_in(self._path)
        except FileNotFoundError:
            return []
        except _DAMAGE as error:
            aside = self._path.with_name(f"{_FILE}.damaged-{int(self._clock())}")
            self._path.replace(aside)
            logger.warning("%s is damaged (%s); set aside as %s", self._path, error, aside.name)
            return []


def read_sums(folder: str | os.PathLike[str]) -> list[NoisySum]:
    """The sums that were said, from the oldest; none where there are none or the file is damaged, which is logged."""
    path = Path(folder) / _FILE
    try:
        return _sums_in(path)
    except FileNotFoundError:
        return []
    except (OSError, *_DAMAGE) as error:
        logger.warning("%s can't be read: %s", path, error)
        return []


def _sums_in(path: Path) -> list[NoisySum]:
    values: Any = json.loads(path.read_bytes())
    return [read_record(NoisySum, one, str(path), PrivacyError) for one in values]
