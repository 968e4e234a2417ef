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
from .emptiness import PRIOR, Witness, coarse, evidence, off_wall

if TYPE_CHECKING:
    from ..matching.snapshot import Snapshot

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
RIGHT: Final = (21.37, 8.84, -16.64)
"""Weights of the cosine to the right product and of its lead over all others, and a constant: logarithm of how much likelier the
right product, put back askew or a row behind, is than a strange one (`benchmarks/shelf_fit.py`). `PRIOR` holds here, too."""
_MOST_BARE, _NEW_BARE = 24, 0.97
"""So many places that were seen empty are kept, none that is as alike to one of them as that."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a facing shows; `sku` of "right" and "other", else ""."""

    kind: Kind
    sku: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a facing: its embedding (D,), its mean gradient in the taught photo's light (`bare.roughness`), itself made small
    (`emptiness.coarse`), and the frame's gains (3,)."""

    vector: Vectors
    rough: float
    small: Vectors
    gains: Vectors


class Judge:
    """Knows one shop's products and one camera's taught photos, and learns what its empty places look like.

    `full`, `empty`: facings cut out of the taught photos; `walls`: the wall's colours around each, see `emptiness.walls_of`.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        skus: Sequence[tuple[str, ...]],
        full: Sequence[Pixels],
        empty: Sequence[Pixels] | None,
        walls: Sequence[Vectors | None],
    ) -> None:
        self.snapshot = snapshot
        self._skus, self._walls = list(skus), list(walls)
        self._sku_of: dict[int, str] = {}
        looks = self.look(full)
        self._taught = np.stack([one.vector for one in looks])
        self._rough = [one.rough for one in looks]
        self._bare = self._taught[:0] if empty is None else np.stack([one.vector for one in self.look(empty)])
        self._taught_bare = len(self._bare)
        self._taught_skus = np.array([one[0] for one in skus])

    def look(self, pictures: Sequence[Pixels], gains: Vectors | None = None) -> list[Seen]:
        """Encode facings, one batch."""
        light = np.ones(3, np.float32) if gains is None else gains
        return [self._one(picture, light) for picture in pictures]

    def _one(self, picture: Pixels, gains: Vectors) -> Seen:
        vector = self.snapshot.encoder.embed_timed(picture).vector
        return Seen(vector, roughness(picture) / max(float(gains.mean()), 0.05), coarse(picture), gains)

    def label(self, cell: int, looks: Sequence[Seen]) -> Label | None:
        """What a facing shows over several looks at it; None where they don't say enough.

        The looks' mean is compared: as in `matching.tracking`, scores are averaged over frames of one thing.
        """
        mean = _mean(looks)
        expected = self._skus[cell]
        scores = self._scores(mean)
        right = max((scores.get(sku, -1.0) for sku in expected), default=-1.0)
        rival, other = max(((score, sku) for sku, score in scores.items() if sku not in expected), default=(-1.0, ""))
        if self._like_empty(mean) >= EMPTY and self._like_empty(mean) > max(right, rival):
            return Label("empty")
        if right >= KNOWN and right >= rival:
            return Label("right", expected[0])
        if rival >= KNOWN and rival > right:
            return Label("other", other)
        is_right = RIGHT[0] * right + RIGHT[1] * (right - rival) + RIGHT[2] + PRIOR
        is_empty = evidence(self._witness(cell, mean, looks, max(right, rival))) + PRIOR
        if max(is_right, is_empty) > 0:
            return Label("empty") if is_empty > is_right else Label("right", expected[0])
        if max(right, rival) < (UNKNOWN if len(looks) < ENOUGH_LOOKS else KNOWN):
            return Label("unknown")
        return None

    def learn_empty(self, cell: int, looks: Sequence[Seen]) -> None:
        """Keep what an empty place of this shelf looks like; one teaches the others. Not where only other empty places spoke for
        it, so that an error doesn't feed itself."""
        mean = _mean(looks)
        witness = self._witness(cell, mean, looks, max(self._scores(mean).values(), default=-1.0))
        alone = Witness(witness.like_product, witness.roughness, witness.off_wall, None)
        if evidence(alone) + PRIOR > 0 and self._like_empty(mean) < _NEW_BARE:
            learnt = [*self._bare[self._taught_bare :], mean][-_MOST_BARE:]
            self._bare = np.stack([*self._bare[: self._taught_bare], *learnt])

    @property
    def learnt(self) -> Vectors:
        """(n, D): what was seen empty since the shelf was taught."""
        return self._bare[self._taught_bare :]

    def take_over(self, learnt: Vectors) -> None:
        """Go on with what an earlier judge of the same shelf learnt."""
        if learnt.ndim == 2 and learnt.shape[1] == self._bare.shape[1]:
            self._bare = np.concatenate([self._bare[: self._taught_bare], learnt[-_MOST_BARE:]])

    def _like_empty(self, vector: Vectors) -> float:
        return float((self._bare @ vector).max()) if len(self._bare) else -1.0

    def _witness(self, cell: int, mean: Vectors, looks: Sequence[Seen], like_product: float) -> Witness:
        wall = self._walls[cell]
        rough = float(np.log((np.median([one.rough for one in looks]) + 1) / (self._rough[cell] + 1)))
        off = None if wall is None else float(np.median([off_wall(one.small, wall, one.gains) for one in looks]))
        return Witness(like_product, rough, off, self._like_empty(mean) if len(self._bare) else None)

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


def _mean(looks: Sequence[Seen]) -> Vectors:
    mean = np.mean([one.vector for one in looks], axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)
