"""Four-cornered places in a photo: whether they are sound, how much of one lies in another, and their parts side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Corner = tuple[float, float]
Quad = tuple[Corner, Corner, Corner, Corner]
"""Corners x, y in pixels: top left, top right, bottom right, bottom left, as the product stands."""
Floats = NDArray[np.float64]


def area(points: Floats) -> float:
    """Of a polygon (N, 2) without crossings, in square pixels; negative where it runs against the clock on a screen."""
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def is_convex(quad: Quad) -> bool:
    """Whether the corners run clockwise on a screen and no side crosses another; at every corner it turns right."""
    points = np.array(quad)
    ahead = np.roll(points, -1, axis=0) - points
    back = np.roll(ahead, 1, axis=0)
    return bool((back[:, 0] * ahead[:, 1] - back[:, 1] * ahead[:, 0] > 0).all())


def shared(one: Quad, other: Quad) -> float:
    """How much of the smaller of two convex quads lies in the other, 0 to 1 (clipping: I. Sutherland and G. Hodgman 1974)."""
    clipped = np.array(one, np.float64)
    corners = np.array(other, np.float64)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if len(clipped) < 3:
            return 0.0
        clipped = _clipped(clipped, start, end)
    if len(clipped) < 3:
        return 0.0
    return abs(area(clipped)) / max(1e-9, min(area(np.array(one)), area(np.array(other))))


def _clipped(points: Floats, start: Floats, end: Floats) -> Floats:
    """The part of a polygon to the right of a line, on a screen."""
    edge = end - start
    side = edge[0] * (points[:, 1] - start[1]) - edge[1] * (points[:, 0] - start[0])
    kept = []
    for number in range(len(points)):
        here, there = side[number], side[(number + 1) % len(points)]
        if here >= 0:
            kept.append(points[number])
        if (here >= 0) != (there >= 0):
            kept.append(points[number] + (points[(number + 1) % len(points)] - points[number]) * here / (here - there))
    return np.array(kept) if kept else np.empty((0, 2))


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
