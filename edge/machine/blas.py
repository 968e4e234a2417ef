"""How many threads numpy's matrix products use."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)


class _Fits:
    """Those under way, in threads of their own or within each other, and how many threads to go back to after the last one."""

    lock = threading.Lock()
    under_way = 0
    threads_before = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Matrix products of this process use one thread within. Only where numpy brings OpenBLAS (its wheels do); elsewhere nothing.

    OpenBLAS's threads wait for each other in a busy loop. A fit is many products that take less than a millisecond: of 5,000
    products it takes 1.7 s of processor time with one thread, and beside another program 17 s with two, and ten times as long.
    """
    library = _library()
    if library is None:
        yield
        return
    count, set_count = library
    with _Fits.lock:
        if not _Fits.under_way:
            _Fits.threads_before = count()
            set_count(1)
        _Fits.under_way += 1
    try:
        yield
    finally:
        with _Fits.lock:
            _Fits.under_way -= 1
            if not _Fits.under_way:
                set_count(_Fits.threads_before)


def _library() -> tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer] | None:
    """OpenBLAS's functions that get and set the number of threads."""
    package = Path(np.__file__).parent
    for path in (*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")):
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in _NAMES:
            try:
                return loaded[name.format("get")], loaded[name.format("set")]
            except AttributeError:
                continue
    return None
