"""The family's ground: colour fields behind everything else on a label.

The numbers are what the encoders were trained on: another order of random draws, or another digit, makes other products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from .design import RGB, Design, mix
from .pen import Pen


@dataclass(frozen=True, slots=True)
class Rolls:
    """Chance for one label: two numbers from 0 to 1 that every pattern may use, and where more come from."""

    a: float
    b: float
    rng: np.random.Generator


def draw_pattern(pen: Pen, design: Design, rng: np.random.Generator) -> None:
    """Draw the design's pattern; a name that isn't in the table ("plain") leaves the ground as it is."""
    rolls = Rolls(float(rng.random()), float(rng.random()), rng)
    draw = _PATTERNS.get(design.pattern)
    if draw is not None:
        draw(pen, design, rolls)


def _soft(design: Design) -> RGB:
    """A colour that stands out a little from the ground."""
    return mix(design.base, design.second, 0.3)


def _fade(pen: Pen, design: Design, rolls: Rolls) -> None:
    """One colour fades into the other."""
    ramp = Image.linear_gradient("L").resize((pen.width, pen.height))
    pen.image.paste(design.second, (0, 0), ramp.point([int(v * (0.4 + 0.5 * rolls.a)) for v in range(256)]))


def _stripes(pen: Pen, design: Design, rolls: Rolls) -> None:
    """Slanting stripes."""
    step, lean = 0.08 + 0.12 * rolls.a, 0.1 + 0.5 * rolls.b
    for i in range(-8, int(1.6 / step) + 1):
        x = i * step * 1.4
        pen.polygon([(x, 0), (x + step * 0.7, 0), (x + step * 0.7 + lean, 1), (x + lean, 1)], _soft(design))


def _bars(pen: Pen, design: Design, rolls: Rolls) -> None:
    """Thin bars across."""
    for i in range(3 + int(rolls.a * 4)):
        y = 0.7 + i * 0.06 if rolls.b < 0.5 else i * 0.05
        pen.box((0, y, 1, y + 0.03), (design.second, design.accent)[i % 2])


def _band(pen: Pen, design: Design, rolls: Rolls) -> None:
    """One broad band with an edge."""
    y = 0.25 + 0.4 * rolls.a
    pen.box((0, y - 0.02, 1, y + 0.24), design.accent)
    pen.box((0, y, 1, y + 0.22), design.second)


def _wave(pen: Pen, design: Design, rolls: Rolls) -> None:
    """Waves, or hills, one before the other."""
    grid = np.linspace(0, 1, 40)
    for i, colour in enumerate(
        (design.second, mix(design.second, design.paper, 0.3), design.accent)[: 2 + int(rolls.a * 2)]
    ):
        level = 0.45 + 0.16 * i + 0.1 * rolls.b
        line = level + (0.05 if design.pattern == "wave" else 0.09) * np.sin(grid * (5 + 3 * rolls.a) + 2.1 * i)
        pen.polygon([(float(x), float(y)) for x, y in zip(grid, line, strict=True)] + [(1, 1), (0, 1)], colour)


def _rays(pen: Pen, design: Design, rolls: Rolls) -> None:
    """Rays from the middle."""
    x, y, count = 0.5, 0.3 + 0.5 * rolls.a, 10 + int(rolls.b * 10)
    for i in range(count):
        one, two = 2 * np.pi * i / count, 2 * np.pi * (i + 0.5) / count
        pen.polygon(
            [
                (x, y),
                (x + 2 * float(np.cos(one)), y + 2 * float(np.sin(one))),
                (x + 2 * float(np.cos(two)), y + 2 * float(np.sin(two))),
            ],
            _soft(design),
        )


def _dots(pen: Pen, design: Design, rolls: Rolls) -> None:
    """Dots, or three-cornered confetti."""
    for i in range(30 + int(rolls.a * 40)):
        x, y, r = (
            float(rolls.rng.random()),
            float(rolls.rng.random()),
            0.015 + 0.05 * float(rolls.rng.random()) * (0.5 + rolls.b),
        )
        if design.pattern == "dots":
            pen.disc(x, y, r, _soft(design))
        else:
            pen.polygon(
                [(x, y), (x + r, y + r * 0.4), (x + r * 0.6, y + r * 1.2)],
                (design.second, design.accent, _soft(design))[i % 3],
            )


def _disc(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A large disc with a rim."""
    pen.disc(0.5, 0.35 + 0.35 * rolls.a, 0.46 + 0.12 * rolls.b, design.accent)
    pen.disc(0.5, 0.35 + 0.35 * rolls.a, 0.43 + 0.12 * rolls.b, design.second)


