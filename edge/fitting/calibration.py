"""Fitting a shop's decision on its own photos: those held out are the known queries, products left out the unknown ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import PHOTO_BITS, product_of
from ..errors import BundleError
from ..index.vector_index import VectorIndex
from ..scoring.decision import LEVELS, Confidences, Decision, Method, best_products, margin_of
from ..scoring.fusion import DEPTH, mean_scores
from ..scoring.gallery import Gallery
from .logistic import fit_logistic

Floats = NDArray[np.float64]

MIN_SAMPLES = 20
"""Fewer known or unknown samples than this don't carry a fit of three numbers."""
MAX_SAMPLES = 2000
UNKNOWN_SHARE = 0.03
"""How many queries are taken to show a product that isn't in the catalogue. A probability needs such a share: where more are
unknown, fewer of the confident answers are right."""
RANKING_SHARE = 0.15
"""The same, where score, margin and references are weighed against each other: with so few unknown queries as UNKNOWN_SHARE the
weights would tell right answers from wrong ones, and unknown products hardly from those in the catalogue. A margin, which is all
that the first needs, unknown queries have, too. Where 5 % of left-out products pass, 47 % of the right answers do with
shelfmatch-cnn (39 % with 0.03), 42 (38) and 22 (21) with MobileNetV1 and V2 (grocery val photos, benchmarks/adaptation.py)."""
HELD_OUT_STRETCH = 1.15
"""The share of held-out unknown queries above the threshold, over the share that the shop asked for. A shop's own pictures share
its light and its shelves; unknown products photographed elsewhere score a little lower. By how much is less than what draws of
left-out products differ by: in the mean of four encoders 11.6 % of the grocery validation photos pass for 10 with 1.0, 13.1 with
this, 14.6 with 1.3 in the ten draws of benchmarks/adaptation.py; 5.4, 6.9 and 8.1 in those of --seed 2 (shelfmatch-vit after its
first training)."""
_WHOLE_STRETCH_FROM = 0.05
"""Below this rate the stretch fades: what is let pass there are the few products that resemble one of the catalogue anywhere."""
_AT_ONCE = 4096
"""Vectors that are looked at, at a time."""
_DEFAULT_SCORE = 0.8
_DEFAULT_SLOPE = 40.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Scores and margins of top candidates, how many references they have, and whether the candidate was the right product; after
    local matching also its squashed logits and their lead over other products, zeros before."""

    scores: Floats
    margins: Floats
    references: Floats
    right: NDArray[np.bool_]
    local: Floats = field(default_factory=lambda: np.empty(0))
    local_leads: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        for name in ("local", "local_leads"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.scores)))

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of_scores(
        cls, scores: NDArray[np.float32], labels: NDArray[Any], counts: NDArray[np.intp], truth: NDArray[Any]
    ) -> Samples:
        """From (Q, P) scores of products `labels` (P,) with `counts` references each, or (Q, P) of both where each query has
        products of its own, and the (Q,) true products."""
        rows = np.arange(len(scores))
        best = scores.argmax(axis=1) if len(scores) else np.empty(0, np.intp)
        top = scores[rows, best].astype(float)
        others = scores.astype(float)
        others[rows, best] = -np.inf
        second = others.max(axis=1) if scores.shape[1] > 1 else np.zeros(len(scores))
        of_best = np.broadcast_to(labels, scores.shape)[rows, best]
        return cls(top, top - second, np.broadcast_to(counts, scores.shape)[rows, best].astype(float), of_best == truth)

    def take(self, rows: NDArray[np.bool_]) -> Samples:
        """The chosen samples."""
        return Samples(*(getattr(self, name)[rows] for name in self.__slots__))

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        """All parts' samples."""
        return Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in Samples.__slots__))

    @classmethod
    def empty(cls) -> Samples:
        """None at all."""
        return cls(np.empty(0), np.empty(0), np.empty(0), np.empty(0, bool))


