"""Synthetic views of catalogue pictures: what else a camera might have seen.

They stand in for photos that a shop doesn't have. Two kinds: a photo as another hand would hold the camera, and a packshot (a
product cut out on a plain background, as catalogues print it) set down somewhere. Colours hardly change: they tell many
products apart, and views in strange light cost more recall than they brought (benchmarks/adaptation.py).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from .image import Pixels

PHOTO_VIEWS, MOST_VIEWS = 3, 12
"""Views a photo where a product has many photos, and where it has one."""
_TOTAL_VIEWS = 10_000
"""Embedding them takes as long as cataloguing so many photos more; larger shops have photos enough."""
_FEWEST_VIEWS, _PART_VIEWS = 4, 2_000
"""Where products have one photo each and can't have so many views each: so many for a part of them, and so many in all. A fit holds
views out in four groups; and what it learns from them, how pictures of one product differ, is much the same for all: of 3,600
rendered products, 300 asked for hard views and 300 others, recall@1 is 84.0, 82.7 and 83.0 % with 3,000, 2,400 and 1,800 views,
AUROC .897, .898 and .897 (benchmarks/part_views.py)."""
_BORDER, _PLAIN_SHARE, _NEAR = 0.02, 0.7, 20
_FOREGROUND = (0.03, 0.95)


def views_per_photo(photos: int, products: int) -> int:
    """How many views each photo gets: about MOST_VIEWS a product, at least PHOTO_VIEWS a photo, within what a build can bear."""
    wanted = min(MOST_VIEWS, max(PHOTO_VIEWS, math.ceil(MOST_VIEWS * products / max(1, photos))))
    return min(wanted, _TOTAL_VIEWS // max(1, photos))


def view_plan(photos: int, products: int) -> tuple[int, int]:
    """How many views a photo gets, and that each so-manieth photo does: (4, 3) is four views of every third one."""
    count = views_per_photo(photos, products)
    if photos >= 2 * products or count >= _FEWEST_VIEWS:
        return count, 1
    return _FEWEST_VIEWS, math.ceil(photos * _FEWEST_VIEWS / _PART_VIEWS)


def views_of(pixels: Pixels, mask: NDArray[np.bool_] | None, count: int) -> Iterator[Pixels]:
    """`count` views of an (H, W, 3) uint8 picture, always the same ones for the same pixels. `mask`: from `packshot_mask`.

    Each picture has its own: the same few for all would be learnt instead of what views have in common.
    """
    first = zlib.crc32(pixels.tobytes())
    cutout = _cutout(pixels, mask) if mask is not None and count else None
    for seed in range(first, first + count):
        yield photo_view(pixels, seed) if cutout is None else _set_down(cutout, pixels.shape[:2], seed)


def photo_view(pixels: Pixels, seed: int) -> Pixels:
    """A picture as a hand-held camera might see it: turned, closer, off centre, in other light, a little blurred.

    (H, W, 3) uint8 in and out.
    """
    random = np.random.default_rng(seed)
    image = Image.fromarray(pixels)
    corner = tuple(int(value) for value in pixels[0, 0])
    image = image.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=corner)
    scale = random.uniform(0.65, 1.15)
    wide, high = image.size
    left = (wide - wide * scale) / 2 + random.uniform(-0.08, 0.08) * wide
    top = (high - high * scale) / 2 + random.uniform(-0.08, 0.08) * high
    image = image.transform(
        image.size,
        Image.Transform.EXTENT,
        (left, top, left + wide * scale, top + high * scale),
        Image.Resampling.BILINEAR,
        fillcolor=corner,
    )
    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.6, 1.3))
    image = ImageEnhance.Color(image).enhance(random.uniform(0.6, 1.3))
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.008) * wide))
    return np.asarray(image)


def packshot_mask(pixels: Pixels) -> NDArray[np.bool_] | None:
    """(H, W) where the product is, if the picture is a packshot: its border of one colour, the product within. None otherwise."""
    edge = max(1, round(_BORDER * min(pixels.shape[:2])))
    border = np.concatenate(
        [part.reshape(-1, 3) for part in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])]
    )
    color = np.median(border, axis=0).astype(np.float32)
    if (np.abs(border - color).max(axis=1) < _NEAR).mean() < _PLAIN_SHARE:
        return None
    is_off = (
        np.abs(np.arange(256, dtype=np.float32) - color[:, np.newaxis]) > _NEAR
    )  # (3, 256): of each channel's levels
    differs = is_off[0][pixels[:, :, 0]] | is_off[1][pixels[:, :, 1]] | is_off[2][pixels[:, :, 2]]
    closed = ~_grown(~_grown(differs))
    # What can't be reached from outside is the product, even where it has the background's colour.
    mask = ~_reached_from_outside(~closed)
    return mask if _FOREGROUND[0] < mask.mean() < _FOREGROUND[1] else None


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W): what is within two places, along rows and columns, of a place that is set."""
    high, wide = mask.shape
    padded = np.zeros((high + 4, wide + 4), bool)
    padded[2:-2, 2:-2] = mask
    rows = padded[:high]
    for start in range(1, 5):
        rows = rows | padded[start : start + high]
    found: NDArray[np.bool_] = rows[:, :wide]
    for start in range(1, 5):
        found = found | rows[:, start : start + wide]
    return found


