"""A first plan from one good photo: where products were found and how they were named, put in rows and slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ..errors import ShelfError
from . import geometry
from .planogram import MOST_SHARED, Fixture, Photo, Planogram, PlanProduct, Slot, planogram_of

if TYPE_CHECKING:
    from ..matching.scene import Scene

_SAME_ROW: Final = 0.5
"""Of the smaller height, by how much two boxes must overlap up and down to stand on one board."""
_SAME_SLOT: Final = 0.6
"""Of a box's width: facings of one product that stand further apart are two slots."""


@dataclass(frozen=True, slots=True)
class Found:
    """A product that was found on a photo: its box x0, y0, x1, y1 in pixels, its SKU, "" where nobody knows it, and whether that is
    sure, or only likely."""

    box: tuple[float, float, float, float]
    sku: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """A first plan, and the ids of its slots of which the product is likely and not sure: somebody should look at them."""

    plan: Planogram
    unsure: tuple[str, ...] = ()


def found_in(scene: Scene) -> list[Found]:
    """A scene's products for a plan: a candidate that is more likely right than wrong stands in it, for a person looks at the plan
    and most of a shelf's products are the shop's; what shows no goods doesn't."""
    found = []
    for product in scene.products:
        if product.result is None or not product.confidence:
            continue
        likely = product.candidates[0].sku if product.confidence > 0.5 else ""
        found.append(Found(product.box, product.sku or likely, product.sku is not None))
    return found


def proposed(
    name: str, size: tuple[int, int], found: Sequence[Found], names: Mapping[str, str] | None = None, photo: str = ""
) -> Proposal:
    """A plan of a photo of (width, height) pixels: one slot for each run of facings of one product on one board.

    `names`: SKU → name, for the plan's list of products; `photo`: the file's name beside the plan. Products that nobody knows get
    slots without a SKU, one each; of two slots in one place that of more facings stays. Raises ShelfError where nothing was found.
    """
    if not found:
        raise ShelfError(
            "no product was found on the photo; expected one of a full shelf, or make a plan by shelfmatch shelf init"
        )
    width, height = size
    fixtures, slots, unsure = [], [], set()
    for row, boxes in enumerate(_rows(found), start=1):
        top, bottom = min(one.box[1] for one in boxes), max(one.box[3] for one in boxes)
        fixtures.append(Fixture(f"r{row}", float(width), float(bottom - top), 0.0, float(top)))
        for column, run in enumerate(_runs(boxes), start=1):
            x0, y0, x1, y1 = _hull(run, width, height)
            if x1 - x0 < 10 * len(run) or y1 - y0 < 10:
                continue
            place, slot = geometry.box(x0, y0, x1, y1), f"r{row}c{column}"
            slots.append(Slot(slot, run[0].sku, place, len(run), len(run), (), f"r{row}", round(x0, 2), round(y0, 2)))
            if run[0].sku and not any(one.sure for one in run):
                unsure.add(slot)
    slots = _apart(slots)
    skus = dict.fromkeys(slot.sku for slot in slots if slot.sku)
    products = tuple(PlanProduct(sku, (names or {}).get(sku, "")) for sku in skus)
    plan = Planogram(
        name, tuple(slots), products, tuple(fixtures), Photo(width, height, photo), float(width), float(height)
    )
    return Proposal(planogram_of(plan.to_document(), name), tuple(slot.id for slot in slots if slot.id in unsure))


def _apart(slots: Sequence[Slot]) -> list[Slot]:
    """Slots that stand side by side, in their order: of two in one place that of more facings, or of the known product."""
    kept: list[Slot] = []
    for one in sorted(slots, key=lambda slot: (-slot.facings, not slot.sku)):
        if all(geometry.shared(_place(one), _place(other)) <= MOST_SHARED for other in kept):
            kept.append(one)
    ids = {one.id for one in kept}
    return [one for one in slots if one.id in ids]


def _place(slot: Slot) -> geometry.Quad:
    assert slot.polygon is not None
    return slot.polygon


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
    """Neighbours of one product, as one slot. One that isn't sure between two of another product is one of theirs."""
    skus = [one.sku for one in row]
    for place in range(1, len(row) - 1):
        if not row[place].sure and skus[place - 1] and skus[place - 1] == row[place + 1].sku:
            skus[place] = skus[place - 1]
    runs: list[list[Found]] = []
    for one, sku in zip(row, skus, strict=True):
        last = runs[-1][-1] if runs else None
        wide = one.box[2] - one.box[0]
        same = replace(one, sku=sku)
        if last is not None and sku and sku == last.sku and one.box[0] - last.box[2] < _SAME_SLOT * wide:
            runs[-1].append(same)
        else:
            runs.append([same])
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
