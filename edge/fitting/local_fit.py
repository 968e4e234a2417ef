"""Fitting local matching on the shop's own held-out photos: whether it helps, how much it weighs, and when it is asked.

The same groups of like photos are held out, and the same products left out, as where an adapter is chosen (`held_out`). Views of a
picture are more like it than any photo would be, above all cell by cell: where they are all there is, the weight isn't
chosen by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..metrics import auroc
from ..scoring.adapter import Adaptation, Floats
from ..scoring.decision import Decision, Method
from ..scoring.local import DEPTH, Cells, Local, logits_of, restored, squashed
from .adapter_fit import NEAR_BEST
from .calibration import MIN_SAMPLES, Samples, confidences_of, evenly
from .discriminant import reduced
from .held_out import Choice, Held, Mask, rounds, scores_under
from .pictures import Pictures, has_second_photos
from .prior import Facts, Judge, Prior

if TYPE_CHECKING:
    from ..encoders.local import LocalHead

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Of the squashed logit beside the score of the first search."""
VIEW_WEIGHT = 0.2
"""Where products have one picture and views of it are all there is to learn from."""
MOST_A_ROUND = 80
"""Known queries of each round, and unknown ones: at most 960 in all, some seconds."""
USUAL_GAIN, GAIN_SPREAD = 0.015, 0.03
"""What recall@1 and AUROC together win in a shop, and how shops differ (136 of the shops that `models/prior.py` fits the prior
on). A shop's own held-out photos move it, the more of them the more; local matching is left out where less than nothing is to be
expected."""
_QUERIES = 32
"""Whose candidates' cells are in memory at a time."""
LEAST_GAIN = 0.004
"""Where photos leave less to win, what is usual doesn't count."""
VIEW_DOUBT = 0.03
"""How far what views win is from what photos do."""
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
class Round:
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
        """(known, unknown), ranked with so much weight on the squashed logits; 0: by the search alone."""
        ranking = (1 - weight) * self.scores + weight * self.local
        if not weight:
            found = Samples.of_scores(ranking, self.labels, self.counts, self.truth)
            return found.take(~self.unknown), found.take(self.unknown)
        rows, best = np.arange(len(ranking)), ranking.argmax(axis=1)
        columns = []
        for table in (self.scores, self.local):
            others = table.astype(float)
            others[rows, best] = -np.inf
            rival = others.max(axis=1) if table.shape[1] > 1 else np.zeros(len(table))
            own = table[rows, best].astype(float)
            columns += [own, own - rival]
        right = self.labels[rows, best] == self.truth
        counts = self.counts[rows, best].astype(float)
        found = Samples(columns[0], columns[1], counts, right, columns[2], columns[3])
        return found.take(~self.unknown), found.take(self.unknown)


class Weighed:
    """Held-out queries with one weight of the squashed logits, and the confidences that a decision gives them."""

    def __init__(self, weight: float, held: Held, decide: Callable[[Held], Decision]) -> None:
        self.weight, self.known, self.unknown, self.recall = weight, held.known, held.unknown, held.recall
        decision = decide(held)
        self.confidences = confidences_of(decision, held.known), confidences_of(decision, held.unknown)
        self.separation = auroc(self.confidences[0].tolist(), self.confidences[1].tolist()) or 0.0


def fit_local(
    pictures: Pictures,
    described: Described,
    head: LocalHead,
    adaptation: Adaptation,
    first: Decision,
    prior: Prior,
    *,
    force: bool = False,
) -> tuple[Local | None, str]:
    """What local matching is fitted to, or None; and a sentence why. `first`: the decision on the first search alone, as the
    shop has it; `prior`: the encoder's; `force`: also where held-out photos are found no better for it."""
    by_photo = has_second_photos(pictures)
    held = _hold_out(pictures, described, head, adaptation, by_photo)
    method: Method = "held-out" if by_photo else "synthetic-views"
    rate, facts = first.target_false_accept_rate, facts_of(pictures, adaptation)
    alone = Weighed(0.0, _joined(held, 0.0), lambda found: first)
    weighed = [
        Weighed(
            weight,
            _joined(held, weight),
            lambda found: prior.judge("local", facts, found.known).draft(rate, method, 1, 1),
        )
        for weight in (WEIGHTS if by_photo else (VIEW_WEIGHT,))
    ]
    together = _best(weighed)
    compared = (
        f"held-out {'photos' if by_photo else 'views'}: recall@1 {alone.recall:.1%} without, {together.recall:.1%} with; "
        f"AUROC {alone.separation:.3f} without, {together.separation:.3f} with"
    )
    if _expected_gain(alone, together, by_photo) <= 0 and not force:
        return None, f"it wouldn't help; {compared}"
    enough = min(len(alone.known), len(alone.unknown)) >= MIN_SAMPLES
    if not enough:
        compared = f"held-out pictures are too few to tell ({len(alone.known)}; at least {MIN_SAMPLES}), and it helps in most shops"
    judge = prior.judge("local", facts, together.known)
    draft = judge.draft(rate, method, len(together.known), len(together.unknown))
    decision, sure_from, recall = _sure_from(judge, draft, first, alone, together, SHARES if enough else ())
    shares = [float((one < sure_from).mean()) if len(one) else 1.0 for one in alone.confidences]
    separations = alone.separation, together.separation
    return Local(decision, together.weight, sure_from, alone.recall, recall, *separations, *shares), compared


