"""Flat art of the rendered products: pictograms, type, front labels and back panels with real EAN-13 bars.

Coordinates are fractions of a label's width and height; pictograms stand on a 100×100 field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .design import LANDSCAPE, PORTRAIT, RGB, Box, Design, Type, luminance, mix, readable
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


def _pattern(pen: Pen, design: Design, rng: np.random.Generator) -> None:
    """The family's ground: colour fields behind everything else."""
    base, second, accent = design.base, design.second, design.accent
    soft = mix(base, second, 0.3)
    a, b = float(rng.random()), float(rng.random())
    name = design.pattern
    if name == "fade":
        ramp = Image.linear_gradient("L").resize((pen.width, pen.height))
        pen.image.paste(second, (0, 0), ramp.point([int(v * (0.4 + 0.5 * a)) for v in range(256)]))
    elif name == "stripes":
        step, lean = 0.08 + 0.12 * a, 0.1 + 0.5 * b
        for i in range(-8, int(1.6 / step) + 1):
            x = i * step * 1.4
            pen.polygon([(x, 0), (x + step * 0.7, 0), (x + step * 0.7 + lean, 1), (x + lean, 1)], soft)
    elif name == "bars":
        for i in range(3 + int(a * 4)):
            y = 0.7 + i * 0.06 if b < 0.5 else i * 0.05
            pen.box((0, y, 1, y + 0.03), (second, accent)[i % 2])
    elif name == "band":
        y = 0.25 + 0.4 * a
        pen.box((0, y - 0.02, 1, y + 0.24), accent)
        pen.box((0, y, 1, y + 0.22), second)
    elif name in ("wave", "hills"):
        grid = np.linspace(0, 1, 40)
        for i, colour in enumerate((second, mix(second, design.paper, 0.3), accent)[: 2 + int(a * 2)]):
            level = 0.45 + 0.16 * i + 0.1 * b
            line = level + (0.05 if name == "wave" else 0.09) * np.sin(grid * (5 + 3 * a) + 2.1 * i)
            pen.polygon([(float(x), float(y)) for x, y in zip(grid, line, strict=True)] + [(1, 1), (0, 1)], colour)
    elif name == "rays":
        x, y, count = 0.5, 0.3 + 0.5 * a, 10 + int(b * 10)
        for i in range(count):
            one, two = 2 * np.pi * i / count, 2 * np.pi * (i + 0.5) / count
            pen.polygon(
                [
                    (x, y),
                    (x + 2 * float(np.cos(one)), y + 2 * float(np.sin(one))),
                    (x + 2 * float(np.cos(two)), y + 2 * float(np.sin(two))),
                ],
                soft,
            )
    elif name in ("dots", "confetti"):
        for i in range(30 + int(a * 40)):
            x, y, r = float(rng.random()), float(rng.random()), 0.015 + 0.05 * float(rng.random()) * (0.5 + b)
            if name == "dots":
                pen.disc(x, y, r, soft)
            else:
                pen.polygon([(x, y), (x + r, y + r * 0.4), (x + r * 0.6, y + r * 1.2)], (second, accent, soft)[i % 3])
    elif name == "disc":
        pen.disc(0.5, 0.35 + 0.35 * a, 0.46 + 0.12 * b, accent)
        pen.disc(0.5, 0.35 + 0.35 * a, 0.43 + 0.12 * b, second)
    elif name == "slash":
        pen.polygon([(0, 0.3 + 0.4 * a), (1, 0.1 + 0.5 * b), (1, 1), (0, 1)], accent)
        pen.polygon([(0, 0.34 + 0.4 * a), (1, 0.14 + 0.5 * b), (1, 1), (0, 1)], second)
    elif name == "chevrons":
        for i in range(8):
            y = -0.2 + i * 0.17
            pen.polygon(
                [
                    (0, y),
                    (0.5, y + 0.14 * (0.5 + a)),
                    (1, y),
                    (1, y + 0.08),
                    (0.5, y + 0.08 + 0.14 * (0.5 + a)),
                    (0, y + 0.08),
                ],
                soft,
            )
    elif name == "check":
        count = 4 + int(a * 6)
        for i in range(count):
            pen.box((i / count, 0, (i + 0.5) / count, 1), mix(base, second, 0.25))
        for i in range(count):
            for j in range(count):
                pen.box((i / count, j / count, (i + 0.5) / count, (j + 0.5) / count), mix(base, second, 0.55))
    elif name == "frame":
        pen.box((0.03, 0.03, 0.97, 0.97), second, 0.04)
        pen.box((0.055, 0.05, 0.945, 0.95), design.paper, 0.03)
        pen.box((0.07, 0.062, 0.93, 0.938), base, 0.03)
    elif name == "arch":
        pen.disc(0.5, 0.42, 0.45, second)
        pen.box(
            (0.5 - 0.45 * min(1.0, pen.height / pen.width), 0.42, 0.5 + 0.45 * min(1.0, pen.height / pen.width), 1.0),
            second,
        )
    elif name == "scatter":
        for _ in range(14 + int(a * 12)):
            x, y, r = float(rng.random()), float(rng.random()), 0.1 + 0.07 * b
            pen.icon(design.icon, (x - r, y - r, x + r, y + r), mix(base, second, 0.5))
    elif name == "side":
        left = 0.0 if b < 0.5 else 0.74
        pen.box((left, 0, left + 0.26, 1), second)
        pen.box((left + (0.26 if b < 0.5 else -0.03), 0, left + (0.29 if b < 0.5 else 0.0), 1), accent)
    elif name == "window":
        pen.box((0.1, 0.5 + 0.05 * a, 0.9, 0.9), second, 0.2 + 0.3 * b)
        inner = (0.12, 0.512 + 0.05 * a, 0.88, 0.888)
        pen.box(inner, mix(design.paper, (150, 110, 70), 0.5), 0.2 + 0.3 * b)
        for _ in range(150):
            x, y = 0.16 + 0.68 * float(rng.random()), inner[1] + 0.04 + (0.29 - 0.05 * a) * float(rng.random())
            tone = mix(design.paper, (170, 105, 45), 0.3 + 0.6 * float(rng.random()))
            pen.ellipse((x - 0.03, y - 0.012, x + 0.03, y + 0.022), tone)


