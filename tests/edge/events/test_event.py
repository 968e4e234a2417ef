"""One message: what is refused, and that what is written comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shelfmatch.edge import EventError
from shelfmatch.edge.events.entry import Entry, sealed, unsealed
from shelfmatch.edge.events.event import LARGEST_BYTES, Event

GOOD: dict[str, Any] = {
    "id": "1", "type": "new", "kind": "slot", "slot": "s1", "before": {"state": "full"}, "after": {"state": "empty"},
    "start_time": 1.5, "end_time": None, "severity": "alert",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": ""}, "id is ''"),
        ({"id": "a\nb"}, "printable"),
        ({"id": 5}, "id is 5; expected str"),
        ({"type": "begin"}, "type is 'begin'; expected one of new, update, end"),
        ({"kind": "shelf"}, "expected one of slot, camera"),
        ({"severity": "high"}, "expected one of alert, detection"),
        ({"slot": None}, "expected a slot's name for a slot"),
        ({"kind": "camera"}, "None for a camera"),
        ({"before": None}, "before is None; expected a mapping"),
        ({"after": {"state": object()}}, "can't be written as JSON"),
        ({"after": {"score": float("nan")}}, "can't be written as JSON"),
        ({"before": {"by": "\ud83d"}}, "can't be written as JSON"),
        ({"after": {"\udcff": 1}}, "can't be written as JSON"),
        ({"start_time": float("inf")}, "start_time is inf"),
        ({"start_time": -1}, "start_time is -1"),
        ({"start_time": True}, "start_time is True"),
        ({"end_time": 5.0}, "expected a time with type end, None before it"),
        ({"type": "end"}, "end_time is None"),
        ({"after": {"picture": "x" * LARGEST_BYTES}}, "give pictures to EventLog.append"),
        ({"colour": "red"}, "unknown field colour"),
    ],
)
def test_wrong_events_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(EventError, match="an event") as caught:
        Event.from_dict(GOOD | change)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_event_is_refused() -> None:
    for text in ("", "[]", "{}", "null", '{"id": 1}', "[" * 100_000, "\udcff".encode(errors="surrogateescape")):
        with pytest.raises(EventError):
            Event.from_json(text)


def test_it_keeps_a_copy() -> None:
    after = {"state": "empty", "seen": [1]}
    event = Event(**{**GOOD, "after": after})
    after["seen"].append(2)  # type: ignore[attr-defined]
    assert event.after["seen"] == [1]
    with pytest.raises(AttributeError):
        event.id = "2"  # type: ignore[misc]


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
STATES = st.dictionaries(TEXT, PLAIN, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=STATES, after=STATES, start=st.floats(0, 1e11))
def test_json_comes_back(before: dict[str, Any], after: dict[str, Any], start: float) -> None:
    event = Event("x", "update", "camera", None, before, after, start)
    assert Event.from_json(event.to_json()) == event
    assert set(json.loads(event.to_json())) == set(GOOD)
    entry = Entry(7, "m-7", 1.25, event, "a.jpg")
    assert Entry.from_line(entry.to_line()) == entry


@settings(deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen(position: int, bit: int) -> None:
    line = bytearray(sealed(GOOD))
    line[position % len(line)] ^= 1 << bit
    assert unsealed(bytes(line)) is None
