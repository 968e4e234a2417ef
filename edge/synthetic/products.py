"""Rendered product photos: an invented shop for demos, tests, benchmarks and training, from seeds alone.

Every picture is a pure function of its arguments: the same arguments give the same pixels with the same Pillow and
numpy. Only those two are needed; letters are set in Pillow's built-in face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from . import scene
from .design import VARIANTS, Design, design_of, mix
from .shape import Pose, place

_PREFIX: Final = "29"  # GS1 prefixes 20-29 are free for use inside one shop


@dataclass(frozen=True, slots=True)
class Product:
    """One invented product; all that its pictures need follows from the seed."""

    sku: str
    gtin: str  # EAN-13 with a valid check digit
    name: str
    brand: str
    category: str
    price: str  # with two decimals and no currency
    seed: int


def check_digit(digits: str) -> str:
    """The last digit of a GTIN from the ones before it (GS1 General Specifications, section 7.9)."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def make_product(seed: int) -> Product:
    """The product of a seed, 0 ≤ seed < 10**10.

    Seeds `8·f` to `8·f + 7` are siblings: one brand, product line, package and layout in eight flavours.

    Raises ValueError for a seed outside the range.
    """
    if not 0 <= seed < 10**10:
        raise ValueError(f"product seed {seed} is outside 0 to 9999999999; take a smaller one")
    design = design_of(seed)
    digits = f"{_PREFIX}{seed * 7_919_777 % 10**10:010d}"  # 7919777 is coprime to ten: no two seeds share a GTIN
    name = f"{design.brand} {design.line} {design.flavour} {design.weight}"
    sku = f"{design.category[:3].upper()}-{seed:06d}"
    return Product(sku, digits + check_digit(digits), name, design.brand, design.category, f"{design.price:.2f}", seed)


def make_shop(count: int, seed: int = 0) -> list[Product]:
    """`count` products with distinct names and SKUs; about seven in ten have a sibling (same brand and layout) in it.

    Shops of different `seed` (0 to 999) share no product.

    Raises ValueError for a count below 1 or above 400,000, or a seed outside its range.
    """
    if not 1 <= count <= 400_000 or not 0 <= seed < 1000:
        raise ValueError(
            f"a shop of {count} products with seed {seed}: expected 1 to 400000 products and a seed from 0 to 999"
        )
    rng = np.random.default_rng([seed, 0x5809])
    products: list[Product] = []
    names: set[str] = set()
    family = seed * 1_200_000
    while len(products) < count:
        siblings = int(rng.choice([1, 1, 1, 1, 2, 2, 3, 4]))
        for variant in rng.permutation(VARIANTS)[:siblings]:
            product = make_product(family * VARIANTS + int(variant))
            if product.name not in names and len(products) < count:
                names.add(product.name)
                products.append(product)
        family += 1
    return products


def _design(product: Product) -> Design:
    return design_of(product.seed)


def render_plain(product: Product, size: int = 480) -> Image.Image:
    """The catalogue picture: the product from the front on a plain light ground, RGB, `size`×`size` (32 or more)."""
    _check_size((size, size))
    design = _design(product)
    rng = np.random.default_rng([product.seed, 0xCA7])
    level = int(rng.integers(236, 256))
    ground = Image.new("RGB", (size, size), (level, level, level - int(rng.integers(0, 5))))
    height = size * min(0.84, 0.8 / max(0.2, design.aspect))
    yaw = float(rng.choice([-0.35, 0.35])) if design.kind == "carton" and rng.random() < 0.5 else 0.0
    pose = Pose(yaw=yaw, pitch=float(rng.choice([0.0, 0.12])), distance=5.0, light=float(rng.uniform(-0.5, 0.5)))
    layer = place(design, product.gtin, (size, size), (size / 2, size / 2), height, pose, detail=1300)
    box = layer.getbbox() or (0, 0, size, size)
    contact = Image.new("L", (size, size))
    middle, half, drop = (box[0] + box[2]) / 2, (box[2] - box[0]) * 0.48, size * 0.018
    ImageDraw.Draw(contact).ellipse((middle - half, box[3] - 2 * drop, middle + half, box[3] + drop), fill=255)
    ground = scene.shadow(ground, contact, rng)
    ground.paste(layer, (0, 0), layer)
    return ground


