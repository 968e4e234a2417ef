"""What a facing shows: the product that belongs there, another one, nothing, or something that nobody knows.

A cut is compared with the facings of the taught photos, seen by the same camera in the same place (its own, and those of all other
slots), and with what is known of its empty places; scores are cosines of the encoder's embeddings. What neither explains is asked
of the bundle's photos.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..imaging.image import Pixels
from .bare import gradient, halved
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
SIBLINGS: Final = 0.03
"""How much more alike another product must be than a right one that is seen well. Refills put the right product back every day; its
sibling seldom takes its place, and then leads by more: on twelve shelves of `shelf_life` (seeds 41 to 52) seven right ones stood
behind a sibling by .02 at most, and all of 240 misplaced products led by more than .1."""
SEEN_WELL: Final = 0.93
"""Cosine from which on another product is what the taught photo shows, without a closer look, which costs as much as three others.
Of 190 names (seeds 42 to 66) it changed two, both for the better."""
SURELY_EMPTY: Final = 4.0
"""Natural logarithm of how much likelier an empty place is than a product, for no closer look to be needed. Of 592 empty places
there all but one in a hundred had 6.4 and more; six small products in large places 0.1 to 5.1, and once 9."""
RIGHT: Final = (24.2, 6.28, -18.43)
"""Weights of the cosine to the right product and of its lead over all others, and a constant: logarithm of how much likelier the
right product, put back askew or a row behind, is than a strange one (`benchmarks/shelf_fit.py`). `PRIOR` holds here, too."""
BEHIND: Final = 0.45
"""Cosine from which on an unknown facing may be the right product behind a cart's wire (`benchmarks/shelf_wire.py`): of 54 right
ones that a closer look named there 93 % have more. So have all 5 of 224 strange ones that it named so, and 19 % of all: the smaller
the shop, the less like it is what a strange product is named after."""
NAMED: Final = 3.0
"""Natural logarithm of how much rarer the bundle names an empty place than a product, 20; see `Judge._sure_from`."""
_MISSED: Final = 0.1
_MOST_BARE, _NEW_BARE = 24, 0.97
"""So many places that were seen empty are kept, none that is as alike to one of them as that."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a facing shows; `sku` of "right" and "other", else ""."""

    kind: Kind
    sku: str = ""


