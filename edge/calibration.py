"""Fitting a shop's decision on its own photos: those left out are the known queries, products left out the unknown ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .catalog import product_of
from .decision import Decision, best_products, margin_of
from .errors import BundleError
from .index import VectorIndex

Floats = NDArray[np.float64]

MIN_SAMPLES = 20
"""Fewer known or unknown samples than this don't carry a fit of three numbers."""
MAX_SAMPLES = 2000
_DEFAULT_SCORE = 0.8
_DEFAULT_SLOPE = 40.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Scores and margins of top candidates, and whether the candidate was the right product."""

    scores: Floats
    margins: Floats
    right: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.scores)


def leave_one_out(index: VectorIndex, limit: int = MAX_SAMPLES) -> tuple[Samples, Samples]:
    """What the shop's own photos would score as queries: (known, unknown).

    Known: a photo against all others, where its product has another one. Unknown: a photo against all other products, as if
    the shop didn't sell its own. At most `limit` photos, evenly spread.
    """
    ids = index.ids
    picks = (
        np.unique(np.linspace(0, len(ids) - 1, min(limit, len(ids))).astype(np.intp))
        if len(ids)
        else np.empty(0, np.intp)
    )
    own_ids = ids[picks]
    vectors = index.vectors(picks) if len(picks) else np.empty((0, index.dimension), np.float32)
    products, counts = np.unique(product_of(ids), return_counts=True)
    photos_of = dict(zip(products.tolist(), counts.tolist(), strict=True))
    known: list[tuple[float, float, bool]] = []
    unknown: list[tuple[float, float, bool]] = []
    for own_id, hits in zip(own_ids.tolist(), _ranked_products(index, vectors, own_ids), strict=True):
        own = own_id >> 12
        if photos_of[own] > 1 and hits:
            known.append((*_lead(hits), hits[0][0] == own))
        others = [hit for hit in hits if hit[0] != own]
        if others:
            unknown.append((*_lead(others), False))
    return _samples(known), _samples(unknown)


def _ranked_products(
    index: VectorIndex, vectors: NDArray[np.float32], own_ids: NDArray[np.uint32]
) -> list[list[tuple[int, float]]]:
    """For each photo the (product, score) of the best products, itself left out: at least three where the shop has them."""
    ranked: list[list[tuple[int, float]]] = []
    distinct = len(np.unique(product_of(index.ids)))
    for start in range(0, len(vectors), 64):
        batch, own = vectors[start : start + 64], own_ids[start : start + 64]
        k = 64
        while True:
            found, scores = index.search(batch, k)
            lists = [best_products(f[f != o], s[f != o]) for f, s, o in zip(found, scores, own, strict=True)]
            if k >= len(index) or min(len(one) for one in lists) >= min(3, distinct):
                break
            k *= 4
        ranked += lists
    return ranked


def _lead(hits: list[tuple[int, float]]) -> tuple[float, float]:
    score = hits[0][1]
    return score, margin_of(score, hits[1][1] if len(hits) > 1 else None)


def _samples(rows: list[tuple[float, float, bool]]) -> Samples:
    scores, margins, right = zip(*rows, strict=True) if rows else ((), (), ())
    return Samples(np.array(scores, float), np.array(margins, float), np.array(right, bool))


def calibrate(
    known: Samples, unknown: Samples, false_accept_rate: float, method: Literal["leave-one-out", "synthetic-views"]
) -> Decision:
    """Fit the confidence (Platt scaling: J. Platt 1999, "Probabilistic outputs for support vector machines") and set the
    threshold at the unknowns' split-conformal quantile, ceil((n + 1)(1 - rate)) (Vovk, Gammerman & Shafer 2005).

    Known and unknown queries weigh the same in the fit. Too few of either: a default that says so.
    """
    if not 0 < false_accept_rate < 1:
        raise BundleError(
            f"false accept rate {false_accept_rate} arrived; expected a number between 0 and 1, like 0.05"
        )
    if len(known) < MIN_SAMPLES or len(unknown) < MIN_SAMPLES:
        logit = -_DEFAULT_SLOPE * _DEFAULT_SCORE
        return Decision("default", logit, _DEFAULT_SLOPE, 0.0, 0.5, false_accept_rate, len(known), len(unknown))
    features = np.column_stack(
        [np.concatenate([known.scores, unknown.scores]), np.concatenate([known.margins, unknown.margins])]
    )
    right = np.concatenate([known.right, unknown.right])
    weights = np.concatenate([np.full(len(known), 0.5 / len(known)), np.full(len(unknown), 0.5 / len(unknown))])
    intercept, score_weight, margin_weight = _fit_logistic(features, right, weights)
    draft = Decision(method, intercept, score_weight, margin_weight, 0.5, false_accept_rate, len(known), len(unknown))
    confidences = np.sort([draft.confidence(s, m) for s, m in zip(unknown.scores, unknown.margins, strict=True)])
    rank = min(len(unknown), math.ceil((len(unknown) + 1) * (1 - false_accept_rate)))
    # The next number up: a query that scores like the sample itself is still one of the rejected.
    threshold = min(1.0, math.nextafter(float(confidences[rank - 1]), 2.0))
    accepted = np.array([draft.confidence(s, m) >= threshold for s, m in zip(known.scores, known.margins, strict=True)])
    return Decision(
        method,
        intercept,
        score_weight,
        margin_weight,
        threshold,
        false_accept_rate,
        len(known),
        len(unknown),
        false_accept_rate=float((confidences >= threshold).mean()),
        correct_accept_rate=float((accepted & known.right).mean()),
    )


def _fit_logistic(features: Floats, right: NDArray[np.bool_], weights: Floats) -> tuple[float, float, float]:
    """Weighted logistic regression by Newton's method, with a slight ridge so that separable shops stay finite."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    design = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    ridge = np.diag([0.0, 1e-3, 1e-3])
    beta = np.zeros(3)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weights * (right - chance)) - ridge @ beta
        curvature = (design * (weights * chance * (1 - chance))[:, np.newaxis]).T @ design + ridge + 1e-9 * np.eye(3)
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    score_weight, margin_weight = (beta[1:] / spread).tolist()
    return float(beta[0] - (beta[1:] * mean / spread).sum()), score_weight, margin_weight
