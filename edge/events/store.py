"""The log's SQLite file: entries and how far each consumer is. One connection; whoever shares it holds a lock."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ..errors import EventError
from .entry import Entry

FORMAT_VERSION: Final = 1
_APPLICATION_ID: Final = 0x534D4556
"""SQLite's mark of whose file this is ("SMEV")."""
_LOCK_WAIT_S: Final = 30.0
"""So long another program may hold the file."""
_WAL_PAGES: Final = 128
"""Half a megabyte, after which SQLite moves what it has written ahead into the database (its default is 4 MB)."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY, event_id TEXT NOT NULL, logged_time REAL NOT NULL, line BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_of_an_event ON entries (event_id, sequence);
CREATE TABLE IF NOT EXISTS consumers (
    name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, seen REAL NOT NULL, refused INTEGER NOT NULL DEFAULT 0
);
"""


class Damaged(Exception):
    """The file isn't what was written; its message says what is wrong."""


class Store:
    """Raises Damaged for a file that is no log or fails SQLite's check or our checksums, sqlite3.Error for other trouble, and
    EventError for a log of another format version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_LOCK_WAIT_S)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self.close()
            if is_full(error) or is_refused(error):
                raise
            raise Damaged(str(error)) from error
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        found, version = run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0]
        if found not in (0, _APPLICATION_ID):
            raise Damaged(f"application_id is {found:#x}, expected {_APPLICATION_ID:#x}")
        if found and version != FORMAT_VERSION:
            raise EventError(
                f"{self.path} has format version {version}; expected {FORMAT_VERSION}: use the shelfmatch that wrote it, or "
                "begin a log in another folder"
            )
        run("PRAGMA auto_vacuum = INCREMENTAL")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        checked = [row[0] for row in run("PRAGMA quick_check(1)")]
        if checked != ["ok"]:
            raise Damaged(" ".join(checked[0].split()))
        self._connection.executescript(_SCHEMA)
        run(f"PRAGMA application_id = {_APPLICATION_ID}")
        run(f"PRAGMA user_version = {FORMAT_VERSION}")
        for sequence, line in run("SELECT sequence, line FROM entries ORDER BY sequence"):
            entry = Entry.from_line(line)
            if entry is None or entry.sequence != sequence:
                raise Damaged(f"entry {sequence} differs from what was written")

    def insert(self, entry: Entry) -> None:
        """Durable when this returns. What is there already stays."""
        self._connection.execute(
            "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)",
            (entry.sequence, entry.event.id, entry.logged_time, entry.to_line()),
        )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """One transaction around what is done inside."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def after(self, sequence: int, limit: int) -> list[Entry]:
        """Up to `limit` entries behind `sequence`, in order. Raises Damaged."""
        rows = self._connection.execute(
            "SELECT sequence, line FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, limit)
        )
        return [_checked(*row) for row in rows]

    def latest(self, event_id: str) -> Entry | None:
        """The last entry of an event. Raises Damaged."""
        row = self._connection.execute(
            "SELECT sequence, line FROM entries WHERE event_id = ? ORDER BY sequence DESC LIMIT 1", (event_id,)
        ).fetchone()
        return None if row is None else _checked(*row)

    def bounds(self) -> tuple[int, int]:
        """The first and the last sequence; 1 and 0 where there is none."""
        first, last = self._connection.execute("SELECT min(sequence), max(sequence) FROM entries").fetchone()
        return (1, 0) if first is None else (first, last)

    def size_bytes(self) -> int:
        """Of all lines."""
        return int(self._connection.execute("SELECT total(length(line)) FROM entries").fetchone()[0])

    def oldest_beyond(self, size_bytes: int) -> int:
        """The sequence up to which entries must go so that the rest has `size_bytes` at most; 0 where all may stay."""
        row = self._connection.execute(
            "SELECT max(sequence) FROM (SELECT sequence, sum(length(line)) OVER (ORDER BY sequence DESC) AS size FROM entries) "
            "WHERE size > ?",
            (size_bytes,),
        ).fetchone()
        return int(row[0] or 0)

    def last_before(self, time_s: float, up_to: int, earlier_s: float) -> int:
        """The highest sequence such that it and all before it were logged before a time, those up to `up_to` before one that is
        `earlier_s` earlier; 0 where there is none."""
        row = self._connection.execute(
            "SELECT min(sequence) FROM entries WHERE logged_time >= CASE WHEN sequence > ?2 THEN ?1 ELSE ?1 - ?3 END",
            (time_s, up_to, earlier_s),
        ).fetchone()
        return self.bounds()[1] if row[0] is None else int(row[0]) - 1

    def move_times(self, seconds: float, after: int) -> None:
        """By a clock that was set, the entries behind `after` were logged so much later. Their lines stay as they were written, and
        so do their times where the file is made again from lines."""
        self._connection.execute(
            "UPDATE entries SET logged_time = logged_time + ? WHERE sequence > ?", (seconds, after)
        )

    def delete_up_to(self, sequence: int) -> list[str]:
        """Delete entries up to a sequence, and give their pictures' names."""
        rows = self._connection.execute("SELECT line FROM entries WHERE sequence <= ?", (sequence,)).fetchall()
        self._connection.execute("DELETE FROM entries WHERE sequence <= ?", (sequence,))
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()
        entries = (Entry.from_line(row[0]) for row in rows)
        return [entry.picture for entry in entries if entry is not None and entry.picture]

    def positions(self) -> dict[str, int]:
        """Each consumer's last sequence."""
        return dict(self._connection.execute("SELECT name, sequence FROM consumers").fetchall())

    def set_position(self, name: str, sequence: int, seen: float, refused: int = 0) -> None:
        """A consumer has everything up to `sequence`; `seen`: when; `refused` more were turned down."""
        self._connection.execute(
            "INSERT INTO consumers VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET "
            "sequence = max(sequence, excluded.sequence), seen = max(seen, excluded.seen), refused = refused + excluded.refused",
            (name, sequence, seen, refused),
        )

    def needed_from(self, names: Iterable[str], seen_since: float) -> int | None:
        """The lowest position of these consumers and of those seen since a time, None where there is none."""
        rows = self._connection.execute("SELECT name, sequence, seen FROM consumers").fetchall()
        wanted = set(names)
        return min((sequence for name, sequence, seen in rows if name in wanted or seen >= seen_since), default=None)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()


