"""What photos of the shop's own camera change in a bundle: where it looks from, and how sure it must be.

Catalogue pictures don't know the camera. Photos of it, labelled or not, tell two things. Their mean says where queries lie in the
embedding, and the adapter centres them there. And each, held against all products but its own, is an unknown query of this very
camera: what those come to sets the threshold, instead of what the catalogue's pictures let expect.

The first is tried on photos that had no part in it, and so are confidences. What can't be told from chance changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import product_of
from ..encoders.encoder import Embedding
from ..matching.local_pass import local_rank
from ..matching.snapshot import Branch, Snapshot
from ..metrics import logits
from ..scoring.adapter import Adapter
from ..scoring.camera_shift import CameraShift, Floats64, chances, fingerprint, with_confidence, with_threshold
from ..scoring.decision import Decision
from ..scoring.gallery import Gallery

STRENGTH = 30.0
"""As `fitting.prior.STRENGTH`: so many photos say as much as what was known before."""
CERTAIN = 2.0
"""Standard errors that an effect must be worth to be believed: one in twenty is by chance."""
LIKELY = 1.0
"""The same of a threshold, which n photos move only n / (n + STRENGTH) of the way: little of what is by chance goes into it."""
FOLDS = 5
FEWEST = 8
"""With fewer photos neither a mean nor a spread says anything."""
_DEPTH = 20
_FURTHEST = 6.0
"""Log odds that confidences move at most: where all are right or none is, no end is found."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A photo of the camera; `product`: the one that it shows, 0 or more, None for one that the catalogue doesn't have; -1: not
    told."""

    embedding: Embedding
    product: int | None = -1

    @property
    def fingerprint(self) -> bytes:
        """By which it is known when it comes again."""
        return fingerprint(self.embedding.vector, self.product)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What photos change: `adapter` (None: it stays) and why or why not, and what of the decision; `shift`: the record of all that
    the camera has changed so far."""

    adapter: Adapter | None
    centre: str
    rescaled: Rescaled
    shift: CameraShift

    @property
    def changed(self) -> bool:
        """Whether the bundle will be another one."""
        return self.adapter is not None or self.rescaled.moved


@dataclass(frozen=True, slots=True)
class Rescaled:
    """The decision that photos ask for, by how many log odds its threshold and its confidences have moved, and why or why not."""

    decision: Decision
    threshold: float
    confidence: float
    why: str

    @property
    def moved(self) -> bool:
        """Whether it is another decision."""
        return bool(self.threshold or self.confidence)


def calibrate(snapshot: Snapshot, photos: Sequence[Seen]) -> Calibrated:
    """What so many photos, at least FEWEST, change in a bundle with one encoder whose decision can be tuned."""
    adapter, centre = recentred(snapshot, photos)
    moved = snapshot if adapter is None else with_adapter(snapshot, adapter)
    found = rescaled(moved, photos)
    before = snapshot.bundle.manifest.branches[0].camera or CameraShift(0, 0.0, 0.0)
    recentred_from = None if adapter is None else snapshot.gallery.adapter
    shift = before.joined([one.fingerprint for one in photos], found.threshold, found.confidence, recentred_from)
    return Calibrated(adapter, centre, found, shift)


def recentred(snapshot: Snapshot, photos: Sequence[Seen]) -> tuple[Adapter | None, str]:
    """The adapter with the camera's mean, None where it doesn't help photos that weren't in the mean; and why."""
    adapter = snapshot.gallery.adapter
    if adapter is None:
        return None, "the embedding is compared as it is, without an adapter that could be centred"
    vectors = np.stack([photo.embedding.vector for photo in photos])
    gains = []
    for fold in range(FOLDS):
        rest = np.arange(len(photos)) % FOLDS != fold
        tried = with_adapter(snapshot, _centred(adapter, vectors[rest]))
        gains += [
            _lead(tried, photo) - _lead(snapshot, photo) for photo, used in zip(photos, rest, strict=True) if not used
        ]
    gain, error = float(np.mean(gains)), float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    message = f"the lead of the product over all others: {gain:+.2f} ± {error:.2f} log odds on photos that weren't in the mean"
    if gain < CERTAIN * error or gain <= 0:
        return None, f"it can't be shown to help ({message})"
    return _centred(adapter, vectors), message


