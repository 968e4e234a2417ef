"""The log's second copy: a text file to which each entry is appended and synced. What damages one file spares the other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files import replacing, sync_folder
from .entry import Entry, sealed, unsealed


@dataclass(slots=True)
class JournalRead:
    """What a journal holds: entries' lines and consumers' last sequences, how many lines are damaged, and whether the last
    line was being written when the power or the process went (which is no damage)."""

    lines: dict[int, bytes] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    damaged_lines: int = 0
    is_torn: bool = False


def read_journal(path: Path) -> JournalRead:
    """Read a journal as far as it can be read; an absent one is empty. Raises OSError."""
    found = JournalRead()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return found
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                found.is_torn = True
            elif entry := Entry.from_line(line):
                found.lines[entry.sequence] = line
            elif (values := unsealed(line)) and isinstance(values.get("position"), int):
                name = str(values.get("consumer"))
                found.positions[name] = max(values["position"], found.positions.get(name, 0))
            else:
                found.damaged_lines += 1
    return found


class Journal:
    """Appends to a journal that was read and is whole. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self.size_bytes = path.stat().st_size

    def append(self, entries: Iterable[Entry]) -> None:
        """Durable when this returns; all of them or none."""
        self._write(b"".join(entry.to_line() for entry in entries))
        os.fsync(self._file.fileno())

    def set_position(self, name: str, sequence: int) -> None:
        """A consumer has everything up to `sequence`. Outlives a kill; a power cut may take it, and it is sent again then."""
        self._write(sealed({"consumer": name, "position": sequence}))

    def _write(self, data: bytes) -> None:
        try:
            if self._file.write(data) != len(data):  # a full disk takes a part
                raise OSError(28, "No space left on device", str(self.path))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size_bytes)
            raise
        self.size_bytes += len(data)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()


def write_journal(path: Path, entries: Iterable[Entry], positions: Mapping[str, int]) -> None:
    """Write a whole journal beside, sync, rename. Raises OSError."""
    with replacing(path) as file:
        for name, sequence in positions.items():
            file.write(sealed({"consumer": name, "position": sequence}))
        for entry in entries:
            file.write(entry.to_line())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
