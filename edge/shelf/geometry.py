"""Four-cornered places in a photo: whether they are sound, how much of one lies in another, and their parts side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Corner = tuple[float, float]
Quad = tuple[Corner, Corner, Corner, Corner]
"""Corners x, y in pixels: top left, top right, bottom right, bottom left, as the product stands."""
Floats = NDArray[np.float64]


def area(points: Floats) -> float:
    """Of a polygon (N, 2) without crossings, in square pixels; negative where it runs against the clock on a screen."""
    return float(_area(points))


def is_convex(quad: Quad) -> bool:
    """Whether the corners run clockwise on a screen and no side crosses another; at every corner it turns right."""
    points = np.array(quad)
    ahead = np.roll(points, -1, axis=0) - points
    back = np.roll(ahead, 1, axis=0)
    return bool((back[:, 0] * ahead[:, 1] - back[:, 1] * ahead[:, 0] > 0).all())


def shared(one: Quad, other: Quad) -> float:
    """How much of the smaller of two convex quads lies in the other, 0 to 1."""
    return float(_shared(np.array([one], np.float64), np.array([other], np.float64))[0])


def first_shared(quads: Sequence[Quad], most: float) -> tuple[int, int, float] | None:
    """The first of convex quads of which more than `most` is shared with one before it: the number of that one, its own, and the
    part as `shared` has it. None where there is none. Thousands take less than a second, however they lie: boxes around them are
    compared first, and only pairs whose boxes share as much are cut."""
    corners = np.array(quads, np.float64).reshape(-1, 4, 2)
    low, high, areas = corners.min(axis=1), corners.max(axis=1), _area(corners)
    for later in range(1, len(corners)):
        before = slice(0, later)
        sides = np.minimum(high[later], high[before]) - np.maximum(low[later], low[before])
        least = np.minimum(areas[later], areas[before])
        near = np.flatnonzero((sides > 0).all(axis=1) & (sides.prod(axis=1) > most * least))
        if not len(near):
            continue
        parts = _shared(np.broadcast_to(corners[later], (len(near), 4, 2)), corners[near])
        if (parts > most).any():
            number = int(np.argmax(parts > most))
            return int(near[number]), later, float(parts[number])
    return None


def _shared(ones: Floats, others: Floats) -> Floats:
    """`shared` of pairs of quads, both (N, 4, 2); (N,)."""
    clipped = ones
    for number in range(4):
        clipped = _clipped(clipped, others[:, number], others[:, (number + 1) % 4])
    least = np.minimum(_area(ones), _area(others))
    return np.asarray(np.abs(_area(clipped)) / np.maximum(least, 1e-9), np.float64)


def _clipped(points: Floats, start: Floats, end: Floats) -> Floats:
    """The parts of polygons (N, n, 2) to the right of lines, on a screen: (N, n + 2, 2), where the first corner stands for those
    that there are too few of (clipping: I. Sutherland and G. Hodgman 1974)."""
    edge = (end - start)[:, None]
    side = edge[..., 0] * (points[..., 1] - start[:, None, 1]) - edge[..., 1] * (points[..., 0] - start[:, None, 0])
    following, beyond = np.roll(points, -1, axis=1), np.roll(side, -1, axis=1)
    crosses = (side >= 0) != (beyond >= 0)
    part = side / np.where(crosses, side - beyond, 1.0)
    cuts = points + (following - points) * part[..., None]
    # After each corner that is kept stands the cut of the side behind it; a stable sort brings forward what is kept.
    both = np.stack([points, cuts], axis=2).reshape(len(points), -1, 2)
    kept = np.stack([side >= 0, crosses], axis=2).reshape(len(points), -1)
    order = np.argsort(~kept, axis=1, kind="stable")[:, : points.shape[1] + 2]
    both, kept = np.take_along_axis(both, order[..., None], axis=1), np.take_along_axis(kept, order, axis=1)
    return np.where(kept[..., None], both, both[:, :1])


def _area(points: Floats) -> Floats:
    """`area` of each of many polygons, (…, N, 2)."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray((x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y).sum(axis=-1) / 2, np.float64)


def in_quad(quad: Quad, across: Floats, down: Floats) -> Floats:
    """Points of a quad, (…, 2): `across` and `down` from 0 (its left, its top) to 1, bilinear."""
    corners = np.array(quad, np.float64)
    u, v = across[..., None], down[..., None]
    top = corners[0] + (corners[1] - corners[0]) * u
    bottom = corners[3] + (corners[2] - corners[3]) * u
    return np.asarray(top + (bottom - top) * v, np.float64)


def columns(quad: Quad, count: int) -> list[Quad]:
    """A quad cut into so many of equal width, from the left."""
    cuts = np.linspace(0, 1, count + 1)
    top, bottom = in_quad(quad, cuts, np.zeros(count + 1)), in_quad(quad, cuts, np.ones(count + 1))
    return [(_corner(top[n]), _corner(top[n + 1]), _corner(bottom[n + 1]), _corner(bottom[n])) for n in range(count)]


def box(left: float, top: float, right: float, bottom: float) -> Quad:
    """An upright box as a quad."""
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _corner(point: Floats) -> Corner:
    return float(point[0]), float(point[1])
