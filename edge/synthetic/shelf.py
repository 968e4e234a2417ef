"""A rendered shelf: rows of facings on boards with price rails, and empty places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .products import Product, render_plain

_WALL, _BOARD, _TAG = (246, 246, 244), (150, 154, 160), (255, 252, 230)
_SHARE_OF_BOARD = 0.1
"""Of a row's height."""
_APART = 24
"""Levels by which a product differs from the plain ground it is cut out of."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """`picture`: RGB; `facings`: box (x0, y0, x1, y1 in pixels) and SKU of each, row by row; `gaps`: boxes of empty places."""

    picture: Image.Image
    facings: tuple[tuple[tuple[int, int, int, int], str], ...]
    gaps: tuple[tuple[int, int, int, int], ...]


def render_shelf(
    products: Sequence[Product], rows: int, columns: int, size: tuple[int, int], seed: int = 0, empty: float = 0.0
) -> Shelf:
    """`rows` boards of about `columns` facings, one to three of a product side by side, in a picture of `size` (width, height).

    `empty`: of the groups of facings, how many are missing, 0 to 1. Light from one side, sensor noise.
    """
    random = np.random.default_rng([seed, 0x5E1F])
    wide, high = size
    picture = Image.new("RGB", size, _WALL)
    pitch = high / rows
    facings: list[tuple[tuple[int, int, int, int], str]] = []
    gaps: list[tuple[int, int, int, int]] = []
    fronts: dict[str, Image.Image] = {}
    for row in range(rows):
        floor = round((row + 1) * pitch - _SHARE_OF_BOARD * pitch)
        pen = ImageDraw.Draw(picture)
        pen.rectangle((0, floor, wide, floor + round(_SHARE_OF_BOARD * pitch)), fill=_BOARD)
        x = round(wide * 0.003)
        while x < wide * 0.985:
            product = products[int(random.integers(len(products)))]
            front = fronts.setdefault(product.sku, _cut_out(render_plain(product, 300)))
            tall = int(pitch * random.uniform(0.66, 0.8))
            broad = max(10, min(int(front.width * tall / front.height), int(1.15 * wide / columns)))
            tall = min(tall, int(front.height * broad / front.width * 1.05))
            is_missing = random.random() < empty
            begin = x
            for _ in range(int(random.integers(1, 4))):
                if x + broad > wide * 0.998:
                    break
                if not is_missing:
                    picture.paste(front.resize((broad, tall), Image.Resampling.BILINEAR), (x, floor - tall))
                    facings.append(((x, floor - tall, x + broad, floor), product.sku))
                x += broad + max(2, round(wide / 4000 * int(random.integers(3, 9))))
            if x == begin:
                break
            if is_missing:
                gaps.append((begin, floor - tall, x, floor))
            mark = round(0.02 * pitch)
            pen.rectangle((begin + mark, floor + mark, begin + 9 * mark, floor + 4 * mark), fill=_TAG)
    return Shelf(_lit(picture, random), tuple(facings), tuple(gaps))


def _lit(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture, np.float32)
    light = np.linspace(0.82, 1.06, picture.width, dtype=np.float32)[None, :, None]
    noise = random.normal(0, 3, (picture.height, picture.width, 1)).astype(np.float32)
    return Image.fromarray((pixels * light + noise).clip(0, 255).astype(np.uint8))


def _cut_out(plain: Image.Image) -> Image.Image:
    """The product of a plain picture, with what of its light ground is between it and its box: the shelf's wall is as light."""
    pixels = np.asarray(plain, np.int16)
    apart = np.abs(pixels - pixels[2, 2]).max(axis=2) > _APART
    ys, xs = np.flatnonzero(apart.any(axis=1)), np.flatnonzero(apart.any(axis=0))
    return plain.crop((int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1))
