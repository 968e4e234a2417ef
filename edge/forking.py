"""Forks of a process whose other threads are at work: in the child only the thread that forked lives on.

What the others held (a lock, a session of the network, a statement of SQLite, an import) nobody gives back there. So no fork
happens while a thread is in one of `at_rest`'s sections, and who holds what a child can't use is told in the child to make it anew.
"""

from __future__ import annotations

import _imp
import importlib
import logging  # noqa: F401  registers a fork hook; those registered last are asked first, and ours must be before it
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

_LONGEST_WAIT_S = 10.0
"""For sections to end; then the fork happens all the same: one may wait for the thread that forks."""
_LONGEST_HOLD_S = 1.0
"""How long a waiting fork keeps threads from entering a section."""
_BEGINNING_S = 0.05
"""For imports that have got their lock and not shut it yet."""


class Forked(Protocol):
    """Has something that a forked child can't use."""

    def after_fork(self) -> None:
        """In the child, before anything else happens there: make locks anew, and leave the rest for when it is used."""
        ...


class _Sections:
    """`with at_rest:` around what a fork must not cut through: SQLite and runtimes have locks of their own, which a child would
    find closed. About a microsecond; sections of several threads may overlap, and those of one may nest."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._inside = 0
        self._forks_waiting = 0
        self._own = threading.local()

    def __enter__(self) -> None:
        own = self._own_depth()
        with self._changed:
            if self._forks_waiting and not own:
                # Else threads that take turns would keep a fork from ever finding all of them outside. Not for ever: a thread
                # inside may wait for this one.
                self._changed.wait_for(lambda: not self._forks_waiting, _LONGEST_HOLD_S)
            self._inside += 1
        self._own.depth = own + 1

    def __exit__(self, *_: object) -> None:
        self._own.depth = self._own_depth() - 1
        with self._changed:
            self._inside -= 1
            if self._forks_waiting:
                self._changed.notify_all()

    def _own_depth(self) -> int:
        """In how many sections the calling thread is."""
        depth: int = getattr(self._own, "depth", 0)
        return depth

    def before_fork(self) -> None:
        """Come back where no thread is in a section or in the middle of an import; none enters a section, or begins an import,
        until the fork is done."""
        own = self._own_depth()  # a thread that forks inside a section would wait for itself
        until = time.monotonic() + _LONGEST_WAIT_S
        begun = time.monotonic() + _BEGINNING_S
        while True:
            self._changed.acquire()
            self._forks_waiting += 1
            self._changed.wait_for(lambda: self._inside <= own, until - time.monotonic())
            self._forks_waiting -= 1
            # Every import passes this one first, for a moment, to get a lock for its module. A fork holds it, too, but takes it
            # later than this: another thread could begin an import in between.
            _imp.acquire_lock()
            if not _is_importing(time.monotonic() < begun) or time.monotonic() >= until:
                return
            _imp.release_lock()
            self._changed.notify_all()
            self._changed.release()  # what is imported may have to enter one
            time.sleep(0.001)

    def after_in_parent(self) -> None:
        _imp.release_lock()
        self._changed.notify_all()
        self._changed.release()

    def after_in_child(self) -> None:
        _imp.release_lock()
        own = self._own_depth()
        self._renew()
        self._inside = self._own.depth = own  # of all threads only this one is left


def _is_importing(beginning: bool) -> bool:
    """Whether another thread is importing a module: its lock on that is one that Python leaves shut in the child. `beginning`:
    count those who have got a lock and are about to shut it; somebody who keeps an ImportError may keep such a lock for ever."""
    locks: dict[object, Callable[[], object]] = getattr(importlib._bootstrap, "_module_locks", {})
    me = threading.get_ident()
    alive = [lock for found in list(locks.values()) if (lock := found()) is not None]
    owners = [getattr(lock, "owner", None) for lock in alive]
    return any(owner not in (None, me) or (owner is None and beginning) for owner in owners)


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
