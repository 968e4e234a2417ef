"""How long work says how far it is: the one type of a progress bar, or of nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class Progress(Protocol):
    """Wraps a stream whose length is known: gives the same items in the same order, and shows how many have come.

    `stream`: what is worked through; `total`: how many items it will have. `terminal.progress_bar` makes one.
    """

    def __call__(self, stream: Iterable[_Item], total: int, /) -> Iterable[_Item]: ...
