"""Groups of references: the ids that agree in all but their last bits, like a product's photos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._vectors import Ids


class Groups:
    """The rows of an index by group, worked out once for these very slots and bits. `group_of`: (N,) each row's group."""

    def __init__(self, slots: Ids, bits: int) -> None:
        self.slots, self.bits = slots, bits
        keys = slots >> np.uint32(bits)
        # What brings groups together; None where they are.
        self._order = None if (keys[1:] >= keys[:-1]).all() else np.argsort(keys, kind="stable")
        ordered = keys if self._order is None else keys[self._order]
        changes = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        numbers = (np.cumsum(changes) - 1).astype(np.int32)
        self._starts: NDArray[np.intp] = np.flatnonzero(changes)
        self.group_of: NDArray[np.int32] = numbers
        if self._order is not None:
            self.group_of = np.empty_like(numbers)
            self.group_of[self._order] = numbers

    def peaks(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) scores of the rows → (G,) the best of each group."""
        best: NDArray[np.float32] = np.maximum.reduceat(
            scores if self._order is None else scores[self._order], self._starts
        )
        return best


def best_of_groups(ids: Ids, scores: NDArray[np.float32], count: int, bits: int) -> tuple[Ids, NDArray[np.float32]]:
    """The first of each of the first `count` groups, from references sorted by score."""
    _, first = np.unique(ids >> np.uint32(bits), return_index=True)
    first = np.sort(first)[:count]
    return ids[first], scores[first]
