"""Rows of bytes that wait on the disk until they are asked for: what a build makes of each photo, and needs little of at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
_BLOCK = 1024


class Spool:
    """An (N, …, bytes) array of uint8 in a file without a name, which goes with it: indexing reads a copy, as from an array.

    3.4 KB a picture for local matching are 27 MB at 5,000 products with views, while the adapter is fitted and needs none of them.
    """

    def __init__(self, folder: Path, row: tuple[int, ...]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115: it lives as long as the rows do
        self._row, self._count = row, 0

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return self._count, *self._row

    def __len__(self) -> int:
        return self._count

    def append(self, row: Bytes) -> None:
        """One more, of the shape that was said. Raises OSError."""
        assert row.shape == self._row, f"{row.shape} arrived, {self._row} expected"
        self._file.write(np.ascontiguousarray(row).data)
        self._count += 1

    def __getitem__(self, rows: Any) -> Bytes:
        if not self._count or 0 in self._row:
            return np.empty(self.shape, np.uint8)[rows]
        self._file.flush()
        # Mapped for this call alone: the pages that are read would be counted as ours as long as the map is there.
        return np.array(np.memmap(self._file, np.uint8, "r", shape=self.shape)[rows])


Rows: TypeAlias = Bytes | Spool
"""In memory or on the disk."""


def in_blocks(rows: Rows, chosen: NDArray[np.bool_]) -> Iterator[tuple[slice, Bytes]]:
    """The chosen (N,) rows, some at a time, each with the places that they have among those."""
    places, done = np.flatnonzero(chosen), 0
    for start in range(0, len(places), _BLOCK):
        block = rows[places[start : start + _BLOCK]]
        yield slice(done, done + len(block)), block
        done += len(block)
