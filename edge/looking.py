"""The matcher's slower ways of looking: a second look at rejected photos, several frames, and an explanation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .attributes import Where
from .explanation import Explanation, explain
from .fusion import DEPTH, Ranked
from .image import ImageSource, Limits, Pixels, decode
from .lookagain import LookAgain, less_sure, second_look
from .matcher import Candidate, Matcher, _accepted, _allowed, _candidates, _Version
from .tracking import Frame, Sameness, Tracker, Verdict


def look_again(
    version: _Version,
    image: ImageSource,
    limits: Limits,
    candidates: tuple[Candidate, ...],
    count: int,
    allowed: NDArray[np.bool_] | None,
) -> tuple[LookAgain, tuple[Candidate, ...]]:
    """Mend a rejected photo and rank again; `candidates`, those of the first look, where that says nothing."""
    encoder = version.encoder

    def rank(pixels: Pixels) -> Ranked:
        return version.gallery.rank(version.gallery.adapted(encoder.embed_pixels(pixels)), max(DEPTH, count), allowed)

    look, ranked = second_look(decode(image, encoder.card, limits), encoder.card, encoder.resizer, rank)
    if ranked:
        candidates = tuple(
            replace(candidate, confidence=less_sure(candidate.confidence))
            for candidate in _candidates(version, ranked[:count])
        )
    return (replace(look, problem=None) if _accepted(version, candidates) else look), candidates


def tracker_of(matcher: Matcher, limits: Limits, top_k: int, where: Where | None) -> Tracker:
    """A tracker whose frames this matcher looks at and whose mean scores its decision judges."""

    def look(image: ImageSource) -> Frame:
        version = matcher._fresh()
        vector = version.gallery.adapted(version.encoder.embed_timed(image, limits).vector)
        return Frame(vector, version.gallery.rank(vector, max(DEPTH, top_k), _allowed(version, where)), version)

    return Tracker(look, judge, sameness, top_k=top_k)


def judge(version: _Version, ranked: Ranked) -> Verdict:
    """What scores come to by a version's decision, as if they were one photo's."""
    decision = version.decision
    return Verdict(_candidates(version, ranked), decision.threshold, decision.target_false_accept_rate)


def sameness(version: _Version) -> Sameness:
    """How alike photos of one product are in this version."""
    return Sameness.of(version.gallery.index)


def explanation_of(
    matcher: Matcher,
    image: ImageSource,
    photos: str | os.PathLike[str] | None,
    grid: tuple[int, int],
    where: Where | None,
    limits: Limits,
) -> Explanation:
    """Match a photo and explain the best candidate, accepted or not."""
    version = matcher._fresh()
    result = matcher.match(image, where=where)
    own = _allowed(version, {"sku": result.candidates[0].sku}) if result.candidates else None
    nearest: list[int] = []

    def scores_of(pictures: Sequence[Pixels]) -> list[float]:
        """Of the best product; 0 for a picture that says nothing."""
        embeddings = version.encoder.embed_batch(pictures)
        vectors = [version.gallery.adapted(embedding) if embedding.any() else None for embedding in embeddings]
        if not nearest and own is not None and vectors[0] is not None:  # the first picture is the uncovered one
            found, _ = version.gallery.index.search(vectors[0], int(own.sum()), allowed=own)
            nearest.extend(int(number) for number in found[0])
        return [version.gallery.rank(vector, 1, own)[0][1] if vector is not None else 0.0 for vector in vectors]

    return explain(result, image, version.encoder, version.catalog, scores_of, nearest, photos, grid, limits)
