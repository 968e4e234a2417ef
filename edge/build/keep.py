"""The photos' own embeddings in a bundle, and those of their views: what a fit is made from, so that it can be made again.

A bundle answers from what the fit made of them, which can't be turned back.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

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
    """Of N photos, S of them with V views: `ids` (N,) uint32, `vectors` (N, D) and `views` (S, V, D) float16, `viewed` (S,) ids of
    the photos that have views, `is_packshot` (N,), and with a local head (`head`, its bytes; else none) `cells` (N, bytes) and
    `view_cells` (S, V, bytes) uint8; (S, 0, bytes) where products had more photos than one: then they are never asked for."""

    ids: NDArray[np.uint32]
    vectors: Halves
    views: Halves
    viewed: NDArray[np.uint32]
    is_packshot: NDArray[np.bool_]
    cells: NDArray[np.uint8]
    view_cells: NDArray[np.uint8]
    head: NDArray[np.uint8]

    @classmethod
    def of(cls, enrolled: Enrolled, keep: NDArray[np.bool_], head: LocalHead | None) -> Kept:
        """From the photos `keep` (N,) of a build."""
        with_views = keep[enrolled.of_views]
        cells = np.empty((int(keep.sum()), 0), np.uint8)
        view_cells = np.empty((int(with_views.sum()), 0, 0), np.uint8)
        if head is not None and enrolled.cells is not None:
            cells = enrolled.cells[keep]
            view_cells = np.empty((len(view_cells), 0, cells.shape[1]), np.uint8)
            if enrolled.view_cells is not None and not enrolled.has_second_photos:
                view_cells = enrolled.view_cells[with_views]
        return cls(
            enrolled.ids[keep],
            enrolled.vectors[keep].astype(np.float16),
            enrolled.views[with_views].astype(np.float16),
            enrolled.ids[enrolled.of_views[with_views]],
            enrolled.is_packshot[keep],
            cells,
            view_cells,
            np.frombuffer(b"" if head is None else head.to_bytes(), np.uint8),
        )

    @property
    def local_head(self) -> LocalHead | None:
        """The head that made the cells. Raises EncoderError."""
        return LocalHead.from_bytes(self.head.tobytes(), "the kept local head") if len(self.head) else None

    @property
    def count(self) -> int:
        """Views of each photo that has some."""
        return int(self.views.shape[1])

    @property
    def has_all_cells(self) -> bool:
        """Whether the views' cells are kept as well."""
        return int(self.view_cells.shape[1]) == self.count

    def enrolled(self) -> Enrolled:
        """As a build has them."""
        place = {int(one): row for row, one in enumerate(self.ids.tolist())}
        viewed = np.array([place[int(one)] for one in self.viewed.tolist()], np.intp)
        order = np.argsort(viewed)
        has_cells = bool(len(self.head))
        return Enrolled(
            self.ids,
            _unit(self.vectors),
            _unit(self.views[order]),
            self.is_packshot,
            self.cells if has_cells else None,
            self.view_cells[order] if has_cells and self.has_all_cells else None,
            viewed[order] if len(viewed) < len(self.ids) else None,
        )

    def extended(self, enrolled: Enrolled) -> Kept:
        """With more photos, which have as many views."""
        if not len(enrolled.ids):
            return self
        more = Kept.of(enrolled, np.ones(len(enrolled.ids), bool), None)
        if len(self.head) and enrolled.cells is not None:
            views = np.empty((len(more.views), 0, 0), np.uint8)
            if enrolled.view_cells is not None:
                views = enrolled.view_cells[:, : self.view_cells.shape[1]]
            kept = views.reshape(len(more.views), -1, self.cells.shape[1])
            more = replace(more, cells=enrolled.cells[:], view_cells=kept)
        if not len(self.views):
            return replace(more, **self._joined(more, _OF_PHOTOS), head=self.head)
        return Kept(**self._joined(more, (*_OF_PHOTOS, *_OF_VIEWS)), head=self.head)

    def _joined(self, more: Kept, names: Sequence[str]) -> dict[str, Any]:
        return {one: np.concatenate([getattr(self, one), getattr(more, one)]) for one in names}

    def without(self, ids: NDArray[np.uint32]) -> Kept:
        """With these photos gone."""
        return self._taken(~np.isin(self.ids, ids))

    def of_products(self, products: NDArray[np.uint32]) -> Kept:
        """Those of some products alone."""
        return self._taken(np.isin(product_of(self.ids), products))

    def _taken(self, rows: NDArray[np.bool_]) -> Kept:
        with_views = np.isin(self.viewed, self.ids[rows])
        photos = {one: getattr(self, one)[rows] for one in _OF_PHOTOS}
        return Kept(**photos, **{one: getattr(self, one)[with_views] for one in _OF_VIEWS}, head=self.head)

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
        counts = [(kept.ids, _OF_PHOTOS), (kept.viewed, _OF_VIEWS)]
        if any(len(getattr(kept, one)) != len(of) for of, names in counts for one in names):
            raise BundleDamaged(f"{path} is damaged: not as many of each as photos; copy or build the bundle again")
        return kept


_OF_PHOTOS = ("ids", "vectors", "is_packshot", "cells")
_OF_VIEWS = ("viewed", "views", "view_cells")
"""What there is one of for each photo, and for each photo with views."""


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
