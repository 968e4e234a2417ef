"""A catalogue's embeddings, as what is fitted and measured on them takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scoring.adapter import Floats

MAX_PHOTOS = 6000
"""Photos that a fit looks at, with their views: 100 MB at 1,280 components."""
FEWEST_PHOTOS = 3
"""Of a product where not all photos are looked at. Few photos of each product are better than all of a few products: what tells
others apart than the fit has seen is played down (benchmarks/adaptation.py, large shops)."""
MIN_PACKSHOTS = 8
"""Fewer pictures on a plain background have no mean of their own that could be trusted."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A catalogue's embeddings: `vectors` (N, D) float32 unit, `products` (N,) and `photos` (N,) integers; a view has the
    number of its photo. `is_view` and `is_packshot` (N,). `references`: product → how many references it has in the shop, where
    these are not all of its photos or not all are kept."""

    vectors: Floats
    products: NDArray[np.int64]
    photos: NDArray[np.int64]
    is_view: NDArray[np.bool_]
    is_packshot: NDArray[np.bool_]
    references: Mapping[int, int] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Pictures:
        """The chosen rows."""
        return Pictures(
            self.vectors[rows],
            self.products[rows],
            self.photos[rows],
            self.is_view[rows],
            self.is_packshot[rows],
            self.references,
        )

    @property
    def whole(self) -> bool:
        """Whether there are pictures of all products of the shop."""
        return self.references is None or len(np.unique(self.products)) == len(self.references)

    def references_of(self, labels: NDArray[np.int64]) -> NDArray[np.intp]:
        """How many references each of these products has. What a held-out query knows of a product, as one in the shop will be:
        counted without the group that is held out, every product would have a quarter fewer."""
        if self.references is not None:
            return np.array([self.references[label] for label in labels.tolist()], np.intp)
        products, counts = np.unique(self.products[~self.is_view], return_counts=True)
        found: NDArray[np.intp] = counts[np.searchsorted(products, labels)]
        return found

    def shared(self) -> NDArray[np.bool_]:
        """(N,): photos that another product has as well, the very same embedding, and their views. Left out as an unknown
        product's, such a photo would be found."""
        photos = np.flatnonzero(~self.is_view)
        keys = [hashlib.sha256(self.vectors[row]).digest() for row in photos.tolist()]
        owner: dict[bytes, int] = {}
        of_several = {
            key
            for key, own in zip(keys, self.products[photos].tolist(), strict=True)
            if owner.setdefault(key, own) != own
        }
        numbers = [photo for key, photo in zip(keys, self.photos[photos].tolist(), strict=True) if key in of_several]
        return np.isin(self.photos, numbers)

    @property
    def viewed(self) -> int:
        """How many products have views."""
        return len(np.unique(self.products[self.is_view]))

    def weights(self, rows: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.float32]:
        """(n,) of these rows, (N,) bool: photos and views count 1; a packshot as much as its views among them together, which are
        made up and it isn't."""
        photos, is_view, is_packshot = self.photos[rows], self.is_view[rows], self.is_packshot[rows]
        numbers, counts = np.unique(photos[is_view], return_counts=True)
        views_of = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        weights = np.ones(len(photos), np.float32)
        weights[is_packshot] = [views_of.get(photo, 1) for photo in photos[is_packshot].tolist()]
        return weights


def has_second_photos(pictures: Pictures) -> bool:
    """Whether enough products have two photos: then photos are held out, otherwise views are."""
    products = np.unique(pictures.products[~pictures.is_view])
    return bool(len(products)) and len(with_second_photos(pictures)) / len(products) >= 0.5


def with_second_photos(pictures: Pictures) -> set[int]:
    """Products whose photos differ: one photo saved twice is still one."""
    first: dict[int, bytes] = {}
    found: set[int] = set()
    for row in np.flatnonzero(~pictures.is_view):
        product, vector = int(pictures.products[row]), pictures.vectors[row].tobytes()
        if first.setdefault(product, vector) != vector:
            found.add(product)
    return found
