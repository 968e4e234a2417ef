"""A bundle's generation in use, and how another one takes its place when the bundle is changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.bundle import Stamp, read_stamp, read_whole
from ..errors import BundleError, ShelfmatchError
from ..forking import renew_after_fork
from .snapshot import Snapshot, load_snapshot

if TYPE_CHECKING:
    from .refusal import Refusal

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 60.0
"""Between two tries of a generation that can't be used."""


class Generations:
    """Loads a bundle, and with `follow` what it was changed to, before each answer. Safe to share between threads."""

    def __init__(self, path: Path, settings: Mapping[str, Any], follow: bool) -> None:
        """`settings` as `load_snapshot` takes them. Raises BundleError and its kin, RuntimeUnavailable."""
        absolute = path.absolute()  # a relative one would name another bundle after os.chdir
        self._path = path  # while it is opened: messages name what was asked for
        self._settings = settings
        self._follow = follow
        self._reload_lock = threading.RLock()  # a signal's handler may close, in the thread that is loading
        self._is_closed = False
        self._refused: Refusal | None = None
        self._wait_s, self._retry_from = 1.0, 0.0
        self._snapshot: Snapshot | None = self._load(None)
        self._path = absolute
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the thread that was loading a generation isn't there."""
        self._reload_lock = threading.RLock()

    @property
    def path(self) -> Path:
        """Absolute."""
        return self._path

    def close(self) -> None:
        """Let go of the bundle."""
        with self._reload_lock:  # a snapshot that is being loaded would open it again
            self._is_closed = True
            self._snapshot = None  # the last answer that uses it closes its files

    @property
    def refused(self) -> Refusal | None:
        """See `Matcher.refused`."""
        refused, snapshot = self._refused, self._snapshot
        if refused is None or snapshot is None or read_stamp_or_none(self._path) == snapshot.bundle.stamp:
            return None
        return refused

    def current(self) -> Snapshot:
        """The one in use. Raises BundleError after `close`."""
        snapshot = self._snapshot
        if snapshot is None:
            raise self._closed()
        return snapshot

    def _closed(self) -> BundleError:
        return BundleError(f"{self._path}: this matcher is closed; open it again")

    def fresh(self) -> Snapshot:
        """The snapshot in use, after taking over a new generation if the bundle changed.

        A new generation that can't be used (half copied, damaged) is tried again when its manifest changes, and after 1, 2, 4 …
        s: copied in the order of their names, the vectors come after the manifest. A kiosk goes on with the one it has.
        """
        snapshot = self._snapshot
        if snapshot is None:
            raise self._closed()
        if not self._follow:
            return snapshot
        stamp = read_stamp_or_none(self._path)
        if stamp is None or stamp == snapshot.bundle.stamp:
            return snapshot
        refused = self._refused
        if refused is not None and stamp == refused.stamp and time.monotonic() < self._retry_from:
            return snapshot
        if self._reload_lock.acquire(blocking=False):  # one thread loads, the others go on with what there is
            try:
                current = self._snapshot
                if current is not None and current.bundle.stamp != stamp:  # another thread may have loaded it meanwhile
                    self._take_over(current)
            except ShelfmatchError as error:
                again = refused is not None and stamp == refused.stamp
                self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S) if again else 1.0
                self._retry_from = time.monotonic() + self._wait_s
                self._refuse(error, stamp, snapshot)
            finally:
                self._reload_lock.release()
        return self.current()

    def reload(self) -> bool:
        """See `Matcher.reload`."""
        with self._reload_lock:
            current = self.current()
            stamp = read_stamp_or_none(self._path)
            if stamp == current.bundle.stamp:
                return False
            try:
                self._take_over(current)
            except ShelfmatchError as error:
                self._refuse(error, stamp, current)
                raise
            return True

    def _take_over(self, previous: Snapshot) -> None:
        """Put the bundle's current generation in the place of the one in use."""
        loaded = self._load(previous)
        self._snapshot = loaded
        if self._is_closed:  # by a signal's handler in this thread, meanwhile
            self._snapshot = None
            return
        self._refused = None
        logger.info("%s: took over generation %d", self._path, loaded.bundle.manifest.generation)

    def _refuse(self, error: ShelfmatchError, stamp: Stamp | None, current: Snapshot) -> None:
        """Remember why a generation can't be used, and say so once for each that comes."""
        from .refusal import refusal_of  # only where something is wrong

        before = self._refused
        if before is not None and before.stamp == stamp:
            return
        self._refused = refusal_of(self._path, error, stamp)
        logger.warning(
            "%s: generation %s is refused, answers go on from generation %d: %s",
            self._path,
            "unknown" if self._refused.generation is None else self._refused.generation,
            current.bundle.manifest.generation,
            error,
        )

    def _load(self, previous: Snapshot | None) -> Snapshot:
        """Load the bundle, again if a writer replaced it meanwhile."""
        return read_whole(self._path, lambda bundle: load_snapshot(bundle, self._settings, previous))


def read_stamp_or_none(path: Path) -> Stamp | None:
    """None while there is no manifest, for instance in the middle of somebody's copying."""
    try:
        return read_stamp(path)
    except OSError:
        return None
