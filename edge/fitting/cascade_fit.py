"""Fitting a cascade of two encoders on the shop's own held-out photos: how their scores are added, and when both must run.

The same groups of like photos are held out, and the same products left out, as where an adapter is chosen (`fitting`), and for both
encoders at once. Photos left out one by one would find each other, and the second encoder would never seem to be needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, stage
from ..scoring.adapter import Adaptation, Floats
from ..scoring.cascade import ALWAYS, Cascade
from ..scoring.decision import Decision, Method
from ..scoring.gallery import Gallery
from .adapter_fit import NEAR_BEST
from .calibration import (
    HELD_OUT_STRETCH,
    MIN_SAMPLES,
    Samples,
    calibrate,
    confidences_of,
    default_decision,
    left_out_products,
    settle,
)
from .discriminant import reduced
from .held_out import ROUNDS, Choice, Held, rounds, scores_under
from .pictures import Pictures, has_second_photos

STEPS = 20
"""Weights that are tried, from one encoder alone to the other."""
SHARES = tuple(step / STEPS for step in range(STEPS + 1))
"""Shares of known photos that may go through the second encoder, as quantiles of the first one's confidence."""
LOST = 0.005
"""Recall@1 that a cascade may lose against every photo going through both."""


@dataclass(frozen=True, slots=True)
class _Round:
    """Held-out queries: (Q, P) scores under each encoder of the products `labels` (P,) with `counts` photos each, the true products
    (Q,), and which of them the gallery lacks."""

    labels: NDArray[np.int64]
    counts: NDArray[np.intp]
    scores: tuple[Floats, Floats]
    truth: NDArray[np.int64]
    unknown: NDArray[np.bool_]

    def samples(self, weights: Sequence[float]) -> tuple[Samples, Samples]:
        fused = weights[0] * self.scores[0] + weights[1] * self.scores[1]
        found = Samples.of_scores(fused, self.labels, self.counts, self.truth)
        return found.take(~self.unknown), found.take(self.unknown)


def pair(
    pictures: tuple[Pictures, Pictures],
    adaptations: tuple[Adaptation, Adaptation],
    false_accept_rate: float,
    whole: tuple[Gallery, Gallery] | None = None,
    progress: Progress | None = None,
) -> tuple[Cascade, Decision]:
    """When the second encoder runs, and the decision on what comes of it; `pictures`: the same ones, as each encoder embeds them.

    `whole`: what both compare with, where `pictures` show a part of the shop's products only. The threshold then comes from it: a
    part lacks the nearest unknown products of the whole. In shops too small to tell both run always, with equal
    weights and a default threshold.
    """
    held = _hold_out(pictures, adaptations, progress)
    scales = [_spread(held, number) for number in (0, 1)]
    alone = [_joined(held, weights) for weights in ((1.0, 0.0), (0.0, 1.0))]
    if min(len(alone[0].known), len(alone[0].unknown)) < MIN_SAMPLES:
        decision = default_decision(false_accept_rate, len(alone[0].known), len(alone[0].unknown))
        return Cascade(decision, (0.5, 0.5), ALWAYS), decision
    weights, fused = _weighed(held, scales)
    by_photo = has_second_photos(pictures[0])
    method: Method = "held-out" if by_photo else "synthetic-views"
    drafts = [
        calibrate(one.known, one.unknown, false_accept_rate, method, stretch=HELD_OUT_STRETCH)
        for one in (alone[0], fused)
    ]
    first = [confidences_of(drafts[0], samples) for samples in (alone[0].known, alone[0].unknown)]
    both = [confidences_of(drafts[1], samples) for samples in (fused.known, fused.unknown)]
    sure_from = _sure_from(first[0], alone[0].known.right, fused.known.right)
    to_second = [confidences < sure_from for confidences in first]
    right = np.where(to_second[0], fused.known.right, alone[0].known.right)
    mixed = [np.where(ask, after, before) for ask, after, before in zip(to_second, both, first, strict=True)]
    cascade = Cascade(
        drafts[0],
        weights,
        sure_from,
        alone[0].recall,
        alone[1].recall,
        fused.recall,
        float(right.mean()),
        float(to_second[0].mean()),
        float(to_second[1].mean()),
    )
    if whole is None:
        return cascade, settle(drafts[1], mixed[0], right, mixed[1], HELD_OUT_STRETCH)
    return cascade, settle(drafts[1], mixed[0], right, _unknown_in(whole, cascade, drafts[1]))


def _hold_out(
    pictures: tuple[Pictures, Pictures], adaptations: tuple[Adaptation, Adaptation], progress: Progress | None
) -> list[_Round]:
    """Rounds by the first encoder's groups: which photos are of one visit doesn't depend on the encoder."""
    spaces = [reduced(one) for one in pictures]
    first = pictures[0]
    found = []
    turns = rounds(first, spaces[0], has_second_photos(first))
    for gallery, queried, unknown in stage(progress, "fit both", "round")(turns, ROUNDS):
        labels = np.unique(first.products[gallery & ~first.is_view])
        if len(labels) < 3:
            continue
        scores = tuple(
            scores_under(one, space, _choice(adaptation), gallery, queried)[1]
            for one, space, adaptation in zip(pictures, spaces, adaptations, strict=True)
        )
        counts = first.references_of(labels)
        found.append(_Round(labels, counts, (scores[0], scores[1]), first.products[queried], unknown[queried]))
    return found


def _choice(adaptation: Adaptation) -> Choice:
    return adaptation.shrinkage if adaptation.method == "lda" else None, adaptation.scoring


def _joined(held: Sequence[_Round], weights: Sequence[float]) -> Held:
    parts = [one.samples(weights) for one in held]
    empty = [(Samples.empty(), Samples.empty())]
    return Held(*(Samples.joined([part[kind] for part in parts or empty]) for kind in (0, 1)))


def _spread(held: Sequence[_Round], number: int) -> float:
    """How far apart an encoder's scores of different products lie for one photo: the unit that its weights are tried in."""
    spreads = [float(one.scores[number].std(axis=1).mean()) for one in held if len(one.truth)]
    return max(1e-6, sum(spreads) / max(1, len(spreads)))


def _weighed(held: Sequence[_Round], scales: Sequence[float]) -> tuple[tuple[float, float], Held]:
    """The weights, which add up to 1: of those that find as many photos, the ones that tell unknown queries apart best."""
    tried = []
    for step in range(STEPS + 1):
        shares = (1 - step / STEPS) / scales[0], step / STEPS / scales[1]
        weights = shares[0] / sum(shares), shares[1] / sum(shares)
        tried.append((weights, _joined(held, weights)))
    best = max(found.recall for _, found in tried)
    return max((one for one in tried if one[1].recall >= best - NEAR_BEST), key=lambda one: one[1].separation)


def _sure_from(first: NDArray[np.float64], alone: NDArray[np.bool_], fused: NDArray[np.bool_]) -> float:
    """The lowest confidence of the first encoder from which on its word suffices; ALWAYS if it never does."""
    for share in SHARES[:-1]:
        sure_from = float(np.quantile(first, share)) if share else 0.0
        if np.where(first < sure_from, fused, alone).mean() >= fused.mean() - LOST:
            return sure_from
    return ALWAYS


def _unknown_in(whole: tuple[Gallery, Gallery], cascade: Cascade, draft: Decision) -> NDArray[np.float64]:
    """The confidences that photos of the whole shop come to whose catalogue hasn't their product."""
    alone = confidences_of(cascade.first, left_out_products(whole[:1]))
    fused = confidences_of(draft, left_out_products(whole, cascade.weights))
    return np.where(alone < cascade.sure_from, fused, alone)
