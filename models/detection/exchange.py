"""Other products in the places of those that a real photo shows: the hands, the rooms and the light are real, the product is new.

A few hundred photos of six products teach a network those six; with any of thousands of faces within their outlines they teach it
what it is to be held, to stand about, and to lie half behind another thing.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfmatch.models.detection.canvas import Pixels, Points, bounds, shrunk
from shelfmatch.models.detection.faces import Faces

TRIED: Final = 24
"""Faces drawn for a place; one of the three nearest in shape is taken."""
LEAST_SIDE: Final = 8.0
"""Pixels of an outline's shorter side below which the product stays."""
USUAL_LIGHT: Final = 110.0
"""The mean brightness of a photo in which a face keeps its colours."""


def exchanged(pixels: Pixels, outlines: list[Points], faces: Faces, rng: np.random.Generator) -> Pixels:
    """The photo (h, w, 3) with other faces within most of its outlines (N, 2), which are in pixels."""
    found = pixels.copy()
    light = float(np.clip(pixels[::8, ::8].mean() / USUAL_LIGHT, 0.1, 1.2))
    for outline in outlines:
        if rng.random() < 0.85:
            _exchange(found, pixels, outline, faces, light * float(np.exp(rng.normal(0, 0.2))), rng)
    return found


def _exchange(
    found: Pixels, pixels: Pixels, outline: Points, faces: Faces, light: float, rng: np.random.Generator
) -> None:
    low_x, low_y, high_x, high_y = bounds(outline)
    grown = 6
    left, top = max(0, int(low_x) - grown), max(0, int(low_y) - grown)
    right, bottom = min(pixels.shape[1], int(high_x) + grown), min(pixels.shape[0], int(high_y) + grown)
    if min(high_x - low_x, high_y - low_y) < LEAST_SIDE:
        return
    shift = np.array([left, top], np.float32)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(mask, [(outline - shift).round().astype(np.int32)], 255)
    # Outlines are drawn by hand: a rim of the product that was there would give the new one away.
    mask = np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=int(rng.integers(0, 4))))
    cover = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32)[..., None] / 255
    before = pixels[top:bottom, left:right]
    skin = _skin(cv2.minAreaRect(outline - shift), (right - left, bottom - top), faces, rng)
    lit = skin * (light * _shading(before, mask)[..., None])
    mixed = found[top:bottom, left:right] * (1 - cover) + lit.clip(0, 255) * cover
    found[top:bottom, left:right] = mixed.round().astype(np.uint8)


def _skin(
    rectangle: tuple[tuple[float, float], tuple[float, float], float],
    size: tuple[int, int],
    faces: Faces,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """A face over the smallest rectangle around an outline, upright for the most part, on its own colour: (h, w, 3)."""
    corners = cv2.boxPoints(rectangle)
    middle = corners.mean(axis=0)
    corners = middle + (corners - middle) * float(rng.uniform(1.0, 1.08))
    # boxPoints goes round; the upper left corner comes first when the product stands, another when it lies.
    first = int((corners @ np.array([1.0, 1.0])).argmin()) + (int(rng.integers(1, 4)) if rng.random() < 0.2 else 0)
    quad = np.roll(corners, -first, axis=0).astype(np.float32)
    wide, high = (float(np.linalg.norm(quad[corner] - quad[0])) for corner in (1, 3))
    drawn = rng.integers(0, len(faces), TRIED)
    shapes = faces.sizes[drawn, 0] / faces.sizes[drawn, 1]
    near = np.abs(np.log(shapes * high / wide)).argsort()[:3]
    face = shrunk(faces.cut(int(drawn[rng.choice(near)])), wide, high)
    rows, columns = face.shape[:2]
    source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    matrix = cv2.getPerspectiveTransform(source - 0.5, quad - 0.5)
    shown = cv2.warpPerspective(face, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32)
    whole = face.reshape(-1, 4).astype(np.float32)
    colour = whole[:, :3].sum(axis=0) / max(1.0, float(whole[:, 3].sum() / 255))
    return np.asarray(shown[..., :3] + colour * (1 - shown[..., 3:] / 255))


def _shading(before: Pixels, mask: Pixels) -> NDArray[np.float32]:
    """How light falls on what was there: its brightness, smoothed, over the mean; (h, w)."""
    grey = cv2.cvtColor(before, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = mask.astype(np.float32) / 255
    blur = max(2.0, min(mask.shape) / 5)
    smooth = cv2.GaussianBlur(grey * inside, (0, 0), blur) / (cv2.GaussianBlur(inside, (0, 0), blur) + 0.02)
    mean = float((grey * inside).sum() / max(1.0, float(inside.sum())))
    return np.asarray((smooth / max(4.0, mean)).clip(0.5, 1.6), np.float32)
