"""What a log says about a shelf over time: slots' states, how long products were out of stock, how soon they were refilled."""

from __future__ import annotations

import bisect
import statistics
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .entry import Entry

COMPLIANT: Final = ("full", "low")
"""States in which a slot holds what the plan says."""
REMOVED: Final = "removed"
"""The state of a slot that the plan has no more."""
_NEVER_SET_S: Final = 946_684_800.0
"""2000-01-01: a clock before it was never set, as that of a Raspberry Pi without a battery at its start."""
_AHEAD_S: Final = 86_400.0
"""A time so far after now is one of a clock that ran ahead."""
_TO_MONDAY_S: Final = 3 * 86_400.0
"""1970 began on a Thursday."""
_MOST_S: Final = 30 * 86_400.0
"""An update that was logged so much later than its event began is taken for one of another clock."""


@dataclass(frozen=True, slots=True)
class PlanSlot:
    """What a report needs of a plan: a slot's id, its corners in pixels of the photo, the SKU that belongs there, its name."""

    id: str
    polygon: tuple[tuple[float, float], ...] = ()
    sku: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A state from one time to another, seconds since 1970; `by`: the SKU that is misplaced."""

    state: str
    start: float
    end: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """All messages of one event: when it began and ended (None: not yet), the worst that was said, its first and last picture;
    `removed`: it ended because the plan has the slot no more."""

    id: str
    kind: str
    slot: str
    sku: str
    state: str
    by: str
    severity: str
    start: float
    end: float | None
    messages: int
    pictures: tuple[str, ...] = ()
    removed: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """`slots`, `camera`: spans in order of time, without gaps between `start` and `end`."""

    start: float
    end: float
    plan: tuple[PlanSlot, ...]
    slots: Mapping[str, tuple[Span, ...]]
    camera: tuple[Span, ...]
    incidents: tuple[Incident, ...]

    def empty_minutes(self) -> dict[str, float]:
        """For each SKU, the minutes in which all of its slots were empty, most first; without time when nothing could be seen."""
        groups: dict[str, list[str]] = {}
        for slot in self.plan:
            if slot.sku:
                groups.setdefault(slot.sku, []).append(slot.id)
        found = {}
        for sku, slots in groups.items():
            common = self._seen()
            for name in slots:
                empty = [(one.start, one.end) for one in self.slots.get(name, ()) if one.state == "empty"]
                common = _both(common, empty)
            found[sku] = sum(end - start for start, end in common) / 60
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def compliance(self, step_s: float = 3600.0) -> list[tuple[float, float | None]]:
        """(start, share) of each hour, or of another `step_s`, as this device's clock shows them: days begin at midnight, weeks
        on Monday. A share is None where the camera saw nothing."""
        found: list[tuple[float, float | None]] = []
        begin = _local_step(self.start, step_s)
        while begin < self.end:
            then = _local_step(begin + 1.5 * step_s, step_s)  # also where the clocks are changed meanwhile
            found.append((begin, self._share(max(begin, self.start), min(then, self.end))))
            begin = then
        return found

    def _share(self, begin: float, end: float) -> float | None:
        """Of the slots' time in which the camera saw, the share with the right product; None where it saw nothing."""
        window = _both(self._seen(), [(begin, end)])
        removed = [
            _both(window, [(one.start, one.end) for one in spans if one.state == REMOVED])
            for spans in self.slots.values()
        ]
        total = sum(end - start for start, end in window) * len(self.slots)
        total -= sum(end - start for spans in removed for start, end in spans)
        right = sum(
            end - start
            for spans in self.slots.values()
            for start, end in _both(window, [(one.start, one.end) for one in spans if one.state in COMPLIANT])
        )
        return right / total if total > 0 else None

    def refill_minutes(self) -> list[float]:
        """How long each alert about a slot lasted that has ended, in order of time."""
        return [
            max(0.0, one.end - one.start) / 60
            for one in self.incidents
            if one.kind == "slot" and one.severity == "alert" and one.end is not None and not one.removed
        ]

    def _seen(self) -> list[tuple[float, float]]:
        return [(one.start, one.end) for one in self.camera if one.state == "ok"]

    def summary(self) -> dict[str, Any]:
        """The headline figures as a JSON object; rates from 0 to 1."""
        refills = self.refill_minutes()
        empty = self.empty_minutes()
        return {
            "start_time": self.start,
            "end_time": self.end,
            "slots": len(self.slots),
            "events": sum(one.kind == "slot" for one in self.incidents),
            "alerts": sum(one.severity == "alert" for one in self.incidents),
            "open_alerts": sum(one.severity == "alert" and one.end is None for one in self.incidents),
            "compliance": self._share(self.start, self.end),
            "median_minutes_to_refill": statistics.median(refills) if refills else None,
            "out_of_stock_minutes": {sku: round(minutes, 2) for sku, minutes in empty.items() if minutes > 0},
        }


