"""Flat print: grounds, wordmarks, bands of colour, pictures, seals, small print, tables, bar codes, on labels of some
200 pixels."""

from __future__ import annotations

import math
import random
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from shelfmatch.models.printer import words
from shelfmatch.models.printer.design import RGB, Design, colour, mix, readable
from shelfmatch.models.printer.stock import ASCENT_SIZES, Stock, typeface

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""
_PROBE: Final = 32


def set_type(
    image: Image.Image, box: Box, text: str, face: str, fill: RGB, rng: random.Random, upright: bool = False
) -> Box | None:
    """Print one line as large as fits into the box, in its middle or to one side; where it went."""
    wide, high = box[2] - box[0], box[3] - box[1]
    if wide < 3 or high < 3 or not text:
        return None
    if upright:
        layer = Image.new("L", (max(1, int(high)), max(1, int(wide))))
        placed = set_type_on(layer, (0, 0, high, wide), text, face, rng)
        image.paste(fill, (int(box[0]), int(box[1])), layer.transpose(Image.Transpose.ROTATE_90))
        return placed
    probe = typeface(face, _PROBE).getbbox(text)
    size = int(min(wide / max(1, probe[2] - probe[0]), high / max(1, probe[3] - probe[1])) * _PROBE)
    if size < 4:
        return None
    font = typeface(face, min(size, ASCENT_SIZES))
    x0, y0, x1, y1 = font.getbbox(text)
    slack = wide - (x1 - x0)
    x = box[0] + slack * rng.choice((0.0, 0.5, 0.5, 0.5, 1.0)) - x0
    y = box[1] + (high - (y1 - y0)) / 2 - y0
    draw = ImageDraw.Draw(image)
    style = rng.random() if size > 13 else 0.0
    if style > 0.88:
        draw.text((x + size / 14, y + size / 14), text, mix(fill, (0, 0, 0), 0.7), font)
    if style > 0.76:
        draw.text((x, y), text, fill, font, stroke_width=max(1, size // 16), stroke_fill=readable(fill, rng))
    else:
        draw.text((x, y), text, fill, font)
    return x + x0, y + y0, x + x1, y + y1


def set_type_on(layer: Image.Image, box: Box, text: str, face: str, rng: random.Random) -> Box | None:
    """White type on a black layer (L)."""
    probe = typeface(face, _PROBE).getbbox(text)
    size = int(
        min((box[2] - box[0]) / max(1, probe[2] - probe[0]), (box[3] - box[1]) / max(1, probe[3] - probe[1])) * _PROBE
    )
    if size < 4:
        return None
    font = typeface(face, min(size, ASCENT_SIZES))
    x0, y0, x1, y1 = font.getbbox(text)
    ImageDraw.Draw(layer).text(
        (box[0] + (box[2] - box[0] - x1 + x0) / 2 - x0, (box[3] - box[1] - y1 + y0) / 2 - y0), text, 255, font
    )
    return x0, y0, x1, y1


def ground(design: Design, size: tuple[int, int], stock: Stock) -> Image.Image:
    """The label without print: plain, graded, split, striped, dotted, curved, or before a photograph."""
    rng, (base, second, third, _) = design.rng("ground"), design.palette
    wide, high = size
    kind = rng.random()
    if kind < 0.22:
        return Image.new("RGB", size, base)
    if kind < 0.42:
        ramp = Image.linear_gradient("L").resize(size)
        ramp = ramp if rng.random() < 0.6 else ramp.transpose(Image.Transpose.ROTATE_180)
        return Image.composite(
            Image.new("RGB", size, mix(base, second, rng.uniform(0.3, 1))), Image.new("RGB", size, base), ramp
        )
    image = Image.new("RGB", size, base)
    draw = ImageDraw.Draw(image)
    if kind < 0.52 and stock.photos:
        photo = rng.choice(stock.photos).resize(size).filter(ImageFilter.BoxBlur(rng.choice((0, 0, 2))))
        return Image.blend(photo, image, rng.uniform(0.1, 0.7))
    if kind < 0.64:
        cut = rng.uniform(0.2, 0.8) * high
        tilt = rng.choice((0.0, 0.0, rng.uniform(-0.4, 0.4))) * wide
        draw.polygon([(0, cut - tilt), (wide, cut + tilt), (wide, high), (0, high)], fill=second)
    elif kind < 0.74:
        y, bulge = rng.uniform(0.3, 0.9) * high, rng.uniform(0.15, 0.6) * high
        draw.ellipse(
            (-wide * rng.uniform(0.1, 0.8), y, wide * rng.uniform(1.1, 1.8), y + 2 * bulge + high), fill=second
        )
        draw.ellipse((-wide * 0.6, -bulge, wide * rng.uniform(0.5, 1.4), bulge * rng.uniform(0.5, 1)), fill=third)
    elif kind < 0.87:
        step, slant = rng.uniform(0.04, 0.2) * max(size), rng.choice((0.0, 0.0, 1.0, -0.6)) * high
        x = -abs(slant)
        while x < wide + abs(slant):
            draw.polygon(
                [(x, 0), (x + step * 0.5, 0), (x + step * 0.5 + slant, high), (x + slant, high)],
                fill=mix(base, second, 0.5),
            )
            x += step
    else:
        step = rng.uniform(0.07, 0.22) * max(size)
        for row in range(int(high / step) + 2):
            for column in range(int(wide / step) + 2):
                x, y, r = (column + row % 2 / 2) * step, row * step, step * 0.25
                draw.ellipse((x - r, y - r, x + r, y + r), fill=mix(base, third, 0.45))
    return image


def picture(image: Image.Image, box: Box, number: int, stock: Stock, rng: random.Random) -> None:
    """A pictogram, a small picture or several of them, or a photograph in a round or square window."""
    x0, y0, x1, y1 = (int(value) for value in box)
    side = min(x1 - x0, y1 - y0)
    if side < 10:
        return
    if stock.photos and number % 5 == 0:
        photo = stock.photos[number // 5 % len(stock.photos)].resize((x1 - x0, y1 - y0))
        mask = Image.new("L", photo.size, 0)
        draw = ImageDraw.Draw(mask)
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((0, 0, photo.width - 1, photo.height - 1), fill=255)
        image.paste(photo, (x0, y0), mask)
        return
    if number < len(stock.pictures):
        spread = random.Random(number)
        for _ in range(spread.choice((1, 1, 2, 3, 5))):
            scale = int(side * spread.uniform(0.5, 1.05))
            piece = (
                stock.pictures[number].resize((scale, scale)).rotate(spread.uniform(-40, 40), Image.Resampling.BILINEAR)
            )
            image.paste(
                piece,
                (
                    x0 + int(spread.random() * max(1, x1 - x0 - scale)),
                    y0 + int(spread.random() * max(1, y1 - y0 - scale)),
                ),
                piece,
            )
    elif stock.icons:
        path, char = stock.icons[number % len(stock.icons)]
        fill = colour(random.Random(number), (0.2, 1), (0.4, 1))
        if rng.random() < 0.4:
            ImageDraw.Draw(image).ellipse((x0, y0, x0 + side, y0 + side), fill=mix(fill, (255, 255, 255), 0.85))
        set_type(image, (x0 + side * 0.1, y0 + side * 0.1, x0 + side * 0.9, y0 + side * 0.9), char, path, fill, rng)


def seal(
    image: Image.Image, centre: tuple[float, float], radius: float, text: str, face: str, rng: random.Random
) -> None:
    """A round or jagged badge with a claim."""
    fill, draw, (x, y) = colour(rng, (0.5, 1), (0.6, 1)), ImageDraw.Draw(image), centre
    if rng.random() < 0.4:
        corners = rng.randint(8, 18)
        draw.polygon(
            [
                (
                    x + radius * (1 - 0.2 * (i % 2)) * math.cos(math.pi * i / corners),
                    y + radius * (1 - 0.2 * (i % 2)) * math.sin(math.pi * i / corners),
                )
                for i in range(2 * corners)
            ],
            fill=fill,
        )
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=readable(fill, rng), width=1)
    ink, lines = readable(fill, rng), text.split()
    for number, line in enumerate(lines):
        top = y - radius * 0.6 + 1.2 * radius * number / len(lines)
        set_type(
            image, (x - radius * 0.75, top, x + radius * 0.75, top + 1.1 * radius / len(lines)), line, face, ink, rng
        )


def small_print(image: Image.Image, box: Box, design: Design, stock: Stock, rng: random.Random, pitch: float) -> None:
    """Lines of tiny words."""
    ink = readable(design.palette[0], rng)
    y = box[1]
    font = typeface(design.small_face, max(4, int(pitch * 0.8)))
    draw = ImageDraw.Draw(image)
    latin = design.script in ("latin", "ar", "hi", "th", "el") or rng.random() < 0.3
    if not latin:
        font = typeface(design.text_face, max(5, int(pitch * 0.85)))
    count = max(1, int((box[2] - box[0]) / (pitch * (2.6 if latin else 2.0))))
    while y + pitch <= box[3]:
        draw.text(
            (box[0], y),
            (" " if latin else "").join(stock.word(rng, "latin" if latin else design.script) for _ in range(count)),
            ink,
            font,
        )
        y += pitch


def table(image: Image.Image, box: Box, design: Design, rng: random.Random) -> None:
    """A nutrition table: names to the left, numbers to the right, black on white."""
    draw, (x0, y0, x1, y1) = ImageDraw.Draw(image), box
    draw.rectangle(box, fill=(252, 252, 250), outline=(0, 0, 0))
    rows = max(3, int((y1 - y0) / rng.uniform(6, 9)))
    pitch = (y1 - y0) / rows
    font = typeface(design.small_face, max(4, int(pitch * 0.8)))
    for row in range(rows):
        y = y0 + row * pitch
        draw.text((x0 + 2, y), rng.choice(words.TABLE)[: int((x1 - x0) / 6)], (0, 0, 0), font)
        draw.text((x1 - pitch * 2.6, y), f"{rng.uniform(0, 60):.1f}", (0, 0, 0), font)
        draw.line((x0, y, x1, y), fill=(0, 0, 0))


def bar_code(image: Image.Image, box: Box, rng: random.Random) -> None:
    """Bars of random widths on white, digits below."""
    x0, y0, x1, y1 = (int(value) for value in box)
    if x1 - x0 < 16 or y1 - y0 < 10:
        return
    bars = np.repeat(np.array([rng.random() < 0.5 for _ in range(95)], np.uint8) * 255, 2)
    strip = Image.fromarray(np.broadcast_to(bars, (2, 190)).copy()).resize(
        (x1 - x0 - 4, y1 - y0 - 6), Image.Resampling.BILINEAR
    )
    ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), fill=(255, 255, 255))
    image.paste(strip.convert("RGB"), (x0 + 2, y0 + 2))
