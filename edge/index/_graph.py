"""usearch's graph under an index: slots in, slots out. The only module that knows usearch."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleDamaged
from ._codes import NUMPY_DTYPES, Dtype

CONNECTIVITY = 16
EXPANSION_ADD = 400
EXPANSION_SEARCH = 20
"""usearch's names for HNSW's M, efConstruction and efSearch (Malkov & Yashunin 2016, arXiv:1603.09320). The last keeps
recall@10 above 0.98 at 100,000 x 128 in benchmarks/search.py: 0.989, and 0.982 to 0.991 of graphs that several threads made;
14, a tenth faster, gave 0.974 to 0.986."""


class Graph:
    """usearch's HNSW over slots 0, 1, 2, …; it only ever grows."""

    def __init__(self, dimension: int, dtype: Dtype) -> None:
        from usearch.compiled import Index, MetricKind, ScalarKind

        self._dtype = dtype
        self._scalar = {"i8": ScalarKind.I8, "f16": ScalarKind.F16, "f32": ScalarKind.F32}[dtype]
        self._index = Index(
            ndim=dimension,
            dtype=self._scalar,
            metric_kind=MetricKind.Cos,
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )
        self._viewed: tuple[memoryview, Path] | None = None

    def with_added(self, first_slot: int, coarse: NDArray[Any]) -> Graph:
        """This graph with more vectors in the next slots (a copy where this one is mapped from a file)."""
        graph = (
            self if self._viewed is None else self._read(*self._viewed, self._index.ndim, self._dtype, writable=True)
        )
        keys = np.arange(first_slot, first_slot + len(coarse), dtype=np.uint64)
        if len(keys):
            # One thread: of vectors that several add at a time, some are stored and never found again, one in 5,000 with two
            # threads, in 500 with eight (USearch #735, open with 2.26).
            graph._index.add_many(keys, np.ascontiguousarray(coarse), copy=True, threads=1, dtype=self._scalar)
        return graph

    def search(self, coarse_query: NDArray[Any], count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Slots and cosine distances of about the `count` nearest, gone ones included."""
        # Not exact, one thread, no progress; by name they cost 1 µs more.
        keys, distances, counts, _, _ = self._index.search_many(coarse_query, count, False, 1, None, self._scalar)
        found = int(counts[0])
        return keys[0, :found].astype(np.intp), distances[0, :found]

    def coarse(self, slots: int) -> NDArray[Any]:
        """(slots, D): all vectors as stored."""
        return self.coarse_of(np.arange(slots))

    def coarse_of(self, slots: NDArray[np.intp]) -> NDArray[Any]:
        if len(slots) == 0:
            return np.empty((0, self._index.ndim), NUMPY_DTYPES[self._dtype])
        rows: Any = self._index.get_many(slots.astype(np.uint64), self._scalar)
        return np.stack(rows).reshape(len(slots), -1).view(NUMPY_DTYPES[self._dtype])

    def to_bytes(self) -> bytes:
        """usearch's serialization."""
        return bytes(self._index.save_index_to_buffer())

    @classmethod
    def load(cls, path: Path, offset: int, dimension: int, dtype: Dtype, slots: int, writable: bool) -> Graph:
        """The graph that stands at `offset` of a file, mapped unless it is to be added to."""
        with path.open("rb") as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        graph = cls._read(memoryview(whole)[offset:], path, dimension, dtype, writable)
        found = len(graph._index), int(graph._index.ndim)
        if found != (slots, dimension):
            raise BundleDamaged(
                f"{path} is damaged: its graph has {found[0]} slots of {found[1]} numbers, expected {slots} of {dimension}; "
                "copy or build the bundle again"
            )
        return graph

    @classmethod
    def _read(cls, data: memoryview, path: Path, dimension: int, dtype: Dtype, writable: bool) -> Graph:
        """From the bytes of a file, which `path` names in messages."""
        graph = cls(dimension, dtype)
        try:
            if writable:
                graph._index.load_index_from_buffer(data)
            else:
                graph._index.view_index_from_buffer(data)
                graph._viewed = data, path
        except RuntimeError as error:
            raise BundleDamaged(f"{path} is damaged: {error}; copy or build the bundle again") from error
        graph._index.expansion_search = EXPANSION_SEARCH
        return graph
