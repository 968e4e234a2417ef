"""A CSV as spreadsheets write it in any country: its delimiter, its encoding, its columns, and every line that is wrong."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CatalogError
from .columns import NAMES, matched, plain
from .encoding import decoded
from .listing import PHOTO_SUFFIXES, few

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_AS_THEY_ARE = ("image", "sku", "new_sku")
"""Columns of file names and SKUs, which are checked where they are used."""
_BLANKS = " \t\r\n,;|\u00a0"
_TITLE_LINES = 10
"""Among the first lines a header may stand, below a title and a date."""
_UNREADABLE = "can't be read as a CSV row:"
_MEND = 'close it, or take it away; a quote inside a quoted cell is written twice, like "32"" TV"'
_JOINERS = "\u200c\u200d"
"""Not printable, and part of how some scripts and emoji are written."""


@dataclass(frozen=True, slots=True)
class Table:
    """(line number, row) of the lines that can be used, (line number, what is wrong) of the others, and in words what was guessed
    about the file and what was cleaned in its cells. A line number is that of the record's first line."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    bad: tuple[tuple[int, str], ...] = ()
    guessed: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()


def read_table(path: Path, required: Sequence[str], columns: Mapping[str, str] | None = None) -> Table:
    """Read a CSV whose header has at least the required columns, or ones that are usually called so; `columns`: our name → the
    spreadsheet's. Empty rows and columns without a name are left out, and cells are on one line. Raises CatalogError."""
    text, guessed = _text_of(path)
    delimiters = "".join(_DELIMITERS)
    text, offset = _from_first_line(text)
    if not text:
        raise CatalogError(f"{path} is empty; expected a CSV with the header {','.join(required)} and a row for each")
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own line for its delimiter
        text, offset, delimiters = rest, offset + 1, first.strip()[-1]
    found = [(_header(text, delimiter), delimiter) for delimiter in delimiters]
    names, delimiter = max(found, key=lambda one: _fitness(one[0], columns or {}, required))
    try:
        header, renamed = matched(names, columns or {}, required)
    except CatalogError as error:
        raise CatalogError(f"{path}: {error}") from None
    if delimiter == "|":
        guessed.append(f"its cells are taken to be parted by {_DELIMITERS[delimiter]}")
    guessed += renamed
    is_whole = all(column in header for column in required)
    advice = "" if is_whole else _advice(text, offset, columns or {}, required)
    _check_header(path, names, header, required, delimiter, advice)
    rows: list[tuple[int, dict[str, str]]] = []
    bad: list[tuple[int, str]] = []
    cleaned: list[str] = []
    for line, cells in _records(text, delimiter, header):
        if isinstance(cells, str):
            bad.append((line + offset, cells))
        elif any(cell.strip() for cell in cells):
            row = _row(header, cells, required, delimiter)
            if isinstance(row, str):
                bad.append((line + offset, row))
            else:
                for key, cell in row.items():
                    row[key], is_changed = _cell(key, cell)
                    if is_changed:
                        cleaned.append(f"line {line + offset} {key}")
                rows.append((line + offset, row))
    if cleaned:
        cleaned = [f"characters that can't be shown were left out of {few(cleaned)}"]
    return Table(header, tuple(rows), tuple(bad), tuple(guessed), tuple(cleaned))


