"""The matcher's slower ways of looking: with a second encoder, again at rejected photos, at several frames, and to explain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ..catalog.attributes import Where
from ..encoders.encoder import Encoder, Vector
from ..errors import VectorError
from ..imaging.decode import decode
from ..imaging.image import Decoded, ImageSource, Limits, Pixels
from ..imaging.resize import fit
from ..scoring.cascade import Allowed, Second, fused_rank
from ..scoring.fusion import DEPTH, Ranked
from ..scoring.gallery import Gallery
from .explanation import Explanation, explain
from .look_again import LookAgain, less_sure, second_look
from .matcher import Matcher
from .results import Candidate
from .snapshot import Version
from .tracking import Frame, Sameness, Tracker, Verdict


def look_again(
    version: Version,
    image: ImageSource,
    limits: Limits,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
) -> tuple[LookAgain, tuple[Candidate, ...]]:
    """Mend a rejected photo and rank again; `candidates`, those of the first look, where that says nothing."""
    encoder = version.encoder
    allowed = _allowed_each(version, where)

    def rank(pixels: Pixels) -> Ranked:
        vectors = [version.gallery.adapted(encoder.embed_pixels(pixels))]
        if version.second is not None:
            second = version.second
            vectors.append(second.gallery.adapted(second.encoder.embed_pixels(as_second_sees(second, encoder, pixels))))
        return _rank(version, vectors, max(DEPTH, count), allowed)

    look, ranked = second_look(decode(image, encoder.card, limits), encoder.card, encoder.resizer, rank)
    if ranked:
        candidates = tuple(
            replace(candidate, confidence=less_sure(candidate.confidence))
            for candidate in version.candidates(ranked[:count])
        )
    return (replace(look, problem=None) if version.accepts(candidates) else look), candidates


def ask_second(
    version: Version,
    image: ImageSource,
    limits: Limits,
    vector: Vector,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
) -> tuple[Candidate, ...]:
    """What both encoders together say of a photo; `vector`: what the first saw, `candidates`: what it said, which stays where the
    second's output says nothing."""
    second = version.second
    assert second is not None
    try:
        seen = second.gallery.adapted(second.encoder.embed_timed(image, limits).vector)
    except VectorError:
        return candidates
    return version.candidates(_rank(version, [vector, seen], count, _allowed_each(version, where)))


def as_second_sees(second: Second, first: Encoder, pixels: Pixels) -> Pixels:
    """Pixels made for the first encoder in the size of the second: the same part of the photo, whatever its own card would cut."""
    card = second.encoder.card
    if (card.width, card.height) == (first.card.width, first.card.height):
        return pixels
    return fit(Decoded(pixels), replace(card, resize="squash", crop_fraction=1.0), second.encoder.resizer)


def _allowed_each(version: Version, where: Where | None) -> list[Allowed]:
    """Which references of each encoder's index a filter lets pass."""
    return [version.catalog.passing(one.index.ids, where) if where else None for one in version.galleries]


def _rank(version: Version, vectors: Sequence[Vector], count: int, allowed: Sequence[Allowed]) -> Ranked:
    """The best products for what each encoder of the bundle saw."""
    if version.second is None:
        return version.gallery.rank(vectors[0], count, allowed[0])
    return fused_rank(version.galleries, vectors, version.second.cascade.weights, count, allowed)


def tracker_of(matcher: Matcher, limits: Limits, top_k: int, where: Where | None) -> Tracker:
    """A tracker whose frames this matcher looks at and whose mean scores its decision judges.

    Of two encoders, both look at each frame: scores of one and of both don't make a mean.
    """

    def look(image: ImageSource) -> Frame:
        version = matcher._fresh()
        vectors = [version.gallery.adapted(version.encoder.embed_timed(image, limits).vector)]
        if version.second is not None:
            second = version.second
            vectors.append(second.gallery.adapted(second.encoder.embed_timed(image, limits).vector))
        return Frame(vectors[0], _rank(version, vectors, max(DEPTH, top_k), _allowed_each(version, where)), version)

    return Tracker(look, judge, sameness, top_k=top_k)


def judge(version: Version, ranked: Ranked) -> Verdict:
    """What scores come to by a version's decision, as if they were one photo's."""
    decision = version.decision
    return Verdict(version.candidates(ranked), decision.threshold, decision.target_false_accept_rate)


def sameness(version: Version) -> Sameness:
    """How alike photos of one product are in this version."""
    return Sameness.of(version.gallery.index)


def explanation_of(
    matcher: Matcher,
    image: ImageSource,
    photos: str | os.PathLike[str] | None,
    grid: tuple[int, int],
    top_k: int,
    where: Where | None,
    labels: Sequence[str],
    limits: Limits,
) -> Explanation:
    """Match a photo and explain the best candidate, accepted or not, with one version of the bundle from start to end."""
    version = matcher._fresh()
    result = matcher._match(version, image, top_k, where, labels)
    own = _allowed_each(version, {"sku": result.candidates[0].sku}) if result.candidates else [None, None]
    nearest: list[int] = []

    def scores_of(pictures: Sequence[Pixels]) -> list[float]:
        """Of the best product, by the encoders that the match rests on; 0 for a picture that says nothing."""
        scores = _scores_by(version.encoder, version.gallery, pictures, own[0])
        if not nearest and own[0] is not None:  # the first picture is the uncovered one
            first = version.encoder.embed_batch(pictures[:1])[0]
            if first.any():
                found, _ = version.gallery.index.search(
                    version.gallery.adapted(first), int(own[0].sum()), allowed=own[0]
                )
                nearest.extend(int(number) for number in found[0])
        second = version.second
        mended = result.look_again is not None and bool(result.look_again.variant)
        if second is None or not (result.second_encoder or mended):
            return scores
        seen = [as_second_sees(second, version.encoder, picture) for picture in pictures]
        others = _scores_by(second.encoder, second.gallery, seen, own[1])
        weights = second.cascade.weights
        return [weights[0] * one + weights[1] * other for one, other in zip(scores, others, strict=True)]

    return explain(result, image, version.encoder, version.catalog, scores_of, nearest, photos, grid, limits)


def _scores_by(encoder: Encoder, gallery: Gallery, pictures: Sequence[Pixels], own: Allowed) -> list[float]:
    """The best score of one product's references, or of its prototype, in each picture; 0 for one that says nothing."""
    return [
        gallery.rank(gallery.adapted(embedding), 1, own)[0][1] if embedding.any() else 0.0
        for embedding in encoder.embed_batch(pictures)
    ]
