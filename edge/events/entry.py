"""An event in the log: one line of JSON behind its checksum, the same bytes in the database and in the second copy."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

from ..errors import EventError
from .event import Event

_CHECKSUM_CHARACTERS: Final = 8
"""CRC-32 in hexadecimal: every error of up to 32 bits in a row is seen (Koopman 2002, "32-bit cyclic redundancy codes")."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it was logged. `message_id` names this message and no other, ever: who keeps the ids of what arrived drops what
    arrives twice. `sequence` counts messages from 1; `logged_time` is in seconds since 1970; `picture` is a file's name in the
    log's folder of pictures."""

    sequence: int
    message_id: str
    logged_time: float
    event: Event
    picture: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What consumers get: the event's fields, and which message this is."""
        return {
            **self.event.to_dict(),
            "message_id": self.message_id,
            "sequence": self.sequence,
            "logged_time": self.logged_time,
            "picture": self.picture,
        }

    def to_line(self) -> bytes:
        """The line that is written, with its end."""
        return sealed({"entry": self.to_dict()})

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Entry:
        """The entry that `to_dict` gave. Raises EventError for anything else."""
        rest = dict(values)
        try:
            sequence, message_id = int(rest.pop("sequence")), str(rest.pop("message_id"))
            logged_time, picture = float(rest.pop("logged_time")), rest.pop("picture")
        except (KeyError, TypeError, ValueError) as error:
            raise EventError(f"an entry of a log without a usable {error}; expected what EventLog wrote") from error
        return Entry(sequence, message_id, logged_time, Event.from_dict(rest), picture)

    @staticmethod
    def from_line(line: bytes) -> Entry | None:
        """The entry on a line, None where the line is damaged or holds something else."""
        values = unsealed(line)
        if values is None or "entry" not in values:
            return None
        try:
            return Entry.from_dict(values["entry"])
        except EventError:
            return None


def sealed(values: dict[str, Any]) -> bytes:
    """One line: a checksum, a space, JSON, the line's end."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def unsealed(line: bytes) -> dict[str, Any] | None:
    """What `sealed` wrote, None where a byte of it differs."""
    seal, text = line[:_CHECKSUM_CHARACTERS], line[_CHECKSUM_CHARACTERS + 1 : -1]
    if line[-1:] != b"\n" or line[_CHECKSUM_CHARACTERS : _CHECKSUM_CHARACTERS + 1] != b" ":
        return None
    if seal != b"%08x" % zlib.crc32(text):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
