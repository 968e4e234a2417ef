"""A fixed piece of work that tells how fast the machine is right now: run between the samples, it takes the same share of
whatever slows them.

On a shared machine, or a hot one, the same program is 10 % slower an hour later. Divided by the yardstick's time, what the
machine did falls out and what the program did stays: `comparing` judges that. What it is made of was chosen beside two trainings
and up to two more programs on two cores: matches' medians of 0.7 s moved by 4.8 % (standard deviation); divided by inflating
bytes or products in the cache alone by 4.0 and 4.3 %, by small array operations, which run through as much code as a match
does, by 3.1 %, by this mixture by 2.9 %.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

_SIDE = 56
"""OpenBLAS starts threads from 64 x 64 x 64 on (GEMM_MULTITHREAD_THRESHOLD, 4 * 65,536 multiplications)."""


def make_yardstick() -> Callable[[], tuple[float, float]]:
    """A function that does the work once, about 0.5 ms on a desktop core: (wall ms, CPU ms of this thread).

    Small array operations and Python's own dictionaries and sorting (as a pipeline's code), float32 products (as a network), bytes
    looked up and copied (as pictures).
    """
    random = np.random.default_rng(0)
    a = random.standard_normal((_SIDE, _SIDE), np.float32)
    b, out = a.T.copy(), np.empty_like(a)
    table, pixels = random.integers(0, 255, 256, np.uint8), random.integers(0, 255, 100_000, np.uint8)
    looked_up, copied = np.empty_like(pixels), np.empty_like(pixels)
    wall, cpu = time.perf_counter, time.thread_time

    def run() -> tuple[float, float]:
        start, start_cpu = wall(), cpu()
        rows = a
        for _ in range(5):
            rows = rows - rows.mean()
            rows = rows / np.sqrt((rows * rows).sum())
            rows = np.clip(rows, -1, 1).T.copy()
            np.argsort(rows[0])
            rows = np.concatenate([rows[2:], rows[:2]])
            np.matmul(a, b, out=out)
        names = {str(number): number * 7 % 13 for number in range(250)}
        sorted(names.items(), key=lambda item: item[1])
        np.take(table, pixels, out=looked_up, mode="clip")
        np.copyto(copied, pixels)
        return (wall() - start) * 1e3, (cpu() - start_cpu) * 1e3

    run()
    return run
