"""What a rendered shelf is built of, before goods stand on it: walls, boards, price rails, and what is above and below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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


CARDS: Final = ((250, 250, 248), (250, 225, 60), (225, 40, 35), (240, 240, 250), (255, 160, 30))
"""Grounds of price labels, and how often each is."""
CARDS_SHARE: Final = (0.6, 0.2, 0.08, 0.07, 0.05)
DRAWN_HIGH: Final = 72
"""Pixels of a label's height as it is drawn, before it is made as small as it stands there."""
DRAWN: Final = 6
"""Labels that are drawn for a shelf."""
OFFERS: Final = (
    "SPECIAL",
    "special",
    "OFFER",
    "Angebot",
    "SALE",
    "NEW",
    "2 for 5",
    "promo",
    "Aktion",
    "-25 %",
    "oferta",
)


def price_cards(rng: np.random.Generator, ratio: float) -> list[Pixels]:
    """Price labels of a shelf, so many times as wide as high: a shop's are alike, and some differ."""
    ground = CARDS[int(rng.choice(len(CARDS), p=CARDS_SHARE))]
    other = CARDS[int(rng.choice(len(CARDS), p=CARDS_SHARE))]
    return [_price_card(rng, ratio, ground if rng.random() < 0.8 else other) for _ in range(DRAWN)]


def _price_card(rng: np.random.Generator, ratio: float, ground: tuple[int, int, int]) -> Pixels:
    """A price label (height, width, 3): a number as large as it can be, and some of a band with a word, lines of small print, a bar
    code, a frame."""
    tall = int(DRAWN_HIGH / min(1.0, max(0.5, ratio)))
    across = max(12, round(tall * ratio))
    ink = _ink(ground)
    image = np.full((tall, across, 3), ground, np.uint8)
    top, bottom = 2, tall - 2
    if rng.random() < 0.3:
        band, colour = int(tall * rng.uniform(0.18, 0.35)), tuple(int(v) for v in tint(rng, 20, 250, 60))
        at = 0 if rng.random() < 0.6 else tall - band
        cv2.rectangle(image, (0, at), (across, at + band), colour, -1)
        _written(image, str(rng.choice(OFFERS)), (0.08, 0.92), (at, at + band), _ink(colour), rng)
        top, bottom = (band, bottom) if at == 0 else (top, at)
    left = float(rng.choice([0.03, 0.3, 0.45, 0.55]))
    small = tall // 9
    number = f"{rng.choice(['', '', '$', 'EUR '])}{rng.integers(0, 30)}{rng.choice(['.', ','])}{rng.integers(10, 99)}"
    lines = top
    if left < 0.1 and ratio < 1.7:  # small print above the number
        lines = top + int((bottom - top) * rng.uniform(0.2, 0.5))
        _print(image, (0.05, 0.9), (top, lines), small, ink, rng)
    elif left > 0.1:
        _print(image, (0.03, left - 0.04), (top, bottom), small, ink, rng)
    _written(image, number, (left, 0.97), (lines, bottom), ink if rng.random() < 0.8 else (200, 20, 25), rng)
    if rng.random() < 0.25:
        cv2.rectangle(image, (0, 0), (across - 1, tall - 1), ink, int(rng.integers(1, 4)))
    return image


def _ink(ground: tuple[int, ...]) -> tuple[int, int, int]:
    """What can be read on a colour."""
    return (25, 25, 30) if sum(ground) > 375 else (250, 250, 250)


