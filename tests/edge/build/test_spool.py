"""Rows that wait on the disk answer as the array would, and take no memory while they wait."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge.build.embed_photos import Embedded
from shelfmatch.edge.build.enroll import Enrolled
from shelfmatch.edge.build.spool import Spool, in_blocks
from shelfmatch.edge.catalog.ids import PHOTO_BITS


def filled(folder: Path, rows: np.ndarray) -> Spool[np.float32]:  # type: ignore[type-arg]
    spool = Spool(folder, rows.shape[1:], np.float32)
    for row in rows:
        spool.append(row)
    return spool


@pytest.mark.parametrize("count", [0, 1, 2500])
def test_indexing_reads_what_the_array_would_give(tmp_path: Path, count: int) -> None:
    rows = np.random.default_rng(1).normal(size=(count, 3, 5)).astype(np.float32)
    spool = filled(tmp_path, rows)
    assert spool.shape == rows.shape and len(spool) == count
    assert (spool[:] == rows).all()
    mask = np.arange(count) % 3 == 1
    places = np.flatnonzero(mask)[::-1]
    for chosen in (mask, places, np.zeros(count, bool)):
        assert (spool[chosen] == rows[chosen]).all() and spool[chosen].shape == rows[chosen].shape
    assert (spool[places, 1] == rows[places, 1]).all()


def test_rows_come_after_more_are_appended(tmp_path: Path) -> None:
    spool = filled(tmp_path, np.ones((3, 4), np.float32))
    assert len(spool[:]) == 3
    spool.append(np.full(4, 7, np.float32))
    assert (spool[np.array([3])] == 7).all()


def test_blocks_are_all_chosen_rows_in_their_order(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(3000, 4)).astype(np.float32)
    keep = np.random.default_rng(3).random(3000) < 0.7
    found = np.empty((int(keep.sum()), 4), np.float32)
    for places, block in in_blocks(filled(tmp_path, rows), keep):
        assert len(block) <= 1024
        found[places] = block
    assert (found == rows[keep]).all()


def test_the_file_has_no_name_and_is_gone_with_the_rows(tmp_path: Path) -> None:
    spool = filled(tmp_path, np.ones((3, 4), np.float32))
    assert list(tmp_path.iterdir()) == []
    assert (spool[:] == 1).all()
    file = spool._file
    del spool
    assert file.closed


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    spool = filled(tmp_path, np.ones((3, 4), np.float32))
    spool[:][0] = 5
    assert (spool[:] == 1).all()


def test_collected_photos_are_not_held_in_memory(tmp_path: Path) -> None:
    photos, wide = 2000, 3400

    def stream() -> Iterator[tuple[int, Embedded]]:
        for number in range(photos):
            vector = np.full(256, number, np.float32)
            views = np.empty((0, 256), np.float32)
            yield number << PHOTO_BITS, Embedded(vector, views, True, np.full((1, wide), number % 251, np.uint8))

    tracemalloc.start()
    try:
        enrolled = Enrolled.collect(stream(), 256, photos, tmp_path)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 500_000  # the cells alone are 6.8 MB
    assert enrolled.cells is not None and (enrolled.cells[np.array([1999])] == 1999 % 251).all()
    assert (enrolled.vectors[np.array([7, 1999])][:, 0] == [7, 1999]).all()
