"""Index files: the same index again, or a refusal."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import BundleDamaged, BundleVersion
from shelfmatch.edge.index._codes import RowFile
from shelfmatch.edge.index.vector_index import VectorIndex
from tests.support.vectors import DTYPES, KINDS, gaussian, snapshot


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


@pytest.mark.parametrize(("count", "dimension"), [(200, 20), (300, 10)])
def test_a_graph_that_is_another_files_is_damage_by_name(count: int, dimension: int, tmp_path: Path) -> None:
    path, other = tmp_path / "saved.vec", tmp_path / "other.vec"
    random = np.random.default_rng(14)
    VectorIndex.build(gaussian(random, 300, 20), kind="hnsw").save(path)
    VectorIndex.build(gaussian(random, count, dimension), kind="hnsw").save(other)
    path.write_bytes(path.read_bytes()[: 64 + 4 * 300] + other.read_bytes()[64 + 4 * count :])
    with pytest.raises(BundleDamaged) as caught:
        VectorIndex.load(path)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert str(caught.value).endswith("copy or build the bundle again")


@pytest.mark.parametrize("writable", [False, True])
def test_a_damaged_graph_is_refused_without_a_hash_too(writable: bool, tmp_path: Path) -> None:
    """Some of these ended the interpreter: usearch follows links wherever they point."""
    path = tmp_path / "saved.vec"
    index = VectorIndex.build(gaussian(np.random.default_rng(15), 300, 20), kind="hnsw")
    index.save(path)
    good = path.read_bytes()
    random = np.random.default_rng(16)
    for place in random.integers(64, len(good), 200).tolist():
        damaged = bytearray(good)
        damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(BundleDamaged, match=r"its checksum is .*; copy or build the bundle again"):
            VectorIndex.load(path, writable=writable)
    path.write_bytes(good[:32] + bytes(4) + good[36:])  # saved before files had one
    assert snapshot(VectorIndex.load(path, writable=writable)) == snapshot(index)
