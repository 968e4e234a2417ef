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
    def scores(self, queries: NDArray[Any]) -> Scores: ...


class Scan:
    """Cosine of queries with every row, in row order. Rows and queries have one dtype: int8, float16 or float32."""

    def __init__(self, blocks: Iterable[NDArray[Any]]) -> None:
        make = _NumKongBlock if importlib.util.find_spec("numkong") is not None else _NumpyBlock
        self._blocks: list[_Block] = [
            make(rows[start : start + _BLOCK_ROWS]) for rows in blocks for start in range(0, len(rows), _BLOCK_ROWS)
        ]

    def scores(self, queries: NDArray[Any]) -> Scores:
        """(Q, D) queries → (Q, N) float32 cosines."""
        parts = [block.scores(queries) for block in self._blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


class _NumKongBlock:
    """Rows packed once for the CPU's dot-product instructions (VNNI, SDOT); integer sums are exact."""

    def __init__(self, rows: NDArray[Any]) -> None:
        import numkong

        self._angular = numkong.angulars_packed
        self._packed = numkong.dots_pack(np.ascontiguousarray(rows))

    def scores(self, queries: NDArray[Any]) -> Scores:
        distances: Scores = np.asarray(self._angular(queries, self._packed))
        return np.float32(1) - distances.astype(np.float32, copy=False)


class _NumpyBlock:
    """The same with matrix products, for machines without NumKong."""

    def __init__(self, rows: NDArray[Any]) -> None:
        values = rows.astype(np.float32)
        self._rows = values / np.linalg.norm(values, axis=1, keepdims=True)

    def scores(self, queries: NDArray[Any]) -> Scores:
        values = queries.astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        scores: Scores = values @ self._rows.T
        return scores


def at_least_kth(scores: Scores, k: int) -> NDArray[np.intp]:
    """Positions of a superset of the k largest scores, all ties of the k-th included; a few more than k, unsorted.

    The k-th largest of the column maxima is a lower bound of the k-th largest score, since the columns are disjoint:
    two passes over the data instead of a partition, about five times faster at 10,000.
    """
    count = len(scores)
    columns = count // 64
    if columns <= 4 * k:
        if count <= k:
            return np.arange(count)
        return np.flatnonzero(scores >= np.partition(scores, count - k)[count - k])
    maxima = scores[: columns * 64].reshape(64, columns).max(axis=0)
    bound = np.partition(maxima, columns - k)[columns - k]
    return np.flatnonzero(scores >= bound)
