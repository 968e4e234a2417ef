"""Programs of random changes and searches: after each step the index answers as brute force does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shelfmatch.edge import VectorError
from shelfmatch.edge.index._vectors import MAX_ID
from shelfmatch.edge.index.vector_index import VectorIndex
from tests.support import tiers
from tests.support.vectors import (
    DTYPES,
    KINDS,
    KINDS_OF_DATA,
    SAME_SCORE,
    check_answer,
    check_stored,
    fixed,
    held_by,
    snapshot,
    unit,
)

PROGRAMS = tiers.count(240, soak=2_500)


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
