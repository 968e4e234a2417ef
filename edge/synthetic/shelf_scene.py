"""A rendered bay of shelves: boards, price rails, and packages in rows that are taken away and put back one by one.

Everything follows from the seed. The picture is kept and only what changes is drawn again: a sale costs a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from .design import RGB, design_of, mix
from .products import Product, make_shop
from .shape import Pose, place

SIZE: Final = (1280, 960)
_BOARD: Final = 0.19
"""Of a row's height: the board's front with its price rail."""
_BEHIND: Final = 0.94
"""Each further row of packages is so much smaller, and stands higher by the rest of the board's depth."""
_LOOKS: Final = 3
"""Sprites of one package that differ by how it was put down."""


@dataclass(frozen=True, slots=True)
class Place:
    """A slot: its id, the product that belongs there, how many facings, and its box x0, y0, x1, y1 in the picture."""

    id: str
    product: Product
    facings: int
    box: tuple[float, float, float, float]
    height: float


@lru_cache(maxsize=1024)
def _sprite(seed: int, gtin: str, height: int, look: int) -> Image.Image:
    """A package alone (RGBA), so many pixels tall."""
    design = design_of(seed)
    rng = np.random.default_rng([seed % 2**32, look, 0x5CE])
    pose = Pose(yaw=float(rng.normal(0, 0.06)), pitch=0.06, roll=float(rng.normal(0, 0.008)), light=-0.2)
    room = (int(height * (design.aspect + 0.7)), int(height * 1.35))
    layer = place(design, gtin, room, (room[0] / 2, room[1] / 2), height, pose, crumple=look)
    return layer.crop(layer.getbbox())


