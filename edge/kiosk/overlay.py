"""What staff taught, in one SQLite file of its own: a new bundle from headquarters doesn't erase it.

The file holds changes, not products: attributes that staff gave, SKUs they removed, and the embeddings of their photos.
What a kiosk answers from is a bundle and these changes over it (`compose`). Photos themselves are kept only where people in them
were blurred (`pictures`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..build.embed_photos import Embedded
from ..errors import KioskError

logger = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS product (
  number INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL, removed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS photo (
  number INTEGER PRIMARY KEY, sku TEXT NOT NULL, sha256 BLOB NOT NULL, taken REAL NOT NULL, picture BLOB, UNIQUE (sku, sha256));
CREATE TABLE IF NOT EXISTS embedding (
  photo INTEGER NOT NULL, encoder BLOB NOT NULL, views INTEGER NOT NULL, is_packshot INTEGER NOT NULL, vectors BLOB NOT NULL,
  cells BLOB, PRIMARY KEY (photo, encoder)) WITHOUT ROWID;
"""
MOST_PHOTOS: Final = 60
"""Of one product; three more teach the search nothing by then."""


@dataclass(frozen=True, slots=True)
class TaughtPhoto:
    """A photo that staff took: its number, sha256 of the file, and its embeddings by encoder key; `picture`: a small JPEG of it
    without people, None where none could be kept."""

    number: int
    sha256: bytes
    embedded: Mapping[bytes, Embedded]
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class Taught:
    """What staff changed of one product: attributes over those of the bundle ("" takes one away), or that it is gone; and
    their photos."""

    sku: str
    attributes: Mapping[str, str]
    is_removed: bool
    photos: tuple[TaughtPhoto, ...]


