"""A log read by somebody who doesn't write to it: while the watch goes on, or on another machine."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..errors import EventError
from .copies import DATABASE, JOURNAL
from .entry import Entry
from .journal import read_journal
from .store import is_sound, salvaged


def read_log(path: str | os.PathLike[str]) -> list[Entry]:
    """All entries of a log's folder in order, from both copies, whatever of them can be read; nothing is changed. Raises EventError
    where there is no log."""
    folder = Path(path)
    database, journal = folder / DATABASE, folder / JOURNAL
    if not database.is_file() and not journal.is_file():
        what = "is no log: it has no events.sqlite" if folder.is_dir() else "isn't there"
        raise EventError(f"{folder} {what}; expected the folder that shelf watch --log writes to")
    try:
        copy = read_journal(journal)
        found = {number: Entry.from_line(line) for number, line in copy.lines.items()}
    except OSError as error:
        raise EventError(f"{journal}: {error.strerror}; expected a log that can be read") from error
    try:
        if database.is_file():
            found |= {entry.sequence: entry for entry in salvaged(database)}
    except sqlite3.Error as error:
        raise EventError(f"{database}: {error}; expected a log that can be read") from error
    is_strange = journal.is_file() and journal.stat().st_size and not copy.lines and not copy.positions
    if not found and is_strange and not is_sound(database):
        raise EventError(
            f"{folder} is damaged: nothing in it can be read; expected the folder that shelf watch --log writes to"
        )
    return [entry for _, entry in sorted(found.items()) if entry is not None]
