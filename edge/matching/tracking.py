"""Several frames of one product → one steady decision.

A product's scores are averaged over the frames, and the decision's log odds of that average are multiplied by the number of
frames that the n frames are worth:

    log odds(n) = n / (1 + (n - 1) * correlation) * log odds(mean scores)

For independent frames this is naive Bayes, the statistic of Wald's sequential probability ratio test (A. Wald 1945,
"Sequential tests of statistical hypotheses"): log odds add up. Frames of one product are far from independent: they show the
same thing in the same light, so the sum is divided by the design effect of a cluster sample (L. Kish 1965, "Survey Sampling",
section 5.4). The prior is even odds, as in the calibration, where known and unknown queries weigh the same.

The correlation is that of different photos of a product where frames differ as much as those, and 1 where they are all alike:
a camera that stands still adds nothing by looking longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..catalog.attributes import Where
from ..catalog.ids import product_of
from ..errors import ImageError, VectorError
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits
from ..metrics import log_odds
from ..scoring.evidence import Evidence, mean_evidence
from .observing import Frame, Observer

if TYPE_CHECKING:
    from ..index.vector_index import VectorIndex
    from .finder import Locator
    from .results import Candidate
    from .snapshot import Snapshot

CORRELATION = 0.75
"""Of the log odds of two photos of one product: with it, false accepts stay about where one photo has them, and
correct accepts grow (val photos of the Grocery Store Dataset; benchmarks/lookagain.py --parts frames)."""
_SAME_PICTURE = 0.995
"""Cosine from which on two frames are one picture, in any encoder's space."""
MISS_RATE = 0.05
"""Of products in the catalogue, how many may end as unknown before the last frame (Wald's beta)."""
MAX_FRAMES = 12
"""After so many frames the next one changes the log odds by less than a hundredth."""
WINDOW = 50
"""Frames that are remembered, the latest: a camera that looks at one shelf all day costs as much in the evening as in the morning.
They are worth 1.32 independent ones, any number of them 1.33."""
MIN_FRAMES, MIN_FRAMES_UNKNOWN = 2, 5
"""Before so many frames no answer is sure: one frame is what `match` is for, and a product that is just being brought into the
picture looks like none at first."""
NOTHING_FRAMES = 3
"""So many frames in a row of one flat colour, of a covered lens or of a wall in the sun, end an answer."""
_CHANGE_LIMIT = 4.0
"""Log likelihood ratio from which on the product has changed: e^4, one false alarm in about 55 frames that look like another
product (E. S. Page 1954, "Continuous inspection schemes")."""
_CHANGE_STEP = 6.0
"""One frame's most: a single odd frame may change the product only if it looks like nothing seen before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the mean scores of several frames come to, before frames are counted: candidates with the confidence of one frame."""

    candidates: tuple[Candidate, ...]
    threshold: float
    false_accept_rate: float