def _written(
    image: Pixels,
    text: str,
    across: tuple[float, float],
    rows: tuple[int, int],
    ink: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    """A text as large as it fits between two shares of the width and two rows."""
    font = int(rng.choice([cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
    (long, tall), _ = cv2.getTextSize(text, font, 1.0, 1)
    left, right = (int(edge * image.shape[1]) for edge in across)
    scale = min((right - left) / long, 0.8 * (rows[1] - rows[0]) / tall)
    if scale <= 0.1:
        return
    thick = max(1, round(scale * rng.uniform(1.0, 4.0)))
    at = int(left + (right - left - scale * long) * rng.random()), int((rows[0] + rows[1] + scale * tall) / 2)
    cv2.putText(image, text, at, font, scale, ink, thick, cv2.LINE_AA)


def _print(
    image: Pixels,
    across: tuple[float, float],
    rows: tuple[int, int],
    small: int,
    ink: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    """Lines of words too small to read, or a bar code, between two shares of the width and two rows."""
    left, right = (int(edge * image.shape[1]) for edge in across)
    if right - left < 6:
        return
    if rng.random() < 0.35:
        for x in range(left, right, 2):
            if rng.random() < 0.5:
                cv2.line(image, (x, rows[0] + small), (x, max(rows[0] + small, rows[1] - small)), ink, 1)
        return
    for y in range(rows[0] + small, rows[1], 2 * small):
        if rng.random() < 0.8:
            words = "".join(rng.choice(list("abcdefghilmnoprstu 0123456789   "), max(1, (right - left) // small)))
            cv2.putText(image, words, (left, y), cv2.FONT_HERSHEY_SIMPLEX, small / 26, ink, 1, cv2.LINE_AA)


def _strips(rng: np.random.Generator, band: Pixels) -> None:
    """Printed strips that a brand puts along a rail."""
    x = int(rng.uniform(-0.5, 0.5) * band.shape[1])
    while x < band.shape[1]:
        wide = int(band.shape[0] * rng.uniform(3, 14))
        left, right = max(0, x), min(band.shape[1], x + wide)
        if right - left > 4 and len(band) > 3 and rng.random() < 0.7:
            colour = tuple(int(v) for v in tint(rng, 10, 240, 60))
            band[:, left:right] = colour
            words = "".join(rng.choice(list("ABCDEFGHILMNOPRSTUaeiou   "), int(rng.integers(5, 30))))
            strip = np.ascontiguousarray(band[:, left:right])
            _written(strip, words, (0.05, 0.95), (0, len(strip)), _ink(colour), rng)
            band[:, left:right] = strip
        x += wide + int(wide * rng.exponential(0.2)) + 1


def rail(rng: np.random.Generator, image: Pixels, y: int, high: int, style: float, cards: Sequence[Pixels]) -> None:
    """The board's front edge with its price labels, some of `cards`, from row `y` down."""
    wide = image.shape[1]
    colour = tint(rng, 120, 245) if style < 0.7 else tint(rng, 10, 255, 60)
    band = np.empty((high, wide, 3), np.float32)
    band[:] = colour
    band *= np.linspace(1.1, 0.75, high, dtype=np.float32)[:, None, None]
    image[y : y + high] = band[: image.shape[0] - y].clip(0, 255)
    if rng.random() < 0.15:
        _strips(rng, image[y : y + high])
    ratio = cards[0].shape[1] / cards[0].shape[0]
    x, card = int(rng.uniform(0, 30)), max(4, int(high * rng.uniform(0.55, 1.1)))
    while style < 0.85 and x < wide:
        width = max(1, int(card * ratio * rng.uniform(0.9, 1.1)))
        if rng.random() < 0.75:
            at = y + int(high * rng.uniform(0, 0.2))
            part = image[max(0, at) : at + card, x : x + width]
            label = cv2.resize(cards[int(rng.integers(len(cards)))], (width, card), interpolation=cv2.INTER_AREA)
            part[:] = label[max(0, -at) :][: part.shape[0], : part.shape[1]]
        x += width + int(card * rng.exponential(2.5)) + 1
    under = max(1, int(high * rng.uniform(0.2, 0.8)))  # the shadow that the board casts on the row below
    low = image[y + high : y + high + under]
    low[:] = (low * np.linspace(0.35, 0.9, under)[: len(low), None, None]).astype(np.uint8)