def _slash(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A slanting field below."""
    pen.polygon([(0, 0.3 + 0.4 * rolls.a), (1, 0.1 + 0.5 * rolls.b), (1, 1), (0, 1)], design.accent)
    pen.polygon([(0, 0.34 + 0.4 * rolls.a), (1, 0.14 + 0.5 * rolls.b), (1, 1), (0, 1)], design.second)


def _chevrons(pen: Pen, design: Design, rolls: Rolls) -> None:
    """Chevrons one below the other."""
    for i in range(8):
        y = -0.2 + i * 0.17
        pen.polygon(
            [
                (0, y),
                (0.5, y + 0.14 * (0.5 + rolls.a)),
                (1, y),
                (1, y + 0.08),
                (0.5, y + 0.08 + 0.14 * (0.5 + rolls.a)),
                (0, y + 0.08),
            ],
            _soft(design),
        )


def _check(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A tablecloth."""
    count = 4 + int(rolls.a * 6)
    for i in range(count):
        pen.box((i / count, 0, (i + 0.5) / count, 1), mix(design.base, design.second, 0.25))
    for i in range(count):
        for j in range(count):
            pen.box((i / count, j / count, (i + 0.5) / count, (j + 0.5) / count), mix(design.base, design.second, 0.55))


def _frame(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A frame with a light line."""
    pen.box((0.03, 0.03, 0.97, 0.97), design.second, 0.04)
    pen.box((0.055, 0.05, 0.945, 0.95), design.paper, 0.03)
    pen.box((0.07, 0.062, 0.93, 0.938), design.base, 0.03)


def _arch(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A gateway."""
    pen.disc(0.5, 0.42, 0.45, design.second)
    pen.box(
        (0.5 - 0.45 * min(1.0, pen.height / pen.width), 0.42, 0.5 + 0.45 * min(1.0, pen.height / pen.width), 1.0),
        design.second,
    )


def _scatter(pen: Pen, design: Design, rolls: Rolls) -> None:
    """The pictogram, again and again."""
    for _ in range(14 + int(rolls.a * 12)):
        x, y, r = float(rolls.rng.random()), float(rolls.rng.random()), 0.1 + 0.07 * rolls.b
        pen.icon(design.icon, (x - r, y - r, x + r, y + r), mix(design.base, design.second, 0.5))


def _side(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A field along one side."""
    left = 0.0 if rolls.b < 0.5 else 0.74
    pen.box((left, 0, left + 0.26, 1), design.second)
    pen.box((left + (0.26 if rolls.b < 0.5 else -0.03), 0, left + (0.29 if rolls.b < 0.5 else 0.0), 1), design.accent)


def _window(pen: Pen, design: Design, rolls: Rolls) -> None:
    """A window that shows what is inside."""
    pen.box((0.1, 0.5 + 0.05 * rolls.a, 0.9, 0.9), design.second, 0.2 + 0.3 * rolls.b)
    inner = (0.12, 0.512 + 0.05 * rolls.a, 0.88, 0.888)
    pen.box(inner, mix(design.paper, (150, 110, 70), 0.5), 0.2 + 0.3 * rolls.b)
    for _ in range(150):
        x, y = (
            0.16 + 0.68 * float(rolls.rng.random()),
            inner[1] + 0.04 + (0.29 - 0.05 * rolls.a) * float(rolls.rng.random()),
        )
        tone = mix(design.paper, (170, 105, 45), 0.3 + 0.6 * float(rolls.rng.random()))
        pen.ellipse((x - 0.03, y - 0.012, x + 0.03, y + 0.022), tone)


_PATTERNS: Final[dict[str, Callable[[Pen, Design, Rolls], None]]] = {
    "fade": _fade,
    "stripes": _stripes,
    "bars": _bars,
    "band": _band,
    "wave": _wave,
    "hills": _wave,
    "rays": _rays,
    "dots": _dots,
    "confetti": _dots,
    "disc": _disc,
    "slash": _slash,
    "chevrons": _chevrons,
    "check": _check,
    "frame": _frame,
    "arch": _arch,
    "scatter": _scatter,
    "side": _side,
    "window": _window,
}
