"""All scores of a query against many stored vectors: NumKong's packed kernels, or numpy where there are none."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Scores: TypeAlias = NDArray[np.float32]

_BLOCK_ROWS = 4096
"""Rows a block: packing one needs a few MB beside the result, and a call costs 2 µs."""


class _Block(Protocol):
    def distances(self, queries: NDArray[Any]) -> NDArray[Any]: ...


class Scan:
    """Cosine of queries with every row, in row order. Rows and queries have one dtype: int8, float16 or float32."""

    def __init__(self, blocks: Iterable[NDArray[Any]]) -> None:
        make = _NumKongBlock if importlib.util.find_spec("numkong") is not None else _NumpyBlock
        self._blocks: list[_Block] = [
            make(rows[start : start + _BLOCK_ROWS]) for rows in blocks for start in range(0, len(rows), _BLOCK_ROWS)
        ]

    def scores(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) queries → (Q, N) float32 cosines."""
        parts = [block.distances(queries) for block in self._blocks]
        distances = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        scores: Scores = np.subtract(np.float32(1), distances, dtype=np.float32)
        return scores


class _NumKongBlock:
    """Rows packed once for the CPU's dot-product instructions (VNNI, SDOT); integer sums are exact."""

    def __init__(self, rows: NDArray[Any]) -> None:
        import numkong

        self._angular = numkong.angulars_packed
        self._packed = numkong.dots_pack(np.ascontiguousarray(rows))

    def distances(self, queries: NDArray[Any]) -> NDArray[Any]:
        """(Q, D) → (Q, rows): 1 - cosine."""
        return np.asarray(self._angular(queries, self._packed))


class _NumpyBlock:
    """The same with matrix products, for machines without NumKong."""

    def __init__(self, rows: NDArray[Any]) -> None:
        values = rows.astype(np.float32)
        self._rows = values / np.linalg.norm(values, axis=1, keepdims=True)

    def distances(self, queries: NDArray[Any]) -> NDArray[Any]:
        """See _NumKongBlock."""
        values = queries.astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        distances: NDArray[Any] = 1 - values @ self._rows.T
        return distances


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
