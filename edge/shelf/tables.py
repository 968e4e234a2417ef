"""Plans by hand: from tables (a CSV of our own, and the shelf-allocation exchange format of Japan, PTS, versions 1 to 3), or a grid
over a photo."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ShelfError
from ..files import shown_name
from . import geometry
from .planogram import MAX_SLOTS, Fixture, Photo, Planogram, PlanProduct, Slot, brief, planogram_of

COLUMNS: Final = ("id", "sku", "row", "column", "facings", "min_stock", "alternatives", "name", "polygon")
"""Of a CSV: `id` or `row` and `column`, and `sku`, are needed; `alternatives` are SKUs with | between them, `polygon` is eight
numbers with spaces between them."""
_ROWS_APART_MM: Final = 300.0
"""Between two boards where a version 1 file, which has no furniture, doesn't say."""
_PTS: Final = "共通棚割情報"
"""How a PTS file begins."""
_LARGEST: Final = 1_000_000
"""Of a table's number: a kilometre in mm, and what is computed from it stays a number."""


def read_table(path: Path, size: tuple[int, int] | None = None, name: str = "") -> Planogram:
    """A plan from a CSV or a PTS file, told apart by its first line. Slots have no places in a photo, unless the CSV gives them:
    then `size` is needed, that photo's width and height in pixels. `name`: the plan's, "" for the file's.

    Raises ShelfError, with the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ShelfError(f"{path} can't be read: {error.strerror}; expected a CSV or a PTS file") from error
    text = _decoded(data, path)
    reader = csv.reader(io.StringIO(text), delimiter=_delimiter(text))
    rows: list[list[str]] = []
    try:
        for row in reader:
            rows.append(row)
            rows += [[]] * (reader.line_num - len(rows))  # a cell of several lines: the next row's place is its line
    except csv.Error as error:
        raise ShelfError(f"{path}, line {reader.line_num}: {error}; is a quotation mark missing?") from error
    if not rows:
        raise ShelfError(f"{path} is empty; expected a CSV with the header {', '.join(COLUMNS[:5])}, or a PTS file")
    if rows[0] and rows[0][0].strip() == _PTS:
        return _Pts(rows, path).plan(name)
    return _of_csv(rows, path, size, name)


def _decoded(data: bytes, path: Path) -> str:
    """Of a table. Only PTS may be Shift-JIS, which nearly any bytes can be read as: names in Latin-1 would become others."""
    is_shift_jis = _PTS.encode("cp932") in data[:40]
    try:
        return data.decode("cp932" if is_shift_jis else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if is_shift_jis:
            raise ShelfError(f"{path}, line {line}: bytes that aren't Shift-JIS; save the PTS file anew") from error
        raise ShelfError(
            f"{path}, line {line}: bytes that aren't UTF-8; save the table as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from error


def _delimiter(text: str) -> str:
    """What parts the most cells of the header. Spreadsheets write semicolons where a comma is the decimal point's."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _of_csv(rows: list[list[str]], path: Path, size: tuple[int, int] | None, name: str) -> Planogram:
    header = [cell.strip().lower() for cell in rows[0]]
    while (
        len(header) > 1 and not header[-1]
    ):  # empty columns, which spreadsheets write as far as a cell was ever touched
        header.pop()
    strange = [name for name in header if name not in COLUMNS]
    if strange or "sku" not in header or not ("id" in header or {"row", "column"} <= set(header)):
        raise ShelfError(
            f"{path}: header {','.join(rows[0])[:80]!r} arrived; expected sku, id or row and column, and any of "
            f"{', '.join(COLUMNS[4:])}"
        )
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise ShelfError(f"{path}: the header has {twice[0]!r} twice; expected each column once")
    slots: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for line, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            raise ShelfError(
                f"{path}, line {line}: {len(cells)} cells arrived; expected {len(header)}, as in the header"
            )
        one = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        where = f"{path}, line {line}"
        if not (one.get("id") or (one.get("row") and one.get("column"))):
            raise ShelfError(f"{where}: the slot has no name; expected an id, or a row and a column")
        facings = _whole(one.get("facings") or "1", "facings", where)
        slot_id = one.get("id") or f"r{one['row']}c{one['column']}"
        document: dict[str, Any] = {
            "id": slot_id,
            "productId": one["sku"],
            "fixtureId": f"r{one['row']}" if one.get("row") else "",
            "x": float(_whole(one["column"], "column", where)) if one.get("column") else 0.0,
            "y": float(_whole(one["row"], "row", where)) if one.get("row") else 0.0,
            "facings": facings,
            "minStock": _whole(one.get("min_stock") or str(facings), "min_stock", where),
            "alternatives": [sku.strip() for sku in one.get("alternatives", "").split("|") if sku.strip()],
        }
        if one.get("polygon"):
            document["polygon"] = _polygon(one["polygon"], where)
            if size is None:  # one of which only the corners are known would not be the photo that is taught later
                raise ShelfError(f"{where}: a polygon is a place in a photo; give that photo, too (--photo)")
        slots.append(document)
        for sku in (one["sku"], *document["alternatives"]):
            names.setdefault(sku, "")
        if one.get("name"):
            names[one["sku"]] = one["name"]
    fixtures = list(dict.fromkeys(slot["fixtureId"] for slot in slots if slot["fixtureId"]))
    photo = None if size is None else {"width": size[0], "height": size[1]}
    body = {
        "products": [{"id": sku, "name": title} for sku, title in names.items() if sku],
        "fixtures": [{"id": board} for board in fixtures],
        "positions": slots,
    }
    whole = {"version": 1, "name": name or shown_name(path.stem), "photo": photo, "planogram": body}
    return planogram_of(whole, str(path), path.parent)


