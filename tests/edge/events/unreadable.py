"""A log whose entries can't be read for a while, as on a disk that fails, and how often somebody tries to."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from shelfmatch.edge.events.log import EventLog


@contextlib.contextmanager
def unreadable(log: EventLog) -> Iterator[list[str]]:
    """Within the block each query for entries fails; the list grows with each that is tried."""
    tried: list[str] = []

    def note(*about: object) -> int:
        tried.append(str(about))
        return sqlite3.SQLITE_OK

    connection = log._copies._store._connection
    with contextlib.closing(sqlite3.connect(log.folder / "events.sqlite", isolation_level=None)) as other:
        other.execute("ALTER TABLE entries RENAME TO away")
        # A query that can't be prepared isn't traced, but what it would read is asked for first.
        connection.set_authorizer(note)
        yield tried
        connection.set_authorizer(None)
        other.execute("ALTER TABLE away RENAME TO entries")
