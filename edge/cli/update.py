"""`shelfmatch update`: names, prices, attributes and SKUs from a CSV, without photos."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..terminal import DONE, print_json
from .options import Command, add_bundle, add_wait
from .sources import listed

if TYPE_CHECKING:
    from ..build.update import UpdateReport


def register(command: Command) -> None:
    """The command update."""
    update = command("update", _run, "change names, prices, attributes and SKUs from a CSV, without photos")
    add_bundle(update)
    update.add_argument(
        "table",
        metavar="CSV",
        help="with the column sku, any of name, price, category, …, and new_sku to rename a product",
    )
    update.add_argument("--columns", metavar="OURS=YOURS,…", help="which columns are which: sku=artikel,name=text")
    update.add_argument(
        "--clear-empty", action="store_true", help="empty cells take away what is there (default: they leave it)"
    )
    add_wait(update)


def _run(options: argparse.Namespace) -> int:
    from ..build.update import update_bundle
    from ..catalog.columns import columns_of

    columns = None if options.columns is None else columns_of(options.columns)
    report = update_bundle(
        options.bundle, options.table, columns=columns, clear_empty=options.clear_empty, wait_s=options.wait
    )
    if options.json:
        print_json(report.to_dict())
    else:
        print("\n".join(_lines(options.bundle, report)))
    return DONE


def _lines(bundle: str, report: UpdateReport) -> list[str]:
    """The report for people."""
    headline = f"changed {bundle}: {len(report.changed):,} of {report.products:,} products"
    lines = [headline if report.changed else f"{bundle} has all of it already; nothing was changed"]
    lines += listed("changed", (change.sentence() for change in report.changed))
    lines += listed("not in the bundle", report.unknown)
    lines += listed("left out", (f"{label}: {reason}" for label, reason in report.left_out))
    return lines + listed("note", (finding.message for finding in report.findings))
