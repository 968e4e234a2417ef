"""The device's own camera, for screens that reach the service over plain HTTP: browsers give no camera there.

One thread reads frames while somebody looks, and keeps the newest one only. Everything stays in memory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from PIL import Image

from ..camera.readers import frames_of
from ..errors import ShelfmatchError
from ..imaging.camera import called

if TYPE_CHECKING:
    from ..imaging.image import Pixels

logger = logging.getLogger(__name__)

_SIDE: Final = 960
_IDLE_S: Final = 5.0
_RETRY_S: Final = 3.0


class DeviceCamera:
    """Frames as JPEG, turned by so many degrees clockwise. `problem`: why there are none at the moment, "" where there are."""

    def __init__(self, source: str, frames_per_second: float, turn: int = 0) -> None:
        self._source, self._turn = source, turn
        self._pause_s = 1 / frames_per_second
        self._changed = threading.Condition()
        self._frame: bytes | None = None
        self._number = 0
        self._wanted = 0.0
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.problem = ""

    def newest(self, after: int, wait_s: float = 2.0) -> tuple[int, bytes | None]:
        """The newest frame with a number above `after`, and its number; waits for one. None where there is none."""
        with self._changed:
            self._wanted = time.monotonic()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._read, name="shelfmatch-camera", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._number > after or self._is_closed, wait_s)
            return (self._number, self._frame) if self._number > after else (after, None)

    def check(self) -> None:
        """Take one frame. Raises ImageError, RuntimeUnavailable where there is none: a service that runs tries again instead."""
        with contextlib.closing(self._frames()) as frames:
            next(frames)

    def _frames(self) -> Generator[Pixels, None, None]:
        return frames_of(self._source, turn=self._turn)

    def close(self) -> None:
        """Let the camera go."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=2)

    def _is_wanted(self) -> bool:
        return not self._is_closed and time.monotonic() - self._wanted < _IDLE_S

    def _read(self) -> None:
        """Read while somebody looks; a camera that is unplugged is tried again."""
        while True:
            try:
                for pixels in self._frames():
                    began = time.monotonic()
                    picture = Image.fromarray(pixels)
                    picture.thumbnail((_SIDE, _SIDE))
                    file = io.BytesIO()
                    picture.save(file, "JPEG", quality=80)
                    with self._changed:
                        self.problem, self._frame, self._number = "", file.getvalue(), self._number + 1
                        self._changed.notify_all()
                    if not self._is_wanted():
                        break
                    time.sleep(max(0.0, self._pause_s - (time.monotonic() - began)))
            except ShelfmatchError as error:
                if str(error) != self.problem:
                    logger.warning("%s", error)
                self.problem = str(error)
                time.sleep(_RETRY_S)
            except Exception as error:  # a driver's own exceptions: without this thread nobody would see anything again
                logger.exception("%s failed; it is tried again", called(self._source))
                self.problem = f"{called(self._source)} failed: {type(error).__name__}"
                time.sleep(_RETRY_S)
            with self._changed:
                if not self._is_wanted():
                    self._thread, self._frame = None, None
                    return
