"""Thousands of photos → embeddings: several threads, each with its own interpreter; what was embedded once is kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..catalog.listing import SourcePhoto
from ..encoders.encoder import Encoder, Vector
from ..errors import CatalogError, ImageError, VectorError
from ..forking import at_rest
from ..imaging.decode import decode, read_photo
from ..imaging.fingerprint import FINGERPRINT_BYTES, Fault, Look, look_of
from ..imaging.image import DEFAULT_LIMITS, Limits, source_name
from ..imaging.resize import fit
from ..imaging.views import packshot_mask, views_of
from ..scoring.local import described
from ..threads import in_order
from .cut_photos import PhotoCutter

_COMMIT_EVERY_S = 2.0
SUM_BYTES = 4
LOOK_BYTES = 1 + FINGERPRINT_BYTES
_FAULTS: Final[tuple[Fault | None, ...]] = (None, "dark", "blank")
_NO_LOOK = 255


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embeddings of one picture: the photo's own (D,), and (V, D) of synthetic views of it. `is_packshot`: a product cut out on
    a plain background. `cells`: (1 + V, bytes) of the photo and its views, where the encoder has a local head.
    `look`: what the photo looks like."""

    vector: Vector
    views: Vector
    is_packshot: bool
    cells: NDArray[np.uint8] | None = None
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedPhoto:
    """A source photo with its embeddings, or with the reason why it has none; `look`: None where it has
    none; `is_cut`: whether only its product's part was embedded."""

    photo: SourcePhoto
    sha256: bytes = b""
    embedded: Embedded | None = None
    problem: str = ""
    look: Look | None = None
    is_cut: bool = False


class EmbeddingCache:
    """Embeddings by photo content, in a SQLite file; of one encoder, card and resizer only.

    Committed every two seconds: an interrupted build repeats at most those.
    """

    def __init__(self, path: Path, encoder: Encoder) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_full = self._is_damaged = False
        self._key = _key_of(encoder)
        self._dimension = encoder.card.dimension
        local = encoder.local
        self._cell_bytes = 0 if local is None else local.card.cells * (local.card.cell_numbers + 2)
        try:
            self._connection = _opened(path)
        except sqlite3.DatabaseError:
            # A full disk or a kill has left it so. It saves work and holds nothing else: begin another.
            _remove(path)
            try:
                self._connection = _opened(path)
            except sqlite3.DatabaseError as error:
                raise CatalogError(
                    f"the embedding cache {path} can't be written ({error}); make room on the disk, or delete it"
                ) from error
        self._committed = time.monotonic()

    def get(self, photo_sha256: bytes, views: int) -> Embedded | None:
        """The embeddings of a photo's content with at least so many views, None if there are none yet. From any thread."""
        row = None
        with self._lock, at_rest, self._until_full():
            row = self._connection.execute(
                "SELECT views, is_packshot, vectors FROM embedded WHERE key = ? AND photo_sha256 = ? AND views >= ?",
                (self._key, photo_sha256, views),
            ).fetchone()
        if row is None:
            return None
        data = row[2][:-SUM_BYTES] if isinstance(row[2], bytes) else b""
        is_whole = row[2] == sealed(self._key, photo_sha256, row[0], row[1], data)
        if not is_whole or len(data) != (4 * self._dimension + self._cell_bytes) * (1 + row[0]) + LOOK_BYTES:
            self._is_full = self._is_damaged = True
            return None
        numbers = self._dimension * (1 + row[0])
        rows = np.frombuffer(data, "<f4", numbers).astype(np.float32).reshape(-1, self._dimension)
        cells = None
        if self._cell_bytes:
            cells = np.frombuffer(data, np.uint8, offset=4 * numbers, count=len(data) - LOOK_BYTES - 4 * numbers)
            cells = cells.reshape(-1, self._cell_bytes)[: 1 + views]
        return Embedded(rows[0], rows[1 : 1 + views], bool(row[1]), cells, _look_in(data[-LOOK_BYTES:]))

    def put(self, photo_sha256: bytes, embedded: Embedded) -> None:
        """Keep embeddings."""
        if self._is_full:
            return
        rows = np.concatenate([embedded.vector[np.newaxis], embedded.views]).astype("<f4")
        cells = b"" if embedded.cells is None else embedded.cells.tobytes()
        views, is_packshot = len(embedded.views), int(embedded.is_packshot)
        data = sealed(self._key, photo_sha256, views, is_packshot, rows.tobytes() + cells + _bytes_of(embedded.look))
        with self._lock, at_rest, self._until_full():
            self._connection.execute(
                "INSERT OR REPLACE INTO embedded VALUES (?, ?, ?, ?, ?)",
                (self._key, photo_sha256, views, is_packshot, data),
            )
            if time.monotonic() - self._committed > _COMMIT_EVERY_S:
                self._connection.commit()
                self._committed = time.monotonic()

    def close(self) -> None:
        """Commit and close; a file without an embedding goes."""
        empty = False
        with self._lock, at_rest:
            with self._until_full():
                self._connection.commit()
                empty = self._connection.execute("SELECT 1 FROM embedded LIMIT 1").fetchone() is None
            with self._until_full():
                self._connection.close()
        if empty or self._is_damaged:
            _remove(self._path)

    @contextlib.contextmanager
    def _until_full(self) -> Iterator[None]:
        """A disk without room ends the keeping, not the build: whether that has room is for its own files to find out. So does a
        file in which a worn card has lost pages; the next build begins another."""
        try:
            yield
        except sqlite3.OperationalError:
            self._is_full = True
        except sqlite3.DatabaseError:
            self._is_full = self._is_damaged = True


