"""Shops drawn at random from the real photos: some products, two to eight photos each, asked for photos of another visit.

Used by `forecasts.py --random`. No two draws are alike, and none is one that a constant was set on: other products, other photos
in the catalogue, the two sides of the grocery photos turned round, GroZi's other frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import goods
import numpy as np

FEWEST, MOST_QUERIES = 5, 150
EACH: Final = (2, 2, 3, 4, 6, 8)
_BOTH_ENDS: Final = ("00", "01", "02", "03", "08", "09", "10", "11")
_MIDDLE: Final = ("05", "06")
"""GroZi's frames are of one video: some lie between those of the catalogue and those of the queries."""

Pools = tuple[Sequence[goods.Labelled], Sequence[goods.Labelled]]


def _grocery(work: Path, turned: bool) -> Pools:
    whole = goods.grocery(work)
    return (whole.queries, whole.catalogue) if turned else (whole.catalogue, whole.queries)


def _grozi(work: Path, ends_first: bool) -> Pools:
    ends, middle = goods.grozi_frames(_BOTH_ENDS), goods.grozi_frames(("04", *_MIDDLE, "07"))
    return (ends, goods.grozi_frames(_MIDDLE)) if ends_first else (middle, goods.grozi_frames(("00", "01", "10", "11")))


def _phone(work: Path, turned: bool, whole: bool = False) -> Pools:
    """Photos with an even number are the catalogue, or those with an odd one: what shows several products stays on one side."""
    shop = goods.phone(work)
    photos = sorted({_photo_of(path) for path, _ in (*shop.catalogue, *shop.queries)})
    side = {photo: number % 2 for number, photo in enumerate(photos)}
    everything = (*shop.catalogue, *shop.queries)
    catalogue = [one for one in everything if side[_photo_of(one[0])] == turned]
    asked = goods.phone_whole(work).queries if whole else everything
    return catalogue, [one for one in asked if side.get(_photo_of(one[0]), 1 - turned) != turned]


def _photo_of(path: Path) -> str:
    """The photo that a crop was cut from; a photo's own name."""
    return path.stem.rpartition("-")[0] if path.suffix == ".png" else path.stem


KINDS: Final[dict[str, Callable[[Path, bool], Pools]]] = {
    "grocery": _grocery,
    "grozi": _grozi,
    "phone": _phone,
    "phone-whole": lambda work, turned: _phone(work, turned, whole=True),
}


def draw(kind: str, work: Path, random: np.random.Generator) -> goods.Shop:
    """A shop of some products of this kind, and photos of them that it hasn't got."""
    catalogue, queries = KINDS[kind](work, bool(random.integers(2)))
    photos: dict[str, list[goods.Labelled]] = defaultdict(list)
    for one in sorted(catalogue):
        photos[one[1]].append(one)
    each = int(random.choice(EACH))
    asked_for = {sku for _, sku in queries}
    listed = [sku for sku, own in photos.items() if len(own) >= min(2, each) and sku in asked_for]
    count = round(float(np.exp(random.uniform(np.log(FEWEST), np.log(len(listed) + 0.49)))))
    chosen = set(random.choice(sorted(listed), min(count, len(listed)), replace=False).tolist())
    kept = []
    for sku in sorted(chosen):
        own = photos[sku]
        kept += [own[place] for place in sorted(random.permutation(len(own))[:each].tolist())]
    asked = sorted(one for one in queries if one[1] in chosen)
    asked = [asked[place] for place in sorted(random.permutation(len(asked))[:MOST_QUERIES].tolist())]
    return goods.Shop(kind, tuple(kept), tuple(asked))
