"""Fitting a shop's adapter on its own pictures, in closed form, and measuring on pictures held out whether it helps.

The map is Fisher's linear discriminant with the within-class scatter shrunk towards a sphere (R. A. Fisher 1936, "The use of
multiple measurements in taxonomic problems"; J. Friedman 1989, "Regularized discriminant analysis"), found among the leading
principal components (Belhumeur et al. 1997, "Eigenfaces vs. Fisherfaces").

What is held out decides what is measured: photos of one visit to the shop look alike, and left out one by one they would find
each other (97 % where a real second visit finds 60 %). So each product's pictures are grouped by likeness, and a whole group is
held out at a time; with four groups the recall is that of a second visit (benchmarks/adaptation.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..scoring.adapter import MAX_DIMENSION, Adaptation, Adapter, Floats, Scoring
from .calibration import MIN_SAMPLES, Samples

SHRINKAGES = (0.01, 0.03, 0.1, 0.3)
VIEW_SHRINKAGE = 0.6
"""Where views are all there is to learn from. Held-out views are found too easily to choose by; less shrinkage fits how views
differ rather than how photos do (81 catalogue pictures, MobileNetV2, val: 30 % with 0.01, 37 % with this, 36.5 % without)."""
COMPONENTS = 768
"""Principal components kept: 384 find two points less on the grocery validation photos, all 1,024 no more."""
GROUPS = 4
ROUNDS = 6
MAX_PHOTOS = 6000
"""Photos that a fit looks at, with their views: 100 MB at 1,280 components."""
FEWEST_PHOTOS = 3
"""Of a product where not all photos are looked at. Few photos of each product are better than all of a few products: what tells
others apart than the fit has seen is played down (benchmarks/adaptation.py, large shops)."""
MIN_PACKSHOTS = 8

_MEMBERS = 8_000_000
"""Cells of a membership matrix, 32 MB."""
NEAR_BEST = 0.01
"""Choices whose recalls differ by less are as good. Among them prototypes come first, which photos of another visit move less
(grocery validation: up to four points) and which are fewer to scan; then the better separation of unknown products."""

Choice = tuple[float | None, Scoring]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pictures:
    """A catalogue's embeddings: `vectors` (N, D) float32 unit, `products` (N,) and `photos` (N,) integers; a view has the
    number of its photo. `is_view` and `is_packshot` (N,). `references`: product → how many references it has in the shop, where
    these are not all of its photos or not all are kept."""

    vectors: Floats
    products: NDArray[np.int64]
    photos: NDArray[np.int64]
    is_view: NDArray[np.bool_]
    is_packshot: NDArray[np.bool_]
    references: Mapping[int, int] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Pictures:
        """The chosen rows."""
        return Pictures(
            self.vectors[rows],
            self.products[rows],
            self.photos[rows],
            self.is_view[rows],
            self.is_packshot[rows],
            self.references,
        )

    @property
    def whole(self) -> bool:
        """Whether there are pictures of all products of the shop."""
        return self.references is None or len(np.unique(self.products)) == len(self.references)

    def references_of(self, labels: NDArray[np.int64]) -> NDArray[np.intp]:
        """How many references each of these products has. What a held-out query is told of a product, as one in the shop will be:
        counted without the group that is held out, every product would have a quarter fewer."""
        if self.references is not None:
            return np.array([self.references[label] for label in labels.tolist()], np.intp)
        products, counts = np.unique(self.products[~self.is_view], return_counts=True)
        found: NDArray[np.intp] = counts[np.searchsorted(products, labels)]
        return found

    def weights(self) -> NDArray[np.float32]:
        """(N,): photos and views count 1; a packshot as much as its views together, which are made up and it isn't."""
        numbers, counts = np.unique(self.photos[self.is_view], return_counts=True)
        views_of = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        own = [views_of.get(photo, 1) for photo in self.photos[self.is_packshot].tolist()]
        weights = np.ones(len(self), np.float32)
        weights[self.is_packshot] = own
        return weights


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found: the adapter (None: the embedding as it is), what `info` says, and how held-out queries scored: photos
    (`by_photo`), or views where products have one photo."""

    adapter: Adapter | None
    adaptation: Adaptation
    known: Samples
    unknown: Samples
    by_photo: bool


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
        from ..metrics import auroc

        return auroc((self.known.scores + self.known.margins).tolist(),
                     (self.unknown.scores + self.unknown.margins).tolist()) or 0.0  # fmt: skip


def fit(pictures: Pictures, *, force: bool = False, views: int = 0) -> Fit:
    """Choose and fit a shop's adapter, or none. `force`: an adapter even where held-out photos are found better without.

    A few seconds for 10,000 pictures of 1,280 components. The chosen map is used only where it finds no fewer of the held-out
    photos than the plain embedding does.
    """
    dimension = pictures.vectors.shape[1]
    photos = int((~pictures.is_view).sum())
    products = len(np.unique(pictures.products))
    by_photo = has_second_photos(pictures)
    held = _hold_out(pictures, by_photo)
    plain = held[None, "max"]
    adapted = {choice: one for choice, one in held.items() if choice[0] is not None}

    def none(reason: str) -> Fit:
        told = Adaptation("none", "max", reason, dimension, None, photos, views, _recall(plain))
        return Fit(None, told, plain.known, plain.unknown, by_photo)

    if products < 3:
        return none(f"a shop of {products} products has nothing to tell apart that the encoder doesn't")
    if len(pictures) <= products:
        return none("each product has one picture and no views; how one product's pictures differ can't be learnt")
    if min(len(plain.known), len(plain.unknown)) < MIN_SAMPLES and not (force and adapted):
        return none(f"held-out pictures are too few to tell ({len(plain.known)}; at least {MIN_SAMPLES})")
    best = max(one.recall for one in adapted.values())
    choice = max(
        (choice for choice, one in adapted.items() if one.recall >= best - NEAR_BEST),
        key=lambda choice: (choice[1] == "prototype", adapted[choice].separation),
    )
    chosen = adapted[choice]
    compared = f"held-out {'photos' if by_photo else 'views'}: recall@1 "
    compared += f"{plain.recall:.1%} without, {chosen.recall:.1%} with"
    if chosen.recall < plain.recall and not force:
        return none(f"it would find fewer of the {compared}")
    assert choice[0] is not None
    adapter = _adapter(pictures, choice[0]).as_stored()
    told = Adaptation(
        "lda", choice[1], compared, adapter.dimension, choice[0], photos, views, _recall(plain), _recall(chosen)
    )
    return Fit(adapter, told, chosen.known, chosen.unknown, by_photo)


def _recall(held: Held) -> float | None:
    return held.recall if len(held.known) else None


def prototypes(adapter: Adapter, pictures: Pictures) -> tuple[NDArray[np.int64], Floats]:
    """(P,) products and (P, d) unit vectors: the mean of each product's adapted pictures, views counting as in `weights`."""
    rows = adapter.apply(pictures.vectors, pictures.is_packshot)
    return _means(rows, pictures.products, pictures.weights())


