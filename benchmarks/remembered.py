"""What a network's file made of an input is kept, so that a photo that many shops are asked for runs through it once.

Used by `right_answers.py`. The same bits come back: decoding, resizing, search, local matching and decision run each time, and
only the encoder's and the detector's own arithmetic, most of the time that shops cost, is saved. Not for timings.
"""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Kept:
    """Results by a hash of what they were made of, in a SQLite file. Safe to share between threads and programs."""

    def __init__(self, file: Path) -> None:
        # Each row is committed by itself: another program may use the same file.
        self._connection = sqlite3.connect(file, timeout=60, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
            "CREATE TABLE IF NOT EXISTS made (key BLOB PRIMARY KEY, value BLOB)"
        )

    def get(self, about: str, value: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives for `value`, an array; what it raises isn't kept."""
        key = hashlib.sha256(f"{about} {value.dtype} {value.shape}".encode() + value.tobytes()).digest()
        with self._lock:
            row = self._connection.execute("SELECT value FROM made WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return pickle.loads(row[0])
        found = make()
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO made VALUES (?, ?)", (key, pickle.dumps(found)))
        return found

    def close(self) -> None:
        """No more of it."""
        self._connection.close()


@contextmanager
def remembered(file: Path) -> Iterator[None]:
    """In the block, every `Encoder` and `Detector` of this process looks into the SQLite `file` before it runs, and keeps there
    what it made."""
    from shelfmatch.edge import Detector, Encoder

    kept, encode, detect = Kept(file), Encoder._run, Detector._run

    def encoded(self: Any, value: Any, *, check: bool) -> Any:
        head = "" if self.local is None else self.local.digest.hex()
        about = f"{self.card.sha256} {self.card.output_name} {self.runtime} {head}"
        return kept.get(about, value, lambda: encode(self, value, check=check))

    def detected(self: Any, value: Any) -> Any:
        return kept.get(f"{self.card.sha256} detector", value, lambda: detect(self, value))

    Encoder._run, Detector._run = encoded, detected  # type: ignore[method-assign]
    try:
        yield
    finally:
        Encoder._run, Detector._run = encode, detect  # type: ignore[method-assign]
        kept.close()
