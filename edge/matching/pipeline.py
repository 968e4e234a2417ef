"""Photo → product, or "unknown": the pipeline, as a function of a snapshot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..catalog.attributes import Where
from ..encoders.encoder import Embedding, Vector
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from ..scoring.evidence import Evidence
from ..scoring.fusion import Allowed
from .results import Candidate, MatchResult
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .barcode_pass import Barcode
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
    first, watch = snapshot.branches[0], _Stopwatch()
    embedding = first.encoder.embed_timed(image, limits)
    watch.skip()
    allowed = snapshot.allowed(where)
    vector = first.gallery.adapted(embedding.vector)
    blank, count = shows_nothing(embedding), max(2, top_k)
    found = NOTHING if blank else first.gallery.evidence(vector, count, allowed)
    voted = dict.fromkeys(labels) if blank else snapshot.labels(vector, labels, allowed)
    watch.lap("search")
    again = barcode = None
    candidates = before = snapshot.candidates(found, snapshot.first)
    watch.lap("decide")
    opinion, candidates = _second_opinion(snapshot, image, limits, embedding, vector, allowed, candidates, count, where)
    if opinion:
        watch.lap(opinion)
    if blank:
        from .passes import blank_pass

        again = blank_pass(snapshot, image, limits)
        watch.lap("look_again")
    elif not snapshot.accepts(candidates):  # of 100 packages as many are right as where every look waits for the reader
        barcode, candidates = _by_barcode(snapshot, image, limits, vector, candidates, allowed, watch)
    if look_again and not blank and barcode is None and not snapshot.accepts(candidates):
        from .passes import look_again_pass  # only rejected photos pay for it

        again, candidates = look_again_pass(snapshot, image, limits, candidates, count, where)
        watch.lap("look_again")
    accepted = snapshot.accepts(candidates)
    return MatchResult(
        image=source_name(image),
        decision="match" if accepted else "unknown",
        sku=candidates[0].sku if accepted else None,
        confidence=candidates[0].confidence if candidates else 0.0,
        candidates=candidates[:top_k],
        latency_ms={**embedding.latency_ms, **watch.laps_ms, "total": watch.total_ms},
        generation=snapshot.bundle.manifest.generation,
        labels=_beside(candidates[0], voted) if accepted else voted,
        look_again=again,
        second_encoder=None if snapshot.cascade is None else opinion == "second_encoder",
        threshold=snapshot.decision.threshold,
        barcode=barcode,
        before_local=before[0].sku if opinion == "local" else None,
    )


NOTHING = Evidence.of_search([])


class _Stopwatch:
    """Times of stages in ms, one after the other."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.laps_ms: dict[str, float] = {}

    def skip(self) -> None:
        """What went before is told elsewhere."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap was this stage's."""
        before, self._last = self._last, time.perf_counter()
        self.laps_ms[stage] = (self._last - before) * 1e3

    @property
    def total_ms(self) -> float:
        """To the end of the last lap."""
        return (self._last - self._start) * 1e3


def _by_barcode(
    snapshot: Snapshot,
    image: ImageSource,
    limits: Limits,
    vector: Vector,
    candidates: tuple[Candidate, ...],
    allowed: Allowed,
    watch: _Stopwatch,
) -> tuple[Barcode | None, tuple[Candidate, ...]]:
    """What the photo's bar code says, where one can be read and the catalogue has article numbers; else the candidates as they
    are."""
    if not snapshot.reads_barcodes:
        return None, candidates
    from .barcode_pass import barcode_pass

    settled = barcode_pass(snapshot, image, limits, vector, candidates, allowed)
    watch.lap("barcode")
    return settled or (None, candidates)


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
