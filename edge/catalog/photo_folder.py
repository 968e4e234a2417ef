"""Photos in folders: those that lie there, and new ones as they come."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from ..errors import ImageError
from .listing import PHOTO_SUFFIXES, SYSTEM_FOLDERS

logger = logging.getLogger(__name__)

_Stamp: TypeAlias = tuple[int, int, int]
"""Inode, time of change in ns, and size of a file: another one means other bytes."""
_GONE_AT_MOST = 20_000
"""Photos that are remembered though they aren't there now: about 6 MB."""
PATIENCE = 10
"""Polls for which a photo that can't be read is held to be one that is still being written."""


def photos_in(folder: str | os.PathLike[str], *, all_of_them: bool = True) -> list[str]:
    """The photos in a folder and in those below it, by their endings, sorted; nothing hidden, links to folders not followed.

    Raises ImageError where there are none, or a folder can't be read; unless `all_of_them` one below it is left out and logged.
    """

    def fail(error: OSError) -> None:
        if not all_of_them and Path(error.filename) != Path(folder):
            logger.warning("%s is left out: %s", error.filename, error.strerror)
            return
        raise ImageError(f"{error.filename} can't be read: {error.strerror}; expected a folder of photos") from error

    found = []
    for above, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".") and name.casefold() not in SYSTEM_FOLDERS]
        found += [str(Path(above, name)) for name in names if is_photo(name)]
    if not found:
        raise ImageError(f"{os.fspath(folder)} holds no photos; expected files ending in .jpg, .png, … in it")
    return sorted(found)


def expanded(paths: Iterable[str]) -> list[str]:
    """The paths, a folder replaced by the photos in it. Raises ImageError as `photos_in`."""
    return [photo for path in paths for photo in (photos_in(path) if Path(path).is_dir() else [path])]


def is_photo(name: str) -> bool:
    """Whether a file's name is that of a photo, not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES


class PhotoWatch:
    """New photos of a folder and of those below it, by asking again and again: what works on every disk and network share.

    A photo is given when two polls in a row find the same bytes' stamp: half-written ones are waited for. One that was changed
    later is given again; those that were there at the start are not, nor those that were gone for a while and come back with the
    same size and time: a share that drops out takes all its photos along. For one thread.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises ImageError if there is no such folder."""
        self._folder = os.fspath(folder)
        if not Path(self._folder).is_dir():
            raise ImageError(f"{self._folder} is no folder; expected one into which photos come, make it first")
        self._done = self._stamps()
        self._gone: dict[str, _Stamp] = {}
        self._waiting: dict[str, _Stamp] = {}
        self._refused: dict[str, int] = {}

    def poll(self) -> list[str]:
        """Photos that have come since the last call and are whole, sorted. A folder that can't be read now gives none."""
        stamps = self._stamps()
        self._remember(stamps)
        fresh = {path: stamp for path, stamp in stamps.items() if self._done.get(path) != stamp}
        whole = sorted(
            path for path, stamp in fresh.items() if self._waiting.get(path) == stamp and self._is_due(path, stamp)
        )
        self._done |= {path: stamps[path] for path in whole}
        self._waiting = {path: stamp for path, stamp in fresh.items() if path not in whole}
        self._refused = {path: polls for path, polls in self._refused.items() if path in stamps}
        return whole

    def _remember(self, stamps: dict[str, _Stamp]) -> None:
        """Photos that were given and have gone, until they are back; of very many, those that went last."""
        for path in self._gone.keys() & stamps.keys():
            before = self._gone.pop(path)
            if before[1:] == stamps[path][1:]:  # not the inode: a share that is mounted again may number its files anew
                self._done[path] = stamps[path]
        for path in self._done.keys() - stamps.keys():
            self._gone[path] = self._done.pop(path)
        while len(self._gone) > _GONE_AT_MOST:
            del self._gone[next(iter(self._gone))]

    def _is_due(self, path: str, stamp: _Stamp) -> bool:
        """Whether its time has come: an empty file is still being written, for a while."""
        return bool(stamp[2]) or self._count(path) >= PATIENCE

    def _count(self, path: str) -> int:
        self._refused[path] = self._refused.get(path, 0) + 1
        return self._refused[path]

    def wait_for(self, path: str) -> bool:
        """Give a photo that couldn't be read once more at the next poll: it may still be on its way. False after PATIENCE polls."""
        if self._count(path) >= PATIENCE:
            del self._refused[path]
            return False
        stamp = self._done.pop(path, None)
        if stamp is not None:
            self._waiting[path] = stamp
        return True

    def _stamps(self) -> dict[str, _Stamp]:
        stamps = {}
        for above, folders, names in os.walk(self._folder):
            folders[:] = [
                name for name in folders if not name.startswith(".") and name.casefold() not in SYSTEM_FOLDERS
            ]
            for name in filter(is_photo, names):
                path = str(Path(above, name))
                try:
                    info = Path(path).stat()
                except OSError:  # gone between the two looks
                    continue
                stamps[path] = info.st_ino, info.st_mtime_ns, info.st_size
        return stamps
