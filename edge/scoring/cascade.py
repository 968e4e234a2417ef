"""Two encoders in one bundle: every photo goes through the first, and the second where that is not sure; scores are added up.

When to ask the second one, and how much each score weighs, is chosen on the shop's own held-out photos (`fitting.cascade_fit`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import BundleError
from ..records import read_record
from .decision import Decision

_UNREAD = "the manifest's cascade is not one this version reads"

ALWAYS = 2.0
"""As `sure_from`: no confidence reaches it, every photo goes through both encoders."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """`first`: the confidence of the first encoder's scores alone; from `sure_from` on its answer stands and the second encoder
    isn't asked. `weights`: what both products' scores are multiplied by before they are added.

    On held-out photos, None where there were too few: the recall@1 of each encoder, of both together (`recall_fused`), and of
    the cascade; the share of photos that went through both, of products in the catalogue (`asked_known`) and of
    others (`asked_unknown`).
    """

    first: Decision
    weights: tuple[float, float]
    sure_from: float
    recall_first: float | None = None
    recall_second: float | None = None
    recall_fused: float | None = None
    recall_cascade: float | None = None
    asked_known: float | None = None
    asked_unknown: float | None = None

    def is_sure(self, confidence: float) -> bool:
        """Whether the first encoder's answer stands."""
        return confidence >= self.sure_from

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {**asdict(self), "first": self.first.to_dict(), "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, record: object) -> Cascade:
        """From the manifest. Raises BundleError."""
        try:
            given: Any = record
            first, second = (float(weight) for weight in given["weights"])
            values = {**given, "first": Decision.from_dict(given["first"]), "weights": (first, second)}
            made = read_record(cls, values, _UNREAD, BundleError, "build the bundle again")
            if not (first >= 0 and second >= 0 and first + second > 0 and made.sure_from >= 0):
                raise ValueError(f"weights {first} and {second}, sure from {made.sure_from}")
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise BundleError(f"{_UNREAD}: {error}; build the bundle again") from error
        return made

    def sentence(self) -> str:
        """For people: when the second encoder runs, and what it brings."""
        if self.asked_known is None or self.recall_first is None:
            return "the second encoder runs on every photo, since the shop is too small to tell when it need not"
        if self.sure_from == 0:
            return (
                "the second encoder is left to frames and the look-again pass: on held-out photos the first finds "
                f"{self.recall_first:.1%} alone, and both {self.recall_fused:.1%}"
            )
        return (
            f"the second encoder runs where the first is less than {min(self.sure_from, 1.0):.0%} sure: on {self.asked_known:.0%} "
            f"of held-out photos, {self.asked_unknown or 0:.0%} of unknown queries; held-out recall@1 {self.recall_first:.1%} and "
            f"{self.recall_second:.1%} alone, {self.recall_cascade:.1%} so"
        )
