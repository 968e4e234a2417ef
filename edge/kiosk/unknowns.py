"""Crops of products that nobody knew, for the shop to enrol: few, for some days, nobody on them; off unless asked for."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..errors import KioskError
from ..files import write_atomic
from ..imaging.image import Limits
from ..privacy.people import PeopleFinder

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}\.jpg")
_PAUSE_S: Final = 3.0
"""Between two crops: one hand with one product gives one or two, not a film."""


class Unknowns:
    """A folder of crops. Raises KioskError where it can't be written to."""

    def __init__(self, folder: Path, finder: PeopleFinder, most_files: int, days: float) -> None:
        self.folder = folder
        self.finder = finder
        self._most_files = most_files
        self._days = days
        self._lock = threading.Lock()
        self._last = -_PAUSE_S
        self._is_busy = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.tidy()
        except OSError as error:
            raise KioskError(
                f"{folder} can't be used: {error.strerror}; expected a folder for privacy.keep_unknowns"
            ) from error

    def is_due(self) -> bool:
        """Whether the next unknown product may be kept already; where it may, whoever asks has to call `keep`, and nobody else may
        until that is done: a slow board looks for people for longer than the pause. For one thread."""
        if self._is_busy or time.monotonic() - self._last < _PAUSE_S:
            return False
        self._is_busy = True
        return True

    def keep(self, photo: bytes, limits: Limits) -> str | None:
        """Keep what is left of a photo when people are blurred; its name, None where nothing was kept."""
        try:
            kept = self.finder.without_people(photo, limits)
        finally:
            self._last, self._is_busy = time.monotonic(), False
        if kept is None:
            return None
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(4).hex()}.jpg"
        with self._lock:
            try:
                self.folder.mkdir(
                    parents=True, exist_ok=True, mode=0o700
                )  # somebody may have deleted it with its crops
                write_atomic(self.folder / name, kept)
            except OSError as error:
                logger.warning("%s: a crop wasn't kept: %s", self.folder, error)
                return None
        self.tidy()
        return name

    def names(self) -> list[tuple[str, str]]:
        """(name, time in UTC) of the crops, the newest first."""
        try:
            found = sorted((path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
        except FileNotFoundError:
            return []
        times = {name: _taken(name) for name in found}
        return [(name, taken.isoformat(timespec="seconds")) for name, taken in times.items() if taken is not None]

    def read(self, name: str) -> bytes | None:
        """A crop as JPEG, None where there is none of this name."""
        if not _NAME.fullmatch(name):
            return None
        with contextlib.suppress(OSError):
            return (self.folder / name).read_bytes()
        return None

    def delete_all(self) -> int:
        """Delete all of them; how many there were."""
        with self._lock:
            return sum(self._delete(name) for name, _ in self.names())

    def tidy(self) -> None:
        """Delete what is too old or too much, and what a power cut left half-written. What is dated so far ahead was taken while
        the clock was wrong: it would stay for ever, and as the newest take the places of others."""
        now, kept_s = time.time(), self._days * 86_400
        # Without a battery a Pi's clock is years behind until the network is there: then all crops look dated ahead.
        if now < Path(__file__).stat().st_mtime:
            kept_s = math.inf
        with self._lock:
            taken = {name: datetime.fromisoformat(text).timestamp() for name, text in self.names()}
            kept = [name for name, time_s in taken.items() if abs(now - time_s) <= kept_s][: self._most_files]
            for name in set(taken).difference(kept):
                self._delete(name)
            for path in self.folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def _delete(self, name: str) -> int:
        try:
            (self.folder / name).unlink()
        except OSError:
            return 0
        return 1


def _taken(name: str) -> datetime | None:
    """None for digits that are no time: such a file isn't ours."""
    with contextlib.suppress(ValueError):
        return datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    return None
