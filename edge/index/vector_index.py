"""The nearest stored vectors of a query.

Two kinds: "exact" scans everything and is the default at shop size; "hnsw" walks a usearch graph and is for hundreds of
thousands of references. Both answer the same calls, and additions and removals are right in both: a graph never removes
anything itself, its slots are marked as gone here and filtered, and it is rebuilt when too many are.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..errors import BundleDamaged, VectorError
from ..files import HashedReader, replacing
from ._codes import NUMPY_DTYPES, Codes, Dtype, RowFile, encode, largest_angle, row_bytes
from ._file import DTYPES, HEADER_BYTES, Header
from ._graph import Graph
from ._groups import Groups, best_of_groups
from ._scan import ROUNDING, Scan, Scores, kth_bound, out_of_reach
from ._vectors import Ids, batches, checked_ids, checked_pairs, coarse_queries, coarse_query, unit_query
from .kinds import KINDS, Kind, choose_kind

_GONE = 2**32 - 1
"""Id of a graph slot whose vector was removed."""

_SMALL_GRAPH = 512
"""Up to so many slots a graph's vectors are scanned: usearch missed a neighbour in 3 of 400 random graphs of up to 120 int8
vectors (tests/edge/index/test_vector_index.py's kinds of data), and a scan of so few takes no longer."""
_FEW_ROWS = 512
_FEW_GRAPH_ROWS = 8192
"""Up to so many rows that a filter lets pass are ranked by their stored vectors at once, for about a µs each; a scan takes
0.01 µs for each row there is. A graph has no scan until one is made, which takes 2 µs for each row."""
_MOST_GONE = 0.2
_BLOCK_BYTES = 2 << 20
_SMALL_BYTES = 4 << 20
"""Up to here the stored vectors are kept in memory; larger ones are fetched from the file row by row."""
_BLOCK_ROWS = 4096
_NOT_ELIGIBLE = np.float32(-2)
Mask: TypeAlias = NDArray[np.bool_]


class VectorIndex:
    """Unit vectors under 32-bit ids, and their nearest neighbours by cosine.

    Not for use from several threads while it is being changed; searching from many threads is safe.
    """

    def __init__(self, dimension: int, *, kind: Kind = "exact", dtype: Dtype = "i8") -> None:
        if kind not in KINDS or dtype not in DTYPES:
            raise VectorError(f"index kind {kind!r} of {dtype!r} arrived; expected exact or hnsw of i8, f16 or f32")
        if not 1 <= dimension <= 65536:
            raise VectorError(f"dimension {dimension} arrived; expected 1 to 65536")
        self.dimension = dimension
        self.kind: Kind = kind
        self.dtype: Dtype = dtype
        self._slots = np.empty(0, np.uint32)  # row or graph slot → id; _GONE only in graphs
        self._gone = 0
        self._codes: Codes | RowFile | None = (
            encode(np.empty((0, dimension), np.float32), dtype) if kind == "exact" else None
        )
        self._angle = 0.0
        self._scan: Scan | None = None
        self._groups: Groups | None = None
        self._graph: Graph | None = Graph(dimension, dtype) if kind == "hnsw" else None

    @classmethod
    def build(
        cls, vectors: NDArray[np.float32], ids: NDArray[Any] | None = None, *, kind: str = "auto", dtype: Dtype = "i8"
    ) -> VectorIndex:
        """An index of (N, D) float32 vectors, normalized here; `ids` default to 0 … N-1.

        Raises VectorError for wrong shapes, NaN, infinite or zero vectors, ids twice or out of range.
        """
        if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
            raise VectorError(f"vectors of shape {np.shape(vectors)} arrived; expected (N, D) float32")
        index = cls(vectors.shape[1], kind=choose_kind(vectors.shape, kind), dtype=dtype)
        index.add(np.arange(len(vectors), dtype=np.uint32) if ids is None else ids, vectors)
        return index

    def __len__(self) -> int:
        return len(self._slots) - self._gone

    @property
    def ids(self) -> Ids:
        """(N,) uint32, in the order of `vectors()`."""
        live: Ids = self._slots[self._slots != _GONE]
        return live

    def vectors(self, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """(N, D) float32 unit vectors as stored, in the order of `ids`; `rows` chooses some by their positions there."""
        if rows is None:
            return self._live_codes().vectors()
        if self._codes is not None:
            return self._codes.take(rows).vectors()
        return self._graph_codes(np.flatnonzero(self._slots != _GONE)[rows]).vectors()

    def add(self, ids: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        """Add (N, D) vectors under new ids. Raises VectorError if an id is there already or comes twice."""
        new_ids, unit = checked_pairs(ids, vectors, self.dimension)
        taken = np.intersect1d(new_ids, self.ids)
        if len(taken):
            raise VectorError(f"id {taken[0]} is in the index already; remove it first, or use replace")
        codes = encode(unit, self.dtype)
        if self._graph is not None:
            self._graph = self._graph.with_added(len(self._slots), codes.coarse)
        else:
            self._angle = max(self._angle, largest_angle(codes))
            self._codes = Codes.joined([self._live_codes(), codes])
        self._scan = None
        self._slots = np.concatenate([self._slots, new_ids])

    def extend(self, rows: Iterable[tuple[int, NDArray[np.float32]]], *, batch: int = 1024) -> None:
        """Add (id, vector) pairs from a stream, `batch` at a time: floats of one batch are in memory at once, not of all.

        Raises VectorError as `add` does; then, or when the stream itself raises, none of them are in the index.
        """
        if self._graph is not None:
            before = len(self._slots)
            try:
                for ids, vectors in batches(rows, batch):
                    self.add(ids, vectors)
            except BaseException:
                self._gone += len(self._slots) - before
                self._slots[before:] = _GONE
                raise
            return
        grown = [self._live_codes()]
        slots = [self._slots]
        for ids, vectors in batches(rows, batch):
            part = VectorIndex(self.dimension, dtype=self.dtype)
            part.add(ids, vectors)
            grown.append(part._live_codes())
            slots.append(part._slots)
            self._angle = max(self._angle, part._angle)
        joined = np.concatenate(slots)
        if len(np.unique(joined)) != len(joined):
            raise VectorError("the same id arrived twice; expected each once")
        self._codes, self._slots, self._scan = Codes.joined(grown), joined, None

    def remove(self, ids: NDArray[Any]) -> None:
        """Remove ids. Raises VectorError, changing nothing, if one is not in the index."""
        gone_ids = checked_ids(ids)
        absent = np.setdiff1d(gone_ids, self.ids)
        if len(absent):
            raise VectorError(f"id {absent[0]} is not in the index")
        gone = np.isin(self._slots, gone_ids)
        if self._graph is None:
            self._codes, self._scan = self._live_codes().take(~gone), None
            self._slots = self._slots[~gone]
            return
        self._slots = np.where(gone, np.uint32(_GONE), self._slots)
        self._gone += len(gone_ids)
        if self._gone > _MOST_GONE * len(self._slots):
            codes = self._live_codes()
            self._slots, self._gone, self._scan = self.ids, 0, None
            self._graph = Graph(self.dimension, self.dtype).with_added(0, codes.coarse)

    def replace(self, ids: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        """Give ids new vectors; those that aren't there yet are added. Raises VectorError, changing nothing, like `add`."""
        new_ids, _ = checked_pairs(ids, vectors, self.dimension)
        self.remove(np.intersect1d(new_ids, self.ids))
        self.add(new_ids, vectors)

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[Any] | None = None
    ) -> tuple[Ids, Scores]:
        """The k nearest of each query, best first: ids (Q, K) uint32 and cosines (Q, K) float32; K = min(k, size).

        `queries`: (Q, D) or (D,) float32, normalized here. `allowed`: only these ids count, and K is the smaller for it; or a
        bool for each of `ids`, which is quicker.
        Equal scores come in the order of their ids. "exact" finds exactly the best of the vectors as stored.
        Raises VectorError for k < 1, wrong shapes, NaN, infinite or zero queries.
        """
        k = arguments.count("k", k, error=VectorError)
        unit = unit_query(queries, self.dimension)
        if self._graph is not None and allowed is None and len(self._slots) > _SMALL_GRAPH:
            return self._search_graph(unit, min(k, len(self)))
        eligible = self._eligible(allowed)
        few = self._few_rows(eligible)
        count = min(k, len(self) if eligible is None else int(eligible.sum()))
        ids = np.empty((len(unit), count), np.uint32)
        scores = np.empty((len(unit), count), np.float32)
        if count == 0 or len(unit) == 0:
            return ids, scores
        if few is not None:
            for row in range(len(unit)):
                ranked_ids, ranked_scores = self._ranked(few, unit[row])
                ids[row], scores[row] = ranked_ids[:count], ranked_scores[:count]
            return ids, scores
        coarse, angles = coarse_queries(unit, self.dtype)
        for row, scanned in enumerate(self._scan_scores(coarse)):
            ids[row], scores[row] = self._best(unit[row], scanned, count, angles[row], eligible)
        return ids, scores

    def _eligible(self, allowed: NDArray[Any] | None) -> Mask | None:
        """Which rows may be found; None for all."""
        live: Mask | None = self._slots != _GONE if self._gone else None
        if allowed is None:
            return live
        given: Mask = np.asarray(allowed)
        if given.dtype != np.bool_:
            return np.isin(self._slots, checked_ids(given))
        if given.shape != (len(self),):
            raise VectorError(f"allowed {given.shape} of bools arrived; expected ({len(self)},), one for each id")
        if live is None:
            return given
        live[live] = given
        return live

    def _few_rows(self, eligible: Mask | None) -> NDArray[np.intp] | None:
        """The rows that may be found, where they are so few that they are ranked without a scan."""
        if eligible is None:
            return None
        most = _FEW_GRAPH_ROWS if self._graph is not None and self._scan is None else _FEW_ROWS
        return np.flatnonzero(eligible) if np.count_nonzero(eligible) <= most else None

    def _scan_scores(self, coarse_queries: NDArray[Any]) -> NDArray[np.float32]:
        """Graphs are scanned where they are small, or filtered, or most of what they find is gone."""
        if self._scan is None:
            coarse = self._live_codes().coarse if self._graph is None else self._graph.coarse(len(self._slots))
            self._scan = Scan([coarse], len(coarse), self.dimension, NUMPY_DTYPES[self.dtype])
        return self._scan.scores(coarse_queries)

    def _best(
        self, query: NDArray[np.float32], scores: Scores, count: int, angle: float, eligible: Mask | None
    ) -> tuple[Ids, Scores]:
        """Rank by the stored vectors those that the scan can't rule out."""
        if eligible is not None:
            scores = np.where(eligible, scores, _NOT_ELIGIBLE)
        slack = 2 * (self._angle + angle)
        rows = np.flatnonzero(scores >= out_of_reach(kth_bound(scores, count), slack))
        if eligible is not None:
            rows = rows[eligible[rows]]
        ids, exact = self._ranked(rows, query)
        return ids[:count], exact[:count]

    def _ranked(self, rows: NDArray[np.intp], query: NDArray[np.float32]) -> tuple[Ids, Scores]:
        """Ids and cosines of rows by the vectors as stored, best first, equal ones by id."""
        codes = self._codes.take(rows) if self._codes is not None else self._graph_codes(rows)
        exact = codes.cosines(query)
        ids = self._slots[rows]
        order = np.lexsort((ids, -exact))
        return ids[order], exact[order]

    def search_groups(
        self, query: NDArray[np.float32], count: int, *, bits: int, allowed: NDArray[Any] | None = None
    ) -> tuple[Ids, Scores]:
        """References of the `count` best groups, best first: ids (M,) and cosines (M,).

        A group is the ids that agree in all but their last `bits` (a product and its photos); it is as good as its best
        reference, which is among the answers for each of the `count` best groups; others may be, too. `query`: (D,) float32;
        `allowed` as for `search`, exact in both kinds of index. Raises VectorError like `search`.
        """
        if count < 1:
            raise VectorError(f"count is {count}; expected at least 1")
        unit = unit_query(query, self.dimension)
        if self._graph is not None and allowed is None:
            return self._search_graph_groups(unit, count, bits)
        eligible = self._eligible(allowed)
        if not len(self._slots) or (eligible is not None and not eligible.any()):
            return np.empty(0, np.uint32), np.empty(0, np.float32)
        few = self._few_rows(eligible)
        if few is not None:
            return best_of_groups(*self._ranked(few, unit[0]), count, bits)
        coarse, angles = coarse_queries(unit, self.dtype)
        scores = self._scan_scores(coarse)[0]
        if eligible is not None:
            scores = np.where(eligible, scores, _NOT_ELIGIBLE)
        groups = self._groups_of(bits)
        peaks = groups.peaks(scores)
        slack = 2 * (self._angle + angles[0])
        rows = np.flatnonzero(scores >= out_of_reach(kth_bound(peaks, min(count, len(peaks))), slack))
        # Of each group, only those that could be its best one.
        own_peaks = np.arccos(np.clip(peaks[groups.group_of[rows]], -1, 1))
        rows = rows[scores[rows] >= np.cos(np.minimum(own_peaks + np.float32(slack), np.pi)) - np.float32(ROUNDING)]
        if eligible is not None:
            rows = rows[eligible[rows]]
        return self._ranked(rows, unit[0])

    def _groups_of(self, bits: int) -> Groups:
        groups = self._groups  # kept in a variable: another thread may ask for other bits
        if groups is None or groups.slots is not self._slots or groups.bits != bits:
            groups = self._groups = Groups(self._slots, bits)
        return groups

    def _search_graph_groups(self, unit: NDArray[np.float32], count: int, bits: int) -> tuple[Ids, Scores]:
        """More and more references until they are of enough groups."""
        k = max(32, 4 * count)
        while True:
            ids, scores = self.search(unit, k)
            if k >= len(self) or len(np.unique(ids >> np.uint32(bits))) >= count:
                return ids[0], scores[0]
            k *= 4

    def _search_graph(self, unit: NDArray[np.float32], count: int) -> tuple[Ids, Scores]:
        """What `search` answers from the graph, of at least `count` vectors that are there."""
        if len(unit) == 1 and count:
            ids, scores = self._walk(unit, count)
            return ids[np.newaxis], scores[np.newaxis]
        rows = [self._walk(unit[row : row + 1], count) for row in range(len(unit))] if count else []
        shape = (len(unit), count)
        return (
            np.array([row[0] for row in rows], np.uint32).reshape(shape),
            np.array([row[1] for row in rows], np.float32).reshape(shape),
        )

    def _walk(self, query: NDArray[np.float32], count: int) -> tuple[Ids, Scores]:
        """The graph's answer to one (1, D) query. It takes 50 µs, so every array that is made here counts."""
        assert self._graph is not None
        coarse = coarse_query(query, self.dtype)
        fetch = count
        while True:
            slots, distances = self._graph.search(coarse, min(fetch, len(self._slots)))
            ids = self._slots.take(slots)
            if self._gone:
                live = ids != _GONE
                ids, distances = ids[live], distances[live]
            if len(ids) >= count:
                break
            if fetch >= len(self._slots):  # what is left is out of the graph's reach: look at everything
                coarse, angles = coarse_queries(query, self.dtype)
                return self._best(query[0], self._scan_scores(coarse)[0], count, angles[0], self._eligible(None))
            fetch *= 2
        order = np.lexsort((ids, distances))[:count]
        return ids[order], np.float32(1) - distances[order]

    def _graph_codes(self, rows: NDArray[np.intp]) -> Codes:
        assert self._graph is not None
        return Codes(self._graph.coarse_of(rows), None)

    def _live_codes(self) -> Codes:
        if isinstance(self._codes, RowFile):
            self._codes = self._codes.read_all()
        if self._codes is not None:
            return self._codes
        assert self._graph is not None
        return Codes(self._graph.coarse(len(self._slots))[self._slots != _GONE], None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file: a 64-byte header, the ids, then the codes (exact) or usearch's own format (hnsw). Not synced.

        Written beside and renamed, so that an index can be saved over the file that it still reads from.
        """
        slots = self._slots.astype("<u4").tobytes()
        graph = b"" if self._graph is None else self._graph.to_bytes()
        checksum = zlib.crc32(graph, zlib.crc32(slots)) if graph else 0
        header = Header(self.dimension, len(self._slots), self.dtype, self.kind, self._angle, checksum)
        with replacing(Path(path)) as file:
            file.write(header.to_bytes())
            file.write(slots)
            if self._graph is not None:
                file.write(graph)
            else:
                codes = self._live_codes()
                for start in range(0, len(codes), _BLOCK_ROWS):
                    file.write(codes.take(slice(start, start + _BLOCK_ROWS)).to_rows().data)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, sha256: str | None = None, writable: bool = False) -> VectorIndex:
        """Read a saved index, packing it for the scan as it streams by; what ranks stays in the file where it is large.

        With `sha256` the whole file is hashed in the same pass; without, a graph is held against the checksum in its file.
        `writable` loads a graph so that it can be added to.
        Raises BundleDamaged if the file is not what was saved, BundleVersion if a later version saved it.
        """
        path = Path(path)
        with path.open("rb", buffering=0) as file:
            reader = HashedReader(path, file)
            header = Header.read(path, reader.take(HEADER_BYTES))
            index, rows = cls(header.dimension, kind=header.kind, dtype=header.dtype), header.rows
            index._angle = header.angle
            index._slots = np.frombuffer(reader.take(4 * rows), "<u4").astype(np.uint32)
            index._gone = int((index._slots == _GONE).sum())
            if index.kind == "exact":
                index._load_exact(path, reader, rows)
            digest = reader.finish()
        if sha256 is not None and digest != sha256:
            raise BundleDamaged(
                f"{path} is damaged: its sha256 differs from the manifest's; copy or build the bundle again"
            )
        if index.kind == "hnsw":
            if sha256 is None:
                header.check(path)
            index._graph = Graph.load(path, HEADER_BYTES + 4 * rows, index.dimension, index.dtype, rows, writable)
        return index

    def _load_exact(self, path: Path, reader: HashedReader, rows: int) -> None:
        width = row_bytes(self.dimension, self.dtype)
        # Blocks of about a megabyte: while they are packed, little more than the result is in memory.
        block_rows = max(1, _BLOCK_BYTES // width)
        coarse = (
            Codes.from_rows(np.frombuffer(block, np.uint8).reshape(-1, width), self.dimension, self.dtype).coarse
            for block in reader.blocks(rows * width, block_rows * width)
        )
        self._scan = Scan(coarse, rows, self.dimension, NUMPY_DTYPES[self.dtype])
        row_file = RowFile(path, HEADER_BYTES + 4 * rows, rows, self.dimension, self.dtype)
        self._codes = row_file.read_all() if rows * width <= _SMALL_BYTES else row_file
