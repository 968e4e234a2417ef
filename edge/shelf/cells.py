"""A plan's facings as cells of the small picture: which blocks show what stands there, and which lie just before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from . import geometry
from .compare import BLOCK
from .geometry import Quad
from .planogram import Planogram

_INNER: Final = 0.06
"""Of a facing's sides, left out at its border: neighbours lean over."""
_RAIL: Final = 0.3
"""Of a facing's height, how far below it the board's front and its price rail are looked at."""
_OVER: Final = (0.15, 0.45)
"""Of a facing's height, from where to where above it is looked at: plans are drawn by hand, and packages rise a little above."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One facing: its slot's number in the plan, its own number in the slot from the left, its corners in the reference photo."""

    slot: int
    facing: int
    quad: Quad


@dataclass(frozen=True, slots=True)
class Cells:
    """All facings of a plan. `inside`, `before` and `above`, (cells, blocks) float32: how much of each block lies in a cell, in the
    rail below it or beside it, where products don't stand, and in the wall or board just above it; rows sum to 1, those of `above`
    to 0 where other cells lie there. `owner`, (blocks,): whether any cell is there; `apart`: whether none is there or next to it.
    `near`, (cells, cells): which facings of other slots lie next to each, up to half its size away; `column`: which stand above or
    below it."""

    cells: tuple[Cell, ...]
    inside: NDArray[np.float32]
    before: NDArray[np.float32]
    above: NDArray[np.float32]
    owner: NDArray[np.bool_]
    apart: NDArray[np.bool_]
    near: NDArray[np.bool_]
    column: NDArray[np.bool_]
    shape: tuple[int, int]

    def beyond(self, cell: int, differs: NDArray[np.bool_]) -> float:
        """How far what differs in a cell goes on outside of all cells: (blocks,) that differ, of those that hang together with one
        in the cell the number that lie apart from cells, over the number of the cell's own blocks."""
        own = self.inside[cell] > 0
        mask = differs.reshape(self.shape)
        reached = own.reshape(self.shape) & mask
        while (wider := _grown(reached) & mask).sum() > reached.sum():
            reached = wider
        return float((reached.reshape(-1) & self.apart).sum() / max(1, own.sum()))


def cells_of(plan: Planogram, factor: int, size: tuple[int, int]) -> Cells:
    """Cut a plan's slots into facings; `factor`: how many times smaller the small picture is, `size` its (height, width)."""
    rows, columns = size[0] // BLOCK, size[1] // BLOCK
    found = []
    for number, slot in enumerate(plan.slots):
        assert slot.polygon is not None
        found += [Cell(number, n, quad) for n, quad in enumerate(geometry.columns(slot.polygon, slot.facings))]
    step = factor * BLOCK
    inside = np.stack([_coverage(_shrunk(cell.quad), step, rows, columns) for cell in found])
    whole = np.stack([_coverage(cell.quad, step, rows, columns) for cell in found])
    owner = whole.max(axis=0) > 0.2
    around = np.stack([_coverage(_rail(cell.quad), step, rows, columns) for cell in found]) * ~owner
    # Blocks are compared in windows of 3x3: those that touch a facing differ when only the facing does.
    touched = _grown(owner.reshape(rows, columns)).reshape(-1)
    apart = around * ~touched
    above = np.stack([_coverage(_over(cell.quad), step, rows, columns) for cell in found]) * ~touched
    before = np.zeros_like(inside)
    for number, weights in enumerate(np.where(apart.sum(axis=1, keepdims=True) >= 1, apart, around)):
        # A shelf without rails: whatever of the cell's own surroundings no cell has.
        before[number] = (
            weights if weights.sum() >= 1 else _ring(whole[number].reshape(rows, columns)).reshape(-1) * ~owner
        )
    return Cells(
        tuple(found),
        _normed(inside),
        _normed(before),
        _normed(above),
        owner,
        ~touched,
        _near(found),
        _column(found),
        (rows, columns),
    )


def _near(cells: list[Cell]) -> NDArray[np.bool_]:
    """Which cells' boxes, half a cell larger each way, touch; none of one slot."""
    corners = np.array([cell.quad for cell in cells])
    low, high = corners.min(axis=1), corners.max(axis=1)
    reach = (high - low) / 2
    touch = ((low - reach)[:, None] < high[None]) & (low[None] < (high + reach)[:, None])
    slots = np.array([cell.slot for cell in cells])
    result: NDArray[np.bool_] = touch.all(axis=2) & (slots[:, None] != slots[None])
    return result


def _column(cells: list[Cell]) -> NDArray[np.bool_]:
    """Which cells of other slots share a part of each one's left and right."""
    corners = np.array([cell.quad for cell in cells])[..., 0]
    left, right = corners.min(axis=1), corners.max(axis=1)
    slots = np.array([cell.slot for cell in cells])
    result: NDArray[np.bool_] = (
        (left[:, None] < right[None]) & (left[None] < right[:, None]) & (slots[:, None] != slots)
    )
    return result


def _normed(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    sums = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.maximum(sums, 1e-6), np.float32)


def _coverage(quad: Quad, step: int, rows: int, columns: int) -> NDArray[np.float32]:
    """How much of each block lies in a quad, sampled in 4x4 points; (rows * columns,)."""
    corners = np.array(quad) / step
    y, x = (np.mgrid[0 : rows * 4, 0 : columns * 4] + 0.5) / 4
    is_in = np.ones(y.shape, bool)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge = end - start
        is_in &= edge[0] * (y - start[1]) - edge[1] * (x - start[0]) >= 0
    return np.asarray(is_in.reshape(rows, 4, columns, 4).mean(axis=(1, 3)).reshape(-1), np.float32)


def _shrunk(quad: Quad) -> Quad:
    low, high = np.array([_INNER, 1 - _INNER, 1 - _INNER, _INNER]), np.array([_INNER, _INNER, 1 - _INNER, 1 - _INNER])
    return tuple((float(x), float(y)) for x, y in geometry.in_quad(quad, low, high))  # type: ignore[return-value]


def _rail(quad: Quad) -> Quad:
    across, down = np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.02, 1.02, 1 + _RAIL, 1 + _RAIL])
    return tuple((float(x), float(y)) for x, y in geometry.in_quad(quad, across, down))  # type: ignore[return-value]


def _over(quad: Quad) -> Quad:
    low, high = -_OVER[0], -_OVER[1]
    across, down = np.array([0.0, 1.0, 1.0, 0.0]), np.array([high, high, low, low])
    return tuple((float(x), float(y)) for x, y in geometry.in_quad(quad, across, down))  # type: ignore[return-value]


def _ring(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """The blocks up to two from a cell."""
    return np.asarray(_grown(_grown(mask > 0)) & (mask <= 0), np.float32)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask and the blocks above, below and beside it."""
    padded = np.pad(mask, 1)
    return np.asarray(padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | mask)
