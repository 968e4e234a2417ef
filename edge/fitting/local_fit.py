"""Fitting local matching on the shop's own held-out photos: whether it helps, how much it weighs, and when it is asked.

The same groups of like photos are held out, and the same products left out, as where an adapter is chosen (`held_out`). Views of a
picture are more like it than any photo would be, above all cell by cell: where they are all there is, the weight isn't
chosen by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..scoring.adapter import Adaptation, Floats
from ..scoring.decision import Decision, Method
from ..scoring.local import DEPTH, Cells, Local, logits_of, restored, squashed
from .adapter_fit import NEAR_BEST
from .calibration import HELD_OUT_STRETCH, MIN_SAMPLES, Samples, calibrate, confidences_of, evenly, settle
from .discriminant import reduced
from .held_out import Choice, Held, Mask, rounds, scores_under
from .pictures import Pictures, has_second_photos

if TYPE_CHECKING:
    from ..encoders.local import LocalHead

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Of the squashed logit beside the score of the first search."""
VIEW_WEIGHT = 0.2
"""Where products have one picture and views of it are all there is to learn from."""
MOST_A_ROUND = 80
"""Known queries of each round, and unknown ones: at most 960 in all, some seconds."""
GAIN = 0.004
"""What recall@1 and AUROC together must win on held-out photos; recall alone may be NEAR_BEST lower."""
LOST = 0.005
"""Recall@1, and right answers accepted, that it may cost to ask local matching only where the first search isn't sure."""
SHARES = tuple(share / 20 for share in range(20))
"""Quantiles of the first search's confidence that are tried as the one from which it is sure."""


@dataclass(frozen=True, slots=True)
class Described:
    """The cells of `Pictures`: of the photos among them the references `ids` (N,) uint32, views bear their photo's; `of` gives the
    `vectors` (n, C, numbers) int8 and `lengths` (n, C) float16 of pictures by their places (n,): a copy of them all is half of
    what a fit of 5,000 products takes."""

    ids: NDArray[np.uint32]
    of: Callable[[NDArray[np.intp]], tuple[NDArray[np.int8], NDArray[np.float16]]]


@dataclass(frozen=True, slots=True)
class _Round:
    """Held-out queries: (Q, K) scores of the K best products of each, `labels` (Q, K) with `counts` photos each, their squashed
    logits (Q, K), the true products (Q,), and which of them the gallery lacks. K is DEPTH and two more: of the products that aren't
    looked at, which all have one logit, only the best can be first or second."""

    labels: NDArray[np.int64]
    counts: NDArray[np.intp]
    scores: Floats
    local: Floats
    truth: NDArray[np.int64]
    unknown: Mask

    def samples(self, weight: float) -> tuple[Samples, Samples]:
        scores = (1 - weight) * self.scores + weight * self.local
        found = Samples.of_scores(scores, self.labels, self.counts, self.truth)
        return found.take(~self.unknown), found.take(self.unknown)


def fit_local(
    pictures: Pictures,
    described: Described,
    head: LocalHead,
    adaptation: Adaptation,
    first: Decision,
    *,
    force: bool = False,
) -> tuple[Local | None, str]:
    """What local matching is fitted to, or None; and a sentence why. `first`: the decision on the first search alone, as the
    shop has it; `force`: also where held-out photos are found no better for it."""
    by_photo = has_second_photos(pictures)
    held = _hold_out(pictures, described, head, adaptation, by_photo)
    alone = _joined(held, 0.0)
    if min(len(alone.known), len(alone.unknown)) < MIN_SAMPLES:
        return None, f"held-out pictures are too few to tell ({len(alone.known)}; at least {MIN_SAMPLES})"
    weight, together = _weighed(held, WEIGHTS if by_photo else (VIEW_WEIGHT,))
    compared = (
        f"held-out {'photos' if by_photo else 'views'}: recall@1 {alone.recall:.1%} without, {together.recall:.1%} with; "
        f"AUROC {alone.separation:.3f} without, {together.separation:.3f} with"
    )
    gain = together.recall - alone.recall + together.separation - alone.separation
    if (gain < GAIN or together.recall < alone.recall - NEAR_BEST) and not force:
        return None, f"it wouldn't help; {compared}"
    method: Method = "held-out" if by_photo else "synthetic-views"
    rate = first.target_false_accept_rate
    draft = calibrate(together.known, together.unknown, rate, method, stretch=HELD_OUT_STRETCH)
    before = confidences_of(first, alone.known), confidences_of(first, alone.unknown)
    after = confidences_of(draft, together.known), confidences_of(draft, together.unknown)

    def mixed(sure_from: float) -> tuple[Decision, float]:
        """The decision, and recall@1, if local matching is asked below this confidence."""
        right = np.where(before[0] < sure_from, together.known.right, alone.known.right)
        known, unknown = (np.where(b < sure_from, a, b) for a, b in zip(after, before, strict=True))
        return settle(draft, known, right, unknown, HELD_OUT_STRETCH), float(right.mean())

    always, best = mixed(2.0)
    decision, sure_from, recall = always, 2.0, best
    for share in SHARES:
        tried = max(first.threshold, float(np.quantile(before[0], share)))
        settled, found = mixed(tried)
        if found >= best - LOST and (settled.correct_accept_rate or 0) >= (always.correct_accept_rate or 0) - LOST:
            decision, sure_from, recall = settled, tried, found
            break
    shares = [float((confidences < sure_from).mean()) for confidences in before]
    local = Local(
        decision, weight, sure_from, alone.recall, recall, alone.separation, together.separation, shares[0], shares[1]
    )
    return local, compared