def leave_one_out(index: VectorIndex, limit: int = MAX_SAMPLES) -> tuple[Samples, Samples]:
    """What the shop's own photos would score as queries: (known, unknown).

    Known: a photo against all others but its copies, where its product has another one. Unknown: a photo against all other
    products, as if the catalogue hadn't its own. At most `limit` photos, evenly spread.
    """
    ids = index.ids
    picks = evenly(len(ids), limit)
    own_ids = ids[picks]
    vectors = index.vectors(picks) if len(picks) else np.empty((0, index.dimension), np.float32)
    products, counts = np.unique(product_of(ids), return_counts=True)
    photos_of = dict(zip(products.tolist(), counts.tolist(), strict=True))
    copies, shared = _copies(index, own_ids), _of_several(index)
    ranked = _ranked_products(index, vectors, copies)
    known: list[tuple[float, float, int, bool]] = []
    unknown: list[tuple[float, float, int, bool]] = []
    for own_id, same, hits in zip(own_ids.tolist(), copies, ranked, strict=True):
        own = own_id >> PHOTO_BITS
        if photos_of[own] > len(same) and hits:
            # As many as the product has: one fewer would give every known query away.
            known.append((*_lead(hits), photos_of[hits[0][0]], hits[0][0] == own))
        others = [hit for hit in hits if hit[0] != own]
        if others and own_id not in shared:
            unknown.append((*_lead(others), photos_of[others[0][0]], False))
    return _samples(known), _samples(unknown)


def left_out_products(
    galleries: Sequence[Gallery], weights: Sequence[float] = (1.0,), limit: int = MAX_SAMPLES
) -> Samples:
    """A shop's own photos against all other products, scored as queries are: what unknown queries would score.

    `galleries`: of one encoder or two, over the same references; `weights`: with which their scores are added up. At most `limit`
    photos, evenly spread.
    """
    first = galleries[0].index
    own_ids = first.ids[evenly(len(first), limit)]
    own_ids = own_ids[~np.isin(own_ids, list(_of_several(first)))]
    rows: list[tuple[float, float, int, bool]] = []
    vectors = []
    for gallery in galleries:
        order = np.argsort(gallery.index.ids)
        vectors.append(gallery.index.vectors(order[np.searchsorted(gallery.index.ids, own_ids, sorter=order)]))
    for own, *embedded in zip(product_of(own_ids).tolist(), *vectors, strict=True):
        ranked = [gallery.rank(vector, DEPTH + 1) for gallery, vector in zip(galleries, embedded, strict=True)]
        others = [[hit for hit in hits if hit[0] != own] for hits in ranked]
        if others[0]:
            fused = mean_scores(others, weights)
            rows.append((*_lead(fused), galleries[0].references(fused[0][0]), False))
    return _samples(rows)


def _of_several(index: VectorIndex) -> set[int]:
    """The photos whose very vector another product has, too: left out with its product, such a photo is not unknown."""
    owners: dict[bytes, list[int]] = {}
    for start in range(0, len(index), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(index)))
        for one, vector in zip(index.ids[rows].tolist(), index.vectors(rows), strict=True):
            owners.setdefault(hashlib.sha256(vector).digest(), []).append(one)
    return {one for ids in owners.values() if len({other >> PHOTO_BITS for other in ids}) > 1 for one in ids}


def evenly(count: int, limit: int) -> NDArray[np.intp]:
    """At most so many of `count` places, evenly spread."""
    if not count:
        return np.empty(0, np.intp)
    return np.unique(np.linspace(0, count - 1, min(limit, count)).astype(np.intp))


def _copies(index: VectorIndex, own_ids: NDArray[np.uint32]) -> list[list[int]]:
    """For each photo the ids of its product's photos with the very same vector, its own among them: one photo in other files."""
    ids = index.ids
    products = product_of(ids)
    order = np.argsort(products, kind="stable")
    alike: dict[int, list[int]] = {}
    for product in np.unique(product_of(own_ids)):
        rows = order[slice(*np.searchsorted(products, [product, product + 1], sorter=order))]
        by_vector: dict[bytes, list[int]] = {}
        for own_id, vector in zip(ids[rows].tolist(), index.vectors(rows), strict=True):
            alike[own_id] = by_vector.setdefault(vector.tobytes(), [])
            alike[own_id].append(own_id)
    return [alike[own_id] for own_id in own_ids.tolist()]


