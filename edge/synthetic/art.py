"""Flat art of the rendered products: front labels, and back panels with real EAN-13 bars.

Coordinates are fractions of a label's width and height.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from .design import LANDSCAPE, PORTRAIT, RGB, Box, Design, luminance, mix, readable
from .patterns import draw_pattern
from .pen import Pen


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
    draw_pattern(pen, design, rng)
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
