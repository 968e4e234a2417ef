"""Rendered shelves: rows of products in blocks, empty places, rails and price labels, seen straight or at an angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfmatch.models.detection.canvas import (
    GAP,
    PRODUCT,
    UNSURE,
    Canvas,
    Pixels,
    Points,
    Scene,
    bounds,
    rectangle,
    shrunk,
)
from shelfmatch.models.detection.faces import Faces
from shelfmatch.models.detection.furniture import above, below, board, eye, floors, price_cards, rail, tint, wall
from shelfmatch.models.detection.rooms import texture
from shelfmatch.models.printer.package import BOX

BEYOND: Final = 0.25
"""How far the shelf goes on beyond the frame, as a share of its side, so that a tilted view is filled."""
WIDEST: Final = 2.2
"""A product's width is at most this many times the clear height of its row."""
OPEN_ABOVE: Final = 0.3
OPEN_BELOW: Final = 0.35
ENDS: Final = 0.15
"""How often what is above a shelf, under it or beside it may come into the frame: it holds neither goods nor empty places."""
MOST_OF_A_ROW: Final = 0.75
"""The share of a row's height that a board seen from above or below takes at most."""
SET_BACK: Final = 0.12
"""How far behind its board's edge a block stands in the mean, as a share of the shelf's depth; an empty place reaches to the
edge."""
SEEN_OF_A_PLACE: Final = 0.35
"""The share of a place's width that the sides of goods next to it must leave for it to be asked for."""
HANGING: Final = 0.3
"""How often larger cards hang from the rails, in front of the goods below: specials, new goods."""
TOPS: Final = 0.5
"""How often goods that are seen from above show their tops."""


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


@dataclass(frozen=True)
class _Stands:
    """Goods: their right edge, their height, how they look from a side, how far back they stand, and their number on the canvas
    where one box is theirs."""

    edge: float
    high: float
    side: Pixels
    set_back: float
    number: int | None


