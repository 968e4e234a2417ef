"""Types of arguments and options that several commands share. A type raises ArgumentTypeError: what arrived, what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..arguments import TURNS

Command = Callable[..., argparse.ArgumentParser]
"""Makes a command's parser: `command(name, run, summary, *, mixed=False)`; see `app`."""

RUNTIME_CHOICES = ("auto", "litert", "onnx", "tflite-runtime")
RESIZER_CHOICES = ("auto", "pillow", "opencv")


LONGEST_S = 366 * 86_400
"""Clocks of other libraries overflow at a few hundred years."""


class Once(argparse.Action):
    """An option whose second value would silently take the first one's place."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        if before is not None:
            raise argparse.ArgumentError(self, f"{values!r} arrived beside {before!r}, expected one: {before},{values}")
        setattr(namespace, self.dest, values)


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a whole number")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a whole number from 1")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0 to 499."""
    if not text.isdecimal() or int(text) > 499:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a whole number from 0 to 499")
    return int(text)


def rate(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a number between 0 and 1, like 0.05")
    return value


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a number") from None


def seconds(text: str) -> float:
    """A number from 0."""
    value = number(text)
    if not 0 <= value <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected seconds, like 60, a year at most")
    return value


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them, none of them empty."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected names with commas between them")
    return found


def attribute_names(text: str) -> tuple[str, ...]:
    """Names of attributes with commas between them, none of them empty."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected names of attributes, like category,brand")
    return found


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The bundle, which comes first."""
    parser.add_argument("bundle", metavar="SHOP.bundle")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """--workers, for what goes through many photos."""
    parser.add_argument("--workers", type=whole, default=0, metavar="N", help="threads (default: one a core)")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """--columns, for what reads a CSV with pictures."""
    parser.add_argument(
        "--columns", metavar="OURS=YOURS,…", help="which columns of the CSV are which: image=foto,sku=artikel,name=text"
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    """--wait, for what changes a bundle."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="so long for another process that is changing the bundle (default: not at all)",
    )


def add_locate(parser: argparse.ArgumentParser) -> None:
    """--locate and --detector, for what names photos."""
    parser.add_argument(
        "--locate",
        choices=("auto", "off", "always"),
        default="auto",
        help="find the product on the photo and name that part: where the whole isn't sure (auto, the default), never, always",
    )
    add_detector(parser)


def add_turn(parser: argparse.ArgumentParser, default: int | None = 0) -> None:
    """--turn, for what reads a camera."""
    parser.add_argument(
        "--turn",
        type=int,
        choices=TURNS,
        default=default,
        help="turn the camera's pictures so many degrees clockwise: 180 for one that hangs upside down",
    )


def add_cut(parser: argparse.ArgumentParser) -> None:
    """--locate and --detector, for what catalogues photos."""
    parser.add_argument(
        "--locate",
        action="store_true",
        help="cut each photo to its product, where a detector is certain which thing on it that is; says which were cut",
    )
    add_detector(parser)


def add_detector(parser: argparse.ArgumentParser) -> None:
    """--detector, for what finds products on photos."""
    parser.add_argument(
        "--detector",
        metavar="FILE|CARD",
        help="find products with this .tflite or .onnx file (default: shelfmatch-detect)",
    )


def add_where(parser: argparse.ArgumentParser) -> None:
    """--where, for what looks for products; `catalog.where_texts` reads it."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only such products; repeatable: several values of one key mean either, several keys mean all; also with numbers, in "
        "quotes: 'price<3', 'price>=2.5'",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """--labels, for what looks at photos."""
    parser.add_argument(
        "--labels",
        type=attribute_names,
        default=(),
        metavar="KEY,…",
        help="also name these attributes (category, brand, …), voted by the nearest products",
    )
