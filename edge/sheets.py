"""Tables that people open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from .files import shown_name


def sheet(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV in UTF-8 with the mark that spreadsheets look for; no text in it is taken for a formula, and names of
    files that aren't UTF-8 stand there with escapes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return b"\xef\xbb\xbf" + shown_name(text.getvalue()).encode()


def _harmless(cell: object) -> object:
    """Text that a spreadsheet doesn't take for a formula (OWASP, "CSV Injection")."""
    is_risky = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if is_risky else cell
