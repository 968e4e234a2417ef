"""The draft of a bundle's branches: the adapter fitted, references pruned and indexed, the decision calibrated.

In memory only: `build` makes drafts out of photos, `change` changes them, `commit` writes them down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import FitRecord
from ..catalog.ids import PHOTO_BITS, product_of
from ..catalog.listing import CatalogSource
from ..encoders.card import EncoderCard
from ..encoders.encoder import Encoder
from ..errors import ImageError, VectorError
from ..fitting.adapter_fit import Fit, fit, prototypes
from ..fitting.calibration import MIN_SAMPLES, Samples, leave_one_out, left_out_products
from ..fitting.discriminant import unit
from ..fitting.local_fit import facts_of
from ..fitting.prior import Facts, Prior
from ..imaging.decode import decode
from ..imaging.resize import Resizer
from ..imaging.resize import fit as fit_to_card
from ..imaging.views import photo_view
from ..index._codes import Dtype
from ..index.kinds import choose_kind
from ..index.vector_index import VectorIndex
from ..machine.blas import one_blas_thread
from ..progress import Progress, stage
from ..scoring.adapter import Adaptation, Adapter, Floats
from ..scoring.blank import BlankRule
from ..scoring.camera_shift import CameraShift
from ..scoring.cascade import Cascade
from ..scoring.decision import Decision, Method, best_products, margin_of
from ..scoring.gallery import Gallery
from .blanks import with_room_for
from .enroll import Enrolled, centered_on_packshots, counted, merge_prototypes
from .keep import Kept
from .localize import LocalDraft
from .pruning import Pruned, prune

Adapt = Literal["auto", "on", "off"]

_SYNTHETIC_PRODUCTS = 300


@dataclass(slots=True)
class BranchDraft:
    """What a bundle holds of one encoder besides its file; `fit` with the held-out queries, where one was made just now, and
    whether it has seen all products (`whole`); `local`: its local matching, None without; `kept`: the photos' embeddings, where
    they are kept; `facts`: what the prior asks of the shop, None where nothing was held out; `blank`: what tells photos of nothing,
    None where nothing does; `camera`: what photos of the shop's own camera changed, None where there were none."""

    index: VectorIndex
    adaptation: Adaptation
    adapter: Adapter | None = None
    prototypes: VectorIndex | None = None
    fit: Fit | None = None
    whole: bool = True
    local: LocalDraft | None = None
    kept: Kept | None = None
    facts: Facts | None = None
    blank: BlankRule | None = None
    camera: CameraShift | None = None

    @property
    def catalogue_adapter(self) -> Adapter | None:
        """The adapter that photos of the catalogue go through, whatever photos of a camera have changed for queries."""
        if self.adapter is None or self.camera is None:
            return self.adapter
        return self.camera.catalogue_adapter(self.adapter)

    @property
    def gallery(self) -> Gallery:
        """What queries are compared with."""
        return Gallery(self.index, self.adapter, self.prototypes)


@dataclass(frozen=True, slots=True)
class Draft:
    """A bundle before it is committed, all but its catalogue: `cards` and `branches` of its encoders in their order, what the
    photos were resized with, and the decision; `cascade`: when the branches after the first run, None where there is one;
    `fitted_to`: how much there was when it was built, None where that isn't known."""

    cards: tuple[EncoderCard, ...]
    branches: list[BranchDraft]
    resizer: Resizer
    decision: Decision
    cascade: Cascade | None = None
    fitted_to: FitRecord | None = None


def not_adapted(dimension: int, photos: int) -> Adaptation:
    """What a bundle says of embeddings that are left as they are, as asked."""
    return Adaptation("none", "max", "switched off", dimension, photos=photos)


