"""What callers from Python may hand over: one place that refuses the rest by name, with what was expected."""

from __future__ import annotations

import errno
import operator
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from .errors import BundleError, CatalogError, ImageError, ShelfmatchError

TURNS: Final = (0, 90, 180, 270)
"""Degrees clockwise by which a camera's pictures can be turned: one that hangs upside down gives them by 180."""


def check_turn(turn: object) -> None:
    """Raise ImageError for what is none of `TURNS`."""
    if turn not in TURNS:
        raise ImageError(f"a turn of {turn!r} arrived; expected {', '.join(map(str, TURNS))} degrees clockwise")


def check_question(*, top_k: object = 1, where: object = None, labels: object = ()) -> None:
    """Raise CatalogError for arguments of `match` and its like that mean nothing; a third of a microsecond for most calls."""
    if type(top_k) is not int or top_k < 1:
        count("top_k", top_k)
    if where is not None and not isinstance(where, Mapping):
        raise CatalogError(
            f"where is {_shown(where)}; expected attributes with their values, like {{'category': 'tea'}}"
        )
    if type(labels) is not tuple or labels:
        _check_labels(labels)


def _check_labels(labels: object) -> None:
    names = (labels,) if isinstance(labels, str) else labels
    expected = "expected names of attributes, like ['category']"
    if isinstance(names, (bytes, Mapping)) or not isinstance(names, Collection):
        raise CatalogError(f"labels is {_shown(labels)}; {expected}")
    for name in names:
        if not isinstance(name, str):
            raise CatalogError(f"labels has {_shown(name)}; {expected}")


def label_names(labels: Collection[str]) -> tuple[str, ...]:
    """The labels that were asked for: one name is as good as a list of it, and a column of a table as good as a list."""
    return (labels,) if isinstance(labels, str) else tuple(labels)


def count(name: str, value: Any, least: int = 1, error: type[ShelfmatchError] = CatalogError) -> int:
    """A whole number of at least so much. Raises `error`."""
    try:
        number = int(operator.index(value))  # True is one, and numpy takes no bool for a length
    except TypeError:
        raise error(f"{name} is {_shown(value)}; expected a whole number, like {max(least, 5)}") from None
    if number < least:
        raise error(f"{name} is {number}; expected at least {least}")
    return number


