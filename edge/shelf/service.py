"""`shelf watch`: frames through a watcher, events out, for days: a changed plan or bundle is taken over, what is known is kept."""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..camera.frame import Frame
from ..errors import EventError, ShelfError, ShelfmatchError
from ..events.event import Event
from ..files import write_atomic
from ..machine.systemd import notify
from .keeping import digest_of, kept, restore
from .planogram import Planogram, check_against, read_planogram
from .teach import photos_of
from .watcher import AFTER_FRAMES, ShelfWatcher

if TYPE_CHECKING:
    from ..imaging.image import Pixels
    from ..matching.matcher import Matcher

logger = logging.getLogger(__name__)

KEEP_EVERY_S: Final = 60.0
"""What is known is written so often, and after each event: a power cut costs a minute of slow light."""
LOOK_EVERY_S: Final = 2.0
"""For another plan or bundle."""
LONGEST_PAUSE_S: Final = 60.0
"""Before a plan or bundle that was refused is tried again."""
GONE_AFTER_S: Final = 30.0
"""Without a frame, or three times as long as frames are apart."""
_GAPS: Final = 5
"""Between frames, of which the median is how far they are apart."""

Sink = Callable[[Event, Frame | None], None]
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How a shelf is watched. `state`: the file that outlives a restart, None for none."""

    after_frames: int = AFTER_FRAMES
    after_seconds: float = 0.0
    every_s: float = 1.0
    state: Path | None = None


class ShelfService:
    """One shelf, its plan's file and its bundle. Raises ShelfError, BundleError and their kin where it can't begin; once it runs, a
    plan or bundle that can't be used is refused with one line and the one in use stays."""

    def __init__(self, plan_path: Path, matcher: Matcher, options: WatchOptions) -> None:
        self.plan_path, self.matcher, self.options = plan_path, matcher, options
        self._problems: dict[str, str] = {}
        self.lock = threading.Lock()
        self._snapshot = self._tried = matcher.snapshot
        self._taught = ""
        self.plan, self.photo, self.watcher = self._made()
        self._stamp = self._stamp_now()
        self._plan_again, self._bundle_again = _Again(), _Again()
        self._kept_at = self._looked_at = time.monotonic()
        self._untold: tuple[Event, ...] = ()
        self._restore(None)

    def _made(self) -> tuple[Planogram, Pixels, ShelfWatcher]:
        plan = read_planogram(self.plan_path)
        catalog = self._snapshot.catalog
        check_against(plan, lambda sku: catalog.product_id(sku) is not None, str(self.matcher.bundle.path))
        full, empty = photos_of(plan)
        watcher = ShelfWatcher(
            plan,
            self._snapshot,
            full,
            empty,
            after_frames=self.options.after_frames,
            after_seconds=self.options.after_seconds,
        )
        self._taught = digest_of(full)
        return plan, full, watcher

    def _restore(self, data: bytes | None) -> None:
        """Go on from bytes, or from the state's file where there is one. A damaged one is said and set aside."""
        path = self.options.state
        if data is None:
            if path is None or not path.exists():
                return
            try:
                data = path.read_bytes()
            except OSError as error:
                logger.warning("%s can't be read: %s; the watch begins anew", path, error.strerror)
                return
        try:
            self._untold = restore(self.watcher, data, self._taught)
        except ShelfError as error:
            logger.warning("%s", error)
            if path is not None:
                with contextlib.suppress(OSError):
                    path.replace(path.with_name(f"{path.name}.damaged"))

    @property
    def refused(self) -> str:
        """What is refused now, or can't be done, in a line; "" where all is well."""
        return "; ".join(self._problems.values())

    def run(self, frames: Iterable[Frame | None], sink: Sink, is_stopped: Callable[[], bool]) -> int:
        """Take frames until they end or `is_stopped`; how many there were. Each event goes to `sink` with the frame it came from,
        None where there was none. What is known is written before anybody is told, and at the end, however it comes: a process
        that is killed in between tells its last events again when it is started, and a log takes each of them once. Raises
        ShelfError where the frames ended and none of them could be used."""
        count, used, last = 0, 0, time.monotonic()
        gaps: deque[float] = deque(maxlen=_GAPS)
        notify("READY=1")
        try:
            self._tell(sink, None)
            for frame in frames:
                if is_stopped():
                    break
                notify("WATCHDOG=1")
                self._follow()
                with self.lock:
                    seen = None if frame is None else self._seen(frame)
                    count += frame is not None
                    waited = time.monotonic() - last
                    if seen is not None:
                        gaps.append(waited)
                        last, used, events = last + waited, used + 1, seen
                    elif waited > self._gone_after(gaps):  # of frames that came, none was of use
                        events = self.watcher.no_frame(time.time())
                    else:
                        events = ()
                self._untold = (*self._untold, *events)  # those before: ends of slots that another plan has no more
                if self._untold or time.monotonic() - self._kept_at > KEEP_EVERY_S:
                    self.keep()
                self._tell(sink, frame)
            else:
                if count and not used and not is_stopped():
                    raise ShelfError(self._problems["frame"])
        finally:
            notify("STOPPING=1")
            self.keep()
        return count

    def _gone_after(self, gaps: Sequence[float]) -> float:
        """Seconds without a frame after which the camera is gone, from what was between its last ones: a folder may get a photo a
        minute, whatever --every says."""
        usual = statistics.median(gaps) if len(gaps) == _GAPS else 0.0
        return max(GONE_AFTER_S, 3 * self.options.every_s, 3 * usual)

    def _tell(self, sink: Sink, frame: Frame | None) -> None:
        for event in self._untold:
            try:
                sink(event, frame)
            except EventError as error:  # the log went on while the state's disk was full
                logger.warning("what was known is older than the log: %s", error)
        self._untold = ()

    def _seen(self, frame: Frame) -> tuple[Event, ...] | None:
        """A frame's events; None of one of another size or time, which is refused with a line, for others may come."""
        try:
            events = self.watcher.see(frame)
        except ShelfError as error:
            self._refuse("frame", str(error))
            return None
        self._problems.pop("frame", None)
        return events

    def keep(self) -> None:
        """Write what is known, whole or not at all; a full disk is said once and tried again."""
        self._kept_at = time.monotonic()
        path = self.options.state
        if path is None:
            return
        try:
            write_atomic(path, kept(self.watcher, self._taught, self._untold))
        except OSError as error:
            self._refuse("state", f"{path} can't be written: {error.strerror}; what is known isn't kept until it can")
        else:
            self._problems.pop("state", None)

    def _refuse(self, what: str, problem: str) -> None:
        if problem != self._problems.get(what):
            logger.warning("%s", problem)
        self._problems[what] = problem

    def _follow(self) -> None:
        """Take over another plan, another photo or another bundle. What is refused is tried again when its files change, and after
        pauses: of a plan that is copied here the photo may come last."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        self._reload()
        stamp, snapshot, photo = self._stamp_now(), self.matcher.snapshot, self.plan.photo
        is_other = stamp != self._stamp or snapshot is not self._tried
        if not is_other and not self._plan_again.is_due():
            return
        before, self._stamp, self._tried, self._snapshot = self._snapshot, stamp, snapshot, snapshot
        try:
            data = kept(self.watcher, self._taught)
            made = self._made()
        except (ShelfmatchError, OSError) as error:
            self._snapshot = before
            self._plan_again.put_off(anew=is_other)
            self._refuse("plan", f"the plan in use stays: {error}")
            return
        with self.lock:
            self.plan, self.photo, self.watcher = made
            self._restore(data)
        if self.plan.photo != photo:  # other files
            self._stamp = stamp[0], *self._stamp_now()[1:]
        self._problems.pop("plan", None)
        self._plan_again = _Again()
        logger.info("%s: took over its plan of %d slots", self.plan_path, len(self.plan.slots))

    def _reload(self) -> None:
        """Take over the bundle's next generation; one that is refused, which the matcher logs, is tried again after pauses."""
        if "bundle" in self._problems and not self._bundle_again.is_due():
            return
        try:
            self.matcher.reload()
        except ShelfmatchError as error:
            self._bundle_again.put_off(anew="bundle" not in self._problems)
            self._problems["bundle"] = f"the bundle in use stays: {error}"
        else:
            self._problems.pop("bundle", None)

    def _stamp_now(self) -> tuple[_Stamp | None, ...]:
        """What tells this version of the plan's file, and of the photos of the plan in use, from others."""
        photo = self.plan.photo
        names = () if photo is None else (photo.full, photo.empty)
        return _stamp_of(self.plan_path), *(_stamp_of(self.plan.folder / name) for name in names if name)

    def shown(self) -> tuple[Planogram, Pixels, list[dict[str, Any]]]:
        """The plan, the taught photo and the slots' states, all of one plan: another one may be taken over at any moment."""
        with self.lock:
            return self.plan, self.photo, self.watcher.status()["slots"]

    def status(self) -> dict[str, Any]:
        """What is known now, and what was refused, as a JSON document."""
        with self.lock:
            return {"plan": self.plan.name or self.plan_path.stem} | self.watcher.status() | {"problem": self.refused}


class _Again:
    """When something that was refused is tried again: after 2, 4, 8 … s, a minute at most."""

    def __init__(self) -> None:
        self._wait_s, self._from = 0.0, math.inf

    def is_due(self) -> bool:
        return time.monotonic() >= self._from

    def put_off(self, *, anew: bool) -> None:
        """It was refused; `anew`: for the first time."""
        self._wait_s = LOOK_EVERY_S if anew else min(2 * self._wait_s, LONGEST_PAUSE_S)
        self._from = time.monotonic() + self._wait_s


def _stamp_of(path: Path) -> _Stamp | None:
    """What tells one version of a plan's file from another."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size
