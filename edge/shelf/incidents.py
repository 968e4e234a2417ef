"""From what slots show to events: one incident from the moment a slot isn't full to the moment it is again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..events.event import Event
from .judge import Label
from .planogram import Slot

SlotState = Literal["full", "low", "empty", "misplaced", "unknown"]
ALERTS: Final = ("empty", "misplaced", "moved", "covered", "gone", "frozen")
"""States that want somebody to do something now; the others are detections."""


@dataclass(frozen=True, slots=True)
class SlotView:
    """What a slot shows: its state, how many facings show its product, and what is misplaced there ("" for nothing)."""

    state: SlotState
    facings: int
    by: str = ""

    def to_dict(self, slot: Slot) -> dict[str, Any]:
        """As in events and the status document."""
        record: dict[str, Any] = {
            "state": self.state,
            "expected": slot.sku,
            "facings": self.facings,
            "of": slot.facings,
        }
        return record | ({"by": self.by} if self.by else {})


def view_of(slot: Slot, labels: Sequence[Label]) -> SlotView:
    """A slot's state from its facings'."""
    right = sum(one.kind == "right" for one in labels)
    other = next((one.sku for one in labels if one.kind == "other"), "")
    if other:
        return SlotView("misplaced", right, other)
    if any(one.kind == "unknown" for one in labels):
        return SlotView("unknown", right)
    return SlotView("full" if right >= slot.min_stock else "low" if right else "empty", right)


@dataclass(slots=True)
class Incident:
    """An event that is open: its id and when it began."""

    id: str
    start: float


def removed(key: str, known: Incident, view: SlotView | None, expected: str, time: float) -> Event:
    """The end of an open incident ("slot:…") whose slot the plan has no more: nobody will see it end. Raises EventError for what an
    earlier version took and no event has."""
    end = max(time, known.start)
    state = "" if view is None else view.state
    return Event(
        id=known.id,
        type="end",
        kind="slot",
        slot=key.partition(":")[2],
        before={"state": state, "expected": expected} if state else {},
        after={"state": "removed", "expected": expected, "time": end},
        start_time=known.start,
        end_time=end,
        severity="alert" if state in ALERTS else "detection",
    )


@dataclass(slots=True)
class Incidents:
    """The open incidents of a camera and its slots."""

    open: dict[str, Incident] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)

    def slot(self, slot: Slot, before: SlotView, after: SlotView, time: float) -> Event | None:
        """What to say when a slot's view changed; None where state and culprit are the same."""
        if (before.state, before.by) == (after.state, after.by):
            return None
        return self._event("slot", slot.id, before.to_dict(slot), after.to_dict(slot), time, "full")

    def camera(self, before: str, after: str, time: float, advice: str = "") -> Event:
        """What to say when the camera's state changed."""
        said = {"state": after} | ({"advice": advice} if advice else {})
        event = self._event("camera", "camera", {"state": before}, said, time, "ok")
        assert event is not None
        return event

    def _event(
        self,
        kind: Literal["slot", "camera"],
        name: str,
        before: Mapping[str, Any],
        after: dict[str, Any],
        time: float,
        well: str,
    ) -> Event | None:
        """New, update or end of an incident; `well`: the state in which there is none."""
        key = f"{kind}:{name}"
        known = self.open.get(key)
        ends = after["state"] == well
        if known is None and ends:  # an incident of before a restart that nobody remembers
            return None
        if known is None:
            start = max(time, self.used.get(key, 0.0) + 0.001)  # a clock that jumped back must not give one id twice
            known = self.open[key] = Incident(f"{name}-{round(start * 1000)}", time)
            self.used[key] = start
            step: Literal["new", "update", "end"] = "new"
        else:
            step = "end" if ends else "update"
        if ends:
            del self.open[key]
        state = str(before["state"] if ends else after["state"])
        return Event(
            id=known.id,
            type=step,
            kind=kind,
            slot=name if kind == "slot" else None,
            before=dict(before),
            after=after | {"time": time},
            start_time=known.start,
            end_time=max(time, known.start) if ends else None,
            severity="alert" if state in ALERTS else "detection",
        )