def _means(rows: Floats, products: NDArray[np.int64], weights: NDArray[np.float32]) -> tuple[NDArray[np.int64], Floats]:
    labels, place = np.unique(products, return_inverse=True)
    sums = _sums(rows, place, weights)
    norms = np.sqrt(np.einsum("nd,nd->n", sums, sums))
    sums[norms == 0, 0] = norms[norms == 0] = 1
    return labels, sums / norms[:, np.newaxis]


def _centers(pictures: Pictures) -> tuple[Floats, Floats]:
    """The mean of the photos' class means, and that of the packshots'; one for both where there are few packshots."""
    shots = pictures.is_packshot
    everything = _class_mean_mean(pictures)
    if (~shots).sum() == 0 or shots.sum() < MIN_PACKSHOTS:
        center = everything if not shots.any() or shots.all() else _class_mean_mean(pictures.take(~shots))
        return center, center
    return _class_mean_mean(pictures.take(~shots)), _class_mean_mean(pictures.take(shots))


def _class_mean_mean(pictures: Pictures) -> Floats:
    labels, place, counts = np.unique(pictures.products, return_inverse=True, return_counts=True)
    mean: Floats = _sums(pictures.vectors, place, (1 / counts / len(labels)).astype(np.float32)[place]).sum(axis=0)
    return mean


