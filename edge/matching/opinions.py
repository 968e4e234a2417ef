"""What a photo's first search rests on, and whom to ask where it isn't sure."""

from __future__ import annotations

from dataclasses import replace

from ..catalog.attributes import Where
from ..encoders.encoder import Embedding, Vector
from ..imaging.image import ImageSource, Limits
from ..scoring.evidence import Evidence
from ..scoring.fusion import Allowed
from .results import Candidate
from .snapshot import Snapshot

NOTHING = Evidence.of_search([])
FLAT = 2.0
"""Grey levels: what differs less from one flat colour shows nothing (a white wall, a covered lens, a black frame), in every
shop and with every encoder. Sensor noise that the resize leaves is under 2. Of 1,199 crops of phone photos, a third of them
taken in near darkness, the flattest is at 2.7; crops of a fridge are over 20 (`benchmarks/nothing.py`)."""


def shows_nothing(embedding: Embedding) -> bool:
    """Whether there is nothing on the photo to name: pure black has an embedding, too, and each shop a product nearest to it."""
    return embedding.spread < FLAT


def second_opinion(
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
    a photo of which the first search is sure pays for neither). Of a photo of no goods none is asked, and no candidate is sure."""
    cascade, local = snapshot.cascade, snapshot.local
    if not candidates:
        return "", candidates
    if snapshot.is_blank(embedding.vector):
        return "", tuple(replace(one, confidence=0.0) for one in candidates)
    sure = candidates[0].confidence
    if cascade is not None and not cascade.is_sure(sure):
        from .passes import all_branches_pass

        return "second_encoder", all_branches_pass(snapshot, image, limits, vector, candidates, count, where)
    if local is not None and not local.record.is_sure(sure):
        from .local_pass import local_rank

        return "local", snapshot.candidates(local_rank(snapshot, embedding.vector, embedding.tap, count, allowed))
    return "", candidates
