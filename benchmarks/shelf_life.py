"""Days of shelf life with exact truth: the generator that thresholds were tuned on. Its frames are seeded and drawn anew each time.

    python benchmarks/shelf_life.py --strip OUT.jpg --seed 3      # a strip of pictures

Sales one by one, refills, swaps, misplaced and unknown products; shoppers who walk by and stand, hands, trolleys; light that drifts
and flickers, sun patches, jumps of the exposure, nudges and sag of the camera, smudges, sensor noise, JPEG, dropped frames; a
covered lens, a dark hour, a camera that is turned away. The protocol is in `shelf_truth.py`.

One module of over 400 lines: what happens, who passes and what the camera does to it share one clock and one seed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from shelf_truth import CameraState, SlotTruth, State, Truth

from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.synthetic.products import Product, make_product, make_shop, render_plain, render_view
from shelfmatch.edge.synthetic.shelf_scene import Bay

cv2.setNumThreads(1)
START = 1_760_000_000.0
NOISE_SIGMA = (2.0, 5.0)
GRIDS = {40: (5, 8), 60: (6, 10), 24: (4, 6), 12: (3, 4)}


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a slot at a frame: a facing gets these items (the front one first)."""

    frame: int
    slot: str
    facing: int
    items: tuple[Product, ...]


@dataclass(frozen=True, slots=True)
class Passer:
    """Somebody or something before the shelf, from a frame on for so many: `kind` is person, trolley, cart (a trolley of wire with
    goods in it) or hand."""

    first: int
    frames: int
    kind: str
    x: float
    y: float
    seed: int


