"""Does an exported file still find the same products? Recall and neighbours against the source, by the runtime's own index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..edge.encoders.encoder import Encoder
from ..edge.errors import EncoderError, VectorError
from ..edge.imaging.image import Pixels
from ..edge.index.vector_index import VectorIndex
from .encoders import Vectors
from .errors import ExportError
from .photos import Photos

NEIGHBOURS = 5
MIN_OVERLAP = 0.75
"""An encoder whose nearest photos are mostly others is another encoder, whatever its recall: int8 files that were broken by
per-tensor weights kept 0.34 of the neighbours, sound ones 0.93 and more (measured on MobileNetV2)."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a set of embeddings finds: recall@1 from 0 to 1, and each query's nearest photos (Q, 5)."""

    recall_at_1: float
    neighbours: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Score:
    """An exported file against its source. Recall in points of 0 to 100; cosines one a photo."""

    recall_at_1: float
    recall_loss_points: float
    overlap_at_5: float
    cosines: NDArray[np.float64]
    max_abs_difference: float

    @property
    def cosine_mean(self) -> float:
        return float(self.cosines.mean())

    @property
    def cosine_min(self) -> float:
        return float(self.cosines.min())

    def shortfall(self, gate_points: float) -> str:
        """Why the gate is not met, "" where it is."""
        # Recall comes in steps of one query; a sum of floats must not turn 0.5 into 0.50000001.
        if self.recall_loss_points > gate_points + 1e-9:
            return f"recall@1 fell by {self.recall_loss_points:.2f} points, the gate allows {gate_points:g}"
        if self.overlap_at_5 < MIN_OVERLAP:
            return (
                f"only {self.overlap_at_5:.0%} of the five nearest photos are the source's, "
                f"at least {MIN_OVERLAP:.0%} are expected"
            )
        return ""


class Gate:
    """The reference retrieval, and what is held against it.

    Each photo of `photos` is a query against all others; with `queries`, those are asked against all of `photos`.
    """

    def __init__(
        self, photos: Photos, queries: Photos | None, reference: Vectors, query_reference: Vectors | None
    ) -> None:
        self.photos, self.queries = photos, queries
        self._unit = _unit(reference)
        self._query_unit = None if query_reference is None else _unit(query_reference)
        self.reference = self._retrieve(self._unit, self._query_unit)

    @property
    def count(self) -> int:
        """How many queries recall is measured on: one of them is this many hundredths of a point."""
        return int(self._counting().sum())

    def score(self, encoder: Encoder) -> Score:
        """Embed all photos by the file and its own runtime, and compare. Raises NoDirection, or ExportError for a file that
        can't be run."""
        unit = embed_all(encoder, self.photos.pixels)
        query_unit = None if self.queries is None else embed_all(encoder, self.queries.pixels)
        return self.score_vectors(unit, query_unit)

    def score_vectors(self, unit: Vectors, query_unit: Vectors | None = None) -> Score:
        """The same for vectors that are there already, (N, D') of any norm; where D' is not D there are no cosines."""
        found = self._retrieve(unit, query_unit)
        shared = [
            len(np.intersect1d(ours, theirs)) / ours.size
            for ours, theirs in zip(found.neighbours, self.reference.neighbours, strict=True)
        ]
        pairs = [(unit, self._unit)]
        if query_unit is not None and self._query_unit is not None:
            pairs.append((query_unit, self._query_unit))
        same = unit.shape[1] == self._unit.shape[1]
        cosines = np.concatenate([_cosines(a, b) if same else np.full(len(a), np.nan) for a, b in pairs])
        difference = max(float(np.abs(_unit(a) - b).max()) for a, b in pairs) if same else float("nan")
        loss = 100 * (self.reference.recall_at_1 - found.recall_at_1)
        return Score(found.recall_at_1, loss, float(np.mean(shared)), cosines, difference)

    def _counting(self) -> NDArray[np.bool_]:
        """The queries whose product has another photo to find."""
        skus = np.array(self.photos.skus)
        if self.queries is not None:
            return np.isin(np.array(self.queries.skus), skus)
        _, places, counts = np.unique(skus, return_inverse=True, return_counts=True)
        return np.asarray(counts[places] > 1)

    def _retrieve(self, unit: Vectors, query_unit: Vectors | None) -> Retrieval:
        skus = np.array(self.photos.skus)
        try:
            index = VectorIndex.build(unit, kind="exact")
            ids, _ = index.search(unit if query_unit is None else query_unit, NEIGHBOURS + (query_unit is None))
        except VectorError as error:
            raise ExportError(f"the embeddings can't be searched: {error}") from error
        if query_unit is None:
            own = np.arange(len(unit))[:, np.newaxis]
            # A photo that is there twice may come before itself: what is left out is the photo, not the first hit.
            ids = np.stack([row[row != me][:NEIGHBOURS] for row, me in zip(ids, own, strict=True)])
        queried = skus if self.queries is None else np.array(self.queries.skus)
        right = skus[ids[:, 0]] == queried
        return Retrieval(float(right[self._counting()].mean()), ids)


class NoDirection(ExportError):
    """An exported file gives an embedding of norm zero, or one that isn't finite: the gate refuses it."""


def embed_all(encoder: Encoder, pixels: Pixels) -> Vectors:
    """(N, H, W, 3) → (N, D) unit vectors, by the runtime. Raises NoDirection, or ExportError for a file that it can't run."""
    try:
        return np.stack([encoder.embed_pixels(one) for one in pixels])
    except VectorError as error:
        raise NoDirection("it gives an embedding without direction for some photo") from error
    except EncoderError as error:
        raise ExportError(f"the exported file fails: {error}") from error


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ExportError(
            "the source gives an embedding without direction (all zero, NaN or infinite) for some photo; "
            "is it trained, and are mean and std the right ones?"
        )
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit


def _cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    result: NDArray[np.float64] = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    return result
