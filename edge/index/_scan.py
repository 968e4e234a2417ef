"""All scores of a query against many stored vectors: NumKong's packed kernels, or numpy where there are none."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Scores: TypeAlias = NDArray[np.float32]

_BLOCK_BYTES = 2 << 20
"""Packing a block needs about as much again beside the result, and a call costs a few µs."""
_PACKED_DIMENSION = 128
"""Up to here NumKong's packed layout is two to four times faster, and small enough to stay in the caches. Beyond, vectors are
read from memory after every photo, and plain rows stream twice as fast as the packed layout (10,000 x 1,024 after the caches
were overwritten: 0.6 ms and 1.5 ms)."""

ROUNDING = 1e-5
"""More than float32 rounding can move a cosine, also through arccos and back."""
_EXACT_DIMENSION = 2**24 // 127**2
"""Up to here a float32 sum of products of int8 numbers is exact: every partial sum is a whole number of 24 bits."""
_CONVERTED_BYTES = 256 << 10
"""Of floats at a time: half of a Cortex-A53's second-level cache."""


class _Block(Protocol):
    def cosines(self, queries: NDArray[Any]) -> Scores: ...


class Scan:
    """Cosine of queries with every row, in row order. Rows and queries have one dtype: int8, float16 or float32.

    `blocks` are rows as they come, `count` of them in all.
    """

    def __init__(self, blocks: Iterable[NDArray[Any]], count: int, dimension: int, dtype: np.dtype[Any]) -> None:
        self._blocks: list[_Block]
        if importlib.util.find_spec("numkong") is None:
            self._blocks = [_NumpyBlock(rows) for rows in _pieces(blocks)]
        elif dtype == np.int8 and dimension <= _EXACT_DIMENSION and _lacks_dot_products():
            self._blocks = [_ConvertedBlock(blocks, count, dimension)]
        elif dtype == np.int8 and dimension > _PACKED_DIMENSION:
            self._blocks = [_StreamedBlock(blocks, count, dimension)]
        else:
            self._blocks = [_PackedBlock(rows) for rows in _pieces(blocks)]

    def scores(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) queries → (Q, N) float32 cosines."""
        parts = [block.cosines(queries) for block in self._blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _pieces(blocks: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for rows in blocks:
        step = max(1, _BLOCK_BYTES // max(1, rows[:1].nbytes))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


def _lacks_dot_products() -> bool:
    """Whether this is an ARM core without SDOT (Cortex-A53, A72: Raspberry Pi 3 and 4)."""
    import numkong

    capabilities = numkong.get_capabilities()
    return bool(capabilities["neon"] and not capabilities["neonsdot"])


class _WholeRows:
    """All int8 rows as they are, and what their lengths are."""

    def __init__(self, blocks: Iterable[NDArray[np.int8]], count: int, dimension: int) -> None:
        self._rows = np.empty((count, dimension), np.int8)
        self._inverse_norms = np.empty(count, np.float32)
        start = 0
        for rows in blocks:
            for first in range(0, len(rows), 256):  # a few hundred kilobytes of floats at a time
                piece = rows[first : first + 256]
                values = piece.astype(np.float32)
                end = start + len(piece)
                self._rows[start:end] = piece
                self._inverse_norms[start:end] = 1 / np.sqrt(np.einsum("nd,nd->n", values, values))
                start = end


class _StreamedBlock(_WholeRows):
    """Dot products by NumKong, of rows that stream by; exact integers."""

    def __init__(self, blocks: Iterable[NDArray[np.int8]], count: int, dimension: int) -> None:
        import numkong

        super().__init__(blocks, count, dimension)
        self._cdist = numkong.cdist

    def cosines(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) → (Q, rows)."""
        dots = np.asarray(self._cdist(queries, self._rows, metric="dot")).reshape(len(queries), -1)
        return _divided(dots, queries, self._inverse_norms)


