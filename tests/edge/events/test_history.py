"""What a log says over time: spans, minutes out of stock, compliance, time to refill; and a log that somebody else reads."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shelfmatch.edge import EventError
from shelfmatch.edge.events.entry import Entry
from shelfmatch.edge.events.event import Event, EventKind, EventType, Severity
from shelfmatch.edge.events.history import PlanSlot, Span, history
from shelfmatch.edge.events.log import EventLog
from shelfmatch.edge.events.reading import read_log

from .worker import event

DAY = 20_000 * 86_400.0
PLAN = [PlanSlot("s1", (), "OATS", "Oats"), PlanSlot("s2", (), "OATS"), PlanSlot("s3", (), "TEA")]


class Story:
    """Writes entries at times in minutes."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def say(
        self, kind: EventType, slot: str | None, before: str, after: str, begun: float, now: float, by: str = ""
    ) -> None:
        end = DAY + 60 * now if kind == "end" else None
        sku = "OATS" if slot != "s3" else "TEA"
        said = {"state": after, "expected": sku, "time": DAY + 60 * now, "by": by}
        severity: Severity = "alert" if "empty" in (before, after) else "detection"
        what: EventKind = "slot" if slot else "camera"
        start = DAY + 60 * begun
        event = Event(f"{slot}-{begun:g}", kind, what, slot, {"state": before}, said, start, end, severity)
        number = len(self.entries) + 1
        picture = f"p{number}.jpg" if slot == "s1" else None
        self.entries.append(Entry(number, f"m-{number}", DAY + 60 * now + 1, event, picture))


def story() -> Story:
    """s1 is empty from 10 to 40; s2 low from 20, empty from 30 to 60; s3 misplaced from 50 on; no view from 35 to 37."""
    told = Story()
    told.say("new", "s1", "full", "empty", 10, 10)
    told.say("new", "s2", "full", "low", 20, 20)
    told.say("update", "s2", "low", "empty", 20, 30)
    told.say("new", None, "ok", "covered", 35, 35)
    told.say("end", None, "covered", "ok", 35, 37)
    told.say("end", "s1", "empty", "full", 10, 40)
    told.say("new", "s3", "full", "misplaced", 50, 50, by="OATS")
    told.say("end", "s2", "empty", "full", 20, 60)
    return told


def minutes(spans: tuple[Span, ...]) -> list[tuple[str, float, float]]:
    return [(one.state, (one.start - DAY) / 60, (one.end - DAY) / 60) for one in spans]


def test_spans_and_figures() -> None:
    past = history(story().entries, PLAN, DAY, DAY + 6000)
    assert minutes(past.slots["s2"]) == [("full", 0, 20), ("low", 20, 30), ("empty", 30, 60), ("full", 60, 100)]
    assert minutes(past.slots["s3"]) == [("full", 0, 50), ("misplaced", 50, 100)]
    assert past.slots["s3"][1].by == "OATS"
    assert minutes(past.camera) == [("ok", 0, 35), ("covered", 35, 37), ("ok", 37, 100)]
    assert past.empty_minutes() == {"OATS": 8.0, "TEA": 0.0}, "both slots at once, without what nobody saw"
    hours = past.compliance()
    # 58 minutes seen of three slots: s1 is empty for 28 of them, s2 for 28, s3 wrong for 10.
    assert [round(share or 0, 6) for _, share in hours] == [
        round(1 - (28 + 28 + 10) / (3 * 58), 6),
        round(1 - 40 / 120, 6),
    ]
    assert past.refill_minutes() == [30.0, 40.0]
    summary = past.summary()
    assert summary["compliance"] == pytest.approx(1 - (28 + 28 + 10 + 40) / (3 * 98)), (
        "of the whole time, not the mean of unlike hours"
    )
    assert summary["events"] == 3 and summary["alerts"] == 2 and summary["open_alerts"] == 0
    assert summary["out_of_stock_minutes"] == {"OATS": 8.0}
    first = past.incidents[0]
    assert (first.slot, first.state, first.sku, first.pictures) == ("s1", "empty", "OATS", ("p1.jpg", "p6.jpg"))


def test_a_part_of_the_time_and_no_plan() -> None:
    past = history(story().entries, (), DAY + 35 * 60, DAY + 45 * 60)
    assert minutes(past.slots["s1"]) == [("empty", 35, 40), ("full", 40, 45)]
    assert {one.slot for one in past.incidents} == {"s1", "s2", ""}
    assert {slot.sku for slot in past.plan} == {"OATS", "TEA"}
    assert history([]).summary()["compliance"] is None


def test_what_comes_after_the_end_changes_nothing() -> None:
    """A day of a log that went on: s1 is empty for its last ten minutes, and the days after have changes of their own."""
    told = story()
    told.say("new", "s1", "full", "empty", 90, 90)
    day = history(told.entries, PLAN, DAY, DAY + 6000)
    for number in range(1, 6):
        told.say("end", "s1", "empty", "full", 1440 * number - 1350, 1440 * number)
        told.say("new", "s1", "full", "empty", 1440 * number + 90, 1440 * number + 90)
        told.say("new", None, "ok", "covered", 1440 * number + 95, 1440 * number + 95)
        told.say("end", None, "covered", "ok", 1440 * number + 95, 1440 * number + 99)
    past = history(told.entries, PLAN, DAY, DAY + 6000)
    assert minutes(past.slots["s1"])[-2:] == [("full", 40, 90), ("empty", 90, 100)]
    assert past.slots == day.slots and past.camera == day.camera
    assert history(told.entries, PLAN[:1], DAY, DAY + 6000).empty_minutes() == {"OATS": 28.0 + 10.0}
    assert past.summary()["compliance"] == day.summary()["compliance"] == pytest.approx(1 - (106 + 10) / (3 * 98))