def _sums(rows: Floats, place: NDArray[np.intp], weights: NDArray[np.float32]) -> Floats:
    """(P, D): weighted sums of the rows at each place, as matrix products: ten times as fast as np.add.at."""
    count = int(place.max(initial=-1)) + 1
    sums = np.zeros((count, rows.shape[1]), np.float32)
    step = max(1, _MEMBERS // max(1, count))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        members = np.zeros((count, len(rows[part])), np.float32)
        members[place[part], np.arange(members.shape[1])] = weights[part]
        sums += members @ rows[part]
    return sums


def _adapter(pictures: Pictures, shrinkage: float) -> Adapter:
    mean, packshot_mean = _centers(pictures)
    rows = pictures.vectors - np.where(pictures.is_packshot[:, np.newaxis], packshot_mean, mean)
    basis = _principal(rows)
    reduced = rows @ basis
    (matrix,) = _discriminants(reduced, pictures.products, pictures.weights(), (shrinkage,))
    return Adapter(mean, packshot_mean, basis @ matrix)


def _principal(rows: Floats) -> Floats:
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


def _discriminants(
    rows: Floats, products: NDArray[np.int64], weights: NDArray[np.float32], shrinkages: tuple[float, ...]
) -> Iterator[Floats]:
    """For each shrinkage the (R, d) map: whitening of the shrunk within-class scatter, then the leading directions of the
    class means; d is at most MAX_DIMENSION and the number of classes less one."""
    labels, place = np.unique(products, return_inverse=True)
    means = _sums(rows, place, weights) / np.bincount(place, weights).astype(np.float32)[:, np.newaxis]
    within = rows - means[place]
    scatter = within.T @ within / max(1, len(rows) - len(labels))
    values, vectors = np.linalg.eigh(scatter)
    values = np.maximum(values, 0)
    sphere = float(values.mean()) or 1.0
    between = (means - means.mean(axis=0)) @ vectors
    for shrinkage in shrinkages:
        scale = 1 / np.sqrt((1 - shrinkage) * values + shrinkage * sphere)
        _, strengths, axes = np.linalg.svd(between * scale, full_matrices=False)
        most = min(MAX_DIMENSION, len(labels) - 1, int((strengths > strengths[0] * 1e-5).sum()))
        yield (vectors * scale) @ axes[: max(1, most)].T


def has_second_photos(pictures: Pictures) -> bool:
    """Whether enough products have two photos: then photos are held out, otherwise views are."""
    products = np.unique(pictures.products[~pictures.is_view])
    return bool(len(products)) and len(_with_second_photos(pictures)) / len(products) >= 0.5


def _with_second_photos(pictures: Pictures) -> set[int]:
    """Products whose photos differ: one photo saved twice is still one."""
    first: dict[int, bytes] = {}
    found: set[int] = set()
    for row in np.flatnonzero(~pictures.is_view):
        product, vector = int(pictures.products[row]), pictures.vectors[row].tobytes()
        if first.setdefault(product, vector) != vector:
            found.add(product)
    return found


def _hold_out(pictures: Pictures, by_photo: bool) -> dict[Choice, Held]:
    """Score held-out pictures under every choice."""
    space = reduced(pictures)
    shrinkages = SHRINKAGES if by_photo else (VIEW_SHRINKAGE,)
    collected: dict[Choice, list[tuple[Samples, Samples]]] = {}
    for gallery, asked, strangers in rounds(pictures, space, by_photo):
        for choice, samples in _round(pictures, space, gallery, asked, strangers, shrinkages).items():
            collected.setdefault(choice, []).append(samples)
    empty = Samples.empty()
    held: dict[Choice, Held] = {(None, "max"): Held(empty, empty)}
    for choice, parts in collected.items():
        held[choice] = Held(Samples.joined([k for k, _ in parts]), Samples.joined([u for _, u in parts]))
    return held


def reduced(pictures: Pictures) -> Floats:
    """(N, R): the pictures, centred, in their leading principal components."""
    mean, packshot_mean = _centers(pictures)
    rows = pictures.vectors - np.where(pictures.is_packshot[:, np.newaxis], packshot_mean, mean)
    return rows @ _principal(rows)


def rounds(pictures: Pictures, space: Floats, by_photo: bool) -> Iterator[tuple[Mask, Mask, Mask]]:
    """Which pictures are in the gallery, which are queries, and which of those are strangers, all (N,), round by round.

    In each round a part of the products is unknown (none of their pictures in the gallery), and of the others one group of
    like pictures is held out. Where products have one photo each, some of its views are the queries.
    """
    groups = _groups(pictures, space, by_photo)
    labels = np.unique(pictures.products)
    random = np.random.default_rng(0)
    parts = min(ROUNDS, len(labels))
    part_of = dict(zip(labels.tolist(), (random.permutation(len(labels)) % parts).tolist(), strict=True))
    part = np.array([part_of[label] for label in pictures.products.tolist()])
    for number in range(parts):
        turn = groups == number % GROUPS
        sold = (part != number) if parts > 2 else np.ones(len(part), bool)
        gallery = sold & ~turn
        asked = (turn | ~sold) & (~pictures.is_view if by_photo else pictures.is_view)
        if gallery.any() and asked.any():
            yield gallery, asked, asked & ~sold


def scores_under(
    pictures: Pictures, space: Floats, choice: Choice, gallery: Mask, asked: Mask
) -> tuple[NDArray[np.int64], Floats]:
    """(P,) products of the gallery and (Q, P) scores of the queries under one choice."""
    kept = pictures.take(gallery)
    photos = ~kept.is_view
    if choice[0] is None:
        return _best_of(pictures.vectors[asked], kept.vectors[photos], kept.products[photos])
    (matrix,) = _discriminants(space[gallery], kept.products, kept.weights(), (choice[0],))
    rows, queries = _unit(space[gallery] @ matrix), _unit(space[asked] @ matrix)
    if choice[1] == "max":
        return _best_of(queries, rows[photos], kept.products[photos])
    labels, means = _means(rows, kept.products, kept.weights())
    return labels, queries @ means.T


def _groups(pictures: Pictures, rows: Floats, by_photo: bool) -> NDArray[np.int64]:
    """(N,) number of the group of like pictures, 0 to GROUPS-1, in which each is held out; -1: never.

    Groups are found among a product's photos, and views go with their photo. A product with one photo, or one in several
    copies, always keeps it: where others have more it is never held out, and where none has, its views are.
    """
    groups = np.full(len(pictures), -1)
    several = _with_second_photos(pictures) if by_photo else set()
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
    unit = _unit(rows)
    picks = [0]
    nearest = unit @ unit[0]
    while len(picks) < min(count, len(rows)):
        picks.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, unit @ unit[picks[-1]])
    centers = unit[picks]
    for _ in range(20):
        owner = (unit @ centers.T).argmax(axis=1)
        for number in range(len(centers)):
            members = unit[owner == number]
            if len(members):
                total = members.sum(axis=0)
                centers[number] = total / max(1e-12, float(np.sqrt(total.dot(total))))
    result: NDArray[np.int64] = (unit @ centers.T).argmax(axis=1)
    return result