def _centred(adapter: Adapter, vectors: NDArray[np.float32]) -> Adapter:
    """Queries are centred on the mean of these, as far as their number is to be trusted."""
    trust = np.float32(len(vectors) / (len(vectors) + STRENGTH))
    return replace(adapter, mean=adapter.mean + trust * (vectors.mean(axis=0) - adapter.mean)).as_stored()


def with_adapter(snapshot: Snapshot, adapter: Adapter) -> Snapshot:
    """The snapshot as if queries went through another adapter; references stay where they are."""
    gallery = snapshot.gallery
    branch = Branch(snapshot.encoder, Gallery(gallery.index, adapter, gallery.prototypes))
    return replace(snapshot, branches=(branch, *snapshot.branches[1:]))


def rescaled(snapshot: Snapshot, photos: Sequence[Seen]) -> Rescaled:
    """The decision with the threshold, and where there are labels the confidence, that these photos ask for."""
    before = snapshot.decision
    answers = [_answer(snapshot, photo.embedding, None) for photo in photos]
    needed, error = _exceeded_by(before.target_false_accept_rate, *_unknown(snapshot, photos, answers))
    shift = needed - float(logits(np.array(before.threshold)))
    message = (
        f"{100 * before.target_false_accept_rate:g} % of this camera's unknown queries are surer than "
        f"{float(chances(np.array(needed))):.3f}, {shift:+.2f} ± {error:.2f} log odds from the threshold"
    )
    moved, by, offset = before, 0.0, 0.0
    if abs(shift) >= LIKELY * error:
        by = len(photos) / (len(photos) + STRENGTH) * shift
        moved = with_threshold(before, by)
        message += f"; it goes from {before.threshold:.3f} to {moved.threshold:.3f}"
    else:
        message += ": no more than chance, it stays"
    labelled = [
        (sure, found == photo.product)
        for photo, (sure, found) in zip(photos, answers, strict=True)
        if photo.product != -1
    ]
    if len(labelled) >= FEWEST:
        offset, why = _confidence_offset(
            np.array([sure for sure, _ in labelled]), np.array([right for _, right in labelled])
        )
        moved, message = with_confidence(moved, offset), f"{message}; {why}"
    return Rescaled(moved, by, offset, message)


def _unknown(
    snapshot: Snapshot, photos: Sequence[Seen], answers: Sequence[tuple[float, int]]
) -> tuple[Floats64, Floats64]:
    """Log odds of unknown queries, and how much each counts, of photos and the best candidates' `answers`.

    A labelled photo is held against all products but its own. Another one's own may be the product found first, by its
    confidence; by the rest that is another product already, and the one most like it.
    """
    sure: list[float] = []
    weights: list[float] = []
    for photo, (first, found) in zip(photos, answers, strict=True):
        if photo.product is None:
            sure.append(first)
            weights.append(1.0)
        elif photo.product != -1:
            sure.append(_answer(snapshot, photo.embedding, photo.product)[0])
            weights.append(1.0)
        else:
            sure += [_answer(snapshot, photo.embedding, found)[0], first]
            weights += [first, 1.0 - first]
    return logits(np.array(sure)), np.array(weights)