def test_a_clock_that_went_back() -> None:
    told = Story()
    told.say("new", "s1", "full", "empty", 50, 50)
    told.say("end", "s1", "empty", "full", 50, 20)
    told.say("new", "s1", "full", "low", 21, 21)
    past = history(told.entries, PLAN, DAY, DAY + 6000)
    spans = past.slots["s1"]
    assert all(one.start <= one.end for one in spans)
    assert all(one.end == other.start for one, other in itertools.pairwise(spans))
    assert past.refill_minutes() == [0.0]


def test_slots_of_another_plan_are_events_and_no_slots() -> None:
    past = history(story().entries, PLAN[1:], DAY, DAY + 6000)
    assert sorted(past.slots) == ["s2", "s3"]
    (renamed,) = [one for one in past.incidents if one.slot == "s1"]
    assert renamed.sku == "OATS"
    assert sorted(history(story().entries).slots) == ["s1", "s2", "s3"]


def test_a_clock_that_was_never_set_makes_no_years() -> None:
    told = Story()
    told.say("new", "s1", "full", "empty", -DAY / 60 + 3, -DAY / 60 + 3)
    told.entries += story().entries
    past = history(told.entries, PLAN)
    assert past.start == DAY + 600 and past.end == DAY + 3600
    assert past.incidents[0].start == DAY + 600 and len(past.compliance()) <= 2
    again = Story()
    again.entries = story().entries[:6]
    again.say("new", "s3", "full", "empty", -DAY / 60 + 9, -DAY / 60 + 9)
    assert max(one.start for one in history(again.entries, PLAN).incidents) == DAY + 2400, "the last time before"


def test_a_clock_that_ran_ahead_makes_no_years() -> None:
    """One event of 2090 made a report of 560,000 hours, in which nothing could be seen."""
    for at, began in ((4, 2100.0), (8, 3600.0)):  # between others, and as the last one
        told = story()
        told.say("new", "s3", "full", "empty", 65 * 525_960, 65 * 525_960)
        told.entries.insert(at, told.entries.pop())
        past = history(told.entries, PLAN)
        assert (past.start, past.end) == (DAY + 600, DAY + 3600), "minutes 10 to 60"
        (ahead,) = [one for one in past.incidents if one.state == "empty" and one.slot == "s3"]
        assert ahead.start == DAY + began


def test_a_log_read_where_the_clock_was_never_set_keeps_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 3600.0)
    past = history(story().entries, PLAN)
    assert (past.start, past.end) == (DAY + 600, DAY + 3600) and past.refill_minutes() == [30.0, 40.0]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone."""

    def chosen(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield chosen
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", ["UTC", "IST-5:30", "NPT-5:45", "NST3:30"])
def test_hours_and_days_begin_where_the_clock_on_the_wall_shows_it(name: str, zone: Callable[[str], None]) -> None:
    """In India, columns of the report began at half past."""
    zone(name)
    past = history(story().entries, PLAN, DAY + 1000, DAY + 15 * 86_400)
    for step_s, shown in ((3600.0, "%M:%S"), (86_400.0, "%H:%M:%S"), (7 * 86_400.0, "%A %H:%M:%S")):
        begins = [begin for begin, _ in past.compliance(step_s)]
        assert {time.strftime(shown, time.localtime(begin)) for begin in begins} in (
            {"00:00"},
            {"00:00:00"},
            {"Monday 00:00:00"},
        )
        assert begins[0] <= past.start < begins[1] and begins[-1] < past.end <= begins[-1] + step_s
        assert {after - before for before, after in itertools.pairwise(begins)} == {step_s}


def test_a_day_on_which_the_clocks_are_changed_is_one_day(zone: Callable[[str], None]) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    march = 1_774_652_400.0  # 2026-03-28 00:00 in Berlin; the clocks are set on the 29th
    past = history(story().entries, PLAN, march, march + 3 * 86_400)
    days = [begin - march for begin, _ in past.compliance(86_400.0)]
    assert days == [0, 86_400, 86_400 + 23 * 3600, 2 * 86_400 + 23 * 3600]
    assert len(past.compliance()) == 72


def test_a_slot_that_was_removed_is_no_refill_and_not_amiss() -> None:
    told = Story()
    told.say("new", "s1", "full", "empty", 10, 10)
    told.say("end", "s1", "empty", "removed", 10, 30)
    told.say("new", "s2", "full", "low", 50, 50)
    past = history(told.entries, (), DAY, DAY + 6000)
    assert past.refill_minutes() == [] and past.incidents[0].removed
    seen = 100 + 100 - 70  # of both slots, without s1 after it was removed
    assert past.summary()["compliance"] == pytest.approx((seen - 20) / seen)


def test_a_log_that_another_process_writes(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "log") as log:
        for number in range(30):
            log.append(event(number))
        before = sorted(path.name for path in (tmp_path / "log").iterdir())
        assert [entry.event.id for entry in read_log(tmp_path / "log")] == [f"e{number}" for number in range(30)]
        assert sorted(path.name for path in (tmp_path / "log").iterdir()) == before
    os.truncate(tmp_path / "log" / "events.sqlite", 5000)
    assert len(read_log(tmp_path / "log")) == 30
    (tmp_path / "log" / "events.journal").write_bytes(b"junk")
    with pytest.raises(EventError, match="is damaged: nothing in it can be read"):
        read_log(tmp_path / "log")
    for folder, complaint in ((tmp_path, "is no log"), (tmp_path / "nothing", "isn't there")):
        with pytest.raises(EventError, match=complaint):
            read_log(folder)
