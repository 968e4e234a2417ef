"""What a query's embedding is compared with: a shop's references in the adapter's space, and its products' prototypes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import PHOTO_BITS, product_of
from ..index.vector_index import VectorIndex
from .adapter import Adapter, Floats
from .decision import best_products
from .evidence import Evidence


class Gallery:
    """References, and prototypes where products are scored by the mean of their pictures. Safe to share between threads.

    `index` holds a vector for each reference, `prototypes` one for each product under the id of its first reference.
    """

    def __init__(
        self, index: VectorIndex, adapter: Adapter | None = None, prototypes: VectorIndex | None = None
    ) -> None:
        self.index = index
        self.adapter = adapter
        self.prototypes = prototypes
        self._counts: NDArray[np.intp] | None = None

    def adapted(self, embedding: Floats) -> Floats:
        """A photo's (D,) embedding as this gallery's vectors are."""
        return embedding if self.adapter is None else self.adapter.apply(embedding)

    def rank(self, vector: Floats, count: int, allowed: NDArray[np.bool_] | None = None) -> list[tuple[int, float]]:
        """(product id, score) of the `count` best distinct products for an adapted (d,) vector, best first.

        `allowed`: which of the index's references (in the order of its ids) may count, and so which products.
        """
        if self.prototypes is None:
            ids, scores = self.index.search_groups(vector, count, bits=PHOTO_BITS, allowed=allowed)
            return best_products(ids, scores)[:count]
        passing = None
        if allowed is not None:
            passing = np.isin(product_of(self.prototypes.ids), product_of(self.index.ids[allowed]))
        found, cosines = self.prototypes.search(vector, count, allowed=passing)
        return list(zip(product_of(found[0]).tolist(), cosines[0].tolist(), strict=True))

    def evidence(self, vector: Floats, count: int, allowed: NDArray[np.bool_] | None = None) -> Evidence:
        """What an adapted (d,) vector says of the `count` best products; `allowed` as for `rank`."""
        return Evidence.of_search(self.rank(vector, count, allowed))

    def references(self, product_id: int) -> int:
        """How many references a product has."""
        if self._counts is None:
            # intp: a 32-bit machine refuses to count unsigned numbers.
            self._counts = np.bincount(product_of(self.index.ids).astype(np.intp))
        return int(self._counts[product_id]) if product_id < len(self._counts) else 0
