"""Many small things on a large photo: the detector looks at it in tiles, too, whose size follows from what the first look found.

A network sees things best at some tens of its pixels. On a shelf of two hundred facings each has a dozen in a look at the whole
photo, and is found there badly or not at all. Tiles overlap by more than a facing, so that each is whole in one of them; what two
tiles report of one facing is merged (`overlap.merged`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..imaging.image import Decoded, Pixels
from .detection import Detection, Kind
from .overlap import doubted, merged

if TYPE_CHECKING:
    from .detector import Detector

SMALL = 0.13
"""Of the network's input, the median side of what is found below which tiles find more."""
WANTED = 0.18
"""What the median side shall be in a tile."""
FEW = 4
"""Less than so many things are no shelf: a look at the whole is enough."""
OVERLAP = 1.15
"""By how much tiles overlap, in sides of the large ones of what was found."""
MOST_TILES = 48
LEVELS = 2
"""How often tiles may become smaller: what the first look hardly sees, the second measures."""
_AT_THE_EDGE = 0.006
"""Of a tile's side, how near its edge a box ends that it cuts."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a photo in its pixels."""

    left: int
    top: int
    right: int
    bottom: int


def detect_in_tiles(
    detector: Detector, pixels: Pixels, kinds: tuple[Kind, ...], floor: float | None
) -> tuple[Detection, ...]:
    """A look at the whole, and at tiles where that finds small things; best first, each thing once."""
    high, wide = pixels.shape[:2]
    looked: tuple[Kind, ...] = ("product", *(kind for kind in kinds if kind != "product"))
    looked = tuple(kind for kind in looked if kind in detector.kinds)
    found = detector.detect_once(Decoded(pixels), kinds=looked, floor=floor)
    input_side = max(detector.card.width, detector.card.height)
    side = float(max(wide, high))
    for _ in range(LEVELS):
        # What is sure sets the tiles: a lower floor asks for more finds, not for other tiles.
        sure = [one for one in found if one.kind == "product" and one.score >= detector.card.floor]
        sizes = [math.sqrt(one.size[0] * one.size[1]) for one in sure]
        if len(sizes) < FEW or float(np.median(sizes)) >= SMALL * side or side <= input_side:
            break
        wanted = max(float(np.median(sizes)) / WANTED, float(input_side))
        large = float(np.quantile([max(one.size) for one in sure], 0.9))
        tiles = tiles_of((wide, high), wanted, min(OVERLAP * large, 0.5 * wanted))
        if len(tiles) < 2:
            break
        side = float(max(tiles[0].right - tiles[0].left, tiles[0].bottom - tiles[0].top))
        found = _in_all(detector, pixels, tiles, looked, floor, found)
    least = detector.card.floor if floor is None else floor
    return tuple(one for one in _weighed(found) if one.kind in kinds and one.score >= least)


def _weighed(found: tuple[Detection, ...]) -> list[Detection]:
    """Products that may be a part of one, or several, with less of a score; best first."""
    products = [one for one in found if one.kind == "product"]
    if len(products) < 2:
        return list(found)
    boxes = np.array([one.box for one in products], np.float32)
    scores = doubted(boxes, np.array([one.score for one in products], np.float32)).tolist()
    weighed = [replace(one, score=min(one.score, score)) for one, score in zip(products, scores, strict=True)]
    return sorted([*weighed, *(one for one in found if one.kind != "product")], key=lambda one: -one.score)


def tiles_of(size: tuple[int, int], side: float, overlap: float) -> list[Tile]:
    """Tiles of about that side over a photo of (width, height), at most `MOST_TILES`, which overlap by at least so much."""
    while True:
        across, down = (_spans(length, side, overlap) for length in size)
        if len(across) * len(down) <= MOST_TILES:
            return [Tile(left, top, right, bottom) for top, bottom in down for left, right in across]
        side *= 1.2


def _spans(length: int, side: float, overlap: float) -> list[tuple[int, int]]:
    if length <= side:
        return [(0, length)]
    count = math.ceil((length - overlap) / max(side - overlap, 1.0))
    own = (length + (count - 1) * overlap) / count
    starts = [round(number * (own - overlap)) for number in range(count)]
    return [(start, min(length, round(start + own))) for start in starts]


def _in_all(
    detector: Detector,
    pixels: Pixels,
    tiles: list[Tile],
    kinds: tuple[Kind, ...],
    floor: float | None,
    before: tuple[Detection, ...],
) -> tuple[Detection, ...]:
    """What the tiles show, and of what was found before that which is too large for them; each thing once."""

    def look(tile: Tile) -> tuple[Detection, ...]:
        part = pixels[tile.top : tile.bottom, tile.left : tile.right]
        return detector.detect_once(Decoded(part), kinds=kinds, floor=floor)

    answers: Iterator[tuple[Detection, ...]]
    if detector.sessions > 1:
        from ..threads import in_order

        answers = in_order(look, tiles, workers=detector.sessions, ahead=2 * detector.sessions)
    else:
        answers = map(look, tiles)
    high, wide = pixels.shape[:2]
    least = _overlap_of(tiles)
    all_found = [(one, 0, False) for one in before if max(one.size) > least]
    for number, (tile, found) in enumerate(zip(tiles, answers, strict=True), start=1):
        for one in found:
            x0, y0, x1, y1 = one.box
            moved = (x0 + tile.left, y0 + tile.top, x1 + tile.left, y1 + tile.top)
            is_cut = _is_cut(moved, tile, (wide, high))
            all_found.append((Detection(moved, one.score, one.kind), number, is_cut))
    return _once(all_found, detector.card.overlap)


def _overlap_of(tiles: list[Tile]) -> float:
    """By how much neighbouring tiles overlap, the least of both ways."""
    shares = [one.right - other.left for one, other in itertools.pairwise(tiles) if one.top == other.top]
    firsts = [tile for tile in tiles if tile.left == tiles[0].left]
    shares += [one.bottom - other.top for one, other in itertools.pairwise(firsts)]
    return float(min(shares, default=0))


def _is_cut(box: tuple[float, float, float, float], tile: Tile, size: tuple[int, int]) -> bool:
    """Whether a box ends where its tile does and the photo goes on."""
    near_x, near_y = _AT_THE_EDGE * (tile.right - tile.left), _AT_THE_EDGE * (tile.bottom - tile.top)
    return (
        (tile.left > 0 and box[0] <= tile.left + near_x)
        or (tile.top > 0 and box[1] <= tile.top + near_y)
        or (tile.right < size[0] and box[2] >= tile.right - near_x)
        or (tile.bottom < size[1] and box[3] >= tile.bottom - near_y)
    )


def _once(found: list[tuple[Detection, int, bool]], overlap: float) -> tuple[Detection, ...]:
    """Each thing once, kind by kind, best first."""
    kept: list[Detection] = []
    for kind in ("product", "gap"):
        own = [one for one in found if one[0].kind == kind]
        if own:
            boxes = np.array([one.box for one, _, _ in own], np.float32)
            scores = np.array([one.score for one, _, _ in own], np.float32)
            parts = np.array([part for _, part, _ in own], np.intp)
            cut = np.array([is_cut for _, _, is_cut in own])
            kept += [own[place][0] for place in merged(boxes, scores, parts, cut, overlap)]
    return tuple(sorted(kept, key=lambda one: -one.score))