def _reached_from_outside(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W): the free places that a walk from the border over free places, side by side, comes to. Whole rows and columns of free
    places at a time: fifty times as fast as Pillow's floodfill."""
    high, wide = free.shape
    rows = np.cumsum(~free, axis=1, dtype=np.int32) + np.arange(high, dtype=np.int32)[:, np.newaxis] * (wide + 1)
    columns = np.cumsum(~free, axis=0, dtype=np.int32) + np.arange(wide, dtype=np.int32) * (high + 1)
    reached = free.copy()
    reached[1:-1, 1:-1] = False
    count = -1
    while (found := int(reached.sum())) != count:
        count = found
        for runs in (rows, columns):  # free places without another one between them have one number
            hit = np.zeros(max(high, wide) * (max(high, wide) + 1) + 1, bool)
            hit[runs[reached]] = True
            reached = hit[runs] & free
    return reached


def packshot_view(pixels: Pixels, mask: NDArray[np.bool_], seed: int) -> Pixels:
    """A packshot set down on some background, alone or in a heap of its own kind, and seen as by `photo_view`."""
    return _set_down(_cutout(pixels, mask), pixels.shape[:2], seed)


def _cutout(pixels: Pixels, mask: NDArray[np.bool_]) -> tuple[Image.Image, Image.Image]:
    """The product's part of a packshot, and how opaque it is there."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    opaque = Image.fromarray(mask[box].astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1))
    return Image.fromarray(pixels[box]), opaque


def _set_down(product_and_opacity: tuple[Image.Image, Image.Image], shape: tuple[int, ...], seed: int) -> Pixels:
    random = np.random.default_rng([seed, 1])
    high, wide = shape
    product = product_and_opacity[0]
    scene = _background(random, wide, high)
    count = 1 if random.random() < 0.6 else int(random.integers(2, 6))
    for _ in range(count):
        scale = random.uniform(0.55, 1.15) * min(wide / product.width, high / product.height)
        scale *= 1.0 if count == 1 else random.uniform(0.5, 0.8)
        size = max(8, round(product.width * scale)), max(8, round(product.height * scale))
        angle, reach = random.uniform(-25, 25), 0.15 if count == 1 else 0.4
        turned, alpha = (
            layer.resize(size, Image.Resampling.BILINEAR).rotate(angle, Image.Resampling.BILINEAR, expand=True)
            for layer in product_and_opacity
        )
        left = round((wide - turned.width) / 2 + random.uniform(-reach, reach) * wide)
        top = round((high - turned.height) / 2 + random.uniform(-reach, reach) * high)
        scene.paste(turned, (left, top), alpha)
    return photo_view(np.asarray(scene), seed)


def _background(random: np.random.Generator, wide: int, high: int) -> Image.Image:
    """Soft or hard patches of muted colours. Muted before they are enlarged: the same to a grey level, for a tenth of the work."""
    cells = int(random.integers(2, 9))
    patches = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    method = Image.Resampling.BICUBIC if random.random() < 0.7 else Image.Resampling.NEAREST
    values = np.asarray(patches, np.float32)
    grey = values.mean(axis=2, keepdims=True)
    muted: Pixels = (grey + (values - grey) * random.uniform(0, 0.8)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(muted).resize((wide, high), method)
