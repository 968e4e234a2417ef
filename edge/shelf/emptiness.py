"""Whether nothing stands in a facing, weighed from what all shelves have in common; no photo of the empty shelf is needed.

Four witnesses, each a number that grows where goods stand:

- how alike a cut is to anything known: an empty place is like no product, while a strange product is somewhat like many;
- how rough it is, against the product that was taught there: print has edges, walls and boards have fewer;
- how far its colours are from those of the wall around the products, as the taught photo shows them beside and above the slot;
- how alike it is to places of this shelf that were seen empty, or that a photo of the empty shelf shows: one teaches the others.

They are weighed by a logistic regression, fitted on facings of rendered shelves of ten kinds of walls (`benchmarks/shelf_fit.py`,
which says what the weights do on shelves that weren't fitted). Their sum is a logarithm of likelihoods, to which `PRIOR` is
added: sales empty places every day, strange goods come rarely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..imaging.image import Pixels
from .cells import Cells
from .geometry import Quad

Floats = NDArray[np.float32]

PRIOR: Final = 1.0
"""Natural logarithm of how many more places are empty than hold what nobody knows, nearly 3. Shops see hundreds; but where no
wall is in view, a stronger one would call half of the strange products empty."""
_COARSE: Final = 12
"""Pixels of a cut's shorter side, on which colours are compared: noise and JPEG are averaged, large print isn't."""
_COLOURS: Final = 64
_BIN: Final = 0.08
"""Walls are kept as so many colours, means of bins of that size in `colours_of`'s units."""
_LUMA_WEIGHT: Final = 0.35
"""Light changes a wall's brightness more than its colour."""
_DARK: Final = 10.0
_AROUND: Final = (2.5, 0.3)
"""Of a facing's width to each side, and of its height above it: where the wall is looked for."""
_RAIL: Final = 0.3
"""Of a facing's height, how far below it is the board, not the wall; as in `cells`."""
_LEAST_WALL: Final = 20
"""Small pixels of wall around a facing to say what its colours are."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What is known of a cut: cosine to the most alike taught facing; logarithm of its roughness over the taught one's; distance
    of its colours from the wall's (None: no wall is seen around it); cosine to the most alike empty place (None: none is known)."""

    like_product: float
    roughness: float
    off_wall: float | None
    like_empty: float | None


_Weights = tuple[float, float, float, float, float]
WEIGHTS: Final[dict[tuple[bool, bool], _Weights]] = {
    (False, False): (-9.13, -2.79, 0.0, 0.0, 2.21),
    (False, True): (-7.31, -2.67, 0.0, 11.02, -5.27),
    (True, False): (-6.41, -1.88, -3.58, 0.0, -4.08),
    (True, True): (-6.63, -2.12, -2.33, 7.7, -6.61),
}
"""By whether a wall and an empty place are known: the weights of the four witnesses, and the constant."""


def evidence(witness: Witness) -> float:
    """Natural logarithm of how much likelier a cut is where nothing stands than where something does that isn't the right product,
    without the prior."""
    wall, empty = witness.off_wall, witness.like_empty
    product, rough, off, like, constant = WEIGHTS[wall is not None, empty is not None]
    return (
        product * witness.like_product
        + rough * witness.roughness
        + off * (0.0 if wall is None else closeness(wall))
        + like * (empty or 0.0)
        + constant
    )


def closeness(distance: float) -> float:
    """A distance from the wall as the regression takes it: between 0.02 and 0.05 lies as much as between 0.2 and 0.5."""
    return math.log(distance + 0.03)


def coarse(pixels: Pixels) -> Floats:
    """A cut (H, W, 3), small: what `off_wall` takes."""
    factor = max(1, min(pixels.shape[:2]) // _COARSE)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(factor), np.float32)


def colours_of(picture: Floats) -> Floats:
    """(n, 3): logarithms of red and blue over green, and of the brightness, weighed so that distances mean something."""
    levels = np.log(picture.reshape(-1, 3) + np.float32(_DARK))
    green = levels[:, 1]
    return np.stack([levels[:, 0] - green, levels[:, 2] - green, green * np.float32(_LUMA_WEIGHT)], axis=1)


def walls_of(small: Floats, cells: Cells, factor: int) -> list[Floats | None]:
    """The wall's colours around each facing, (n, 3) as `colours_of` has them; None where too little of it is seen. `small`: the
    small picture of the full shelf; `factor`: how many times smaller it is than the photo of the facings' corners."""
    height, width = small.shape[:2]
    boxes = [_box(cell.quad, factor) for cell in cells.cells]
    is_wall = np.ones((height, width), bool)
    for x0, y0, x1, y1 in boxes:
        is_wall[max(0, int(y0 - 1)) : int(np.ceil(y1 + 1)), max(0, int(x0 - 1)) : int(np.ceil(x1 + 1))] = False
        is_wall[int(y1) : int(y1 + _RAIL * (y1 - y0)) + 1] = False
    found: list[Floats | None] = []
    for x0, y0, x1, y1 in boxes:
        aside, above = _AROUND[0] * (x1 - x0) + 6, _AROUND[1] * (y1 - y0)
        across = slice(max(0, int(x0 - aside)), min(width, int(x1 + aside)))
        down = slice(max(0, int(y0 - above)), int(y1))
        wall = small[down, across][is_wall[down, across]]
        found.append(_palette(colours_of(wall)) if len(wall) >= _LEAST_WALL else None)
    return found


def _box(quad: Quad, factor: int) -> tuple[float, float, float, float]:
    corners = np.array(quad) / factor
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1


def _palette(colours: Floats) -> Floats:
    """The means of the bins that most colours lie in."""
    bins, which, counts = np.unique(np.rint(colours / _BIN), axis=0, return_inverse=True, return_counts=True)
    sums = np.zeros((len(bins), 3))
    np.add.at(sums, which.reshape(-1), colours)
    chosen = np.argsort(-counts, kind="stable")[:_COLOURS]
    return np.asarray(sums[chosen] / counts[chosen, None], np.float32)


def off_wall(picture: Floats, wall: Floats, gains: Floats) -> float:
    """How far a coarse cut's colours are from the nearest of the wall's: the distance that four fifths of its pixels keep to.
    `gains`: by how much each channel of the frame is brighter than the taught photo."""
    middle = picture[:, picture.shape[1] // 8 : picture.shape[1] - picture.shape[1] // 8]
    colours = colours_of(np.asarray(middle / gains, np.float32))
    squares = ((colours[:, None] - wall[None]) ** 2).sum(axis=-1)
    return float(np.quantile(np.sqrt(squares.min(axis=1)), 0.8))
