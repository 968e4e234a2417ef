"""A loaded network: one small protocol that every runtime answers, and a pool that makes it thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import EncoderError
from ..forking import at_rest, renew_after_fork

if TYPE_CHECKING:  # `shelfmatch doctor` reads the table where numpy is broken
    from numpy.typing import NDArray

    from .card import Quantization


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a network: shape with -1 for free sizes, numpy dtype name, quantization or None."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None


class Session(Protocol):
    """One loaded network. `run` is not thread-safe; `SessionPool` is."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, value: NDArray[Any], output_name: str) -> NDArray[Any]:
        """Feed the only input (stored dtype, batch of one) and return one output (stored dtype) as a copy.

        Raises EncoderError if the network can't be computed.
        """
        ...

    def run_for(self, value: NDArray[Any], output_names: Sequence[str]) -> list[NDArray[Any]]:
        """As `run`, for several outputs of one run; what isn't asked for isn't copied."""
        ...


def shape_for_a_photo(session: Session, output: TensorInfo) -> tuple[int, ...]:
    """An output's shape. Where the file leaves open more than the batch, as it comes out of one run on an even picture: a free side
    can be 1, or the number of an image's patches. Raises EncoderError if the network can't be computed."""
    known = output.shape[1:] or output.shape  # the first of several is the batch
    tensor = session.inputs[0]
    if (known and min(known) > 0) or tensor.dtype not in ("uint8", "int8", "float32"):
        return output.shape
    import numpy as np

    even = np.full([max(1, side) for side in tensor.shape], 0 if tensor.dtype == "int8" else 1, tensor.dtype)
    return tuple(session.run(even, output.name).shape)


class SessionPool:
    """Up to `size` sessions of one network, opened as threads ask for them; a thread waits when all are lent.

    Beside a network of two milliseconds, what surrounds it counts: its code has left the caches each time. So a free session is
    taken from the list without a lock (which one operation of a list doesn't need), and the condition is only for who waits.

    A forked child opens sessions of its own: those of its parent are lent to threads that it doesn't have, or wait for threads
    of the runtime that it doesn't have either.
    """

    def __init__(self, open_one: Callable[[], Session], size: int) -> None:
        if size < 1:
            raise EncoderError(f"sessions is {size}; expected at least 1")
        self._open_one = open_one
        self._size = size
        self._left_behind: list[list[Session]] = []
        self._renew()
        renew_after_fork(self)

    def _renew(self) -> None:
        self._free: list[Session] = []
        self._opened = 0
        self._waiting = 0
        self._condition = threading.Condition()

    def after_fork(self) -> None:
        """In a forked child: begin with no session."""
        self._left_behind.append(self._free)  # not closed: closing waits for the runtime's threads
        self._renew()

    def borrow(self) -> _Loan:
        """In a `with`: a session for this thread alone; the most recently used first, whose weights are in the cache."""
        return _Loan(self)

    def take(self) -> Session:
        """A session that is this thread's until it is given back."""
        try:
            return self._free.pop()
        except IndexError:
            return self._wait_or_open()

    def give_back(self, session: Session) -> None:
        """What `take` returned."""
        self._free.append(session)
        # Who begins to wait after this line looks at the list first.
        if self._waiting:
            with self._condition:
                self._condition.notify()

    def close_free(self) -> None:
        """Let go of the sessions that nobody has borrowed, and of their memory; the next `take` opens one."""
        with self._condition, at_rest, suppress(IndexError):
            while True:
                self._free.pop()  # as in `take`, others may pop meanwhile
                self._opened -= 1

    def _wait_or_open(self) -> Session:
        with self._condition:
            self._waiting += 1
            try:
                while True:
                    with suppress(IndexError):
                        return self._free.pop()
                    if self._opened < self._size:
                        break
                    self._condition.wait()
                self._opened += 1
            finally:
                self._waiting -= 1
        try:
            with at_rest:
                return self._open_one()
        except BaseException:
            with self._condition:
                self._opened -= 1
                self._condition.notify()
            raise


class _Loan:
    """A session lent for a `with`."""

    __slots__ = ("_pool", "_session")

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool

    def __enter__(self) -> Session:
        self._session = self._pool.take()
        return self._session

    def __exit__(self, *_: object) -> None:
        self._pool.give_back(self._session)
