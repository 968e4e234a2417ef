"""A message about a slot or a camera, in the shape of Frigate's events: new, update, end, one id, and the states around it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, cast

from ..errors import EventError
from ..records import problem_of_choice, read_record

EventType = Literal["new", "update", "end"]
EventKind = Literal["slot", "camera"]
Severity = Literal["alert", "detection"]

TYPES: Final = ("new", "update", "end")
KINDS: Final = ("slot", "camera")
SEVERITIES: Final = ("alert", "detection")
LONGEST_NAME: Final = 200
"""Of an id or a slot's name, in characters."""
_IN_NAMES: Final = str.maketrans("", "", "\u200c\u200d\u00a0\u3000")
"""Not printable to Python, and in names all the same: joiners (Hindi, Persian), a spreadsheet's space, the wide one of Japan."""
LARGEST_BYTES: Final = 64 << 10
"""Of an event as JSON: MQTT brokers and webhooks take so much everywhere, and the log's bounds rest on it."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change that counts. All messages of one event have its `id`: one "new", any "update", one "end".

    `slot`: its name in the plan, None for a camera. `before`, `after`: the states around the change, as JSON objects that are
    copied; the key `state` is what the report and MQTT read. Times are seconds since 1970 (UTC); `end_time` is None until the
    event ends. `severity`: an alert wants somebody to do something. Raises EventError.
    """

    id: str
    type: EventType
    kind: EventKind
    slot: str | None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    start_time: float = 0.0
    end_time: float | None = None
    severity: Severity = "detection"

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise EventError(f"an event whose {problem}")
        for name in ("before", "after"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        if len(self.to_json()) > LARGEST_BYTES:
            raise EventError(
                f"an event of {len(self.to_json()):,} bytes as JSON arrived; expected {LARGEST_BYTES:,} at most: "
                "give pictures to EventLog.append"
            )

    def to_dict(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def to_json(self) -> bytes:
        """The event as one line of JSON, UTF-8."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    @staticmethod
    def from_dict(values: object) -> Event:
        """The event that `to_dict` gave. Raises EventError for anything else."""
        return read_record(Event, values, "an event", EventError)

    @staticmethod
    def from_json(text: bytes | str) -> Event:
        """The event that `to_json` gave. Raises EventError for anything else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EventError(f"an event that is no JSON: {error}; expected the object that to_json gave") from error
        return Event.from_dict(values)


def is_name(text: str) -> bool:
    """Whether a text can be an id or a slot's name, whatever its length: printable characters, joiners and wide spaces."""
    return text.translate(_IN_NAMES).isprintable()


def _problem(event: Event) -> str:
    """The first thing that is wrong with an event's plain fields; empty where all is right."""
    names = {"id": event.id} | ({} if event.slot is None else {"slot": event.slot})
    for name, value in names.items():
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not is_name(value):
            return f"{name} is {value!r}; expected 1 to {LONGEST_NAME} printable characters"
    for name, value, allowed in (
        ("type", event.type, TYPES),
        ("kind", event.kind, KINDS),
        ("severity", event.severity, SEVERITIES),
    ):
        if problem := problem_of_choice(name, value, allowed):
            return problem
    if (event.kind == "slot") != (event.slot is not None):
        return f"slot is {event.slot!r}; expected a slot's name for a slot, None for a camera"
    times = {"start_time": event.start_time} | ({} if event.end_time is None else {"end_time": event.end_time})
    for name, time in times.items():
        if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time) or time < 0:
            return f"{name} is {time!r}; expected seconds since 1970"
    if (event.type == "end") != (event.end_time is not None):
        return f"end_time is {event.end_time!r}; expected a time with type end, None before it"
    return ""


def _plain(name: str, value: object) -> dict[str, Any]:
    """A copy of a JSON object, so that nothing changes behind a frozen event."""
    if not isinstance(value, Mapping):
        raise EventError(f"an event whose {name} is {value!r}; expected a mapping, like {{'state': 'empty'}}")
    try:
        # Encoded as it will be written: half of a pair of surrogates is no UTF-8.
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False).encode()
        return cast(dict[str, Any], json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise EventError(f"an event whose {name} can't be written as JSON: {error}; expected plain values") from error
