"""The best products by their best references, in one search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shelfmatch.edge import VectorError, VectorIndex

BITS = 12


def shop(random: np.random.Generator, products: int, photos: int, dimension: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors around one centre a product, in shuffled order, and their ids."""
    centres = random.normal(size=(products, dimension))
    of = random.permutation(np.repeat(np.arange(products), photos))
    spread = random.choice([0.01, 0.2, 1.0])
    vectors = centres[of] + spread * random.normal(size=(len(of), dimension))
    numbers = np.array([(of[:row] == product).sum() for row, product in enumerate(of)])
    return vectors.astype(np.float32), (of.astype(np.uint32) << BITS) + numbers.astype(np.uint32)


def best_by_brute_force(
    index: VectorIndex, query: NDArray[Any], allowed: NDArray[Any] | None = None
) -> list[tuple[int, float]]:
    """(product, cosine of its best reference) of all products, best first."""
    cosines = index.vectors() @ (query / np.linalg.norm(query))
    best: dict[int, float] = {}
    for row in np.argsort(-cosines, kind="stable"):
        if allowed is None or index.ids[row] in allowed:
            best.setdefault(int(index.ids[row]) >> BITS, float(cosines[row]))
    return list(best.items())


def found_products(ids: NDArray[Any], scores: NDArray[Any]) -> list[tuple[int, float]]:
    found: dict[int, float] = {}
    for reference, score in zip(ids.tolist(), scores.tolist(), strict=True):
        found.setdefault(reference >> BITS, score)
    return list(found.items())


@pytest.mark.parametrize("dtype", ["i8", "f16", "f32"])
@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_equals_brute_force(kind: str, dtype: Any) -> None:
    random = np.random.default_rng([len(kind), len(dtype)])
    for _ in range(60):
        products, photos = int(random.integers(1, 40)), int(random.integers(1, 12))
        dimension = int(random.integers(2, 50))
        vectors, ids = shop(random, products, photos, dimension)
        index = VectorIndex.build(vectors, ids, kind=kind, dtype=dtype)
        for _ in range(5):
            query = (vectors[random.integers(len(vectors))] + 0.3 * random.normal(size=dimension)).astype(np.float32)
            count = int(random.integers(1, 8))
            allowed = random.choice(ids, size=len(ids) // 2 + 1, replace=False) if random.random() < 0.3 else None
            expected = best_by_brute_force(index, query, allowed)[:count]
            found = found_products(*index.search_groups(query, count, bits=BITS, allowed=allowed))[:count]
            assert len(found) == len(expected)
            # Products as near as rounding may come in either order; their scores can't differ.
            assert np.allclose([score for _, score in found], [score for _, score in expected], atol=3e-6)


def test_follows_changes() -> None:
    random = np.random.default_rng(5)
    vectors, ids = shop(random, 20, 4, 16)
    index = VectorIndex.build(vectors, ids)
    query = vectors[7]
    own = int(ids[7]) >> BITS
    assert found_products(*index.search_groups(query, 3, bits=BITS))[0][0] == own
    index.remove(ids[ids >> BITS == own])
    assert own not in dict(found_products(*index.search_groups(query, 100, bits=BITS)))
    index.add(np.array([(99 << BITS) + 1]), query[np.newaxis])
    assert found_products(*index.search_groups(query, 1, bits=BITS))[0][0] == 99


def test_an_empty_shop_and_a_filter_that_nothing_passes() -> None:
    empty = VectorIndex(8)
    ids, scores = empty.search_groups(np.ones(8, np.float32), 3, bits=BITS)
    assert ids.shape == scores.shape == (0,)
    index = VectorIndex.build(np.eye(8, dtype=np.float32))
    assert index.search_groups(np.ones(8, np.float32), 3, bits=BITS, allowed=np.array([77]))[0].shape == (0,)


def test_refuses_what_is_no_direction() -> None:
    index = VectorIndex.build(np.eye(8, dtype=np.float32))
    for query in (np.zeros(8), np.full(8, np.nan), np.ones(7)):
        with pytest.raises(VectorError):
            index.search_groups(query.astype(np.float32), 3, bits=BITS)
    with pytest.raises(VectorError, match="count"):
        index.search_groups(np.ones(8, np.float32), 0, bits=BITS)
