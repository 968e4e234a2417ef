"""Around a product: the others that look like it, and those that a few words name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.catalog import Catalog
from ..catalog.ids import MAX_PRODUCTS, PHOTO_BITS, product_of
from ..catalog.product import Reference, ScoredProduct
from ..errors import CatalogError
from ..scoring.decision import best_products

if TYPE_CHECKING:
    from ..catalog.attributes import Where
    from ..index.vector_index import VectorIndex

MAX_VIEWS = 32
"""So many of a product's photos, evenly spread, ask for their neighbours; more change the mean little and cost a search each."""
_DEPTH = 4


class Neighbour(ScoredProduct):
    """A product near another one, or near some words. `score`: higher is nearer; a mean cosine for `similar`, and for
    `find` a number that compares within one answer only."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """As in `similar --json` and `find --json`."""
        return self.described(score=round(self.score, 6))


def similar(
    index: VectorIndex, catalog: Catalog, sku: str, top_k: int, allowed: NDArray[np.bool_] | None
) -> tuple[Neighbour, ...]:
    """The `top_k` other products most like this one, best first; `allowed`: which references may be found.

    Each photo of the product looks for the other's photo most like it; the mean of those cosines is the score. So one odd
    photo (the shelf behind both, the same hand) has a say of its own share, where the best pair alone would let it decide;
    and a product seen from all sides isn't pushed away by the sides that differ, as by the mean of all pairs. On the grocery
    photos (benchmarks/around.py) the first neighbour is of the same kind for 86 % of products, by best pair 78 %, by
    the mean of all pairs 70 %.
    Raises CatalogError if the shop doesn't have the SKU.
    """
    if top_k < 1:
        raise CatalogError(f"top_k is {top_k}; expected at least 1")
    own = product_id_of(catalog, sku)
    ids = index.ids
    products = product_of(ids)
    mine = np.flatnonzero(products == own)
    if len(mine) > MAX_VIEWS:
        mine = mine[np.linspace(0, len(mine) - 1, MAX_VIEWS).astype(np.intp)]
    views = index.vectors(mine)
    near: set[int] = set()
    for view in views:
        found, scores = index.search_groups(view, 1 + _DEPTH * top_k, bits=PHOTO_BITS, allowed=allowed)
        near.update(product for product, _ in best_products(found, scores)[: 1 + _DEPTH * top_k])
    near.discard(own)
    scored = _means_of_bests(index, views, _rows_of(products, sorted(near)))
    best = sorted(scored.items(), key=lambda hit: (-hit[1], hit[0]))[:top_k]
    return tuple(Neighbour(catalog.product(product), score) for product, score in best)


def product_id_of(catalog: Catalog, sku: str) -> int:
    """The id of a SKU. Raises CatalogError if the catalogue doesn't have it."""
    product_id = catalog.product_id(sku)
    if product_id is None:
        raise CatalogError(f"the shop has no product {sku!r}; shelfmatch info --products lists them")
    return product_id


def nearest_photos(
    index: VectorIndex, catalog: Catalog, vector: NDArray[np.float32], sku: str
) -> tuple[Reference, ...]:
    """A product's photos, those nearest to an embedding (D,) first. Raises CatalogError if the shop doesn't have it."""
    product_id = product_id_of(catalog, sku)
    references = {reference.id: reference for reference in catalog.references(product_id)}
    ids = index.ids
    rows = np.flatnonzero(product_of(ids) == product_id)
    order = np.argsort(-(index.vectors(rows) @ vector), kind="stable")
    return tuple(references[reference_id] for reference_id in ids[rows[order]].tolist())


def _rows_of(products: NDArray[np.uint32], wanted: Sequence[int]) -> dict[int, NDArray[np.intp]]:
    """Rows of each wanted product."""
    rows = np.flatnonzero(np.isin(products, np.array(wanted, np.uint32)))
    rows = rows[np.argsort(products[rows], kind="stable")]
    starts = np.searchsorted(products[rows], np.array(wanted, np.uint32))
    return dict(zip(wanted, np.split(rows, starts[1:]), strict=True)) if wanted else {}


def _means_of_bests(
    index: VectorIndex, views: NDArray[np.float32], rows: dict[int, NDArray[np.intp]]
) -> dict[int, float]:
    """Product → the mean over the views of the cosine of its most similar photo; product by product, to stay small."""
    return {
        product: float((views @ index.vectors(own_rows).T).max(axis=1).mean()) for product, own_rows in rows.items()
    }


def find(catalog: Catalog, words: str, limit: int, where: Where | None = None) -> tuple[Neighbour, ...]:
    """The `limit` products that fit the words best, best first; none for a text without words. Typing errors are forgiven where
    nothing else is found. `where`: only products that pass this filter. Raises CatalogError for a limit below 1 or a filter with
    a value that no product has."""
    return find_meant(catalog, words, limit, where)[0]


def find_meant(
    catalog: Catalog, words: str, limit: int, where: Where | None = None
) -> tuple[tuple[Neighbour, ...], dict[str, tuple[str, ...]]]:
    """As `find`, and what was looked for instead of words with typing errors: word → words of the catalogue."""
    if limit < 1:
        raise CatalogError(f"limit is {limit}; expected at least 1")
    if where:
        catalog.check_values(where)
        allowed = set(catalog.where(where).tolist())
        found, instead = catalog.find_meant(words, MAX_PRODUCTS)
        found = [one for one in found if one[0] in allowed][:limit]
    else:
        found, instead = catalog.find_meant(words, limit)
    return tuple(Neighbour(catalog.product(product), score) for product, score in found), instead
