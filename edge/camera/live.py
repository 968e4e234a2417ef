"""A camera that goes on: one thread reads it, keeps the newest frame, and opens it again when it drops out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from ..errors import ImageError, RuntimeUnavailable, ShelfmatchError
from ..imaging.camera import called, shown_source
from ..imaging.image import Pixels
from .readers import Reader, no_frame, open_reader

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Before a camera is tried again; twice as long each time."""
_JOIN_S: Final = 3.0


class LiveCamera:
    """Frames of a camera, the newest each `every_s`. `source`: its name for people, without a password; `problem`: why there are no
    frames at the moment, "" where there are.

    The first failure is logged, and each new reason; tries go on until `close`.
    """

    def __init__(
        self,
        source: str,
        every_s: float,
        *,
        opened: Callable[[str], Reader] = open_reader,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self.source, self.problem = called(source), ""
        self._address = source
        self._every_s, self._opened, self._first_wait_s = every_s, opened, first_wait_s
        self._wait_s = first_wait_s
        self._changed = threading.Condition()
        self._newest: tuple[Pixels, float] | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="shelfmatch-camera", daemon=True)
        self._thread.start()

    def next(self, wait_s: float) -> tuple[Pixels, float] | None:
        """The newest frame that nobody has had yet, with its time; None where none comes for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._is_closed, wait_s)
            newest, self._newest = self._newest, None
            return newest

    def close(self) -> None:
        """Let the camera go."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._is_closed:
            try:
                reader = self._opened(self._address)
                try:
                    self._read(reader)
                finally:
                    reader.close()
                self._failed(f"{self.source} gives no more frames")
            except RuntimeUnavailable as error:
                self._failed(str(error))
                self._wait_s = LONGEST_WAIT_S
            except (ShelfmatchError, OSError) as error:
                self._failed(str(error))
            except Exception as error:  # a driver's own exceptions: the camera is opened again, whatever it was
                self._failed(f"{self.source} failed: {type(error).__name__}: {error}")
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, self._wait_s)
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def _read(self, reader: Reader) -> None:
        """Take frames until there are no more. A camera that gave one is tried again soon, however it drops out."""
        due = 0.0
        while not self._is_closed:
            is_due = time.monotonic() >= due
            frame = reader.read(skip=not is_due)
            if frame is False:
                return
            if frame is None or isinstance(frame, bool):
                continue
            due, self._wait_s = time.monotonic() + self._every_s, self._first_wait_s
            with self._changed:
                if self.problem:
                    logger.info("%s is back", self.source)
                self.problem = ""
                self._newest = frame, time.time()
                self._changed.notify_all()

    def _failed(self, problem: str) -> None:
        # A library's own words may hold the address.
        problem = " ".join(problem.replace(self._address, shown_source(self._address)).split())
        if problem != self.problem and not self._is_closed:
            logger.warning("%s; trying again", problem)
        self.problem = problem


def check_camera(source: str) -> None:
    """Open a camera and take one frame. Raises ImageError, RuntimeUnavailable."""
    reader = open_reader(source)
    try:
        if reader.read() is False:
            raise ImageError(no_frame(source))
    finally:
        reader.close()