def history(
    entries: Sequence[Entry], plan: Iterable[PlanSlot] = (), start: float | None = None, end: float | None = None
) -> History:
    """What entries of a log say, in the order in which they were logged, between two times (by default from the first to the last
    that is mentioned). Without a plan, slots are those of the entries. Times are those of `times_of`."""
    times = times_of(entries)
    begins = _begins(entries, times)
    first = min([*times, *begins], default=0.0) if start is None else start
    last = max(times, default=first) if end is None else max(end, first)
    slots = {one.id: one for one in plan}
    has_plan = bool(slots)
    changes: dict[str, list[tuple[float, str, str, str]]] = {name: [] for name in slots}
    camera: list[tuple[float, str, str, str]] = []
    for entry, time in zip(entries, times, strict=True):
        event = entry.event
        change = (
            time,
            str(event.before.get("state", "")),
            str(event.after.get("state", "")),
            str(event.after.get("by", "")),
        )
        if event.slot is None:
            camera.append(change)
            continue
        if has_plan and event.slot not in slots:  # renamed or removed since
            continue
        slots.setdefault(event.slot, PlanSlot(event.slot, (), _sku_of(entry)))
        changes.setdefault(event.slot, []).append(change)
    return History(
        first,
        last,
        tuple(slots.values()),
        {name: _spans(found, first, last, "full") for name, found in changes.items()},
        _spans(camera, first, last, "ok"),
        tuple(
            one
            for one in _incidents(entries, slots, begins, times)
            if one.start <= last and (one.end is None or one.end >= first)
        ),
    )


def times_of(entries: Sequence[Entry]) -> list[float]:
    """When what each entry says happened. Those of a clock that wasn't set, or that ran far ahead, are taken for the last of
    before, or for the first that was right."""
    times = [time_of(entry) for entry in entries]
    latest = _latest(times)
    known = next((time for time in times if _NEVER_SET_S <= time <= latest), None)
    if known is None:
        return times
    found = []
    for time in times:
        known = time if _NEVER_SET_S <= time <= latest else known
        found.append(known)
    return found


def first_of(entries: Sequence[Entry]) -> float:
    """The first time that is mentioned; 0 without entries."""
    times = times_of(entries)
    return min([*times, *_begins(entries, times)], default=0.0)


def _begins(entries: Sequence[Entry], times: Sequence[float]) -> list[float]:
    """When each entry's event began; where the clock was wrong then, its time."""
    latest = _latest(times)
    begins = (entry.event.start_time for entry in entries)
    return [begin if _NEVER_SET_S <= begin <= latest else time for begin, time in zip(begins, times, strict=True)]


def _latest(times: Sequence[float]) -> float:
    """No right clock showed more. Where most of a log is later than now, it's the clock here that is wrong."""
    return max(clock.time(), statistics.median(times) if times else 0.0) + _AHEAD_S


def _local_step(time: float, step_s: float) -> float:
    """The last time up to this one at which an hour, a day or a week of this device's clock began: where it is half an hour beside
    UTC, hours begin at half past."""
    offset = clock.localtime(time).tm_gmtoff
    begin = time - (time + offset + _TO_MONDAY_S) % step_s
    return begin + offset - clock.localtime(begin).tm_gmtoff  # the clocks were changed meanwhile


def time_of(entry: Entry) -> float:
    """When what an entry says happened: a frame's time where it is known, else when it was logged."""
    event = entry.event
    if event.type == "new":
        return event.start_time
    if event.end_time is not None:
        return event.end_time
    said = event.after.get("time")
    if isinstance(said, int | float) and not isinstance(said, bool):
        return float(said)
    is_near = 0 <= entry.logged_time - event.start_time < _MOST_S
    return entry.logged_time if is_near else event.start_time


def _spans(changes: list[tuple[float, str, str, str]], first: float, last: float, well: str) -> tuple[Span, ...]:
    """Spans from changes (time, before, after, by). A clock that went back makes one of no length. What comes after `last` says
    nothing about the time before."""
    found: list[Span] = []
    state, by, since = (changes[0][1] or well) if changes else well, "", first
    for time, _, after, culprit in changes:
        if time > last:
            continue
        until = max(time, since)
        if until > since:
            found.append(Span(state, since, until, by))
        state, by, since = after or well, culprit, until
    if last > since or not found or found[-1].state != state:  # the last one may have begun at the end
        found.append(Span(state, since, last, by))
    return tuple(found)


def _sku_of(entry: Entry) -> str:
    return str(entry.event.after.get("expected") or entry.event.before.get("expected") or "")


def _incidents(
    entries: Sequence[Entry], slots: Mapping[str, PlanSlot], begins: Sequence[float], times: Sequence[float]
) -> Iterable[Incident]:
    groups: dict[str, list[Entry]] = {}
    starts: dict[str, float] = {}
    ends: dict[str, float] = {}
    for entry, begin, time in zip(entries, begins, times, strict=True):
        name = entry.event.id
        groups.setdefault(name, []).append(entry)
        starts[name], ends[name] = min(begin, starts.get(name, begin)), time
    for name, group in groups.items():
        alerts = [entry for entry in group if entry.event.severity == "alert" and entry.event.type != "end"]
        worst = (alerts or group)[0].event
        said = worst.before if worst.type == "end" else worst.after
        slot = worst.slot or ""
        pictures = [entry.picture for entry in group if entry.picture]
        yield Incident(
            id=name,
            kind=worst.kind,
            slot=slot,
            sku="" if not slot else slots[slot].sku if slot in slots else next(filter(None, map(_sku_of, group)), ""),
            state=str(said.get("state", "")),
            by=str(said.get("by", "")),
            severity="alert" if any(entry.event.severity == "alert" for entry in group) else "detection",
            start=starts[name],
            end=None if group[-1].event.end_time is None else ends[name],
            removed=group[-1].event.after.get("state") == REMOVED,
            messages=len(group),
            pictures=tuple(dict.fromkeys((pictures[0], pictures[-1]))) if pictures else (),
        )


def _both(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where two lists of spans, each in order and without overlaps, are both."""
    ends = [end for _, end in others]
    found = []
    for start, end in some:
        for number in range(bisect.bisect_right(ends, start), len(others)):
            left, right = max(start, others[number][0]), min(end, others[number][1])
            if others[number][0] >= end:
                break
            if left < right:
                found.append((left, right))
    return found
