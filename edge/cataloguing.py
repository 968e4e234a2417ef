"""Thousands of photos → embeddings: several threads, each with its own interpreter; what was embedded once is kept."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .encoder import Encoder, Vector
from .errors import CatalogError, ImageError, VectorError
from .image import read_photo
from .source import SourcePhoto
from .threads import in_order

_COMMIT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class EmbeddedPhoto:
    """A source photo with its embedding, or with the reason why it has none."""

    photo: SourcePhoto
    sha256: bytes = b""
    vector: Vector | None = None
    problem: str = ""


class EmbeddingCache:
    """Embeddings by photo content, in a SQLite file; of one encoder, card and resizer only.

    Committed every two seconds: an interrupted build repeats at most those.
    """

    def __init__(self, path: Path, encoder: Encoder) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        try:
            self._open(encoder)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise CatalogError(
                f"the embedding cache {path} can't be used ({error}); delete it and build again"
            ) from error
        self._committed = time.monotonic()

    def _open(self, encoder: Encoder) -> None:
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
            "CREATE TABLE IF NOT EXISTS embedding (key BLOB, photo_sha256 BLOB, vector BLOB, PRIMARY KEY (key, photo_sha256));"
        )
        made_by = json.dumps([encoder.card.to_dict(), encoder.resizer], sort_keys=True)
        self._key = hashlib.sha256(made_by.encode()).digest()[:16]
        self._dimension = encoder.card.dimension

    def get(self, photo_sha256: bytes) -> Vector | None:
        """The embedding of a photo's content, None if there is none yet. From any thread."""
        with self._lock:
            row = self._connection.execute(
                "SELECT vector FROM embedding WHERE key = ? AND photo_sha256 = ?", (self._key, photo_sha256)
            ).fetchone()
        if row is None or len(row[0]) != 4 * self._dimension:
            return None
        return np.frombuffer(row[0], "<f4").astype(np.float32)

    def put(self, photo_sha256: bytes, vector: Vector) -> None:
        """Keep an embedding."""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)",
                (self._key, photo_sha256, vector.astype("<f4").tobytes()),
            )
            if time.monotonic() - self._committed > _COMMIT_EVERY_S:
                self._connection.commit()
                self._committed = time.monotonic()

    def close(self) -> None:
        """Commit and close; a file without an embedding goes."""
        with self._lock:
            self._connection.commit()
            empty = self._connection.execute("SELECT 1 FROM embedding LIMIT 1").fetchone() is None
            self._connection.close()
        if empty:
            self._path.unlink(missing_ok=True)


def embed_photos(
    photos: Sequence[SourcePhoto], encoder: Encoder, cache: EmbeddingCache, workers: int
) -> Iterator[EmbeddedPhoto]:
    """Embed photos in order, `workers` at a time. Those that can't be read come with the reason; nothing is raised for them."""

    def one(photo: SourcePhoto) -> EmbeddedPhoto:
        try:
            data = read_photo(photo.path)
            digest = hashlib.sha256(data).digest()
            vector = cache.get(digest)
            if vector is None:
                vector = encoder.embed_timed(data).vector
        except (ImageError, VectorError) as error:
            # The message names the bytes; the report names the photo.
            return EmbeddedPhoto(photo, problem=str(error).replace(str(photo.path), photo.label))
        return EmbeddedPhoto(photo, digest, vector)

    for embedded in in_order(one, photos, workers, ahead=8 * workers):
        if embedded.vector is not None:
            cache.put(embedded.sha256, embedded.vector)
        yield embedded


def synthetic_view(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], seed: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture as a hand-held camera might see it: turned, closer, off centre, in other light, a little blurred.

    Stands in for a second photo of products that have one, in calibration only. (H, W, 3) uint8 in and out.
    """
    from PIL import Image, ImageEnhance, ImageFilter

    random = np.random.default_rng(seed)
    image = Image.fromarray(pixels)
    corner = tuple(int(value) for value in pixels[0, 0])
    image = image.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=corner)
    scale = random.uniform(0.65, 1.15)
    wide, high = image.size
    left = (wide - wide * scale) / 2 + random.uniform(-0.08, 0.08) * wide
    top = (high - high * scale) / 2 + random.uniform(-0.08, 0.08) * high
    image = image.transform(
        image.size,
        Image.Transform.EXTENT,
        (left, top, left + wide * scale, top + high * scale),
        Image.Resampling.BILINEAR,
        fillcolor=corner,
    )
    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.6, 1.3))
    image = ImageEnhance.Color(image).enhance(random.uniform(0.6, 1.3))
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.008) * wide))
    return np.asarray(image)