def _checked(sequence: int, line: bytes) -> Entry:
    entry = Entry.from_line(line)
    if entry is None or entry.sequence != sequence:
        raise Damaged(f"entry {sequence} differs from what was written")
    return entry


def is_full(error: BaseException) -> bool:
    """Whether there is no room: a disk or a quota (SQLite calls both full)."""
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


def is_refused(error: BaseException) -> bool:
    """Whether the file may be well, and can't be had: another program holds it, or it belongs to somebody else."""
    return is_locked(error) or _primary(error) in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    )


def is_locked(error: BaseException) -> bool:
    """Whether another program holds the file."""
    return _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary(error: BaseException) -> int:
    """SQLite's result code, without what its extended ones add (the low byte; sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def salvaged(path: Path) -> Iterator[Entry]:
    """The entries of a damaged file that can still be read and are as they were written."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for query in ("SELECT line FROM entries", "SELECT line FROM entries ORDER BY sequence DESC"):
            with contextlib.suppress(
                sqlite3.Error
            ):  # the first page that can't be read ends a scan: once from each side
                for (line,) in connection.execute(query):
                    entry = Entry.from_line(line) if isinstance(line, bytes) else None
                    if entry is not None:
                        yield entry


def is_sound(path: Path) -> bool:
    """Whether a file is a log's database that can be read; nothing is changed."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        return bool(connection.execute("SELECT count(*) FROM entries").fetchone())
    return False


def salvaged_positions(path: Path) -> dict[str, int]:
    """Each consumer's last sequence in a damaged file, as far as it can be read."""
    found: dict[str, int] = {}
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        for name, sequence in connection.execute("SELECT name, sequence FROM consumers"):
            if isinstance(name, str) and isinstance(sequence, int):
                found |= {name: sequence}
    return found
