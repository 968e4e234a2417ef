"""Match or unknown: the decision that a bundle carries. `calibration` fits it when the bundle is built."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import product_of
from ..errors import BundleError
from ..records import read_record
from .evidence import Evidence

Method = Literal["held-out", "leave-one-out", "synthetic-views", "prior", "default"]
_UNREAD = "the manifest's decision is not one this version reads"
SAME = 1e-5
"""Scores that differ by no more are of the same photos: what rounding makes of a mean in another order."""


LEVELS = (*(step / 100 for step in range(99)), *(0.98 + step / 1000 for step in range(1, 21)))
"""Where quantiles of confidences are kept: each hundredth, and each thousandth of the last two, for low rates of false accepts."""


@dataclass(frozen=True, slots=True)
class Confidences:
    """What a threshold is chosen from: quantiles, at LEVELS, of the confidences of `unknown_count` unknown queries (`unknown`), and
    of the known ones whose best product was the right one (`right`, empty where there was none), which are `right_share` of
    the known. `stretch`: as for `calibration.settle`."""

    unknown: tuple[float, ...]
    unknown_count: int
    right: tuple[float, ...]
    right_share: float
    stretch: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {**asdict(self), "unknown": list(self.unknown), "right": list(self.right)}

    @classmethod
    def from_dict(cls, record: object) -> Confidences:
        """From the manifest. Raises BundleError."""
        try:
            given: Any = record
            tables = {key: tuple(float(value) for value in given[key]) for key in ("unknown", "right")}
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise BundleError(f"{_UNREAD}: {error}; build the bundle again") from error
        if len(tables["unknown"]) != len(LEVELS) or len(tables["right"]) not in (0, len(LEVELS)):
            raise BundleError(f"{_UNREAD}: {len(tables['unknown'])} quantiles; build the bundle again")
        return read_record(cls, {**given, **tables}, _UNREAD, BundleError, "build the bundle again")


@dataclass(frozen=True, slots=True)
class Decision:
    """P(right product) = 1 / (1 + exp(-(intercept + score_weight * score + margin_weight * margin
    + references_weight * log2(references)))), accepted from `threshold` on.

    `score` is the product's cosine, `margin` its lead over the best other product, `references` how many photos the product
    has. `method` says what it was fitted on: groups of like photos held out ("held-out"), single ones ("leave-one-out"),
    synthetic views where products have one photo each, or nothing: what other shops taught ("prior"), in bundles of earlier
    versions a formula for all ("default"). `known` and `unknown` count
    the samples; of the two rates `correct_accept_rate` was measured on them, `false_accept_rate` is what is to be expected of
    unknown
    queries (in bundles of earlier versions measured, too), and `reliability` (mean confidence, share right, queries) on the known.
    `lone_rival`: the score that a product alone (in its shop, or by a filter) must lead over; None: 0, as bundles were built
    before.
    `confidences`: for another threshold; None in bundles that were built before they were kept, and for a "default".

    After local matching two more terms are added, `local_weight` * local + `local_lead_weight` * (local - the best other product's
    local), where local is the squashed logit; score and margin stay those of the first search. `local_weight` None: the formula
    is on the fused scores, as bundles were built before.
    """

    method: Method
    intercept: float
    score_weight: float
    margin_weight: float
    references_weight: float
    threshold: float
    target_false_accept_rate: float
    known: int = 0
    unknown: int = 0
    false_accept_rate: float | None = None
    correct_accept_rate: float | None = None
    reliability: tuple[tuple[float, float, int], ...] = ()
    confidences: Confidences | None = None
    local_weight: float | None = None
    local_lead_weight: float = 0.0
    lone_rival: float | None = None

    def confidence(
        self, score: float, margin: float, references: int = 1, local: float = 0.0, local_lead: float = 0.0
    ) -> float:
        """The probability, 0 to 1, that a candidate of this score and margin, with so many references, is the product."""
        logit = self.intercept + self.score_weight * score + self.margin_weight * margin
        logit += self.references_weight * math.log2(max(1, references))
        logit += (self.local_weight or 0.0) * local + self.local_lead_weight * local_lead
        return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit))))

    def confidences_of(self, evidence: Evidence, references: Sequence[int]) -> list[float]:
        """The confidence of each product of a ranking, which have so many `references` each. Products that share their photos are
        the best together, and share what is sure of them."""
        found = (
            self._of_ranking(evidence, references)
            if self.local_weight is None
            else self._of_parts(evidence, references)
        )
        alike = _alike(evidence)
        return found if alike < 2 else [sure / alike if place < alike else sure for place, sure in enumerate(found)]

    def _of_ranking(self, evidence: Evidence, references: Sequence[int]) -> list[float]:
        """`confidences_of` by the scores of the search."""
        ranked, found = evidence.ranked, []
        for place, ((_, score), count) in enumerate(zip(ranked, references, strict=True)):
            rival = ranked[1 if place == 0 else 0][1] if len(ranked) > 1 else self.lone_rival
            found.append(self.confidence(score, margin_of(score, rival), count))
        return found

    def _of_parts(self, evidence: Evidence, references: Sequence[int]) -> list[float]:
        """`confidences_of` after local matching. A product that wasn't looked at counts with the least of those that were."""
        least = min(evidence.local.values(), default=0.0)
        local = {product: evidence.local.get(product, least) for product in evidence.plain}
        found = []
        for (product, score), count in zip(evidence.ranked, references, strict=True):
            plain = evidence.plain.get(product, score)
            other = max((one for key, one in evidence.plain.items() if key != product), default=self.lone_rival)
            own = local.get(product, least)
            rival = max((one for key, one in local.items() if key != product), default=0.0)
            found.append(self.confidence(plain, margin_of(plain, other), count, own, own - rival))
        return found

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest, which has `confidences` elsewhere: earlier versions know no such field here."""
        record = asdict(self)
        del record["confidences"]
        if self.local_weight is None:  # nor these
            del record["local_weight"], record["local_lead_weight"]
        if self.lone_rival is None:
            del record["lone_rival"]
        return record

    @classmethod
    def from_dict(cls, record: object) -> Decision:
        """From the manifest. Raises BundleError."""
        try:
            given: Any = record
            if "confidences" in given:
                raise KeyError("no field confidences")
            curve = tuple((float(mean), float(share), int(count)) for mean, share, count in given["reliability"])
            values = {**given, "reliability": curve}
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise BundleError(f"{_UNREAD}: {error}; build the bundle again") from error
        made = read_record(cls, values, _UNREAD, BundleError, "build the bundle again")
        rates = (made.target_false_accept_rate, made.false_accept_rate, made.correct_accept_rate)
        if made.method not in get_args(Method) or not all(0 <= rate <= 1 for rate in rates if rate is not None):
            raise BundleError(f"{_UNREAD}: {made.method!r} with the rates {rates}; build the bundle again")
        return made


def _alike(evidence: Evidence) -> int:
    """How many products at the head of a ranking can't be told apart: they have the same photos."""
    if not evidence.ranked:
        return 0
    best, top = evidence.ranked[0]
    local = evidence.local.get(best)
    alike = 1
    for product, score in itertools.islice(evidence.ranked, 1, None):
        other = evidence.local.get(product)
        if top - score > SAME or (local is None) != (other is None):
            break
        if local is not None and other is not None and abs(local - other) > SAME:
            break
        alike += 1
    return alike


def best_products(reference_ids: NDArray[np.uint32], scores: NDArray[np.float32]) -> list[tuple[int, float]]:
    """(product id, score of its best reference), best first, from references sorted by score."""
    best: dict[int, float] = {}
    for product, score in zip(product_of(reference_ids).tolist(), scores.tolist(), strict=True):
        best.setdefault(product, score)
    return list(best.items())


def margin_of(score: float, best_other: float | None) -> float:
    """A candidate's lead over the best other product; over a cosine of 0 where there is no other."""
    return score - (best_other if best_other is not None else 0.0)