def _round(
    pictures: Pictures,
    reduced: Floats,
    gallery: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    unknown: NDArray[np.bool_],
    shrinkages: tuple[float, ...],
) -> dict[Choice, tuple[Samples, Samples]]:
    """(known, unknown) samples of one round under every choice."""
    kept = pictures.take(gallery)
    photos = ~kept.is_view
    truth, strangers = pictures.products[asked], unknown[asked]
    found: dict[Choice, tuple[Samples, Samples]] = {}

    def add(choice: Choice, labels: NDArray[np.int64], scores: Floats) -> None:
        samples = Samples.of_scores(scores, labels, pictures.references_of(labels), truth)
        found[choice] = samples.take(~strangers), samples.take(strangers)

    labels, scores = _best_of(pictures.vectors[asked], kept.vectors[photos], kept.products[photos])
    add((None, "max"), labels, scores)
    if len(labels) < 2:
        return found
    weights = kept.weights()
    for shrinkage, matrix in zip(
        shrinkages, _discriminants(reduced[gallery], kept.products, weights, shrinkages), strict=True
    ):
        rows, queries = _unit(reduced[gallery] @ matrix), _unit(reduced[asked] @ matrix)
        add((shrinkage, "max"), *_best_of(queries, rows[photos], kept.products[photos]))
        labels, means = _means(rows, kept.products, weights)
        add((shrinkage, "prototype"), labels, queries @ means.T)
    return found


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.sqrt(np.einsum("nd,nd->n", rows, rows)), 1e-12)[:, np.newaxis]
    return unit


def _best_of(
    queries: Floats, rows: Floats, products: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(P,) products and (Q, P) the best cosine of each query with a product's rows."""
    order = np.argsort(products, kind="stable")
    labels, starts = np.unique(products[order], return_index=True)
    return labels, np.maximum.reduceat(queries @ rows[order].T, starts, axis=1)
