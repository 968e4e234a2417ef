"""Photos in work: a few threads, a short queue, and "no" at once to whoever comes when it is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

_Result = TypeVar("_Result")
_SMOOTHING: Final = 0.1
"""Weight of the newest service time in their mean."""


class Busy(Exception):
    """All threads are at work and the queue is full. `retry_s`: when to come again, whole seconds from 1."""

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"come again in {retry_s} s")
        self.retry_s = retry_s


class Pool:
    """`workers` threads and a queue of at most `queue` waiting. For one event loop."""

    def __init__(self, workers: int, queue: int) -> None:
        self.workers, self.queue = workers, queue
        self.inside = 0
        self.service_s = 0.1
        """Mean time of a photo in a thread, for Retry-After."""
        self.last_done = self._last_begun = time.monotonic()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="shelfmatch-answer")

    @property
    def waiting(self) -> int:
        """Photos in the queue."""
        return max(0, self.inside - self.workers)

    @property
    def longest_wait_s(self) -> float:
        """How long a photo that comes when the queue is full but for one place takes, on average."""
        return (1 + self.queue / self.workers) * self.service_s

    def check(self) -> None:
        """Raise Busy where `run` would: before a body is received for nothing."""
        if self.inside >= self.workers + self.queue:
            raise Busy(max(1, round(self.longest_wait_s)))

    async def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function in a thread. Raises Busy, and what the function raises; cancelled, it isn't begun any more."""
        self.check()
        if not self.inside:
            self._last_begun = time.monotonic()
        self.inside += 1
        future = self._threads.submit(self._timed, function, *arguments)
        # When the thread is done, not when the caller is: a caller that went away leaves its photo in work.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _in_loop(loop, self._leave))
        return await asyncio.wrap_future(future)

    def _timed(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            self.service_s += _SMOOTHING * (time.perf_counter() - start - self.service_s)

    def _leave(self) -> None:
        self.inside -= 1
        self.last_done = time.monotonic()

    def is_stuck(self, seconds: float) -> bool:
        """Whether photos are in work and none came out for so long: a thread that never comes back is no service."""
        return self.inside > 0 and time.monotonic() - max(self.last_done, self._last_begun) > seconds

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
