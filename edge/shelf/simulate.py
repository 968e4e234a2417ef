"""`shelf simulate`: a rendered shelf with a plan, taught photos, a catalogue and frames, for those who connect something to it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from ..camera.frame import Frame
from ..errors import ShelfError
from ..imaging.image import Pixels
from ..synthetic.products import make_shop, render_plain, render_view
from ..synthetic.shelf_scene import Bay
from . import geometry
from .planogram import Fixture, Photo, Planogram, PlanProduct, Slot, planogram_of, read_planogram
from .teach import check_photo_paths, taught

_NOISE: Final = 3.0
FRAME_NAME: Final = "frame{:06d}.jpg"


class Simulation:
    """A shelf of `rows` × `across` slots that follows from its seed."""

    def __init__(self, seed: int = 0, rows: int = 3, across: int = 5) -> None:
        self.seed, self.rows, self.across = seed, rows, across
        self._bay = self._new_bay()

    def _new_bay(self) -> Bay:
        return Bay(self.seed, self.rows, self.across)

    def check_ours(self, path: Path, offered: Collection[str] | None = None) -> None:
        """Raises ShelfError where a plan of another shelf, or the bundle of another shop, is at this place. `offered`: the SKUs of
        the bundle that is there."""
        skus = {one.product.sku for one in self._bay.places}
        what = ""
        if path.exists() and {*read_planogram(path).skus} != skus:
            what = f"{path} is the plan of another shelf"
        elif offered is not None and not skus <= {*offered}:
            what = f"{path.parent} holds the bundle of another shop"
        if what:
            raise ShelfError(f"{what}, or of another --seed; name another folder, nothing in this one was changed")

    def write_catalogue(self, folder: Path) -> None:
        """Three photos of each product, `folder/<sku>/*.png`, as `shelfmatch build` takes them."""
        for product in self._bay.products:
            target = folder / product.sku
            target.mkdir(parents=True, exist_ok=True)
            render_plain(product, 320).save(target / "plain.png")
            for view in (1, 2):
                render_view(product, view, (320, 320), 0.2).save(target / f"view{view}.png")

    def write_plan(self, path: Path) -> Planogram:
        """The plan, with the photos of the full and the empty shelf beside it."""
        width, height = self._bay.size
        slots = tuple(
            Slot(one.id, one.product.sku, geometry.box(*one.box), one.facings, one.facings, (), one.id[:2])
            for one in self._bay.places
        )
        fixtures = tuple(
            Fixture(f"r{n + 1}", width, height / self.rows, 0, n * height / self.rows) for n in range(self.rows)
        )
        products = tuple(PlanProduct(one.sku, one.name) for one in self._bay.products)
        plan = Planogram("simulated shelf", slots, products, fixtures, Photo(width, height), width, height)
        bare = self._new_bay()
        for one in bare.places:
            for facing in range(one.facings):
                bare.put(one.id, facing, [])
        check_photo_paths(read_planogram(path) if path.exists() else plan, path, ("",), ("",))
        full, empty = (np.asarray(bay.picture) for bay in (self._bay, bare))
        return taught(planogram_of(plan.to_document()), path, full, empty)

    def frames(self, count: int, step_s: float, begin: float | None = None) -> Iterator[Frame]:
        """Frames of sales, refills, products in wrong places, passers-by and changing light."""
        rng = np.random.default_rng([self.seed, 0x51])
        bay, strange = self._new_bay(), make_shop(1, 997)[0]
        begin = time.time() if begin is None else begin
        for number in range(count):
            if number >= 5 and number % 6 == 0:
                self._happens(bay, rng, strange)
            pixels = np.asarray(
                self._passed(bay, rng) if rng.random() < 0.2 and number >= 5 else bay.picture, np.float32
            )
            light = 1 + 0.15 * np.sin(number / 40) + rng.normal(0, 0.01)
            noisy = pixels * np.float32(light) + rng.normal(0, _NOISE, pixels.shape[:2])[..., None].astype(np.float32)
            yield Frame(noisy.clip(0, 255).astype(np.uint8), begin + number * step_s, number, "simulation")

    def _happens(self, bay: Bay, rng: np.random.Generator, strange: object) -> None:
        """One thing in one slot: a refill where something is missing or wrong, else a sale, or a wrong product."""
        one = bay.places[int(rng.integers(len(bay.places)))]
        facing = int(rng.integers(one.facings))
        items = bay.stock[one.id][facing]
        if not items or items[0].sku != one.product.sku:
            bay.put(one.id, facing, [one.product] * bay.depth)
        elif rng.random() < 0.7:
            bay.put(one.id, facing, [])
        else:
            others = [*(place.product for place in bay.places if place.product != one.product), strange]
            bay.put(one.id, facing, [others[int(rng.integers(len(others)))]])  # type: ignore[list-item]

    def _passed(self, bay: Bay, rng: np.random.Generator) -> Image.Image:
        """Somebody before the shelf."""
        picture = bay.picture.copy()
        pen = ImageDraw.Draw(picture)
        wide, x = 0.2 * picture.width, float(rng.random()) * picture.width
        cloth = tuple(int(v) for v in rng.integers(20, 230, 3))
        top = picture.height * float(rng.uniform(0.1, 0.4))
        pen.rounded_rectangle((x, top + wide * 0.7, x + wide, picture.height + 40), wide * 0.2, fill=cloth)
        pen.ellipse((x + wide * 0.25, top, x + wide * 0.75, top + wide * 0.7), fill=(150, 110, 90))
        return picture


def saved(frame: Frame, folder: Path) -> Path:
    """Write a frame as JPEG into a folder that a watch may follow, with the frame's time; under a hidden name first, so that nobody
    reads half of it."""
    path = folder / FRAME_NAME.format(frame.number)
    hidden = folder / f".{path.name}"
    _image(frame.pixels).save(hidden, "JPEG", quality=85)
    os.utime(hidden, (frame.time, frame.time))
    hidden.replace(path)
    return path


def forget_frames(folder: Path) -> None:
    """Remove frames that an earlier simulation left in a folder."""
    for path in folder.glob(FRAME_NAME.replace("{:06d}", "[0-9]" * 6)):
        path.unlink()


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