def _ranked_products(
    index: VectorIndex, vectors: NDArray[np.float32], left_out: Sequence[Sequence[int]]
) -> list[list[tuple[int, float]]]:
    """For each photo the (product, score) of the best products, without some references: at least three where the shop has
    them."""
    ranked: list[list[tuple[int, float]]] = []
    distinct = len(np.unique(product_of(index.ids)))
    for start in range(0, len(vectors), 64):
        batch, without = vectors[start : start + 64], left_out[start : start + 64]
        k = 64
        while True:
            found, scores = index.search(batch, k)
            kept = [~np.isin(f, np.array(ids, np.uint32)) for f, ids in zip(found, without, strict=True)]
            lists = [best_products(f[here], s[here]) for f, s, here in zip(found, scores, kept, strict=True)]
            if k >= len(index) or min(len(one) for one in lists) >= min(3, distinct):
                break
            k *= 4
        ranked += lists
    return ranked


def _lead(hits: list[tuple[int, float]]) -> tuple[float, float]:
    score = hits[0][1]
    return score, margin_of(score, hits[1][1] if len(hits) > 1 else None)


def _samples(rows: list[tuple[float, float, int, bool]]) -> Samples:
    scores, margins, references, right = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Samples(
        np.array(scores, float), np.array(margins, float), np.array(references, float), np.array(right, bool)
    )


def calibrate(
    known: Samples, unknown: Samples, false_accept_rate: float, method: Method, *, stretch: float = 1.0
) -> Decision:
    """Fit the confidence (Platt scaling: J. Platt 1999, "Probabilistic outputs for support vector machines") and set the
    threshold at the unknowns' split-conformal quantile, ceil((n + 1)(1 - rate)) (Vovk, Gammerman & Shafer 2005), with the rate
    times `stretch`, for samples that overstate what unknown queries score.

    Two steps: how features are weighed against each other, with RANKING_SHARE of the queries unknown, and what probability
    their weighted sum stands for, with UNKNOWN_SHARE. Too few of either kind of sample: a default that says so.
    """
    if not 0 < false_accept_rate < 1:
        raise BundleError(
            f"false accept rate {false_accept_rate} arrived; expected a number between 0 and 1, like 0.05"
        )
    if len(known) < MIN_SAMPLES or len(unknown) < MIN_SAMPLES:
        return default_decision(false_accept_rate, len(known), len(unknown))
    draft = Decision(method, *_fit_confidence(known, unknown), 0.5, false_accept_rate, len(known), len(unknown))
    return settle(draft, confidences_of(draft, known), known.right, confidences_of(draft, unknown), stretch)


def default_decision(false_accept_rate: float, known: int, unknown: int) -> Decision:
    """For a shop with too few samples: a cosine of 0.8 is as good as right, and the record says "default"."""
    logit = -_DEFAULT_SLOPE * _DEFAULT_SCORE
    return Decision("default", logit, _DEFAULT_SLOPE, 0.0, 0.0, 0.5, false_accept_rate, known, unknown)


def settle(draft: Decision, known: Floats, right: NDArray[np.bool_], unknown: Floats, stretch: float = 1.0) -> Decision:
    """The draft with its threshold and what it comes to, from the confidences of known queries, which of them are `right`, and
    those of unknown ones; `stretch` as for `calibrate`."""
    confidences = np.sort(unknown)
    rank = _rank(len(unknown), draft.target_false_accept_rate, stretch)
    # The next number up: a query that scores like the sample itself is still one of the rejected.
    threshold = min(1.0, math.nextafter(float(confidences[rank - 1]), 2.0))
    return replace(
        draft,
        threshold=threshold,
        false_accept_rate=float((confidences >= threshold).mean()),
        correct_accept_rate=float(((known >= threshold) & right).mean()),
        reliability=reliability_of(known, right),
        confidences=Confidences(
            quantiles_of(unknown), len(unknown), quantiles_of(known[right]), float(right.mean()), stretch
        ),
    )


