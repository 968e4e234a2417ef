"""Numbers in a catalogue's texts: comparisons in filters, "<3", and prices as people write them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_COMPARISON = re.compile(r"\s*(<=|>=|<|>)(?!\s*[<>=!])\s*(.*?)\s*", re.DOTALL)
"""One sign alone: of "<>3" each half would say something else than who wrote it meant."""
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:[.,]\d{3})+")
"""Thousands, of which a mark that comes after them says so."""
_NUMBER = re.compile(r"[^\d+-]*([+-]?\d[\d.,'\u00a0\u202f ]*)[^\d]*")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operator` is <, <=, > or >=."""

    operator: str
    number: float

    def holds(self, text: str) -> bool:
        """Whether a value is a number of which this is true."""
        value = number_in(text)
        return value is not None and _OPERATORS[self.operator](value, self.number)


def comparison_in(text: str) -> Comparison | None:
    """The comparison that a filter's value is: "<3", ">= 2.5", "< 2,50"; None for any other text."""
    found = _COMPARISON.fullmatch(text)
    number = None if found is None else number_in(found[2])
    return None if found is None or number is None else Comparison(found[1], number)


def number_in(text: str) -> float | None:
    """The one number of a text, with a unit or a currency around it: "2.50", "2,50 €", "$1,299.00", "1.299,00"; None for others.

    Of point and comma the last one is decimal, also where nothing follows it: "1.299,-". A single one is decimal unless it comes
    twice.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    whole = re.sub(r"['\u00a0\u202f ]", "", found[1])
    digits = whole.rstrip(".,")
    if whole[len(digits) :] and _GROUPED.fullmatch(digits) and whole[len(digits)] not in digits:
        digits = digits.replace(".", "").replace(",", "")
    last = max(digits.rfind("."), digits.rfind(","))
    if last >= 0:
        mark = digits[last]
        other = "," if mark == "." else "."
        digits = digits.replace(other, "")
        digits = digits.replace(mark, "" if digits.count(mark) > 1 else ".")
    try:
        value = float(digits)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