def read_rows(path: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV of which every line counts. Raises CatalogError that names all lines that are wrong."""
    table = read_table(path, required)
    if table.bad:
        raise CatalogError(wrong_lines(path, table.bad))
    return list(table.rows)


def wrong_lines(path: Path, bad: Sequence[tuple[int, str]]) -> str:
    """Lines that can't be used, as one sentence."""
    listed = [f"line {line}{':' if problem.startswith('SKU') else ''} {problem}" for line, problem in bad[:5]]
    more = f"; and {len(bad) - 5:,} more lines" if len(bad) > 5 else ""
    return f"{path} {'; '.join(listed)}{more}"


def _text_of(path: Path) -> tuple[str, list[str]]:
    try:
        text, encoding = decoded(path.read_bytes())
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{path} can't be read as a CSV: its {error.encoding} is damaged; save it as 'CSV UTF-8'"
        ) from error
    except ValueError as error:
        raise CatalogError(f"{path} can't be read as a CSV: {error}") from error
    except FileNotFoundError as error:
        raise CatalogError(f"{path} does not exist; expected a CSV") from error
    except OSError as error:
        raise CatalogError(f"{path} can't be read as a CSV: {error.strerror or error}") from error
    return text, [
        f"its letters are taken to be {encoding}; save it as 'CSV UTF-8' if names look wrong"
    ] if encoding else []


def _from_first_line(text: str) -> tuple[str, int]:
    """Without the lines before the first one that has something in it, and how many these are."""
    start = len(text) - len(text.lstrip(_BLANKS))
    start = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1 if start < len(text) else start
    return text[start:], len(text[:start].splitlines())


def _advice(text: str, offset: int, columns: Mapping[str, str], required: Sequence[str]) -> str:
    """What to do about a header in which something is missing: where it may be, where that is plain to see."""
    for delimiter in _DELIMITERS:
        rows = itertools.islice(_records(text, delimiter), _TITLE_LINES)
        for line, cells in rows:
            if not isinstance(cells, str) and _fitness(cells, columns, required)[0] == len(required):
                return f"; its header seems to be line {line + offset}: take away the lines above it"
        names = _header(text, delimiter)
        numbered = [
            name for name in names if name[-1:].isdigit() and plain(name.rstrip("0123456789")) in NAMES["image"]
        ]
        if "image" in required and len(numbered) > 1:
            return f"; {few(numbered)} are several photos of one product: expected one column, and a row for each photo"
    return ""


def _header(text: str, delimiter: str) -> list[str]:
    """The first record as this delimiter parts it."""
    cells = next((one for _, one in _read(text, delimiter)), [])
    return [] if isinstance(cells, str) else [" ".join(cell.split()) for cell in cells]


def _fitness(names: Sequence[str], columns: Mapping[str, str], required: Sequence[str]) -> tuple[int, int]:
    """How well a header fits what is looked for: the columns that are found, then how many there are."""
    try:
        header, _ = matched(names, columns, required)
    except CatalogError:
        return -1, len(names)
    return sum(name in header for name in required), len(names)


def _check_header(
    path: Path, names: Sequence[str], header: Sequence[str], required: Sequence[str], delimiter: str, advice: str
) -> None:
    missing = [column for column in required if column not in header]
    if missing:
        say = "" if len(names) < 2 or _looks_like_data(names) else f"; or say which is which: --columns {missing[0]}=…"
        say = advice or say
        raise CatalogError(
            f"{path} has the header {delimiter.join(names)[:200]!r}; expected it to include {','.join(required)}{say}"
        )
    twice = [name for place, name in enumerate(header) if name and name in header[:place]]
    if twice:
        raise CatalogError(f"{path} has the column {twice[0]} twice; expected each once")


