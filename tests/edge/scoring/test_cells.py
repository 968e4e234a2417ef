"""References' cells: which are looked at, and at what cost."""

from __future__ import annotations

import tracemalloc

import numpy as np

from shelfmatch.edge.catalog.ids import MAX_PHOTOS, MAX_PRODUCTS
from shelfmatch.edge.scoring.local import FIRST, LOOKS, Cells


def test_the_nearest_references_are_found_without_a_copy_of_all_ids() -> None:
    products = np.r_[0:100_000, MAX_PRODUCTS - 1]
    ids = (products[:, np.newaxis] * MAX_PHOTOS + np.arange(3)).reshape(-1).astype(np.uint32)
    count = len(ids)
    cells = Cells(
        ids,
        np.ones(count, np.float32),
        np.tile(np.array([[1], [3], [2]], np.int8), (count // 3, 1)),
        np.zeros((count, 1, 1), np.int8),
        np.zeros((count, 1), np.float16),
    )
    tracemalloc.start()
    rows, cosines, owners = cells.nearest(np.ones(1, np.float32), [MAX_PRODUCTS - 1, 7, 99_999, 0, 500_000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.tolist() == [count - 2, count - 1, 22, 299_998, 1] and len(rows) == LOOKS == FIRST + 3
    assert owners.tolist() == [0, 0, 1, 2, 3] and cosines.tolist() == [3, 2, 3, 3, 3]
    assert peak < ids.nbytes / 10
