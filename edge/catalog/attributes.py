"""Filters: the products that have certain attributes, found by an index in the catalogue's file instead of by reading it all."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogError
from .numbers import comparison_in, number_in

Where: TypeAlias = Mapping[str, "str | Collection[str]"]
"""Attribute → the value it must have, or several of which it must have one. All attributes must fit; sku and name count too.
A value may compare with a number by <, <=, > or >=, {"price": "<3"} or {"price": [">=2.5", "<3"]}: of several all must hold."""
Conditions: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]

_SHOWN_VALUES = 20
"""So many are named where one is wrong."""
_OF_KEY = "SELECT value, product FROM attribute WHERE key = ?"
_TABLE = (
    "TABLE attribute (key TEXT NOT NULL, value TEXT NOT NULL, product INTEGER NOT NULL, "
    "PRIMARY KEY (key, value, product)) WITHOUT ROWID"
)


def conditions_of(where: Where) -> Conditions:
    """A filter in one form, whatever the order and the collections it came in: it can be a key. Raises CatalogError."""
    conditions = []
    for key in where:
        if not isinstance(key, str):
            raise CatalogError(
                f"the filter {key!r} ({type(key).__name__}) arrived; expected an attribute, like 'category'"
            )
    for key, wanted in sorted(where.items()):
        if isinstance(wanted, Iterator):  # a filter is read more than once, and this is empty the second time
            raise CatalogError(f"the filter {key!r} has the values {wanted!r}; expected a list, like ['tea', 'coffee']")
        several = isinstance(wanted, Iterable) and not isinstance(wanted, (str, bytes))
        values: tuple[Any, ...] = tuple(wanted) if several else (wanted,)
        for value in values:
            if not isinstance(value, str):
                raise CatalogError(
                    f"the filter {key!r} has the value {value!r} ({type(value).__name__}); expected text, like 'tea'"
                )
        conditions.append((key, tuple(sorted(set(values)))))
    return tuple(conditions)


def write(connection: sqlite3.Connection) -> None:
    """Make the table anew from the products, in a catalogue that is being written."""
    connection.execute("DROP TABLE IF EXISTS attribute")
    connection.execute(f"CREATE {_TABLE}")
    _fill(connection)


def _fill(connection: sqlite3.Connection) -> None:
    connection.executemany("INSERT INTO attribute VALUES (?, ?, ?)", _rows(connection))


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[str, str, int]]:
    for product, name, attributes in connection.execute("SELECT id, name, attributes FROM product ORDER BY id"):
        yield "name", name, product
        yield from ((key, value, product) for key, value in json.loads(attributes).items())


def keys(connection: sqlite3.Connection) -> list[str]:
    """What there is to filter by: sku, name, and every attribute that some product has; sorted."""
    found = {row[0] for row in connection.execute("SELECT DISTINCT key FROM attribute")}
    return sorted(found | {"sku", "name"})


def passing(connection: sqlite3.Connection, conditions: Conditions) -> NDArray[np.uint32]:
    """(N,) ids of the products that fit, ascending. Raises CatalogError for an attribute that no product has."""
    for key, _ in conditions:
        has_key = "SELECT 1 FROM attribute WHERE key = ? LIMIT 1"
        if key != "sku" and not (storable(key) and connection.execute(has_key, (key,)).fetchone()):
            raise CatalogError(f"no product has the attribute {key!r}; the catalogue has {', '.join(keys(connection))}")
    if not conditions:
        return _ids(connection, "SELECT id FROM product ORDER BY id", ())
    passed: NDArray[np.uint32] | None = None
    for key, values in conditions:
        compared = [value for value in values if comparison_in(value) is not None]
        parts = [_having(connection, key, value) for value in values if storable(value) and value not in compared]
        if compared:
            parts.append(functools.reduce(np.intersect1d, (_having(connection, key, value) for value in compared)))
        fitting = np.unique(np.concatenate([np.empty(0, np.uint32), *parts]))
        passed = fitting if passed is None else np.intersect1d(passed, fitting, assume_unique=True)
    assert passed is not None
    return passed


def check_values(connection: sqlite3.Connection, conditions: Conditions, *, every: bool = True) -> None:
    """Raise CatalogError for a value that no product has, with those that there are; for an attribute like `passing`. `every`: of
    several values for a key each is to be there, not just one: a list may come from elsewhere."""
    for key, values in conditions:
        passing(connection, ((key, ()),))
        missing = [value for value in values if not (storable(value) and len(_having(connection, key, value)))]
        for value in missing[:1] if every or len(missing) == len(values) else ():
            known = [] if key == "sku" else _values(connection, key)
            if comparison_in(value) is not None:
                raise CatalogError(f"no product has {key} {value}; {_range_of(key, known)}")
            there = ", ".join(known[:_SHOWN_VALUES]) + (
                f" and {len(known) - _SHOWN_VALUES:,} more" if len(known) > _SHOWN_VALUES else ""
            )
            raise CatalogError(
                f"no product has {key} {value!r}; "
                + (f"there are {there}" if known else "shelfmatch info --products lists them")
            )


def _range_of(key: str, values: list[str]) -> str:
    """From where to where the numbers among these values go."""
    numbers = {number: value for value in values if (number := number_in(value)) is not None}
    if not numbers:
        return f"no {key} is a number" if values else "shelfmatch info --products lists them"
    return f"{key} is from {numbers[min(numbers)]} to {numbers[max(numbers)]}"


def _values(connection: sqlite3.Connection, key: str) -> list[str]:
    found = connection.execute(
        "SELECT DISTINCT value FROM attribute WHERE key = ? AND value != '' ORDER BY value", (key,)
    )
    return [row[0] for row in found]


def _having(connection: sqlite3.Connection, key: str, value: str) -> NDArray[np.uint32]:
    """Ids of the products that have a value, or one for which it holds where it is a comparison."""
    comparison = comparison_in(value)
    if comparison is not None:
        table = ("SELECT sku, id FROM product", ()) if key == "sku" else (_OF_KEY, (key,))
        holding = [product for text, product in connection.execute(*table) if comparison.holds(text)]
        return np.unique(np.array(holding, np.uint32))
    if key == "sku":
        spelt = spellings(value)
        return _ids(connection, f"SELECT id FROM product WHERE sku IN ({', '.join('?' * len(spelt))})", spelt)
    return _ids(connection, "SELECT product FROM attribute WHERE key = ? AND value = ?", (key, value))


def _ids(connection: sqlite3.Connection, sql: str, values: tuple[str, ...]) -> NDArray[np.uint32]:
    return np.fromiter((row[0] for row in connection.execute(sql, values)), np.uint32)


def clean_sku(sku: str) -> str:
    """A SKU as catalogues are built with it: the same letters may be typed or stored composed or not (macOS names files in parts),
    and no one sees the blanks around them."""
    if not sku.isascii():
        import unicodedata

        sku = unicodedata.normalize("NFC", sku)
    return sku.strip()


def spellings(sku: str) -> tuple[str, ...]:
    """What to look for where a SKU is asked for: as given, since bundles built before may have it so, and cleaned."""
    return tuple(spelt for spelt in dict.fromkeys((sku, clean_sku(sku))) if storable(spelt))


def storable(text: str) -> bool:
    """Whether SQLite takes a text at all: arguments that weren't UTF-8 arrive with lone surrogates, which nothing has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
