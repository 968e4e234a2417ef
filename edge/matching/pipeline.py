"""Photo → product, or "unknown": the pipeline, as a function of a snapshot."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..catalog.attributes import Where
from ..encoders.encoder import Embedding
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from .results import MatchResult
from .snapshot import Snapshot

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
    start = time.perf_counter()
    first, cascade = snapshot.branches[0], snapshot.cascade
    embedding = first.encoder.embed_timed(image, limits)
    before_search = time.perf_counter()
    allowed = snapshot.allowed(where)
    vector = first.gallery.adapted(embedding.vector)
    blank = shows_nothing(embedding)
    ranked = [] if blank else first.gallery.rank(vector, max(2, top_k), allowed)
    voted = dict.fromkeys(labels) if blank else snapshot.labels(vector, labels, allowed)
    after_search = time.perf_counter()
    candidates = snapshot.candidates(ranked, snapshot.first)
    after_decide = after_branches = end = time.perf_counter()
    others = again = None
    if cascade is not None:
        others = bool(candidates) and not cascade.is_sure(candidates[0].confidence)
        if others:
            from .passes import all_branches_pass  # a photo of which the first branch is sure doesn't pay for it

            candidates = all_branches_pass(snapshot, image, limits, vector, candidates, max(2, top_k), where)
            after_branches = end = time.perf_counter()
    local = snapshot.local
    if local is not None and candidates and not local.record.is_sure(candidates[0].confidence):
        from .local_pass import local_rank

        fused = local_rank(snapshot, embedding.vector, embedding.tap, max(2, top_k), allowed)
        candidates = snapshot.candidates(fused)
        after_branches = end = time.perf_counter()
    looked_closer = local is not None and after_branches > after_decide
    if blank:
        from .passes import blank_pass

        again = blank_pass(snapshot, image, limits)
    elif look_again and not snapshot.accepts(candidates):
        from .passes import look_again_pass  # only rejected photos pay for it

        again, candidates = look_again_pass(snapshot, image, limits, candidates, max(2, top_k), where)
        end = time.perf_counter()
    accepted = snapshot.accepts(candidates)
    if voted and accepted:
        from .labels import with_answer

        voted = with_answer(voted, candidates[0])
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
            **({"local": (after_branches - after_decide) * 1e3} if looked_closer else {}),
            **({"look_again": (end - after_branches) * 1e3} if again is not None else {}),
            "total": (end - start) * 1e3,
        },
        generation=snapshot.bundle.manifest.generation,
        labels=voted,
        look_again=again,
        second_encoder=others,
        threshold=snapshot.decision.threshold,
    )
