"""The photos' own embeddings in a bundle, and those of their views: what a fit is made from, so that it can be made again.

A bundle answers from what the fit made of them, which can't be turned back.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..bundle.manifest import role_of
from ..catalog.ids import product_of
from ..encoders.local import LocalHead
from ..errors import BundleDamaged
from ..scoring.adapter import Floats
from .enroll import Enrolled

Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Kept:
    """Of N photos with V views each: `ids` (N,) uint32, `vectors` (N, D) and `views` (N, V, D) float16, `is_packshot` (N,), and
    with a local head (`head`, its bytes; else none) `cells` (N, 1 + V, bytes) uint8, or (N, 1, bytes) where products had more
    photos than one: then views' cells are never asked for."""

    ids: NDArray[np.uint32]
    vectors: Halves
    views: Halves
    is_packshot: NDArray[np.bool_]
    cells: NDArray[np.uint8]
    head: NDArray[np.uint8]

    @classmethod
    def of(cls, enrolled: Enrolled, keep: NDArray[np.bool_], head: LocalHead | None) -> Kept:
        """From the photos `keep` (N,) of a build."""
        cells = np.empty((int(keep.sum()), 0, 0), np.uint8)
        if head is not None and enrolled.cells is not None:
            cells = enrolled.cells[keep][:, : 1 if enrolled.has_second_photos else None]
        return cls(
            enrolled.ids[keep],
            enrolled.vectors[keep].astype(np.float16),
            enrolled.views[keep].astype(np.float16),
            enrolled.is_packshot[keep],
            cells,
            np.frombuffer(b"" if head is None else head.to_bytes(), np.uint8),
        )

    @property
    def local_head(self) -> LocalHead | None:
        """The head that made the cells. Raises EncoderError."""
        return LocalHead.from_bytes(self.head.tobytes(), "the kept local head") if len(self.head) else None

    @property
    def count(self) -> int:
        """Views of each photo."""
        return int(self.views.shape[1])

    @property
    def has_all_cells(self) -> bool:
        """Whether the views' cells are kept as well."""
        return int(self.cells.shape[1]) == 1 + self.count

    def enrolled(self) -> Enrolled:
        """As a build has them; the cells that weren't kept are zero."""
        cells = None
        if len(self.head):
            cells = np.zeros((len(self.ids), 1 + self.count, self.cells.shape[2]), np.uint8)
            cells[:, : self.cells.shape[1]] = self.cells
        return Enrolled(self.ids, _unit(self.vectors), _unit(self.views), self.is_packshot, cells)

    def extended(self, enrolled: Enrolled) -> Kept:
        """With more photos, which have as many views."""
        if not len(enrolled.ids):
            return self
        more = Kept.of(enrolled, np.ones(len(enrolled.ids), bool), None)
        if len(self.head) and enrolled.cells is not None:
            more = replace(more, cells=enrolled.cells[:, : self.cells.shape[1]])
        joined = {one: np.concatenate([getattr(self, one), getattr(more, one)]) for one in _OF_PHOTOS}
        return Kept(**joined, head=self.head)

    def without(self, ids: NDArray[np.uint32]) -> Kept:
        """With these photos gone."""
        return self._taken(~np.isin(self.ids, ids))

    def of_products(self, products: NDArray[np.uint32]) -> Kept:
        """Those of some products alone."""
        return self._taken(np.isin(product_of(self.ids), products))

    def _taken(self, rows: NDArray[np.bool_]) -> Kept:
        return Kept(**{one: getattr(self, one)[rows] for one in _OF_PHOTOS}, head=self.head)

    def save(self, path: Path) -> None:
        """As a bundle keeps them: numpy's .npz, nothing compressed."""
        with path.open("wb") as file:
            np.savez(file, **{one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Kept:
        """What `save` wrote. Raises BundleDamaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                kept = cls(**{one.name: found[one.name] for one in fields(cls)})
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise BundleDamaged(f"{path} is damaged: {error}; copy or build the bundle again") from error
        if any(len(getattr(kept, one)) != len(kept.ids) for one in _OF_PHOTOS):
            raise BundleDamaged(f"{path} is damaged: not as many of each as photos; copy or build the bundle again")
        return kept


_OF_PHOTOS: Sequence[str] = ("ids", "vectors", "views", "is_packshot", "cells")
"""What there is one of for each photo."""


def load_kept(bundle: Bundle, number: int) -> Kept | None:
    """What a bundle keeps for the branch of this number, None where it doesn't. Raises BundleDamaged."""
    if not bundle.manifest.branches[number].keeps_embeddings:
        return None
    return Kept.load(bundle.check(role_of("embeddings", number)))


def _unit(vectors: Halves) -> Floats:
    """Float32 of unit length again: halves are off by a thousandth."""
    rows: Floats = vectors.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows
