"""Vectors of many kinds, and brute force that says what an index must answer."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from shelfmatch.edge.index.vector_index import VectorIndex

KINDS = ("exact", "hnsw")
DTYPES = ("i8", "f16", "f32")
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


def clusters(random: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Like a shop: a hundred photos around each of a hundred directions."""
    centres = random.normal(size=(100, dimension))
    rows = centres[random.integers(100, size=count)] + 0.4 * random.normal(size=(count, dimension))
    return rows.astype(np.float32)
