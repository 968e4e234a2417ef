"""The vector index against brute force: programs of changes and searches, hostile vectors, files."""

from __future__ import annotations

import hashlib
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shelfmatch.edge import BundleDamaged, BundleVersion, VectorError
from shelfmatch.edge.index._codes import RowFile
from shelfmatch.edge.index._scan import Scan, _ConvertedBlock, _NumpyBlock, _PackedBlock, _StreamedBlock, kth_bound
from shelfmatch.edge.index._vectors import MAX_ID
from shelfmatch.edge.index.vector_index import HNSW_FROM_ELEMENTS, VectorIndex, choose_kind
from tests.support import tiers

KINDS = ("exact", "hnsw")
DTYPES = ("i8", "f16", "f32")
PROGRAMS = tiers.count(240, soak=2_500)
SAME_SCORE = 1e-6
"""float32 cosines of up to 128 components differ from float64 ones by up to 3e-7."""

fixed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def gaussian(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    return random.normal(size=(count, dimension)).astype(np.float32)


def near_duplicates(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Around a few directions, a thousandth apart."""
    centres = random.normal(size=(1 + count // 50, dimension))
    rows = centres[random.integers(len(centres), size=count)] + 1e-3 * random.normal(size=(count, dimension))
    return rows.astype(np.float32)


def duplicates(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Few different values: many vectors come several times, and ids decide."""
    rows = random.integers(-1, 2, (count, dimension)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1
    return rows


def sparse(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Non-negative with many zeros, like pooled ReLU features."""
    rows = np.abs(random.normal(size=(count, dimension))) * (random.random((count, dimension)) < 0.15)
    rows[:, random.integers(dimension)] += 0.01
    return rows.astype(np.float32)


def one_huge(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """One component takes all of int8's range; the others, which tell the vectors apart, round to a few steps."""
    rows = random.normal(size=(count, dimension))
    rows[:, 0] = 60
    return rows.astype(np.float32)


def any_length(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """From lengths whose squares vanish in float32 to lengths whose squares overflow."""
    scale = 10.0 ** random.integers(-30, 30, (count, 1))
    return (random.normal(size=(count, dimension)) * scale).astype(np.float32)


KINDS_OF_DATA = (gaussian, near_duplicates, duplicates, sparse, one_huge, any_length)


def unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    rows = np.asarray(vectors, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


Held: TypeAlias = tuple[NDArray[np.uint32], NDArray[np.float64]]


def held_by(index: VectorIndex) -> Held:
    """Ids and vectors as stored."""
    return index.ids, unit(index.vectors())


def check_answer(
    held: Held,
    query: NDArray[np.float32],
    k: int,
    ids: NDArray[np.uint32],
    scores: NDArray[np.float32],
    allowed: NDArray[Any] | None = None,
) -> None:
    """Hold one answer against all cosines with the vectors as stored, in float64."""
    stored_ids, stored = held
    if allowed is not None:
        stored, stored_ids = stored[np.isin(stored_ids, allowed)], stored_ids[np.isin(stored_ids, allowed)]
    assert ids.shape == scores.shape == (min(k, len(stored_ids)),)
    assert len(np.unique(ids)) == len(ids) and np.isin(ids, stored_ids).all()
    truth = np.einsum("nd,d->n", stored, unit(query))
    best = np.lexsort((stored_ids, -truth))[: len(ids)]
    place = {int(one): row for row, one in enumerate(stored_ids)}
    found = np.array([place[int(one)] for one in ids], np.intp)
    assert np.abs(scores - truth[found]).max(initial=0) < SAME_SCORE
    differ = ids != stored_ids[best]
    assert (np.abs(truth[found] - truth[best])[differ] < SAME_SCORE).all()
    steps = np.diff(scores)
    assert (steps <= 0).all() and (np.diff(ids.astype(np.int64))[steps == 0] > 0).all()
    # Of vectors that are stored alike, those with the smaller ids come first, and at the end of the list instead of others.
    by_bytes: dict[bytes, list[int]] = {}
    reached = np.flatnonzero(truth >= truth[found].min(initial=2) - SAME_SCORE)
    for row in reached[np.argsort(stored_ids[reached])]:
        by_bytes.setdefault(stored[row].tobytes(), []).append(int(stored_ids[row]))
    for alike in by_bytes.values():
        if len(alike) > 1:
            present = [one for one in ids.tolist() if one in set(alike)]
            assert present == alike[: len(present)]


def check_stored(index: VectorIndex, model: dict[int, NDArray[np.float32]]) -> None:
    """The index holds the model's vectors, each as near as its dtype allows."""
    assert len(index) == len(model) and set(index.ids.tolist()) == set(model)
    if not model:
        return
    given = unit(np.stack([model[one] for one in index.ids.tolist()]))
    stored = index.vectors()
    assert np.abs(np.linalg.norm(stored, axis=1) - 1).max() < SAME_SCORE
    # Half a step a component: a 32nd of 1/127 of the peak with the fine bits, a half of it without; half an ulp; nothing.
    peaks = np.abs(given).max(axis=1)
    step = {"i8": peaks / 127 / (32 if index.kind == "exact" else 2), "f16": 2.0**-11 * peaks, "f32": 0 * peaks}
    assert (np.abs(stored - given).max(axis=1) <= 2.5 * step[index.dtype] + SAME_SCORE).all()


def snapshot(index: VectorIndex) -> tuple[bytes, bytes]:
    return index.ids.tobytes(), index.vectors().tobytes()


class Program:
    """An index and what it should hold, changed side by side."""

    def __init__(self, kind: str, dtype: Any, dimension: int, data: Callable[..., Any], folder: Path) -> None:
        self.index = VectorIndex.build(np.empty((0, dimension), np.float32), kind=kind, dtype=dtype)
        self.model: dict[int, NDArray[np.float32]] = {}
        self.dimension, self.data, self.folder = dimension, data, folder

    def ids(self, random: np.random.Generator, present: int, new: int) -> NDArray[np.uint32]:
        """So many ids of both kinds, shuffled; new ones may be any the index takes."""
        known = np.fromiter(self.model, np.uint32, len(self.model))
        pool = np.setdiff1d(np.concatenate([random.integers(0, 200, 99), random.integers(0, MAX_ID + 1, 99)]), known)
        picked = np.concatenate([random.permutation(known)[:present], random.permutation(pool)[:new]])
        return random.permutation(picked).astype(np.uint32)

    def vectors(self, random: np.random.Generator, count: int) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self.data(random, count, self.dimension)
        return rows

    def add(self, random: np.random.Generator) -> None:
        ids = self.ids(random, 0, int(random.integers(0, 40)))
        vectors = self.vectors(random, len(ids))
        if random.random() < 0.5:
            self.index.add(ids, vectors)
        else:
            self.index.extend(zip(ids.tolist(), vectors, strict=True), batch=int(random.integers(1, 20)))
        self.model.update(zip(ids.tolist(), vectors, strict=True))

    def remove(self, random: np.random.Generator) -> None:
        ids = self.ids(random, int(random.integers(0, len(self.model) + 1)), 0)
        self.index.remove(ids)
        for one in ids.tolist():
            del self.model[one]

    def replace(self, random: np.random.Generator) -> None:
        ids = self.ids(random, int(random.integers(0, 30)), int(random.integers(0, 10)))
        vectors = self.vectors(random, len(ids))
        self.index.replace(ids, vectors)
        self.model.update(zip(ids.tolist(), vectors, strict=True))

    def search(self, random: np.random.Generator) -> None:
        queries = self.vectors(random, 3)
        if self.model:
            queries[0] = self.model[int(random.choice(list(self.model)))]
        k = int(random.integers(1, len(self.model) + 10))
        allowed = None
        if random.random() < 0.5:
            allowed = self.ids(random, int(random.integers(0, len(self.model) + 1)), int(random.integers(0, 5)))
        ids, scores = self.index.search(queries, k, allowed=allowed)
        if allowed is not None:  # the same filter, said the quick way
            by_mask = self.index.search(queries, k, allowed=np.isin(self.index.ids, allowed))
            assert np.array_equal(by_mask[0], ids) and np.array_equal(by_mask[1], scores)
        held = held_by(self.index)
        for row, query in enumerate(queries):
            check_answer(held, query, k, ids[row], scores[row], allowed)
            alone = self.index.search(query, k, allowed=allowed)
            assert (alone[0][0] == ids[row]).all() and (alone[1][0] == scores[row]).all()

    def search_groups(self, random: np.random.Generator) -> None:
        """Products and their photos are ids that agree in all but some last bits."""
        query = (
            self.vectors(random, 1)[0] if random.random() < 0.7 or not self.model else -next(iter(self.model.values()))
        )
        bits, count = int(random.choice([0, 2, 12])), int(random.integers(1, 40))
        allowed = self.ids(random, int(random.integers(0, len(self.model) + 1)), 2) if random.random() < 0.3 else None
        ids, scores = self.index.search_groups(query, count, bits=bits, allowed=allowed)
        stored_ids, stored = held_by(self.index)
        truth = dict(zip(stored_ids.tolist(), np.einsum("nd,d->n", stored, unit(query)).tolist(), strict=True))
        best: dict[int, float] = {}
        for one, cosine in truth.items():
            if allowed is None or one in allowed:
                best[one >> bits] = max(best.get(one >> bits, -2), cosine)
        found: dict[int, float] = {}
        for one, score in zip(ids.tolist(), scores.tolist(), strict=True):
            assert abs(score - truth[one]) < SAME_SCORE and (allowed is None or one in allowed)
            found.setdefault(one >> bits, score)
        expected = sorted(best.values(), reverse=True)[:count]
        assert np.abs(np.array(list(found.values())[:count]) - expected).max(initial=0) < SAME_SCORE
        assert all(abs(score - best[group]) < SAME_SCORE for group, score in list(found.items())[:count])

    def reload(self, random: np.random.Generator) -> None:
        path = self.folder / "program.vec"
        self.index.save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        before = snapshot(self.index)
        self.index = VectorIndex.load(path, sha256=digest, writable=random.random() < 0.5)
        path.unlink()
        assert snapshot(self.index) == before

    def refuse(self, random: np.random.Generator) -> None:
        before = snapshot(self.index)
        name, call = refusals(self, random)[int(random.integers(20)) % len(refusals(self, random))]
        with pytest.raises(VectorError):
            call()
            pytest.fail(f"{name} was taken")
        assert snapshot(self.index) == before


def refusals(program: Program, random: np.random.Generator) -> list[tuple[str, Callable[[], Any]]]:
    """Calls that must raise VectorError and change nothing."""
    index, new = program.index, program.ids(random, 0, 2)
    present = program.ids(random, 1, 0)
    good = program.vectors(random, 2)
    bad = good.copy()
    bad[1, int(random.integers(index.dimension))] = random.choice([np.nan, np.inf, -np.inf])
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("NaN or infinity", lambda: index.add(new, bad)),
        ("NaN or infinity, in a stream", lambda: index.extend(zip(new.tolist(), bad, strict=True), batch=1)),
        ("a zero vector", lambda: index.add(new, good * np.float32([[1], [0]]))),
        ("one dimension too many", lambda: index.add(new, np.pad(good, ((0, 0), (0, 1))))),
        ("whole numbers", lambda: index.add(new, np.ones(good.shape, np.int32))),
        ("an id twice", lambda: index.add(new[[0, 0]], good)),
        ("an id twice, in a stream", lambda: index.extend([(7, good[0]), (7, good[1])], batch=1)),
        ("more vectors than ids", lambda: index.add(new[:1], good)),
        ("an absent id", lambda: index.remove(np.concatenate([present, new[:1]]))),
        ("NaN in a replacement", lambda: index.replace(np.append(present, new)[:2], bad)),
        ("fewer vectors than ids to replace", lambda: index.replace(np.append(present, new)[:2], good[:1])),
        ("an id twice to replace", lambda: index.replace(np.append(present, new)[[0, 0]], good)),
        ("a NaN query", lambda: index.search(bad, 3)),
        ("k of 0", lambda: index.search(good, 0)),
        ("a NaN query for groups", lambda: index.search_groups(bad[1], 3, bits=2)),
    ]
    if len(present):
        calls.append(("an id that is there", lambda: index.add(np.append(new[:1], present), good)))
    return calls


STEPS = (
    Program.add,
    Program.remove,
    Program.replace,
    Program.search,
    Program.search_groups,
    Program.reload,
    Program.refuse,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_changes_and_searches_equal_brute_force(kind: str, dtype: str, tmp_path: Path) -> None:
    @settings(fixed, max_examples=-(-PROGRAMS // (len(KINDS) * len(DTYPES))))
    @given(
        dimension=st.integers(1, 40),
        data=st.sampled_from(KINDS_OF_DATA),
        steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2**32 - 1)), min_size=1, max_size=9),
    )
    def run(dimension: int, data: Callable[..., Any], steps: list[tuple[Callable[..., None], int]]) -> None:
        program = Program(kind, dtype, dimension, data, tmp_path)
        for seed in range(len(steps) % 4):  # 0 to 3 helpings before the program starts
            program.add(np.random.default_rng([seed, dimension]))
        for step, seed in steps:
            step(program, np.random.default_rng(seed))
        check_stored(program.index, program.model)
        program.search(np.random.default_rng(dimension))
        program.search_groups(np.random.default_rng(dimension))

    run()


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


def clusters(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Like a shop: a hundred photos around each of a hundred directions."""
    centres = random.normal(size=(100, dimension))
    rows = centres[random.integers(100, size=count)] + 0.4 * random.normal(size=(count, dimension))
    return rows.astype(np.float32)


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
@pytest.mark.parametrize(("kind", "count"), [("exact", 130), ("exact", 30_000), ("hnsw", 130), ("hnsw", 1500)])
def test_a_saved_index_is_the_same_index(kind: str, count: int, dtype: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    vectors, queries = gaussian(random, count, 129), gaussian(random, 5, 129)
    index = VectorIndex.build(vectors, np.arange(count)[::-1].copy(), kind=kind, dtype=dtype)
    path = tmp_path / "saved.vec"
    index.save(path)
    loaded = VectorIndex.load(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    # 30,000 x 129 are fetched from the file as they are ranked; fewer are kept in memory.
    assert isinstance(loaded._codes, RowFile) == (kind == "exact" and count == 30_000)
    path.unlink()
    for one in (loaded, index):
        ids, scores = one.search(queries, 10)
        assert (ids == index.search(queries, 10)[0]).all() and (scores == index.search(queries, 10)[1]).all()
    some = np.array([0, 7, 129, count - 1])
    assert (loaded.vectors(some) == index.vectors(some)).all() and (index.vectors()[some] == index.vectors(some)).all()
    assert loaded.kind == kind and loaded.dtype == dtype and snapshot(loaded) == snapshot(index)
    loaded.add(np.array([count + 5]), queries[:1])
    assert loaded.search(queries[0], 1)[0][0, 0] == count + 5 and len(loaded) == count + 1


@pytest.mark.parametrize(("kind", "count"), [("exact", 100), ("exact", 60_000), ("hnsw", 1000)])
def test_an_index_can_be_saved_over_the_file_it_reads_from(kind: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "same.vec"
    VectorIndex.build(gaussian(np.random.default_rng(11), count, 64), kind=kind).save(path)
    before = path.read_bytes()
    VectorIndex.load(path).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["same.vec"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_as_saved_is_refused(kind: str, dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / "saved.vec"
    VectorIndex.build(gaussian(np.random.default_rng(12), 300, 20), kind=kind, dtype=dtype).save(path)
    good = path.read_bytes()
    digest = hashlib.sha256(good).hexdigest()
    random = np.random.default_rng(13)
    for place in [*range(64), *random.integers(64, len(good), 60).tolist()]:
        damaged = bytearray(good)
        damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises((BundleDamaged, BundleVersion)):
            VectorIndex.load(path, sha256=digest)
    for length in (0, 1, 63, 64, 200, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(BundleDamaged):
            VectorIndex.load(path, sha256=digest)
        if kind == "exact":
            with pytest.raises(BundleDamaged):
                VectorIndex.load(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(BundleDamaged):
        VectorIndex.load(path, sha256=digest)
    path.write_bytes(good[:8] + struct.pack("<I", 2) + good[12:])
    with pytest.raises(BundleVersion, match="format 2"):
        VectorIndex.load(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        VectorIndex.load(path)


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
