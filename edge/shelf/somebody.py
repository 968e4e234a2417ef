"""Who stands before the shelf: the facings that somebody hides, and those that somebody may hide although their rails are clear.

Packages stand on boards and never cover the price rail before them; people, arms and trolleys do. Where the rail doesn't tell, the
wall above a facing, what is beside it, and how far beyond it the picture differs do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from .align import Matrix
from .cells import Cells
from .compare import BLOCK

if TYPE_CHECKING:
    from .judge import Kind

HIDES: Final = 0.3
"""Share of the rail before a facing that must differ for somebody to stand there; people and hands cover 0.4 to all of it."""
STANDS: Final = 360
"""Frames after which it is nobody, an hour of one each ten seconds: a strip of paper before the rail, or a lamp on it, would hide a
facing for ever, and what is beside it would wait for that. Trolleys are left standing for shorter."""
CLEAR: Final = 0.05
"""Share of the rail, and of those beside it, that may differ for an unknown product to count: with more, it may be the edge of
somebody's trolley (`benchmarks/shelf_somebody.py`)."""
BEYOND: Final = 0.5
"""Of a facing's blocks, so many that differ outside of all facings and hang together with those that differ in it: then it is
likely the edge of something that stands before the shelf (`benchmarks/shelf_somebody.py`)."""
_LEAST_RAIL: Final = 0.3
"""Share of a facing's rail that must lie in the frame for it to say whether somebody stands there."""
_EDGE_SHARE: Final = 0.1
"""Of a facing outside of the frame: more, and it can't be seen."""
_AS_BEFORE: Final = 0.1
"""Small pixels: a smaller move of the camera brings no block into the frame."""


class Somebody:
    """What is known of a shelf's foreground, frame by frame.

    `hidden`: (cells,) which facings can't be seen, for they lie outside of the frame or behind somebody; `behind`: the latter
    only. `out`, `differs`: (blocks,) which lie outside of the frame, and which lie in it and show something else.
    """

    def __init__(self, cells: Cells) -> None:
        count = len(cells.cells)
        self._cells = cells
        self._slots = np.array([cell.slot for cell in cells.cells])
        self.hidden = np.zeros(count, bool)
        self.behind = np.zeros(count, bool)
        self.out = np.zeros(cells.owner.shape, bool)
        self._behind_for = np.zeros(count, np.int64)
        self.differs = np.zeros(cells.owner.shape, bool)
        self._covered = np.zeros(count, np.float32)
        self._covered_above = np.zeros(count, np.float32)
        self._rail_seen = np.ones(count, np.float32)
        self._changed_for = np.zeros(count, np.int64)
        self._visible = np.ones(count, bool)
        self._placed_by: Matrix | None = None

    def place(self, matrix: Matrix) -> NDArray[np.bool_]:
        """Which facings lie in a frame of that pose (small reference → small frame)."""
        if self._placed_by is not None and np.abs(self._placed_by - matrix)[:, 2].max() < _AS_BEFORE:
            return self._visible
        rows, columns = self._cells.shape
        y, x = np.mgrid[0:rows, 0:columns] * BLOCK + (BLOCK - 1) / 2
        across = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
        down = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
        width, height = columns * BLOCK, rows * BLOCK
        out = (across < 0) | (down < 0) | (across > width - 1) | (down > height - 1)
        self.out = out.reshape(-1)
        self._rail_seen = self._cells.before @ (~self.out).astype(np.float32)
        self._visible = np.asarray(self._cells.inside @ self.out.astype(np.float32) < _EDGE_SHARE)
        self._placed_by = matrix
        return self._visible

    def see(self, differs: NDArray[np.bool_], changed: NDArray[np.bool_]) -> None:
        """Take a frame of the pose that was placed last. `differs`: (rows, columns) which blocks show something else, before the
        shelf or on it; `changed`: (cells,) which facings do."""
        self.differs = differs.reshape(-1) & ~self.out
        before_it = self.differs.astype(np.float32)
        covered = self._cells.before @ before_it / np.maximum(self._rail_seen, _LEAST_RAIL)
        self._covered = np.where(self._rail_seen < _LEAST_RAIL, 1.0, covered)
        self._covered_above = self._cells.above @ before_it
        self._changed_for = np.where(changed, self._changed_for + 1, 0)
        behind = changed & self._visible & (covered > HIDES)
        self._behind_for = np.where(behind, self._behind_for + 1, 0)
        self.behind = behind & (self._behind_for <= STANDS)
        self.hidden = ~self._visible | self.behind

    def see_nothing(self) -> None:
        """The camera has no view."""
        self.hidden[:] = True

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(cells,): what something stands before, however long it does."""
        return self._behind_for > 0

    def is_known(self, cell: int) -> None:
        """What a facing shows is known now: what it shows from the next frame on is something else."""
        self._changed_for[cell] = 0

    def may_hide(self, cell: int, kind: Kind, *, stays: bool) -> bool:
        """Whether somebody may stand before a facing that isn't hidden and whose looks say `kind`. `stays`: for longer than anybody
        stands still."""
        near = self._cells.near[cell]
        if kind == "unknown" and ((self.hidden & near).any() or not self.rails_are_clear(cell)):
            return True  # what nobody knows beside somebody who stands there is likely theirs
        if kind == "empty" and (self.behind & near).any():
            return True  # so is what is like no product: a coat, a bag
        if kind in ("unknown", "other") and self._cells.beyond(cell, self.differs) > BEYOND:
            return True  # a cart of wire leaves rails to be seen, but is larger than a product
        return kind != "right" and self._by_the_wall(cell, kind, stays)

    def rails_are_clear(self, cell: int) -> bool:
        """Whether nothing is before a facing's rail, nor before those next to it as far as they lie in the frame: one of a cart's
        bars crosses some of them."""
        around = self._cells.near[cell] & (self._rail_seen >= _LEAST_RAIL)
        around |= self._slots == self._slots[cell]
        return not bool((self._covered[around] > CLEAR).any())

    def _by_the_wall(self, cell: int, kind: Kind, stays: bool) -> bool:
        """Who takes a product away changes no wall above it, a head whose body stands a board lower does; and who covers that wall
        and another facing of the column covers this one. Of a rail out of view, as where a camera sagged, either is enough."""
        wall = bool(self._covered_above[cell] > HIDES)
        in_column = bool((self.behind & self._cells.column[cell]).any())
        if self._rail_seen[cell] < _LEAST_RAIL:
            return wall or in_column
        return wall and not stays and (in_column or kind == "empty")  # a lamp, a poster: nobody stands so still

    def is_one_of_many(self, cell: int) -> bool:
        """Whether a facing of another slot beside this one began to show something else together with it, and isn't known either:
        then it is likely one thing before both."""
        together = np.abs(self._changed_for - self._changed_for[cell]) <= 1
        return bool((together & (self._changed_for > 0) & self._cells.near[cell]).any())
