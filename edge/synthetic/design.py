"""Designs of the rendered products: names, prices, palettes, layouts, type.

Everything follows from a product seed. `seed // VARIANTS` is the family (brand, product line, package, layout, type),
`seed % VARIANTS` the variant inside it (flavour and its colours), so two seeds of one family are siblings on a shelf.
Brands and products are invented.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

RGB = tuple[int, int, int]
Box = tuple[float, float, float, float]
Type = tuple[float, float, float, float]  # weight, stretch, slant, arch
FRONT_ARC: Final = 5 / 12  # 150 degrees
VARIANTS: Final = 8  # siblings a family can have; every flavour pool below is at least this long

_POOLS: Final = {
    "fruit": "Strawberry:strawberry:d6223f Orange:orange:f28a1a Lemon:lemon:f3cf25 Apple:apple:8fbf2f "
    "Blueberry:berries:3d4f9f Cherry:cherry:9e1230 Peach:peach:f6a06a Banana:banana:f5d547 Grape:grapes:6b3a8c "
    "Coconut:coconut:6fb7b7 Tropical:sun:ff7a3d Raspberry:berries:d81e6a",
    "savoury": "Tomato:tomato:cf2d1f Basil:leaf:3c8c3a Chili:chili:b3161c Onion:onion:a86b9c Mushroom:mushroom:9b7653 "
    "Cheese:cheese:f2b632 Carrot:carrot:ee7a1c Sweetcorn:corn:f4c430 Olive:olive:76803a Sea_Salt:drop:3b8fc4 "
    "Paprika:chili:d9541e Garden_Herbs:leaf:5f9e5b",
    "sweet": "Chocolate:chocolate:5b3220 Vanilla:flower:ecd9a0 Hazelnut:nut:a9713b Caramel:drop:c98532 "
    "Honey:honey:e6a21c Coffee:bean:4b2e22 Almond:nut:d8b48a Coconut:coconut:58a9a0 Cherry:cherry:a3153a "
    "Mint:leaf:4fae8c Orange:orange:ee7d19",
    "mood": "Original:star:b3202a Intense:bean:2b2020 Mild:sun:e7b54a Classic:crown:1f3d7a Green:leaf:4b8f3c "
    "Gold:crown:c79a2d Bio:wheat:7f9c3b Light:drop:2f7fb5 Family:heart:d9436f Breakfast:sun:f08b2c",
    "clean": "Ocean:drop:1f8ec9 Lavender:flower:8d74c0 Lemon:lemon:e9cf2e Aloe:leaf:4fae6a Rose:flower:e0628f "
    "Pine:leaf:1e6b4a Peach:peach:f4a27a Apple:apple:86bf3d Sensitive:heart:9fc6d9 Sport:star:e2472d",
    "grain": "Wholegrain:wheat:a9722d Honey:honey:e3a321 Chocolate:chocolate:5a3422 Apple:apple:86b436 Nut:nut:b98246 "
    "Berry:berries:84325f Cinnamon:star:b5551f Banana:banana:f0cc45 Classic:wheat:c98f3b Coconut:coconut:5aa7a7",
}

# product line | category | package kinds | flavour pool | sizes | price range
_LINES: Final = """
Creamy Soup|soups|can carton pouch|savoury|400 g,500 g|1.6-3.9
Chopped Tomatoes|canned|can jar|savoury|400 g,390 g|0.9-2.4
Chickpeas|canned|can jar|mood|400 g,240 g|0.8-2.2
Tuna Fillets|canned|can|savoury|160 g,185 g|1.9-4.5
Cat Dinner|pets|can pouch bag|savoury|85 g,400 g|0.6-3.1
Cola|drinks|can bottle|mood|330 ml,500 ml|0.9-2.2
Soda|drinks|can bottle|fruit|330 ml,500 ml|0.9-2.4
Energy Drink|drinks|can|fruit|250 ml,500 ml|1.2-2.9
Iced Tea|drinks|can bottle carton|fruit|500 ml,1 l|1.1-2.8
Juice|drinks|carton bottle|fruit|1 l,330 ml|1.5-3.9
Oat Drink|dairy|carton|sweet|1 l,250 ml|1.7-3.2
Milk|dairy|carton bottle|mood|1 l,500 ml|0.9-1.9
Yoghurt|dairy|tub|fruit|150 g,500 g|0.5-2.9
Ice Cream|frozen|tub|sweet|500 ml,465 ml|3.5-7.9
Margarine|dairy|tub|mood|250 g,500 g|1.5-3.5
Potato Chips|snacks|bag|savoury|150 g,200 g|1.4-3.6
Tortilla Rolls|snacks|bag|savoury|125 g,185 g|1.3-3.2
Roasted Nuts|snacks|bag pouch tub|sweet|150 g,200 g|2.1-5.4
Gummies|sweets|bag pouch|fruit|175 g,200 g|1.0-2.6
Biscuits|sweets|carton bag|sweet|200 g,300 g|1.2-3.4
Tea Bags|hot drinks|carton|fruit|20 bags,40 g|1.6-4.4
Coffee|hot drinks|bag jar pouch|mood|250 g,500 g|3.9-9.5
Cocoa|hot drinks|can carton pouch|sweet|250 g,400 g|2.4-5.2
Cereal|breakfast|carton bag|grain|375 g,500 g|2.2-4.9
Granola|breakfast|pouch bag carton|grain|350 g,450 g|2.6-5.9
Porridge|breakfast|carton tub pouch|grain|55 g,400 g|1.1-3.9
Jam|spreads|jar|fruit|340 g,250 g|1.8-4.2
Nut Spread|spreads|jar tub|sweet|350 g,250 g|2.5-5.9
Pasta Sauce|sauces|jar pouch|savoury|350 g,400 g|1.7-4.3
Ketchup|sauces|bottle|savoury|450 ml,500 ml|1.8-3.6
Dressing|sauces|bottle|savoury|250 ml,350 ml|1.9-3.9
Pasta|pantry|bag carton|mood|500 g,1 kg|0.9-3.2
Rice|pantry|bag carton|mood|1 kg,500 g|1.5-4.8
Flour|pantry|bag|mood|1 kg,2 kg|0.9-2.6
Baby Puree|baby|pouch jar|fruit|90 g,190 g|0.9-2.1
Dish Soap|household|bottle|clean|500 ml,750 ml|1.2-3.6
Laundry Liquid|household|bottle pouch|clean|1 l,1.5 l|3.9-9.9
Washing Powder|household|carton bag|clean|1.2 kg,2 kg|4.5-11.9
Shampoo|care|bottle|clean|250 ml,400 ml|2.2-6.9
Hand Cream|care|tub jar|clean|75 ml,150 ml|1.9-4.9
Tissues|care|carton|clean|100 pcs,80 pcs|1.2-2.9
Dog Snacks|pets|bag pouch|savoury|170 g,300 g|1.9-4.9
"""

Slots = tuple[Box, Box, Box, Box, tuple[float, float, float]]


def _slots(table: str) -> tuple[Slots, ...]:
    """Layouts from rows of percents: boxes of brand, name, flavour and picture, then the claim's x, y and radius."""
    layouts = []
    for row in table.strip().splitlines():
        brand, name, flavour, picture, claim = ([int(v) / 100 for v in cell.split()] for cell in row.split("|"))
        boxes = [(box[0], box[1], box[2], box[3]) for box in (brand, name, flavour, picture)]
        layouts.append((boxes[0], boxes[1], boxes[2], boxes[3], (claim[0], claim[1], claim[2])))
    return tuple(layouts)


