"""Products and their photos as a bundle keeps them: one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleDamaged, CatalogError
from . import attributes as attribute_table
from .attributes import Conditions, Where, conditions_of, spellings

PHOTO_BITS = 12
"""A reference's id is its product's id, then its photo's number in 12 bits: the product of a hit needs no look-up."""
MAX_PHOTOS = 1 << PHOTO_BITS
MAX_PRODUCTS = (1 << (32 - PHOTO_BITS)) - 1
"""One fewer than fit, since the index keeps the last id for itself."""
_MOST_FILTERS = 64
"""So many different filters' products are remembered; a shop has few that are used again and again."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the shop. `attributes` are the CSV's other columns: gtin, price, category, …"""

    sku: str
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredProduct:
    """A product and how near it is: what candidates and neighbours have in common."""

    product: Product
    score: float

    @property
    def sku(self) -> str:
        return self.product.sku

    @property
    def name(self) -> str:
        return self.product.name

    def described(self, **numbers: float) -> dict[str, Any]:
        """For JSON: SKU, name, these numbers; attributes only where there are any."""
        record: dict[str, Any] = {"sku": self.sku, "name": self.name, **numbers}
        if self.product.attributes:
            record["attributes"] = dict(self.product.attributes)
        return record


@dataclass(frozen=True, slots=True)
class Reference:
    """One catalogued photo: the id of its vector, its label and the sha256 of its file."""

    id: int
    photo: str
    photo_sha256: bytes


