"""The shop adapter: a linear map from an encoder's embedding to the directions in which this shop's products differ.

`fitting` finds it when a bundle is built; the device only multiplies.
"""

from __future__ import annotations

import math
import struct
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleDamaged, BundleError, VectorError
from ..records import read_record

Floats: TypeAlias = NDArray[np.float32]
Scoring = Literal["max", "prototype"]

MAX_DIMENSION = 128
"""Vectors of so many components are scanned from the caches: 10,000 in 0.1 ms (benchmarks/search.py)."""

_BLOCK_ROWS = 4096

_HEADER = struct.Struct("<8sIII12x")
_MAGIC = b"SHELFADA"
_FILE_VERSION = 1
_LARGEST = 65504.0
"""Of float16 (IEEE 754 binary16)."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """embedding → unit((embedding - mean) @ matrix).

    `mean` (D,) and `matrix` (D, d) float32. `packshot_mean` (D,) takes the place of `mean` for catalogue pictures on a plain
    background, which all lie to one side of the photos of a camera; it is `mean` itself where the shop has too few of them.
    """

    mean: Floats
    packshot_mean: Floats
    matrix: Floats

    @property
    def dimension(self) -> int:
        """Components of an adapted vector, d."""
        return int(self.matrix.shape[1])

    def apply(self, vectors: Floats, packshot: NDArray[np.bool_] | bool = False) -> Floats:
        """(N, D) or (D,) float32 unit embeddings → (N, d) or (d,) float32 of unit norm.

        `packshot`: which of them are pictures on a plain background. A vector exactly at the mean, which has no direction,
        becomes the first axis. Raises VectorError for another D.
        """
        if vectors.shape[-1] != len(self.mean):
            raise VectorError(f"vectors {vectors.shape} arrived; the adapter takes (N, {len(self.mean)})")
        if vectors.ndim == 1:
            row: Floats = self.apply(vectors[np.newaxis], packshot)[0]
            return row
        rows = np.empty((len(vectors), self.dimension), np.float32)
        shots = np.broadcast_to(np.reshape(packshot, -1), len(vectors))
        for start in range(0, len(vectors), _BLOCK_ROWS):  # the differences of 100,000 would be 400 MB
            part = slice(start, start + _BLOCK_ROWS)
            centers: NDArray[Any] = self.mean
            if shots[part].any():
                centers = np.where(shots[part, np.newaxis], self.packshot_mean, self.mean)
            rows[part] = (vectors[part] - centers) @ self.matrix
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        rows[norms == 0, 0] = norms[norms == 0] = 1
        rows /= norms[:, np.newaxis]
        return rows

    def to_bytes(self) -> bytes:
        """As a bundle keeps it: a header, the means in float32, the matrix in float16."""
        header = _HEADER.pack(_MAGIC, _FILE_VERSION, *self.matrix.shape)
        means = np.stack([self.mean, self.packshot_mean]).astype("<f4")
        matrix, peak = self.matrix, float(np.abs(self.matrix).max(initial=0.0))
        if _LARGEST < peak < math.inf:  # an encoder for which all photos are nearly one; only the direction counts
            matrix = np.ldexp(matrix, math.floor(math.log2(_LARGEST / peak)))
        return header + means.tobytes() + matrix.astype("<f2").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Adapter:
        """What `to_bytes` wrote. Raises BundleDamaged."""
        magic, version, large, small = _HEADER.unpack_from(data) if len(data) >= _HEADER.size else (b"", 0, 0, 0)
        if magic != _MAGIC or version != _FILE_VERSION or len(data) != _HEADER.size + 8 * large + 2 * large * small:
            raise BundleDamaged(f"{where} is damaged: it is not an adapter; copy or build the bundle again")
        means = np.frombuffer(data, "<f4", 2 * large, _HEADER.size).astype(np.float32).reshape(2, large)
        matrix = np.frombuffer(data, "<f2", offset=_HEADER.size + 8 * large).astype(np.float32).reshape(large, small)
        return cls(means[0], means[1], matrix)

    def as_stored(self) -> Adapter:
        """This adapter with the precision of its file: what vectors are made with and queries are asked with is one."""
        return Adapter.from_bytes(self.to_bytes(), "the adapter")


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What was chosen for a shop and why, as `info` tells it.

    `method`: "lda", or "none" (the embedding as it is). `scoring`: a product is as good as its best reference ("max"), or as
    the mean of its references ("prototype"). The recalls are those of photos that were held out, without and with the
    adapter; None where there was nothing to measure on. `views`: synthetic views a photo that stood in for more photos;
    `viewed`: of so many photos, None of all.
    """

    method: Literal["lda", "none"]
    scoring: Scoring
    reason: str
    dimension: int
    shrinkage: float | None = None
    photos: int = 0
    views: int = 0
    recall_without: float | None = None
    recall_with: float | None = None
    viewed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        record = asdict(self)
        if self.viewed is None:
            del record["viewed"]
        return record

    def sentence(self) -> str:
        """For people: what was chosen, and why."""
        if self.method == "none":
            return f"none ({self.reason})"
        scored = "by their best photo" if self.scoring == "max" else "by the mean of their photos"
        whose = "each" if self.viewed is None else f"{self.viewed:,} of them"
        views = f" and {self.views} views of {whose}" if self.views else ""
        fitted = f"fitted on {self.photos:,} photos{views}"
        return f"{self.dimension} dimensions, products scored {scored}, {fitted}; {self.reason}"

    @classmethod
    def from_dict(cls, record: object) -> Adaptation:
        """From the manifest. Raises BundleError."""
        made = read_record(
            cls,
            record,
            "the manifest's adaptation is not one this version reads",
            BundleError,
            "build the bundle again",
        )
        if made.method not in ("lda", "none") or made.scoring not in ("max", "prototype"):
            raise BundleError(
                f"the manifest's adaptation is {made.method!r} with scoring {made.scoring!r}; expected lda or none with max or "
                "prototype, build the bundle again"
            )
        return made