PORTRAIT: Final = _slots(
    """
    8 5 92 20 | 8 23 92 36 | 14 38 86 45 | 12 48 88 90 | 80 53 12
    6 43 94 59 | 8 62 92 75 | 15 77 85 84 | 14 5 86 41 | 84 12 11
    10 5 90 18 | 20 32 80 48 | 24 50 76 57 | 28 58 72 84 | 16 88 10
    3 5 24 95 | 30 7 95 25 | 30 27 95 35 | 32 40 96 88 | 84 42 11
    12 30 88 44 | 13 46 87 57 | 20 59 80 65 | 5 70 95 95 | 82 16 12
    6 74 94 90 | 8 5 92 18 | 14 20 86 27 | 10 30 90 71 | 18 36 11
    5 8 70 20 | 5 22 80 40 | 5 42 62 49 | 30 46 105 98 | 84 11 11
    10 7 90 24 | 10 76 90 87 | 18 66 82 73 | 16 27 84 64 | 85 70 10
    """
)
LANDSCAPE: Final = _slots(
    """
    4 7 56 34 | 4 40 56 64 | 6 68 50 82 | 58 12 97 90 | 92 20 13
    42 8 96 36 | 42 42 96 64 | 46 68 92 81 | 3 10 40 88 | 9 22 13
    20 6 80 32 | 18 38 82 58 | 28 62 72 74 | 2 50 26 95 | 88 70 16
    6 56 66 86 | 6 8 62 30 | 6 34 50 48 | 64 6 98 94 | 91 86 12
    """
)
_PATTERNS: Final = (
    "plain", "fade", "stripes", "bars", "band", "wave", "rays", "dots", "disc", "slash", "chevrons", "check", "frame",
    "confetti", "hills", "arch", "scatter", "side", "window",
)  # fmt: skip
_SYLLABLES: Final = (  # noqa: SIM905 (word lists read better as words)
    "ba be bo bri ca cla co da del do el fa fe fio ga gre gu ha he il jo ka ke kri la le lu ma me mi mo na ne "
    "no o pa pe pri qua ra re ri ro sa se so sta ta te ti to tri u va ve vi vo wa wi ya ze zo "
).split()
_ENDINGS: Final = (  # noqa: SIM905
    "lla ra na sta velt mont ly co xo ris dal nor via mi no ska ton wick berg zzi lino rei la don kka do mel sse "
).split()
_CLAIMS: Final = (
    "NEW",
    "BIO",
    "VEGAN",
    "-30%",
    "+20%",
    "0% SUGAR",
    "NATURAL",
    "LOW FAT",
    "XXL",
    "2 for 1",
    "FAIR",
    "FRESH",
)


