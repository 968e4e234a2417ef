"""Two encoders in one bundle: the first looks at every photo, the second where the first isn't sure, and their scores are added up.

When to ask the second one, and how much each score weighs, is chosen on the shop's own held-out photos (`pairing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import product_of
from ..errors import BundleError
from .adapter import Floats
from .decision import Decision
from .fusion import DEPTH, Ranked
from .gallery import Gallery

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder

ALWAYS = 2.0
"""As `sure_from`: no confidence reaches it, both encoders look at every photo."""

Allowed: TypeAlias = NDArray[np.bool_] | None
"""Which of an index's references a filter lets pass; None: all."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """`first`: the confidence of the first encoder's scores alone; from `sure_from` on its answer stands and the second encoder
    isn't asked. `weights`: what both products' scores are multiplied by before they are added.

    On held-out photos, None where there were too few: the recall@1 of each encoder, of both together (`recall_fused`), and of
    the cascade; the share of photos that both looked at, of products in the shop (`asked_known`) and of others (`asked_unknown`).
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
        return {**asdict(self), "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Cascade:
        """From the manifest. Raises BundleError."""
        try:
            first, second = (float(weight) for weight in record["weights"])
            made = cls(**{**record, "first": Decision.from_dict(record["first"]), "weights": (first, second)})
            if not (first >= 0 and second >= 0 and first + second > 0 and made.sure_from >= 0):
                raise ValueError(f"weights {first} and {second}, sure from {made.sure_from}")
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BundleError(
                f"the manifest's cascade is not one this version reads: {error}; build the bundle again"
            ) from error
        return made

    def sentence(self) -> str:
        """For people: when the second encoder runs, and what it brings."""
        if self.asked_known is None or self.recall_first is None:
            return "the second encoder runs on every photo, since the shop is too small to tell when it need not"
        if self.sure_from == 0:
            return (
                "the second encoder is left to frames and second looks: on held-out photos the first finds "
                f"{self.recall_first:.1%} alone, and both {self.recall_fused:.1%}"
            )
        return (
            f"the second encoder runs where the first is less than {min(self.sure_from, 1.0):.0%} sure: on {self.asked_known:.0%} "
            f"of held-out photos, {self.asked_unknown or 0:.0%} of strangers; held-out recall@1 {self.recall_first:.1%} and "
            f"{self.recall_second:.1%} alone, {self.recall_cascade:.1%} so"
        )


@dataclass(frozen=True, slots=True)
class Second:
    """A bundle's other encoder, what its embeddings are compared with, and when it is asked."""

    encoder: Encoder
    gallery: Gallery
    cascade: Cascade


def fused_rank(
    galleries: Sequence[Gallery],
    vectors: Sequence[Floats],
    weights: Sequence[float],
    count: int,
    allowed: Sequence[Allowed] = (None, None),
) -> Ranked:
    """(product id, weighted sum of its scores) of the `count` best products, best first, for a photo's adapted vectors.

    Those that either gallery has among its best `DEPTH` are compared, by their exact scores in both.
    """
    depth = max(DEPTH, count)
    listed = [
        dict(gallery.rank(vector, depth, passing))
        for gallery, vector, passing in zip(galleries, vectors, allowed, strict=True)
    ]
    products = set().union(*listed)
    totals = dict.fromkeys(products, 0.0)
    for gallery, vector, passing, scores, weight in zip(galleries, vectors, allowed, listed, weights, strict=True):
        missing = products - scores.keys()
        if missing:
            own = np.isin(product_of(gallery.index.ids), np.fromiter(missing, np.uint32, len(missing)))
            scores.update(gallery.rank(vector, len(missing), own if passing is None else own & passing))
        for product in products:
            totals[product] += weight * scores[product]
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:count]
