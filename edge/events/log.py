"""The log that every event is written to first, on the device: durable, checked, bounded, and never in the way of the camera.

A log is a folder: `events.sqlite` (SQLite in WAL mode, synced in full), `events.journal` (the same lines once more), `pictures/`,
and a reserve of disk space for the day when the disk is full. Both files are checked when the log is opened. A damaged one is set
aside and made again from the other and from what can still be read of itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

from ..errors import EventError
from ..files import write_atomic
from .entry import Entry
from .event import Event
from .journal import Journal, JournalRead, read_journal, write_journal
from .store import Damaged, Store, salvaged, salvaged_positions

logger = logging.getLogger(__name__)

DEFAULT_KEEP_DAYS: Final = 30.0
DEFAULT_MOST_BYTES: Final = 32 << 20
"""Of the lines of all copies: 300 events a day of 600 bytes fill it in two months."""
_COPIES: Final = 3
"""Database, journal, and the journal's next one while it is written."""
_RESERVE_BYTES: Final = 1 << 20
_MOST_HELD: Final = 10_000
"""Entries that wait in memory for a disk: about 10 MB."""
_PRUNE_EVERY: Final = 256


class EventLog:
    """A log that is open for writing. Safe to share between threads; one process at a time. Use `open`.

    `problems`: what was found damaged when it was opened or since, and what was done about it, one line each.
    """

    def __init__(self, folder: Path, keep_days: float, most_bytes: int, lock_file: BinaryIO) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.dropped = 0
        """Entries that some consumer had not got yet when the log's size made them go, or memory that waited for a disk."""
        self._keep_s = keep_days * 86_400
        self._most_bytes = most_bytes // _COPIES
        self._lock_file = lock_file
        self._changed = threading.Condition(threading.RLock())
        self._held: deque[Entry] = deque()
        self._positions: dict[str, int] = {}
        self._unsaved: set[str] = set()
        """Consumers whose position isn't on the disk yet."""
        self._opening = os.urandom(4).hex()
        self._reserve = folder / "reserve"
        self._load(None)
        self._prune()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        keep_days: float = DEFAULT_KEEP_DAYS,
        most_bytes: int = DEFAULT_MOST_BYTES,
    ) -> Self:
        """Open a log's folder, made where it is missing, for writing. Entries go when they are older than `keep_days` and every
        consumer has them, and in any case when all are larger than `most_bytes`. Raises EventError where the folder can't be used
        or another process writes to it."""
        if not keep_days > 0 or most_bytes < 1 << 20:
            raise EventError(
                f"keep_days {keep_days!r} and most_bytes {most_bytes!r} arrived; expected more than 0 days and 1048576 bytes"
            )
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock_file = (folder / "lock").open("ab")
        except OSError as error:
            raise EventError(
                f"{folder}: {error.strerror}; expected a folder for the log that can be written"
            ) from error
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(folder, keep_days, most_bytes, lock_file)
        except BlockingIOError as error:
            lock_file.close()
            raise EventError(f"{folder} is written to by another process; stop it, or name another folder") from error
        except (OSError, sqlite3.Error) as error:
            lock_file.close()
            raise EventError(f"{folder}: {error}; expected a folder for the log that can be written") from error
        except BaseException:
            lock_file.close()
            raise

    # -- opening and recovery

    def _load(self, why: str | None) -> None:
        """Open both copies and make them equal. `why`: the database is known to be damaged."""
        database, journal_path = self.folder / "events.sqlite", self.folder / "events.journal"
        read = read_journal(journal_path)
        if read.damaged_lines:
            aside = self._set_aside(journal_path)
            self._said(f"{journal_path}: {read.damaged_lines} damaged lines; set aside as {aside.name}")
        spared: list[Entry] = []
        try:
            if why:
                raise Damaged(why)
            self._store = Store(database)
        except Damaged as damage:
            aside = self._set_aside(database)
            self._said(f"{database} is damaged ({damage}); set aside as {aside.name}/{database.name}")
            spared = list(salvaged(aside / database.name))
            for name, sequence in salvaged_positions(aside / database.name).items():
                read.positions[name] = max(sequence, read.positions.get(name, 0))
            self._store = Store(database)
        self._reconcile(read, spared)
        if read.damaged_lines or read.is_torn or not journal_path.exists() or self._journal_lacks(read):
            write_journal(journal_path, self._stored(), self._positions)
        self._journal = Journal(journal_path)
        self._last = max(self._store.bounds()[1], *read.entries, *self._positions.values(), 0)
        self._fill_reserve()

    def _set_aside(self, path: Path) -> Path:
        """Move a damaged file, with what SQLite keeps beside it, to a folder of its own."""
        aside = self.folder / f"damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"
        aside.mkdir(mode=0o700)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).rename(aside / name)
        return aside

    def _reconcile(self, read: JournalRead, spared: list[Entry]) -> None:
        """Give the database what only the other copy, or its damaged predecessor, has."""
        first, last = self._store.bounds()
        present = {entry.sequence for entry in self._stored()}
        wanted = {entry.sequence: entry for entry in spared} | read.entries
        missing = [wanted[number] for number in sorted(wanted) if number >= first and number not in present]
        with self._store.together():
            for entry in missing:
                self._store.insert(entry)
            for name, sequence in read.positions.items():
                self._store.set_position(name, sequence)
        self._positions = self._store.positions()
        if missing:
            self._said(f"{len(missing)} entries came back from the second copy")
        whole = {*present, *wanted}
        gaps = (max(whole) - min(whole) + 1 - len(whole)) if whole else 0
        if gaps and self.problems:
            self._said(f"{gaps} entries are lost: they were damaged in both copies")

    def _journal_lacks(self, read: JournalRead) -> bool:
        return any(entry.sequence not in read.entries for entry in self._stored())

    def _stored(self) -> Iterator[Entry]:
        last = 0
        while entries := self._store.after(last, 500):
            yield from entries
            last = entries[-1].sequence

    def _said(self, problem: str) -> None:
        self.problems.append(problem)
        logger.warning("%s", problem)

    def _recover(self, error: Exception) -> None:
        """The database turned out to be damaged while it was open."""
        self._store.close()
        self._journal.close()
        self._load(str(error))

    # -- writing

    def append(self, event: Event, picture: bytes | None = None) -> Entry:
        """Log an event, durable when this returns: as the outboxes' next entry, with its picture (JPEG) where there is one.

        Saying the same again is safe: an event that equals the last one logged with its id gives that entry. Where the disk is
        full or fails, the entry waits in memory and is written as soon as that works again; `held` counts those. Raises EventError
        for an event that can't follow: its id has ended, or begins twice.
        """
        with self._changed:
            before = self._latest(event.id)
            if before is not None and before.event == event:
                return before
            _check_order(event, before)
            self._last += 1
            name = self._keep_picture(picture)
            entry = Entry(self._last, f"{self._opening}-{self._last}", time.time(), event, name)
            self._held.append(entry)
            if len(self._held) > _MOST_HELD:
                self._held.popleft()
                self.dropped += 1
            self._write_held()
            if not self._last % _PRUNE_EVERY:
                self._prune()
            self._changed.notify_all()
            return entry

    @property
    def held(self) -> int:
        """Entries that wait in memory because the disk is full or fails."""
        return len(self._held)

    def _latest(self, event_id: str) -> Entry | None:
        for entry in reversed(self._held):
            if entry.event.id == event_id:
                return entry
        try:
            return self._store.latest(event_id)
        except (Damaged, sqlite3.Error) as error:
            if isinstance(error, sqlite3.OperationalError):
                return None
            self._recover(error)
            return self._store.latest(event_id)

    def _write_held(self) -> None:
        """Write what waits; where there is no room, with the reserve's."""
        for attempt in range(2):
            try:
                self._write_now()
                return
            except (Damaged, sqlite3.Error, OSError) as error:
                broken = not isinstance(error, sqlite3.OperationalError | OSError)
                if broken and not attempt:
                    self._recover(error)
                elif attempt or not self._free_reserve():
                    if len(self._held) == 1:
                        logger.warning("%s: the event waits in memory: %s", self.folder, error)
                    return

    def _write_now(self) -> None:
        if self._held:
            with self._store.together():
                for entry in self._held:
                    self._store.insert(entry)
            written = list(self._held)
            self._held.clear()
            try:
                self._journal.append(written)
            except OSError as error:  # the database has them; the journal is made equal when there is room
                logger.warning("%s: the second copy lags behind: %s", self.folder, error)
                self._behind = True
                return
        if self._behind:
            self._rewrite_journal()
        for name in list(self._unsaved):
            self._store.set_position(name, self._positions[name])
            self._unsaved.discard(name)

    _behind = False

    def _rewrite_journal(self) -> None:
        self._journal.close()
        try:
            write_journal(self._journal.path, self._stored(), self._positions)
            self._behind = False
        finally:
            self._journal = Journal(self._journal.path)

    def _free_reserve(self) -> bool:
        """Give the disk's last space back; whether there was some."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        logger.warning("%s: the disk is full; the log's reserve of %d bytes is used", self.folder, _RESERVE_BYTES)
        return True

    def _fill_reserve(self) -> None:
        if not self._reserve.exists():
            with contextlib.suppress(OSError):  # no room, no reserve: the entries wait in memory then
                write_atomic(self._reserve, os.urandom(_RESERVE_BYTES))

    def _keep_picture(self, picture: bytes | None) -> str | None:
        if picture is None:
            return None
        name = f"{self._opening}-{self._last}.jpg"
        try:
            (self.folder / "pictures").mkdir(exist_ok=True, mode=0o700)
            write_atomic(self.folder / "pictures" / name, picture)
        except OSError as error:  # an event without its picture is better than none
            logger.warning("%s: a picture wasn't kept: %s", self.folder, error)
            return None
        return name

    def _prune(self) -> None:
        """Let go of what is too old and delivered, and of what is too much."""
        try:
            now = time.time()
            delivered = self._store.needed_from(now - self._keep_s)
            old = self._store.last_before(now - self._keep_s)
            old = old if delivered is None else min(old, delivered)
            much = self._store.oldest_beyond(self._most_bytes)
            if much and delivered is not None and much > delivered:
                count = much - max(delivered, self._store.bounds()[0] - 1)
                self.dropped += count
                self._said(f"{count} entries went undelivered: the log has reached its size")
            if max(old, much) >= self._store.bounds()[0]:
                for name in self._store.delete_up_to(max(old, much)):
                    (self.folder / "pictures" / name).unlink(missing_ok=True)
            if (
                self._journal.size_bytes > self._most_bytes
                or self._journal.size_bytes > (1 << 20) + 2 * self._store.size_bytes()
            ):
                self._rewrite_journal()
            self._fill_reserve()
        except (Damaged, sqlite3.Error, OSError) as error:
            logger.warning("%s: the log wasn't pruned: %s", self.folder, error)

    # -- reading

    def entries(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Up to `limit` entries behind a sequence, in order."""
        with self._changed:
            try:
                found = self._store.after(after, limit)
            except sqlite3.OperationalError as error:
                logger.warning("%s can't be read now: %s", self.folder, error)
                found = []
            except (Damaged, sqlite3.Error) as error:
                self._recover(error)
                found = self._store.after(after, limit)
            return [*found, *(entry for entry in self._held if entry.sequence > after)][:limit]

    def consumer(self, name: str) -> Consumer:
        """The outbox of one consumer. A new one gets what is logged from now on, a known one all it has not got yet."""
        with self._changed:
            if name not in self._positions:
                self._set_position(name, self._last)
            return Consumer(self, name)

    def _set_position(self, name: str, sequence: int, refused: int = 0) -> None:
        with self._changed:
            self._positions[name] = max(sequence, self._positions.get(name, 0))
            try:
                self._store.set_position(name, sequence, refused)
                self._journal.set_position(name, sequence)
            except (sqlite3.Error, OSError) as error:
                self._unsaved.add(name)
                logger.warning("%s: how far %s is waits in memory: %s", self.folder, name, error)

    def close(self) -> None:
        """Write what waits and close. Safe to call twice."""
        with self._changed:
            if self._lock_file.closed:
                return
            self._write_held()
            self._journal.close()
            self._store.close()
            self._lock_file.close()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Consumer:
    """One consumer's outbox: what it has not got yet, in order. Each entry is offered until `done` says that it arrived, also
    after a restart; `message_id` is the same each time, so that the receiver can drop what it has."""

    def __init__(self, log: EventLog, name: str) -> None:
        self._log = log
        self.name = name

    @property
    def position(self) -> int:
        """The last sequence that arrived."""
        return self._log._positions[self.name]

    def pending(self, limit: int = 100, after: int | None = None) -> list[Entry]:
        """Up to `limit` entries that have not arrived yet, or those behind `after`."""
        return self._log.entries(self.position if after is None else after, limit)

    def done(self, entry: Entry, *, refused: bool = False) -> None:
        """All up to this entry arrived. `refused`: the receiver turned it down for good."""
        self._log._set_position(self.name, entry.sequence, int(refused))

    def wait(self, timeout_s: float, after: int | None = None) -> bool:
        """Wait until there is an entry behind `after`, or the position; whether there is one."""
        log = self._log
        with log._changed:
            return log._changed.wait_for(lambda: log._last > (self.position if after is None else after), timeout_s)


def _check_order(event: Event, before: Entry | None) -> None:
    """An event begins once, and is over when it has ended."""
    if before is not None and before.event.type == "end":
        raise EventError(f"event {event.id!r} has ended, and {event.type!r} arrived; expected a new id")
    if before is not None and event.type == "new":
        raise EventError(f"event {event.id!r} has begun, and 'new' arrived; expected 'update' or 'end'")
