"""Photo → product, or "unknown": the pipeline, as a function of a snapshot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..catalog.attributes import Where
from ..encoders.encoder import Embedding, Vector
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from ..scoring.fusion import Allowed
from .results import Candidate, MatchResult
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .labels import Label

FLAT = 2.0
"""Grey levels: what differs less from one flat colour shows nothing (a white wall, a covered lens, a black frame), in every
shop and with every encoder. Sensor noise that the resize leaves is under 2. Of 1,199 crops of phone photos, a third of them
taken in near darkness, one is below (1.5) and the next at 2.8; crops of a fridge are over 20 (`benchmarks/nothing.py`)."""


def shows_nothing(embedding: Embedding) -> bool:
    """Whether there is nothing on the photo to name: pure black has an embedding, too, and each shop a product nearest to it."""
    return embedding.spread < FLAT


def match(
    snapshot: Snapshot,
    image: ImageSource,
    *,
    top_k: int = 5,
    where: Where | None = None,
    labels: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    look_again: bool = True,
) -> MatchResult:
    """Name the product on a photo, as `Matcher.match` does; `look_again`: mend a rejected photo and rank once more.

    The other branches, or local matching, run where the first search is not sure. Raises ImageError, CatalogError.
    """
    start, first = time.perf_counter(), snapshot.branches[0]
    embedding = first.encoder.embed_timed(image, limits)
    before_search = time.perf_counter()
    allowed = snapshot.allowed(where)
    vector = first.gallery.adapted(embedding.vector)
    blank = shows_nothing(embedding)
    ranked = [] if blank else first.gallery.rank(vector, max(2, top_k), allowed)
    voted = dict.fromkeys(labels) if blank else snapshot.labels(vector, labels, allowed)
    after_search = time.perf_counter()
    again = None
    candidates = snapshot.candidates(ranked, snapshot.first)
    after_decide = end = time.perf_counter()
    opinion, candidates = _second_opinion(
        snapshot, image, limits, embedding, vector, allowed, candidates, max(2, top_k), where
    )
    if opinion:
        end = time.perf_counter()
    after_opinion = end
    if blank:
        from .passes import blank_pass

        again = blank_pass(snapshot, image, limits)
    elif look_again and not snapshot.accepts(candidates):
        from .passes import look_again_pass  # only rejected photos pay for it

        again, candidates = look_again_pass(snapshot, image, limits, candidates, max(2, top_k), where)
        end = time.perf_counter()
    accepted = snapshot.accepts(candidates)
    return MatchResult(
        image=source_name(image),
        decision="match" if accepted else "unknown",
        sku=candidates[0].sku if accepted else None,
        confidence=candidates[0].confidence if candidates else 0.0,
        candidates=candidates[:top_k],
        latency_ms={
            "decode": embedding.decode_ms,
            "preprocess": embedding.preprocess_ms,
            "encode": embedding.encode_ms,
            "search": (after_search - before_search) * 1e3,
            "decide": (after_decide - after_search) * 1e3,
            **({opinion: (after_opinion - after_decide) * 1e3} if opinion else {}),
            **({"look_again": (end - after_opinion) * 1e3} if again is not None else {}),
            "total": (end - start) * 1e3,
        },
        generation=snapshot.bundle.manifest.generation,
        labels=_beside(candidates[0], voted) if accepted else voted,
        look_again=again,
        second_encoder=None if snapshot.cascade is None else opinion == "second_encoder",
        threshold=snapshot.decision.threshold,
    )


def _second_opinion(
    snapshot: Snapshot,
    image: ImageSource,
    limits: Limits,
    embedding: Embedding,
    vector: Vector,
    allowed: Allowed,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
) -> tuple[str, tuple[Candidate, ...]]:
    """Where the first search isn't sure: what the other branches or local matching say, and which of them was asked ("" for none;
    a photo of which the first search is sure pays for neither)."""
    cascade, local = snapshot.cascade, snapshot.local
    if not candidates:
        return "", candidates
    sure = candidates[0].confidence
    if cascade is not None and not cascade.is_sure(sure):
        from .passes import all_branches_pass

        return "second_encoder", all_branches_pass(snapshot, image, limits, vector, candidates, count, where)
    if local is not None and not local.record.is_sure(sure):
        from .local_pass import local_rank

        return "local", snapshot.candidates(local_rank(snapshot, embedding.vector, embedding.tap, count, allowed))
    return "", candidates


def _beside(answer: Candidate, voted: Mapping[str, Label | None]) -> Mapping[str, Label | None]:
    """Labels beside an accepted answer: its own attributes."""
    if not voted:
        return voted
    from .labels import with_answer

    return with_answer(voted, answer)
