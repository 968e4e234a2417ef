"""`shelfmatch similar` and `shelfmatch find`: products like another one, and products by words. No network is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.where_texts import where_of
from ..terminal import DONE, NO, print_json, titled
from .options import Command, add_bundle, add_where, positive

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..catalog.catalog import Catalog
    from ..index.vector_index import VectorIndex
    from ..matching.similar import Neighbour


def register(command: Command) -> None:
    """The commands of this module."""
    similar = command("similar", _similar, "other products like this one")
    add_bundle(similar)
    similar.add_argument("sku", metavar="SKU")
    similar.add_argument("--top-k", type=positive, default=5, metavar="N", help="so many (default: 5)")
    add_where(similar)

    find = command("find", _find, "search the catalogue by words, or by how they begin")
    add_bundle(find)
    find.add_argument("words", metavar="WORDS", nargs="+", help="all must be in SKU, name or attributes")
    find.add_argument("--limit", type=positive, default=10, metavar="N", help="the N best (default: 10)")
    add_where(find)


def _similar(options: argparse.Namespace) -> int:
    """From vectors and catalogue alone: no network is loaded."""
    from ..bundle.bundle import read_whole
    from ..matching.similar import similar

    catalog, index = read_whole(options.bundle, catalog_and_index)
    where = where_of(options.where)
    catalog.check_values(where)
    allowed = catalog.passing(index.ids, where) if where else None
    found = similar(index, catalog, options.sku, options.top_k, allowed)
    if options.json:
        print_json({"sku": options.sku, "similar": [neighbour.to_dict() for neighbour in found]})
        return DONE if found else NO
    for place, neighbour in enumerate(found, start=1):
        print(f"{place}. {titled(neighbour.sku, neighbour.name)}  score {neighbour.score:.3f}")
    if not found:
        print(f"no other product {'passes the filter' if options.where else 'is in the shop'}")
    return DONE if found else NO


def _find(options: argparse.Namespace) -> int:
    """From the catalogue alone."""
    from ..bundle.bundle import read_whole
    from ..matching.similar import find_meant

    catalog = read_whole(options.bundle, lambda bundle: _catalog(bundle.check("catalog")))
    words = " ".join(options.words)
    found, instead = find_meant(catalog, words, options.limit, where_of(options.where))
    if options.json:
        print_json({"words": words, "instead": instead, "products": [neighbour.to_dict() for neighbour in found]})
        return DONE if found else NO
    for word, others in instead.items():
        print(f"no product has {word}; these have {' or '.join(others)}")
    _print_products(found)
    if not found:
        print(f"no product {'that passes the filter ' if options.where else ''}has all of: {words}")
    return DONE if found else NO


def catalog_and_index(bundle: Bundle) -> tuple[Catalog, VectorIndex]:
    """What answers without a network come from, hashed. Raises BundleDamaged."""
    from ..index.vector_index import VectorIndex

    index = VectorIndex.load(bundle.file("vectors"), sha256=bundle.entry("vectors").sha256)
    return _catalog(bundle.check("catalog")), index


def _catalog(path: Path) -> Catalog:
    from ..catalog.catalog import Catalog

    return Catalog(path)


def _print_products(found: Sequence[Neighbour]) -> None:
    for neighbour in found:
        details = ", ".join(f"{key} {value}" for key, value in neighbour.product.attributes.items() if value)
        print(titled(neighbour.sku, neighbour.name) + (f"  ({details})" if details else ""))