def share(name: str, value: Any, error: type[ShelfmatchError] = CatalogError) -> float:
    """A number between 0 and 1, both excluded. Raises `error`."""
    expected = "expected a number between 0 and 1, like 0.05"
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise error(f"{name} is {_shown(value)}; {expected}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # several numbers in an array
        raise error(f"{name} is {_shown(value)}; {expected}") from None
    if not 0 < number < 1:
        raise error(f"{name} is {value}; {expected}")
    return number


def text(name: str, value: object, like: str) -> str:
    """A text. Raises CatalogError."""
    if not isinstance(value, str):
        raise CatalogError(f"{name} is {_shown(value)}; expected text, like {like!r}")
    return value


def texts(name: str, values: object, like: str) -> Collection[str]:
    """Several texts, which one text isn't. Raises CatalogError."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Collection):
        raise CatalogError(f"{name} is {_shown(values)}; expected a list of texts, like [{like!r}]")
    for value in values:
        text(f"one of {name}", value, like)
    return values


def photo_names(values: object) -> None:
    """Raise CatalogError for what is no list of photos' numbers and names."""
    expected = "expected a list of photos' numbers or names, like [3]"
    if isinstance(values, (str, bytes)) or not isinstance(values, Collection) or not values:
        raise CatalogError(f"photos is {_shown(values)}; {expected}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise CatalogError(f"photos has {_shown(value)}; {expected}")


def bundle_path(value: object) -> None:
    """Raise BundleError for what is no path."""
    problem = _problem_of_path(value)
    if problem is not None:
        raise BundleError(f"{_shown(value)} arrived{problem}; expected the path of a bundle, like 'shop.bundle'")


def path_of(name: str, value: object, like: str, error: type[ShelfmatchError] = CatalogError) -> None:
    """Raise `error` for what is no path."""
    problem = _problem_of_path(value)
    if problem is not None:
        raise error(f"{name} is {_shown(value)}{problem}; expected a path, like {like!r}")


def _problem_of_path(value: object) -> str | None:
    """Why no file can have this path, "" where that is plain to see; None where one can. Whether one has it is asked later."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        return ""
    try:
        os.stat(value)  # noqa: PTH116  (Path.exists takes most of these for a file that isn't there)
    except ValueError:  # a null character, or half of a pair of surrogates
        return ", with a character that no file's name has"
    except OSError as problem:
        return f": {problem.strerror}" if problem.errno == errno.ENAMETOOLONG else None
    return None


def images(value: object) -> None:
    """Raise ImageError for what is no series of photos: one path is a series, too, of its letters."""
    if isinstance(value, (str, bytes, os.PathLike)) or not isinstance(value, Iterable):
        raise ImageError(
            f"images is {_shown(value)}; expected a list of photos, like ['photo.jpg']; match takes one photo"
        )


def paths(name: str, values: object, expected: str) -> list[str | os.PathLike[str]]:
    """Several paths. Raises CatalogError, for what is `expected`."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise CatalogError(f"{name} is {_shown(values)}; expected {expected}")
    listed = list(values)
    for value in listed:
        if not isinstance(value, (str, os.PathLike)):
            raise CatalogError(f"{name} has {_shown(value)}; expected {expected}")
    return listed


def limits(value: object) -> None:
    """Raise ImageError for what is no `Limits`, or one whose numbers aren't whole and positive."""
    fields = ("size_bytes", "pixels", "scans")
    if not all(hasattr(value, field) for field in fields):
        raise ImageError(f"limits is {_shown(value)}; expected Limits, like Limits(pixels=64_000_000)")
    for field in fields:
        count(f"limits.{field}", getattr(value, field), error=ImageError)


def seconds(name: str, value: Any) -> None:
    """Raise CatalogError for what is no number from 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise CatalogError(f"{name} is {_shown(value)}; expected seconds, like 60")


def matcher(value: object) -> None:
    """Raise BundleError for what is no open matcher, as the path of a bundle."""
    if not hasattr(value, "match_many"):
        raise BundleError(f"{_shown(value)} arrived; expected an open matcher, like Matcher.open('shop.bundle')")


def queries(values: Iterable[object]) -> None:
    """Raise CatalogError for what is no labelled photo."""
    for value in values:
        sku = getattr(value, "sku", value)
        if not hasattr(value, "path") or not (sku is None or isinstance(sku, str)):
            raise CatalogError(
                f"queries has {_shown(value)}; expected labelled photos, like Query(Path('a.jpg'), 'a.jpg', '4006381333931'), "
                "or the path of a CSV or a folder"
            )


def grid(value: Any) -> tuple[int, int]:
    """(rows, columns) of a heat map. Raises ImageError."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ImageError(f"grid is {_shown(value)}; expected (rows, columns), like (8, 8)")
    rows, columns = (count("grid", number, error=ImageError) for number in value)
    return rows, columns


def columns(value: object) -> None:
    """Raise CatalogError for what is no mapping of our names of columns to a CSV's."""
    expected = "expected our names with the CSV's, like {'sku': 'artikel'}"
    if value is not None and not isinstance(value, Mapping):
        raise CatalogError(f"columns is {_shown(value)}; {expected}")
    for name in [] if value is None else [*value.keys(), *value.values()]:
        if not isinstance(name, str):
            raise CatalogError(f"columns has {_shown(name)}; {expected}")


def _shown(value: object) -> str:
    """A wrong value in a message: short, with its type."""
    visible = repr(value)
    return f"{visible if len(visible) <= 60 else visible[:59] + '…'} ({type(value).__name__})"
