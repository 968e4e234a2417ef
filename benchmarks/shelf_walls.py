"""Harder shelves for `shelf_life`: back walls that aren't bare, deep boards, packages behind unlike the front one.

    python benchmarks/shelf_walls.py --strip OUT.jpg     # bays of eight seeds, with empty slots

What shops have behind their goods: painted sheet, perforated panels, slats, wire, wood, printed panels, the dark of a deep board.
The rule for slots without a taught photo of the empty shelf (`shelf/emptiness.py`) is fitted on these (`shelf_fit.py`); the kind of
wall, its colours and sizes follow from the seed.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from shelf_life import ShelfLife

from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.synthetic.design import design_of
from shelfmatch.edge.synthetic.products import Product
from shelfmatch.edge.synthetic.shape import Pose, place
from shelfmatch.edge.synthetic.shelf_scene import _BOARD, Bay, Place

Floats = NDArray[np.float32]
KINDS = ("paint", "perforated", "slats", "wire", "wood", "printed", "dark", "bricks")
CONTRASTING = ("lines", "checks", "perforated", "wire")
_ASKEW = 100
"""Looks from this number on are of packages that were put back badly."""


class HardBay(Bay):
    """A bay whose wall, boards and depth follow from its seed."""

    def _furniture(self, rows: int) -> Image.Image:
        rng = np.random.default_rng([self._seed, 0xD2])
        width, height = self.size
        kinds = CONTRASTING if self._seed % 2 and self._seed > 400 else KINDS
        self.kind = kinds[int(rng.integers(len(kinds)))]
        self._behind, self._rise, self._shade = rng.uniform((0.86, 0.02, 0.08), (0.96, 0.08, 0.3)).tolist()
        tone = rng.uniform(40, 215) + rng.uniform(-35, 35, 3)
        field = np.ones((height, width, 3), np.float32) * tone.astype(np.float32)
        field = WALLS[self.kind](field, rng)
        board, rail = rng.uniform(60, 240, 3), rng.uniform(60, 245) + rng.uniform(-60, 60, 3)
        lip = _BOARD * 0.94 * height / rows
        row_high = 0.94 * height / rows
        deep, seen = float(rng.uniform(0.05, 0.75)), float(rng.uniform(0.02, 0.16))
        down = np.arange(height)[:, None, None]
        for floor in self._boards:  # dark below the board above; the board's top, seen from above
            top = floor - row_high + lip
            inside = (down >= top) & (down < floor)
            fall = 1 - deep * np.clip(1 - (down - top) / (row_high * 0.7), 0, 1)
            field = np.where(inside, field * fall, field)
            tread = (down >= floor - seen * row_high) & (down < floor)
            near = 0.45 + 0.45 * np.clip((down - floor + seen * row_high) / max(seen * row_high, 1), 0, 1)
            field = np.where(tread, board * near, field)
        grain = rng.normal(0, float(rng.uniform(1, 5)), field.shape)
        picture = Image.fromarray((field + grain).clip(0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(picture)
        for floor in self._boards:
            pen.rectangle((0, floor, width, floor + lip), fill=_rgb(board))
            pen.rectangle((0, floor + 0.3 * lip, width, floor + 0.85 * lip), fill=_rgb(rail))
        for one in self.places:
            self._tag(pen, one, lip)
        for side in (0.0, 0.975):
            pen.rectangle((side * width, 0, (side + 0.025) * width, height), fill=_rgb(tone * 0.5))
        return picture

    def __init__(self, seed: int, rows: int = 4, across: int = 8) -> None:
        self._seed = seed
        super().__init__(seed, rows, across)

    def turn(self, slot: str, facing: int) -> None:
        """Somebody put the front package back askew: turned, leaning, pushed in."""
        self._looks[slot, facing, 0] = int(self._rng.integers(_ASKEW, _ASKEW + 5000))
        self._draw(next(one for one in self.places if one.id == slot))

    def _stand(
        self, patch: Image.Image, one: Place, product: Product, middle: float, floor: float, depth: int, at: tuple[int, int]
    ) -> None:  # fmt: skip
        """A package further back is smaller, higher and darker by this bay's own measures; one that was turned is turned."""
        look = self._looks.setdefault((one.id, at[0], at[1]), int(self._rng.integers(3)))
        wide = (one.box[2] - one.box[0]) / one.facings
        tall = min(one.height * 1.08, 0.99 * wide / max(0.25, design_of(product.seed).aspect)) * self._behind**depth
        sprite = _sprite(product, max(24, int(tall)), look)
        shade = (1 - self._shade) ** depth
        sprite = sprite.point([int(v * shade) for v in range(256)] * 3 + list(range(256)))
        aside = float(np.random.default_rng([self._seed, depth, look]).normal(0, 0.03 * (depth > 0))) * wide
        x = round(middle - sprite.width / 2 + aside)
        y = round(floor - self._rise * depth * one.height - sprite.height)
        foot = Image.new("L", (sprite.width + 8, 9), 0)
        ImageDraw.Draw(foot).ellipse((0, 0, sprite.width + 7, 8), fill=90)
        patch.paste((0, 0, 0), (x - 4, y + sprite.height - 6), foot)
        patch.paste(sprite, (x, y), sprite)


