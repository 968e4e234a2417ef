"""Records read from JSON: one place that refuses unknown fields, missing ones and wrong types by name."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import ShelfmatchError

_Record = TypeVar("_Record")

_PLAIN_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "Literal": str,
    "Format": str,
    "Method": str,
    "Scoring": str,
}
"""Annotations, up to their first bracket, whose values are checked; a field of another type is its record's own to check."""


_LARGEST = sys.float_info.max
"""Python's JSON reads NaN, Infinity and numbers of any length, with which arithmetic ends somewhere else."""


def read_record(
    record_type: type[_Record], values: object, where: str, error: type[ShelfmatchError], advice: str = ""
) -> _Record:
    """Make a dataclass from a JSON object.

    `where`: what begins a message, the file or record that was read; `advice`: what ends it. Raises `error` for a field that the
    record doesn't have, one that is missing, or one of another plain type (a number for text, true for a number).
    """
    problem = _problem(record_type, values)
    if problem:
        raise error(f"{where}: {problem}{advice and '; '}{advice}")
    assert isinstance(values, Mapping)
    return record_type(**values)


def _problem(record_type: type[Any], values: object) -> str:
    """The first thing in which values differ from a dataclass's fields; empty where there is none."""
    fields = {field.name: field for field in dataclasses.fields(record_type)}
    if not isinstance(values, Mapping):
        return f"{type(values).__name__} arrived; expected an object with {', '.join(fields)}"
    unknown = sorted(set(values) - set(fields))
    if unknown:
        return f"unknown field {', '.join(unknown)}; the fields are {', '.join(fields)}"
    missing = [name for name, field in fields.items() if name not in values and field.default is dataclasses.MISSING]
    if missing:
        return f"{', '.join(missing)} missing; the fields are {', '.join(fields)}"
    for name, value in values.items():
        plain, _, rest = str(fields[name].type).partition(" | ")
        expected = _PLAIN_TYPES.get(plain.partition("[")[0])
        if expected is None or (value is None and rest == "None"):
            continue
        if not isinstance(value, expected) or isinstance(value, bool):
            return f"{name} is {value!r}; expected {fields[name].type}"
        if isinstance(value, (int, float)) and not -_LARGEST <= value <= _LARGEST:
            return f"{name} is {'a number of very many digits' if isinstance(value, int) else value}; expected a finite number"
    return ""


def problem_of_choice(field: str, value: object, allowed: tuple[str, ...]) -> str:
    """What is wrong with a value that must be one of a few; empty where it is one of them."""
    return "" if value in allowed else f"{field} is {value!r}; expected one of {', '.join(allowed)}"
