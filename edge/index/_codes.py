"""How unit vectors are stored: i8 (8 bits for the scan, 4 more for the ranking), f16, f32."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Dtype: TypeAlias = Literal["i8", "f16", "f32"]

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "i8": np.dtype(np.int8),
    "f16": np.dtype("<f2"),
    "f32": np.dtype("<f4"),
}


_FINE_STEPS = (
    (np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1) / 16 - 15 / 32)
    .astype(np.float32)
    .view(np.float64)[:, 0]
)
"""(256,) pairs of float32, each held as one 64-bit number so that looking one up is one copy: what a byte of fine bits adds
to an even component and to the odd one after it."""


@dataclass(frozen=True, slots=True)
class Codes:
    """N stored vectors: `coarse` (N, D) is what the scan reads; `fine` (N, ceil(D/2)) uint8 holds i8's next four bits,
    those of the even components in the low nibbles.

    i8: each vector is scaled so that its largest component is ±127 and rounded; the rounding error, in 16 steps, is the
    fine part. Directions are all that counts, so the scale is not kept. Twelve bits rank like float (recall@10 0.999 on
    clustered unit vectors, benchmarks/search.py), eight are scanned.
    """

    coarse: NDArray[Any]
    fine: NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.coarse)

    def take(self, rows: NDArray[Any] | slice) -> Codes:
        """The chosen rows."""
        return Codes(self.coarse[rows], None if self.fine is None else self.fine[rows])

    def to_rows(self) -> NDArray[np.uint8]:
        """(N, row_bytes) as they lie in a file: each vector's coarse part, then its fine part, so that ranking one touches
        one page."""
        coarse = np.ascontiguousarray(self.coarse).view(np.uint8).reshape(len(self), -1)
        return coarse if self.fine is None else np.concatenate([coarse, self.fine], axis=1)

    @classmethod
    def from_rows(cls, rows: NDArray[np.uint8], dimension: int, dtype: Dtype) -> Codes:
        """Views on (N, row_bytes) rows."""
        if dtype != "i8":
            return cls(rows.view(NUMPY_DTYPES[dtype]), None)
        return cls(rows[:, :dimension].view(np.int8), rows[:, dimension:])

    @staticmethod
    def joined(parts: Sequence[Codes]) -> Codes:
        """All parts' rows, in order."""
        coarse = np.concatenate([part.coarse for part in parts])
        fine = [part.fine for part in parts if part.fine is not None]
        return Codes(coarse, np.concatenate(fine) if fine else None)

    def vectors(self) -> NDArray[np.float32]:
        """(N, D) float32 unit vectors, as exactly as they are stored."""
        values = self._values()
        values /= np.sqrt(np.einsum("nd,nd->n", values, values))[:, np.newaxis]
        return values

    def cosines(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) float32 cosines with a (D,) unit query. Equal rows get equal values, wherever they stand."""
        values = self._values()
        cosines: NDArray[np.float32] = np.einsum("nd,d->n", values, query)
        cosines /= np.sqrt(np.einsum("nd,nd->n", values, values))
        return cosines

    def _values(self) -> NDArray[np.float32]:
        """(N, D) float32 in the stored direction, of any length. i8: coarse + (fine + 0.5) / 16 - 0.5."""
        if self.fine is None:
            return self.coarse.astype(np.float32)
        pairs: NDArray[np.float64] = _FINE_STEPS.take(self.fine, mode="clip")
        values = pairs.view(np.float32)[:, : self.coarse.shape[1]]
        values += self.coarse
        return values


class RowFile:
    """The rows of a saved index, fetched from its file one by one as they are ranked.

    A memory map would be faster by a microsecond a row, but the kernel maps 64 kB around each and counts them as resident:
    6 MB after one search of 10,000 x 1,024. The open file outlives its name.
    """

    def __init__(self, path: Path, offset: int, rows: int, dimension: int, dtype: Dtype) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._offset, self._rows = offset, rows
        self._dimension, self._dtype = dimension, dtype
        self._width = row_bytes(dimension, dtype)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def take(self, rows: NDArray[np.intp]) -> Codes:
        """The chosen rows."""
        width, first = self._width, self._offset
        data = b"".join([os.pread(self._descriptor, width, first + row * width) for row in rows.tolist()])
        return self._codes(data)

    def read_all(self) -> Codes:
        """All rows, in memory."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(self._offset)
            return self._codes(file.read(self._rows * self._width))

    def _codes(self, data: bytes) -> Codes:
        return Codes.from_rows(np.frombuffer(data, np.uint8).reshape(-1, self._width), self._dimension, self._dtype)


def row_bytes(dimension: int, dtype: Dtype) -> int:
    """Size of one stored vector."""
    fine = (dimension + 1) // 2 if dtype == "i8" else 0
    return dimension * NUMPY_DTYPES[dtype].itemsize + fine


def encode(vectors: NDArray[np.float32], dtype: Dtype) -> Codes:
    """Store (N, D) float32 unit vectors."""
    if dtype != "i8":
        return Codes(vectors.astype(NUMPY_DTYPES[dtype]), None)
    scaled = scaled_to_127(vectors)
    coarse = np.rint(scaled)
    steps = np.floor((scaled - coarse + 0.5) * 16).clip(0, 15).astype(np.uint8)
    fine = steps[:, 0::2].copy()
    fine[:, : steps.shape[1] // 2] |= steps[:, 1::2] << 4
    return Codes(coarse.astype(np.int8), fine)


def scaled_to_127(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row scaled so that its largest component is ±127: int8's whole range, whatever the dimension."""
    peaks = np.abs(vectors).max(axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors * (np.float32(127) / peaks)
    return scaled


def largest_angle(codes: Codes, rows: int = 4096) -> float:
    """The largest angle (radians) between a vector as scanned and as stored; 0.0 where the two are the same."""
    if codes.fine is None:
        return 0.0
    worst = 1.0
    for start in range(0, len(codes), rows):
        part = codes.take(slice(start, start + rows))
        coarse = Codes(part.coarse, None).vectors()
        worst = min(worst, float(np.einsum("nd,nd->n", coarse, part.vectors()).min(initial=1.0)))
    return float(np.arccos(np.clip(worst - 1e-6, -1.0, 1.0)))
