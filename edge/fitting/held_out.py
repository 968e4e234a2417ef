"""Photos held out as queries: which, and how they score under each choice of an adapter.

What is held out decides what is measured: photos of one visit to the shop look alike, and left out one by one they would find
each other (97 % where a real second visit finds 60 %). So each product's pictures are grouped by likeness, and a whole group is
held out at a time; with four groups the recall is that of a second visit (benchmarks/adaptation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..metrics import auroc
from ..progress import Progress, stage
from ..scoring.adapter import Floats, Scoring
from .calibration import Samples
from .discriminant import discriminants, means_of, reduced, unit
from .pictures import Pictures, with_second_photos

SHRINKAGES = (0.01, 0.03, 0.1, 0.3)
VIEW_SHRINKAGE = 0.6
"""Where views are all there is to learn from. Held-out views are found too easily to choose by; less shrinkage fits how views
differ rather than how photos do (81 catalogue pictures, MobileNetV2, val: 30 % with 0.01, 37 % with this, 36.5 % without)."""
GROUPS = 4
ROUNDS = 6
_QUERIES = 64
"""Scored at a time."""

Choice = tuple[float | None, Scoring]
"""Shrinkage (None: the embedding as it is), and how products are scored."""
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Held:
    """Scores of held-out queries under one choice."""

    known: Samples
    unknown: Samples

    @property
    def recall(self) -> float:
        """The share of known queries that are found."""
        return float(self.known.right.mean()) if len(self.known) else 0.0

    @property
    def separation(self) -> float:
        """How well known and unknown queries are told apart: AUROC."""
        return auroc((self.known.scores + self.known.margins).tolist(),
                     (self.unknown.scores + self.unknown.margins).tolist()) or 0.0  # fmt: skip


def hold_out(pictures: Pictures, by_photo: bool, progress: Progress | None = None) -> dict[Choice, Held]:
    """Score held-out pictures under every choice. `progress`: of the work whose stage this is."""
    space = reduced(pictures)
    shrinkages = SHRINKAGES if by_photo else (VIEW_SHRINKAGE,)
    collected: dict[Choice, list[tuple[Samples, Samples]]] = {}
    # A mean of picture and views beside bare pictures would be found more easily than these.
    with_means = by_photo or pictures.viewed == len(np.unique(pictures.products))
    turns = stage(progress, "fit", "round")(rounds(pictures, space, by_photo), _parts(pictures))
    for gallery, queried, unknown in turns:
        for choice, samples in _round(pictures, space, gallery, queried, unknown, shrinkages, with_means).items():
            collected.setdefault(choice, []).append(samples)
    empty = Samples.empty()
    held: dict[Choice, Held] = {(None, "max"): Held(empty, empty)}
    for choice, parts in collected.items():
        held[choice] = Held(Samples.joined([k for k, _ in parts]), Samples.joined([u for _, u in parts]))
    return held


def rounds(pictures: Pictures, space: Floats, by_photo: bool) -> Iterator[tuple[Mask, Mask, Mask]]:
    """Which pictures are in the gallery, which are queries, and which of those are unknown, all (N,), round by round.

    In each round a part of the products is unknown (none of their pictures in the gallery), and of the others one group of
    like pictures is held out. Where products have one photo each, some of its views are the queries.
    """
    groups = _groups(pictures, space, by_photo)
    labels = np.unique(pictures.products)
    random = np.random.default_rng(0)
    parts = _parts(pictures)
    part_of = dict(zip(labels.tolist(), (random.permutation(len(labels)) % parts).tolist(), strict=True))
    part = np.array([part_of[label] for label in pictures.products.tolist()])
    shared = pictures.shared()
    for number in range(parts):
        turn = groups == number % GROUPS
        in_catalogue = (part != number) if parts > 2 else np.ones(len(part), bool)
        gallery = in_catalogue & ~turn
        queried = (turn | ~in_catalogue) & (~pictures.is_view if by_photo else pictures.is_view)
        queried &= in_catalogue | ~shared  # another product has the photo, too: whose it is isn't unknown
        if gallery.any() and queried.any():
            yield gallery, queried, queried & ~in_catalogue


def _parts(pictures: Pictures) -> int:
    """How many rounds there are."""
    return min(ROUNDS, len(np.unique(pictures.products)))


def scores_under(
    pictures: Pictures, space: Floats, choice: Choice, gallery: Mask, queried: Mask
) -> tuple[NDArray[np.int64], Floats]:
    """(P,) products of the gallery and (Q, P) scores of the queries under one choice."""
    visible = gallery & ~pictures.is_view
    if choice[0] is None:
        return best_of(pictures.vectors[queried], pictures.vectors[visible], pictures.products[visible])
    products, weights = pictures.products[gallery], pictures.weights(gallery)
    (matrix,) = discriminants(space[gallery], products, weights, (choice[0],))
    queries = unit(space[queried] @ matrix)
    if choice[1] == "max":
        return best_of(queries, unit(space[visible] @ matrix), pictures.products[visible])
    labels, means = means_of(unit(space[gallery] @ matrix), products, weights)
    return labels, queries @ means.T


def _groups(pictures: Pictures, rows: Floats, by_photo: bool) -> NDArray[np.int64]:
    """(N,) number of the group of like pictures, 0 to GROUPS-1, in which each is held out; -1: never.

    Groups are found among a product's photos, and views go with their photo. A product with one photo, or one in several
    copies, always keeps it: where others have more it is never held out, and where none has, its views are.
    """
    groups = np.full(len(pictures), -1)
    several = with_second_photos(pictures) if by_photo else set()
    for product in np.unique(pictures.products):
        own = np.flatnonzero(pictures.products == product)
        photos = own[~pictures.is_view[own]]
        if int(product) in several:
            found = _clusters(rows[photos] - rows[photos].mean(axis=0), GROUPS)
            if not found.any():  # they differ in nothing that the components show
                continue
            of_photo = dict(zip(pictures.photos[photos].tolist(), found.tolist(), strict=True))
            groups[own] = [of_photo[photo] for photo in pictures.photos[own].tolist()]
        elif not by_photo:
            views = own[pictures.is_view[own]]
            groups[views] = np.arange(len(views)) % GROUPS
    return groups


def _clusters(rows: Floats, count: int) -> NDArray[np.int64]:
    """(N,) cluster of each row by direction: spherical k-means (Dhillon & Modha 2001) from mutually distant rows."""
    directions = unit(rows)
    picks = [0]
    nearest = directions @ directions[0]
    while len(picks) < min(count, len(rows)):
        picks.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[picks[-1]])
    centers = directions[picks]
    for _ in range(20):
        owner = (directions @ centers.T).argmax(axis=1)
        for number in range(len(centers)):
            members = directions[owner == number]
            if len(members):
                total = members.sum(axis=0)
                centers[number] = total / max(1e-12, float(np.sqrt(total.dot(total))))
    result: NDArray[np.int64] = (directions @ centers.T).argmax(axis=1)
    return result


def _round(
    pictures: Pictures,
    space: Floats,
    gallery: NDArray[np.bool_],
    queried: NDArray[np.bool_],
    unknown: NDArray[np.bool_],
    shrinkages: tuple[float, ...],
    with_means: bool,
) -> dict[Choice, tuple[Samples, Samples]]:
    """(known, unknown) samples of one round under every choice; `with_means`: also scored by prototypes."""
    photos = gallery & ~pictures.is_view
    truth, is_unknown = pictures.products[queried], unknown[queried]
    found: dict[Choice, tuple[Samples, Samples]] = {}

    def add(choice: Choice, queries: Floats, score: Callable[[Floats], tuple[NDArray[np.int64], Floats]]) -> None:
        """Some queries at a time: of 5,000 products the scores of all would take 70 MB."""
        parts = []
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            labels, scores = score(queries[part])
            parts.append(Samples.of_scores(scores, labels, pictures.references_of(labels), truth[part]))
        samples = Samples.joined(parts)
        found[choice] = samples.take(~is_unknown), samples.take(is_unknown)

    own = pictures.products[photos]
    add((None, "max"), pictures.vectors[queried], lambda some, rows=pictures.vectors[photos]: best_of(some, rows, own))  # type: ignore[misc]
    if len(np.unique(own)) < 2:
        return found
    products, weights = pictures.products[gallery], pictures.weights(gallery)
    # Copies of the gallery are made when they are needed, and let go before the next: each is 8 MB at 5,000 products.
    for shrinkage, matrix in zip(shrinkages, discriminants(space[gallery], products, weights, shrinkages), strict=True):
        queries = unit(space[queried] @ matrix)
        rows = unit(space[photos] @ matrix)
        add((shrinkage, "max"), queries, lambda some, rows=rows: best_of(some, rows, own))  # type: ignore[misc]
        if not with_means:
            continue
        del rows
        labels, means = means_of(unit(space[gallery] @ matrix), products, weights)
        add((shrinkage, "prototype"), queries, lambda some, labels=labels, means=means: (labels, some @ means.T))  # type: ignore[misc]
    return found


def best_of(
    queries: Floats, rows: Floats, products: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(P,) products and (Q, P) the best cosine of each query with a product's rows."""
    if (products[1:] < products[:-1]).any():  # they mostly come in order: no copy
        order = np.argsort(products, kind="stable")
        rows, products = rows[order], products[order]
    labels, starts = np.unique(products, return_index=True)
    scores: Floats = queries @ rows.T
    return labels, scores if len(labels) == len(rows) else np.maximum.reduceat(scores, starts, axis=1)
