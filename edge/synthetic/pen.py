"""The pen that labels are drawn with: boxes, discs, words, pictograms, all in fractions of a canvas."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .design import RGB, Box, Type, mix
from .icons import ICONS, INKS


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class Pen:
    """Draws in fractions of a canvas; the canvas is twice the wanted size and is halved at the end (anti-aliasing)."""

    def __init__(self, width: int, height: int, colour: RGB) -> None:
        self.width, self.height = width * 2, height * 2
        self.image = Image.new("RGB", (self.width, self.height), colour)
        self.draw = ImageDraw.Draw(self.image)

    def finish(self) -> Image.Image:
        return self.image.reduce(2)

    def at(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self.width, y * self.height) for x, y in points]

    def polygon(self, points: list[tuple[float, float]], colour: RGB) -> None:
        self.draw.polygon(self.at(points), fill=colour)

    def box(self, box: Box, colour: RGB, round_to: float = 0.0) -> None:
        x0, y0, x1, y1 = box[0] * self.width, box[1] * self.height, box[2] * self.width, box[3] * self.height
        self.draw.rounded_rectangle(
            (x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)), radius=round_to * max(1.0, y1 - y0), fill=colour
        )

    def disc(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """A circle; the radius is a fraction of the shorter side."""
        r = radius * min(self.width, self.height)
        self.draw.ellipse(
            (x * self.width - r, y * self.height - r, x * self.width + r, y * self.height + r), fill=colour
        )

    def ellipse(self, box: Box, colour: RGB) -> None:
        self.draw.ellipse(
            (box[0] * self.width, box[1] * self.height, box[2] * self.width, box[3] * self.height), fill=colour
        )

    def stamp(self, box: Box, mask: Image.Image, colour: RGB, align: float = 0.5) -> None:
        """Paste a colour through a mask fitted into the box without distortion."""
        room_w, room_h = (box[2] - box[0]) * self.width, (box[3] - box[1]) * self.height
        scale = min(room_w / mask.width, room_h / mask.height)
        fitted = mask.resize(
            (max(1, int(mask.width * scale)), max(1, int(mask.height * scale))),
            Image.Resampling.BILINEAR,
            reducing_gap=2.0,
        )
        x = box[0] * self.width + (room_w - fitted.width) * align
        y = box[1] * self.height + (room_h - fitted.height) / 2
        self.image.paste(colour, (int(x), int(y)), fitted)

    def text(
        self,
        box: Box,
        words: str,
        colour: RGB,
        kind: Type,
        align: float = 0.5,
        turn: bool = False,
        halo: RGB | None = None,
    ) -> None:
        """Words fitted into a box, in one line or two; `halo` outlines them."""
        room_w, room_h = (box[2] - box[0]) * self.width, (box[3] - box[1]) * self.height
        if turn:
            room_w, room_h = room_h, room_w
        lines = _split(words, room_w / max(1.0, room_h), kind[1])
        size = int(np.clip(room_h / len(lines), 10, 120))
        for extra, ink in ((0.055, halo), (0.0, colour)):
            if ink is None:
                continue
            mask = text_mask(lines, size, kind, extra, 0.055 if halo is not None else 0.0)
            self.stamp(box, mask.transpose(Image.Transpose.ROTATE_90) if turn else mask, ink, align)

    def icon(self, name: str, box: Box, flavour: RGB) -> None:
        """One pictogram, drawn as large as fits the box."""
        room_w, room_h = (box[2] - box[0]) * self.width, (box[3] - box[1]) * self.height
        unit = min(room_w, room_h) / 100
        left, top = box[0] * self.width + (room_w - 100 * unit) / 2, box[1] * self.height + (room_h - 100 * unit) / 2
        inks = {**INKS, "f": flavour, "d": mix(flavour, (20, 10, 10), 0.3), "t": mix(flavour, (255, 255, 255), 0.35)}
        for part in ICONS[name].split(";"):
            op, *numbers, ink = part.split()
            values = [float(n) * unit for n in numbers]
            if op == "e":
                self.draw.ellipse(
                    (left + values[0], top + values[1], left + values[2], top + values[3]), fill=inks[ink]
                )
                continue
            flat = values[1:] if op == "l" else values
            points = [(left + x, top + y) for x, y in zip(flat[::2], flat[1::2], strict=True)]
            if op == "p":
                self.draw.polygon(points, fill=inks[ink])
            else:
                self.draw.line(points, fill=inks[ink], width=max(1, int(values[0])), joint="curve")


def _split(words: str, ratio: float, stretch: float) -> list[str]:
    """One or two lines, whichever fills a box of this width-to-height ratio better."""
    parts = words.split()
    if len(parts) < 2:
        return [words]
    cut = min(range(1, len(parts)), key=lambda i: max(len(" ".join(parts[:i])), len(" ".join(parts[i:]))))
    pair = [" ".join(parts[:cut]), " ".join(parts[cut:])]
    one = min(1.0, ratio / (0.58 * stretch * len(words)))
    two = min(0.46, ratio / (0.58 * stretch * max(map(len, pair))))
    return pair if two > one else [words]


def text_mask(lines: list[str], size: int, kind: Type, extra: float, pad: float) -> Image.Image:
    """Coverage (L) of centred lines in the default face: weight and `extra` thicken it, then stretch, slant, arch."""
    weight, stretch, slant, arch = kind
    font, stroke, margin = _font(size), int((weight + extra) * size), int(pad * size + weight * size) + 1
    boxes = [font.getbbox(line) for line in lines]
    top, bottom = int(min(b[1] for b in boxes)), int(max(b[3] for b in boxes))
    step = int(size * 1.02)
    width = int(max(b[2] for b in boxes)) + 2 * margin
    height = step * (len(lines) - 1) + (bottom - top) + 2 * margin
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for row, (line, bounds) in enumerate(zip(lines, boxes, strict=True)):
        draw.text(((width - bounds[2]) / 2, margin - top + row * step), line, fill=255, font=font, stroke_width=stroke)
    lean = abs(slant) * height
    wide = max(1, int(width * stretch + lean))
    shear = (1 / stretch, slant / stretch, -lean / stretch, 0, 1, 0)
    mask = mask.transform((wide, height), Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR)
    if arch:
        rise = abs(arch) * height
        tall = int(height + rise)
        mesh = []
        for i in range(12):
            x0, x1 = wide * i // 12, wide * (i + 1) // 12
            d0, d1 = (rise * ((2 * x / wide - 1) ** 2 if arch > 0 else 1 - (2 * x / wide - 1) ** 2) for x in (x0, x1))
            mesh.append(((x0, 0, x1, tall), (x0, -d0, x0, tall - d0, x1, tall - d1, x1, -d1)))
        mask = mask.transform((wide, tall), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
    return mask
