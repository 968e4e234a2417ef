"""From the log to one receiver: each entry in order, again and again until it has arrived or was refused for good."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable
from typing import Final, Literal, Self, TextIO

from ..errors import EventError
from .entry import Entry
from .log import Consumer, EventLog

logger = logging.getLogger(__name__)

Outcome = Literal["arrived", "refused"]
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
_WAIT_S: Final = 0.5


class NotDelivered(Exception):
    """The receiver can't be reached or can't take it now. `pause_s`: when it wants to be tried again, 0 for no wish."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Courier:
    """A thread that carries something away until it is stopped. `start` and `stop`, or a context.

    `run` delivers until it is to end, and calls `_arrived` when something arrives. Whatever it raises, it is called again after a
    pause. Pauses grow from 1 s to a minute, each drawn from its second half, so that many devices don't come at once.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.name = name
        self.problem = ""
        """Why nothing arrives at the moment; empty where all is well."""
        self._pause_s = FIRST_PAUSE_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, args=(run,), name=f"events to {name}", daemon=True)

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def stop(self, timeout_s: float = 5.0) -> None:
        """Deliver what can be delivered at once, then end."""
        self._ended.set()
        self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- the thread

    def _go_on(self, run: Callable[[], None]) -> None:
        while True:
            try:
                run()
                return
            except NotDelivered as error:
                self._failed(str(error))
                pause_s = error.pause_s
            except Exception as error:  # whatever it was: a thread that is gone delivers nothing, and nobody would know
                self._failed(f"{type(error).__name__}: {error}")
                pause_s = 0.0
            if self._ended.wait(pause_s or random.uniform(self._pause_s / 2, self._pause_s)):
                return
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _failed(self, problem: str) -> None:
        problem = " ".join(problem.split())
        if problem != self.problem:
            logger.warning("%s: %s; events wait in the log", self.name, problem)
        self.problem = problem

    def _arrived(self) -> None:
        self.problem, self._pause_s = "", FIRST_PAUSE_S

    def _await_entry(self, consumer: Consumer, timeout_s: float, after: int | None = None) -> None:
        """Wait for an entry behind `after`. One that can't be read, since the disk fails, would be waited for without a pause."""
        if consumer.wait(timeout_s, after) and not consumer.pending(1, after):
            self._ended.wait(timeout_s)


class Delivery(Courier):
    """A thread that takes one consumer's entries to `send`, which raises NotDelivered."""

    def __init__(self, log: EventLog, name: str, send: Callable[[Entry], Outcome]) -> None:
        super().__init__(name, self._run)
        self._consumer = log.consumer(name)
        self._send = send

    def _run(self) -> None:
        while True:
            while entries := self._consumer.pending():
                for entry in entries:
                    take(self._consumer, entry, self._send)
                    self._arrived()
            if self._ended.is_set():
                return
            self._await_entry(self._consumer, _WAIT_S)


def take(consumer: Consumer, entry: Entry, send: Callable[[Entry], Outcome]) -> None:
    """Send one entry and note that it arrived. Raises NotDelivered."""
    refused = send(entry) == "refused"
    if refused:
        logger.warning("%s: the receiver refused message %s for good; it is left out", consumer.name, entry.message_id)
    consumer.done(entry, refused=refused)


def json_lines(stream: TextIO) -> Callable[[Entry], Outcome]:
    """A `send` that writes each entry to a stream as one line of JSON."""

    def send(entry: Entry) -> Outcome:
        try:
            stream.write(json.dumps(entry.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise NotDelivered(f"the lines can't be written: {error}") from error
        return "arrived"

    return send


def is_host(text: str) -> bool:
    """Whether this can be a host's name or address: the system's resolver raises UnicodeError for a..b and for parts of 64
    characters."""
    try:
        return text.isprintable() and not set(text) & set(" /\\@?#[]") and bool(text.encode("idna"))
    except UnicodeError:
        return False


def checked_seconds(name: str, value: float, least: float, most: float) -> float:
    """A setting in seconds. Raises EventError."""
    if not least <= value <= most:
        raise EventError(f"{name} is {value!r}; expected {least:g} to {most:g} seconds")
    return value