def _sure_from(
    judge: Judge, draft: Decision, first: Decision, alone: Weighed, together: Weighed, shares: Sequence[float]
) -> tuple[Decision, float, float]:
    """The decision after it, the confidence of the search from which it is left out, the lowest of these quantiles at which that
    costs next to nothing, and recall@1 then."""
    before = alone.confidences
    after = confidences_of(draft, together.known), confidences_of(draft, together.unknown)

    def mixed(sure_from: float) -> tuple[Decision, float]:
        """The decision, and recall@1, if local matching is asked below this confidence."""
        right = np.where(before[0] < sure_from, together.known.right, alone.known.right)
        known, unknown = (np.where(b < sure_from, a, b) for a, b in zip(after, before, strict=True))
        return judge.settle(draft, known, right, unknown), float(right.mean()) if len(right) else 0.0

    always, best = mixed(2.0)
    for share in shares:
        tried = max(first.threshold, always.threshold, float(np.quantile(before[0], share)))
        settled, found = mixed(tried)
        if found >= best - LOST and (settled.correct_accept_rate or 0) >= (always.correct_accept_rate or 0) - LOST:
            return settled, tried, found
    return always, 2.0, best


def facts_of(pictures: Pictures, adaptation: Adaptation) -> Facts:
    """What the prior asks of a shop."""
    photos = ~pictures.is_view
    products = len(np.unique(pictures.products)) if pictures.references is None else len(pictures.references)
    shrinkage = adaptation.shrinkage if adaptation.method == "lda" else None
    shots = float(pictures.is_packshot[photos].mean()) if photos.any() else 0.0
    return Facts(max(1, products), has_second_photos(pictures), shots, shrinkage)


def _hold_out(
    pictures: Pictures, described: Described, head: LocalHead, adaptation: Adaptation, by_photo: bool
) -> list[Round]:
    space = reduced(pictures)
    choice: Choice = (adaptation.shrinkage if adaptation.method == "lda" else None, adaptation.scoring)
    return [
        asked_round(pictures, described, head, space, choice, gallery, _some(queried, unknown), unknown)
        for gallery, queried, unknown in rounds(pictures, space, by_photo)
        if len(np.unique(pictures.products[gallery & ~pictures.is_view])) > 1
    ]


def asked_round(
    pictures: Pictures,
    described: Described,
    head: LocalHead,
    space: Floats,
    choice: Choice,
    gallery: Mask,
    queried: Mask,
    unknown: Mask,
) -> Round:
    """What queries score against a gallery, all masks (N,), by the search under a choice and part by part."""
    labels, scores = scores_under(pictures, space, choice, gallery, queried)
    places = np.flatnonzero(queried)
    best = np.argsort(-scores, axis=1)[:, : DEPTH + 2]
    scores = np.take_along_axis(scores, best, axis=1)
    rows = np.empty_like(scores)
    for start in range(0, len(places), _QUERIES):
        part = slice(start, start + _QUERIES)
        kept = _cells_among(pictures, described, gallery, labels[best[part]])
        for number, query, *cells in zip(
            range(len(places))[part], places[part], *described.of(places[part]), strict=True
        ):
            own = labels[best[number]]
            rows[number] = _squashed_row(head, kept, own, scores[number], pictures.vectors[query], restored(*cells))
    counts = pictures.references_of(labels)
    return Round(labels[best], counts[best], scores, rows, pictures.products[queried], unknown[queried])


def _cells_among(pictures: Pictures, described: Described, gallery: Mask, labels: NDArray[np.int64]) -> Cells:
    """Of the gallery's photos, those of these products: all are 35 MB at 5,000 products, and few are looked at."""
    visible = np.flatnonzero(gallery & ~pictures.is_view & np.isin(pictures.products, labels))
    return Cells.of(described.ids[visible], pictures.vectors[visible], *described.of(visible))


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
    lowest = min(logits.values())
    row = np.full(len(labels), lowest, np.float32)
    row[places] = [logits.get(label, lowest) for label in labels[places].tolist()]
    result: Floats = squashed(row)
    return result


def _joined(held: list[Round], weight: float) -> Held:
    parts = [one.samples(weight) for one in held]
    empty = [(Samples.empty(), Samples.empty())]
    return Held(*(Samples.joined([part[kind] for part in parts or empty]) for kind in (0, 1)))


def _expected_gain(alone: Weighed, together: Weighed, by_photo: bool) -> float:
    """Recall@1 and AUROC together, of photos to come: the mean of what is usual and what was measured, each by its certainty."""
    fewest = min(len(alone.known), len(alone.unknown))
    if not fewest:
        return USUAL_GAIN
    measured = together.recall - alone.recall + together.separation - alone.separation
    spread = sum(max(0.02, rate * (1 - rate)) for rate in (alone.recall, alone.separation)) / fewest
    certain = 1 / (spread + (0.0 if by_photo else VIEW_DOUBT**2))
    usual = 1 / GAIN_SPREAD**2
    expected = (usual * USUAL_GAIN + certain * measured) / (usual + certain)
    if by_photo and 2 - alone.recall - alone.separation < LEAST_GAIN:
        return min(expected, measured - LEAST_GAIN)
    return expected


def _best(weighed: Sequence[Weighed]) -> Weighed:
    """Of the weights that find as many photos, the one that tells unknown queries apart best."""
    best = max(one.recall for one in weighed)
    return max((one for one in weighed if one.recall >= best - NEAR_BEST), key=lambda one: one.separation)