class _Row:
    """One row of a shelf as it is being stocked."""

    def __init__(self, shelf: Shelf, top: float, clear: float) -> None:
        self.shelf, self.top, self.clear = shelf, top, clear
        self.rng = shelf.rng
        self.light = float(self.rng.normal(1, 0.08))
        self.deep = self.rng.random() < 0.4
        self.from_above = top + clear > shelf.eye.y
        self.stands: _Stands | None = None
        """The goods that were set down last; None before the first and after an empty place."""
        self.empty: float | None = None
        """Where the empty place begins that was left last; None after goods."""
        self.asked: tuple[int, Points] | None = None
        """Number and corners on the shelf's plane of the last place asked for in it."""

    def stock(self) -> None:
        """Blocks from left to right."""
        rng, last = self.rng, self.clear * 0.5
        x = self.shelf.from_x
        x -= rng.uniform(0, self.clear) if x == 0 else -0.02 * self.clear
        while x < self.shelf.to_x:
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
        """Empty places, one of each missing facing; seen are the wall and the floor, and the side of what stands to the left."""
        begins = x
        if self.stands is not None and self.shelf.eye.x > x and not self.shelf.peg:
            goods = self.stands
            quad, begins = self._beside(goods.edge, goods.high, goods.side, x + wide * places, goods.set_back)
            if goods.number is not None:
                self.shelf.canvas.also(quad, goods.number)
        self.empty, self.stands, self.asked = x if self.empty is None else self.empty, None, None
        for _ in range(places):
            if x + wide > self.shelf.to_x:
                break
            left = max(x, begins)
            if wide > 0.28 * high and x + wide - left > SEEN_OF_A_PLACE * wide:
                flat = rectangle(left, self.top + self.clear - high, x + wide - left, high)
                self.asked = len(self.shelf.canvas.full), flat
                self.shelf.canvas.ask(mapped(self.shelf.homography, flat))
            x += wide
        return x

    def _beside(self, edge: float, high: float, side: Pixels, reach: float, set_back: float) -> tuple[Points, float]:
        """The side of goods that stand next to an empty place: from their front edge back, as far as `reach` lets it be seen. Its
        corners in the frame, and where it ends on the shelf's plane."""
        bottom, eye = self.top + self.clear, self.shelf.eye
        flat = np.array([[edge, bottom - high], [edge, bottom]], np.float32)
        first = set_back if self.from_above else 0.0
        right = reach > edge
        across = abs(eye.x - edge) * eye.recede
        # As deep as the empty place lets it be seen.
        last = max(first, min(float(self.rng.uniform(0.4, 1.0)), abs(reach - edge) / max(across, 1e-6)))
        front, back = eye.behind(flat, first), eye.behind(flat, last)
        back[1, 1] = min(float(back[1, 1]), bottom)  # the board hides what lies behind and below its edge
        corners = [front[0], back[0], back[1], front[1]] if right else [back[0], front[0], front[1], back[1]]
        quad = mapped(self.shelf.homography, np.array(corners, np.float32))
        self.shelf.canvas.paint(side, quad, self.light * float(self.rng.uniform(0.3, 0.9)), None)
        return quad, float(back[0, 0])

    def _ended_by(self, x: float) -> None:
        """The empty place that was left last is seen up to here, where the side of the next goods begins."""
        if self.asked is None:
            return
        number, flat = self.asked
        wide, seen = flat[1, 0] - flat[0, 0], x - flat[0, 0]
        if seen < SEEN_OF_A_PLACE * wide:
            self.shelf.canvas.kinds[number] = UNSURE
        elif seen < wide:
            flat[1:3, 0] = x
            self.shelf.canvas.lies(number, bounds(mapped(self.shelf.homography, flat)))

    def _topped(self, x: float, wide: float, high: float, faced: Pixels, depths: tuple[float, float]) -> Points:
        """The top of a carton that the camera looks down on; its corners in the frame."""
        y = self.top + self.clear - high
        edge = np.array([[x, y], [x + wide, y]], np.float32)
        front, back = (self.shelf.eye.behind(edge, depth) for depth in (depths[0], max(depths)))
        back[:, 1] = np.maximum(back[:, 1], max(self.top, y - 0.6 * wide))
        quad = mapped(self.shelf.homography, np.array([back[0], back[1], front[1], front[0]], np.float32))
        strip = faced[: max(2, faced.shape[0] // 12)]
        self.shelf.canvas.paint(strip, quad, self.light * float(self.rng.uniform(0.7, 1.3)), None)
        return quad

    def _quad(
        self, x: float, wide: float, high: float, above: float, lean: float = 0.0, set_back: float = 0.0
    ) -> Points:
        """Corners in the frame of what stands `above` its board, `set_back` of the shelf's depth behind the edge."""
        flat = rectangle(x, self.top + self.clear - above - high, wide, high)
        flat[:2, 0] += lean * high
        if self.from_above:  # otherwise the board hides the feet of what stands back
            flat = self.shelf.eye.behind(flat, set_back)
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
        depth, set_back = float(rng.uniform(0.2, 1.0)), float(min(0.5, rng.exponential(SET_BACK)))
        topped = self.shelf.faces.kinds[number] == BOX and not self.shelf.peg and rng.random() < TOPS
        for _ in range(min(int(rng.geometric(0.3)), 10)):
            if x + wide > self.shelf.to_x and self.shelf.to_x < self.shelf.reach:
                return self.shelf.to_x, wide
            if rng.random() < self.shelf.layout.gaps * 0.5 and not self.shelf.peg:
                self._missing(x, wide, high * max(1, tall), faced)
            else:
                stacked, others = max(1, tall) * high, []
                if self.empty is not None and self.shelf.eye.x < x and not self.shelf.peg:
                    beside, ends = self._beside(x, stacked, side, self.empty, set_back)
                    self._ended_by(ends)
                    others = [beside] if tall <= 1 else []
                if topped and self.top + self.clear - stacked > self.shelf.eye.y:
                    others.append(self._topped(x, wide, stacked, faced, (set_back, depth)))
                thing = self._facing(x, wide, high, max(1, tall), faced, side, set_back)
                if thing is not None:
                    for quad in others:
                        self.shelf.canvas.also(quad, thing)
                self.empty = None
                self.stands = _Stands(x + wide, stacked, side, set_back, thing if tall <= 1 else None)
            x += wide + space
            if x > self.shelf.to_x:
                break
        return x, wide

    def _missing(self, x: float, wide: float, high: float, faced: Pixels) -> None:
        if self.deep and self.rng.random() < 0.5:  # the next one stands far back, in the dark
            quad = self._quad(x + 0.09 * wide, wide * 0.82, min(high, self.clear) * 0.82, self.clear * 0.06)
            self.shelf.canvas.paint(faced, quad, self.light * self.rng.uniform(0.25, 0.6))
            self.empty, self.stands = None, None
        else:
            self._nothing(x, wide, min(high, self.clear), 1)

    def _facing(
        self, x: float, wide: float, high: float, tall: int, faced: Pixels, side: Pixels, set_back: float
    ) -> int | None:
        """Goods, as many as stand on one another; the number of the uppermost on the canvas, None where it lies outside."""
        rng, canvas = self.rng, self.shelf.canvas
        if self.deep and not self.shelf.peg:
            canvas.paint(
                faced,
                self._quad(x + wide * 0.04, wide * 0.92, high, (tall - 1) * high + 0.05 * self.clear),
                self.light * 0.45,
                None,
            )
        hang = self.clear * 0.3 * rng.random() if self.shelf.peg else 0.0
        number = None
        for level in range(tall):
            shown = side if rng.random() < 0.06 else faced
            lean = rng.normal(0, 0.06) if rng.random() < 0.12 else 0.0
            at = x + rng.normal(0, 0.012) * wide
            wide_now = wide * min(1.0, side.shape[1] / side.shape[0] * high / wide) if shown is side else wide
            grown = 1 + rng.normal(0, 0.008)
            before = len(canvas.full)
            canvas.paint(
                shown,
                self._quad(at, wide_now, high * grown, level * high + hang, lean, set_back),
                self.light * float(rng.normal(1, 0.05)),
            )
            number = before if len(canvas.full) > before else None
        return number


class Shelf:
    """A shelf in the making: its picture and what stands where."""

    def __init__(self, faces: Faces, rng: np.random.Generator, side: int, plan: Layout) -> None:
        self.faces, self.rng, self.layout = faces, rng, plan
        self.margin = int(BEYOND * side)
        reach = self.reach = side + 2 * self.margin
        self.peg = rng.random() < 0.06
        self.homography = tilted(rng, side, plan.tilt) @ np.array(
            [[1, 0, -self.margin], [0, 1, -self.margin], [0, 0, 1.0]]
        )
        count = int(rng.integers(3, 4 + max(3, int(900 / plan.row))))
        first = rng.integers(0, len(faces), max(1, count // 3))
        near = (first[:, None] + rng.integers(-3, 4, (len(first), 2))).ravel().clip(0, len(faces) - 1)
        self.assortment = np.concatenate([first, near, rng.integers(0, len(faces), 2)])
        self.eye = eye(rng, side, self.margin)
        self.from_x, self.to_x = 0.0, float(reach)
        self.kept: dict[int, tuple[Pixels, Pixels]] = {}
        self.rows: list[tuple[float, float]] = []
        self.canvas = Canvas(self._furniture(reach, side))
        order = self.rows if rng.random() < 0.5 else self.rows[::-1]
        for top, clear in order:
            _Row(self, top, clear).stock()
        if rng.random() < HANGING:
            self._hang_cards()

    def face(self, number: int) -> tuple[Pixels, Pixels]:
        """The front and another side."""
        if number not in self.kept:
            self.kept[number] = (np.asarray(self.faces.cut(number)), np.asarray(self.faces.cut(number, side=True)))
        return self.kept[number]

    def _furniture(self, reach: int, side: int) -> Pixels:
        """Walls, floors, boards, labels, and what is around the shelf; in the frame."""
        rng, row = self.rng, self.layout.row
        image = np.empty((reach, reach, 3), np.uint8)
        image[:] = tint(rng, 20, 220)
        y = int(rng.uniform(-0.5, 0.6) * row)
        if rng.random() < OPEN_ABOVE:
            y += self.margin + int(rng.exponential(0.12) * side)
            above(rng, image, min(y, reach))
        style, bare = rng.random(), rng.random() < 0.04
        cards = price_cards(rng, float(rng.uniform(1.0, 2.4)))
        back, made_of = wall(rng, reach, max(4, int(row))), board(rng, row)
        ends = rng.random() < OPEN_BELOW
        while y < reach:
            clear = max(10, int(row * rng.uniform(0.75, 1.3)))
            thick = max(2, int(row * rng.uniform(0.05, 0.26)))
            if rng.random() < 0.3:
                back = wall(rng, reach, clear)
            top = max(0, y)
            if y + clear > 0:
                picture = np.ascontiguousarray(cv2.resize(back, (reach, clear)))
                floors(picture, made_of, *self._seen_of_boards(y, clear))
                image[top : y + clear] = picture[top - y :][: max(0, reach - top)].clip(0, 255)
                if not bare:
                    self.rows.append((float(y), float(clear)))
            if 0 < y + clear < reach:
                rail(rng, image, y + clear, thick, style, cards)
            y += clear + thick
            if ends and y > self.margin + 0.45 * side and rng.random() < 0.35:
                break
        if y < reach:
            below(rng, image, max(0, y))
        self._ends(image, side)
        return np.asarray(cv2.warpPerspective(image, self.homography, (side, side), flags=cv2.INTER_LINEAR))

    def _seen_of_boards(self, top: float, clear: float) -> tuple[int, int]:
        """How many pixels of the board under a row are seen from above, and of the board over it from below."""
        floor = (top + clear - self.eye.y) * self.eye.recede
        under = (self.eye.y - top) * self.eye.recede
        most = MOST_OF_A_ROW * clear
        return int(np.clip(floor, 0, most)), int(np.clip(under, 0, most))

    def _hang_cards(self) -> None:
        """Cards on the rails, down over what stands below."""
        rng = self.rng
        ratio, share, often = float(rng.uniform(0.7, 1.6)), rng.uniform(0.12, 0.5), rng.exponential(2.0)
        faces = [np.dstack([seen, np.full(seen.shape[:2], 255, np.uint8)]) for seen in price_cards(rng, ratio)]
        for top, clear in self.rows:
            high = clear * share
            wide, x = high * ratio, self.from_x + rng.uniform(0, 2) * clear
            while x + wide < self.to_x:
                y = top + clear + rng.uniform(-0.1, 0.1) * high
                leans = rectangle(x, y, wide, high) + rng.normal(0, 0.01 * high, (4, 2)).astype(np.float32)
                face = faces[int(rng.integers(len(faces)))]
                self.canvas.paint(face, mapped(self.homography, leans), float(rng.normal(1, 0.1)), None)
                x += wide * (1.05 + rng.exponential(often))

    def _ends(self, image: Pixels, side: int) -> None:
        """A shelf that ends in the frame: a panel, and the room beside it."""
        if self.rng.random() >= ENDS:
            return
        wide = int(side * self.rng.uniform(0.02, 0.3))
        room = texture(self.rng, image.shape[0])[:, :wide].clip(0, 255)
        panel = max(1, int(wide * self.rng.uniform(0.05, 0.5)))
        if self.rng.random() < 0.5:
            self.from_x = float(self.margin + wide)
            image[:, self.margin : self.margin + wide] = room
            image[:, self.margin + wide - panel : self.margin + wide] = tint(self.rng, 20, 235)
            image[:, : self.margin] = tint(self.rng, 20, 235)
        else:
            self.to_x = float(image.shape[1] - self.margin - wide)
            at = int(self.to_x)
            image[:, at : at + wide] = room
            image[:, at : at + panel] = tint(self.rng, 20, 235)
            image[:, at + wide :] = tint(self.rng, 20, 235)


def shelf(faces: Faces, rng: np.random.Generator, side: int, plan: Layout | None = None) -> Scene:
    """A rendered shelf with all its products and empty places."""
    return Shelf(faces, rng, side, layout(rng, side) if plan is None else plan).canvas.scene(hidden=False)


__all__ = ["GAP", "PRODUCT", "Layout", "layout", "shelf"]
