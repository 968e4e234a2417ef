"""Records read from JSON: what is refused, by name, and with the error of whoever reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from shelfmatch.edge import BundleError, EncoderError, ShelfmatchError
from shelfmatch.edge.records import problem_of_choice, read_record


@dataclass(frozen=True)
class Record:
    name: str
    count: int
    kind: Literal["a", "b"] = "a"
    rate: float | None = None


WHOLE = {"name": "x", "count": 3}


def test_a_sound_record_becomes_a_dataclass() -> None:
    assert read_record(Record, {**WHOLE, "rate": None}, "here", BundleError) == Record("x", 3)
    assert read_record(Record, {**WHOLE, "rate": 1}, "here", BundleError).rate == 1  # JSON has one kind of number


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({**WHOLE, "mood": 1}, "unknown field mood; the fields are name, count, kind, rate"),
        ({"name": "x"}, "count missing; the fields are name, count, kind, rate"),
        ({**WHOLE, "count": "3"}, "count is '3'; expected int"),
        ({**WHOLE, "count": True}, "count is True; expected int"),
        ({**WHOLE, "count": None}, "count is None; expected int"),
        ({**WHOLE, "kind": 5}, "kind is 5; expected Literal"),
        ({**WHOLE, "rate": "high"}, "rate is 'high'; expected float"),
        ({**WHOLE, "rate": float("nan")}, "rate is nan; expected a finite number"),
        ({**WHOLE, "rate": float("-inf")}, "rate is -inf; expected a finite number"),
        ({**WHOLE, "rate": 10**400}, "rate is a number of very many digits; expected a finite number"),
        ([1], "list arrived; expected an object with name, count, kind, rate"),
        (None, "NoneType arrived; expected an object"),
    ],
)
@pytest.mark.parametrize("error", [BundleError, EncoderError])
def test_what_is_wrong_is_named(record: Any, said: str, error: type[ShelfmatchError]) -> None:
    with pytest.raises(error) as refusal:
        read_record(Record, record, "the file", error, "write it again")
    message = str(refusal.value)
    assert message.startswith(f"the file: {said}") and message.endswith("; write it again") and "\n" not in message


def test_a_choice_lists_what_can_be_chosen() -> None:
    assert problem_of_choice("kind", "a", ("a", "b")) == ""
    assert problem_of_choice("kind", "c", ("a", "b")) == "kind is 'c'; expected one of a, b"
