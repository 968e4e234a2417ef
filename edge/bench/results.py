"""Result files: one JSON document each, of a published, versioned schema (result.schema.json beside this module)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..files import write_atomic

FORMAT = "shelfmatch-bench"
VERSION = 2
SCHEMA_FILE = Path(__file__).with_name("result.schema.json")
_MOST_BYTES = 256 << 20
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result."""
    record: dict[str, Any] = json.loads(SCHEMA_FILE.read_bytes())
    return record


def save_result(path: str | os.PathLike[str], result: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all. Raises BenchError if it is no result, OSError."""
    problem = problem_of(result)
    if problem is not None:
        raise BenchError(f"this is no result that can be saved: {problem}")
    write_atomic(
        Path(path), (json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")
    )


def load_result(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a result file. Raises BenchError that says what is wrong with it."""
    name = os.fspath(path)
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise BenchError(f"{name} is larger than any result; expected a file of shelfmatch bench -o")
        record = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise BenchError(f"{name} can't be read ({error.strerror}); expected a file of shelfmatch bench -o") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{name} is no JSON ({error}); expected a file of shelfmatch bench -o") from error
    if isinstance(record, dict) and record.get("format") == FORMAT and record.get("version") != VERSION:
        raise BenchError(
            f"{name} has version {record.get('version')!r}; this shelfmatch reads {VERSION}, "
            "install the one that wrote it, or measure again"
        )
    problem = problem_of(record)
    if problem is not None:
        raise BenchError(f"{name} is no result of shelfmatch bench: {problem}")
    result: dict[str, Any] = record
    return result


def problem_of(record: object) -> str | None:
    """The first thing in which a document differs from the schema; None for a result."""
    return _problem(record, schema(), "the document")


def _problem(value: object, rule: Mapping[str, Any], where: str) -> str | None:
    """The part of JSON Schema that result.schema.json uses; tests hold it against the jsonschema package."""
    if "$ref" in rule:
        return _problem(value, schema()["$defs"][rule["$ref"].rpartition("/")[2]], where)
    if "const" in rule and value != rule["const"]:
        return f"{where} is {_short(value)}, expected {rule['const']!r}"
    if "enum" in rule and value not in rule["enum"]:
        return f"{where} is {_short(value)}, expected one of {', '.join(map(str, rule['enum']))}"
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{where} is {_short(value)}, expected {' or '.join(kinds)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _problem_of_number(value, rule, where)
    if isinstance(value, dict):
        return _problem_of_object(value, rule, where)
    if isinstance(value, list):
        if len(value) < rule.get("minItems", 0):
            return f"{where} has {len(value)} items, expected at least {rule['minItems']}"
        items = rule.get("items", {})
        found = (_problem(item, items, f"{where}[{place}]") for place, item in enumerate(value))
        return next((problem for problem in found if problem is not None), None)
    return None


def _problem_of_number(value: float, rule: Mapping[str, Any], where: str) -> str | None:
    for name, expected, wrong in (
        ("minimum", "at least", value < rule.get("minimum", -math.inf)),
        ("maximum", "at most", value > rule.get("maximum", math.inf)),
    ):
        if wrong:
            return f"{where} is {_short(value)}, expected {expected} {rule[name]}"
    return None


def _problem_of_object(value: dict[str, Any], rule: Mapping[str, Any], where: str) -> str | None:
    if len(value) < rule.get("minProperties", 0):
        return f"{where} has {len(value)} entries, expected at least {rule['minProperties']}"
    for name in rule.get("required", []):
        if name not in value:
            return f"{where} has no {name}"
    known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    for name, item in value.items():
        if name in known:
            problem = _problem(item, known[name], name if where == "the document" else f"{where}.{name}")
        elif others is False:
            problem = f"{where} has an unknown {name}"
        else:
            problem = _problem(item, others, f"{where}.{name}") if isinstance(others, dict) else None
        if problem is not None:
            return problem
    return None


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float):
        return math.isfinite(value) and (kind == "number" or (kind == "integer" and value.is_integer()))
    return isinstance(value, _TYPES[kind])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