def _brand(pen: Pen, design: Design, box: Box, turn: bool) -> None:
    """The brand in the family's badge: bare, pill, ellipse, ribbon, block, underlined, double ring or framed."""
    x0, y0, x1, y1 = box
    fill = design.accent if luminance(design.accent) < 0.8 or design.badge % 2 else design.second
    grown = (x0 - 0.03, y0 - 0.015, x1 + 0.03, y1 + 0.015)
    inner = (x0 + 0.06 * (x1 - x0), y0 + 0.14 * (y1 - y0), x1 - 0.06 * (x1 - x0), y1 - 0.14 * (y1 - y0))
    ink, halo = readable(fill), None
    if design.badge == 1:
        pen.box(grown, fill, 0.5)
    elif design.badge == 2:
        pen.ellipse((x0 - 0.04, y0 - 0.03, x1 + 0.04, y1 + 0.03), design.paper)
        pen.ellipse((x0 - 0.02, y0 - 0.015, x1 + 0.02, y1 + 0.015), fill)
    elif design.badge == 3 and not turn:
        middle = (y0 + y1) / 2
        pen.polygon([(-0.01, y0), (1.01, y0), (0.96, middle), (1.01, y1), (-0.01, y1), (0.04, middle)], fill)
    elif design.badge == 4:
        pen.box(grown, fill)
    elif design.badge == 6:
        pen.box(grown, design.paper, 0.25)
        pen.box((x0 - 0.015, y0 - 0.006, x1 + 0.015, y1 + 0.006), fill, 0.25)
    else:
        ink, inner = design.ink, box
        halo = design.second if design.badge == 7 else None
        if abs(luminance(ink) - luminance(design.second)) < 0.35 and design.pattern not in ("plain", "rays", "dots"):
            halo = readable(ink)
        if design.badge == 5 and not turn:
            pen.box((x0 + 0.1, y1 - 0.012, x1 - 0.1, y1 + 0.004), design.accent)
            inner = (x0, y0, x1, y1 - 0.025)
    pen.text(
        inner,
        design.brand.upper() if design.style_seed % 3 == 0 else design.brand,
        ink,
        design.brand_type,
        turn=turn,
        halo=halo,
    )


