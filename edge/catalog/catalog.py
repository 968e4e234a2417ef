"""Products and their photos as a bundle keeps them, read from one SQLite file; `editor` writes it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleDamaged
from ..files import check_sqlite_path
from ..forking import at_rest, renew_after_fork
from . import attributes
from .attributes import Conditions, Where, conditions_of, spellings
from .ids import MAX_PHOTOS, MAX_PRODUCTS, PHOTO_BITS, product_of
from .product import Product, Reference, product_from_row

_MOST_FILTERS = 64
"""So many different filters' products are remembered; a shop has few that are used again and again."""


class _Connection(sqlite3.Connection):
    """Closes itself when nobody refers to it. In a circle with an exception's traceback it may go before its catalogue does, and
    SQLite's own of Python 3.13 would warn then."""

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # one that could never be opened
            self.close()


class Catalog:
    """A bundle's catalogue, read-only and safe to share between threads.

    The file is opened as immutable: it is never changed under its name, so SQLite needs neither locks nor a journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._products: dict[int, Product] = {}
        self._passing: dict[Conditions, NDArray[np.uint32]] = {}
        self._by_gtin: dict[str, tuple[int, ...]] | None = None
        check_sqlite_path(path)
        self._is_forked = False
        try:
            # Kept beside SQLite's own: a later generation may remove the name before a forked child opens the file.
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise BundleDamaged(f"{path} can't be read: {error.strerror}; copy or build the bundle again") from error
        with self._damage_named():
            self._connection = _opened(path)
        renew_after_fork(self)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __del__(self) -> None:
        # A version that was replaced goes when its last answer is done, wherever that is.
        if hasattr(self, "_connection"):
            self._connection.close()
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def after_fork(self) -> None:
        """In a forked child: open the file anew before the next query, SQLite's connections aren't to be shared."""
        self._lock = threading.Lock()
        self._is_forked = True

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. Raises BundleDamaged where SQLite finds the file changed under it."""
        with self._lock, at_rest, self._damage_named():
            if self._is_forked:
                self._connection = self._reopened()
                self._is_forked = False
            yield self._connection

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:  # closed
            raise
        except sqlite3.Error as error:
            raise BundleDamaged(f"{self._path} is damaged: {error}; copy or build the bundle again") from error

    def _reopened(self) -> sqlite3.Connection:
        """The same file once more; out of memory where its name is gone or another file's."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                return _opened(self._path)
        size = os.fstat(self._descriptor).st_size
        connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None, factory=_Connection)
        connection.deserialize(os.pread(self._descriptor, size, 0))
        return connection

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(sql, values).fetchall()

    def product(self, product_id: int) -> Product:
        """A product by its id; kept, since the same few are asked for all day."""
        product = self._products.get(product_id)
        if product is None:
            rows = self._query("SELECT sku, name, attributes FROM product WHERE id = ?", (product_id,))
            if not rows:
                raise BundleDamaged(f"{self._path} has no product {product_id}, which the index knows; build it again")
            product = product_from_row(*rows[0])
            self._products[product_id] = product
        return product

    def products(self) -> list[tuple[int, Product]]:
        """All products by id."""
        rows = self._query("SELECT id, sku, name, attributes FROM product ORDER BY id")
        return [(row[0], product_from_row(*row[1:])) for row in rows]

    def page(self, offset: int, limit: int) -> tuple[int, list[int]]:
        """How many products there are, and the ids of `limit` of them after the first `offset`, by id."""
        total = self._query("SELECT count(*) FROM product")[0][0]
        rows = self._query("SELECT id FROM product ORDER BY id LIMIT ? OFFSET ?", (limit, offset))
        return int(total), [int(row[0]) for row in rows]

    def product_id(self, sku: str) -> int | None:
        """The id of a SKU, None where the shop doesn't have it."""
        for spelt in spellings(sku):
            rows = self._query("SELECT id FROM product WHERE sku = ?", (spelt,))
            if rows:
                return int(rows[0][0])
        return None

    def by_gtin(self) -> dict[str, tuple[int, ...]]:
        """Article number → ids of the products that have it, in `gtin.canonical`'s spelling; read once, don't change it.

        Numbers of a column called gtin, ean, barcode …; and the SKUs, where each of them is an article number with its check digit
        and no product has another number than its SKU.
        """
        if self._by_gtin is None:
            found = self._own_numbers()
            for number, products in self._skus_as_numbers(found).items():
                found[number] = tuple(dict.fromkeys((*found.get(number, ()), *products)))
            self._by_gtin = found
        return self._by_gtin

    def _own_numbers(self) -> dict[str, tuple[int, ...]]:
        from . import gtin  # only what reads bar codes needs it
        from .columns import plain

        found: dict[str, tuple[int, ...]] = {}
        keys = [key for (key,) in self._query("SELECT DISTINCT key FROM attribute") if plain(key) in gtin.COLUMNS]
        for key in keys:
            for value, product in self._query("SELECT value, product FROM attribute WHERE key = ?", (key,)):
                for number in gtin.canonical(value):
                    found[number] = tuple(dict.fromkeys((*found.get(number, ()), product)))
        return found

    def _skus_as_numbers(self, own: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Many shops' SKUs are their EANs. One SKU that is no such number, or one product with a number that isn't its SKU, says
        that this shop's aren't: one text in ten has a right check digit by chance. A number that is the SKU once more (a product
        taught at the kiosk has both) says nothing against it."""
        from . import gtin

        found: dict[str, tuple[int, ...]] = {}
        for product, sku in self._query("SELECT id, sku FROM product ORDER BY id"):
            numbers = gtin.canonical(sku) if gtin.is_gtin(sku) and sku.strip("0") else ()
            if not numbers:
                return {}
            for number in numbers:
                found[number] = (*found.get(number, ()), product)
        same = all(set(products) <= set(found.get(number, ())) for number, products in own.items())
        return found if same else {}

    def references(self, product_id: int) -> list[Reference]:
        """A product's photos by number."""
        first = product_id << PHOTO_BITS
        rows = self._query("SELECT * FROM reference WHERE id >= ? AND id < ? ORDER BY id", (first, first + MAX_PHOTOS))
        return [Reference(*row) for row in rows]

    def photo_digests(self) -> frozenset[bytes]:
        """The sha256 of all photos whose file is known."""
        return frozenset(
            digest for (digest,) in self._query("SELECT photo_sha256 FROM reference WHERE photo_sha256 != x''")
        )

    def attribute_keys(self) -> list[str]:
        """What `where` takes: sku, name, and every attribute that some product has; sorted."""
        with self._reading() as connection:
            return attributes.keys(connection)

    def where(self, conditions: Where) -> NDArray[np.uint32]:
        """Ids of the products whose sku, name or attributes equal all the given values, ascending; of several values for one
        key, any. Filters are kept: don't change what comes back. Raises CatalogError if no product has such an attribute."""
        wanted = conditions_of(conditions)
        passing = self._passing.get(wanted)
        if passing is None:
            with self._reading() as connection:
                passing = attributes.passing(connection, wanted)
            passing.flags.writeable = False
            if len(self._passing) >= _MOST_FILTERS:
                self._passing = {}
            self._passing[wanted] = passing
        return passing

    def check_values(self, conditions: Where, *, every: bool = True) -> None:
        """Raise CatalogError that names the values there are, for a filter with one that no product has: most are misspelt. Without
        `every`, where no product has any of a key's values."""
        wanted = conditions_of(conditions)
        with self._reading() as connection:
            attributes.check_values(connection, wanted, every=every)

    def passing(self, reference_ids: NDArray[np.uint32], conditions: Where) -> NDArray[np.bool_]:
        """(N,): which references are of products that pass a filter. Raises CatalogError like `where`, and for an attribute of
        which no product has one of the values; once for each filter, a catalogue does not change."""
        if conditions_of(conditions) not in self._passing:
            self.check_values(conditions, every=False)
        return np.isin(product_of(reference_ids), self.where(conditions))

    def find(self, words: str, limit: int) -> list[tuple[int, float]]:
        """(product id, score) of the `limit` products that fit the words best, best first: see `text_search`."""
        from . import text_search  # only a search box needs it

        with self._reading() as connection:
            return text_search.find(connection, words, min(limit, MAX_PRODUCTS))

    def find_meant(self, words: str, limit: int) -> tuple[list[tuple[int, float]], dict[str, tuple[str, ...]]]:
        """As `find`, with typing errors forgiven where nothing is found: see `text_search.find_meant`."""
        from . import text_search

        with self._reading() as connection:
            return text_search.find_meant(connection, words, min(limit, MAX_PRODUCTS))


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that reads the file as one that never changes. Raises sqlite3.Error."""
    # What SQLite asks to be escaped in a URI (https://www.sqlite.org/uri.html); urllib costs 5 ms of a cold start.
    escaped = os.fspath(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    escaped = "/" + escaped.lstrip("/")  # after two slashes a URI names a host
    uri = f"file:{escaped}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, factory=_Connection)
    try:
        connection.execute("PRAGMA temp_store = MEMORY")
        # Opens the file now: a later generation may remove its name.
        connection.execute("SELECT id FROM product LIMIT 1").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
