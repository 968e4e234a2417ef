"""What a facing shows: the product that belongs there, another one, nothing, or something that nobody knows.

A cut is compared with the facings of the taught photos, seen by the same camera in the same place (its own, and those of all other
slots), with the empty shelf, and with the photos of the bundle. Scores are cosines of the encoder's embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..imaging.image import Pixels
from .bare import roughness

if TYPE_CHECKING:
    from ..matching.snapshot import Snapshot
    from .planogram import Planogram

Kind = Literal["right", "empty", "other", "unknown"]
Vectors = NDArray[np.float32]

KNOWN: Final = 0.80
"""Cosine from which on a facing shows the product that it is compared with. On `benchmarks/shelf_life.py`, seeds 1 and 2, the right
product has 0.90 to 0.99 (first and last twentieth), one of another slot 0.87 to 0.98 where its front is 70 pixels wide or more and
0.66 to 0.78 where it is 45; one that no photo shows 0.49 to 0.77 (0.84 once)."""
UNKNOWN: Final = 0.75
"""Below this cosine to everything, a facing shows an unknown product; between the two more frames decide."""
ENOUGH_LOOKS: Final = 12
"""After so many, what isn't known is unknown: more frames won't say more."""
EMPTY: Final = 0.85
"""Cosine to the empty shelf: with nothing there it is 0.93 to 0.99 (0.5 behind a sun patch's edge), with a product 0.4 at most."""
_GALLERY_PENALTY: Final = 0.03
"""Photos of the bundle were taken elsewhere: siblings' reach 0.96 where the camera's own view of the right one has 0.98."""
BARE_SHARE: Final = 0.4
"""Without a photo of the empty shelf: a facing with less than this share of the taught product's edges is empty, unless it looks
like another product. Empty places on 140 real shelves have few edges, too (`benchmarks/shelf_gaps.py`)."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a facing shows; `sku` of "right" and "other", else ""."""

    kind: Kind
    sku: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a facing: its embedding (D,), and its mean gradient, see `bare.roughness`."""

    vector: Vectors
    rough: float


class Judge:
    """Knows one shop's products and one camera's taught photos."""

    def __init__(
        self,
        snapshot: Snapshot,
        plan: Planogram,
        slot_of: Sequence[int],
        full: Sequence[Pixels],
        empty: Sequence[Pixels] | None,
    ) -> None:
        self.snapshot = snapshot
        self._skus = [slot.skus for slot in plan.slots]
        self._slot_of = list(slot_of)
        self._sku_of: dict[int, str] = {}
        self._empty: Vectors | None = None
        looks = self.look(full)
        self._taught = np.stack([one.vector for one in looks])
        self._rough = [one.rough for one in looks]
        if empty is not None:
            self._empty = np.stack([one.vector for one in self.look(empty)])
        self._taught_skus = np.array([self._skus[slot][0] for slot in slot_of])

    def look(self, pictures: Sequence[Pixels]) -> list[Seen]:
        """Encode facings, one batch."""
        return [self._one(picture) for picture in pictures]

    def _one(self, picture: Pixels) -> Seen:
        vector = self.snapshot.encoder.embed_timed(picture).vector
        return Seen(vector, roughness(picture) if self._empty is None else 0.0)

    def label(self, cell: int, looks: Sequence[Seen]) -> Label | None:
        """What a facing shows over several looks at it; None where they don't say enough.

        The looks' mean is compared: as in `matching.tracking`, scores are averaged over frames of one thing.
        """
        mean = np.mean([one.vector for one in looks], axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        expected = self._skus[self._slot_of[cell]]
        scores = self._scores(mean)
        right = max((scores.get(sku, -1.0) for sku in expected), default=-1.0)
        rival, other = max(((score, sku) for sku, score in scores.items() if sku not in expected), default=(-1.0, ""))
        empty = self._emptiness(cell, mean, looks)
        if empty >= EMPTY and empty > max(right, rival):
            return Label("empty")
        if right >= KNOWN and right >= rival:
            return Label("right", expected[0])
        if rival >= KNOWN and rival > right:
            return Label("other", other)
        if max(right, rival, empty) < (UNKNOWN if len(looks) < ENOUGH_LOOKS else KNOWN):
            return Label("unknown")
        return None

    def _scores(self, vector: Vectors) -> dict[str, float]:
        """SKU → cosine, for the plan's products and the best ones of the bundle."""
        scores: dict[str, float] = {}
        for sku, score in zip(self._taught_skus.tolist(), (self._taught @ vector).tolist(), strict=True):
            scores[sku] = max(scores.get(sku, -1.0), score)
        gallery = self.snapshot.gallery
        for product, score in gallery.rank(gallery.adapted(vector), 5):
            if product not in self._sku_of:
                self._sku_of[product] = self.snapshot.catalog.product(product).sku
            sku = self._sku_of[product]
            scores[sku] = max(scores.get(sku, -1.0), float(score) - (_GALLERY_PENALTY if sku in scores else 0.0))
        return scores

    def _emptiness(self, cell: int, vector: Vectors, looks: Sequence[Seen]) -> float:
        if self._empty is not None:
            return float((self._empty @ vector).max())
        is_bare = float(np.median([one.rough for one in looks])) < BARE_SHARE * self._rough[cell]
        return EMPTY if is_bare else -1.0
