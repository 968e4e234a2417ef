"""The passes after the first one: a photo through all branches of a snapshot, and the look-again pass over a rejected photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..catalog.attributes import Where
from ..encoders.encoder import Encoder, Vector
from ..errors import VectorError
from ..imaging.decode import decode
from ..imaging.image import Decoded, ImageSource, Limits, Pixels
from ..imaging.resize import fit
from ..scoring.fusion import DEPTH, Allowed, Ranked, fused_rank
from .results import Candidate
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .look_again import LookAgain


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
    return snapshot.candidates(rank(snapshot, [vector, *others], count, allowed_each(snapshot, where)))


def look_again_pass(
    snapshot: Snapshot,
    image: ImageSource,
    limits: Limits,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
) -> tuple[LookAgain, tuple[Candidate, ...]]:
    """Mend a rejected photo and rank again; `candidates`, those of the passes before, where that says nothing."""
    from .local_pass import local_rank
    from .look_again import less_sure, rank_variants

    encoder = snapshot.encoder
    allowed = allowed_each(snapshot, where)

    def rank_pixels(pixels: Pixels) -> Ranked:
        if snapshot.local is not None:
            return local_rank(snapshot, *encoder.embed_with_tap(pixels), max(DEPTH, count), allowed[0])
        vectors = [
            branch.gallery.adapted(branch.encoder.embed_pixels(pixels_for(branch.encoder, encoder, pixels)))
            for branch in snapshot.branches
        ]
        return rank(snapshot, vectors, max(DEPTH, count), allowed)

    again, ranked = rank_variants(decode(image, encoder.card, limits), encoder.card, encoder.resizer, rank_pixels)
    if ranked:
        candidates = tuple(
            replace(candidate, confidence=less_sure(candidate.confidence))
            for candidate in snapshot.candidates(ranked[:count])
        )
    return (replace(again, problem=None) if snapshot.accepts(candidates) else again), candidates


def pixels_for(encoder: Encoder, first: Encoder, pixels: Pixels) -> Pixels:
    """Pixels made for the first encoder in another one's size: the same part of the photo, whatever its own card would cut."""
    card = encoder.card
    if (card.width, card.height) == (first.card.width, first.card.height):
        return pixels
    return fit(Decoded(pixels), replace(card, resize="squash", crop_fraction=1.0), encoder.resizer)


def allowed_each(snapshot: Snapshot, where: Where | None) -> list[Allowed]:
    """Which references of each branch's index a filter lets pass."""
    return [snapshot.allowed(where, number) for number in range(len(snapshot.branches))]


def rank(snapshot: Snapshot, vectors: Sequence[Vector], count: int, allowed: Sequence[Allowed]) -> Ranked:
    """The `count` best products for a photo's vector in each branch's gallery."""
    if snapshot.cascade is None:
        return snapshot.gallery.rank(vectors[0], count, allowed[0])
    return fused_rank(snapshot.galleries, vectors, snapshot.cascade.weights, count, allowed)
