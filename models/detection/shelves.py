"""Rendered shelves: rows of products in blocks, empty places, rails and price labels, seen straight or at an angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfmatch.models.detection.canvas import GAP, PRODUCT, Canvas, Pixels, Points, Scene, rectangle, shrunk
from shelfmatch.models.detection.faces import Faces

BEYOND: Final = 0.25
"""How far the shelf goes on beyond the frame, as a share of its side, so that a tilted view is filled."""
WIDEST: Final = 2.2
"""A product's width is at most this many times the clear height of its row."""


@dataclass(frozen=True)
class Layout:
    """How a shelf is stocked. `row`: clear height of a row in pixels; `gaps`: how often a block or a facing is missing; `tilt`:
    strength of the perspective, 0 to 1."""

    row: float
    gaps: float
    tilt: float


def layout(rng: np.random.Generator, side: int) -> Layout:
    """Some layout: from a whole shelf wall seen at once to a part of one row."""
    row = float(np.exp(rng.uniform(np.log(26), np.log(0.75 * side))))
    return Layout(row, float(rng.choice([0.0, 0.08, 0.15, 0.25])), float(rng.choice([0.1, 0.4, 1.0])))


def tilted(rng: np.random.Generator, side: int, strength: float) -> NDArray[np.float64]:
    """A homography of the frame onto itself: rolled, and seen from a side, from above or below."""
    corners = rectangle(0, 0, side, side)
    angle = rng.normal(0, 0.05) * strength
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    moved = (corners - side / 2) @ turn.T + side / 2
    across, along = rng.normal(0, 0.09, 2).clip(-0.2, 0.2) * strength * side
    moved[[0, 3], 1] += np.array([across, -across], np.float32)
    moved[[0, 1], 0] += np.array([along, -along], np.float32)
    if rng.random() < 0.4:  # one side is nearer: narrower columns far away
        moved[[0, 3], 0] += rng.uniform(0, 0.15) * strength * side
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def mapped(homography: NDArray[np.float64], points: Points) -> Points:
    """Points (N, 2) of the shelf's plane in the frame."""
    return np.asarray(cv2.perspectiveTransform(points[None], homography)[0], np.float32)


def _tint(rng: np.random.Generator, low: float, high: float, spread: float = 14) -> NDArray[np.float32]:
    return np.asarray((rng.uniform(low, high) + rng.normal(0, spread, 3)).clip(0, 255), np.float32)


