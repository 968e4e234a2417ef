"""Catalogue sources on the command line: how they are read, what is said of them, and `build --check`, which builds nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..catalog.listing import few
from ..errors import CatalogError
from ..terminal import DONE, NO, amount, print_json, progress_bar
from .options import add_columns, names

if TYPE_CHECKING:
    from ..catalog.listing import CatalogSource, Finding

_SKU_FROM = ("auto", "folder", "path", "file")
_MOST_LINES = 20


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """How SOURCE is read, for build and add."""
    parser.add_argument(
        "--sku-from",
        choices=_SKU_FROM,
        default="auto",
        help="in folders, a SKU is the name of the folder that holds the photos, the folder's path, or each photo's own name "
        "(default: the folder's name; folders called front, details, … belong to the product around them)",
    )
    add_columns(parser)
    parser.add_argument(
        "--leave-out",
        type=names,
        default=(),
        metavar="KIND,…",
        help="photos to leave out: dark, blank, placeholder (one picture of three or more products)",
    )


def source_of(options: argparse.Namespace) -> CatalogSource:
    """The source as the options say, without the photos that they leave out; products that go with these are listed, too. Raises
    CatalogError."""
    from ..catalog.examine import examine, leave_out

    source = _read(options)
    if not options.leave_out:
        return source
    bar: Any = progress_bar("looking")
    rest = leave_out(source, examine(source, options.workers, bar).findings, options.leave_out)
    left = set(rest.skus())
    gone = [(sku, "all its photos are left out") for sku in source.skus() if sku not in left]
    return replace(rest, left_out=(*rest.left_out, *gone))


def _read(options: argparse.Namespace) -> CatalogSource:
    """The source as it is. Raises CatalogError, for kinds of photos to leave out that there aren't, too."""
    from ..catalog.columns import columns_of
    from ..catalog.examine import POOR
    from ..catalog.source import read_source

    strange = [kind for kind in options.leave_out if kind not in POOR]
    if strange:
        raise CatalogError(f"--leave-out {strange[0]!r} arrived; expected some of {', '.join(POOR)}")
    columns = None if options.columns is None else columns_of(options.columns)
    return read_source(options.source, sku_from=options.sku_from, columns=columns)


def source_lines(left_out: Sequence[tuple[str, str]], findings: Sequence[Finding]) -> list[str]:
    """What was left out of a source and what its owner should know, for people."""
    known = labels_said(findings)
    lines = listed("left out", (f"{label}: {reason}" for label, reason in left_out if label not in known))
    return lines + listed("note", (finding.message for finding in findings))


def listed(title: str, sentences: Iterable[str]) -> list[str]:
    """At most twenty of them, each on a line."""
    rows = list(sentences)
    more = [f"  … and {len(rows) - _MOST_LINES:,} more; --json lists all"] if len(rows) > _MOST_LINES else []
    return [f"  {title}: {row}" for row in rows[:_MOST_LINES]] + more


def labels_said(findings: Sequence[Finding]) -> set[str]:
    """Labels of the photos that findings name all at once: a line each would say it again."""
    return {label for finding in findings for label in finding.photos}


def check(options: argparse.Namespace) -> int:
    """`build --check`: read the source and look at each photo; 1 where there is something to mend, which what `--leave-out` leaves
    out isn't. Raises CatalogError, EncoderError."""
    from ..catalog.examine import examine, leave_out

    _check_options(options)
    read = _read(options)
    bar: Any = progress_bar("looking")
    seen = examine(read, options.workers, bar)
    poor = [one for one in seen.findings if one.kind in options.leave_out]
    rest = replace(seen, findings=_remaining(seen.findings, poor))
    source = leave_out(rest, poor, options.leave_out)
    without = sorted(set(read.skus()) - set(source.skus()))
    to_mend = bool(rest.unreadable or rest.left_out or any(one.kind != "guessed" for one in rest.findings))
    if options.json:
        record = {
            "source": str(options.source),
            "ok": not to_mend,
            "products": len(source.skus()),
            "photos": len(read.photos),
            "unreadable": [{"image": label, "message": reason} for label, reason in source.unreadable],
            "ignored": list(source.ignored),
            "without_photos": without,
            "left_out": [{"path": label, "message": reason} for label, reason in source.left_out],
            "findings": [finding.to_dict() for finding in source.findings],
        }
        print_json(record)
        return NO if to_mend else DONE
    wrong, gone = len(read.photos) - len(seen.photos), len(seen.photos) - len(source.photos)
    photos = amount(len(read.photos), "photo") + (f", {wrong:,} of them unreadable" if wrong else "")
    photos += f", {gone:,} of them left out" if gone else ""
    print(f"{options.source}: {amount(len(source.skus()), 'product')}, {photos}; nothing was built")
    print("\n".join(_check_lines(source, without)))
    return NO if to_mend else DONE


def _remaining(findings: Sequence[Finding], poor: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings without those about photos that are left out (those in `poor`): a picture of two products needs two."""
    gone = {place for finding in poor for place in finding.places}
    return tuple(
        one
        for one in findings
        if one not in poor
        and (not one.places or sum(place not in gone for place in one.places) > (one.kind == "same picture"))
    )


def _check_options(options: argparse.Namespace) -> None:
    """Raise CatalogError or EncoderError for options that a build would refuse, or that mean nothing where none is made."""
    from ..encoders.registry import find_encoders

    if options.report is not None:
        raise CatalogError("--report came with --check, which builds nothing to write of; leave one of the two out")
    if options.encoder is not None and options.output is None:  # an inner output is the exporter's to find
        find_encoders(options.encoder, runtime=options.runtime)


def _check_lines(source: CatalogSource, without: Sequence[str]) -> list[str]:
    single = sum(count == 1 for count in _photos_each(source).values())
    lines = listed("unreadable", (said(label, reason) for label, reason in source.unreadable))
    lines += source_lines(source.left_out, source.findings)
    if source.ignored:
        lines.append(f"  not photos: {len(source.ignored):,} files, for example {source.ignored[0]}")
    if without:
        lines.append(f"  without a photo that can be used: {few(without, 10)}")
    lines += [f"  example: {photo.label} is a photo of {photo.sku}" for photo in source.photos[:1]]
    if single:
        lines.append(f"  products with one photo: {single:,}; a few photos of each make answers surer")
    return lines


def said(label: str, reason: str) -> str:
    """A label and its reason; once, where the reason names it."""
    return reason if label in reason else f"{label}: {reason}"


def _photos_each(source: CatalogSource) -> dict[str, int]:
    counts: dict[str, int] = {}
    for photo in source.photos:
        counts[photo.sku] = counts.get(photo.sku, 0) + 1
    return counts
