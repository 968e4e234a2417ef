"""Processes that design and print without end, and the pool on the training device that they fill.

Pages pass through memory shared by all processes (an anonymous map, so that no /dev/shm is needed); a thread moves each finished
page to the pool, over the oldest one. Start the press before anything touches a GPU: it forks.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shelfmatch.models.printer import design, package
from shelfmatch.models.printer.stock import Stock
from shelfmatch.models.printer.views import Prints

PAGE: Final = 32
"""Designs that are handed over at once; siblings of a family stand together."""
_NUMBERS: Final = 7
"""Of a design: size (2), other side's size (2), kind, family, variant."""


def wait_for(semaphore: Any, parent: int) -> None:
    """Wait for a semaphore that another process releases; end this process where `parent`, whose child it is, was killed."""
    while not semaphore.acquire(timeout=5):
        if os.getppid() != parent:
            sys.exit(1)


def designs(stock: Stock, first: int, step: int, most: int = 4) -> Iterator[design.Design]:
    """Families `first`, `first + step`, …; a design that can't be printed is left out by the caller."""
    seed = first
    while True:
        yield from design.family(seed, stock, most)
        seed += step


def print_pages(stock: Stock, first: int, step: int, most: int = 4) -> Iterator[package.Printed]:
    """Printed packages without end."""
    for one in designs(stock, first, step, most):
        try:
            found = package.printed(one, stock)
        except (OSError, ValueError):  # one face of hundreds can't draw one of its letters
            continue
        yield found


def _arrays(memory: mmap.mmap, pages: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    side = package.CANVAS
    pixels = pages * PAGE * 2 * side * side * 4
    pictures = np.frombuffer(memory, np.uint8, pixels).reshape(pages, PAGE, 2, side, side, 4)
    numbers = np.frombuffer(memory, np.float32, pages * PAGE * _NUMBERS, offset=pixels).reshape(pages, PAGE, _NUMBERS)
    return pictures, numbers


def _work(
    make_stock: Callable[[], Stock], memory: mmap.mmap, worker: int, workers: int, seed: int, free: Any, ready: Any
) -> None:
    os.nice(5)
    torch.set_num_threads(1)
    parent = os.getppid()
    pictures, numbers = _arrays(memory, 2)
    source = print_pages(make_stock(), seed + worker, workers)
    page = 0
    while True:
        wait_for(free, parent)
        for row in range(PAGE):
            one = next(source)
            pictures[page, row, 0], pictures[page, row, 1] = one.front, one.other
            numbers[page, row] = (*one.size, *one.other_size, one.kind, one.family, one.variant)
        ready.put((worker, page))
        page = 1 - page


class Press:
    """`workers` processes and a pool of the last `capacity` designs on `device`.

    `fresh`: designs that are printed for each one drawn, beyond those that fill the pool. On a machine whose processors train, too,
    less printing leaves more of them for that.
    """

    def __init__(
        self, make_stock: Callable[[], Stock], workers: int, capacity: int, seed: int, fresh: float = math.inf
    ) -> None:
        context = multiprocessing.get_context("fork")
        side = package.CANVAS
        size = 2 * PAGE * (2 * side * side * 4 + _NUMBERS * 4)
        self.ready = context.SimpleQueue()
        self.free, self.memories, self.processes = [], [], []
        for worker in range(workers):
            memory, free = mmap.mmap(-1, size), context.Semaphore(2)
            arguments = (make_stock, memory, worker, workers, seed, free, self.ready)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            self.free.append(free)
            self.memories.append(memory)
            self.processes.append(process)
        self.capacity = capacity // PAGE * PAGE
        self.fresh = fresh
        self.printed = self.drawn = 0

    def open(self, device: torch.device) -> None:
        """Begin to fill the pool."""
        side = package.CANVAS
        self.pictures = torch.zeros(self.capacity, 2, 4, side, side, dtype=torch.uint8, device=device)
        self.numbers = torch.zeros(self.capacity, _NUMBERS, dtype=torch.float64, device=device)
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        while True:
            while self.printed > self.capacity + (self.fresh * self.drawn if self.drawn else 0):  # inf * 0 is no number
                time.sleep(0.05)
            worker, page = self.ready.get()
            pictures, numbers = _arrays(self.memories[worker], 2)
            at = self.printed % self.capacity
            moved = torch.from_numpy(pictures[page]).to(self.pictures.device)
            self.pictures[at : at + PAGE] = moved.permute(0, 1, 4, 2, 3)
            self.numbers[at : at + PAGE] = torch.from_numpy(numbers[page].astype(np.float64)).to(self.numbers.device)
            self.free[worker].release()
            self.printed += PAGE

    def wait(self, count: int) -> None:
        """Until that many designs have been printed. Raises RuntimeError where a process has died."""
        while self.printed < count:
            if not all(process.is_alive() for process in self.processes):
                raise RuntimeError("a printing process ended; see its message above")
            time.sleep(0.05)

    def draw(self, runs: int, length: int) -> tuple[Prints, Tensor]:
        """`runs` times `length` neighbouring designs, siblings often, and their products (runs * length,)."""
        there = min(self.printed, self.capacity)
        self.drawn += runs * length
        # Always as many, none twice: a GPU prepares its kernels anew, for ten seconds, at every new size of a batch.
        offset = int(torch.randint(length, ()))
        blocks = torch.randperm((there - length) // length, device=self.numbers.device)[:runs]
        chosen = (blocks[:, None] * length + offset + torch.arange(length, device=blocks.device)).flatten()
        pictures, numbers = self.pictures[chosen], self.numbers[chosen]
        product = (numbers[:, 5] * 8 + numbers[:, 6]).long()
        sizes = numbers[:, :4].float()
        return Prints(pictures[:, 0], pictures[:, 1], sizes[:, :2], sizes[:, 2:], numbers[:, 4].long()), product

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()
