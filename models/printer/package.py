"""Shapes: what a design looks like from its front and from another side, as pictures with transparency on a square canvas.

Round packages (cans, bottles, jars) are seen from two angles; cartons give their side panel, which `views` sets beside the front.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from shelfmatch.models.printer import label
from shelfmatch.models.printer.design import Design, colour, mix
from shelfmatch.models.printer.stock import Stock

CANVAS: Final = 208
"""Pixels of a picture's side; packages are drawn to fill it along their longer side."""
_LONG: Final = 204
ROUND: Final = ("can", "bottle", "jar", "tub")
FLAT, BOX, SOFT, TURNED = 0, 1, 2, 3
"""What `Printed.kind` says: a flat thing; one with a side panel in `other`; a bag; a round one, seen from another
angle in `other`."""


@dataclass(frozen=True)
class Printed:
    """Front and other side (CANVAS, CANVAS, 4) uint8, in the middle of the canvas; `size` and `other_size`: width and
    height of what
    they show, as shares of the canvas."""

    front: NDArray[np.uint8]
    other: NDArray[np.uint8]
    size: tuple[float, float]
    other_size: tuple[float, float]
    kind: int
    family: int
    variant: int


def _canvas(image: Image.Image) -> NDArray[np.uint8]:
    square = Image.new("RGBA", (CANVAS, CANVAS))
    square.paste(image, ((CANVAS - image.width) // 2, (CANVAS - image.height) // 2))
    return np.asarray(square)


def _fitted(aspect: float) -> tuple[int, int]:
    """Width and height in pixels of a front that fills the canvas along its longer side."""
    return (_LONG, max(24, round(_LONG / aspect))) if aspect > 1 else (max(24, round(_LONG * aspect)), _LONG)


def _wrapped(strip: Image.Image, wide: int, angle: float, gloss: float, lamp: float) -> Image.Image:
    """What a cylinder `wide` pixels across shows of the label around it, turned by `angle`; shaded, with a streak of light."""
    across = np.arcsin(np.linspace(-0.995, 0.995, wide))
    columns = (strip.width / 2 + (across + angle) * wide / 2).astype(np.int64) % strip.width
    pixels = np.asarray(strip)[:, columns].astype(np.float32)
    facing = np.maximum(0, np.cos(across - lamp))
    shade = 0.5 + 0.5 * facing**0.7 if abs(lamp) < 0.5 else 0.55 + 0.45 * facing
    pixels *= shade[None, :, None]
    pixels += 255 * gloss * np.exp(-(((across - lamp - 0.35) / 0.12) ** 2))[None, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _around(design: Design, wide: int, high: int, stock: Stock) -> Image.Image:
    """The whole label around a cylinder `wide` across: front in the middle, sides beside it."""
    strip = Image.new("RGB", (int(wide * math.pi), high))
    front = label.front(design, (max(12, int(wide * 1.25)), high), stock)
    edge = (strip.width - front.width) // 2
    panel = label.side(design, (max(8, edge), high), stock)
    strip.paste(panel, (0, 0))
    strip.paste(panel, (strip.width - edge, 0))
    strip.paste(front, (edge, 0))
    return strip


def _profile(design: Design, wide: int, high: int) -> tuple[list[tuple[float, float]], tuple[int, int]]:
    """The outline of a round package and between which rows its label lies."""
    rng = design.rng("profile")
    if design.shape == "can":
        rim = high * rng.uniform(0.02, 0.06)
        inset = wide * rng.uniform(0.0, 0.08)
        half = [(inset, 0), (0, rim * 1.6), (0, high - rim), (inset, high)]
        return _mirrored(half, wide), (int(rim), int(high - rim))
    if design.shape == "jar":
        lid = high * rng.uniform(0.1, 0.22)
        half = [(wide * 0.06, 0), (wide * 0.06, lid), (0, lid * 1.3), (0, high * 0.95), (wide * 0.05, high)]
        top = lid + (high - lid) * rng.uniform(0.08, 0.3)
        return _mirrored(half, wide), (int(top), int(high * rng.uniform(0.82, 0.96)))
    if design.shape == "tub":
        slope = wide * rng.uniform(0.03, 0.12)
        return _mirrored([(0, 0), (0, high * 0.05), (slope * 0.3, high * 0.06), (slope, high)], wide), (
            int(high * 0.06),
            high,
        )
    neck, cap = rng.uniform(0.13, 0.22), high * rng.uniform(0.04, 0.1)
    shoulder, body = high * rng.uniform(0.1, 0.25), high * rng.uniform(0.28, 0.45)
    x = wide * (0.5 - neck)
    half = [
        (x, 0),
        (x, cap),
        (x + wide * 0.02, cap),
        (x + wide * 0.02, shoulder),
        (wide * 0.05, body * 0.85),
        (0, body),
        (0, high * 0.97),
        (wide * 0.04, high),
    ]
    top = body if rng.random() < 0.7 else shoulder
    return _mirrored(half, wide), (int(top), int(high * rng.uniform(0.75, 0.98)))


def _mirrored(half: list[tuple[float, float]], wide: int) -> list[tuple[float, float]]:
    return half + [(wide - x, y) for x, y in reversed(half)]


def _round(design: Design, stock: Stock) -> tuple[list[Image.Image], int]:
    rng = design.rng("round")
    wide, high = _fitted(design.aspect)
    outline, (top, bottom) = _profile(design, wide, high)
    body, cap = (
        colour(rng, (0.2, 1), (0.0, 0.9)),
        rng.choice((design.palette[1], (235, 235, 235), (190, 190, 195), (30, 30, 30))),
    )
    if design.shape == "can":
        body = cap = (200, 200, 205)
    cover = Image.new("L", (wide, high), 0)
    ImageDraw.Draw(cover).polygon(outline, fill=255)
    gloss, lamp = rng.choice((0.0, 0.25, 0.6)), rng.uniform(-0.8, 0.8)
    strip = _around(design, wide, max(12, bottom - top), stock)
    found = []
    for angle in (rng.uniform(-0.25, 0.25), rng.choice((-1, 1)) * rng.uniform(0.45, 1.7)):
        plain = Image.new("RGB", (wide, high), body)
        draw = ImageDraw.Draw(plain)
        if design.shape in ("bottle", "jar"):
            draw.rectangle((0, 0, wide, outline[1][1]), fill=cap)
            level = rng.uniform(0.2, 0.5) * top if rng.random() < 0.5 else 0
            draw.rectangle((0, outline[1][1], wide, max(level, outline[1][1])), fill=mix(body, (255, 255, 255), 0.6))
        shape = _wrapped(plain, wide, 0.0, gloss, lamp)
        shape.paste(_wrapped(strip, wide, angle, gloss, lamp), (0, top))
        found.append(Image.merge("RGBA", (*shape.split(), cover)))
    return found, TURNED


def _bag(design: Design, stock: Stock) -> list[Image.Image]:
    """A pouch: crimped ends, rounded sides, folds that darken and lighten."""
    rng = random.Random(f"{design.family}/{design.variant}/bag")
    wide, high = _fitted(design.aspect)
    found = []
    for face in (label.front, label.side):
        image = face(design, (wide, high), stock)
        cells = (max(2, wide // rng.randint(12, 40)), max(2, high // rng.randint(12, 40)))
        folds = np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.uniform(8, 34), (*cells[::-1],))
        shade = Image.fromarray((folds + 128).clip(0, 255).astype(np.uint8)).resize(
            (wide, high), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(image, np.float32) + (np.asarray(shade, np.float32)[..., None] - 128) * 1.4
        crimp = max(2, int(high * rng.uniform(0.02, 0.07)))
        pixels[:crimp:2] *= 0.8
        pixels[-crimp::2] *= 0.8
        cover = Image.new("L", (wide, high), 0)
        bulge = wide * rng.uniform(0.0, 0.05)
        half = [
            (0, 0),
            (bulge, crimp),
            (bulge * 0.2, high * 0.3),
            (bulge * 0.1, high * 0.7),
            (bulge, high - crimp),
            (0, high),
        ]
        ImageDraw.Draw(cover).polygon(_mirrored(half, wide), fill=255)
        found.append(Image.merge("RGBA", (*Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).split(), cover)))
    return found


def _carton(design: Design, stock: Stock) -> list[Image.Image]:
    """Front and side panel of a box, a bar, a gable-top carton or a tube."""
    rng = design.rng("carton")
    wide, high = _fitted(design.aspect)
    depth = max(16, int(wide * rng.uniform(0.15, 0.75))) if design.shape != "bar" else max(14, high // 2)
    found = []
    for face, across in ((label.front, wide), (label.side, min(depth, _LONG))):
        image = face(design, (across, high), stock).convert("RGBA")
        if design.shape == "gable":
            roof = int(high * 0.16)
            cover = Image.new("L", image.size, 0)
            ImageDraw.Draw(cover).polygon(
                [
                    (across * 0.06, roof * 0.3),
                    (across * 0.06, 0),
                    (across * 0.94, 0),
                    (across * 0.94, roof * 0.3),
                    (across, roof),
                    (across, high),
                    (0, high),
                    (0, roof),
                ],
                fill=255,
            )
            ImageDraw.Draw(image).line((0, roof, across, roof), fill=(120, 120, 120, 255))
            image.putalpha(cover)
        if design.shape == "tube":
            cover, cap = Image.new("L", image.size, 0), int(high * 0.14)
            ImageDraw.Draw(cover).polygon(
                [
                    (0, 0),
                    (across, 0),
                    (across * 0.86, high - cap),
                    (across * 0.78, high),
                    (across * 0.22, high),
                    (across * 0.14, high - cap),
                ],
                fill=255,
            )
            ImageDraw.Draw(image).rectangle((0, high - cap, across, high), fill=design.palette[1])
            image.putalpha(cover)
        found.append(image)
    return found


def _multipack(design: Design, stock: Stock) -> list[Image.Image]:
    """Several of one kind under film."""
    rng = design.rng("multipack")
    wide, high = _fitted(design.aspect)
    columns, rows = rng.choice(((2, 1), (3, 1), (2, 2), (3, 2), (1, 2), (4, 1), (1, 3)))
    piece = label.front(design, (max(10, wide // columns - 2), max(10, high // rows - 2)), stock)
    pack = Image.new("RGB", (wide, high), mix(design.palette[0], (30, 30, 30), 0.7))
    for column in range(columns):
        for row in range(rows):
            pack.paste(piece, (column * wide // columns + 1, row * high // rows + 1))
    shine = Image.new("L", (wide, high), 0)
    draw = ImageDraw.Draw(shine)
    for _ in range(rng.randint(2, 6)):
        x, y = rng.uniform(0, wide), rng.uniform(0, high)
        draw.line(
            (x, y, x + rng.uniform(-0.4, 0.4) * wide, y + rng.uniform(-0.4, 0.4) * high),
            fill=rng.randint(60, 170),
            width=rng.randint(2, 8),
        )
    pack.paste((255, 255, 255), (0, 0), shine.filter(ImageFilter.BoxBlur(2)))
    panel = label.side(design, (max(16, wide // columns), high), stock)
    return [pack.convert("RGBA"), panel.convert("RGBA")]


def printed(design: Design, stock: Stock) -> Printed:
    """Front and other side of a design."""
    kind = BOX
    if design.shape in ROUND:
        images, kind = _round(design, stock)
    elif design.shape == "pouch":
        images, kind = _bag(design, stock), SOFT
    elif design.shape == "multipack":
        images = _multipack(design, stock)
    else:
        images = _carton(design, stock)
    sizes = [(image.width / CANVAS, image.height / CANVAS) for image in images]
    return Printed(_canvas(images[0]), _canvas(images[1]), sizes[0], sizes[1], kind, design.family, design.variant)