def _picture(pen: Pen, design: Design, box: Box, rng: np.random.Generator) -> None:
    """The flavour's pictogram: one, a trio, a row, a heap, or one on a plate."""
    x0, y0, x1, y1 = box
    flavour, wide, tall = design.tint, x1 - x0, y1 - y0
    if design.tint == design.base and design.picture != 4:
        pen.ellipse((x0 + 0.04 * wide, y0 + 0.1 * tall, x1 - 0.04 * wide, y1), design.paper)
    if design.picture == 0:
        pen.icon(design.icon, box, flavour)
    elif design.picture == 1:
        for dx, dy, size in ((0.0, 0.32, 0.58), (0.44, 0.38, 0.56), (0.2, 0.0, 0.66)):
            pen.icon(
                design.icon, (x0 + dx * wide, y0 + dy * tall, x0 + (dx + size) * wide, y0 + (dy + size) * tall), flavour
            )
    elif design.picture == 2:
        for i in range(3):
            pen.icon(design.icon, (x0 + wide * i / 3, y0 + 0.2 * tall, x0 + wide * (i + 0.95) / 3, y1), flavour)
    elif design.picture == 3:
        for _ in range(9):
            dx, dy = 0.7 * float(rng.random()), 0.7 * float(rng.random()) ** 0.6
            pen.icon(
                design.icon, (x0 + dx * wide, y0 + dy * tall, x0 + (dx + 0.36) * wide, y0 + (dy + 0.36) * tall), flavour
            )
    else:
        radius = 0.5 * min(wide * pen.width, tall * pen.height) / min(pen.width, pen.height)
        pen.disc((x0 + x1) / 2, (y0 + y1) / 2, radius, design.paper)
        pen.icon(design.icon, (x0 + 0.16 * wide, y0 + 0.16 * tall, x1 - 0.16 * wide, y1 - 0.16 * tall), flavour)


def front_art(design: Design, height: int, aspect: float) -> Image.Image:
    """The front label, RGB, `height` pixels tall (16 or more) and `aspect` times as wide."""
    width = max(12, round(height * aspect))
    pen = Pen(width, height, design.base)
    rng = np.random.default_rng([design.style_seed, 1])
    _pattern(pen, design, rng)
    brand, name, flavour, picture, claim = (LANDSCAPE if aspect > 1.2 else PORTRAIT)[design.layout]
    if design.pattern != "window" or picture[1] < 0.3:
        _picture(pen, design, picture, rng)
    over = design.pattern in (
        "disc",
        "arch",
        "scatter",
        "check",
        "band",
        "slash",
        "wave",
        "hills",
        "side",
        "rays",
        "confetti",
    )
    panel = over and design.style_seed % 2 == 0
    if panel:
        top, bottom = min(name[1], flavour[1]) - 0.025, max(name[3], flavour[3]) + 0.025
        pen.box((name[0] - 0.03, top, name[2] + 0.03, bottom), design.paper, 0.12)
    ink = readable(design.paper) if panel else design.ink
    halo = readable(ink) if over and not panel else None
    _brand(pen, design, brand, turn=brand[3] - brand[1] > 0.6)
    pen.text(name, design.line.upper() if design.style_seed % 5 < 2 else design.line, ink, design.name_type, halo=halo)
    pill = design.second if design.second != design.base else design.accent
    pen.box(
        (flavour[0], flavour[1] - 0.008, flavour[2], flavour[3] + 0.008), pill, (0.5, 0.0, 0.2)[design.style_seed % 3]
    )
    shrunk = (flavour[0] + 0.04, flavour[1] + 0.004, flavour[2] - 0.04, flavour[3] - 0.004)
    pen.text(shrunk, design.flavour, readable(pill), (0.02, 1.0, 0.0, 0.0))
    if design.claim:
        x, y, radius = claim
        spikes = 9 + design.style_seed % 9
        angles = np.pi * np.arange(2 * spikes) / spikes
        reach = radius * np.where(np.arange(2 * spikes) % 2, 1.0, 0.84)
        across, down = x + reach * np.cos(angles), y + reach * aspect * np.sin(angles)
        shape = [(float(px), float(py)) for px, py in zip(across, down, strict=True)]
        badge = ((214, 32, 40), (248, 208, 40), (32, 128, 70), (30, 70, 150))[design.style_seed % 4]
        pen.polygon(shape, badge)
        inner = (x - 0.66 * radius, y - 0.5 * radius * aspect, x + 0.66 * radius, y + 0.5 * radius * aspect)
        pen.text(inner, design.claim, readable(badge), (0.04, 0.95, 0.0, 0.0))
    left = 0.0 if design.style_seed % 2 else 1.0
    pen.text(
        (0.07, 0.925, 0.93, 0.965), design.weight, readable(_ground(pen, left)), (0.01, 1.05, 0.0, 0.0), align=left
    )
    return pen.finish()


