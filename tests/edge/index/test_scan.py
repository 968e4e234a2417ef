"""The exact scan: with NumKong, without it, and on cores without dot products the same answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmatch.edge.index._scan import Scan, _ConvertedBlock, _NumpyBlock, _PackedBlock, _StreamedBlock, kth_bound
from shelfmatch.edge.index.vector_index import VectorIndex
from tests.support import tiers
from tests.support.vectors import DTYPES, SAME_SCORE, clusters, fixed, gaussian, sparse, unit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimension", [1, 3, 40, 127, 128, 1000])
def test_numpy_scans_like_numkong(dtype: str, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    rows = unit(np.concatenate([gaussian(random, 60, dimension), sparse(random, 60, dimension)]))
    types: dict[str, Any] = {"i8": np.int8, "f16": np.float16, "f32": np.float32}
    stored = np.rint(rows * 127 / np.abs(rows).max()).astype(np.int8) if dtype == "i8" else rows.astype(types[dtype])
    stored[~stored.any(axis=1), 0] = 1
    queries = stored[[0, 5, 119]]
    truth = unit(queries) @ unit(stored).T
    whole = (_StreamedBlock, _ConvertedBlock) if stored.dtype == np.int8 else ()
    for block in (_PackedBlock(stored), _NumpyBlock(stored), *(kind([stored], *stored.shape) for kind in whole)):
        assert np.abs(block.cosines(queries) - truth).max() < 2e-6  # float32 sums of 1,000 products
    assert _PackedBlock(stored).cosines(queries).shape == (3, 120)


def test_without_numkong_the_answers_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    vectors, queries = clusters(random, 9000, 33), clusters(random, 20, 33)
    VectorIndex.build(vectors).save(tmp_path / "shop.vec")
    ids, scores = VectorIndex.load(tmp_path / "shop.vec").search(queries, 20)
    monkeypatch.setitem(sys.modules, "numkong", None)  # what Python calls a module that can't be imported
    plain = VectorIndex.load(tmp_path / "shop.vec")
    assert all(isinstance(block, _NumpyBlock) for block in plain._scan._blocks)  # type: ignore[union-attr]
    plain_ids, plain_scores = plain.search(queries, 20)
    assert (plain_ids == ids).all() and (plain_scores == scores).all()


def test_cores_without_dot_products_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Raspberry Pi 3 or 4: rows become floats a few at a time, and their sums are the same whole numbers."""
    numkong = pytest.importorskip("numkong")
    random = np.random.default_rng(6)
    rows = random.integers(-127, 128, (3001, 200)).astype(np.int8)
    rows[:2] = 127  # the largest sums there are
    usual = Scan([rows], *rows.shape, rows.dtype)
    capabilities = {**numkong.get_capabilities(), "neon": True, "neonsdot": False}
    monkeypatch.setattr(numkong, "get_capabilities", lambda: capabilities)
    scan = Scan([rows[:70], rows[70:]], *rows.shape, rows.dtype)
    assert [type(block) for block in scan._blocks] == [_ConvertedBlock]
    for count in (1, 3):
        assert np.array_equal(scan.scores(rows[:count]), usual.scores(rows[:count]))
    wide = random.integers(-127, 128, (5, 1100)).astype(np.int8)  # float32 would round
    assert not any(isinstance(block, _ConvertedBlock) for block in Scan([wide], *wide.shape, wide.dtype)._blocks)


@pytest.mark.parametrize("dimension", [24, 200])
def test_a_scan_of_many_blocks_keeps_the_rows_order(dimension: int) -> None:
    rows = np.random.default_rng(5).integers(-127, 128, (9000, dimension)).astype(np.int8)
    whole = Scan([rows], *rows.shape, rows.dtype).scores(rows[:2])
    assert whole.shape == (2, 9000)
    assert np.abs(whole - unit(rows[:2]) @ unit(rows).T).max() < SAME_SCORE
    blocks = [rows[:10], rows[10:5000], rows[5000:]]
    assert (Scan(blocks, *rows.shape, rows.dtype).scores(rows[:2]) == whole).all()


@settings(fixed, max_examples=tiers.count(100, soak=500))
@given(
    count=st.integers(1, 5000),
    values=st.sampled_from([1, 3, 100, 10_000_000]),
    k=st.one_of(st.integers(1, 20), st.integers(1, 5000)),
    seed=st.integers(0, 2**32 - 1),
)
def test_kth_bound_is_reached_by_at_least_k(count: int, values: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, values, count).astype(np.float32) / np.float32(values)
    k = min(k, count)
    bound = kth_bound(scores, k)
    assert bound <= np.sort(scores)[-k] and (scores >= bound).sum() >= k


def test_kth_bound_is_reached_by_few_more() -> None:
    scores = np.random.default_rng(6).random(10_000).astype(np.float32)
    assert (scores >= kth_bound(scores, 10)).sum() < 60
