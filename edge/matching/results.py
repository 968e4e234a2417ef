"""The answer to one photo, and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..catalog.product import ScoredProduct

if TYPE_CHECKING:
    from .barcode_pass import Barcode
    from .labels import Label
    from .locate import Located
    from .look_again import LookAgain

STAGES = (
    "decode",
    "preprocess",
    "encode",
    "search",
    "decide",
    "second_encoder",
    "local",
    "barcode",
    "locate",
    "look_again",
)
"""What `latency_ms` may name besides "total", in their order: from the sixth on, of the photos that went through the second
encoder, local matching, the reading of bar codes, the finding of the product, a look-again pass."""


@dataclass(frozen=True, slots=True)
class Candidate(ScoredProduct):
    """A product that the photo may show: its cosine (of its best reference or of its prototype, see `adapter.Adaptation`; where
    a photo went through two encoders or local matching, the weighted mean of both), and the probability that it is right."""

    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """As in `match --json`."""
        return self.described(score=self.score, confidence=self.confidence)


def sureness(confidence: float) -> str:
    """A confidence for people: "94%". What isn't certain isn't called 100%."""
    return "over 99%" if 0.995 <= confidence < 1 else f"{confidence:.0%}"


def shortfall(confidence: float, threshold: float) -> str:
    """Why a best candidate is not the answer, for people: "94% sure, needs 96%". Rounded away from each other, with as many
    decimals (up to two) as it takes to tell them apart."""
    digits = _digits(confidence, threshold)
    return f"{_floored(confidence, digits)}% sure, needs {_ceiled(threshold, digits):.{digits}f}%"


def surenesses(candidates: Sequence[Candidate], sku: str | None, threshold: float) -> list[str]:
    """The candidates' confidences for people, below the answer `sku`; below none they are rounded down, as `shortfall` does."""
    if sku is not None or not candidates:
        return [sureness(one.confidence) for one in candidates]
    digits = _digits(candidates[0].confidence, threshold)
    return [f"{_floored(one.confidence, digits)}%" for one in candidates]


def _digits(confidence: float, threshold: float) -> int:
    """Decimals, up to two, that tell a confidence from the threshold above it."""
    for digits in (0, 1):
        if _ceiled(threshold, digits) - float(_floored(confidence, digits)) > 10**-digits / 2:
            return digits
    return 2


def _floored(confidence: float, digits: int) -> str:
    return f"{math.floor(100 * confidence * 10**digits + 1e-9) / 10**digits:.{digits}f}"


def _ceiled(threshold: float, digits: int) -> float:
    return float(math.ceil(100 * threshold * 10**digits - 1e-9) / 10**digits)


@dataclass(frozen=True, slots=True)
class MatchResult:
    """The answer to one photo. `sku` is None for "unknown"; `candidates` are distinct products, best first, in both cases.
    `second_encoder`: whether the photo went through both encoders, in a bundle with two; None in one with one.
    `threshold`: the confidence from which on the best candidate is the answer, 0 to 1.
    `labels`: attribute → its likely value, for those that were asked for; None where no product that may vote has one.
    `barcode`: the article number on the photo, where it has settled what the look left open ("barcode" in `decided_by` then).
    `before_local`: the SKU of the best candidate before local matching; None where that wasn't asked.
    `located`: where the product was found that is named; None where the answer is that of the whole photo.
    `look_again`: how a rejected photo was mended and ranked again; None where the first pass was enough."""

    image: str
    decision: Literal["match", "unknown"]
    sku: str | None
    confidence: float
    candidates: tuple[Candidate, ...]
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    generation: int = 0
    labels: Mapping[str, Label | None] = field(default_factory=dict)
    look_again: LookAgain | None = None
    second_encoder: bool | None = None
    threshold: float = 0.0
    barcode: Barcode | None = None
    before_local: str | None = None
    located: Located | None = None

    @property
    def decided_by(self) -> Literal["image", "barcode"]:
        """What the answer rests on."""
        return "image" if self.barcode is None else "barcode"

    def to_dict(self) -> dict[str, Any]:
        """The document of `match --json`; labels only where they were asked for, "look_again" only after that pass."""
        record: dict[str, Any] = {
            "image": self.image,
            "decision": self.decision,
            "sku": self.sku,
            "confidence": round(self.confidence, 6),
            "threshold": round(self.threshold, 6),
            "decided_by": self.decided_by,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "latency_ms": {stage: round(value, 3) for stage, value in self.latency_ms.items()},
        }
        if self.labels:
            record["labels"] = {
                attribute: None if label is None else label.to_dict() for attribute, label in self.labels.items()
            }
        if self.second_encoder is not None:
            record["second_encoder"] = self.second_encoder
        if self.before_local is not None:
            record["before_local"] = self.before_local
        if self.located is not None:
            record["located"] = self.located.to_dict()
        if self.barcode is not None:
            record["barcode"] = self.barcode.to_dict()
        if self.look_again is not None:
            record["look_again"] = self.look_again.to_dict()
        return record