@one_blas_thread()
def compose(
    enrolled: Enrolled,
    *,
    adapt: Adapt = "auto",
    max_references: int = 0,
    index: str = "auto",
    dtype: Dtype = "i8",
    keep: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> tuple[BranchDraft, NDArray[np.bool_], Pruned | None]:
    """Fit the shop's adapter, prune, and index what is left: the draft, which (N,) references were kept, and what pruning
    cost. `keep`: the references to keep, where another encoder has chosen them."""
    dimension = enrolled.vectors.shape[1]
    fitted, whole, facts = None, True, None
    if adapt != "off" and len(enrolled.ids):
        pictures = enrolled.pictures(references=enrolled.references(max_references, keep))
        whole = pictures.whole
        fitted = fit(pictures, force=adapt == "on", views=enrolled.views.shape[1], progress=progress)
        facts = facts_of(pictures, fitted.adaptation)
    adapter = None if fitted is None else fitted.adapter
    adaptation = not_adapted(dimension, len(enrolled.ids)) if fitted is None else fitted.adaptation
    pruned = None
    if keep is None:
        keep = np.ones(len(enrolled.ids), bool)
        if max_references:
            keep, pruned = prune(enrolled.ids, enrolled.adapted(adapter), max_references)
    shape = int(keep.sum()), adaptation.dimension
    built = VectorIndex(shape[1], kind=choose_kind(shape, index), dtype=dtype)
    built.extend(enrolled.references_for(keep, adapter))
    means = None
    if adapter is not None and adaptation.scoring == "prototype":
        products, vectors = prototypes(adapter, enrolled.pictures(most=len(enrolled.ids)))
        means = VectorIndex.build(vectors, (products << PHOTO_BITS).astype(np.uint32), kind="exact", dtype=dtype)
    return BranchDraft(built, adaptation, adapter, means, fitted, whole, facts=facts), keep, pruned


def compose_each(
    every: Sequence[Enrolled],
    adapt: Adapt,
    max_references: int,
    index: str,
    dtype: Dtype,
    progress: Progress | None = None,
) -> tuple[list[BranchDraft], NDArray[np.bool_], Pruned | None]:
    """As `compose`, for each encoder: all keep the references that the first one does."""
    first, keep, pruned = compose(
        every[0], adapt=adapt, max_references=max_references, index=index, dtype=dtype, progress=progress
    )
    others = [compose(one, adapt=adapt, index=index, dtype=dtype, keep=keep, progress=progress)[0] for one in every[1:]]
    return [first, *others], keep, pruned


@one_blas_thread()
def calibrated(
    branches: Sequence[BranchDraft],
    every: Sequence[Enrolled],
    false_accept: float,
    catalogue: CatalogSource,
    encoder: Encoder,
    prior: Prior,
    progress: Progress | None = None,
) -> tuple[Cascade | None, Decision]:
    """When the branches after the first run (None where there is one), and the decision of match or unknown.

    `every`: the photos' embeddings by each encoder, where they were kept; `encoder`: the first one, and its `prior`.
    """
    if len(branches) == 1:
        return None, decided_alone(branches[0], false_accept, catalogue, encoder, prior, progress)
    return decide_pair(every, branches, false_accept, progress)


def decide_pair(
    every: Sequence[Enrolled], branches: Sequence[BranchDraft], false_accept: float, progress: Progress | None = None
) -> tuple[Cascade, Decision]:
    """When the second of two encoders runs, and the decision; from photos that are held out for both at once."""
    from ..fitting.cascade_fit import pair

    galleries = (branches[0].gallery, branches[1].gallery)
    references = counted(branches[0].index.ids)
    pictures = [one.pictures(references=references) for one in every]
    return pair(
        (pictures[0], pictures[1]),
        (branches[0].adaptation, branches[1].adaptation),
        false_accept,
        None if pictures[0].whole else galleries,
        progress,
    )


def extend(draft: BranchDraft, enrolled: Enrolled, pruned: Mapping[int, int]) -> None:
    """More references, and what they change in their products' prototypes; `pruned`: product → how many photos besides its
    references are in that already."""
    if not len(enrolled.ids):
        return
    draft.blank = with_room_for(draft.blank, enrolled.vectors)
    adapter = draft.catalogue_adapter
    if draft.adapter is not None and adapter is not None:
        adapter = centered_on_packshots(adapter, enrolled)
        draft.adapter = replace(draft.adapter, packshot_mean=adapter.packshot_mean)
    before = product_of(draft.index.ids)
    draft.index.add(enrolled.ids, enrolled.adapted(adapter))
    if draft.prototypes is not None and adapter is not None:
        products, means = prototypes(adapter, enrolled.pictures(most=len(enrolled.ids)))
        had = np.array([(before == product).sum() + pruned.get(int(product), 0) for product in products])
        added = np.array([(product_of(enrolled.ids) == product).sum() for product in products])
        merge_prototypes(draft.prototypes, products, means, had, added)
    if draft.local is not None:
        draft.local = draft.local.extended(enrolled)
    if draft.kept is not None:
        draft.kept = draft.kept.extended(enrolled)


def remove(draft: BranchDraft, ids: NDArray[np.uint32]) -> None:
    """References leave; products without any leave the prototypes, those that keep some have theirs made anew."""
    draft.index.remove(ids)
    if draft.local is not None:
        draft.local = draft.local.without(ids)
    if draft.kept is not None:
        draft.kept = draft.kept.without(ids)
    if draft.prototypes is not None:
        left = np.unique(product_of(draft.index.ids))
        draft.prototypes.remove(np.setdiff1d(draft.prototypes.ids, left << np.uint32(PHOTO_BITS)))
        fewer = np.intersect1d(product_of(ids), left)
        if len(fewer):
            draft.prototypes.replace((fewer << PHOTO_BITS).astype(np.uint32), _means_of(draft, fewer))


def _means_of(draft: BranchDraft, products: NDArray[np.uint32]) -> Floats:
    """(P, d) prototypes of these products (P,) ascending, from what the bundle has of their photos: the embeddings and views that
    it keeps, else the references alone."""
    adapter = draft.catalogue_adapter
    if draft.kept is not None and adapter is not None:
        enrolled = draft.kept.of_products(products).enrolled()
        return prototypes(adapter, enrolled.pictures(most=len(enrolled.ids)))[1]
    owners = product_of(draft.index.ids)
    rows = [draft.index.vectors(np.flatnonzero(owners == product)).mean(axis=0) for product in products]
    return unit(np.stack(rows))


def decide(draft: BranchDraft, false_accept: float, prior: Prior) -> Decision | None:
    """From the queries that the fit held out, however few; None where there was no fit. Held out from a part of the products,
    they miss the nearest unknown products of the whole, by which the threshold is set then."""
    fitted = draft.fit
    if fitted is None or draft.facts is None:
        return None
    method: Method = "held-out" if fitted.by_photo else "synthetic-views"
    unknown = fitted.unknown if draft.whole else left_out_products([draft.gallery])
    return prior.judge("search", draft.facts, fitted.known).decision(false_accept, method, fitted.known, unknown)


def decided_alone(
    draft: BranchDraft,
    false_accept: float,
    catalogue: CatalogSource,
    encoder: Encoder,
    prior: Prior,
    progress: Progress | None = None,
) -> Decision:
    """A bundle's with one encoder: from held-out queries, else from photos left out one by one, else from views made for it."""
    decided = decide(draft, false_accept, prior)
    if decided is not None:
        return decided
    known, unknown = leave_one_out(draft.index)
    if len(known) >= MIN_SAMPLES:
        return _decided(draft, false_accept, prior, known, unknown, "leave-one-out")
    made = _synthetic_samples(draft.index, catalogue, encoder, progress)
    return _decided(draft, false_accept, prior, *made, "synthetic-views")


def decided_by_vectors(draft: BranchDraft, false_accept: float, prior: Prior) -> Decision:
    """Where there are embeddings and no photos: from held-out queries, else from those left out one by one."""
    decided = decide(draft, false_accept, prior)
    return decided or _decided(draft, false_accept, prior, *leave_one_out(draft.index), "leave-one-out")


def _decided(
    draft: BranchDraft, false_accept: float, prior: Prior, known: Samples, unknown: Samples, method: Method
) -> Decision:
    """By the prior, where no adapter was fitted."""
    products = max(1, len(np.unique(product_of(draft.index.ids))))
    facts = Facts(products, method == "leave-one-out", 0.0, None)
    return prior.judge("search", facts, known).decision(false_accept, method, known, unknown)


def _synthetic_samples(
    index: VectorIndex, catalogue: CatalogSource, encoder: Encoder, progress: Progress | None
) -> tuple[Samples, Samples]:
    """Known and unknown queries from synthetic views of the photos, for shops with one photo a product."""
    first = {photo.sku: photo for photo in reversed(catalogue.photos)}
    photos = [first[sku] for sku in list(first)[:: max(1, len(first) // _SYNTHETIC_PRODUCTS)]]
    rows: dict[bool, list[tuple[float, float, float, bool]]] = {True: [], False: []}
    for number, photo in enumerate(stage(progress, "calibrate", "view")(photos, len(photos))):
        try:
            pixels = fit_to_card(decode(photo.path, encoder.card), encoder.card, encoder.resizer)
            own = int(product_of(index.search(encoder.embed_pixels(pixels), 1)[0][0])[0])
            view = encoder.embed_pixels(photo_view(pixels, seed=number))
        except (ImageError, VectorError):
            continue
        ids, scores = index.search(view, 64)
        ranked = best_products(ids[0], scores[0])
        others = [hit for hit in ranked if hit[0] != own]
        for is_known, hits in ((True, ranked), (False, others)):
            if hits:
                rival = hits[1][1] if len(hits) > 1 else None
                rows[is_known].append((hits[0][1], margin_of(hits[0][1], rival), 1, is_known and hits[0][0] == own))

    def samples(of: list[tuple[float, float, float, bool]]) -> Samples:
        table = np.array(of, float).reshape(-1, 4)
        return Samples(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool))

    return samples(rows[True]), samples(rows[False])


def recalibrated(draft: BranchDraft, before: Decision, prior: Callable[[], Prior]) -> Decision:
    """Fit again after a change where the embedding is plain, and as the shop's camera asks for it; what was fitted on held-out
    photos, or where photos are too few, stays: the fit's own photos would be found too well by it."""
    if draft.adapter is not None or before.method == "held-out":
        return before
    known, unknown = leave_one_out(draft.index)
    if len(known) < MIN_SAMPLES or len(unknown) < MIN_SAMPLES:
        return before
    fitted = _decided(draft, before.target_false_accept_rate, prior(), known, unknown, "leave-one-out")
    return fitted if draft.camera is None or draft.local is not None else draft.camera.decided(fitted)
