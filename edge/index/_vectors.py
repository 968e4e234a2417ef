"""Ids, vectors and queries as they arrive at an index: checked, of unit norm, and as the scan and the graph take them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import VectorError
from ._codes import NUMPY_DTYPES, Dtype, scaled_to_127

Ids: TypeAlias = NDArray[np.uint32]

MAX_ID = 2**32 - 2


def checked_ids(ids: NDArray[Any]) -> Ids:
    array = np.asarray(ids).reshape(-1)
    if array.size == 0:
        return np.empty(0, np.uint32)
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > MAX_ID:
        raise VectorError(f"ids of {array.dtype} arrived; expected whole numbers from 0 to {MAX_ID}")
    if len(np.unique(array)) != len(array):
        raise VectorError("the same id arrived twice; expected each once")
    return array.astype(np.uint32)


def checked_vectors(vectors: NDArray[Any], dimension: int) -> NDArray[np.float32]:
    """(N, dimension) float32 of unit norm, or VectorError."""
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] != dimension or array.dtype.kind != "f":
        raise VectorError(f"vectors {array.shape} {array.dtype} arrived; expected (N, {dimension}) float32")
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as that
            array = array.astype(np.float32)
    with np.errstate(invalid="ignore"):  # numpy's square root on 32-bit ARM complains of infinity
        norms = np.sqrt(np.einsum("nd,nd->n", array, array))
    in_range = (norms > 1e-15) & (norms < 1e15)
    if not in_range.all():  # wrong, or squares beyond float32's range
        peaks = np.where(in_range, np.float32(1), np.abs(array).max(axis=1))
        bad = np.flatnonzero(~np.isfinite(peaks) | (peaks == 0))
        if len(bad):
            raise VectorError(f"vector {bad[0]} is zero or holds NaN or infinity; expected a direction")
        array = array / peaks[:, np.newaxis]
        norms = np.sqrt(np.einsum("nd,nd->n", array, array))
    unit: NDArray[np.float32] = array / norms[:, np.newaxis]
    return unit


def checked_pairs(ids: NDArray[Any], vectors: NDArray[Any], dimension: int) -> tuple[Ids, NDArray[np.float32]]:
    """As many ids as vectors: (N,) ids and (N, D) unit vectors. Raises VectorError."""
    new_ids, unit = checked_ids(ids), checked_vectors(vectors, dimension)
    if len(new_ids) != len(unit):
        raise VectorError(f"{len(new_ids)} ids and {len(unit)} vectors arrived; expected as many of each")
    return new_ids, unit


def unit_query(query: NDArray[Any], dimension: int) -> NDArray[np.float32]:
    """(Q, dimension) of unit norm; a single one from an encoder is that already, which costs one product to see."""
    array = np.asarray(query)
    if array.ndim != 2:
        array = array.reshape(1, -1)
    if array.shape == (1, dimension) and array.dtype == np.float32:
        row = array[0]
        with np.errstate(over="ignore", invalid="ignore"):  # wrong ones are named below
            square = float(row.dot(row))
        if abs(square - 1) < 1e-6:
            return array
    return checked_vectors(array, dimension)


def coarse_query(unit: NDArray[np.float32], dtype: Dtype) -> NDArray[Any]:
    """One (1, D) query as the graph takes it."""
    if dtype == "i8":
        unit = np.rint(unit * np.float32(127 / float(np.abs(unit).max())))
    coarse: NDArray[Any] = unit.astype(NUMPY_DTYPES[dtype])
    return coarse


def coarse_queries(unit: NDArray[np.float32], dtype: Dtype) -> tuple[NDArray[Any], list[float]]:
    """Queries as the scan takes them, and the angle (radians) by which each was turned on the way."""
    if len(unit) == 1 and dtype == "i8":  # what a camera asks, one photo at a time: half the calls of the general case
        query = unit[0]
        whole = np.rint(query * np.float32(127 / float(np.abs(query).max())))
        cosine = float(whole.dot(query)) / math.sqrt(float(whole.dot(whole)))
        return whole.astype(np.int8)[np.newaxis], [math.acos(max(-1.0, min(1.0, cosine - 1e-6)))]
    values = np.rint(scaled_to_127(unit)) if dtype == "i8" else unit.astype(NUMPY_DTYPES[dtype]).astype(np.float32)
    coarse: NDArray[Any] = values.astype(NUMPY_DTYPES[dtype])
    cosines = np.einsum("nd,nd->n", values, unit) / np.sqrt(np.einsum("nd,nd->n", values, values))
    return coarse, [math.acos(max(-1.0, min(1.0, cosine - 1e-6))) for cosine in cosines.tolist()]


def batches(
    rows: Iterable[tuple[int, NDArray[np.float32]]], size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """(id, vector) pairs of a stream, up to `size` at a time, as ids (N,) and vectors (N, D)."""
    iterator = iter(rows)
    while part := list(itertools.islice(iterator, size)):
        yield np.array([row[0] for row in part], np.int64), np.stack([row[1] for row in part])