@dataclass(frozen=True, slots=True)
class Design:
    """What one product looks like: the family's package and layout with the variant's flavour and colours filled in."""

    kind: str  # can, carton, bottle, bag, pouch, jar, tub
    brand: str
    line: str
    flavour: str
    category: str
    weight: str
    price: float
    icon: str
    aspect: float  # package width over height
    depth: float  # package depth over width
    shape: float  # 0..1, free parameter of the package's outline
    base: RGB
    second: RGB
    accent: RGB
    paper: RGB
    ink: RGB
    tint: RGB  # the flavour's own colour
    material: RGB  # cap, lid or glass
    pattern: str
    layout: int
    badge: int
    picture: int
    brand_type: Type
    name_type: Type
    claim: str
    style_seed: int


def _hsv(hue: float, saturation: float, value: float) -> RGB:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0))
    return int(red * 255), int(green * 255), int(blue * 255)


def mix(one: RGB, other: RGB, share: float) -> RGB:
    """`one` with `share` (0..1) of `other` blended in."""
    a, b, c = (int(x + (y - x) * share) for x, y in zip(one, other, strict=True))
    return a, b, c


def luminance(colour: RGB) -> float:
    """Relative brightness 0..1 (Rec. 601 weights)."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255


def readable(on: RGB, dark: RGB = (28, 26, 34), light: RGB = (255, 253, 246)) -> RGB:
    """The dark or the light ink, whichever stands out on the colour `on`."""
    return dark if luminance(on) > 0.6 else light


def _brand_name(rng: np.random.Generator) -> str:
    parts = [str(rng.choice(_SYLLABLES)) for _ in range(int(rng.integers(1, 3)))] + [str(rng.choice(_ENDINGS))]
    name = "".join(parts).capitalize()
    tail = int(rng.integers(0, 12))
    return name + ("", "", "", "", "", "", "", " & Co", " Farm", "'s", " Bros", " 1890")[tail]


def _palette(rng: np.random.Generator, flavour: RGB) -> tuple[RGB, RGB, RGB, RGB]:
    """Base, second, accent and paper colours of a family's scheme with the flavour's colour in its place."""
    hue, scheme = float(rng.random()), int(rng.integers(0, 7))
    brand = _hsv(hue, 0.65 + 0.33 * rng.random(), 0.45 + 0.45 * rng.random())
    partner = _hsv(hue + float(rng.choice([0.08, 0.33, 0.5, 0.58])), 0.7, 0.85)
    cream = mix((255, 255, 255), (250, 238, 208), float(rng.random()))
    if scheme == 0:
        return brand, flavour, partner, cream
    if scheme == 1:
        return cream, brand, flavour, (255, 255, 255)
    if scheme == 2:
        night = _hsv(hue, 0.5 * float(rng.random()), 0.12 + 0.1 * float(rng.random()))
        return night, flavour, (212, 175, 95), mix(night, (255, 255, 255), 0.08)
    if scheme == 3:
        return mix(flavour, (255, 255, 255), 0.72), flavour, brand, (255, 255, 255)
    if scheme == 4:
        return flavour, brand, partner, cream
    if scheme == 5:
        return (190, 152, 108), mix(brand, (30, 30, 30), 0.5), flavour, (236, 220, 190)
    return partner, brand, flavour, cream


def _type(rng: np.random.Generator, arches: tuple[float, ...]) -> Type:
    """A way to set words: weight, stretch, slant, arch (see `pen.text_mask`)."""
    weight = float(rng.choice([0.0, 0.01, 0.03, 0.05, 0.08]))
    return (
        weight,
        0.76 + 0.56 * float(rng.random()),
        float(rng.choice([0, 0, 0, 0.18, 0.28])),
        float(rng.choice(arches)),
    )


_ASPECTS: Final = {
    "can": (0.42, 0.85),
    "carton": (0.5, 1.55),
    "bottle": (0.3, 0.44),
    "bag": (0.62, 0.9),
    "pouch": (0.6, 0.8),
    "jar": (0.6, 0.95),
    "tub": (0.75, 1.5),
}


@lru_cache(maxsize=4096)
def design_of(seed: int) -> Design:
    """The design behind a product seed (0 or more)."""
    family, variant = divmod(seed, VARIANTS)
    rng = np.random.default_rng([family, 0x5EED])  # every draw is the family's: none may depend on the variant
    rows = _LINES.strip().splitlines()
    line, category, kinds, pool_name, sizes, prices = rows[int(rng.integers(len(rows)))].split("|")
    kind = str(rng.choice(kinds.split()))
    pool = _POOLS[pool_name].split()
    flavour, icon, code = pool[int(rng.permutation(len(pool))[variant])].split(":")
    tint = (int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16))
    base, second, accent, paper = _palette(rng, tint)
    near, far = _ASPECTS[kind]
    aspect = near + (far - near) * float(rng.random())
    layouts = LANDSCAPE if front_aspect_of(kind, aspect) > 1.2 else PORTRAIT
    lids = (mix(second, (255, 255, 255), 0.15), (238, 238, 236), (40, 38, 40), (196, 168, 92), (188, 192, 198))
    low, high = (float(x) for x in prices.split("-"))
    return Design(
        kind=kind,
        brand=_brand_name(rng),
        line=line,
        flavour=flavour.replace("_", " "),
        category=category,
        weight=str(rng.choice(sizes.split(","))),
        price=round(low + (high - low) * float(rng.random()), 1) - 0.01,
        icon=icon,
        aspect=aspect,
        depth=0.25 + 0.6 * float(rng.random()),
        shape=float(rng.random()),
        base=base,
        second=second,
        accent=accent,
        paper=paper,
        ink=readable(base),
        tint=tint,
        material=lids[int(rng.integers(len(lids)))],
        pattern=str(rng.choice(_PATTERNS if kind in ("bag", "pouch") else _PATTERNS[:-1])),
        layout=int(rng.integers(len(layouts))),
        badge=int(rng.integers(8)),
        picture=int(rng.integers(5)),
        brand_type=_type(rng, (0, 0, 0, 0.18, -0.15)),
        name_type=_type(rng, (0,)),
        claim=str(rng.choice(_CLAIMS)) if rng.random() < 0.45 else "",
        style_seed=int(rng.integers(2**31)),
    )


def front_aspect_of(kind: str, aspect: float) -> float:
    """Width over height of a package's front label; a wrapped label's front is FRONT_ARC of the circumference."""
    share = {"can": 0.9, "bottle": 0.42, "jar": 0.58, "tub": 0.82}.get(kind)
    return aspect if share is None else aspect * float(np.pi) * FRONT_ARC / share
