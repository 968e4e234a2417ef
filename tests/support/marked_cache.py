"""Embeddings in a build's cache that no photo has: where a bundle has them, they came out of the cache."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shelfmatch.edge.build.embed_photos import LOOK_BYTES, SUM_BYTES, sealed


def mark_embeddings(cache: Path, mark: NDArray[np.float32], photo_sha256: bytes | None = None) -> None:
    """Put `mark` (D,) in the place of each embedding that is kept, or of one photo's."""
    with contextlib.closing(sqlite3.connect(cache)) as connection:
        rows = connection.execute("SELECT key, photo_sha256, views, is_packshot, vectors FROM embedded").fetchall()
        chosen = [row for row in rows if photo_sha256 in (None, row[1])]
        assert chosen, "nothing is kept to be marked"
        for row in chosen:
            look = row[4][-LOOK_BYTES - SUM_BYTES : -SUM_BYTES]  # the photo's own stays
            data = sealed(*row[:4], np.tile(mark.astype("<f4"), 1 + row[2]).tobytes() + look)
            connection.execute("UPDATE embedded SET vectors = ? WHERE key = ? AND photo_sha256 = ?", (data, *row[:2]))
        connection.commit()