def _records(text: str, delimiter: str, header: Sequence[str] = ()) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, cells, or what is wrong) of each record after the header. `header`: our names of the columns, by which lines
    are known that a quote takes for a part of its cell."""
    return itertools.islice(_read(text, delimiter, header), 1, None)


def _read(text: str, delimiter: str, header: Sequence[str] = ()) -> Iterator[tuple[int, list[str] | str]]:
    """(number of its first line, cells, or what is wrong) of each record. A record that is wrong is its first line: what a stray
    quote took in is read again."""
    lines = io.StringIO(text, newline="").readlines()
    start = begin = 0
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells: list[str] | str = next(reader)
            own = lines[start : begin + reader.line_num]
            if start and len(own) > 1 and (swallowed := _swallowed(own, delimiter, header)):
                cells = f"{_UNREADABLE} a quote that opens there takes {_rows_after(swallowed)} into its cell; {_MEND}"
        except StopIteration:
            return
        except csv.Error as error:
            is_quote = "unexpected end of data" in str(error) or begin + reader.line_num > start + 1
            cells = f"{_UNREADABLE} {f'a quote that opens there is not closed; {_MEND}' if is_quote else error}"
        yield start + 1, cells
        if isinstance(cells, str):
            start = begin = start + 1
            reader = csv.reader((lines[one] for one in range(begin, len(lines))), delimiter=delimiter, strict=True)
        else:
            start = begin + reader.line_num


def _rows_after(count: int) -> str:
    return "the row after it" if count == 1 else f"the {count:,} rows after it"


def _swallowed(lines: Sequence[str], delimiter: str, header: Sequence[str]) -> int:
    """How many rows of their own a record over several lines holds after its first one; 0 where any of them isn't one, as in a
    description with line breaks."""
    first, *rest = [_cells(line, delimiter) for line in lines if line.strip()]
    return len(rest) if all(_is_row(cells, first, header) for cells in rest) else 0


def _cells(line: str, delimiter: str) -> list[str]:
    """A line's cells, whatever its quotes."""
    return next(csv.reader([line], delimiter=delimiter), [])


def _is_row(cells: Sequence[str], first: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a line has as many cells as the header, and names a photo, or a SKU that is written like the one in `first`. A line
    of text may have as many commas, but hardly that."""
    if len(cells) != len(header):
        return False
    if "image" in header and Path(cells[header.index("image")].strip()).suffix.lower() in PHOTO_SUFFIXES:
        return True
    place = header.index("sku") if "sku" in header else len(first)
    return place < len(first) and _pattern(cells[place]) == _pattern(first[place])


def _pattern(sku: str) -> str:
    """How a SKU is written: words as a, numbers as 9, those of several digits as 99."""
    return re.sub(r"\d+", lambda number: "99"[: len(number[0])], re.sub(r"[^\W\d_]+", "a", sku.strip()))


def _row(header: Sequence[str], cells: Sequence[str], required: Sequence[str], delimiter: str) -> dict[str, str] | str:
    """A row by its columns, or what is wrong with it. Excel leaves empty cells at a line's end out: these are blank."""
    needed = 1 + max((header.index(column) for column in required), default=0)
    if len(cells) < needed or any(cell.strip() for cell in cells[len(header) :]):
        hint = ' (a cell with a comma in it needs quotes around it, like "2,49")' if delimiter == "," else ""
        hint = hint if len(cells) > len(header) else ""
        return f"has more or fewer fields than the header: {len(cells)}, expected {len(header)}{hint}"
    padded = [*cells, *[""] * (len(header) - len(cells))]
    return {name: cell for name, cell in zip(header, padded, strict=False) if name}


def _on_a_line(column: str, text: str) -> str:
    """Without the blanks around it; in what is only shown, a line break is a blank. File names and SKUs are as they are, but for
    the ="…" by which spreadsheets are kept from changing a number."""
    if text.startswith('="') and text.endswith('"') and len(text) > 2:
        text = text[2:-1]
    return text.strip() if column in _AS_THEY_ARE else " ".join(text.split())


def _cell(column: str, text: str) -> tuple[str, bool]:
    """The same without characters that can't be shown, which could hide or turn around what stands beside them; whether there were
    any."""
    text = _on_a_line(column, text)
    if text.isprintable() or column in _AS_THEY_ARE:
        return text, False
    cleaned = " ".join("".join(one for one in text if one.isprintable() or one in _JOINERS).split())
    return cleaned, cleaned != text


def _looks_like_data(header: Sequence[str]) -> bool:
    """Whether what should be a header is a first row of data."""
    return any("." in name and name.rsplit(".", 1)[-1].lower() in ("jpg", "jpeg", "png", "webp") for name in header)
