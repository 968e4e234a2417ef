"""The bars of `right_answers.py`, and their table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import reporting

PARTS: Final = {
    "recall": "closed shops",
    "rates": "draws with a quarter of the products left out, at each rate",
    "small": "shops of few products, asked for 5 %, with unknown queries from the same shelf",
    "nothing": "photos of nothing",
    "cost": "local matching's share of a bundle",
    "local": "small shops as they are built, against the same without local matching and adapter",
    "calibrate": "twenty photos of the shop's camera; the other queries with against without",
    "barcodes": "packages with a readable bar code, and others",
}
"""In the order of the table."""
HEADER: Final = ("what", "bar", "measured", "met", "of")


@dataclass(frozen=True, slots=True)
class Row:
    """A bar: `limit`, the most or (`at_least`) the least that keeps it; `measured`: from 0 to 1, or a count; `of`: how many;
    `unit`: "%" for shares, "" for counts and the rest."""

    part: str
    what: str
    measured: float | None
    limit: float
    at_least: bool
    of: str = ""
    unit: str = "%"

    @property
    def met(self) -> bool | None:
        """None where nothing was measured."""
        if self.measured is None or math.isnan(self.measured):
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def shown(row: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""

    def number(value: float | None) -> str:
        if value is None:
            return "not run"
        return f"{100 * value:.1f} %" if row["unit"] == "%" else f"{value:.4g}"

    met = {None: "–", True: "yes", False: "NO"}[row["met"]]
    return (
        row["what"],
        ("≥ " if row["at_least"] else "≤ ") + number(row["limit"]),
        number(row["measured"]),
        met,
        row["of"],
    )


def _machine(machine: dict[str, Any], versions: dict[str, str]) -> str:
    installed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Measured on {machine['cores']} cores of an {machine['cpu']}, Python {machine['python']}, {installed}."


def right_answers_table(document: dict[str, Any]) -> str:
    """All parts of a result, as Markdown."""
    found = document["results"]
    blocks = [_machine(document["machine"], found.get("versions", {}))] if "machine" in document else []
    for part, told in PARTS.items():
        rows: Sequence[dict[str, Any]] = [row for row in found["rows"] if row["part"] == part]
        if not rows:
            blocks.append(f"**{part}** ({told}): not run.")
            continue
        table = reporting.markdown_table(HEADER, [shown(row) for row in rows])
        blocks.append(f"**{part}** ({told}), {found['settings'][part]['encoder']}:\n\n{table}")
    return "\n\n".join(blocks)
