"""Frames of one hand: a tracker for each session, and no work for a frame that shows what the last one did."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..catalog.attributes import Where
from ..imaging.decode import decode
from ..imaging.image import ImageSource, Limits
from ..matching.snapshot import Snapshot
from ..matching.tracking import TrackDecision, Tracker, track
from .problems import Problem

if TYPE_CHECKING:
    from ..matching.finder import Locator

MOST_SESSIONS: Final = 64
FORGOTTEN_AFTER_S: Final = 30.0
_SIDE: Final = 24
_STILL: Final = 2.5
"""Mean difference in grey levels of two frames at 24x24, below which nothing has moved: the noise of a webcam at that size is under
1, a hand that turns a product moves 5 to 30."""
_LOOK_ANYWAY_S: Final = 3.0
"""Even of a still frame: something may have changed that a small picture doesn't show."""
_LOOKS: Final = 6
"""At so many frames after one that moved, still or not: what was put there is found and named in some frames, not in one."""


@dataclass(slots=True)
class Session:
    """The frames so far: their tracker, and what the last one looked like."""

    tracker: Tracker
    of: Snapshot
    question: tuple[object, ...]
    small: NDArray[np.float32] | None = None
    is_busy: bool = False
    used: float = 0.0
    looked: float = field(default=0.0)
    looks_left: int = 0


class Sessions:
    """Sessions by name, the latest MOST_SESSIONS. From the event loop; `add` from a thread. `locate`: finds the product where whole
    frames aren't sure; None doesn't look for it."""

    def __init__(
        self, limits: Limits, clock: Callable[[], float] = time.monotonic, locate: Locator | None = None
    ) -> None:
        self._limits = limits
        self._locate = locate
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    @contextlib.contextmanager
    def taken(self, name: str, snapshot: Snapshot, top_k: int, where: Where | None) -> Iterator[Session]:
        """A session for one frame. Raises Problem while another frame of it is in work: live frames are dropped, not queued."""
        now = self._clock()
        self.tidy(snapshot)
        session = self._sessions.get(name)
        question = (top_k, tuple(sorted((key, tuple(value)) for key, value in (where or {}).items())))
        if session is not None and session.is_busy:
            raise Problem(
                "frames", "the frame before is still in work; send the next one after its answer", {"Retry-After": "1"}
            )
        if session is None or session.of is not snapshot or session.question != question:
            session = Session(
                track(lambda: snapshot, top_k=top_k, where=where, limits=self._limits, locate=self._locate),
                snapshot,
                question,
            )
            self._sessions[name] = session
        session.is_busy, session.used = True, now
        self._sessions.move_to_end(name)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        try:
            yield session
        finally:
            session.is_busy = False

    def tidy(self, snapshot: Snapshot) -> None:
        """Forget those that nobody goes on with, and those of another snapshot, which they would keep in memory."""
        oldest = self._clock() - FORGOTTEN_AFTER_S
        for name, session in list(self._sessions.items()):
            if not session.is_busy and (session.used < oldest or session.of is not snapshot):
                del self._sessions[name]

    def add(self, session: Session, frame: ImageSource) -> tuple[TrackDecision, bool]:
        """The decision with one more frame, and whether that shows what the last one did and wasn't looked at."""
        small = _small(frame, self._limits)
        now = self._clock()
        decision = session.tracker.decision
        if session.small is None or float(np.abs(small - session.small).mean()) >= _STILL:
            session.looks_left = _LOOKS
        elif session.looks_left:
            session.looks_left -= 1
        elif decision.sure and now - session.looked < _LOOK_ANYWAY_S:
            return decision, True
        session.small, session.looked = small, now
        return session.tracker.add(frame), False


@dataclass(frozen=True, slots=True)
class _Tiny:
    """What a decoder halves a JPEG for: a picture of a few pixels, for a fifth of the time."""

    width: int = _SIDE
    height: int = _SIDE
    resize: Literal["squash"] = "squash"
    crop_fraction: float = 1.0
    border_color: tuple[int, int, int] = (0, 0, 0)


def _small(frame: ImageSource, limits: Limits) -> NDArray[np.float32]:
    """A frame as (24, 24) grey levels. Raises ImageError."""
    decoded = decode(frame, _Tiny(), limits)
    pixels = decoded.pixels
    picture = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    return np.asarray(picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
