"""Rows that wait on the disk until they are asked for: what a build makes of each photo, and needs little of at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
_BLOCK = 1024


class Spool(Generic[Number]):
    """An (N, …) array in a file without a name, which goes with it: indexing reads a copy, as from an array.

    3.4 KB a picture for local matching are 27 MB at 5,000 products with views, while the adapter is fitted and needs none of them;
    the embeddings of 50,000 products are 50 MB.
    """

    def __init__(self, folder: Path, row: tuple[int, ...], dtype: type[Number]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (it lives as long as the rows do)
        self._row, self._dtype, self._count = row, dtype, 0

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return self._count, *self._row

    def __len__(self) -> int:
        return self._count

    def append(self, row: NDArray[Number]) -> None:
        """One more, of the shape that was said. Raises OSError."""
        assert row.shape == self._row, f"{row.shape} arrived, {self._row} expected"
        self._file.write(np.ascontiguousarray(row, self._dtype).data)
        self._count += 1

    def __getitem__(self, rows: Any) -> NDArray[Number]:
        if not self._count or 0 in self._row:
            nothing: NDArray[Number] = np.empty(self.shape, self._dtype)
            return nothing[rows]  # type: ignore[no-any-return]
        self._file.flush()
        if isinstance(rows, np.ndarray) and len(rows) > _BLOCK:
            places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
            found = np.empty((len(places), *self._row), self._dtype)
            for start in range(0, len(places), _BLOCK):
                found[start : start + _BLOCK] = self._mapped()[places[start : start + _BLOCK]]
            return found
        copied: NDArray[Number] = np.array(self._mapped()[rows])
        return copied

    def _mapped(self) -> NDArray[Number]:
        """For a moment only: the pages that are read count as this process's as long as the map is there."""
        return np.memmap(self._file, self._dtype, "r", shape=self.shape)


Rows: TypeAlias = NDArray[Number] | Spool[Number]
"""In memory or on the disk."""


def in_blocks(rows: Rows[Number], chosen: NDArray[np.bool_]) -> Iterator[tuple[slice, NDArray[Number]]]:
    """The chosen (N,) rows, some at a time, each with the places that they have among those."""
    places, done = np.flatnonzero(chosen), 0
    for start in range(0, len(places), _BLOCK):
        block = rows[places[start : start + _BLOCK]]
        yield slice(done, done + len(block)), block
        done += len(block)