def _wall(rng: np.random.Generator, wide: int, high: int) -> NDArray[np.float32]:
    """The back of a row: dark above, with holes, bars or nothing, and the shelf's floor below."""
    colour = _tint(rng, 8, 225) if rng.random() < 0.55 else _tint(rng, 5, 70)
    wall = np.empty((high, wide, 3), np.float32)
    wall[:] = colour
    pattern, pitch = rng.random(), max(3, int(high * rng.uniform(0.06, 0.2)))
    if pattern < 0.25:
        for y in range(pitch // 2, high, pitch):
            wall[y : y + max(1, pitch // 5), pitch // 2 :: pitch] *= 0.6
    elif pattern < 0.4:
        wall[::pitch] *= rng.uniform(0.5, 1.4)
    elif pattern < 0.5:
        wall[:, ::pitch] *= rng.uniform(0.5, 1.4)
    shade = np.linspace(rng.uniform(0.25, 1.0), 1.0, high, dtype=np.float32) ** rng.uniform(0.5, 2)
    wall *= shade[:, None, None]
    floor = int(high * rng.uniform(0.0, 0.28))
    if floor > 1:
        ramp = np.linspace(0.55, 1.0, floor, dtype=np.float32)[:, None, None]
        wall[-floor:] = _tint(rng, 40, 235) * ramp
        if rng.random() < 0.3:
            wall[-floor:, :: max(2, pitch // 2)] *= 0.7
    return wall


def _label(rng: np.random.Generator, image: Pixels, x: int, y: int, wide: int, high: int) -> None:
    """A price label: a card with a number and lines of print."""
    card = [(250, 250, 248), (250, 225, 60), (225, 40, 35), (240, 240, 250), (255, 160, 30)][
        int(rng.choice(5, p=[0.6, 0.2, 0.08, 0.07, 0.05]))
    ]
    ink = (25, 25, 30) if sum(card) > 350 else (250, 250, 250)
    cv2.rectangle(image, (x, y), (x + wide, y + high), card, -1)
    if high >= 6 and wide >= 9:
        number = f"{rng.integers(0, 30)}.{rng.integers(10, 99)}"
        scale = high / 45 * rng.uniform(0.7, 1.2)
        cv2.putText(
            image, number, (x + wide // 3, y + int(high * 0.75)), cv2.FONT_HERSHEY_DUPLEX, scale, ink, 1, cv2.LINE_AA
        )
        for line in range(int(rng.integers(0, 4))):
            at = y + 2 + line * max(2, high // 5)
            cv2.line(image, (x + 1, at), (x + int(wide * rng.uniform(0.2, 0.45)), at), ink, 1)


def _rail(rng: np.random.Generator, image: Pixels, y: int, high: int, style: float) -> None:
    """The board's front edge with its price labels, from row `y` down."""
    wide = image.shape[1]
    colour = _tint(rng, 120, 245) if style < 0.7 else _tint(rng, 10, 255, 60)
    band = np.empty((high, wide, 3), np.float32)
    band[:] = colour
    band *= np.linspace(1.1, 0.75, high, dtype=np.float32)[:, None, None]
    image[y : y + high] = band[: image.shape[0] - y].clip(0, 255)
    x, card = int(rng.uniform(0, 30)), max(4, int(high * rng.uniform(0.55, 1.1)))
    while style < 0.85 and x < wide:
        width = int(card * rng.uniform(1.0, 2.4))
        if rng.random() < 0.75:
            _label(rng, image, x, y + int(high * rng.uniform(0, 0.2)), width, card)
        x += width + int(card * rng.exponential(2.5)) + 1
    under = max(1, int(high * rng.uniform(0.2, 0.8)))  # the shadow that the board casts on the row below
    low = image[y + high : y + high + under]
    low[:] = (low * np.linspace(0.35, 0.9, under)[: len(low), None, None]).astype(np.uint8)


class _Row:
    """One row of a shelf as it is being stocked."""

    def __init__(self, shelf: Shelf, top: float, clear: float) -> None:
        self.shelf, self.top, self.clear = shelf, top, clear
        self.rng = shelf.rng
        self.light = float(self.rng.normal(1, 0.08))
        self.deep = self.rng.random() < 0.4

    def stock(self, wide: float) -> None:
        """Blocks from left to right."""
        rng, last = self.rng, self.clear * 0.5
        x = -rng.uniform(0, self.clear)
        while x < wide:
            if rng.random() < self.shelf.layout.gaps * 1.5:
                x = self._nothing(
                    x,
                    last * rng.uniform(0.75, 1.5),
                    self.clear * rng.uniform(0.55, 0.95),
                    int(rng.choice([1, 1, 1, 2, 3])),
                )
            x, last = self._block(x)
            x += rng.exponential(0.05) * self.clear

    def _nothing(self, x: float, wide: float, high: float, places: int) -> float:
        """Empty places, one of each missing facing; seen are the wall and the floor."""
        for _ in range(places):
            if wide > 0.28 * high:
                self.shelf.canvas.ask(self._quad(x, wide, high, 0.0))
            x += wide
        return x

    def _quad(self, x: float, wide: float, high: float, above: float, lean: float = 0.0) -> Points:
        flat = rectangle(x, self.top + self.clear - above - high, wide, high)
        flat[:2, 0] += lean * high
        return mapped(self.shelf.homography, flat)

    def _block(self, x: float) -> tuple[float, float]:
        rng = self.rng
        number = int(rng.choice(self.shelf.assortment))
        face, side = self.shelf.face(number)
        aspect = face.shape[1] / face.shape[0]
        high = self.clear * (rng.uniform(0.5, 0.98) if aspect < 1.3 else rng.uniform(0.22, 0.6))
        wide = high * aspect
        if wide > WIDEST * self.clear:
            wide, high = WIDEST * self.clear, WIDEST * self.clear / aspect
        tall = int(min(self.clear // high, rng.choice([1, 2, 3, 4, 5]))) if aspect > 0.8 else 1
        if self.shelf.peg:
            tall = 1
        space = wide * (rng.exponential(0.05) if not self.shelf.peg else rng.uniform(0.05, 0.5))
        faced = shrunk(face, wide * 1.3, high * 1.3)
        for _ in range(min(int(rng.geometric(0.3)), 10)):
            if rng.random() < self.shelf.layout.gaps * 0.5 and not self.shelf.peg:
                self._missing(x, wide, high * max(1, tall), faced)
            else:
                self._facing(x, wide, high, max(1, tall), faced, side)
            x += wide + space
        return x, wide

    def _missing(self, x: float, wide: float, high: float, faced: Pixels) -> None:
        if self.deep and self.rng.random() < 0.5:  # the next one stands far back, in the dark
            quad = self._quad(x + 0.09 * wide, wide * 0.82, min(high, self.clear) * 0.82, self.clear * 0.06)
            self.shelf.canvas.paint(faced, quad, self.light * self.rng.uniform(0.25, 0.6))
        else:
            self._nothing(x, wide, min(high, self.clear), 1)

    def _facing(self, x: float, wide: float, high: float, tall: int, faced: Pixels, side: Pixels) -> None:
        rng, canvas = self.rng, self.shelf.canvas
        if self.deep and not self.shelf.peg:
            canvas.paint(
                faced,
                self._quad(x + wide * 0.04, wide * 0.92, high, (tall - 1) * high + 0.05 * self.clear),
                self.light * 0.45,
                None,
            )
        hang = self.clear * 0.3 * rng.random() if self.shelf.peg else 0.0
        for level in range(tall):
            shown = side if rng.random() < 0.06 else faced
            lean = rng.normal(0, 0.06) if rng.random() < 0.12 else 0.0
            at = x + rng.normal(0, 0.012) * wide
            wide_now = wide * min(1.0, side.shape[1] / side.shape[0] * high / wide) if shown is side else wide
            grown = 1 + rng.normal(0, 0.008)
            canvas.paint(
                shown,
                self._quad(at, wide_now, high * grown, level * high + hang, lean),
                self.light * float(rng.normal(1, 0.05)),
            )


class Shelf:
    """A shelf in the making: its picture and what stands where."""

    def __init__(self, faces: Faces, rng: np.random.Generator, side: int, plan: Layout) -> None:
        self.faces, self.rng, self.layout = faces, rng, plan
        self.margin = int(BEYOND * side)
        reach = side + 2 * self.margin
        self.peg = rng.random() < 0.06
        self.homography = tilted(rng, side, plan.tilt) @ np.array(
            [[1, 0, -self.margin], [0, 1, -self.margin], [0, 0, 1.0]]
        )
        count = int(rng.integers(3, 4 + max(3, int(900 / plan.row))))
        first = rng.integers(0, len(faces), max(1, count // 3))
        near = (first[:, None] + rng.integers(-3, 4, (len(first), 2))).ravel().clip(0, len(faces) - 1)
        self.assortment = np.concatenate([first, near, rng.integers(0, len(faces), 2)])
        self.kept: dict[int, tuple[Pixels, Pixels]] = {}
        self.rows: list[tuple[float, float]] = []
        self.canvas = Canvas(self._furniture(reach, side))
        order = self.rows if rng.random() < 0.5 else self.rows[::-1]
        for top, clear in order:
            _Row(self, top, clear).stock(reach)

    def face(self, number: int) -> tuple[Pixels, Pixels]:
        """The front and another side."""
        if number not in self.kept:
            self.kept[number] = (np.asarray(self.faces.cut(number)), np.asarray(self.faces.cut(number, side=True)))
        return self.kept[number]

    def _furniture(self, reach: int, side: int) -> Pixels:
        """Walls, floors, boards, labels; in the frame."""
        rng, row = self.rng, self.layout.row
        image = np.empty((reach, reach, 3), np.uint8)
        image[:] = _tint(rng, 20, 220)
        y = int(rng.uniform(-0.5, 0.6) * row)
        y += self.margin if rng.random() < 0.2 else 0
        style, bare = rng.random(), rng.random() < 0.04
        wall = _wall(rng, reach, max(4, int(row)))
        while y < reach:
            clear = max(10, int(row * rng.uniform(0.75, 1.3)))
            board = max(2, int(row * rng.uniform(0.05, 0.26)))
            if rng.random() < 0.3:
                wall = _wall(rng, reach, clear)
            top = max(0, y)
            if y + clear > 0:
                image[top : y + clear] = cv2.resize(wall, (reach, clear))[top - y :][: max(0, reach - top)].clip(0, 255)
                if not bare:
                    self.rows.append((float(y), float(clear)))
            if 0 < y + clear < reach:
                _rail(rng, image, y + clear, board, style)
            y += clear + board
            if y > self.margin + 0.5 * side and rng.random() < 0.06:
                break
        if y < reach:
            image[max(0, y) :] = _tint(rng, 60, 220)
        return np.asarray(cv2.warpPerspective(image, self.homography, (side, side), flags=cv2.INTER_LINEAR))


def shelf(faces: Faces, rng: np.random.Generator, side: int, plan: Layout | None = None) -> Scene:
    """A rendered shelf with all its products and empty places."""
    return Shelf(faces, rng, side, layout(rng, side) if plan is None else plan).canvas.scene(hidden=False)


__all__ = ["GAP", "PRODUCT", "Layout", "layout", "shelf"]
