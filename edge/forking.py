"""Forks of a process whose other threads are at work: in the child only the thread that forked lives on.

What the others held (a lock, a session of the network, a statement of SQLite, an import) nobody gives back there. So no fork
happens while a thread is in one of `at_rest`'s sections, and who holds what a child can't use is told in the child to make it anew.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

_LONGEST_WAIT_S = 10.0
"""For a section to end; then the fork happens all the same: its own thread may be in one."""


class Forked(Protocol):
    """Has something that a forked child can't use."""

    def after_fork(self) -> None:
        """In the child, before anything else happens there: make locks anew, and leave the rest for when it is used."""
        ...


class _Sections:
    """`with at_rest:` around what a fork must not cut through: SQLite and runtimes have locks of their own, which a child would
    find closed. About a microsecond; sections may overlap and nest."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._inside = 0

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Come back where no thread is in a section or in the middle of an import; none enters a section until the fork is done."""
        until = time.monotonic() + _LONGEST_WAIT_S
        while True:
            self._changed.acquire()
            self._changed.wait_for(lambda: not self._inside, until - time.monotonic())
            if not _is_importing() or time.monotonic() >= until:
                return
            self._changed.release()  # what is imported may have to enter one
            time.sleep(0.001)

    def after_in_parent(self) -> None:
        self._changed.release()

    def after_in_child(self) -> None:
        self._renew()


def _is_importing() -> bool:
    """Whether another thread is importing a module: its lock on that is one that Python leaves shut in the child."""
    locks: dict[object, Callable[[], object]] = getattr(importlib._bootstrap, "_module_locks", {})
    me = threading.get_ident()
    owners = [getattr(found(), "owner", None) for found in list(locks.values())]
    return any(owner not in (None, me) for owner in owners)


at_rest = _Sections()
_held: weakref.WeakSet[Forked] = weakref.WeakSet()
_renewed: list[Callable[[], None]] = []


def renew_after_fork(owner: Forked) -> None:
    """Have `owner.after_fork()` called in every child that is forked while it is in use."""
    with at_rest:  # the set is whole when a fork happens
        _held.add(owner)


def call_after_fork(function: Callable[[], None]) -> None:
    """The same for a module's own locks."""
    _renewed.append(function)


def _after_in_child() -> None:
    at_rest.after_in_child()
    for function in _renewed:
        function()
    for owner in list(_held):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=at_rest.before_fork, after_in_parent=at_rest.after_in_parent, after_in_child=_after_in_child
    )