class _ConvertedBlock(_WholeRows):
    """Rows become floats, as many at a time as stay in the cache, for numpy's product; exact up to `_EXACT_DIMENSION`.

    Without instructions for dot products of int8, NumKong's kernels take three times the instructions: a search among 10,000
    rows of 256 numbers took 17.0 M on a Cortex-A72, and takes 5.8 M (benchmarks/arm/check.py).
    """

    def cosines(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) → (Q, rows)."""
        count, dimension = self._rows.shape
        values = queries.astype(np.float32)
        dots = np.empty((len(queries), count), np.float32)
        step = max(1, _CONVERTED_BYTES // (4 * dimension))
        floats = np.empty((step, dimension), np.float32)  # one for each call: threads search at the same time
        for start in range(0, count, step):
            part = self._rows[start : start + step]
            floats[: len(part)] = part
            np.matmul(values, floats[: len(part)].T, out=dots[:, start : start + step])
        return _divided(dots, queries, self._inverse_norms)


class _PackedBlock:
    """Rows packed once for the CPU's dot-product instructions (VNNI, SDOT); integer sums are exact.

    int8 rows give whole dot products, a quarter quicker than NumKong's cosines, and are divided by the lengths here.
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        import numkong

        self._packed = numkong.dots_pack(np.ascontiguousarray(rows))
        self._inverse_norms: NDArray[np.float32] | None = None
        if rows.dtype == np.int8:
            self._product = numkong.dots_packed
            values = rows.astype(np.float32)
            self._inverse_norms = 1 / np.sqrt(np.einsum("nd,nd->n", values, values))
        else:
            self._product = numkong.angulars_packed

    def cosines(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) → (Q, rows)."""
        products = np.asarray(self._product(queries, self._packed))
        if self._inverse_norms is None:
            cosines: Scores = np.subtract(1, products, dtype=np.float32)
            return cosines
        return _divided(products, queries, self._inverse_norms)


def _divided(dots: NDArray[Any], queries: NDArray[np.int8], inverse_norms: NDArray[np.float32]) -> Scores:
    """(Q, N) whole dot products with (Q, D) queries → cosines."""
    cosines: Scores = np.multiply(dots, inverse_norms, dtype=np.float32)
    if len(queries) == 1:  # a camera's one photo at a time: no arrays for one number
        query = queries[0].astype(np.float32)
        cosines *= np.float32(1 / math.sqrt(float(query.dot(query))))
        return cosines
    values = queries.astype(np.float32)
    cosines /= np.sqrt(np.einsum("nd,nd->n", values, values))[:, np.newaxis]
    return cosines


class _NumpyBlock:
    """The same with matrix products, for machines without NumKong."""

    def __init__(self, rows: NDArray[Any]) -> None:
        values = rows.astype(np.float32)
        self._rows = values / np.linalg.norm(values, axis=1, keepdims=True)

    def cosines(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) → (Q, rows)."""
        values = queries.astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        cosines: Scores = values @ self._rows.T
        return cosines


def kth_bound(scores: Scores, k: int) -> float:
    """A number that at least k of the scores reach, and few more: a lower bound of the k-th largest, 1 <= k <= N.

    The k-th largest of the column maxima is one, since the columns are disjoint: one pass over the data instead of a
    partition, about five times faster at 10,000.
    """
    count = len(scores)
    columns = count // 64
    if columns <= 4 * k:
        return float(np.partition(scores, count - k)[count - k])
    maxima = scores[: columns * 64].reshape(64, columns).max(axis=0)
    return float(np.partition(maxima, columns - k)[columns - k])


def out_of_reach(kth: float, slack: float) -> np.float32:
    """The scanned cosine below which nothing can be among the k best, if k are scanned at `kth` or better.

    Angles between directions obey the triangle inequality (Schubert 2021, arXiv:2107.04071). With `slack` twice the angles by
    which quantization turned the query and the vectors: k are truly within acos(kth) + slack / 2, and who is that near is
    scanned within acos(kth) + slack.
    """
    reach = math.acos(max(-1.0, min(1.0, kth - ROUNDING))) + slack
    return np.float32((math.cos(reach) if reach < math.pi else -1.0) - ROUNDING)
