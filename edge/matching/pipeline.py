"""Photo → product, or "unknown": the pipeline, as a function of a snapshot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..arguments import label_names
from ..catalog.attributes import Where
from ..encoders.encoder import Vector
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from ..scoring.fusion import Allowed
from .opinions import NOTHING, second_opinion, shows_nothing
from .results import Candidate, MatchResult
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .barcode_pass import Barcode
    from .finder import Locator
    from .labels import Label
    from .locate import Part
    from .look_again import LookAgain


def match(
    snapshot: Snapshot,
    image: ImageSource,
    *,
    top_k: int = 5,
    where: Where | None = None,
    labels: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    look_again: bool | Literal["upright"] = True,
    locate: Locator | None = None,
) -> MatchResult:
    """Name the product on a photo, as `Matcher.match` does; `look_again`: mend a rejected photo and rank once more
    ("upright": but don't turn it); `locate`: find the product and name that part of the photo, where the whole isn't sure.

    The other branches, or local matching, run where the first search is not sure. Raises ImageError, CatalogError, DetectorError.
    """
    first, watch, labels = snapshot.branches[0], _Stopwatch(), label_names(labels)
    embedding = first.encoder.embed_timed(image, limits)
    watch.skip()
    allowed = snapshot.allowed(where)
    vector = first.gallery.adapted(embedding.vector)
    blank, count = shows_nothing(embedding), max(2, top_k)
    found = NOTHING if blank else first.gallery.evidence(vector, count, allowed)
    voted = snapshot.labels(vector, labels, allowed)  # of nothing, too: it tells an attribute that no product has
    voted = dict.fromkeys(voted) if blank else voted
    watch.lap("search")
    candidates = before = snapshot.candidates(found, snapshot.first)
    watch.lap("decide")
    opinion, candidates = second_opinion(snapshot, image, limits, embedding, vector, allowed, candidates, count, where)
    if opinion:
        watch.lap(opinion)
    closer = _Closer(candidates)
    if blank:
        from .passes import blank_pass

        closer.again = blank_pass(snapshot, image, limits)
        watch.lap("look_again")
    elif not snapshot.accepts(candidates) or (locate is not None and locate.mode == "always"):
        no_goods = snapshot.is_blank(embedding.vector)
        question = _Question(snapshot, image, limits, count, where, allowed, look_again, locate, no_goods)
        _look_closer(question, closer, vector, watch)
        if closer.part is not None:
            voted = snapshot.labels(closer.part.vector, labels, allowed)
    candidates = closer.candidates
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
        look_again=closer.again,
        second_encoder=None if snapshot.cascade is None else opinion == "second_encoder",
        threshold=snapshot.decision.threshold,
        barcode=closer.barcode,
        before_local=before[0].sku if opinion == "local" else None,
        located=None if closer.part is None else closer.part.located,
    )


@dataclass(frozen=True, slots=True)
class _Question:
    """What `match` was asked; `blank`: of a photo that shows no goods as a whole."""

    snapshot: Snapshot
    image: ImageSource
    limits: Limits
    count: int
    where: Where | None
    allowed: Allowed
    look_again: bool | Literal["upright"]
    locate: Locator | None
    blank: bool


@dataclass(slots=True)
class _Closer:
    """The candidates, and what the passes over a photo that wasn't sure made of it."""

    candidates: tuple[Candidate, ...]
    barcode: Barcode | None = None
    part: Part | None = None
    again: LookAgain | None = None

    @property
    def sure(self) -> float:
        """Of the best candidate, before odds are divided."""
        if self.part is not None:
            return self.part.sure
        return self.candidates[0].confidence if self.candidates else 0.0


def _look_closer(question: _Question, closer: _Closer, vector: Vector, watch: _Stopwatch) -> None:
    """The passes over a photo of which the first looks aren't sure: its bar code, the product's part of it, the mended photo.

    Each where the one before has settled nothing; of 100 packages as many are right as where every look waits for the reader.
    """
    snapshot, image, limits = question.snapshot, question.image, question.limits
    if not snapshot.accepts(closer.candidates):
        closer.barcode, closer.candidates = _by_barcode(
            snapshot, image, limits, vector, closer.candidates, question.allowed, watch
        )
        if closer.barcode is not None:
            return
    if question.locate is not None and question.locate.wants(snapshot.accepts(closer.candidates)):
        from .locate import locate_pass

        part = locate_pass(
            snapshot,
            question.locate,
            image,
            limits,
            closer.candidates,
            question.count,
            question.where,
            question.allowed,
        )
        # Asked "always", a photo that was sure as a whole stays so: a part that isn't takes no right answer away.
        if part is not None and (snapshot.accepts(part.candidates) or not snapshot.accepts(closer.candidates)):
            closer.part, closer.candidates = part, part.candidates
        watch.lap("locate")
    if question.look_again and not snapshot.accepts(closer.candidates):
        from .look_again import AS_IT_CAME, less_sure
        from .passes import look_again_pass  # only rejected photos pay for it

        turned = question.look_again != "upright"
        closer.again, found = look_again_pass(
            snapshot,
            image,
            limits,
            closer.candidates,
            question.count,
            question.where,
            turned=turned,
            blank=question.blank,
        )
        # A turned photo's answer weighs the photo as it came as well, a mended one's doesn't: where none is sure, it is told
        # if it is surer than the look before, each as it is before its odds are divided.
        weighed = AS_IT_CAME in closer.again.tried and closer.part is None
        if snapshot.accepts(found) or weighed or not found or found[0].confidence > less_sure(closer.sure):
            closer.candidates, closer.part = found, None
        else:  # the answer is the one from before, and no variant's
            closer.again = replace(closer.again, variant="")
        watch.lap("look_again")


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


def _beside(answer: Candidate, voted: Mapping[str, Label | None]) -> Mapping[str, Label | None]:
    """Labels beside an accepted answer: its own attributes."""
    if not voted:
        return voted
    from .labels import with_answer

    return with_answer(voted, answer)
