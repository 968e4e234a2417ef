"""The vector index: what it refuses, what exact searches and graphs find, filters and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import VectorError
from shelfmatch.edge.index._vectors import MAX_ID
from shelfmatch.edge.index.kinds import HNSW_FROM_ELEMENTS, choose_kind
from shelfmatch.edge.index.vector_index import VectorIndex
from tests.support.vectors import (
    DTYPES,
    KINDS,
    check_answer,
    clusters,
    duplicates,
    gaussian,
    held_by,
    near_duplicates,
    one_huge,
    sparse,
    unit,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_index_answers_nothing(kind: str, dtype: Any, tmp_path: Path) -> None:
    index = VectorIndex.build(np.empty((0, 7), np.float32), kind=kind, dtype=dtype)
    index.save(tmp_path / "empty.vec")
    for empty in (index, VectorIndex.load(tmp_path / "empty.vec")):
        ids, scores = empty.search(np.ones((3, 7), np.float32), 5)
        assert ids.shape == scores.shape == (3, 0)
        assert len(empty) == 0 and empty.vectors().shape == (0, 7)


@pytest.mark.parametrize(
    ("queries", "words"),
    [
        (np.zeros(8, np.float32), "zero"),
        (np.full(8, np.nan, np.float32), "NaN"),
        (np.full(8, np.inf, np.float32), "infinity"),
        (np.array([np.inf, 0, 0, 0, 0, 0, 0, 1], np.float32), "infinity"),
        (np.full((2, 8), 1e300), "infinity"),
        (np.ones(9, np.float32), r"\(1, 9\).*expected \(N, 8\)"),
        (np.ones((1, 2, 8), np.float32), "expected"),
        (np.ones(8, np.int64), "int64"),
        (np.array(1.0), "expected"),
        (np.array(["a"] * 8), "expected"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_query_without_a_direction_is_refused(kind: str, queries: Any, words: str) -> None:
    index = VectorIndex.build(np.eye(8, dtype=np.float32), kind=kind)
    with pytest.raises(VectorError, match=words):
        index.search(queries, 1)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, 1], "twice"),
        ([-1, 0], "whole numbers"),
        ([MAX_ID + 1, 0], "whole numbers"),
        ([0.5, 1.5], "whole numbers"),
        ([True, False], "whole numbers"),
        ([0], "1 ids and 2 vectors"),
    ],
)
def test_ids_that_are_none_are_refused(ids: list[Any], words: str) -> None:
    with pytest.raises(VectorError, match=words):
        VectorIndex.build(np.eye(2, dtype=np.float32), np.array(ids))
    assert len(VectorIndex.build(np.eye(2, dtype=np.float32), np.array([0, MAX_ID]))) == 2


def test_settings_that_are_none_are_refused() -> None:
    for settings_ in ({"kind": "flat"}, {"dtype": "i4"}):
        with pytest.raises(VectorError, match="expected"):
            VectorIndex(8, **settings_)  # type: ignore[arg-type]
    for dimension in (0, 65537):
        with pytest.raises(VectorError, match="1 to 65536"):
            VectorIndex(dimension)
    with pytest.raises(VectorError, match="expected"):
        VectorIndex.build(np.ones(8, np.float32))


def test_int8_finds_what_floats_find_in_two_megabytes(tmp_path: Path) -> None:
    rows = clusters(np.random.default_rng(1), 10_200, 128)
    vectors, queries = rows[:10_000], rows[10_000:]
    index = VectorIndex.build(vectors, dtype="i8")
    truth = np.argsort(-unit(queries) @ unit(vectors).T, axis=1)[:, :10]
    found, _ = index.search(queries, 10)
    hits = sum(len(set(a) & set(b)) for a, b in zip(truth.tolist(), found.tolist(), strict=True))
    assert hits / truth.size >= 0.99
    index.save(tmp_path / "shop.vec")
    assert (tmp_path / "shop.vec").stat().st_size <= 2_000_064


@pytest.mark.parametrize("data", [near_duplicates, sparse, one_huge, duplicates], ids=lambda data: data.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_misses_nothing_of_hostile_data(dtype: Any, data: Callable[..., Any]) -> None:
    rows = data(np.random.default_rng(2), 10_010, 128)
    index = VectorIndex.build(rows[:10_000], kind="exact", dtype=dtype)
    held = held_by(index)
    exact = np.random.default_rng(3).integers(-127, 128, (3, 128)).astype(np.float32)
    exact[:, :2] = 0, 127  # queries that int8 doesn't turn, across the huge component: all error is the vectors'
    for query in np.concatenate([rows[:5], rows[10_000:], exact]):
        for k in (1, 10, 200):
            ids, scores = index.search(query, k)
            check_answer(held, query, k, ids[0], scores[0])


@pytest.mark.parametrize("kind", KINDS)
def test_few_allowed_among_many_are_found_alone(kind: str) -> None:
    random = np.random.default_rng(3)
    index = VectorIndex.build(gaussian(random, 5000, 16), kind=kind)
    index.remove(np.arange(0, 5000, 7))
    held = held_by(index)
    for count in (1, 2, 5, 38, 400):
        for _ in range(20):
            allowed = random.choice(5000, count, replace=False)
            query = gaussian(random, 1, 16)[0]
            ids, scores = index.search(query, 5, allowed=allowed)
            check_answer(held, query, 5, ids[0], scores[0], allowed)
    assert index.search(query, 5, allowed=np.array([7, 14]))[0].shape == (1, 0)


def test_auto_takes_the_graph_where_a_scan_gets_slow() -> None:
    rows = HNSW_FROM_ELEMENTS // 128
    assert choose_kind((rows - 1, 128)) == "exact" and choose_kind((rows, 128)) == "hnsw"
    assert choose_kind((10, 10), "hnsw") == "hnsw" and choose_kind((10**9, 128), "exact") == "exact"
    with pytest.raises(VectorError, match="auto, exact or hnsw"):
        choose_kind((1, 1), "flat")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_graph_finds_what_a_scan_finds_through_all_changes(dtype: Any, tmp_path: Path) -> None:
    rows = clusters(np.random.default_rng(7), 4100, 48)
    rows, queries = rows[:4000], rows[4000:]
    index = VectorIndex.build(rows[:3000], kind="hnsw", dtype=dtype)

    def recall() -> float:
        stored_ids, stored = index.ids, unit(index.vectors())
        truth = stored_ids[np.argsort(-unit(queries) @ stored.T, axis=1)[:, :10]]
        found, scores = index.search(queries, 10)
        place = {int(one): row for row, one in enumerate(stored_ids)}
        exact = [unit(q) @ stored[[place[int(one)] for one in f]].T for q, f in zip(queries, found, strict=True)]
        assert np.abs(np.array(exact) - scores).max() < (0.01 if dtype == "i8" else 0.001)  # the query is stored alike
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth.tolist(), found.tolist(), strict=True)]))

    floor = 0.97
    assert recall() >= floor
    index.remove(np.arange(0, 500))  # below the limit: slots stay as gone
    assert len(index) == 2500 and len(index._slots) == 3000 and recall() >= floor
    index.save(tmp_path / "graph.vec")
    index = VectorIndex.load(tmp_path / "graph.vec")
    (tmp_path / "graph.vec").unlink()
    assert len(index) == 2500 and recall() >= floor
    index.add(np.arange(3000, 4000), rows[3000:])  # to a graph that is only mapped
    assert len(index) == 3500 and recall() >= floor
    index.add(np.arange(0, 500), rows[:500])
    assert len(index) == 4000 and recall() >= floor
    assert index.search(rows[17], 1)[0][0, 0] == 17
    index.remove(np.arange(0, 3000))  # beyond the limit: the graph is built again
    assert len(index) == len(index._slots) == 1000 and recall() >= floor
    assert index.search(queries, 1000)[0].min() >= 3000


def test_a_graph_finds_every_reference_and_is_the_same_again(tmp_path: Path) -> None:
    """On any number of cores: threads that add at a time would lose some, others each time."""
    rows = clusters(np.random.default_rng(9), 5000, 32)
    for name in ("one", "again"):
        index = VectorIndex.build(rows, kind="hnsw")
        found, _ = index.search(rows, 1)
        assert (found[:, 0] == np.arange(5000)).all()
        index.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_graph_whose_nearest_are_gone_finds_the_next(dtype: Any) -> None:
    random = np.random.default_rng(8)
    rows = clusters(random, 3001, 24)
    index = VectorIndex.build(rows[:3000], kind="hnsw", dtype=dtype)
    query = rows[3000]
    nearest = index.search(query, 590)[0][0]
    index.remove(nearest)
    assert len(index._slots) == 3000  # not built again: the 590 still lie around the query
    ids, _ = index.search(query, 10)
    stored = unit(index.vectors()) @ unit(query)
    assert not np.isin(ids, nearest).any() and ids.shape == (1, 10)
    assert np.mean(np.isin(ids, index.ids[np.argsort(-stored)[:10]])) >= 0.8
    everything, _ = index.search(query, 5000)
    assert sorted(everything[0].tolist()) == sorted(index.ids.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_threads_search_one_index_without_disturbing_each_other(kind: str) -> None:
    random = np.random.default_rng(9)
    index = VectorIndex.build(clusters(random, 5000, 32), kind=kind)
    queries = clusters(random, 200, 32)
    expected = [index.search(query, 10) for query in queries]
    wrong: list[int] = []

    def search() -> None:
        for number, query in enumerate(queries):
            ids, scores = index.search(query, 10)
            if not ((ids == expected[number][0]).all() and (scores == expected[number][1]).all()):
                wrong.append(number)

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_opposite_is_found_last(dtype: Any) -> None:
    """Scanned cosines may be a rounding below -1."""
    random = np.random.default_rng(14)
    for dimension in (*range(1, 40), *range(100, 200)):
        row = gaussian(random, 1, dimension)
        index = VectorIndex.build(np.concatenate([row, -row]), kind="exact", dtype=dtype)
        for query in (row[0], index.vectors()[0]):
            for ids, scores in (index.search(query, 2), index.search_groups(query, 2, bits=0)):
                assert ids.ravel().tolist() == [0, 1]
                assert np.abs(scores.ravel() - [1, -1]).max() < 1e-3


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_few_and_many_rows_of_a_filter_rank_alike(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are few are ranked at once, more are scanned first: two ways to one answer."""
    random = np.random.default_rng(8)
    index = VectorIndex.build(unit(random.standard_normal((3000, 24))), np.arange(3000) * 3, kind=kind)
    index.remove(index.ids[random.random(3000) < 0.1])
    for share in (0.01, 0.1, 0.5):
        mask, query = random.random(len(index)) < share, unit(random.standard_normal((1, 24)))
        answers = []
        for few in (0, 10_000):
            monkeypatch.setattr("shelfmatch.edge.index.vector_index._FEW_ROWS", few)
            monkeypatch.setattr("shelfmatch.edge.index.vector_index._FEW_GRAPH_ROWS", few)
            assert (index._few_rows(index._eligible(mask)) is None) == (few == 0)
            groups = index.search_groups(query[0], 4, bits=5, allowed=mask)
            leaders = dict(zip((groups[0] >> 5).tolist()[::-1], groups[0].tolist()[::-1], strict=True))
            best = sorted(leaders.values(), key=groups[0].tolist().index)[:4]
            answers.append((index.search(query, 7, allowed=mask)[0].tolist(), best))
        assert answers[0] == answers[1] and len(answers[0][0][0]) == 7 and len(answers[0][1]) == 4


def test_a_mask_of_another_length_is_refused() -> None:
    index = VectorIndex.build(unit(np.eye(4)))
    with pytest.raises(VectorError, match=r"allowed \(3,\) of bools arrived; expected \(4,\), one for each id"):
        index.search(np.eye(4)[0].astype(np.float32), 1, allowed=np.ones(3, bool))
