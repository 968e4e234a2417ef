"""Filters as people type them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import CatalogError
from .numbers import comparison_in


def where_of(texts: Iterable[str], name: str = "--where") -> dict[str, list[str]]:
    """Texts like category=tea or price<3 as a filter; `name`: how messages call them. Raises CatalogError."""
    where: dict[str, list[str]] = {}
    for text in texts:
        found = re.fullmatch(r"([^=<>]+)(<=|>=|<|>|=)(.*)", text, re.DOTALL)
        if found is None:
            raise CatalogError(f"{name} {text!r} arrived; expected KEY=VALUE, like category=tea, or 'price<3'")
        key, operator, value = found.groups()
        if operator != "=":
            value = operator + value.strip()
            if comparison_in(value) is None:
                raise CatalogError(f"{name} {text!r} arrived; expected a number after {operator}, like 'price<3'")
        elif comparison_in(value) is not None:
            raise CatalogError(
                f"{name} {text!r} arrived; expected one of <, <=, >, >= before a number, like 'price<=3'"
            )
        where.setdefault(key.rstrip() if operator != "=" else key, []).append(value)
    return where
