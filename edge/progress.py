"""How long work says how far it is: the one type of a progress bar, or of nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class Progress(Protocol):
    """Wraps a stream whose length is known: gives the same items in the same order, and shows how many have come.

    `stream`: what is worked through; `total`: how many items it will have. `terminal.progress_bar` makes one. One that has a method
    `named(description, unit)`, which gives a Progress, is shown the later stages of long work as well; see `stage`.
    """

    def __call__(self, stream: Iterable[_Item], total: int, /) -> Iterable[_Item]: ...


def stage(progress: Progress | None, description: str, unit: str) -> Progress:
    """The progress of a later stage: what `progress.named` makes, where it has that; otherwise one that shows nothing. So whoever
    hands in a plain function is called for the photos alone."""
    named = getattr(progress, "named", None)
    made: Progress = named(description, unit) if named is not None else _unseen
    return made


def _unseen(stream: Iterable[_Item], total: int, /) -> Iterable[_Item]:
    return stream
