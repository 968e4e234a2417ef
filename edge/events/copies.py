"""The two copies of a log on the disk: checked and made equal when they are opened, written in turn, pruned together."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from ..files import write_atomic
from .entry import Entry
from .journal import Journal, JournalRead, read_journal, write_journal
from .store import Damaged, Store, is_locked, salvaged, salvaged_positions

logger = logging.getLogger(__name__)

DATABASE: Final = "events.sqlite"
JOURNAL: Final = "events.journal"
PICTURES: Final = "pictures"
_RESERVE: Final = "reserve"
_RESERVE_BYTES: Final = 1 << 20
"""Room for a week of events and what SQLite writes beside them, given back when the disk is full."""
_COPIES: Final = 3
"""Database, journal, and the journal's next one while it is written."""
_KEPT_SHARE: Final = 0.9
"""Of the size, when the oldest entries go: not a few at every turn."""
_STEP_S: Final = 3600.0
"""A clock that moved by so much against the time that went by was set."""
_Found = TypeVar("_Found")


class Copies:
    """The files of a log. Raises sqlite3.Error and OSError where the disk is full or fails.

    `problems`: what was found damaged and what was done about it. `positions`: each consumer's last sequence, on the disk but for
    the names in `unsaved`. `last`: the highest sequence ever given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.positions: dict[str, int] = {}
        self.unsaved: set[str] = set()
        self.last = 0
        self._behind = False
        """Whether the journal lacks what the database has."""
        self._unread = ""
        """Why the disk can't be read now."""
        try:
            self._load(None)
        except (sqlite3.Error, OSError) as error:
            if is_locked(error) or not self.free_reserve():
                raise
            self._load(None)
        self._opened, self._offset_s, self._stepped_s = self.last, _offset_s(), 0.0

    def _load(self, why: str | None) -> None:
        """Open both copies and make them equal. `why`: the database is known to be damaged."""
        database, path = self.folder / DATABASE, self.folder / JOURNAL
        read = read_journal(path)
        if read.damaged_lines:
            aside = self._set_aside(path)
            self._say(f"{path}: {read.damaged_lines} damaged lines; set aside as {aside.name}/{path.name}")
        spared: dict[int, bytes] = {}
        try:
            if why:
                raise Damaged(why)
            self._store = Store(database)
        except Damaged as damage:
            aside = self._set_aside(database)
            self._say(f"{database} is damaged ({damage}); set aside as {aside.name}/{database.name}")
            spared = {entry.sequence: entry.to_line() for entry in salvaged(aside / database.name)}
            for name, sequence in salvaged_positions(aside / database.name).items():
                read.positions[name] = max(sequence, read.positions.get(name, 0))
            self._store = Store(database)
        self._reconcile(read, spared)
        lacking = sum(entry.sequence not in read.lines for entry in self._all())
        if lacking > 1 and not read.damaged_lines:  # one: it was being written
            self._say(f"{path}: {lacking} entries were missing; written again from {DATABASE}")
        if read.damaged_lines or read.is_torn or lacking or not path.exists():
            write_journal(path, self._all(), self.positions)
        self._journal = Journal(path)
        self.last = max(self.last, self._store.bounds()[1], *read.lines, *self.positions.values())
        self._fill_reserve()

    def _set_aside(self, path: Path) -> Path:
        """Move a damaged file, with what SQLite keeps beside it, to a folder of its own."""
        aside = self.folder / f"damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"
        aside.mkdir(mode=0o700)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).rename(aside / name)
        return aside

    def _reconcile(self, read: JournalRead, spared: dict[int, bytes]) -> None:
        """Give the database what only the other copy, or its damaged predecessor, has."""
        first = self._store.bounds()[0]
        present = {entry.sequence for entry in self._all()}
        wanted = spared | read.lines
        missing = [number for number in sorted(wanted) if number >= first and number not in present]
        with self._store.together():
            for entry in filter(None, (Entry.from_line(wanted[number]) for number in missing)):
                self._store.insert(entry)
            for name, sequence in read.positions.items():
                self._store.set_position(name, sequence, 0.0)
        self.positions |= self._store.positions()
        if missing:
            self._say(f"{self.folder}: {len(missing)} entries came back from the second copy")
        whole = {*present, *wanted}
        gaps = (max(whole) - min(whole) + 1 - len(whole)) if whole else 0
        if gaps and self.problems:
            self._say(f"{self.folder}: {gaps} entries are lost, they were damaged in both copies")

    def _all(self) -> Iterator[Entry]:
        last = 0
        while entries := self._store.after(last, 500):
            yield from entries
            last = entries[-1].sequence

    def _say(self, problem: str) -> None:
        self.problems.append(problem)
        logger.warning("%s", problem)

    def recover(self, error: Exception) -> None:
        """The database turned out to be damaged while it was open: make it again. Where that fails, a later call tries again."""
        self.close()
        try:
            self._load(str(error))
        except (sqlite3.Error, OSError, Damaged) as trouble:
            logger.warning("%s: the log can't be made again yet: %s", self.folder, trouble)

    def write(self, entries: list[Entry]) -> None:
        """Write entries to both copies, and what was left unwritten before. The first copy has them, durable, when this returns;
        the second one may follow later."""
        if entries:
            with self._store.together():
                for entry in entries:
                    self._store.insert(entry)
        try:
            if self._behind:
                self._rewrite_journal()
            elif entries:
                self._journal.append(entries)
        except OSError as error:
            self._behind = True
            logger.warning("%s: the second copy lags behind: %s", self.folder, error)
        try:
            for name in list(self.unsaved):
                self._store.set_position(name, self.positions[name], time.time())
                self.unsaved.discard(name)
        except sqlite3.OperationalError as error:  # no room or no lock for it: the entries are written all the same
            logger.warning("%s: how far consumers are waits in memory: %s", self.folder, error)

    def set_position(self, name: str, sequence: int, refused: int) -> None:
        """A consumer has everything up to `sequence`; remembered in any case, written where that works."""
        self.positions[name] = max(sequence, self.positions.get(name, 0))
        try:
            self._store.set_position(name, sequence, time.time(), refused)
            self._journal.set_position(name, sequence)
        except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: the journal is closed, being made again
            self.unsaved.add(name)
            logger.warning("%s: how far %s is waits in memory: %s", self.folder, name, error)

    def follow_clock(self) -> None:
        """To be called before an entry is logged. Entries keep their age when the clock is set: a machine without a battery's clock
        begins years ago, and one wrong answer of a time server would make all of them old. Those logged since the log was opened
        are taken for moved with the clock, also after a restart. Those of before are kept longer while the log is open, never
        shorter: nothing says which of the clocks they were logged by. For the same reason the clock is believed when a log is
        opened; and a machine that slept counts as one whose clock was set."""
        step_s = _offset_s() - self._offset_s
        if abs(step_s) < _STEP_S:
            return
        try:
            self._store.move_times(step_s, self._opened)
        except sqlite3.Error as error:  # tried again with the next entry
            logger.warning("%s: the clock was set, and entries keep the old one's times: %s", self.folder, error)
            return
        self._offset_s, self._stepped_s = self._offset_s + step_s, self._stepped_s + step_s
        logger.warning("%s: the clock moved by %+.1f hours; entries keep their age", self.folder, step_s / 3600)

    def latest(self, event_id: str) -> Entry | None:
        """The last entry of an event, None where there is none or the disk can't be read now."""
        return self._read(lambda: self._store.latest(event_id), None)

    def after(self, sequence: int, limit: int) -> list[Entry]:
        """Up to `limit` entries behind a sequence; none while the disk can't be read."""
        nothing: list[Entry] = []
        return self._read(lambda: self._store.after(sequence, limit), nothing)

    def _read(self, query: Callable[[], _Found], otherwise: _Found) -> _Found:
        for attempt in range(2):
            try:
                found = query()
                self._unread = ""
                return found
            except sqlite3.OperationalError as error:
                if str(error) != self._unread:
                    logger.warning("%s can't be read now: %s", self.folder, error)
                self._unread = str(error)
                break
            except (Damaged, sqlite3.Error) as error:
                if not attempt:
                    self.recover(error)
        return otherwise

    def prune(self, keep_s: float, most_bytes: int, consumers: Iterable[str]) -> int:
        """Let go of what is too old and delivered, and of what is too much. How many entries went that one of these consumers, or
        one seen in the last `keep_s` seconds, had not got."""
        since, limit, dropped = time.time() - keep_s, most_bytes // _COPIES, 0
        earlier_s = max(0.0, self._stepped_s)
        first, delivered = self._store.bounds()[0], self._store.needed_from(consumers, since - earlier_s)
        old = self._store.last_before(since, self._opened, earlier_s)
        old = old if delivered is None else min(old, delivered)
        much = self._store.oldest_beyond(int(_KEPT_SHARE * limit)) if self._store.size_bytes() > limit else 0
        if delivered is not None and much > max(delivered, first - 1):
            dropped = much - max(delivered, first - 1)
            self._say(f"{self.folder}: {dropped} entries went undelivered, the log has reached {most_bytes:,} bytes")
        if max(old, much) >= first:
            for name in self._store.delete_up_to(max(old, much)):
                (self.folder / PICTURES / name).unlink(missing_ok=True)
        if self._journal.size_bytes > min(limit, (1 << 20) + 2 * self._store.size_bytes()):
            self._rewrite_journal()
        self._fill_reserve()
        return dropped

    def sweep_pictures(self, keep_s: float) -> None:
        """Delete pictures that no entry names, once they are as old as entries get: a kill between a picture and its entry leaves
        one, and so does an entry that never found room."""
        since = time.time() - keep_s
        old = [path for path in (self.folder / PICTURES).glob("*") if path.is_file() and path.lstat().st_mtime < since]
        if old:  # as a rule none is: pictures go with their entries
            named = {entry.picture for entry in self._all() if entry.picture}
            for path in old:
                if path.name not in named:
                    path.unlink()

    def _rewrite_journal(self) -> None:
        self._journal.close()
        try:
            write_journal(self._journal.path, self._all(), self.positions)
            self._behind = False
        finally:
            self._journal = Journal(self._journal.path)

    def free_reserve(self) -> bool:
        """Give the disk's last room back; whether there was some."""
        try:
            (self.folder / _RESERVE).unlink()
        except OSError:
            return False
        logger.warning("%s: the disk is full; the log's reserve of %d bytes is used", self.folder, _RESERVE_BYTES)
        return True

    def _fill_reserve(self) -> None:
        if not (self.folder / _RESERVE).exists():
            with contextlib.suppress(OSError):  # no room, no reserve: entries wait in memory then
                write_atomic(self.folder / _RESERVE, os.urandom(_RESERVE_BYTES))

    def close(self) -> None:
        """Close both files. Safe to call twice."""
        self._store.close()
        self._journal.close()


def _offset_s() -> float:
    """The clock less the time that went by since some moment, which nobody can set."""
    return time.time() - time.monotonic()
