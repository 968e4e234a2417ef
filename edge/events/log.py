"""The log that every event is written to first, on the device: durable, checked, bounded, and never in the way of the camera.

A log is a folder: `events.sqlite` (SQLite in WAL mode, synced in full), `events.journal` (the same lines once more), `pictures/`,
and a reserve of disk space for the day when the disk is full. Both files are checked when the log is opened. A damaged one is set
aside and made again from the other and from what can still be read of itself.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Self

from ..errors import EventError
from ..files import write_atomic
from .copies import DATABASE, PICTURES, Copies
from .entry import Entry
from .event import Event
from .store import Damaged, is_locked

logger = logging.getLogger(__name__)

DEFAULT_KEEP_DAYS: Final = 30.0
DEFAULT_MOST_BYTES: Final = 24 << 20
"""Of all files but pictures: 300 events a day of 700 bytes fill it in 40 days."""
_LEAST_BYTES: Final = 1 << 20
_MOST_HELD: Final = 10_000
"""Entries that wait in memory for a disk: about 20 MB."""
_PRUNE_EVERY: Final = 256
_PRUNE_PARTS: Final = 24
"""Of the largest size: it is pruned whenever so much of it was added."""
_PRUNE_AFTER_S: Final = 3600.0
_TRY_EVERY_S: Final = 5.0
"""To write what waits, whenever somebody asks for entries."""


class EventLog:
    """A log that is open for writing. Safe to share between threads; one process at a time. Use `open`.

    `dropped`: entries that some consumer had not got when the log's size, or that of what waits in memory, made them go.
    """

    def __init__(self, folder: Path, keep_days: float, most_bytes: int, lock_file: BinaryIO) -> None:
        self.folder = folder
        self.dropped = 0
        self._keep_s = keep_days * 86_400
        self._most_bytes = most_bytes
        self._lock_file = lock_file
        self._changed = threading.Condition(threading.RLock())
        self._held: deque[Entry] = deque()
        self._opening = os.urandom(4).hex()
        self._copies = Copies(folder)
        self._last = self._copies.last
        self._consumers: set[str] = set()
        try:
            self._copies.sweep_pictures(self._keep_s)
        except (Damaged, sqlite3.Error, OSError) as error:
            logger.warning("%s: pictures that belong to no entry weren't deleted: %s", folder, error)
        self._pruned = self._tried = time.monotonic()
        self._grown = 0

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        keep_days: float = DEFAULT_KEEP_DAYS,
        most_bytes: int = DEFAULT_MOST_BYTES,
    ) -> Self:
        """Open a log's folder, made where it is missing, for writing. Entries go when they are older than `keep_days` and every
        consumer has them, and in any case when the files would be larger than `most_bytes`. Raises EventError where the folder
        can't be used or another process writes to it."""
        if not keep_days > 0 or most_bytes < _LEAST_BYTES:
            raise EventError(
                f"keep_days {keep_days!r} and most_bytes {most_bytes!r} arrived; expected more than 0 days, {_LEAST_BYTES} bytes"
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
        except BaseException as error:
            lock_file.close()
            if isinstance(error, BlockingIOError):
                raise EventError(
                    f"{folder} is written to by another process; stop it, or name another folder"
                ) from error
            if is_locked(error):
                raise EventError(
                    f"{folder}: another program holds {DATABASE} ({error}); end it, or name another folder"
                ) from error
            if isinstance(error, OSError | sqlite3.Error):
                raise EventError(f"{folder}: {error}; expected a folder for the log that can be written") from error
            raise

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found damaged when the log was opened or since, and what was done about it, one line each."""
        return tuple(self._copies.problems)

    @property
    def held(self) -> int:
        """Entries that wait in memory because the disk is full or fails."""
        return len(self._held)

    def append(self, event: Event, picture: bytes | None = None) -> Entry:
        """Log an event, durable when this returns: as every outbox's next entry, with its picture (JPEG) where there is one.

        Saying the same again is safe: an event that equals the last one logged with its id gives that entry. Where the disk is
        full or fails, the entry waits in memory and is written as soon as that works again; `held` counts those. Raises EventError
        for an event that can't follow: its id has ended, or begins twice; and once the log is closed.
        """
        with self._changed:
            self._check_open()
            before = self._latest(event.id)
            if before is not None and before.event == event:
                return before
            _check_order(event, before)
            self._copies.follow_clock()
            self._last += 1
            name = f"{self._opening}-{self._last}.jpg"
            kept = picture is not None and self._keep_picture(name, picture)
            entry = Entry(self._last, f"{self._opening}-{self._last}", time.time(), event, name if kept else None)
            self._hold(entry)
            self._write_held()
            self._grown += len(entry.to_line())
            if (
                self._grown * _PRUNE_PARTS > self._most_bytes
                or not self._last % _PRUNE_EVERY
                or time.monotonic() > self._pruned + _PRUNE_AFTER_S
            ):
                self._prune()
            self._changed.notify_all()
            return entry

    def _latest(self, event_id: str) -> Entry | None:
        held = (entry for entry in reversed(self._held) if entry.event.id == event_id)
        return next(held, None) or self._copies.latest(event_id)

    def _hold(self, entry: Entry) -> None:
        self._held.append(entry)
        if len(self._held) > _MOST_HELD:
            self._held.popleft()
            self.dropped += 1

    def flush(self) -> int:
        """Write what waits in memory, if the disk takes it now. How many entries still wait."""
        with self._changed:
            if not self._lock_file.closed:
                self._write_held()
            return len(self._held)

    def _write_held(self) -> None:
        """Write what waits: the first entry alone, to see whether that works, and then the others. Where there is no room, with
        the reserve's."""
        self._tried = time.monotonic()
        for attempt in range(2):
            try:
                for count in (1, len(self._held)):
                    self._copies.write(list(islice(self._held, count)))
                    for _ in range(min(count, len(self._held))):
                        self._held.popleft()
                return
            except (Damaged, sqlite3.Error, OSError) as error:
                is_damaged = not isinstance(error, sqlite3.OperationalError | OSError)
                if attempt or not (is_damaged or (not is_locked(error) and self._copies.free_reserve())):
                    logger.warning("%s: %d events wait in memory: %s", self.folder, len(self._held), error)
                    return
                if is_damaged:
                    self._copies.recover(error)

    def _keep_picture(self, name: str, picture: bytes) -> bool:
        try:
            (self.folder / PICTURES).mkdir(exist_ok=True, mode=0o700)
            write_atomic(self.folder / PICTURES / name, picture)
        except OSError as error:  # an event without its picture is better than none
            logger.warning("%s: a picture wasn't kept: %s", self.folder, error)
            return False
        return True

    def _prune(self) -> None:
        self._pruned, self._grown = time.monotonic(), 0
        try:
            self.dropped += self._copies.prune(self._keep_s, self._most_bytes, self._consumers)
        except (Damaged, sqlite3.Error, OSError) as error:
            logger.warning("%s: the log wasn't pruned: %s", self.folder, error)

    def entries(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Up to `limit` entries behind a sequence, in order. Raises EventError once the log is closed."""
        with self._changed:
            self._check_open()
            if self._held and time.monotonic() > self._tried + _TRY_EVERY_S:
                self._write_held()
            found = self._copies.after(after, limit)
            return [*found, *(entry for entry in self._held if entry.sequence > after)][:limit]

    def consumer(self, name: str) -> Consumer:
        """The outbox of one consumer. A new one gets what is logged from now on, a known one all it has not got yet. Raises
        EventError once the log is closed."""
        with self._changed:
            self._check_open()
            self._consumers.add(name)
            self._copies.set_position(name, self._copies.positions.get(name, self._last), 0)
            return Consumer(self, name)

    def _check_open(self) -> None:
        """A closed database is no damaged one, which would be set aside and made again, without the lock."""
        if self._lock_file.closed:
            raise EventError(f"{self.folder}: the log is closed; expected an open one, EventLog.open opens it again")

    def close(self) -> None:
        """Write what waits and close. Safe to call twice."""
        with self._changed:
            if not self._lock_file.closed:
                self._write_held()
                self._copies.close()
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
        return self._log._copies.positions[self.name]

    def pending(self, limit: int = 100, after: int | None = None) -> list[Entry]:
        """Up to `limit` entries that have not arrived yet, or those behind `after`; none of a closed log."""
        with self._log._changed:
            if self._log._lock_file.closed:
                return []
            return self._log.entries(self.position if after is None else after, limit)

    def done(self, entry: Entry, *, refused: bool = False) -> None:
        """All up to this entry arrived. `refused`: the receiver turned it down for good."""
        with self._log._changed:
            if not self._log._lock_file.closed:
                self._log._copies.set_position(self.name, entry.sequence, int(refused))

    def wait(self, timeout_s: float, after: int | None = None) -> bool:
        """Wait until there is an entry behind `after`, or behind the position; whether there is one."""
        log = self._log
        with log._changed:
            return log._changed.wait_for(lambda: log._last > (self.position if after is None else after), timeout_s)


def _check_order(event: Event, before: Entry | None) -> None:
    """An event begins once, and is over when it has ended."""
    if before is not None and before.event.type == "end":
        raise EventError(f"event {event.id!r} has ended, and {event.type!r} arrived; expected a new id")
    if before is not None and event.type == "new":
        raise EventError(f"event {event.id!r} has begun, and 'new' arrived; expected 'update' or 'end'")
