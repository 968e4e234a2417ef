"""The arithmetic of the shop adapter: Fisher's linear discriminant among the leading principal components.

The within-class scatter is shrunk towards a sphere (R. A. Fisher 1936, "The use of multiple measurements in taxonomic problems";
J. Friedman 1989, "Regularized discriminant analysis"; Belhumeur et al. 1997, "Eigenfaces vs. Fisherfaces").
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..scoring.adapter import MAX_DIMENSION, Adapter, Floats
from .pictures import MIN_PACKSHOTS, Pictures

COMPONENTS = 768
"""Principal components kept: 384 find two points less on the grocery validation photos, all 1,024 no more."""

_TALL, _BLOCK = 4, 1024
_COLUMNS = 128
"""Added at a time: of 24,000 pictures 12 MB."""


def adapter_of(pictures: Pictures, shrinkage: float) -> Adapter:
    mean, packshot_mean = centers(pictures)
    rows = _centred(pictures, mean, packshot_mean)
    basis = principal(rows)
    rows = rows @ basis
    (matrix,) = discriminants(rows, pictures.products, pictures.weights(), (shrinkage,))
    return Adapter(mean, packshot_mean, basis @ matrix)


def reduced(pictures: Pictures) -> Floats:
    """(N, R): the pictures, centred, in their leading principal components."""
    rows = _centred(pictures, *centers(pictures))
    return rows @ principal(rows)


def _centred(pictures: Pictures, mean: Floats, packshot_mean: Floats) -> Floats:
    """(N, D) less the mean of their kind, in one copy."""
    rows = pictures.vectors.copy()
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows[part] -= np.where(pictures.is_packshot[part, np.newaxis], packshot_mean, mean)
    return rows


def means_of(
    rows: Floats, products: NDArray[np.int64], weights: NDArray[np.float32]
) -> tuple[NDArray[np.int64], Floats]:
    labels, place = np.unique(products, return_inverse=True)
    sums = weighted_sums(rows, place, weights)
    norms = np.sqrt(np.einsum("nd,nd->n", sums, sums))
    sums[norms == 0, 0] = norms[norms == 0] = 1
    return labels, sums / norms[:, np.newaxis]


def centers(pictures: Pictures) -> tuple[Floats, Floats]:
    """The mean of the photos' class means, and that of the packshots'; one for both where there are few packshots."""
    shots = pictures.is_packshot
    everything = _class_mean_mean(pictures)
    if (~shots).sum() == 0 or shots.sum() < MIN_PACKSHOTS:
        center = everything if not shots.any() or shots.all() else _class_mean_mean(pictures.take(~shots))
        return center, center
    return _class_mean_mean(pictures.take(~shots)), _class_mean_mean(pictures.take(shots))


def _class_mean_mean(pictures: Pictures) -> Floats:
    labels, place, counts = np.unique(pictures.products, return_inverse=True, return_counts=True)
    mean: Floats = weighted_sums(pictures.vectors, place, (1 / counts / len(labels)).astype(np.float32)[place]).sum(
        axis=0
    )
    return mean


def weighted_sums(rows: Floats, place: NDArray[np.intp], weights: NDArray[np.float32]) -> Floats:
    """(P, D): weighted sums of the rows at each place, of which each has some. Sorted and added run by run, some columns at a time:
    a product with a matrix of memberships grows with products times rows, and takes a second a round at 5,000 products."""
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    own = weights[order, np.newaxis]
    sums = np.empty((len(starts), rows.shape[1]), np.float32)
    for start in range(0, rows.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        sums[:, part] = np.add.reduceat(rows[order, part] * own, starts, axis=0)
    return sums


def principal(rows: Floats) -> Floats:
    """(D, R) orthonormal: the leading principal directions of centred (N, D) rows."""
    most = min(COMPONENTS, len(rows), rows.shape[1])
    if len(rows) >= rows.shape[1]:
        _, directions = np.linalg.eigh(rows.T @ rows)
        return np.ascontiguousarray(directions[:, ::-1][:, :most])
    # Fewer rows than columns: the rows' Gram matrix has the same eigenvalues.
    values, left = np.linalg.eigh(rows @ rows.T)
    keep = values > values[-1] * 1e-6
    basis: Floats = (rows.T @ (left[:, keep] / np.sqrt(values[keep])))[:, ::-1][:, :most]
    return np.ascontiguousarray(basis)


def discriminants(
    rows: Floats, products: NDArray[np.int64], weights: NDArray[np.float32], shrinkages: tuple[float, ...]
) -> Iterator[Floats]:
    """For each shrinkage the (R, d) map: whitening of the shrunk within-class scatter, then the leading directions of the
    class means; d is at most MAX_DIMENSION and the number of classes less one."""
    labels, place = np.unique(products, return_inverse=True)
    means = weighted_sums(rows, place, weights) / np.bincount(place, weights).astype(np.float32)[:, np.newaxis]
    scatter = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
    for start in range(0, len(rows), _BLOCK):
        within = rows[start : start + _BLOCK] - means[place[start : start + _BLOCK]]
        scatter += within.T @ within
    values, vectors = np.linalg.eigh(scatter / max(1, len(rows) - len(labels)))
    values = np.maximum(values, 0)
    sphere = float(values.mean()) or 1.0
    between = (means - means.mean(axis=0)) @ vectors
    del rows, means, within, scatter  # a generator keeps what it had until its next turn
    for shrinkage in shrinkages:
        scale = 1 / np.sqrt((1 - shrinkage) * values + shrinkage * sphere)
        strengths, axes = _axes_of(between * scale)
        most = min(MAX_DIMENSION, len(labels) - 1, int((strengths > strengths[0] * 1e-5).sum()))
        yield (vectors * scale) @ axes[: max(1, most)].T


def _axes_of(rows: Floats) -> tuple[Floats, Floats]:
    """Singular values and right singular vectors of (P, R) rows. Of far more rows than columns by way of their Gram matrix, in
    double precision: LAPACK's way takes 60 MB at 5,000 rows."""
    if len(rows) <= _TALL * rows.shape[1]:
        _, strengths, axes = np.linalg.svd(rows, full_matrices=False)
        return strengths, axes
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK].astype(np.float64)
        gram += part.T @ part
    values, vectors = np.linalg.eigh(gram)
    strengths = np.sqrt(np.maximum(values[::-1], 0)).astype(np.float32)
    return strengths, np.ascontiguousarray(vectors[:, ::-1].T).astype(np.float32)


def unit(rows: Floats) -> Floats:
    """(N, D) with norm 1; zero rows stay zero."""
    result: Floats = rows / np.maximum(np.sqrt(np.einsum("nd,nd->n", rows, rows)), 1e-12)[:, np.newaxis]
    return result