def _polygon(text: str, where: str) -> list[list[float]]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 8 or not all(math.isfinite(number) for number in numbers):
        raise ShelfError(
            f"{where}: polygon {text[:60]!r} arrived; expected eight numbers, x y of four corners from the top left"
        )
    return [numbers[n : n + 2] for n in range(0, 8, 2)]


def _whole(text: str, name: str, where: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ShelfError(f"{where}: {name} is {brief(text)}; expected a whole number") from None
    if abs(value) > _LARGEST:
        raise ShelfError(f"{where}: {name} is {brief(text)}; expected a whole number, at most {_LARGEST:,}")
    return value


@dataclass(frozen=True, slots=True)
class _Placed:
    """One line of a PTS file: bay from the left, board from the bottom, place on it from the left, product, facings."""

    bay: int
    board: int
    place: int
    sku: str
    facings: int
    line: int


class _Pts:
    """Reads PTS: a header, a model's name, then tables that each begin with their columns' names (tanapower.com's specification;
    version 1 has placements alone, 2 and 3 have bays and boards in mm before them)."""

    _BAY = ("台番号", "棚台番号")

    def __init__(self, rows: list[list[str]], path: Path) -> None:
        self._rows, self._path = rows, path
        version = rows[0][1].strip() if len(rows[0]) > 1 else ""
        if version not in ("V1.0", "V2.0", "V3.0"):
            raise ShelfError(f"{path}: PTS version {version!r} arrived; expected V1.0, V2.0 or V3.0")
        self.name = rows[1][0].strip() if len(rows) > 1 and rows[1] else ""
        self.bays: dict[int, tuple[float, float]] = {}
        self.boards: dict[tuple[int, int], float] = {}
        self.placed: list[_Placed] = []
        self._read()

    def _read(self) -> None:
        header: list[str] = []
        for line, cells in enumerate(self._rows[2:], start=3):
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if cells[0] in self._BAY:
                header = cells
                continue
            if not header:
                raise ShelfError(
                    f"{self._path}, line {line}: a row before its columns' names; expected 台番号, 棚段番号, …"
                )
            self._row(dict(zip(header, cells, strict=False)), line)
        if not self.placed:
            raise ShelfError(f"{self._path}: no product is placed; expected rows with 商品コード and フェース数")
        if len(self.placed) > MAX_SLOTS:
            raise ShelfError(
                f"{self._path}: {len(self.placed):,} products are placed; a plan takes at most {MAX_SLOTS:,}"
            )

    def _row(self, one: dict[str, str], line: int) -> None:
        where = f"{self._path}, line {line}"
        bay = _whole(next((one[name] for name in self._BAY if name in one), ""), "台番号", where)
        if "商品コード" in one:
            numbers = [_whole(one.get(name, ""), name, where) for name in ("棚段番号", "棚位置", "フェース数")]
            if not one["商品コード"]:
                raise ShelfError(f"{where}: 商品コード is empty; expected an article number")
            self.placed.append(_Placed(bay, numbers[0], numbers[1], one["商品コード"], max(1, numbers[2]), line))
        elif "棚段番号" in one:
            self.boards[bay, _whole(one["棚段番号"], "棚段番号", where)] = float(
                _whole(one.get("棚高さ", ""), "棚高さ", where)
            )
        else:
            sides = [float(_whole(one.get(name, ""), name, where)) for name in ("台幅", "台高さ")]
            self.bays[bay] = sides[0], sides[1]

    def plan(self, name: str) -> Planogram:
        """Bays side by side from the left, boards from the top, as plans have them; in mm. `name`: "" for the model's."""
        left, lefts = 0.0, {}
        numbers = sorted({one.bay for one in self.placed} | set(self.bays))
        for bay in numbers:
            lefts[bay] = left
            left += self.bays.get(bay, (900.0, 0.0))[0]
        most = {
            bay: max(one.board for one in self.placed if one.bay == bay) for bay in {one.bay for one in self.placed}
        }
        height = max([tall for _, tall in self.bays.values()] + [_ROWS_APART_MM * max(most.values())])
        fixtures: dict[str, Fixture] = {}
        slots: list[Slot] = []
        for one in sorted(self.placed, key=lambda item: (item.bay, -item.board, item.place, item.line)):
            board = f"bay{one.bay}s{one.board}"
            rise = self.boards.get((one.bay, one.board), _ROWS_APART_MM * (one.board - 1))
            fixtures.setdefault(
                board,
                Fixture(board, self.bays.get(one.bay, (900.0, 0.0))[0], 0.0, lefts[one.bay], max(0.0, height - rise)),
            )
            slot_id = f"{board}p{one.place}"
            if any(slot.id == slot_id for slot in slots):
                slot_id += f"-{one.line}"  # version 3 stacks other products on one
            slots.append(
                Slot(
                    slot_id, one.sku, None, one.facings, one.facings, (), board, lefts[one.bay], max(0.0, height - rise)
                )
            )
        products = tuple(PlanProduct(sku) for sku in dict.fromkeys(slot.sku for slot in slots))
        plan = Planogram(
            name or self.name or shown_name(self._path.stem),
            tuple(slots),
            products,
            tuple(fixtures.values()),
            None,
            left,
            height,
        )
        return planogram_of(plan.to_document(), str(self._path), self._path.parent)


def grid(name: str, width: int, height: int, rows: int, across: int, margin: float = 0.02) -> Planogram:
    """A first plan by hand: so many rows of so many slots over a photo of that size, numbered r1c1 from the top left. Raises
    ShelfError for more slots than a plan takes, or than the photo has pixels for."""
    if rows * across > MAX_SLOTS:
        raise ShelfError(
            f"{rows:,} rows of {across:,} slots arrived; a plan takes at most {MAX_SLOTS:,} slots (--rows, --cols)"
        )
    left, top = width * margin, height * margin
    wide, high = (width - 2 * left) / across, (height - 2 * top) / rows
    slots, fixtures = [], []
    for row in range(rows):
        shelf = f"r{row + 1}"
        fixtures.append(
            Fixture(shelf, round(width - 2 * left, 2), round(high, 2), round(left, 2), round(top + row * high, 2))
        )
        for column in range(across):
            x, y = left + column * wide, top + row * high
            place = geometry.box(x + 0.03 * wide, y + 0.05 * high, x + 0.97 * wide, y + 0.85 * high)
            slots.append(Slot(f"{shelf}c{column + 1}", "", place, fixture=shelf, x=round(x, 2), y=round(y, 2)))
    plan = Planogram(name, tuple(slots), (), tuple(fixtures), Photo(width, height), float(width), float(height))
    return planogram_of(plan.to_document(), name)