class Overlay:
    """The changes of one kiosk. One writer at a time, inside `changing`; readers at any time, from any thread.

    A damaged file is set aside under another name and logged, and an empty one begun: the kiosk goes on with its bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._reading = threading.RLock(), threading.Lock()
        self.was_damaged = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._opened()
            self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        except (OSError, sqlite3.OperationalError) as error:
            raise KioskError(
                f"{path} can't be used: {error}; expected a folder that this user may write to (staff.folder)"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._reading:
            self._reader.close()
            self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connected(self.path)
        except sqlite3.OperationalError:  # locked, or no room: the file may be as good as ever
            raise
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
            logger.error("%s is damaged (%s); set aside as %s, what staff taught is not shown", self.path, error, aside)
            self.was_damaged = True
            for ending in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").replace(f"{aside}{ending}")
            self.path.replace(aside)
            return _connected(self.path)

    @property
    def mark(self) -> str:
        """Another text after each change: what was composed of one isn't used for the next."""
        with self._lock:
            return str(self._connection.execute("SELECT mark FROM meta").fetchone()[0])

    @property
    def is_empty(self) -> bool:
        """Whether staff changed nothing."""
        with self._lock:
            return self._connection.execute("SELECT 1 FROM product LIMIT 1").fetchone() is None

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Changes inside are one: all of them are on the disk when this is left, or none where it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute("UPDATE meta SET mark = ?", (os.urandom(8).hex(),))
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def put_product(self, sku: str, attributes: Mapping[str, str]) -> None:
        """Attributes over those that are there; a product that was removed is back."""
        row = self._connection.execute("SELECT attributes, removed FROM product WHERE sku = ?", (sku,)).fetchone()
        before = {} if row is None or row[1] else json.loads(row[0])
        merged = json.dumps({**before, **attributes}, ensure_ascii=False, sort_keys=True)
        self._connection.execute(
            "INSERT INTO product (sku, attributes, removed) VALUES (?, ?, 0) "
            "ON CONFLICT (sku) DO UPDATE SET attributes = excluded.attributes, removed = 0",
            (sku, merged),
        )

    def remove_product(self, sku: str, *, in_bundle: bool) -> None:
        """Forget what staff taught of a product; one of the bundle is hidden until staff teach it again."""
        self._forget_photos("sku = ?", sku)
        self._connection.execute("DELETE FROM product WHERE sku = ?", (sku,))
        if in_bundle:
            self._connection.execute("INSERT INTO product (sku, attributes, removed) VALUES (?, '{}', 1)", (sku,))

    def add_photo(
        self, sku: str, sha256: bytes, embedded: Mapping[bytes, Embedded], picture: bytes | None = None
    ) -> int:
        """A photo of a product; its number, that of the one there is if it is the same file."""
        row = self._connection.execute(
            "SELECT number FROM photo WHERE sku = ? AND sha256 = ?", (sku, sha256)
        ).fetchone()
        number = None if row is None else int(row[0])
        if number is None:
            cursor = self._connection.execute(
                "INSERT INTO photo (sku, sha256, taken, picture) VALUES (?, ?, ?, ?)",
                (sku, sha256, time.time(), picture),
            )
            number = int(cursor.lastrowid or 0)
        for key, one in embedded.items():
            self.add_embedding(number, key, one)
        return number

    def add_embedding(self, number: int, key: bytes, one: Embedded) -> None:
        """A photo's embeddings by one encoder."""
        vectors = np.concatenate([one.vector[np.newaxis], one.views]).astype("<f4").tobytes()
        cells = None if one.cells is None else np.ascontiguousarray(one.cells).tobytes()
        self._connection.execute(
            "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?, ?, ?)",
            (number, key, len(one.views), int(one.is_packshot), vectors, cells),
        )

    def remove_photo(self, sku: str, number: int) -> bytes | None:
        """Forget one photo; the sha256 of its file, None where there was none."""
        row = self._connection.execute(
            "SELECT sha256 FROM photo WHERE sku = ? AND number = ?", (sku, number)
        ).fetchone()
        self._forget_photos("sku = ? AND number = ?", sku, number)
        return None if row is None else bytes(row[0])

    def _forget_photos(self, condition: str, *values: str | int) -> None:
        self._connection.execute(
            f"DELETE FROM embedding WHERE photo IN (SELECT number FROM photo WHERE {condition})", values
        )
        self._connection.execute(f"DELETE FROM photo WHERE {condition}", values)

    def photo_count(self, sku: str) -> int:
        """How many photos staff took of a product."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM photo WHERE sku = ?", (sku,)).fetchone()[0])

    def picture(self, sku: str) -> bytes | None:
        """The oldest picture that could be kept of a product, as JPEG: mostly its front."""
        with self._reading:  # not of the connection that a change may hold for seconds
            row = self._reader.execute(
                "SELECT picture FROM photo WHERE sku = ? AND picture IS NOT NULL ORDER BY number LIMIT 1", (sku,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def taught(self) -> list[Taught]:
        """All changes, in the order in which they were first made."""
        with self._lock:
            products = self._connection.execute(
                "SELECT sku, attributes, removed FROM product ORDER BY number"
            ).fetchall()
            return [Taught(row[0], json.loads(row[1]), bool(row[2]), self._photos(row[0])) for row in products]

    def _photos(self, sku: str) -> tuple[TaughtPhoto, ...]:
        rows = self._connection.execute(
            "SELECT number, sha256, picture FROM photo WHERE sku = ? ORDER BY number", (sku,)
        ).fetchall()
        return tuple(TaughtPhoto(row[0], bytes(row[1]), self._embedded(row[0]), row[2]) for row in rows)

    def _embedded(self, number: int) -> dict[bytes, Embedded]:
        rows: Sequence[tuple[bytes, int, int, bytes, bytes | None]] = self._connection.execute(
            "SELECT encoder, views, is_packshot, vectors, cells FROM embedding WHERE photo = ?", (number,)
        ).fetchall()
        return {
            bytes(key): _embedded_of(views, bool(shot), vectors, cells) for key, views, shot, vectors, cells in rows
        }


def _embedded_of(views: int, is_packshot: bool, vectors: bytes, cells: bytes | None) -> Embedded:
    rows: NDArray[np.float32] = np.frombuffer(vectors, "<f4").astype(np.float32).reshape(1 + views, -1)
    described = None if cells is None else np.frombuffer(cells, np.uint8).reshape(1 + views, -1)
    return Embedded(rows[0], rows[1:], is_packshot, described)


def _connected(path: Path) -> sqlite3.Connection:
    """Open, and check every page: a power cut may have left one that SQLite would read without a word."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        # FULL: what was acknowledged is on the disk (https://www.sqlite.org/pragma.html#pragma_synchronous).
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        connection.executescript(_SCHEMA)
        if connection.execute("SELECT 1 FROM meta").fetchone() is None:
            connection.execute("INSERT INTO meta VALUES (?)", (os.urandom(8).hex(),))
    except BaseException:
        connection.close()
        raise
    return connection
