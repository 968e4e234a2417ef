"""What a rendered shelf is built of, before goods stand on it: walls, boards, price rails, and what is above and below."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfmatch.models.detection.canvas import Pixels, Points
from shelfmatch.models.detection.rooms import texture


def tint(rng: np.random.Generator, low: float, high: float, spread: float = 14) -> NDArray[np.float32]:
    return np.asarray((rng.uniform(low, high) + rng.normal(0, spread, 3)).clip(0, 255), np.float32)


@dataclass(frozen=True)
class Eye:
    """Where the camera looks from: at (x, y) of the shelf's plane it looks straight at it; what lies at the back of the shelf is
    seen `recede` of the way from its place towards there, which is the shelf's depth over the camera's distance to its back."""

    x: float
    y: float
    recede: float

    def behind(self, points: Points, depth: float = 1.0) -> Points:
        """Where points (N, 2) of the front are seen, moved back by a share of the shelf's depth."""
        centre = np.array([self.x, self.y], np.float32)
        return np.asarray(points + (centre - points) * (self.recede * depth), np.float32)


def eye(rng: np.random.Generator, side: int, margin: int) -> Eye:
    """A camera of a person who stands before some shelf, not always at the height of what is in the frame."""
    x, y = (float(margin + side * rng.uniform(low, high)) for low, high in ((0.1, 0.9), (-0.3, 1.0)))
    return Eye(x, y, float(rng.uniform(0.04, 0.34)))


def wall(rng: np.random.Generator, wide: int, high: int) -> NDArray[np.float32]:
    """The back of a row: dark above, with holes, bars or nothing."""
    colour = tint(rng, 8, 225) if rng.random() < 0.55 else tint(rng, 5, 70)
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
    return wall


@dataclass(frozen=True)
class Board:
    """What a shelf's boards are made of: colour, how dark they are at the back and below, and the distance of their grooves in
    pixels (0: none)."""

    colour: NDArray[np.float32]
    back: float
    below: float
    pitch: int


def board(rng: np.random.Generator, row: float) -> Board:
    pitch = max(2, int(row * rng.uniform(0.03, 0.1))) if rng.random() < 0.3 else 0
    return Board(tint(rng, 40, 235), float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.1, 0.6)), pitch)


def floors(row: NDArray[np.float32], board: Board, floor: int, below: int) -> None:
    """In a row's picture (H, W, 3): its floor, as many pixels high as are seen of it, or the board above it from below."""
    if floor > 1:
        row[-floor:] = board.colour * np.linspace(board.back, 1.0, floor, dtype=np.float32)[:, None, None]
        if board.pitch:
            row[-floor:, :: board.pitch] *= 0.7
    if below > 1:
        row[:below] = board.colour * (board.below * np.linspace(1.0, 0.7, below, dtype=np.float32)[:, None, None])


def above(rng: np.random.Generator, image: Pixels, bottom: int) -> None:
    """What is over the highest board, down to row `bottom`: walls, ceilings with lamps, signs with large letters."""
    wide = image.shape[1]
    if bottom < 4:
        return
    ground = texture(rng, wide)[:bottom] * np.linspace(rng.uniform(0.5, 1.3), 1.0, bottom)[:, None, None]
    image[:bottom] = ground.clip(0, 255)
    part = image[:bottom]
    for _ in range(int(rng.integers(0, 5))):  # lamps, beams
        x, y = int(rng.uniform(0, wide)), int(rng.uniform(0, bottom))
        size = (int(rng.uniform(0.05, 0.5) * wide), max(1, int(rng.uniform(0.02, 0.2) * bottom)))
        shade = 255 if rng.random() < 0.5 else int(rng.uniform(20, 240))
        cv2.rectangle(part, (x, y), (x + size[0], y + size[1]), (shade, shade, int(shade * 0.95)), -1)
    if rng.random() < 0.5:  # a sign along the whole shelf, or a part of it
        high = max(3, int(bottom * rng.uniform(0.2, 0.8)))
        left, right = (0, wide) if rng.random() < 0.5 else sorted(int(v) for v in rng.integers(0, wide, 2))
        top = bottom - high - int(rng.uniform(0, 0.2) * bottom)
        colour = tuple(int(v) for v in tint(rng, 20, 240, 50))
        cv2.rectangle(part, (left, top), (right, top + high), colour, -1)
        word = "".join(rng.choice(list("ABCDEFGHIJKLMNOPRSTUVW aeiou"), int(rng.integers(3, 14))))
        ink = (245, 245, 240) if sum(colour) < 380 else (30, 30, 40)
        scale = high / 40 * rng.uniform(0.5, 1.0)
        cv2.putText(part, word, (left + 5, top + int(high * 0.7)), cv2.FONT_HERSHEY_DUPLEX, scale, ink, 1, cv2.LINE_AA)


def below(rng: np.random.Generator, image: Pixels, top: int) -> None:
    """What is under the lowest board: its foot, and the shop's floor, from row `top` on."""
    left = image.shape[0] - top
    if left < 4:
        return
    image[top:] = texture(rng, image.shape[1])[:left].clip(0, 255)
    foot = min(left, int(left * rng.uniform(0.0, 0.5)))
    if foot:
        image[top : top + foot] = tint(rng, 5, 200) * np.linspace(1, 0.6, foot)[:, None, None]
    shadow = min(left - foot, max(1, left // 6))
    if shadow:
        ramp = np.linspace(0.4, 1.0, shadow)[:, None, None]
        image[top + foot : top + foot + shadow] = (image[top + foot : top + foot + shadow] * ramp).astype(np.uint8)


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


def rail(rng: np.random.Generator, image: Pixels, y: int, high: int, style: float) -> None:
    """The board's front edge with its price labels, from row `y` down."""
    wide = image.shape[1]
    colour = tint(rng, 120, 245) if style < 0.7 else tint(rng, 10, 255, 60)
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