def product_of(reference_ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Reference ids → product ids."""
    products: NDArray[np.uint32] = reference_ids >> np.uint32(PHOTO_BITS)
    return products


_SCHEMA = """
CREATE TABLE product (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT NOT NULL, attributes TEXT NOT NULL);
CREATE TABLE reference (id INTEGER PRIMARY KEY, photo TEXT NOT NULL, photo_sha256 BLOB NOT NULL);
"""
_PRUNED = "TABLE pruned (product INTEGER PRIMARY KEY, photos INTEGER NOT NULL)"
"""Only where max_references took photos away; readers don't look at it."""


class Catalog:
    """A bundle's catalogue, read-only and safe to share between threads.

    The file is opened as immutable: it is never changed under its name, so SQLite needs neither locks nor a journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._products: dict[int, Product] = {}
        self._passing: dict[Conditions, NDArray[np.uint32]] = {}
        try:
            # What SQLite asks to be escaped in a URI (https://www.sqlite.org/uri.html); urllib costs 5 ms of a cold start.
            escaped = os.fspath(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
            escaped = "/" + escaped.lstrip("/")  # after two slashes a URI names a host
            uri = f"file:{escaped}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA temp_store = MEMORY")
            # Opens the file now: a later version of the bundle may remove its name.
            self._connection.execute("SELECT id FROM product LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise BundleDamaged(f"{path} is damaged: {error}; copy or build the bundle again") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __del__(self) -> None:
        # A version that was replaced goes when its last answer is done, wherever that is.
        if hasattr(self, "_connection"):
            self._connection.close()

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def product(self, product_id: int) -> Product:
        """A product by its id; kept, since the same few are asked for all day."""
        product = self._products.get(product_id)
        if product is None:
            rows = self._query("SELECT sku, name, attributes FROM product WHERE id = ?", (product_id,))
            if not rows:
                raise BundleDamaged(f"{self._path} has no product {product_id}, which the index knows; build it again")
            product = _product(*rows[0])
            self._products[product_id] = product
        return product

    def products(self) -> list[tuple[int, Product]]:
        """All products by id."""
        rows = self._query("SELECT id, sku, name, attributes FROM product ORDER BY id")
        return [(row[0], _product(*row[1:])) for row in rows]

    def product_id(self, sku: str) -> int | None:
        """The id of a SKU, None where the shop doesn't have it."""
        for spelt in spellings(sku):
            rows = self._query("SELECT id FROM product WHERE sku = ?", (spelt,))
            if rows:
                return int(rows[0][0])
        return None

    def references(self, product_id: int) -> list[Reference]:
        """A product's photos by number."""
        first = product_id << PHOTO_BITS
        rows = self._query("SELECT * FROM reference WHERE id >= ? AND id < ? ORDER BY id", (first, first + MAX_PHOTOS))
        return [Reference(*row) for row in rows]

    def attribute_keys(self) -> list[str]:
        """What `where` takes: sku, name, and every attribute that some product has; sorted."""
        with self._lock:
            return attribute_table.keys(self._connection)

    def where(self, conditions: Where) -> NDArray[np.uint32]:
        """Ids of the products whose sku, name or attributes equal all the given values, ascending; of several values for one
        key, any. Filters are kept: don't change what comes back. Raises CatalogError if no product has such an attribute."""
        wanted = conditions_of(conditions)
        passing = self._passing.get(wanted)
        if passing is None:
            with self._lock:
                passing = attribute_table.passing(self._connection, wanted)
            passing.flags.writeable = False
            if len(self._passing) >= _MOST_FILTERS:
                self._passing = {}
            self._passing[wanted] = passing
        return passing

    def passing(self, reference_ids: NDArray[np.uint32], conditions: Where) -> NDArray[np.bool_]:
        """(N,): which references are of products that pass a filter. Raises CatalogError like `where`."""
        return np.isin(product_of(reference_ids), self.where(conditions))

    def find(self, words: str, limit: int) -> list[tuple[int, float]]:
        """(product id, score) of the `limit` products that fit the words best, best first: see `words`."""
        from . import text_search as word_search  # only a search box needs it

        with self._lock:
            return word_search.find(self._connection, words, min(limit, MAX_PRODUCTS))


def _product(sku: str, name: str, attributes: str) -> Product:
    return Product(sku, name, MappingProxyType(json.loads(attributes)))


class CatalogEditor:
    """A catalogue file while it is being written. Nothing else has the file open."""

    def __init__(self, path: Path) -> None:
        fresh = not path.exists()
        if not fresh:
            _drop_unusable_words(path)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        if fresh:
            self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN")

    def put_product(self, sku: str, attributes: Mapping[str, str]) -> int:
        """Add a product, or update the given attributes of the one there; its id. Raises CatalogError when full."""
        execute = self._connection.execute
        row = execute("SELECT id, name, attributes FROM product WHERE sku = ?", (sku,)).fetchone()
        if row is not None and not attributes:
            return int(row[0])
        merged = {**attributes} if row is None else {"name": row[1], **json.loads(row[2]), **attributes}
        name = merged.pop("name", "")
        rest = json.dumps(dict(sorted(merged.items())), ensure_ascii=False)
        if row is not None:
            execute("UPDATE product SET name = ?, attributes = ? WHERE id = ?", (name, rest, row[0]))
            return int(row[0])
        last = execute("SELECT max(id) FROM product").fetchone()[0]
        product_id = 0 if last is None else int(last) + 1
        if product_id >= MAX_PRODUCTS:
            raise CatalogError(f"a bundle holds at most {MAX_PRODUCTS:,} products")
        execute("INSERT INTO product VALUES (?, ?, ?, ?)", (product_id, sku, name, rest))
        return product_id

    def add_reference(self, product_id: int, photo: str, photo_sha256: bytes) -> int:
        """Add a photo to a product; the id of its vector. Raises CatalogError when the product is full."""
        first = product_id << PHOTO_BITS
        last = self._connection.execute(
            "SELECT max(id) FROM reference WHERE id >= ? AND id < ?", (first, first + MAX_PHOTOS)
        ).fetchone()[0]
        reference_id = first if last is None else int(last) + 1
        if reference_id >= first + MAX_PHOTOS:
            reference_id = self._free_number(product_id)
        self._connection.execute("INSERT INTO reference VALUES (?, ?, ?)", (reference_id, photo, photo_sha256))
        return reference_id

    def _free_number(self, product_id: int) -> int:
        """The lowest id that a removed or pruned photo has left. Raises CatalogError."""
        taken = {reference.id for reference in self.references(product_id)}
        first = product_id << PHOTO_BITS
        for reference_id in range(first, first + MAX_PHOTOS):
            if reference_id not in taken:
                return reference_id
        (sku,) = self._connection.execute("SELECT sku FROM product WHERE id = ?", (product_id,)).fetchone()
        raise CatalogError(
            f"one photo more than {MAX_PHOTOS:,} arrived for product {sku!r}; a product holds at most {MAX_PHOTOS:,} photos, "
            "leave some out"
        )

    def references(self, product_id: int) -> list[Reference]:
        """A product's photos by number."""
        first = product_id << PHOTO_BITS
        rows = self._connection.execute(
            "SELECT * FROM reference WHERE id >= ? AND id < ? ORDER BY id", (first, first + MAX_PHOTOS)
        )
        return [Reference(*row) for row in rows]

    def photos(self) -> Iterator[tuple[str, str, bytes]]:
        """(SKU, label, sha256) of all photos whose file is known, by number."""
        yield from self._connection.execute(
            "SELECT sku, photo, photo_sha256 FROM reference JOIN product ON product.id = reference.id >> ? "
            "WHERE photo_sha256 != x'' ORDER BY reference.id",
            (PHOTO_BITS,),
        )

    def product_id(self, sku: str) -> int | None:
        """The id of a SKU, None where there is no such product."""
        for spelt in spellings(sku):
            row = self._connection.execute("SELECT id FROM product WHERE sku = ?", (spelt,)).fetchone()
            if row is not None:
                return int(row[0])
        return None

    def remove_references(self, reference_ids: Collection[int]) -> None:
        """Forget photos."""
        self._connection.executemany("DELETE FROM reference WHERE id = ?", ((i,) for i in reference_ids))
        if self._has_pruned():  # a product's prototype goes with its last reference
            self._connection.executemany(
                "DELETE FROM pruned WHERE product = ? AND NOT EXISTS (SELECT 1 FROM reference WHERE id >= ? AND id < ?)",
                ((own, own << PHOTO_BITS, (own + 1) << PHOTO_BITS) for own in {i >> PHOTO_BITS for i in reference_ids}),
            )

    def prune_references(self, reference_ids: Collection[int]) -> None:
        """Forget photos that stay part of their products' prototypes, and keep how many those are."""
        self.remove_references(reference_ids)
        counts = Counter(reference_id >> PHOTO_BITS for reference_id in reference_ids)
        if counts:
            self._connection.execute(f"CREATE {_PRUNED}")
            self._connection.executemany("INSERT INTO pruned VALUES (?, ?)", sorted(counts.items()))

    def pruned(self) -> dict[int, int]:
        """Product id → the photos in its prototype that are no references any more."""
        return dict(self._connection.execute("SELECT * FROM pruned")) if self._has_pruned() else {}

    def _has_pruned(self) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pruned'").fetchone())

    def remove_product(self, product_id: int) -> list[int]:
        """Forget a product and its photos; the ids of their vectors."""
        ids = [reference.id for reference in self.references(product_id)]
        self.remove_references(ids)
        self._connection.execute("DELETE FROM product WHERE id = ?", (product_id,))
        return ids

    def count(self) -> int:
        """Number of products."""
        return int(self._connection.execute("SELECT count(*) FROM product").fetchone()[0])

    def finish(self) -> None:
        """Write everything and close. Filters and words are indexed here, at once and from what is there: they can't be stale."""
        from . import text_search as word_search

        attribute_table.write(self._connection)
        word_search.write(self._connection)
        self._connection.execute("COMMIT")
        self._connection.execute("VACUUM")
        self._connection.close()

    def close(self) -> None:
        """Close without caring for the contents."""
        self._connection.close()


def _drop_unusable_words(path: Path) -> None:
    """Where SQLite has no FTS5, its table could be neither changed nor dropped: go on with a copy of the others."""
    from . import text_search as word_search

    connection = sqlite3.connect(path, isolation_level=None)
    try:
        if word_search.has_fts5() or not word_search.is_indexed(connection):
            return
        copy = path.with_name(f"{path.name}.plain")  # still a name that the writer sweeps away
        copy.unlink(missing_ok=True)
        connection.execute("ATTACH ? AS copy", (os.fspath(copy),))
        connection.executescript(_SCHEMA.replace("CREATE TABLE ", "CREATE TABLE copy."))
        tables = ["product", "reference"]
        if connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'pruned'").fetchone():
            connection.execute(f"CREATE {_PRUNED.replace('pruned', 'copy.pruned')}")
            tables.append("pruned")
        for table in tables:
            connection.execute(f"INSERT INTO copy.{table} SELECT * FROM main.{table}")
    finally:
        connection.close()
    copy.replace(path)