def render_view(
    product: Product, view: int, size: tuple[int, int] = (640, 480), difficulty: float = 0.5
) -> Image.Image:
    """The product as a customer's or kiosk's camera sees it, RGB, `size` (width, height), each side 32 to 1300.

    `view` (0 or more) numbers independent photographs; `difficulty` from 0 (square on, well lit, sharp) to 1 (turned,
    tilted, far or cut off, half hidden, badly lit, blurred, noisy). The product lies mostly inside the central square.
    """
    _check_size(size)
    if view < 0 or not 0.0 <= difficulty <= 1.0:
        raise ValueError(
            f"view {view} at difficulty {difficulty}: expected a view of 0 or more and a difficulty from 0 to 1"
        )
    rng = np.random.default_rng([product.seed, view, 0x71E3])
    design, level = _design(product), difficulty
    ground = scene.background(rng, size, level)
    short = min(size)
    extent = float(rng.uniform(0.8 - 0.42 * level, 0.86 + 0.1 * level)) * short
    height = extent / max(1.0, design.aspect)
    shift = 0.03 + 0.1 * level
    centre = (
        size[0] / 2 + float(rng.uniform(-shift, shift)) * short,
        size[1] / 2 + float(rng.uniform(-shift, shift)) * short,
    )
    pose = Pose(
        yaw=float(rng.normal(0, 0.08 + 0.42 * level)),
        pitch=float(np.clip(rng.normal(0.1, 0.05 + 0.2 * level), -0.35, 0.75)),
        roll=float(rng.normal(0, 0.03 + 0.2 * level))
        + (float(rng.uniform(-1.6, 1.6)) if rng.random() < 0.18 * level else 0.0),
        distance=float(rng.uniform(4.5 - 2.4 * level, 6.0)),
        light=float(rng.uniform(-0.9, 0.9)),
    )
    pose = Pose(float(np.clip(pose.yaw, -1.05, 1.05)), pose.pitch, pose.roll, pose.distance, pose.light)
    layer = place(design, product.gtin, size, centre, height, pose, crumple=view)
    alpha = layer.getchannel("A")
    box = layer.getbbox() or (0, 0, *size)
    held = rng.random() < 0.15 + 0.4 * level
    ground = scene.shadow(ground, alpha, rng)
    front: Image.Image | None = None
    if held:
        behind, front = scene.hand(rng, size, box, reach=0.08 + 0.4 * level * float(rng.random()))
        ground.paste(behind, (0, 0), behind)
    ground.paste(layer, (0, 0), alpha)
    if front is not None:
        ground.paste(front, (0, 0), front)
    elif rng.random() < 0.55 * level:
        _occlude(ground, box, rng, level)
    return scene.camera(ground, rng, level)


def _occlude(image: Image.Image, box: tuple[int, int, int, int], rng: np.random.Generator, level: float) -> None:
    """Cover one side of `box` with a neighbour's edge, a shelf rail or a price tag, in place."""
    x0, y0, x1, y1 = box
    share = float(rng.uniform(0.06, 0.12 + 0.22 * level))
    colour = mix((int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256))), (128, 128, 128), 0.3)
    draw, kind = ImageDraw.Draw(image), int(rng.integers(3))
    if kind == 0:
        left = rng.random() < 0.5
        edge = x0 + (x1 - x0) * share if left else x1 - (x1 - x0) * share
        top = y0 + (y1 - y0) * float(rng.uniform(-0.1, 0.4))
        far = edge - (x1 - x0) if left else edge + (x1 - x0)
        draw.rectangle((min(edge, far), top, max(edge, far), image.height), fill=colour)
        inner = (edge - 6, edge - 2) if left else (edge + 2, edge + 6)
        draw.rectangle((inner[0], top, inner[1], image.height), fill=mix(colour, (255, 255, 255), 0.25))
        draw.rectangle(
            (min(edge, far), top + (y1 - y0) * 0.2, max(edge, far), top + (y1 - y0) * 0.4),
            fill=mix(colour, (255, 255, 255), 0.6),
        )
    elif kind == 1:
        rail = y1 - (y1 - y0) * share
        draw.rectangle((0, rail, image.width, rail + (y1 - y0) * 0.3), fill=mix(colour, (235, 235, 235), 0.75))
        draw.line((0, rail, image.width, rail), fill=(120, 120, 120), width=2)
    else:
        w, h = (x1 - x0) * (0.2 + share), (y1 - y0) * (0.08 + share / 2)
        x, y = x0 + (x1 - x0) * float(rng.uniform(0, 0.8)), y0 + (y1 - y0) * float(rng.uniform(0, 0.9))
        draw.rectangle((x, y, x + w, y + h), fill=(252, 246, 210) if rng.random() < 0.5 else (222, 40, 40))
        draw.rectangle((x + w * 0.12, y + h * 0.25, x + w * 0.7, y + h * 0.6), fill=(30, 30, 30))


def render_background(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A scene with no product of any shop (bare shelves, counters, textures, hands), RGB, `size` (width, height)."""
    _check_size(size)
    rng = np.random.default_rng([seed, 0xBACC])
    ground = scene.background(rng, size, 0.5, empty=True)
    if rng.random() < 0.3:
        box = (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4)
        for layer in scene.hand(rng, size, box, reach=0.3):
            ground.paste(layer, (0, 0), layer)
    return scene.camera(ground, rng, float(rng.random()))


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < 32 or max(size) > 1300:
        raise ValueError(f"a picture of {size[0]}×{size[1]} pixels: each side must be 32 to 1300")