def _hold_out(
    pictures: Pictures, described: Described, head: LocalHead, adaptation: Adaptation, by_photo: bool
) -> list[_Round]:
    space = reduced(pictures)
    choice: Choice = (adaptation.shrinkage if adaptation.method == "lda" else None, adaptation.scoring)
    photos = np.flatnonzero(~pictures.is_view)
    found = []
    for gallery, queried, unknown in rounds(pictures, space, by_photo):
        labels = np.unique(pictures.products[gallery & ~pictures.is_view])
        if len(labels) < 2:
            continue
        some = _some(queried, unknown)
        _, scores = scores_under(pictures, space, choice, gallery, some)
        visible = photos[gallery[photos]]
        kept = Cells.of(described.ids[visible], pictures.vectors[visible], *described.of(visible))
        rows, bests = [], []
        queries = np.flatnonzero(some)
        for query, row, *cells in zip(queries, scores, *described.of(queries), strict=True):
            bests.append(np.argsort(-row)[: DEPTH + 2])
            own = labels[bests[-1]]
            rows.append(_squashed_row(head, kept, own, row[bests[-1]], pictures.vectors[query], restored(*cells)))
        counts = pictures.references_of(labels)
        best = np.stack(bests)
        found.append(
            _Round(
                labels[best],
                counts[best],
                np.take_along_axis(scores, best, axis=1),
                np.stack(rows),
                pictures.products[some],
                unknown[some],
            )
        )
    return found


def _some(queried: Mask, unknown: Mask) -> Mask:
    """At most MOST_A_ROUND of the known queries and of the unknown ones, evenly spread."""
    chosen = np.zeros(len(queried), bool)
    for kind in (queried & ~unknown, queried & unknown):
        rows = np.flatnonzero(kind)
        chosen[rows[evenly(len(rows), MOST_A_ROUND)]] = True
    return chosen


def _squashed_row(
    head: LocalHead,
    kept: Cells,
    labels: NDArray[np.int64],
    scores: Floats,
    embedding: Floats,
    cells: tuple[Floats, Floats],
) -> Floats:
    """(P,) squashed logits of one query; those of products that aren't looked at are the lowest of those that are."""
    places = np.argsort(-scores)[:DEPTH]
    logits = logits_of(head, kept, embedding, cells, labels[places].tolist())
    row = np.full(len(labels), min(logits.values()), np.float32)
    row[places] = [logits[label] for label in labels[places].tolist()]
    result: Floats = squashed(row)
    return result


def _joined(held: list[_Round], weight: float) -> Held:
    parts = [one.samples(weight) for one in held]
    empty = [(Samples.empty(), Samples.empty())]
    return Held(*(Samples.joined([part[kind] for part in parts or empty]) for kind in (0, 1)))


def _weighed(held: list[_Round], weights: tuple[float, ...]) -> tuple[float, Held]:
    """Of the weights that find as many photos, the one that tells unknown queries apart best."""
    tried = [(weight, _joined(held, weight)) for weight in weights]
    best = max(found.recall for _, found in tried)
    return max((one for one in tried if one[1].recall >= best - NEAR_BEST), key=lambda one: one[1].separation)