class ShelfLife:
    """A life of the protocol; see `shelf_truth.Life`."""

    def __init__(
        self, seed: int, hours: float, slots: int, events: int, step_seconds: float, uneventful: bool, calm: bool
    ) -> None:
        self.seed, self.step_seconds, self.calm = seed, step_seconds, calm
        self.count = int(hours * 3600 / step_seconds)
        rows, across = GRIDS.get(slots) or (max(1, round(math.sqrt(slots / 1.6))), 0)
        across = across or math.ceil(slots / rows)
        self.grid = rows, across
        self.bay = self._bay()
        self.places = self.bay.places[:slots]
        self.extra = make_shop(12, 950)
        self.unknown = [make_product(8 * (980 * 1_200_000 + seed * 40 + n)) for n in range(12)]
        rng = np.random.default_rng([seed, 1])
        self.changes = [] if uneventful else self._changes(rng, events)
        self.passers = [] if calm else self._passers(rng)
        self.camera = self._camera(rng) if uneventful and not calm else {}
        self.nudges = [] if calm else self._nudges(rng)
        self.full: Pixels = self._reference(self.bay.picture)
        bare = self._bay()
        for one in bare.places:
            for facing in range(one.facings):
                bare.put(one.id, facing, [])
        self.empty: Pixels | None = self._reference(bare.picture)
        self.plan = self._plan()

    def _bay(self) -> Bay:
        return Bay(self.seed, *self.grid)

    def _reference(self, picture: Image.Image) -> Pixels:
        pixels = np.asarray(picture).astype(np.float32)
        noise = np.random.default_rng(self.seed).normal(0, 2, pixels.shape)
        return _jpeg((pixels * 0.97 + noise).clip(0, 255).astype(np.uint8), 90)

    def _plan(self) -> dict[str, Any]:
        width, height = self.bay.size
        positions = []
        for one in self.places:
            x0, y0, x1, y1 = one.box
            polygon = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
            positions.append({"id": one.id, "productId": one.product.sku, "fixtureId": one.id[:2], "facings": one.facings,
                              "minStock": one.facings, "polygon": polygon})  # fmt: skip
        rows = sorted({one.id[:2] for one in self.places})
        high = height / len(rows)
        fixtures = [{"id": row, "w": width, "h": high, "x": 0, "y": n * high} for n, row in enumerate(rows)]
        products = [
            {"id": one.sku, "name": one.name} for one in {p.product.sku: p.product for p in self.places}.values()
        ]
        body = {"width": width, "height": height, "products": products, "fixtures": fixtures, "positions": positions}
        return {
            "version": 1,
            "name": f"life-{self.seed}",
            "photo": {"width": width, "height": height},
            "planogram": body,
        }

    def catalogue(self, folder: Path) -> None:
        """Three photos of each product that the shop has."""
        for product in {p.sku: p for p in [*(one.product for one in self.places), *self.extra]}.values():
            target = folder / product.sku
            target.mkdir(parents=True, exist_ok=True)
            render_plain(product, 320).save(target / "plain.png")
            for view in (1, 2):
                render_view(product, view, (320, 320), 0.2).save(target / f"view{view}.png")

    def _changes(self, rng: np.random.Generator, events: int) -> list[Change]:
        """Slot by slot, about so many changes of state in all, each at least ten frames after the one before."""
        each = events / len(self.places)
        gap = max(10.0, (self.count - 20) / (each * 1.5 + 0.5))
        found: list[Change] = []
        for one in self.places:
            stock = [list(items) for items in self.bay.stock[one.id]]
            frame = 8 + float(rng.exponential(gap))
            while frame < self.count - 12:
                facing, items = self._next(rng, one.product, stock)
                stock[facing] = items
                found.append(Change(int(frame), one.id, facing, tuple(items)))
                frame += 10 + float(rng.exponential(gap - 8))
        return sorted(found, key=lambda change: change.frame)

    def _next(
        self, rng: np.random.Generator, product: Product, stock: list[list[Product]]
    ) -> tuple[int, list[Product]]:
        """What happens next in a slot."""
        depth = self.bay.depth
        wrong = [n for n, items in enumerate(stock) if items and items[0].sku != product.sku]
        bare = [n for n, items in enumerate(stock) if not items]
        if wrong:
            return wrong[0], [product] * depth
        if bare and rng.random() < 0.55:
            return bare[0], [product] * depth
        facing = int(rng.integers(len(stock)))
        choice = rng.random()
        if choice < 0.25 and stock[facing]:
            return facing, stock[facing][1:]
        if choice < 0.65:
            return facing, []
        if choice < 0.85:
            others = [p.product for p in self.places if p.product.sku != product.sku] + self.extra
            return facing, [others[int(rng.integers(len(others)))]] * 2
        return facing, [self.unknown[int(rng.integers(len(self.unknown)))]] * 2

    def _passers(self, rng: np.random.Generator) -> list[Passer]:
        found = []
        frame = 6
        while frame < self.count:
            kind = str(rng.choice(["person", "person", "person", "trolley", "hand"]))
            person, trolley, hand = (
                int(rng.choice([1, 1, 1, 2, 4, 9])),
                int(rng.integers(3, 25)),
                int(rng.integers(1, 3)),
            )
            stays = {"person": person, "trolley": trolley, "hand": hand}[kind]
            place = float(rng.random()), float(rng.random())
            found.append(Passer(frame, stays, kind, *place, int(rng.integers(10_000))))
            frame += int(rng.exponential(5)) + 1
        for change in self.changes:  # who sells and refills reaches into the shelf
            box = next(one.box for one in self.places if one.id == change.slot)
            place = (box[0] + box[2]) / 2 / self.bay.size[0], (box[1] + box[3]) / 2 / self.bay.size[1]
            found.append(Passer(change.frame - 1, 1, "hand", *place, int(rng.integers(10_000))))
        return found

    def _camera(self, rng: np.random.Generator) -> dict[int, CameraState]:
        """Frames at which the camera sees no shelf."""
        states: dict[int, CameraState] = {}
        kinds: list[tuple[CameraState, int]] = [("covered", 12), ("dark", 25), ("moved", 20)]
        for number, (kind, frames) in enumerate(kinds):
            first = int(self.count * (0.2 + 0.25 * number)) + int(rng.integers(10))
            states |= dict.fromkeys(range(first, min(self.count, first + frames)), kind)
        return states

    def _nudges(self, rng: np.random.Generator) -> list[tuple[int, float, float, float]]:
        """(frame, dx, dy, degrees) from that frame on: up to a tenth of the frame's width from where it began."""
        found, frame = [], int(rng.integers(60, 160))
        width = self.bay.size[0]
        while frame < self.count:
            small = rng.random() < 0.7
            reach = width * (0.012 if small else 0.095)
            angle, far = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.3, 1)) * reach
            found.append((frame, far * math.cos(angle), far * math.sin(angle) * 0.7, float(rng.normal(0, 0.25))))
            frame += int(rng.exponential(220)) + 30
        return found

    def frames(self) -> Iterator[tuple[Frame, Truth]]:
        """The frames with what is true at each."""
        rng = np.random.default_rng([self.seed, 2])
        bay, light = self._bay(), _Light(self.seed, self.bay.size, self.count, self.calm)
        changes = iter(self.changes)
        following = next(changes, None)
        standing: list[Passer] = []
        arriving = iter(sorted(self.passers, key=lambda one: one.first))
        comer = next(arriving, None)
        nudges, pose = iter(self.nudges), (0.0, 0.0, 0.0)
        nudge = next(nudges, None)
        number = 0
        for frame in range(self.count):
            while following is not None and following.frame <= frame:
                bay.put(following.slot, following.facing, list(following.items))
                following = next(changes, None)
            while comer is not None and comer.first <= frame:
                standing.append(comer)
                comer = next(arriving, None)
            standing = [one for one in standing if frame < one.first + one.frames]
            while nudge is not None and nudge[0] <= frame:
                pose = nudge[1:]
                nudge = next(nudges, None)
            if not self.calm and frame > 5 and rng.random() < 0.01:
                continue  # dropped
            camera = self.camera.get(frame, "ok")
            pixels, cover = self._picture(bay, standing, frame, rng)
            pixels, cover = self._seen(light, pixels, cover, frame, rng, pose, camera)
            truth = self._truth(bay, cover, camera)
            yield Frame(pixels, START + frame * self.step_seconds, number, "shelf life"), truth
            number += 1

    def _picture(
        self, bay: Bay, standing: list[Passer], frame: int, rng: np.random.Generator
    ) -> tuple[Pixels, NDArray[np.uint8] | None]:
        """The bay with who stands before it, and what they cover (H, W)."""
        if not standing or frame < 5:
            return np.asarray(bay.picture), None
        picture, cover = bay.picture.copy(), Image.new("L", bay.size)
        for one in standing:
            layer, (x, y) = _passer(one, frame, bay.size, rng)
            picture.paste(layer, (x, y), layer)
            cover.paste(255, (x, y), layer.getchannel("A"))
        return np.asarray(picture), np.asarray(cover)

    def _seen(
        self,
        light: _Light,
        pixels: Pixels,
        cover: NDArray[np.uint8] | None,
        frame: int,
        rng: np.random.Generator,
        pose: tuple[float, float, float],
        camera: CameraState,
    ) -> tuple[Pixels, NDArray[np.uint8]]:
        width, height = self.bay.size
        dx, dy, degrees = pose
        if not self.calm:
            dy += 10 * frame / max(1440, self.count)  # sag
        if camera == "moved":
            dx, dy, degrees = dx + 0.3 * width, dy + 0.06 * height, degrees + 4
        if cover is None:
            cover = np.zeros((height, width), np.uint8)
        if abs(dx) + abs(dy) + abs(degrees) > 0.01:
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
            matrix[:, 2] += (dx, dy)
            pixels = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[assignment]  # fmt: skip
            # What left the frame is covered, in the shelf's own place.
            small = (width // 8, height // 8)
            scaled = matrix * np.array([[1, 1, 1 / 8]])
            seen = cv2.warpAffine(np.full(small[::-1], 255, np.uint8), cv2.invertAffineTransform(scaled), small)
            cover = np.maximum(cover, 255 - cv2.resize(seen, (width, height)))
        if camera == "covered":
            pixels = np.full_like(pixels, (60, 40, 34))
            cover = np.full_like(cover, 255)
        pixels = light.on(pixels, frame, rng)
        if camera == "dark":
            pixels = (pixels * np.float32(0.02)).astype(np.uint8)
        sigma = float(np.interp(math.sin(frame / 200), [-1, 1], NOISE_SIGMA))
        pixels = _noisy(pixels, sigma, rng)
        quality = int(rng.integers(68, 92))
        return (pixels if self.calm else _jpeg(pixels, quality)), cover

    def _truth(self, bay: Bay, cover: NDArray[np.uint8], camera: CameraState) -> Truth:
        slots, hidden = {}, set()
        sums = cv2.integral((cover > 127).astype(np.uint8))
        for one in self.places:
            slots[one.id] = self._state(one.product, bay.stock[one.id], one.facings)
            x0, y0, x1, y1 = (int(v) for v in one.box)
            x0, y0 = max(0, x0), max(0, y0)
            share = (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / max(1, (x1 - x0) * (y1 - y0))
            if share >= 0.25:
                hidden.add(one.id)
        return Truth(slots, frozenset(hidden), camera)

    def _state(self, product: Product, stock: list[list[Product]], facings: int) -> SlotTruth:
        fronts = [items[0] for items in stock if items]
        right = sum(front.sku == product.sku for front in fronts)
        sold = {one.product.sku for one in self.places} | {one.sku for one in self.extra}
        wrong = [front.sku for front in fronts if front.sku != product.sku]
        misplaced = [sku for sku in wrong if sku in sold]
        state: State = "full" if right == facings else "low" if right else "empty"
        if wrong:
            state = "misplaced" if misplaced else "unknown"
        return SlotTruth(state, right, misplaced[0] if misplaced else "")


class _Light:
    """The light of a day: drift, flicker, jumps of the exposure, a sun patch that wanders, a smudge on the lens."""

    def __init__(self, seed: int, size: tuple[int, int], count: int, calm: bool) -> None:
        rng = np.random.default_rng([seed, 3])
        self.size, self.calm, self.count = size, calm, max(count, 1)
        y, x = np.mgrid[0:15, 0:20] / np.array([14, 19])[:, None, None] - 0.5
        angle = float(rng.uniform(0, 2 * math.pi))
        self.ramp = (x * math.cos(angle) + y * math.sin(angle)).astype(np.float32)
        jumps = rng.integers(20, self.count + 21, self.count // 90 + 1)
        self.jumps = {int(frame): float(rng.uniform(0.7, 1.4)) for frame in jumps}
        self.suns = [int(frame) for frame in rng.integers(30, self.count + 31, self.count // 400 + 1)]
        self.sun_seed = int(rng.integers(1000))
        self.smudge_from = int(rng.integers(self.count // 2, self.count + 1))
        spot = np.zeros((120, 160), np.float32)
        cv2.circle(spot, (int(rng.integers(20, 140)), int(rng.integers(20, 100))), int(rng.integers(6, 14)), 1.0, -1)
        self.smudge = cv2.resize(cv2.GaussianBlur(spot, (0, 0), 4), size)[..., None] * 0.6
        self.exposure = 1.0

    def on(self, pixels: Pixels, frame: int, rng: np.random.Generator) -> Pixels:
        """Pixels as the camera sees them in this light."""
        if self.calm:
            return pixels
        if frame in self.jumps:
            self.exposure = self.jumps[frame]
        self.exposure += (1 - self.exposure) * 0.15
        day = 0.85 + 0.2 * math.sin(2 * math.pi * frame / 1440 - 1)
        level = day * self.exposure * (1 + float(rng.normal(0, 0.012)))
        warm = 0.05 * math.sin(2 * math.pi * frame / 900)
        field = level * (1 + 0.25 * math.sin(frame / 300) * self.ramp)
        for first in self.suns:
            if first <= frame < first + 90:
                field = field * self._sun(first, frame)
        small = np.stack([field * (1 + warm), field, field * (1 - warm)], axis=-1).astype(np.float32)
        if any(first <= frame < first + 90 for first in self.suns):
            small = cv2.resize(small, (320, 240), interpolation=cv2.INTER_NEAREST)  # a hard edge
        whole = cv2.resize(small * 128, self.size, interpolation=cv2.INTER_LINEAR).clip(0, 255).astype(np.uint8)
        lit = cv2.multiply(pixels, whole, scale=1 / 128)
        if frame >= self.smudge_from:
            soft = cv2.blur(lit, (25, 25)).astype(np.float32)
            lit = (lit + (soft - lit) * self.smudge).astype(np.uint8)
        return np.asarray(lit, np.uint8)

    def _sun(self, first: int, frame: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([self.sun_seed, first])
        x = float(rng.uniform(2, 14)) + (frame - first) * 0.05
        y, wide, slant = float(rng.uniform(0, 8)), float(rng.uniform(2, 5)), float(rng.uniform(-2, 2))
        mask = np.zeros((15, 20), np.uint8)
        corners = [[x, y], [x + wide, y], [x + wide + slant, y + 7], [x + slant, y + 7]]
        cv2.fillPoly(mask, [np.array(corners, np.float32).astype(np.int32)], 1)
        rise = min(1.0, (frame - first) / 10, (first + 90 - frame) / 10)
        return 1 + mask.astype(np.float32) * np.float32(0.6 * rise)


_NOISE = np.random.default_rng(7).normal(0, 16, (1100, 1500, 3)).astype(np.int8)


def _noisy(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    y, x = int(rng.integers(1100 - height)), int(rng.integers(1500 - width))
    grain = _NOISE[y : y + height, x : x + width]
    result: Pixels = cv2.addWeighted(pixels, 1.0, grain, sigma / 16, 0, dtype=cv2.CV_8U)  # type: ignore[assignment]
    return result


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    # Red and blue keep their places on both ways: JPEG takes them for each other, which costs nothing.
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def _passer(
    one: Passer, frame: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Image.Image, tuple[int, int]]:
    """A person, a trolley or a hand (RGBA) and where it stands; it sways from frame to frame."""
    look = np.random.default_rng([one.seed, 5])
    sway = float(rng.normal(0, 0.012)) * size[0] if one.kind != "trolley" else 0.0
    cloth = tuple(int(v) for v in look.integers(15, 235, 3))
    skin = (int(look.integers(90, 235)), int(look.integers(60, 190)), int(look.integers(45, 165)))
    if one.kind == "person":
        high, wide = int(size[1] * look.uniform(0.6, 1.05)), int(size[0] * look.uniform(0.14, 0.26))
        layer = Image.new("RGBA", (wide, high))
        pen = ImageDraw.Draw(layer)
        head = wide * 0.3
        pen.rounded_rectangle((0, high * 0.22, wide - 1, high), wide * 0.22, fill=(*cloth, 255))
        if look.random() < 0.5:
            for y in range(int(high * 0.25), high, 14):
                pen.line((2, y, wide - 3, y), fill=(*(255 - v for v in cloth), 255), width=4)
        pen.ellipse((wide / 2 - head, 0, wide / 2 + head, head * 2.4), fill=(*(int(v * 0.5) for v in skin), 255))
        x, y = one.x * size[0] - wide / 2 + sway, size[1] - high
    elif one.kind == "trolley":
        wide, high = int(size[0] * look.uniform(0.2, 0.35)), int(size[1] * look.uniform(0.25, 0.45))
        layer = Image.new("RGBA", (wide, high))
        pen = ImageDraw.Draw(layer)
        pen.rectangle((0, 0, wide - 1, high - 1), fill=(*cloth, 255))
        for x0 in range(0, wide, 12):
            pen.line((x0, 0, x0, high), fill=(150, 150, 155, 255), width=3)
        x, y = one.x * (size[0] - wide), size[1] - high
    elif one.kind == "cart":
        layer = _cart(look, size)
        x, y = one.x * (size[0] + layer.width) - layer.width, size[1] - layer.height
    else:
        long, thick = int(size[1] * 0.75), int(size[0] * look.uniform(0.035, 0.06))
        layer = Image.new("RGBA", (thick, long))
        pen = ImageDraw.Draw(layer)
        pen.rounded_rectangle((0, 0, thick - 1, long), thick * 0.4, fill=(*skin, 255))
        pen.rectangle((0, long * 0.3, thick - 1, long), fill=(*cloth, 255))
        layer = layer.rotate(float(look.uniform(-35, 35)), expand=True)
        x, y = one.x * size[0] - layer.width / 2 + sway, one.y * size[1] - 20
    return layer.filter(ImageFilter.BoxBlur(1)), (int(x), int(y))


def _cart(look: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A trolley of wire, through which the shelf is seen, with goods on its floor."""
    wide, high = int(size[0] * look.uniform(0.25, 0.4)), int(size[1] * look.uniform(0.25, 0.4))
    layer = Image.new("RGBA", (wide, high))
    pen = ImageDraw.Draw(layer)
    for _ in range(int(look.integers(0, 5))):
        broad, tall = int(wide * look.uniform(0.15, 0.35)), int(high * look.uniform(0.2, 0.55))
        left, low = int(look.integers(wide - broad)), high - 1 - int(look.integers(high // 8 + 1))
        pen.rectangle((left, low - tall, left + broad, low), fill=(*(int(v) for v in look.integers(15, 240, 3)), 255))
    grey, mesh = int(look.integers(120, 235)), int(look.integers(24, 44))
    for across in range(0, wide, mesh):
        pen.line((across, 0, int(wide * 0.1 + across * 0.8), high), fill=(grey, grey, grey, 255), width=4)
    for down in range(0, high, mesh):
        pen.line((0, down, wide, down), fill=(grey, grey, grey, 255), width=4)
    return layer


def behind_wire(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A shelf all of which is behind carts' wire, with goods in them."""
    wired, layer = picture.copy(), _cart(rng, picture.size)
    for left in range(0, wired.width, layer.width):
        for top in range(0, wired.height, layer.height):
            wired.paste(layer, (left, top), layer)
    return wired


def seen(picture: Image.Image, rng: np.random.Generator) -> Pixels:
    """A picture as a camera gives it in good light."""
    return _jpeg(_noisy(np.asarray(picture), 3.0, rng), 80)


def life(
    *, seed: int = 0, hours: float = 24, slots: int = 40, events: int = 300, step_seconds: float = 60, uneventful: bool = False,
    calm: bool = False, carts: bool = False,
) -> ShelfLife:  # fmt: skip
    """The protocol's function. `calm`: nothing disturbs, for tests of single things; `carts`: trolleys are of wire."""
    found = ShelfLife(seed, hours, slots, events, step_seconds, uneventful, calm)
    if carts:
        found.passers = [replace(one, kind="cart") if one.kind == "trolley" else one for one in found.passers]
    return found


def main() -> None:
    """Write a strip of pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strip", metavar="OUT.jpg", required=True)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--every", type=int, default=29)
    options = parser.parse_args()
    found = []
    for number, (frame, _) in enumerate(life(seed=options.seed, hours=6, events=300).frames()):
        if number % options.every == options.every - 1:
            found.append(Image.fromarray(frame.pixels).resize((320, 240), Image.Resampling.BOX))
    found = found[:12]
    strip = Image.new("RGB", (4 * 324 - 4, math.ceil(len(found) / 4) * 244 - 4), (255, 255, 255))
    for number, picture in enumerate(found):
        strip.paste(picture, (number % 4 * 324, number // 4 * 244))
    strip.save(options.strip, quality=86)


if __name__ == "__main__":
    main()