@dataclass(frozen=True, eq=False)
class Seen:
    """One look at a facing: its embedding (D,), itself at half its size (`bare.halved`) and small (`emptiness.coarse`), and the
    frame's gains (3,)."""

    vector: Vectors
    half: Pixels
    small: Vectors
    gains: Vectors

    @functools.cached_property
    def rough(self) -> float:
        """Its mean gradient in the taught photo's light; most looks are known without it."""
        return gradient(self.half) / max(float(self.gains.mean()), 0.05)


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
        looks = self.look(full)
        self._taught = np.stack([one.vector for one in looks])
        self._rough = [one.rough for one in looks]
        self._bare = self._taught[:0] if empty is None else np.stack([one.vector for one in self.look(empty)])
        self._taught_bare = len(self._bare)
        self._taught_skus = np.array([one[0] for one in skus])
        self._sure = self._sure_from()

    def look(self, pictures: Sequence[Pixels], gains: Vectors | None = None) -> list[Seen]:
        """Encode facings, one batch."""
        light = np.ones(3, np.float32) if gains is None else gains
        return [self._one(picture, light) for picture in pictures]

    def _one(self, picture: Pixels, gains: Vectors) -> Seen:
        vector = self.snapshot.encoder.embed_timed(picture).vector
        return Seen(vector, halved(picture), coarse(picture), gains)

    def label(self, cell: int, looks: Sequence[Seen]) -> Label | None:
        """What a facing shows over several looks at it; None where they don't say enough.

        The looks' mean is compared: as in `matching.tracking`, scores are averaged over frames of one thing.
        """
        mean = _mean(looks)
        expected = self._skus[cell]
        right, rival, other = self._scores(mean, expected)
        if (bare := self._like_empty(mean)) >= EMPTY and bare > max(right, rival):
            return Label("empty")
        if right >= KNOWN and right >= rival - SIBLINGS:
            return Label("right", expected[0])
        if rival >= KNOWN and rival > right:
            return Label("other", other)
        is_right = RIGHT[0] * right + RIGHT[1] * (right - rival) + RIGHT[2] + PRIOR
        named = self._named(mean)
        is_empty = evidence(self._witness(cell, mean, looks, max(right, rival))) + PRIOR - NAMED * bool(named)
        if max(is_right, is_empty) > 0:
            return Label("empty") if is_empty > is_right else Label("right", expected[0])
        if named:
            return Label("right", expected[0]) if named in expected else Label("other", named)
        if max(right, rival) < (UNKNOWN if len(looks) < ENOUGH_LOOKS else KNOWN):
            return Label("unknown")
        return None

    def is_doubtful(self, cell: int, looks: Sequence[Seen], label: Label) -> bool:
        """Whether what `label` says of looks wants a closer look (`closer`): what is unknown, what is hardly empty, and what is
        another product but not seen well."""
        if label.kind in ("right", "unknown"):
            return label.kind == "unknown"
        mean = _mean(looks)
        right, rival, _ = self._scores(mean, self._skus[cell])
        if label.kind == "other":
            return rival < SEEN_WELL
        return evidence(self._witness(cell, mean, looks, max(right, rival))) + PRIOR < SURELY_EMPTY

    def likeness(self, cell: int, looks: Sequence[Seen]) -> float:
        """Cosine of what looks show to the facing's own product: to its taught photo and, in a bundle without an adapter, to the
        bundle's photos, see `_scores`."""
        return self._scores(_mean(looks), self._skus[cell])[0]

    def _scores(self, vector: Vectors, expected: Sequence[str]) -> tuple[float, float, str]:
        """Cosine to the expected product as it was taught, to the most alike of all others, and its SKU. The bundle's photos count
        where its scores are cosines of the same embedding: where it has no adapter."""
        scores = self._taught @ vector
        is_own = np.isin(self._taught_skus, expected)
        right = float(scores[is_own].max()) if is_own.any() else -1.0
        best = int(np.argmax(np.where(is_own, -2.0, scores)))
        rival, other = (-1.0, "") if is_own.all() else (float(scores[best]), str(self._taught_skus[best]))
        if self.snapshot.gallery.adapter is None:
            taught = set(self._taught_skus.tolist())
            for sku, score in self._asked(vector):
                score -= _GALLERY_PENALTY if sku in taught else 0.0
                if sku in expected:
                    right = max(right, score)
                elif score > rival:
                    rival, other = score, sku
        return right, rival, other

    def _named(self, vector: Vectors) -> str:
        """The product that an adapted bundle's photos show for certain; "" where they don't."""
        if self.snapshot.gallery.adapter is None:
            return ""
        sku, score = self._asked(vector)[0]
        return sku if score >= self._sure else ""

    def _asked(self, vector: Vectors) -> list[tuple[str, float]]:
        """The bundle's best products and their scores, which can't be held against the taught photo's: an adapter stretches them
        (a bare wall may have 0.88)."""
        gallery = self.snapshot.gallery
        found = gallery.rank(gallery.adapted(vector), 5)
        return [(self.snapshot.catalog.product(product).sku, float(score)) for product, score in found] or [("", -1.0)]

    def _sure_from(self) -> float:
        """The score from which an adapted bundle names what this camera sees: most of the taught facings' own products reach it,
        and few of the others do."""
        right, wrong = [], []
        for vector, skus in zip(self._taught, self._skus, strict=True):
            found = self._asked(vector)
            right.append(max((score for sku, score in found if sku in skus), default=-1.0))
            wrong.append(max((score for sku, score in found if sku not in skus), default=-1.0))
        return float(max(np.quantile(right, _MISSED), np.quantile(wrong, 1 - _MISSED)))

    def learn_empty(self, cell: int, looks: Sequence[Seen]) -> None:
        """Keep what an empty place of this shelf looks like; one teaches the others. Not where only other empty places spoke for
        it, so that an error doesn't feed itself."""
        mean = _mean(looks)
        witness = self._witness(cell, mean, looks, max(self._scores(mean, self._skus[cell])[:2]))
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


def _mean(looks: Sequence[Seen]) -> Vectors:
    mean = np.mean([one.vector for one in looks], axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)
