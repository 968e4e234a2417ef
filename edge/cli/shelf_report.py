"""`shelfmatch shelf report`: a page and a table from a shelf's log."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..sheets import sheet
from ..terminal import DONE, NO, complain, print_json

if TYPE_CHECKING:
    from ..events.history import History, PlanSlot

_LIVE_S = 86_400.0
"""A log whose last entry is younger is a shelf that is still watched: its last state lasts until now."""
_COLUMNS = ("event", "kind", "slot", "sku", "state", "by", "severity", "start", "end", "minutes", "messages")


def register(action: Callable[..., argparse.ArgumentParser]) -> None:
    """The action report."""
    report = action(
        "report", _run, "a page about a shelf from its log: states, timelines, out-of-stock minutes, alerts"
    )
    report.add_argument("log", metavar="LOG", help="the folder that shelf watch --log writes to")
    report.add_argument(
        "-o", "--output", metavar="OUT.html", default="shelf-report.html", help="the page (default: shelf-report.html)"
    )
    report.add_argument("--plan", metavar="PLAN", help="the plan, for a picture of the shelf and the products' names")
    report.add_argument("--csv", action="store_true", help="write the events as a table beside the page, too")
    report.add_argument("--day", type=_day, metavar="YYYY-MM-DD", help="one day alone, in local time")
    report.add_argument(
        "--pictures", action="store_true", help="show the first and last picture of each event that has some"
    )


def _day(text: str) -> tuple[float, float]:
    """From its midnight to the next one, local time: 23 or 25 hours where the clocks are changed."""
    from datetime import datetime, timedelta

    try:
        day = datetime.strptime(text, "%Y-%m-%d")
        return day.astimezone().timestamp(), (day + timedelta(days=1)).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a day like 2026-11-28") from None


def _run(options: argparse.Namespace) -> int:
    from ..errors import EventError
    from ..events.copies import PICTURES
    from ..events.history import first_of, history, times_of
    from ..events.reading import read_log
    from ..files import check_output, write_atomic
    from ..pages.shelf_page import ShelfReport, shelf_page
    from ..privacy.counts import read_sums

    page = Path(options.output)
    check_output(page, "page")
    table = page.with_suffix(".csv")
    if options.csv:
        if table == page:
            raise EventError(f"--output {page} and --csv arrived; the table is {table}, too: name the page OUT.html")
        check_output(table, "table")
    entries = read_log(options.log)
    name, plan = _plan(options.plan)
    if not entries:
        complain(f"{options.log} has no events yet")
        return NO
    last = max(times_of(entries))
    end = time.time() if 0 <= time.time() - last < _LIVE_S else last
    start = None
    if options.day is not None:
        first = first_of(entries)
        start, midnight = options.day
        end = min(end, midnight)
        if end <= start or first >= midnight:
            complain(f"{options.log} has nothing of that day")
            return NO
    past = history(entries, plan, start, end)
    sums = tuple(one for one in read_sums(options.log) if one.end_time > past.start and one.start_time < past.end)
    pictures = Path(options.log, PICTURES) if options.pictures else None
    write_atomic(page, shelf_page(ShelfReport(name or Path(options.log).resolve().name, past, pictures, sums)))
    if options.csv:
        write_atomic(table, table_of(past))
    if options.json:
        print_json({"page": str(page), "csv": str(table) if options.csv else None, **past.summary()})
    else:
        print(f"{page}: {len(past.slots)} slots, {len(past.incidents)} events" + (f"; {table}" if options.csv else ""))
    return DONE


def _plan(path: str | None) -> tuple[str, list[PlanSlot]]:
    """A plan's name, and of its slots what the report needs."""
    from ..events.history import PlanSlot

    if path is None:
        return "", []
    from ..shelf.planogram import read_planogram

    plan = read_planogram(Path(path))
    names = {product.id: product.name for product in plan.products}
    return plan.name, [PlanSlot(slot.id, slot.polygon or (), slot.sku, names.get(slot.sku, "")) for slot in plan.slots]


def table_of(past: History) -> bytes:
    """The events as CSV, UTF-8 with the mark that spreadsheets look for. Times are local, with their offset."""
    rows = []
    for one in sorted(past.incidents, key=lambda one: (one.start, one.id)):
        minutes = "" if one.end is None else f"{max(0.0, one.end - one.start) / 60:.2f}"
        row = (one.id, one.kind, one.slot, one.sku, one.state, one.by, one.severity)
        rows.append((*row, _moment(one.start), _moment(one.end), minutes, one.messages))
    return sheet(_COLUMNS, rows)


def _moment(seconds: float | None) -> str:
    from datetime import datetime

    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
