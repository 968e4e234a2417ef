"""Plans from tables: a CSV of our own, and the shelf-allocation exchange format of Japan (PTS, versions 1 to 3)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ShelfError
from .planogram import Fixture, Planogram, PlanProduct, Slot, planogram_of

COLUMNS: Final = ("id", "sku", "row", "column", "facings", "min_stock", "alternatives", "name", "polygon")
"""Of a CSV: `id` or `row` and `column`, and `sku`, are needed; `alternatives` are SKUs with | between them, `polygon` is eight
numbers with spaces between them."""
_ROWS_APART_MM: Final = 300.0
"""Between two boards where a version 1 file, which has no furniture, doesn't say."""


def read_table(path: Path) -> Planogram:
    """A plan from a CSV or a PTS file, told apart by its first line. Slots have no places in a photo, unless the CSV gives them.

    Raises ShelfError, with the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ShelfError(f"{path} can't be read: {error.strerror}; expected a CSV or a PTS file") from error
    text = _decoded(data, path)
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        raise ShelfError(f"{path} is empty; expected a CSV with the header {', '.join(COLUMNS[:5])}, or a PTS file")
    if rows[0] and rows[0][0].strip() == "共通棚割情報":
        return _Pts(rows, path).plan()
    return _of_csv(rows, path)


def _decoded(data: bytes, path: Path) -> str:
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ShelfError(f"{path} is neither UTF-8 nor Shift-JIS; save it as one of them")


def _of_csv(rows: list[list[str]], path: Path) -> Planogram:
    header = [cell.strip().lower() for cell in rows[0]]
    strange = [name for name in header if name not in COLUMNS]
    if strange or "sku" not in header or not ("id" in header or {"row", "column"} <= set(header)):
        raise ShelfError(
            f"{path}: header {','.join(rows[0])[:80]!r} arrived; expected sku, id or row and column, and any of "
            f"{', '.join(COLUMNS[4:])}"
        )
    slots: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for line, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise ShelfError(
                f"{path}, line {line}: {len(cells)} cells arrived; expected {len(header)}, as in the header"
            )
        one = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        where = f"{path}, line {line}"
        facings = _whole(one.get("facings") or "1", "facings", where)
        slot_id = one.get("id") or f"r{one.get('row')}c{one.get('column')}"
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
        slots.append(document)
        for sku in (one["sku"], *document["alternatives"]):
            names.setdefault(sku, "")
        if one.get("name"):
            names[one["sku"]] = one["name"]
    fixtures = list(dict.fromkeys(slot["fixtureId"] for slot in slots if slot["fixtureId"]))
    photo = _photo_around(slots)
    body = {
        "products": [{"id": sku, "name": name} for sku, name in names.items() if sku],
        "fixtures": [{"id": name} for name in fixtures],
        "positions": slots,
    }
    return planogram_of({"version": 1, "name": path.stem, "photo": photo, "planogram": body}, str(path), path.parent)


def _photo_around(slots: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """A photo that has all places: the real one comes with teaching."""
    corners = [corner for slot in slots for corner in slot.get("polygon", ())]
    if not corners:
        return None
    return {
        "width": max(32, int(max(x for x, _ in corners)) + 1),
        "height": max(32, int(max(y for _, y in corners)) + 1),
    }


def _polygon(text: str, where: str) -> list[list[float]]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 8:
        raise ShelfError(
            f"{where}: polygon {text[:60]!r} arrived; expected eight numbers, x y of four corners from the top left"
        )
    return [numbers[n : n + 2] for n in range(0, 8, 2)]


def _whole(text: str, name: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ShelfError(f"{where}: {name} is {text[:40]!r}; expected a whole number") from None


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

    def plan(self) -> Planogram:
        """Bays side by side from the left, boards from the top, as plans have them; in mm."""
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
            self.name or self._path.stem, tuple(slots), products, tuple(fixtures.values()), None, left, height
        )
        return planogram_of(plan.to_document(), str(self._path), self._path.parent)