def _rank(unknown: int, false_accept_rate: float, stretch: float) -> int:
    """Of so many unknown queries in the order of their confidence, from 1: the surest that is to be rejected."""
    stretched = 1 + (stretch - 1) * min(1.0, false_accept_rate / _WHOLE_STRETCH_FROM)
    rate = max(false_accept_rate, min(0.5, stretched * false_accept_rate))
    return min(unknown, math.ceil((unknown + 1) * (1 - rate)))


def quantiles_of(confidences: Floats) -> tuple[float, ...]:
    """At LEVELS, seven digits of each; none of none."""
    return tuple(float(f"{value:.7g}") for value in np.quantile(confidences, LEVELS)) if len(confidences) else ()


def tuned(decision: Decision, false_accept_rate: float) -> Decision:
    """The decision with the threshold for another rate of false accepts, and what that comes to: as `settle` would have set it,
    up to what the table leaves out between its LEVELS. Raises BundleError where there is no table."""
    table = decision.confidences
    if table is None:
        if decision.method == "default":
            raise BundleError(
                f"the shop is too small to tell how many unknown queries would pass: fewer than {MIN_SAMPLES} of its photos can be "
                f"held out; with more products and photos, build it again with --false-accept {false_accept_rate:g}"
            )
        raise BundleError(
            "the bundle doesn't say how sure it is of unknown queries (it was built before that was kept); build it again with "
            f"--false-accept {false_accept_rate:g}"
        )
    rank = _rank(table.unknown_count, false_accept_rate, table.stretch)
    level = (rank - 1) / max(1, table.unknown_count - 1)
    threshold = min(1.0, math.nextafter(float(np.interp(level, LEVELS, table.unknown)), 2.0))
    accepted = 1 - float(np.interp(threshold, table.right, LEVELS)) if table.right else 0.0
    return replace(
        decision,
        threshold=threshold,
        target_false_accept_rate=false_accept_rate,
        false_accept_rate=1 - float(np.interp(threshold, table.unknown, LEVELS)),
        correct_accept_rate=table.right_share * accepted
        if table.right or decision.correct_accept_rate is not None
        else None,
    )


def _fit_confidence(known: Samples, unknown: Samples) -> tuple[float, float, float, float]:
    """(intercept, a weight for each feature) of the confidence's logit."""
    both = Samples.joined([known, unknown])
    features = _features(both)

    def weights(share: float) -> Floats:
        return np.repeat([(1 - share) / len(known), share / len(unknown)], [len(known), len(unknown)])

    ranking = fit_logistic(features, both.right, weights(RANKING_SHARE))
    logits = ranking[0] + features @ ranking[1:]
    intercept, slope = fit_logistic(logits[:, np.newaxis], both.right, weights(UNKNOWN_SHARE))
    first, second, third = (slope * ranking[1:]).tolist()
    return float(intercept + slope * ranking[0]), first, second, third


def _features(samples: Samples) -> Floats:
    return np.column_stack([samples.scores, samples.margins, np.log2(np.maximum(samples.references, 1))])


def confidences_of(decision: Decision, samples: Samples) -> Floats:
    """(N,): what a decision makes of samples."""
    columns = (samples.scores, samples.margins, samples.references.astype(int), samples.local, samples.local_leads)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.array([decision.confidence(*row) for row in rows], float)


def reliability_of(confidences: Floats, right: NDArray[np.bool_]) -> tuple[tuple[float, float, int], ...]:
    """(mean confidence, share right, queries) in each tenth of the confidence that has any: the reliability curve."""
    tenths = np.minimum((confidences * 10).astype(int), 9)
    return tuple(
        (float(confidences[here].mean()), float(right[here].mean()), int(here.sum()))
        for here in (tenths == number for number in range(10))
        if here.any()
    )
