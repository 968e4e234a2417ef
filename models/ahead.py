"""Batches made ahead by another process: where there is no GPU, one core photographs while the other learns."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from shelfmatch.models.mixer import Batch, Mixer, Portions
from shelfmatch.models.networks import INPUT_SIDE
from shelfmatch.models.printer.press import wait_for

SLOTS: Final = 2
"""Batches in shared memory: one is read, one is made."""
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2
"""glibc's names for them, in malloc.h."""


def keep_memory() -> None:
    """Let the allocator keep what is freed, where it is glibc's.

    It gives large blocks back and gets them anew, page by page, at each layer of each step: half of a step's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28)):
            mallopt(name, value)


class _Slot(NamedTuple):
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]


def _slots(memory: mmap.mmap, portions: Portions) -> list[_Slot]:
    count, real = portions.pictures, portions.real_pictures
    pixels, numbers = count * 3 * INPUT_SIDE**2, 8 * (count + real)
    found = []
    for number in range(SLOTS):
        labels = np.frombuffer(memory, np.int64, count + real, offset=number * numbers)
        offset = SLOTS * numbers + number * pixels
        pictures = np.frombuffer(memory, np.uint8, pixels, offset=offset)
        found.append(_Slot(pictures.reshape(count, 3, INPUT_SIDE, INPUT_SIDE), labels[:count], labels[count:]))
    return found


def _mix(make: Callable[[], Mixer], memory: mmap.mmap, free: Any, ready: Any, printed: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the printing processes end, too
    parent = os.getppid()
    keep_memory()
    torch.set_num_threads(1)
    mixer = make()
    slots = _slots(memory, mixer.portions)
    number = 0
    while True:
        wait_for(free, parent)
        batch, slot = mixer.batch(), slots[number % SLOTS]
        slot.pixels[:] = batch.pixels.byte().numpy()
        slot.labels[:], slot.rows[:] = batch.labels.numpy(), batch.rows.numpy()
        printed.value = mixer.printed
        number += 1
        ready.release()


class Ahead:
    """A `Mixer`'s batches. Make it before torch has threads: it forks. `make` runs in the other process."""

    def __init__(self, make: Callable[[], Mixer], portions: Portions) -> None:
        context = multiprocessing.get_context("fork")
        self.portions = portions
        size = SLOTS * (portions.pictures * 3 * INPUT_SIDE**2 + 8 * (portions.pictures + portions.real_pictures))
        memory = mmap.mmap(-1, size)
        self._free, self._ready = context.Semaphore(SLOTS), context.Semaphore(0)
        self._printed = context.Value("q", 0)
        work = (make, memory, self._free, self._ready, self._printed)
        self.process = context.Process(target=_mix, args=work)
        self.process.start()
        self._slots, self._number, self._maker = _slots(memory, portions), 0, os.getpid()

    @property
    def printed(self) -> int:
        """Packages printed when the last batch was made."""
        return int(self._printed.value)

    def check(self) -> None:
        """Raise RuntimeError where the other process has ended. A process that was forked later can only see whether the one that
        made this still runs, and ends with it."""
        if os.getpid() != self._maker:
            if os.getppid() != self._maker:
                raise RuntimeError("the process that asked for batches has ended")
        elif not self.process.is_alive():
            raise RuntimeError("the process that mixes batches has ended; its error stands above")

    def batch(self) -> Batch:
        """The next batch. Raises RuntimeError where the other process has ended."""
        while not self._ready.acquire(timeout=5):
            self.check()
        pixels, labels, rows = (torch.from_numpy(part.copy()) for part in self._slots[self._number % SLOTS])
        self._number += 1
        self._free.release()
        return Batch(pixels.float(), labels, rows)

    def close(self) -> None:
        """End the other process, which would wait for ever, and this one's exit for it."""
        self.process.terminate()
        self.process.join()
