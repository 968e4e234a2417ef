"""How long entries stay in the log, and that a clock that is set makes none of them old."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shelfmatch.edge.events import log as log_module
from shelfmatch.edge.events.log import EventLog

from .test_log import filled, ids
from .worker import event


class Clocks:
    """The clock that people set, and the one that counts time: `time.time` and `time.monotonic`, moved by days."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wall, steady = time.time, time.monotonic
        self._set_s = self._gone_s = 0.0
        monkeypatch.setattr(time, "time", lambda: wall() + self._set_s + self._gone_s)
        monkeypatch.setattr(time, "monotonic", lambda: steady() + self._gone_s)

    def go_by(self, days: float) -> None:
        """Days go by."""
        self._gone_s += 86_400 * days

    def set_by(self, days: float) -> None:
        """Somebody sets the clock."""
        self._set_s += 86_400 * days


def test_old_entries_go_when_they_are_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = filled(tmp_path)
    monkeypatch.setattr(log_module, "_PRUNE_EVERY", 16)
    clocks = Clocks(monkeypatch)
    clocks.go_by(40)
    with EventLog.open(
        tmp_path, keep_days=30
    ) as log:  # switched off for 40 days, and its consumer still wants its part
        consumer = log.consumer("bus")
        for number in range(60, 80):
            log.append(event(number))
        assert ids(log)[:30] == expected[30:]
        assert [path.name.rpartition("-")[2] for path in (tmp_path / "pictures").iterdir()] == ["41.jpg"]
        consumer.done(log.entries(0, 256)[-1])
        clocks.go_by(40)
        for number in range(400, 420):
            log.append(event(number))
        assert ids(log) == [f"e{number}" for number in range(400, 420)]
        assert log.dropped == 0
    with EventLog.open(tmp_path, keep_days=30) as log:  # without the consumer, which is gone for good
        clocks.go_by(50)
        for number in range(700, 720):
            log.append(event(number))
        assert set(ids(log)) == {f"e{number}" for number in range(700, 720)}
        assert log.dropped == 0


def logged(log: EventLog, first: int, count: int = 16) -> None:
    """Log so many events with pictures, which a consumer has: pruned at the last one."""
    consumer = log.consumer("bus")
    for number in range(first, first + count):
        consumer.done(log.append(event(number), b"\xff\xd8 a picture"))


@pytest.mark.parametrize("begin", ["new", "known"])
@pytest.mark.parametrize("steps", [(33.0,), (40.0, -40.0), (-40.0, 40.0), (-40.0,), (9000.0, -8967.0)])
def test_a_clock_that_is_set_makes_nothing_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[float, ...], begin: str
) -> None:
    """One that began in the past and is set when there is a network; one wrong answer of a time server."""
    monkeypatch.setattr(log_module, "_PRUNE_EVERY", 16)
    clocks = Clocks(monkeypatch)
    count = 0
    if begin == "known":
        with EventLog.open(tmp_path) as log:
            logged(log, count)
        count += 16
        clocks.go_by(2)
    with EventLog.open(tmp_path) as log:
        logged(log, count)
        for step in steps:
            count += 16
            clocks.set_by(step)
            logged(log, count)
        count += 16
        assert ids(log) == [f"e{number}" for number in range(count)]
        assert len(list((tmp_path / "pictures").iterdir())) == count
        clocks.go_by(1)
        logged(log, count)
        assert ids(log) == [f"e{number}" for number in range(count + 16)]
    if begin == "new":  # by then it knows which clock they were logged by
        with EventLog.open(tmp_path) as log:
            clocks.go_by(28)
            logged(log, count + 16)
            assert len(ids(log)) == count + 32, "29 days old"
            clocks.go_by(1.5)
            logged(log, count + 32)
            assert ids(log) == [f"e{number}" for number in range(count, count + 48)], (
                "30.5 days old, and no step keeps them"
            )


def test_a_clock_that_was_wrong_when_the_log_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back, it makes nothing older that was logged by a right one."""
    monkeypatch.setattr(log_module, "_PRUNE_EVERY", 16)
    clocks = Clocks(monkeypatch)
    with EventLog.open(tmp_path) as log:
        logged(log, 0)
    clocks.set_by(40)
    with EventLog.open(tmp_path) as log:
        logged(log, 16, 8)
        clocks.set_by(-40)
        logged(log, 24, 8)
        assert ids(log) == [f"e{number}" for number in range(32)]


def test_what_was_logged_before_a_step_goes_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of before the log was opened: no sooner than 30 days after, by the clock that doesn't step."""
    monkeypatch.setattr(log_module, "_PRUNE_EVERY", 16)
    clocks = Clocks(monkeypatch)
    with EventLog.open(tmp_path) as log:
        logged(log, 0)
    with EventLog.open(tmp_path) as log:
        logged(log, 16)
        clocks.set_by(33)
        clocks.go_by(29)
        logged(log, 32)
        assert ids(log) == [f"e{number}" for number in range(48)]
        clocks.go_by(1.5)
        logged(log, 48)
        assert ids(log) == [f"e{number}" for number in range(32, 64)]
