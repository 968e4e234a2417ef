"""Families of invented products: one brand, one layout, variants that differ in a word, a band of colour, a picture, or the size.

A family follows from its seed, a variant from family and number. What is drawn of it is in `art` and `package`.
"""

from __future__ import annotations

import colorsys
import random
from dataclasses import dataclass, field
from typing import Any, Final

from shelfmatch.models.printer import words
from shelfmatch.models.printer.stock import Stock

RGB = tuple[int, int, int]

SCRIPTS: Final = ("latin",) * 13 + ("zh", "zh", "ja", "ko", "ar", "ru", "ru", "hi", "th", "el")
"""The main script of a family: half of all packages in the world's shops, roughly, are set in Latin letters."""
SHAPES: Final = (
    ("carton", 30), ("bottle", 14), ("can", 9), ("pouch", 14), ("jar", 7), ("tub", 6), ("tube", 4),
    ("gable", 5), ("multipack", 5), ("bar", 6),
)  # fmt: skip
COMMON_HUES: Final = (0.0, 0.0, 0.99, 0.04, 0.09, 0.13, 0.15, 0.3, 0.36, 0.55, 0.6, 0.62, 0.64, 0.78)
MOST_VARIANTS: Final = 6
DIFFERS: Final = (
    ("word",),
    ("band",),
    ("word", "band"),
    ("word", "picture"),
    ("word", "band", "picture"),
    ("size",),
    ("seal",),
)
"""In what the variants of one family differ."""


def colour(rng: random.Random, light: tuple[float, float], strong: tuple[float, float]) -> RGB:
    """A colour of a hue that packages have, reds, yellows, greens and blues before others; `light` and `strong` bound its value and
    saturation."""
    hue = rng.random() if rng.random() < 0.3 else rng.gauss(rng.choice(COMMON_HUES), 0.025) % 1
    r, g, b = colorsys.hsv_to_rgb(hue, rng.uniform(*strong), rng.uniform(*light))
    return int(r * 255), int(g * 255), int(b * 255)


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`share` of `b`, the rest of `a`."""
    return tuple(int(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def readable(ground: RGB, rng: random.Random) -> RGB:
    """A colour that stands out from the ground."""
    bright = 0.3 * ground[0] + 0.59 * ground[1] + 0.11 * ground[2]
    end = (255, 255, 255) if bright < 140 else (0, 0, 0)
    hue = colour(rng, (0.75, 1.0), (0.5, 1.0)) if bright < 140 else colour(rng, (0.05, 0.5), (0.6, 1.0))
    return mix(hue, end, rng.choice((0.0, 0.4, 0.9, 1.0)))


@dataclass(frozen=True)
class Design:
    """One variant. All of the family is the same in its siblings but what its `differs` names."""

    family: int
    variant: int
    shape: str
    aspect: float  # width by height of the front
    script: str
    brand: str
    name: str
    flavour: str
    size: str
    palette: tuple[RGB, ...]
    band: RGB
    picture: int
    seal: str
    brand_face: str
    text_face: str
    small_face: str
    differs: tuple[str, ...] = field(default=("word",))

    def rng(self, part: str) -> random.Random:
        """Draws for a part of the family's look, the same in all variants."""
        return random.Random(f"{self.family}/{part}")


def _palette(rng: random.Random) -> tuple[RGB, ...]:
    kind = rng.random()
    if kind < 0.3:
        ground = mix((255, 255, 255), colour(rng, (0.7, 1), (0.2, 0.6)), rng.uniform(0, 0.2))
    elif kind < 0.45:
        ground = colour(rng, (0.05, 0.4), (0.2, 0.9))
    else:
        ground = colour(rng, (0.5, 1.0), (0.35, 1.0))
    others = [colour(rng, (0.4, 1.0), (0.5, 1.0)) for _ in range(2)]
    return (ground, *others, readable(ground, rng))


def _aspect(shape: str, rng: random.Random) -> float:
    tall = {
        "bottle": (0.24, 0.45),
        "can": (0.4, 0.75),
        "tube": (0.28, 0.45),
        "gable": (0.38, 0.6),
        "jar": (0.6, 1.0),
        "bar": (2.0, 4.5),
    }
    if shape in tall:
        return rng.uniform(*tall[shape])
    if shape in ("carton", "multipack"):
        return rng.choice((rng.uniform(0.5, 0.9), rng.uniform(0.9, 1.4), rng.uniform(1.4, 3.0), rng.uniform(0.3, 0.5)))
    return rng.uniform(0.6, 1.5) if shape == "tub" else rng.uniform(0.55, 1.1)


def family(seed: int, stock: Stock, most: int = MOST_VARIANTS) -> list[Design]:
    """The variants of a family, two to `most` of them."""
    rng = random.Random(seed)
    shape = rng.choices([name for name, _ in SHAPES], [share for _, share in SHAPES])[0]
    script = rng.choice(SCRIPTS)
    brand = stock.word(rng, script if rng.random() < 0.7 else "latin")
    brand_script = script if not brand.isascii() else "latin"
    if brand_script == "latin":
        brand = rng.choice(
            (brand.title(), brand.upper(), brand.lower(), f"{brand.title()} {stock.word(rng)[:6].title()}")
        )
    palette, differs = _palette(rng), rng.choice(DIFFERS)
    fixed: dict[str, Any] = {
        "family": seed, "shape": shape, "aspect": _aspect(shape, rng), "script": script, "brand": brand, "palette": palette,
        "brand_face": stock.face(rng, brand_script), "text_face": stock.face(rng, script), "small_face": stock.face(rng),
        "differs": differs, "name": " ".join(stock.word(rng, script) for _ in range(rng.choice((1, 1, 2)))),
    }  # fmt: skip
    flavours = [stock.word(rng, script) if script != "latin" else rng.choice(words.FLAVOURS) for _ in range(most)]
    bands = [colour(rng, (0.35, 1.0), (0.45, 1.0)) for _ in range(most)]
    count = max(1, len(stock.pictures) + len(stock.icons))
    pictures = [rng.randrange(count) for _ in range(most)]
    seals = rng.sample(words.CLAIMS, most)
    unit = rng.choice(words.UNITS)
    sizes = [
        f"{number} {unit}"
        for number in rng.sample((40, 75, 100, 125, 150, 200, 250, 300, 330, 400, 450, 500, 750, 850), most)
    ]
    found = []
    for variant in range(rng.randint(2, most)):
        pick = {part: variant if part in differs else 0 for part in ("word", "band", "picture", "size", "seal")}
        found.append(
            Design(
                variant=variant, flavour=flavours[pick["word"]], band=bands[pick["band"]], picture=pictures[pick["picture"]],
                size=sizes[pick["size"]], seal=seals[pick["seal"]], **fixed,
            )
        )  # fmt: skip
    return found