class Bay:
    """A bay of `rows` × `across` slots. `stock[slot][facing]` lists the products that stand there, the front one first."""

    def __init__(
        self, seed: int, rows: int = 4, across: int = 8, *, size: tuple[int, int] = SIZE, depth: int = 3
    ) -> None:
        self.size, self.depth = size, depth
        self.products = make_shop(rows * across, 500 + seed % 400)
        self._rng = np.random.default_rng([seed, 0xBA7])
        self._looks: dict[tuple[str, int, int], int] = {}
        self._boards: list[float] = []
        self.places = self._placed(rows, across)
        self.stock: dict[str, list[list[Product]]] = {
            one.id: [[one.product] * depth for _ in range(one.facings)] for one in self.places
        }
        self._bare = self._furniture(rows)
        self.picture = self._bare.copy()
        for one in self.places:
            self._draw(one)

    def _placed(self, rows: int, across: int) -> list[Place]:
        """The slots, as wide as their products need, spread over each row."""
        width, height = self.size
        rng, found = self._rng, []
        left, right = 0.03 * width, 0.97 * width
        row_high = 0.94 * height / rows
        for row in range(rows):
            top = 0.03 * height + row * row_high
            floor = top + row_high * (1 - _BOARD)
            self._boards.append(floor)
            wide = (right - left) / across
            for column in range(across):
                product = self.products[row * across + column]
                aspect = max(0.25, design_of(product.seed).aspect)
                tall = row_high * (1 - _BOARD) * float(rng.uniform(0.72, 0.9))
                facings = int(np.clip(round(0.9 * wide / (aspect * tall)), 1, 3))
                tall = min(tall, 0.94 * wide / (facings * aspect))
                middle, span = left + (column + 0.5) * wide, facings * aspect * tall * 1.03
                box = (middle - span / 2, floor - tall * 1.03, middle + span / 2, floor + 1)
                found.append(Place(f"r{row + 1}c{column + 1}", product, facings, box, tall))
        return found

    def _furniture(self, rows: int) -> Image.Image:
        width, height = self.size
        rng = self._rng
        wall: RGB = tuple(int(v) for v in rng.integers(70, 190) + rng.integers(-14, 15, 3))  # type: ignore[assignment]
        uneven = Image.fromarray(rng.normal(128, 9, (24, 32)).clip(0, 255).astype(np.uint8))
        small = uneven.resize(self.size, Image.Resampling.BICUBIC)
        bands = [small.point([min(255, int(level * value / 128)) for value in range(256)]) for level in wall]
        picture = Image.merge("RGB", bands)
        pen = ImageDraw.Draw(picture)
        if rng.random() < 0.5:  # a perforated back wall
            for x in range(10, width, 26):
                for y in range(10, height, 26):
                    pen.ellipse((x, y, x + 4, y + 4), fill=mix(wall, (0, 0, 0), 0.4))
        board, rail = mix(wall, (255, 255, 255), 0.55), mix((225, 225, 228), wall, 0.2)
        for floor in self._boards:
            lip = _BOARD * 0.94 * height / rows
            for step in range(int(lip * 1.1)):  # the shadow under the board above, and at the back
                y = int(floor - step)
                pen.line((0, y, width, y), fill=mix(wall, (0, 0, 0), 0.28 * (1 - step / (lip * 1.1))))
            pen.rectangle((0, floor, width, floor + 0.28 * lip), fill=board)
            pen.rectangle((0, floor + 0.28 * lip, width, floor + 0.86 * lip), fill=rail)
            pen.rectangle((0, floor + 0.86 * lip, width, floor + lip), fill=mix(wall, (0, 0, 0), 0.55))
        for one in self.places:
            self._tag(pen, one, 0.94 * height / rows * _BOARD)
        for side in (0.0, 0.975):  # uprights
            pen.rectangle((side * width, 0, (side + 0.025) * width, height), fill=mix(wall, (20, 20, 20), 0.5))
        return picture

    def _tag(self, pen: ImageDraw.ImageDraw, one: Place, lip: float) -> None:
        """A price tag below a slot."""
        rng = self._rng
        x, y = (one.box[0] + one.box[2]) / 2 - lip * float(rng.uniform(0.6, 1.4)), one.box[3] + 0.33 * lip
        pen.rectangle((x, y, x + 1.7 * lip, y + 0.46 * lip), fill=(252, 250, 238))
        price = one.product.price
        pen.text((x + 0.12 * lip, y + 0.02 * lip), price, fill=(20, 20, 20), font_size=max(8, 0.4 * lip))
        for bar in range(9):
            if rng.random() < 0.6:
                at = x + (1.15 + bar * 0.05) * lip
                pen.line((at, y + 0.08 * lip, at, y + 0.36 * lip), fill=(30, 30, 30))

    def put(self, slot: str, facing: int, items: list[Product]) -> None:
        """Change what stands in a facing, the front one first, and draw it."""
        self.stock[slot][facing] = list(items)
        self._looks = {key: look for key, look in self._looks.items() if key[:2] != (slot, facing)}
        self._draw(next(one for one in self.places if one.id == slot))

    def take(self, slot: str, facing: int) -> Product | None:
        """A sale: the front package goes; None where there was none."""
        items = self.stock[slot][facing]
        if not items:
            return None
        gone = items[0]
        self.put(slot, facing, items[1:])
        return gone

    def _draw(self, one: Place) -> None:
        """A slot again: its part of the furniture, then the packages, the rear ones first."""
        x0, x1 = int(one.box[0]) - 6, int(one.box[2]) + 6
        y0, y1 = int(one.box[1] - one.height * 0.12), int(one.box[3]) + 1
        patch = self._bare.crop((x0, y0, x1, y1))
        wide = (one.box[2] - one.box[0]) / one.facings
        for facing, items in enumerate(self.stock[one.id]):
            missing = self.depth - len(items)
            middle = one.box[0] + (facing + 0.5) * wide - x0
            for row in range(len(items) - 1, -1, -1):
                self._stand(patch, one, items[row], middle, one.box[3] - y0, row + missing, (facing, row))
        self.picture.paste(patch, (x0, y0))

    def _stand(
        self,
        patch: Image.Image,
        one: Place,
        product: Product,
        middle: float,
        floor: float,
        depth: int,
        at: tuple[int, int],
    ) -> None:
        """One package, so many rows from the front."""
        look = self._looks.setdefault((one.id, at[0], at[1]), int(self._rng.integers(_LOOKS)))
        aspect = max(0.25, design_of(product.seed).aspect)
        wide = (one.box[2] - one.box[0]) / one.facings
        tall = min(one.height * 1.08, 0.99 * wide / aspect) * _BEHIND**depth
        sprite = _sprite(product.seed, product.gtin, max(24, int(tall)), look)
        if depth:
            shade = 1 - 0.12 * depth
            table = [int(v * shade) for v in range(256)] * 3 + list(range(256))
            sprite = sprite.point(table)
        x = round(middle - sprite.width / 2)
        y = round(floor - one.height * 0.03 * depth - sprite.height)
        if depth == 0 or at[1] == 0:
            foot = Image.new("L", (sprite.width + 8, 9), 0)
            ImageDraw.Draw(foot).ellipse((0, 0, sprite.width + 7, 8), fill=90)
            patch.paste((0, 0, 0), (x - 4, y + sprite.height - 6), foot)
        patch.paste(sprite, (x, y), sprite)