@dataclass(frozen=True, slots=True)
class TrackDecision:
    """The answer so far. `sku` is None for "unknown". `sure`: more frames of this product won't change the answer, ask no more.
    `changed`: this frame began another product. `frames` counts those that the answer rests on (the last `WINDOW` at most),
    `unreadable` those that couldn't be read. `threshold`: the confidence from which on the best candidate is the answer; 0 before
    the first frame."""

    decision: Literal["match", "unknown"]
    sku: str | None
    confidence: float
    candidates: tuple[Candidate, ...]
    frames: int
    sure: bool
    changed: bool = False
    unreadable: int = 0
    problem: str = ""
    threshold: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The document of `match --frames --json`."""
        return {
            "decision": self.decision,
            "sku": self.sku,
            "confidence": round(self.confidence, 6),
            "threshold": round(self.threshold, 6),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "frames": self.frames,
            "sure": self.sure,
            "changed": self.changed,
            "unreadable": self.unreadable,
        }


class Tracker:
    """Takes frames one after another; each `add` gives the decision so far. For one thread, and one camera, at a time.

    tracker = matcher.track()
    for frame in camera:
        decision = tracker.add(frame)
        if decision.sure:
            break

    When the frames begin to show something else, the evidence starts again with them.
    """

    def __init__(
        self,
        observe: Callable[[ImageSource], Frame],
        judge: Callable[[Snapshot, Evidence], Verdict],
        sameness: Callable[[Snapshot], Sameness],
        *,
        top_k: int = 5,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._observe, self._judge, self._new_sameness = observe, judge, sameness
        self._forget = forget
        self._top_k = top_k
        self.correlation = CORRELATION  # of frames that differ like photos
        self.reset()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a Tracker can be neither copied nor pickled; pickle the Matcher, and begin a tracker with its track()"
        )

    def reset(self) -> None:
        """Forget all frames: the next one begins another product."""
        self._forget()
        self._begin()

    def _begin(self) -> None:
        self._frames: list[Frame] = []
        self._pending: list[Frame] = []  # look like another product, but may be a hand in between
        self._suspicion = 0.0
        self._sameness: Sameness | None = None
        self._unreadable = self._nothing = 0

    @property
    def decision(self) -> TrackDecision:
        """The answer so far, as the last `add` gave it."""
        return self._decided(changed=False)

    def add(self, frame: ImageSource) -> TrackDecision:
        """Take one more frame: a path, bytes, a PIL image, or an (H, W, 3) uint8 RGB array.

        A frame that can't be read changes nothing and is counted; `problem` says what was wrong with it. Nor does one that shows
        nothing, until NOTHING_FRAMES of them have come in a row: what was there is gone.
        """
        try:
            seen = self._observe(frame)
        except (ImageError, VectorError) as error:
            self._unreadable += 1
            if isinstance(error, VectorError):
                self._nothing += 1
            if self._nothing >= NOTHING_FRAMES and self._frames:
                unreadable = self._unreadable
                self.reset()
                self._unreadable = unreadable
            return self._decided(changed=False, problem=str(error))
        self._nothing = 0
        if self._frames and self._frames[0].snapshot is not seen.snapshot:
            self._begin()  # product ids and scores of another generation of the bundle
        changed = self._take(seen)
        return self._decided(changed=changed)

    def _take(self, seen: Frame) -> bool:
        """Put the frame where it belongs; whether it begins another product."""
        if not self._frames:
            self._frames.append(seen)
            return False
        if self._sameness is None:
            self._sameness = self._new_sameness(seen.snapshot)
        mean = np.mean([frame.vector for frame in self._frames], axis=0)
        similarity = float(seen.vector @ mean) / max(float(np.linalg.norm(mean)), 1e-9)
        ratio = min(self._sameness.log_ratio_of_change(similarity), _CHANGE_STEP)
        self._suspicion = max(0.0, self._suspicion + ratio)
        self._pending = [*self._pending, seen][-WINDOW:]
        changed = self._suspicion >= _CHANGE_LIMIT
        if changed:
            self._frames, self._suspicion = [], 0.0
        if not self._suspicion:
            self._frames = (self._frames + self._pending)[-WINDOW:]
            self._pending = []
        return changed

    def _correlation(self) -> float:
        """From `correlation` for frames as different as photos of a product, to 1 for frames that are all the same."""
        count = len(self._frames)
        if count < 2 or self._sameness is None:
            return self.correlation
        mean = np.mean([frame.vector for frame in self._frames], axis=0)
        # The mean cosine of two different frames, which are unit vectors.
        alike = (count * float(mean @ mean) - 1) / (count - 1)
        same = min(self._sameness.same_mean, _SAME_PICTURE)
        beyond = min(1.0, max(0.0, (alike - same) / (_SAME_PICTURE - same + 1e-6)))
        return self.correlation + (1 - self.correlation) * beyond

    def _decided(self, *, changed: bool, problem: str = "") -> TrackDecision:
        count = len(self._frames)
        if not count:
            return TrackDecision("unknown", None, 0.0, (), 0, False, changed, self._unreadable, problem)
        verdict = self._judge(
            self._frames[0].snapshot,
            mean_evidence([frame.evidence for frame in self._frames]).cut(max(2, self._top_k)),
        )
        candidates = tuple(
            _with_evidence(candidate, worth(count, self._correlation())) for candidate in verdict.candidates
        )
        # A bare counter is no product, however often it is seen.
        if 2 * sum(frame.blank for frame in self._frames) > count:
            candidates = tuple(replace(candidate, confidence=0.0) for candidate in candidates)
        best = candidates[0] if candidates else None
        confidence = best.confidence if best is not None else 0.0
        accepted = best is not None and confidence >= verdict.threshold
        odds = log_odds(confidence)
        accept_at = max(math.log((1 - MISS_RATE) / verdict.false_accept_rate), log_odds(verdict.threshold))
        reject_at = min(math.log(MISS_RATE / (1 - verdict.false_accept_rate)), log_odds(verdict.threshold))
        return TrackDecision(
            decision="match" if accepted else "unknown",
            sku=best.sku if best is not None and accepted else None,
            confidence=confidence,
            candidates=candidates[: self._top_k],
            frames=count,
            sure=count >= MAX_FRAMES
            or (count >= MIN_FRAMES and odds >= accept_at)
            or (count >= MIN_FRAMES_UNKNOWN and odds <= reject_at),
            changed=changed,
            unreadable=self._unreadable,
            problem=problem,
            threshold=verdict.threshold,
        )


def track(
    snapshot_of: Callable[[], Snapshot],
    *,
    top_k: int = 5,
    where: Where | None = None,
    limits: Limits = DEFAULT_LIMITS,
    locate: Locator | None = None,
) -> Tracker:
    """A tracker whose frames go through the snapshot that `snapshot_of` gives, asked anew for each, and whose mean scores its
    decision judges.

    Every frame goes through all branches: scores of one and of several don't make a mean. `locate`: a product is found where whole
    frames aren't sure, and followed.
    """
    observer = Observer(snapshot_of, top_k=top_k, where=where, limits=limits, locate=locate)
    return Tracker(observer.observe, judge, sameness, top_k=top_k, forget=observer.forget)


def judge(snapshot: Snapshot, evidence: Evidence) -> Verdict:
    """What scores come to by a snapshot's decision, as if they were one photo's."""
    decision = snapshot.decision
    return Verdict(snapshot.candidates(evidence), decision.threshold, decision.target_false_accept_rate)


def sameness(snapshot: Snapshot) -> Sameness:
    """How alike photos of one product are in this snapshot."""
    return Sameness.of(snapshot.gallery.index)


def worth(frames: int, correlation: float = CORRELATION) -> float:
    """How many independent frames that many frames of one product are worth: frames / design effect."""
    return frames / (1 + (frames - 1) * correlation)


def _with_evidence(candidate: Candidate, frames: float) -> Candidate:
    odds = frames * log_odds(candidate.confidence)
    return replace(candidate, confidence=1 / (1 + math.exp(-max(-50.0, min(50.0, odds)))))


@dataclass(frozen=True, slots=True)
class Sameness:
    """How alike photos of one product, and of two products, are in this shop: mean and spread of their cosines."""

    same_mean: float
    other_mean: float
    spread: float

    def log_ratio_of_change(self, similarity: float) -> float:
        """log(P(similarity | two products) / P(similarity | one product)) of two normal distributions of one spread."""
        middle = (self.same_mean + self.other_mean) / 2
        return (middle - similarity) * (self.same_mean - self.other_mean) / self.spread**2

    @classmethod
    def of(cls, index: VectorIndex, limit: int = 500) -> Sameness:
        """From the shop's own references: neighbouring photos of up to `limit` products, and as many pairs of two products.

        Where products have one photo each, one product is taken to lie halfway between two products and identity.
        """
        order = np.argsort(index.ids)  # photos of one product side by side
        products, first, counts = np.unique(product_of(index.ids[order]), return_index=True, return_counts=True)
        if len(products) < 2:
            return cls(1.0, 0.0, 0.35)
        picks = np.unique(np.linspace(0, len(products) - 1, min(limit, len(products))).astype(np.intp))
        heads = index.vectors(order[first[picks]])
        others = _cosines(heads, np.roll(heads, 1, axis=0))
        spread = max(0.03, float(others.std()))
        twice = picks[counts[picks] > 1]
        if len(twice) < 5:
            return cls((1 + float(others.mean())) / 2, float(others.mean()), spread)
        pairs = _cosines(index.vectors(order[first[twice]]), index.vectors(order[first[twice] + 1]))
        pooled = math.sqrt((float(pairs.var()) + float(others.var())) / 2)
        apart = float(others.mean())
        # Kept apart where a shop's own photos say nothing, and below identity.
        return cls(max(float(pairs.mean()), min(apart + 0.03, (1 + apart) / 2)), apart, max(0.03, pooled))


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = (a * b).sum(axis=1)
    return result
