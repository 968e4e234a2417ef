"""A first plan from one good photo: where products were found and how they were named, put in rows and slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..errors import ShelfError
from . import geometry
from .planogram import Fixture, Photo, Planogram, PlanProduct, Slot, planogram_of

_SAME_ROW: Final = 0.5
"""Of the smaller height, by how much two boxes must overlap up and down to stand on one board."""
_SAME_SLOT: Final = 0.6
"""Of a box's width: facings of one product that stand further apart are two slots."""


@dataclass(frozen=True, slots=True)
class Found:
    """A product that was found on a photo: its box x0, y0, x1, y1 in pixels, and its SKU, "" where nobody knows it."""

    box: tuple[float, float, float, float]
    sku: str = ""


def proposed(
    name: str, size: tuple[int, int], found: Sequence[Found], names: Mapping[str, str] | None = None, photo: str = ""
) -> Planogram:
    """A plan of a photo of (width, height) pixels: one slot for each run of facings of one product on one board.

    `names`: SKU → name, for the plan's list of products; `photo`: the file's name beside the plan. Products that nobody knows get
    slots without a SKU, one each. Raises ShelfError where nothing was found.
    """
    if not found:
        raise ShelfError(
            "no product was found on the photo; expected one of a full shelf, or make a plan by shelfmatch shelf init"
        )
    width, height = size
    fixtures, slots = [], []
    for row, boxes in enumerate(_rows(found), start=1):
        top, bottom = min(one.box[1] for one in boxes), max(one.box[3] for one in boxes)
        fixtures.append(Fixture(f"r{row}", float(width), float(bottom - top), 0.0, float(top)))
        for column, run in enumerate(_runs(boxes), start=1):
            x0, y0, x1, y1 = _hull(run, width, height)
            if x1 - x0 < 10 * len(run) or y1 - y0 < 10:
                continue
            place = geometry.box(x0, y0, x1, y1)
            slots.append(
                Slot(
                    f"r{row}c{column}", run[0].sku, place, len(run), len(run), (), f"r{row}", round(x0, 2), round(y0, 2)
                )
            )
    skus = dict.fromkeys(slot.sku for slot in slots if slot.sku)
    products = tuple(PlanProduct(sku, (names or {}).get(sku, "")) for sku in skus)
    plan = Planogram(
        name, tuple(slots), products, tuple(fixtures), Photo(width, height, photo), float(width), float(height)
    )
    return planogram_of(plan.to_document(), name)


def _rows(found: Sequence[Found]) -> list[list[Found]]:
    """Boxes by the board they stand on, from the top; in each from the left."""
    rows: list[list[Found]] = []
    for one in sorted(found, key=lambda item: item.box[3]):
        height = one.box[3] - one.box[1]
        for row in rows:
            floor = float(np.median([other.box[3] for other in row]))
            smaller = min(height, float(np.median([other.box[3] - other.box[1] for other in row])))
            if abs(one.box[3] - floor) < _SAME_ROW * smaller:
                row.append(one)
                break
        else:
            rows.append([one])
    rows.sort(key=lambda row: float(np.median([one.box[3] for one in row])))
    return [sorted(row, key=lambda one: one.box[0]) for row in rows]


def _runs(row: Sequence[Found]) -> list[list[Found]]:
    """Neighbours of one product, as one slot."""
    runs: list[list[Found]] = []
    for one in row:
        last = runs[-1][-1] if runs else None
        wide = one.box[2] - one.box[0]
        if last is not None and one.sku and one.sku == last.sku and one.box[0] - last.box[2] < _SAME_SLOT * wide:
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _hull(run: Sequence[Found], width: int, height: int) -> tuple[float, float, float, float]:
    boxes = np.array([one.box for one in run])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return (
        max(0.0, float(low[0])),
        max(0.0, float(low[1])),
        min(float(width), float(high[0])),
        min(float(height), float(high[1])),
    )
