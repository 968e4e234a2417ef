"""Rendered pictures of nothing: bare shelves, wire racks, walls, counters, hands, dark holes, a lens out of focus."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .products import render_background

Pixels = NDArray[np.uint8]

PICTURES, SIDE = 192, 200
_FIRST_SEED = 2_000_000
"""Backgrounds of training and benchmarks have seeds below."""


@functools.cache
def nothing_pictures(count: int = PICTURES) -> tuple[Pixels, ...]:
    """`count` pictures, each (H, W, 3) uint8 RGB; always the same ones."""
    return tuple(_picture(number) for number in range(count))


def _picture(number: int) -> Pixels:
    random = np.random.default_rng([number, 0x0B1A])
    kind = number % 8
    if kind < 4:
        picture = render_background(_FIRST_SEED + number, (SIDE, 3 * SIDE // 4))
        if kind == 1:
            picture = picture.filter(ImageFilter.GaussianBlur(float(random.uniform(2, 16))))
        if kind == 2:
            picture = _part(picture, random)
    elif kind < 7:
        picture = _rack(random) if kind < 6 else _board(random)
    else:
        picture = _ramp(random)
    return _seen(picture, random)


def _part(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    share, tall = float(random.uniform(0.25, 0.6)), float(random.uniform(0.6, 1.5))
    wide, high = int(share * picture.width), min(picture.height, int(share * tall * picture.height))
    left, top = int(random.integers(picture.width - wide + 1)), int(random.integers(picture.height - high + 1))
    return picture.crop((left, top, left + wide, top + high))


def _ramp(random: np.random.Generator) -> Image.Image:
    """Light that falls off over a wall, or into a dark hole."""
    size = (int(random.integers(60, SIDE)), int(random.integers(60, SIDE)))
    upper, lower, left, right = random.uniform(-1, 1, 4).tolist()
    down = np.linspace(upper, lower, size[1])[:, None] + np.linspace(left, right, size[0])
    level, swing = float(random.choice([6, 25, 90, 170, 240])), float(random.uniform(5, 60))
    tint = random.normal(0, 12, 3)
    pixels = level + swing * down[:, :, None] + tint
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _rack(random: np.random.Generator) -> Image.Image:
    """Wires before a wall, from aside now and then."""
    ground = _ramp(random)
    draw, (wide, high) = ImageDraw.Draw(ground), ground.size
    grey = float(random.uniform(60, 245))
    colour = tuple(int(np.clip(grey + tint, 0, 255)) for tint in random.normal(0, 12, 3))
    steps, thick = random.uniform(4, 40, 2), int(random.integers(1, 4))
    tilt = random.normal(0, 0.15, 2)
    for place in np.arange(float(random.uniform(0, steps[0])) - wide, 2 * wide, steps[0]):
        draw.line((place, 0, place + tilt[0] * high, high), fill=colour, width=thick)
    if random.random() < 0.7:
        for place in np.arange(float(random.uniform(0, steps[1])) - high, 2 * high, steps[1]):
            draw.line((0, place, wide, place + tilt[1] * wide), fill=colour, width=thick)
    if random.random() < 0.4:  # the edge of a shelf
        edge = int(random.integers(high))
        draw.rectangle((0, edge, wide, edge + high // 10), fill=tuple(int(one) for one in random.integers(90, 250, 3)))
    return ground


def _board(random: np.random.Generator) -> Image.Image:
    """A wall with rows of holes."""
    ground = _ramp(random)
    draw, (wide, high) = ImageDraw.Draw(ground), ground.size
    step, radius = float(random.uniform(7, 26)), float(random.uniform(0.8, 2.5))
    dark = tuple(int(one) for one in random.integers(0, 70, 3))
    for y in np.arange(step / 2, high, step):
        for x in np.arange(step / 2, wide, step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=dark)
    return ground


def _seen(picture: Image.Image, random: np.random.Generator) -> Pixels:
    """By a camera: a little blur and noise."""
    soft = picture.convert("RGB").filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.2))))
    pixels = np.asarray(soft, np.float32)
    noisy = pixels + random.normal(0, float(random.uniform(0.5, 6)), (*pixels.shape[:2], 1))
    result: Pixels = noisy.clip(0, 255).astype(np.uint8)
    return result
