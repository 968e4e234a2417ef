"""What an encoder's file made of an input is kept, so that a photo that many shops are asked for runs through it once.

Used by `right_answers.py`. The same bits come back: decoding, resizing, search, local matching and decision run each time, and
only the network's own arithmetic, half of the time that shops cost, is saved. Not for timings.
"""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def remembered(file: Path) -> Iterator[None]:
    """In the block, every `Encoder` of this process looks into the SQLite `file` before it runs, and keeps there what it made."""
    from shelfmatch.edge import Encoder

    run: Any = Encoder._run
    # Each row is committed by itself: another program may use the same file.
    connection = sqlite3.connect(file, timeout=60, check_same_thread=False, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE IF NOT EXISTS made (key BLOB PRIMARY KEY, value BLOB)"
    )
    lock = threading.Lock()

    def looked_up(self: Any, value: Any, *, check: bool) -> Any:
        of_head = b"" if self.local is None else self.local.digest
        about = f"{self.card.sha256} {self.card.output_name} {self.runtime} {value.dtype} {value.shape}".encode()
        key = hashlib.sha256(about + of_head + value.tobytes()).digest()
        with lock:
            row = connection.execute("SELECT value FROM made WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return pickle.loads(row[0])
        found = run(self, value, check=check)  # what raises VectorError isn't kept
        with lock:
            connection.execute("INSERT OR REPLACE INTO made VALUES (?, ?)", (key, pickle.dumps(found)))
        return found

    Encoder._run = looked_up  # type: ignore[method-assign]
    try:
        yield
    finally:
        Encoder._run = run  # type: ignore[method-assign]
        connection.close()