def _exceeded_by(rate: float, odds: Floats64, weights: Floats64) -> tuple[float, float]:
    """The log odds that a share `rate` of unknown queries exceeds, and its standard error; from those of photos, of which each
    counts 1 in all.

    Not from their median, though it is surer: it says little of the tail. Held by it, shops of groceries that let 2 % pass where
    5 % were asked for became stricter still.
    """
    order, photos = np.argsort(odds), float(weights.sum())
    places = (np.cumsum(weights[order]) - weights[order] / 2) / photos
    spread = math.sqrt(float(np.cov(odds, aweights=weights)))
    # Of a quantile: sqrt(p (1 - p) / n) over the density there (Mood et al. 1974, section VI.5), here a normal one's.
    density = NormalDist().pdf(NormalDist().inv_cdf(rate)) / spread if spread else math.inf
    return float(np.interp(1 - rate, places, odds[order])), math.sqrt(rate * (1 - rate) / photos) / density


def _confidence_offset(sure: Floats64, right: NDArray[np.bool_]) -> tuple[float, str]:
    """By how much confidences are too low, in log odds; 0 where photos that had no part in it aren't told better by it."""
    odds = logits(sure)
    trust = len(sure) / (len(sure) + STRENGTH)

    def fitted(rows: NDArray[np.bool_]) -> float:
        """What makes the mean probability the share that is right, by halving; as far as the number is to be trusted."""
        low, high = -_FURTHEST, _FURTHEST
        for _ in range(40):
            middle = (low + high) / 2
            too_high = float(chances(odds[rows] + middle).mean()) > float(right[rows].mean())
            low, high = (low, middle) if too_high else (middle, high)
        return trust * (low + high) / 2

    gains = np.zeros(len(sure))
    for fold in range(FOLDS):
        held = np.arange(len(sure)) % FOLDS == fold
        offset = fitted(~held)
        gains[held] = _loss(odds[held], right[held]) - _loss(odds[held] + offset, right[held])
    gain, error = float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(len(gains))
    if gain <= 0 or gain < CERTAIN * error:
        return (
            0.0,
            f"confidences stay as they are (log loss {gain:+.3f} ± {error:.3f} on photos that weren't fitted to)",
        )
    offset = fitted(np.ones(len(sure), bool))
    return offset, f"confidences move by {offset:+.2f} log odds (log loss better by {gain:.3f} ± {error:.3f})"


def _lead(snapshot: Snapshot, photo: Seen) -> float:
    """Log odds of the product, told or found, over those of the best other one."""
    found = _candidates(snapshot, photo.embedding, None)
    product = found[0][0] if photo.product in (-1, None) else photo.product
    own = next((sure for other, sure in found if other == product), found[-1][1])
    rest = _candidates(snapshot, photo.embedding, product)
    return float(logits(np.array(own)) - logits(np.array(rest[0][1] if rest else 0.0)))


def _answer(snapshot: Snapshot, embedding: Embedding, without: int | None) -> tuple[float, int]:
    """Confidence and product of the best candidate, `without` a product."""
    found = _candidates(snapshot, embedding, without)
    return (found[0][1], found[0][0]) if found else (0.0, -1)


def _candidates(snapshot: Snapshot, embedding: Embedding, without: int | None) -> list[tuple[int, float]]:
    """(product, confidence), best first, as `pipeline.match` finds them in one pass; `without` a product."""
    gallery = snapshot.gallery
    allowed = None if without is None else product_of(gallery.index.ids) != without
    found, decision = gallery.evidence(gallery.adapted(embedding.vector), _DEPTH, allowed), snapshot.first
    if not found.ranked:
        return []
    sure = snapshot.candidates(found.cut(2), decision)[0].confidence
    if snapshot.local is not None and not snapshot.local.record.is_sure(sure):
        found, decision = local_rank(snapshot, embedding.vector, embedding.tap, _DEPTH, allowed), None
    confidences = [one.confidence for one in snapshot.candidates(found, decision)]
    return [(product, sure) for (product, _), sure in zip(found.ranked, confidences, strict=True)]


def _loss(odds: Floats64, right: NDArray[np.bool_]) -> Floats64:
    result: Floats64 = np.logaddexp(0, np.where(right, -odds, odds))
    return result
