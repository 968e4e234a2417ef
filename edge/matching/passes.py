"""The passes after the first one: a photo through all branches of a snapshot, and the look-again pass over a rejected photo."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..catalog.attributes import Where
from ..encoders.encoder import Encoder, Vector
from ..errors import VectorError
from ..imaging.decode import decode
from ..imaging.image import Decoded, ImageSource, Limits, Pixels
from ..imaging.resize import fit
from ..scoring.evidence import Evidence
from ..scoring.fusion import DEPTH, Allowed, fused_rank
from .results import Candidate
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .look_again import LookAgain

logger = logging.getLogger(__name__)


def all_branches_pass(
    snapshot: Snapshot,
    image: ImageSource,
    limits: Limits,
    vector: Vector,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
) -> tuple[Candidate, ...]:
    """What all branches together say of a photo.

    `vector`: the photo in the first branch's gallery; `candidates`: what that branch said, which stays where another one's output
    says nothing.
    """
    try:
        others = [
            branch.gallery.adapted(branch.encoder.embed_timed(image, limits).vector) for branch in snapshot.branches[1:]
        ]
    except VectorError:
        return candidates
    found = rank(snapshot, [vector, *others], count, allowed_each(snapshot, where))
    return snapshot.candidates(found)


def look_again_pass(
    snapshot: Snapshot,
    image: ImageSource,
    limits: Limits,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
    *,
    turned: bool = True,
    blank: bool = False,
) -> tuple[LookAgain, tuple[Candidate, ...]]:
    """Mend a rejected photo, or turn it where nothing is wrong with it and `turned` is set, and rank again; `candidates`, those of
    the passes before, where that says nothing. `blank`: as a whole it shows no goods."""
    from .local_pass import local_rank
    from .look_again import less_sure, rank_variants

    encoder = snapshot.encoder
    allowed = allowed_each(snapshot, where)

    def rank_pixels(pixels: Pixels) -> Evidence:
        vector, tap = encoder.embed_with_tap(pixels)
        if snapshot.is_blank(vector):
            raise VectorError("a variant of no goods says nothing")
        if snapshot.local is not None:
            return local_rank(snapshot, vector, tap, max(DEPTH, count), allowed[0])
        vectors = [
            vector,
            *(one.encoder.embed_pixels(pixels_for(one.encoder, encoder, pixels)) for one in snapshot.branches[1:]),
        ]
        adapted = [gallery.adapted(one) for gallery, one in zip(snapshot.galleries, vectors, strict=True)]
        return rank(snapshot, adapted, max(DEPTH, count), allowed)

    decoded = decode(image, encoder.card, limits)
    again, evidence = rank_variants(decoded, encoder.card, encoder.resizer, rank_pixels, turned=turned, blank=blank)
    if evidence is not None:
        candidates = tuple(
            replace(candidate, confidence=less_sure(candidate.confidence))
            for candidate in snapshot.candidates(evidence.cut(count))
        )
    if snapshot.accepts(candidates):
        return replace(again, problem=None), candidates
    if isinstance(image, np.ndarray) and _is_sure_of_swapped(snapshot, image, limits, count, rank_pixels):
        again = replace(again, hint=BGR_HINT)
        _warn_of_bgr()
    return again, candidates


BGR_HINT = "a product is recognized with red and blue exchanged; expected RGB, OpenCV gives BGR: pass frame[:, :, ::-1]"


def _is_sure_of_swapped(
    snapshot: Snapshot, image: Pixels, limits: Limits, count: int, rank_pixels: Callable[[Pixels], Evidence]
) -> bool:
    """Whether a rejected array is accepted with its channels in the other order, as surely as the look-again pass must be."""
    encoder = snapshot.encoder
    pixels = fit(decode(image, encoder.card, limits), encoder.card, encoder.resizer)
    try:
        evidence = rank_pixels(np.ascontiguousarray(pixels[:, :, ::-1]))
    except VectorError:
        return False
    from .look_again import less_sure

    found = snapshot.candidates(evidence.cut(count))
    return bool(found) and less_sure(found[0].confidence) >= snapshot.decision.threshold


@functools.cache
def _warn_of_bgr() -> None:
    """Once: a camera's frames would say it thirty times a second."""
    logger.warning("a photo was rejected, and %s", BGR_HINT)


def blank_pass(snapshot: Snapshot, image: ImageSource, limits: Limits) -> LookAgain:
    """What is said of a photo that shows nothing."""
    from .look_again import blank_of

    encoder = snapshot.encoder
    return blank_of(decode(image, encoder.card, limits), encoder.card, encoder.resizer)


def pixels_for(encoder: Encoder, first: Encoder, pixels: Pixels) -> Pixels:
    """Pixels made for the first encoder in another one's size: the same part of the photo, whatever its own card would cut."""
    card = encoder.card
    if (card.width, card.height) == (first.card.width, first.card.height):
        return pixels
    return fit(Decoded(pixels), replace(card, resize="squash", crop_fraction=1.0), encoder.resizer)


def allowed_each(snapshot: Snapshot, where: Where | None) -> list[Allowed]:
    """Which references of each branch's index a filter lets pass."""
    return [snapshot.allowed(where, number) for number in range(len(snapshot.branches))]


def rank(snapshot: Snapshot, vectors: Sequence[Vector], count: int, allowed: Sequence[Allowed]) -> Evidence:
    """What speaks for the `count` best products, for a photo's vector in each branch's gallery."""
    if snapshot.cascade is None:
        return snapshot.gallery.evidence(vectors[0], count, allowed[0])
    return Evidence.of_search(fused_rank(snapshot.galleries, vectors, snapshot.cascade.weights, count, allowed))