@lru_cache(maxsize=1024)
def _sprite(product: Product, height: int, look: int) -> Image.Image:
    """A package alone (RGBA), so many pixels tall; from `_ASKEW` on it isn't put down well."""
    design, rng = design_of(product.seed), np.random.default_rng([product.seed % 2**32, look, 0x5CF])
    yaw, roll, pitch = (0.45, 0.06, 0.2) if look >= _ASKEW else (0.06, 0.008, 0.0)
    pose = Pose(
        yaw=float(rng.normal(0, yaw)),
        pitch=0.06 + float(rng.normal(0, pitch)),
        roll=float(rng.normal(0, roll)),
        light=-0.2,
    )
    room = (int(height * (design.aspect + 0.9)), int(height * 1.5))
    layer = place(design, product.gtin, room, (room[0] / 2, room[1] / 2), height, pose, crumple=look % 7)
    return layer.crop(layer.getbbox())


def _rgb(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.clip(colour, 0, 255))
    return red, green, blue


def _paint(field: Floats, rng: np.random.Generator) -> Floats:
    soft = cv2.resize(rng.normal(1, 0.08, (6, 8)).astype(np.float32), field.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(field * soft[..., None])


def _perforated(field: Floats, rng: np.random.Generator) -> Floats:
    field = _paint(field, rng)
    pitch, radius = int(rng.integers(12, 40)), int(rng.integers(2, 6))
    hole = tuple((field.mean(axis=(0, 1)) * rng.uniform(0.1, 0.6)).tolist())
    field = np.ascontiguousarray(field)
    for x in range(pitch // 2, field.shape[1], pitch):
        for y in range(pitch // 2, field.shape[0], pitch):
            cv2.circle(field, (x, y), radius, hole, -1, cv2.LINE_AA)
    return field


def _slats(field: Floats, rng: np.random.Generator) -> Floats:
    pitch = int(rng.integers(14, 60))
    at = np.arange(field.shape[0]) % pitch / pitch
    shade = np.where(at < 0.14, rng.uniform(0.3, 0.7), 1 + 0.12 * at)
    return np.asarray(_paint(field, rng) * shade[:, None, None].astype(np.float32))


def _wire(field: Floats, rng: np.random.Generator) -> Floats:
    """A grid before the dark, or before a wall far behind."""
    wire = np.clip(field[0, 0] + 60, 0, 255)
    field = np.ascontiguousarray(_paint(field * np.float32(rng.uniform(0.2, 0.7)), rng))
    pitch, thick = int(rng.integers(16, 56)), int(rng.integers(1, 5))
    tall = pitch * int(rng.integers(1, 5))
    for x in range(0, field.shape[1], pitch):
        cv2.line(field, (x, 0), (x, field.shape[0]), tuple(wire.tolist()), thick, cv2.LINE_AA)
    for y in range(0, field.shape[0], tall):
        cv2.line(field, (0, y), (field.shape[1], y), tuple(wire.tolist()), thick, cv2.LINE_AA)
    return field


def _wood(field: Floats, rng: np.random.Generator) -> Floats:
    height, width = field.shape[:2]
    base = np.array([1.15, 0.95, 0.7], np.float32) * field.mean(axis=-1, keepdims=True)
    grain = cv2.resize(
        rng.normal(0, 0.12, (height // 3, 12)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    grain += cv2.resize(rng.normal(0, 0.06, (height, 40)).astype(np.float32), (width, height))
    plank = np.repeat(rng.uniform(0.85, 1.1, height // 90 + 2), 90)[:height].astype(np.float32)
    return np.asarray(base * (1 + grain[..., None]) * plank[:, None, None])


def _printed(field: Floats, rng: np.random.Generator) -> Floats:
    """A panel with large soft shapes, stripes or a brand's colours."""
    field = np.ascontiguousarray(_paint(field, rng))
    for _ in range(int(rng.integers(6, 22))):
        colour = np.clip(field[0, 0] + rng.uniform(-80, 80, 3), 0, 255).tolist()
        centre = int(rng.integers(field.shape[1])), int(rng.integers(field.shape[0]))
        if rng.random() < 0.5:
            cv2.circle(field, centre, int(rng.integers(20, 160)), colour, -1, cv2.LINE_AA)
        else:
            cv2.line(
                field,
                centre,
                (int(rng.integers(field.shape[1])), int(rng.integers(field.shape[0]))),
                colour,
                int(rng.integers(4, 60)),
                cv2.LINE_AA,
            )
    return field


def _lines(field: Floats, rng: np.random.Generator) -> Floats:
    """Lines as dark or bright as print: pegs, slots, a grille; across, down or both."""
    field = np.ascontiguousarray(_paint(field, rng))
    tone = float(field.mean())
    level = tone * rng.uniform(0.15, 0.6) if tone > 110 else tone + rng.uniform(50, 140)
    colour = np.clip(level + rng.uniform(-25, 25, 3), 0, 255).tolist()
    pitch, thick, ways = rng.integers(12, 70, 2), int(rng.integers(2, 9)), int(rng.integers(1, 4))
    if ways & 1:
        for x in range(int(pitch[0]) // 2, field.shape[1], int(pitch[0])):
            cv2.line(field, (x, 0), (x, field.shape[0]), colour, thick, cv2.LINE_AA)
    if ways & 2:
        for y in range(int(pitch[1]) // 2, field.shape[0], int(pitch[1])):
            cv2.line(field, (0, y), (field.shape[1], y), colour, thick, cv2.LINE_AA)
    return field


def _checks(field: Floats, rng: np.random.Generator) -> Floats:
    """Two colours in squares or stripes."""
    y, x = np.mgrid[0 : field.shape[0], 0 : field.shape[1]] // int(rng.integers(14, 80))
    other = np.clip(field[0, 0] + rng.uniform(-90, 90) + rng.uniform(-40, 40, 3), 10, 250).astype(np.float32)
    odd = ((x + y * int(rng.integers(0, 2))) % 2 == 1)[..., None]
    return _paint(np.where(odd, other, field).astype(np.float32), rng)


def _dark(field: Floats, rng: np.random.Generator) -> Floats:
    return _paint(field * np.float32(rng.uniform(0.08, 0.3)), rng)


def _bricks(field: Floats, rng: np.random.Generator) -> Floats:
    height, width = field.shape[:2]
    low, wide = int(rng.integers(14, 50)), int(rng.integers(30, 120))
    tone = field[0, 0].copy()
    field = np.ascontiguousarray(field * np.float32(rng.uniform(0.4, 1.3)))
    for row, y in enumerate(range(0, height, low)):
        for x in range(-wide, width, wide):
            x0 = x + (row % 2) * wide // 2
            colour = tone * rng.uniform(0.8, 1.15)
            cv2.rectangle(field, (x0 + 1, y + 1), (x0 + wide - 2, y + low - 2), colour.tolist(), -1)
    return field


WALLS = {
    "paint": _paint, "perforated": _perforated, "slats": _slats, "wire": _wire, "wood": _wood, "printed": _printed,
    "dark": _dark, "bricks": _bricks, "lines": _lines, "checks": _checks,
}  # fmt: skip


class HardLife(ShelfLife):
    """A life of `shelf_life` on such shelves; without a photo of the empty shelf, or with one."""

    def _bay(self) -> Bay:
        return HardBay(self.seed, *self.grid)


def life(
    *, seed: int = 0, hours: float = 24, slots: int = 40, events: int = 300, step_seconds: float = 60, uneventful: bool = False,
    calm: bool = False, taught_empty: bool = False,
) -> ShelfLife:  # fmt: skip
    """The protocol's function."""
    made = HardLife(seed, hours, slots, events, step_seconds, uneventful, calm)
    if not taught_empty:
        made.empty = None
    return made


def with_holes(seed: int) -> Pixels:
    """A bay of which every third facing is empty and every third one sold from."""
    bay = HardBay(seed, 5, 8)
    for number, one in enumerate(bay.places):
        for facing in range(one.facings):
            if number % 3 == 0:
                bay.put(one.id, facing, [])
            elif number % 3 == 1:
                bay.take(one.id, facing)
    return np.asarray(bay.picture)


def main() -> None:
    """Write bays beside each other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strip", metavar="OUT.jpg", required=True, type=Path)
    options = parser.parse_args()
    strip = Image.new("RGB", (2 * 644, 4 * 484), (255, 255, 255))
    for number in range(8):
        picture = Image.fromarray(with_holes(number + 1)).resize((640, 480), Image.Resampling.BOX)
        strip.paste(picture, (number % 2 * 644, number // 2 * 484))
    strip.save(options.strip, quality=86)


if __name__ == "__main__":
    main()
