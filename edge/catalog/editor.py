"""Writing a bundle's catalogue: products and photos come and go, then filters and words are indexed at once."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..errors import CatalogError
from ..files import check_sqlite_path
from . import attributes, text_search
from .attributes import spellings
from .ids import MAX_PHOTOS, MAX_PRODUCTS, PHOTO_BITS
from .product import Reference

_SCHEMA = """
CREATE TABLE product (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT NOT NULL, attributes TEXT NOT NULL);
CREATE TABLE reference (id INTEGER PRIMARY KEY, photo TEXT NOT NULL, photo_sha256 BLOB NOT NULL);
"""
_PRUNED = "TABLE pruned (product INTEGER PRIMARY KEY, photos INTEGER NOT NULL)"
_PRUNED_FILES = "TABLE pruned_file (product INTEGER NOT NULL, photo_sha256 BLOB NOT NULL)"
"""Only where max_references took photos away; readers look at neither. By the files `add` knows not to bring them back."""


class CatalogEditor:
    """A catalogue file while it is being written. Nothing else has the file open."""

    def __init__(self, path: Path) -> None:
        check_sqlite_path(path.parent / "a name as long as the longest of a bundle's")
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
            product_id = self._free_product()
        execute("INSERT INTO product VALUES (?, ?, ?, ?)", (product_id, sku, name, rest))
        return product_id

    def _free_product(self) -> int:
        """The lowest id that a removed product has left. Raises CatalogError."""
        gap = "SELECT 0 AS id UNION SELECT id + 1 FROM product"
        query = f"SELECT min(id) FROM ({gap}) WHERE id NOT IN (SELECT id FROM product)"
        product_id = int(self._connection.execute(query).fetchone()[0])
        if product_id >= MAX_PRODUCTS:
            raise CatalogError(f"a bundle holds at most {MAX_PRODUCTS:,} products")
        return product_id

    def products(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(SKU, attributes) of all products by id, the name among the attributes."""
        for sku, name, rest in self._connection.execute("SELECT sku, name, attributes FROM product ORDER BY id"):
            yield sku, {"name": name, **json.loads(rest)}

    def attributes(self, product_id: int) -> dict[str, str]:
        """A product's attributes, its name among them."""
        row = self._connection.execute("SELECT name, attributes FROM product WHERE id = ?", (product_id,)).fetchone()
        return {"name": row[0], **json.loads(row[1])}

    def change_attributes(self, product_id: int, attributes: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Change name and attributes of a product, an empty value takes one away; attribute → (before, after) of what changed."""
        before = self.attributes(product_id)
        changes = {
            key: (before.get(key, ""), value) for key, value in attributes.items() if before.get(key, "") != value
        }
        if changes:
            after = {**before, **{key: value for key, (_, value) in changes.items()}}
            name = after.pop("name")
            rest = {key: value for key, value in sorted(after.items()) if value}
            self._connection.execute(
                "UPDATE product SET name = ?, attributes = ? WHERE id = ?",
                (name, json.dumps(rest, ensure_ascii=False), product_id),
            )
        return changes

    def rename_products(self, skus: Mapping[int, str]) -> None:
        """Give products (by id) new SKUs, which may be those that others of them give up. Raises CatalogError, and then the file is
        not to be used, where a new SKU stays another product's."""
        execute = self._connection.execute
        for product_id in skus:
            execute("UPDATE product SET sku = ? WHERE id = ?", (f"\0{product_id}", product_id))
        for product_id, sku in skus.items():
            if self.product_id(sku) is not None:
                raise CatalogError(f"the new SKU {sku!r} is another product's; expected one that no product has")
            execute("UPDATE product SET sku = ? WHERE id = ?", (sku, product_id))

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
        raise CatalogError(
            f"one photo more than {MAX_PHOTOS:,} arrived for product {self.sku(product_id)!r}; a product holds at most "
            f"{MAX_PHOTOS:,} photos, leave some out"
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

    def pruned_files(self) -> set[tuple[str, bytes]]:
        """(SKU, sha256) of the photos that were pruned, as long as their product has others."""
        if not self._has("pruned_file"):
            return set()
        rows = self._connection.execute(
            "SELECT sku, photo_sha256 FROM pruned_file JOIN product ON product.id = product"
        )
        return {(sku, digest) for sku, digest in rows}

    def product_id(self, sku: str) -> int | None:
        """The id of a SKU, None where there is no such product."""
        for spelt in spellings(sku):
            row = self._connection.execute("SELECT id FROM product WHERE sku = ?", (spelt,)).fetchone()
            if row is not None:
                return int(row[0])
        return None

    def sku(self, product_id: int) -> str:
        """A product's SKU as the catalogue spells it."""
        (sku,) = self._connection.execute("SELECT sku FROM product WHERE id = ?", (product_id,)).fetchone()
        return str(sku)

    def remove_references(self, reference_ids: Collection[int]) -> None:
        """Forget photos."""
        self._connection.executemany("DELETE FROM reference WHERE id = ?", ((i,) for i in reference_ids))
        for table in filter(self._has, ("pruned", "pruned_file")):  # a product's prototype goes with its last reference
            self._connection.executemany(
                f"DELETE FROM {table} WHERE product = ? AND NOT EXISTS (SELECT 1 FROM reference WHERE id >= ? AND id < ?)",
                ((own, own << PHOTO_BITS, (own + 1) << PHOTO_BITS) for own in {i >> PHOTO_BITS for i in reference_ids}),
            )

    def prune_references(self, reference_ids: Collection[int]) -> None:
        """Forget photos that stay part of their products' prototypes, and keep how many those are."""
        counts = Counter(reference_id >> PHOTO_BITS for reference_id in reference_ids)
        if counts:
            self._connection.execute(f"CREATE {_PRUNED_FILES}")
            self._connection.executemany(
                "INSERT INTO pruned_file SELECT id >> ?, photo_sha256 FROM reference WHERE id = ?",
                ((PHOTO_BITS, reference_id) for reference_id in reference_ids),
            )
        self.remove_references(reference_ids)
        if counts:
            self._connection.execute(f"CREATE {_PRUNED}")
            self._connection.executemany("INSERT INTO pruned VALUES (?, ?)", sorted(counts.items()))

    def forget_pruned(self) -> None:
        """All prototypes were made anew, of references alone."""
        self._connection.execute("DROP TABLE IF EXISTS pruned")

    def forget_pruned_of(self, product_id: int) -> None:
        """That of one product was."""
        if self._has("pruned"):
            self._connection.execute("DELETE FROM pruned WHERE product = ?", (product_id,))

    def pruned(self) -> dict[int, int]:
        """Product id → the photos in its prototype that are no references any more."""
        return dict(self._connection.execute("SELECT * FROM pruned")) if self._has("pruned") else {}

    def _has(self, table: str) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone())

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
        attributes.write(self._connection)
        text_search.write(self._connection)
        self._connection.execute("COMMIT")
        self._connection.execute("VACUUM")
        self._connection.close()

    def close(self) -> None:
        """Close without caring for the contents."""
        self._connection.close()


def _drop_unusable_words(path: Path) -> None:
    """Where SQLite has no FTS5, its table could be neither changed nor dropped: go on with a copy of the others."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        if text_search.has_fts5() or not text_search.is_indexed(connection):
            return
        copy = path.with_name(f"{path.name}.plain")  # still a name that the writer sweeps away
        copy.unlink(missing_ok=True)
        connection.execute("ATTACH ? AS copy", (os.fspath(copy),))
        connection.executescript(_SCHEMA.replace("CREATE TABLE ", "CREATE TABLE copy."))
        tables = ["product", "reference"]
        for table, schema in (("pruned", _PRUNED), ("pruned_file", _PRUNED_FILES)):
            if connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", (table,)).fetchone():
                connection.execute(f"CREATE {schema.replace(table, f'copy.{table}')}")
                tables.append(table)
        for table in tables:
            connection.execute(f"INSERT INTO copy.{table} SELECT * FROM main.{table}")
    finally:
        connection.close()
    copy.replace(path)