def _ground(pen: Pen, side: float) -> RGB:
    """The colour under the net weight."""
    x = int((0.12 if side == 0.0 else 0.86) * pen.width)
    red, green, blue = pen.image.resize(
        (1, 1), box=(x, int(0.93 * pen.height), x + 4, int(0.96 * pen.height))
    ).getpixel((0, 0))  # type: ignore[misc]
    return int(red), int(green), int(blue)


_CODE_A: Final = [
    "0001101",
    "0011001",
    "0010011",
    "0111101",
    "0100011",
    "0110001",
    "0101111",
    "0111011",
    "0110111",
    "0001011",
]
_PARITY: Final = ["AAAAAA", "AABABB", "AABBAB", "AABBBA", "ABAABB", "ABBAAB", "ABBBAA", "ABABAB", "ABABBA", "ABBABA"]


def ean13_bars(gtin: str) -> str:
    """The 95 modules (1 dark, 0 light) of an EAN-13 symbol; GS1 General Specifications, section 5.2.1."""
    flipped = [code.translate(str.maketrans("01", "10")) for code in _CODE_A]
    left = [
        _CODE_A[int(digit)] if parity == "A" else flipped[int(digit)][::-1]
        for digit, parity in zip(gtin[1:7], _PARITY[int(gtin[0])], strict=True)
    ]
    right = [flipped[int(digit)] for digit in gtin[7:]]
    return "101" + "".join(left) + "01010" + "".join(right) + "101"


def back_art(design: Design, gtin: str, height: int, aspect: float) -> Image.Image:
    """The side or back panel, RGB, `height` pixels tall: brand, small print, nutrition table, barcode."""
    pen = Pen(max(8, round(height * aspect)), height, design.base)
    rng = np.random.default_rng([design.style_seed, 2])
    ink = design.ink
    if design.style_seed % 3 == 0:
        pen.box((0, 0, 1, 0.2), design.second)
        ink = readable(design.second)
    pen.text((0.1, 0.04, 0.9, 0.16), design.brand, ink, design.brand_type)
    for i in range(7):
        y = 0.23 + 0.028 * i
        pen.box((0.1, y, 0.55 + 0.35 * float(rng.random()), y + 0.011), mix(design.base, design.ink, 0.7))
    pen.box((0.1, 0.45, 0.9, 0.7), (250, 250, 246))
    for i in range(8):
        y = 0.465 + 0.028 * i
        pen.box((0.14, y, 0.35 + 0.2 * float(rng.random()), y + 0.012), (60, 60, 64))
        pen.box((0.72, y, 0.86, y + 0.012), (60, 60, 64))
    pen.box((0.16, 0.75, 0.84, 0.95), (255, 255, 255))
    bars, left, step = ean13_bars(gtin), 0.2, 0.6 / 95
    for i, bar in enumerate(bars):
        if bar == "1":
            pen.box((left + i * step, 0.765, left + (i + 1) * step, 0.905), (20, 20, 20))
    pen.text((0.2, 0.91, 0.8, 0.942), gtin, (20, 20, 20), (0.0, 1.0, 0.0, 0.0))
    return pen.finish()
