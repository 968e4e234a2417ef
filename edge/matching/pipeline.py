"""Photo → product, or "unknown": the pipeline, as a function of a snapshot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..catalog.attributes import Where
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from .results import Candidate, MatchResult
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .labels import Label


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

    The other branches run where the first is not sure. Raises ImageError, CatalogError.
    """
    start, first, cascade = time.perf_counter(), snapshot.branches[0], snapshot.cascade
    embedding = first.encoder.embed_timed(image, limits)
    before_search = time.perf_counter()
    allowed = snapshot.allowed(where)
    vector = first.gallery.adapted(embedding.vector)
    ranked = first.gallery.rank(vector, max(2, top_k), allowed)
    voted = snapshot.labels(vector, labels, allowed)
    after_search = time.perf_counter()
    others = again = None
    candidates = snapshot.candidates(ranked, None if cascade is None else cascade.first)
    after_decide = after_branches = end = time.perf_counter()
    if cascade is not None:
        others = bool(candidates) and not cascade.is_sure(candidates[0].confidence)
        if others:
            from .passes import all_branches_pass  # a photo of which the first branch is sure doesn't pay for it

            candidates = all_branches_pass(snapshot, image, limits, vector, candidates, max(2, top_k), where)
            after_branches = end = time.perf_counter()
    if look_again and not snapshot.accepts(candidates):
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
            **({"second_encoder": (after_branches - after_decide) * 1e3} if others else {}),
            **({"look_again": (end - after_branches) * 1e3} if again is not None else {}),
            "total": (end - start) * 1e3,
        },
        generation=snapshot.bundle.manifest.generation,
        labels=_beside(candidates[0], voted) if accepted else voted,
        look_again=again,
        second_encoder=others,
        threshold=snapshot.decision.threshold,
    )


def _beside(answer: Candidate, voted: Mapping[str, Label | None]) -> Mapping[str, Label | None]:
    """Labels beside an accepted answer: its own attributes."""
    if not voted:
        return voted
    from .labels import with_answer

    return with_answer(voted, answer)