def _key_of(encoder: Encoder) -> bytes:
    made_by = json.dumps([encoder.card.to_dict(), encoder.resizer], sort_keys=True)
    local = encoder.local
    # What an earlier version has left there lacks the looks; it isn't asked for.
    return hashlib.sha256(b"with looks" + made_by.encode() + (b"" if local is None else local.digest)).digest()[:16]


def sealed(key: bytes, photo_sha256: bytes, views: int, is_packshot: int, data: bytes) -> bytes:
    """A row's numbers with a sum of all of it behind them. SQLite has none: of a long row's later pages it sees only that there are
    so many, and a page that a card didn't write holds another row."""
    whose = key + photo_sha256 + f"{views} {is_packshot}".encode()
    return data + zlib.crc32(data, zlib.crc32(whose)).to_bytes(SUM_BYTES, "little")


def _bytes_of(look: Look | None) -> bytes:
    """A look as a row keeps it: a build that goes on reports the dark and blank photos that it had embedded before."""
    return (
        bytes([_NO_LOOK]) + bytes(FINGERPRINT_BYTES)
        if look is None
        else bytes([_FAULTS.index(look.fault)]) + look.fingerprint
    )


def _look_in(data: bytes) -> Look | None:
    return None if data[0] == _NO_LOOK else Look(data[1:], _FAULTS[data[0]])


def _remove(path: Path) -> None:
    """A database and what SQLite keeps beside it, as far as that can be."""
    with contextlib.suppress(OSError):
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
            "CREATE TABLE IF NOT EXISTS embedded (key BLOB, photo_sha256 BLOB, views INTEGER, is_packshot INTEGER, "
            "vectors BLOB, PRIMARY KEY (key, photo_sha256));"
        )
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def embed_photos(
    photos: Sequence[SourcePhoto],
    encoder: Encoder,
    cache: EmbeddingCache,
    workers: int,
    views: int = 0,
    every: int = 1,
    cutter: PhotoCutter | None = None,
) -> Iterator[EmbeddedPhoto]:
    """Embed photos in order, `workers` at a time, each `every`-th with so many views. Those that can't be read come with the
    reason; nothing is raised for them. `cutter`: what cuts them to their product before."""

    def one(numbered: tuple[int, SourcePhoto]) -> tuple[EmbeddedPhoto, bytes | None]:
        number, photo = numbered
        wanted = 0 if number % every else views
        data, is_cut = b"", False
        try:
            data = read_photo(photo.path)
            digest = hashlib.sha256(data).digest()
            key = digest
            if cutter is not None and (part := cutter.cut(data)) is not None:
                data, is_cut = part.data, True
                key = hashlib.sha256(digest + cutter.key + repr(part.box).encode()).digest()
            kept = cache.get(key, wanted)
            embedded = embed_photo(data, encoder, wanted)[0] if kept is None else kept
        except (ImageError, VectorError) as error:
            # The message names the bytes or the path; the report names the photo.
            message = str(error).replace(source_name(data), photo.label)
            return EmbeddedPhoto(photo, problem=message.replace(str(photo.path), photo.label)), None
        return EmbeddedPhoto(photo, digest, embedded, look=embedded.look, is_cut=is_cut), key if kept is None else None

    for done, key in in_order(one, enumerate(photos), workers, ahead=8 * workers):
        if done.embedded is not None and key is not None:
            cache.put(key, done.embedded)
        yield done


def embed_photo(data: bytes, encoder: Encoder, views: int, limits: Limits = DEFAULT_LIMITS) -> tuple[Embedded, Look]:
    """One photo's bytes, with so many synthetic views, and what it looks like. Raises ImageError, VectorError."""
    card = encoder.card
    pixels = fit(decode(data, card, limits), card, encoder.resizer)
    vector, tap = encoder.embed_with_tap(pixels)
    mask = packshot_mask(pixels)
    rows = np.empty((views, card.dimension), np.float32)
    taps = [tap]
    for number, view in enumerate(views_of(pixels, mask, views)):
        try:
            rows[number], tap = encoder.embed_with_tap(view)
        except VectorError:  # a view may show what says nothing, where the photo did say something
            rows[number], tap = vector, taps[0]
        taps.append(tap)
    head = encoder.local
    cells = None if head is None else np.stack([described(head.cells(one)) for one in taps if one is not None])
    look = look_of(pixels)
    return Embedded(vector, rows, mask is not None, cells, look), look
