"""The picture of a scene: each product in a box of its own colour, with its name, and empty places."""

from __future__ import annotations

import colorsys
import zlib
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw

from ..imaging import typefaces
from ..imaging.decode import decode
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, upright
from .explanation_card import PAPER, Colour

if TYPE_CHECKING:
    from ..detection.detection import Box
    from .scene import Scene

_LONGEST: Final = 2400
"""Pixels of the picture's longer side: names are read on it, and it can be sent."""
_UNKNOWN, _GAP, _DARK = (152, 162, 179), (217, 45, 32), (16, 24, 40)
_DASH = 14


def draw_scene(scene: Scene, image: ImageSource, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """The photo with the scene's boxes and names on it, RGB, its longer side at most 2,400 pixels; `limits`: those that it was
    looked at with. Raises ImageError."""
    picture = upright(decode(image, limits=limits)).convert("RGB")
    ratio = min(1.0, _LONGEST / max(picture.size))
    if ratio < 1:
        picture = picture.resize(
            (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))), Image.Resampling.LANCZOS
        )
    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 700))
    for one in scene.products:
        box = _scaled(one.box, ratio)
        colour = _UNKNOWN if one.sku is None else colour_of(one.sku)
        pen.rectangle(box, outline=PAPER, width=line + 2)
        pen.rectangle(box, outline=colour, width=line)
    for gap in scene.gaps:
        _dashed(pen, _scaled(gap.box, ratio), line)
    for one in scene.products:  # names above all boxes
        if one.sku is not None:
            name = one.candidates[0].name or one.sku
            _label(pen, _scaled(one.box, ratio), name, colour_of(one.sku), max(picture.size))
    return picture


def colour_of(sku: str) -> Colour:
    """The same colour for a product on every picture, dark enough for white letters."""
    hue = (zlib.crc32(sku.encode()) * 0.61803398875) % 1.0  # the golden ratio spreads them
    red, green, blue = colorsys.hls_to_rgb(hue, 0.36, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def _scaled(box: Box, ratio: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(edge * ratio) for edge in box)
    return x0, y0, max(x0 + 1, x1 - 1), max(y0 + 1, y1 - 1)


def _label(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], name: str, colour: Colour, longest: int) -> None:
    """A name at the foot of its box, as large as fits, on the box's colour."""
    room = box[2] - box[0] - 4
    least = max(9, round(longest / 115))
    size = max(least, min(round(longest / 85), round((box[3] - box[1]) / 6)))
    while size > least and typefaces.length(name, size) > room:
        size -= 1
    text = name
    while len(text) > 1 and typefaces.length(text, size) > room:
        text = f"{text[:-2].rstrip()}…" if len(text) > 2 else text[:1]
    top = box[3] - round(size * 1.35)
    pen.rectangle((box[0], top, box[2], box[3]), fill=colour)
    typefaces.write(pen, ((box[0] + box[2]) / 2, (top + box[3]) / 2), text, size, PAPER, "mm")


def _dashed(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], line: int) -> None:
    """An empty place: a red dashed box."""
    x0, y0, x1, y1 = box
    for colour, width in ((_DARK, line + 2), (_GAP, line)):
        for x in range(x0, x1, 2 * _DASH):
            for y in (y0, y1):
                pen.line((x, y, min(x + _DASH, x1), y), colour, width)
        for y in range(y0, y1, 2 * _DASH):
            for x in (x0, x1):
                pen.line((x, y, x, min(y + _DASH, y1)), colour, width)
