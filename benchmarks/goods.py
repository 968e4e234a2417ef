"""Shops of real goods to measure with: GroZi's in-store frames, phone crops, a fridge, and the grocery photos.

Each is what `../shared/data/README.md` prescribes: which pictures are the catalogue, which the queries. Nothing here trains
anything; GroZi may only be measured with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shops
from PIL import Image, ImageOps

GROZI_CATALOGUE: Final = ("00", "11")
GROZI_QUERIES: Final = ("04", "05", "06", "07")
PHONE_CATALOGUE: Final = 3
"""So many photos (by name) of each class of `phone` are its catalogue."""
BORDER: Final = 0.06
"""What is left around a product when it is cut out, of the box's sides."""

Labelled = tuple[Path, str]
"""A picture's file and its SKU."""


@dataclass(frozen=True, slots=True)
class Shop:
    """`catalogue` and `queries` of one shop. `kind` stands in tables."""

    kind: str
    catalogue: tuple[Labelled, ...]
    queries: tuple[Labelled, ...]

    @property
    def skus(self) -> tuple[str, ...]:
        """The products that the catalogue has, in order of their names."""
        return tuple(sorted({sku for _, sku in self.catalogue}))

    def without(self, left_out: Sequence[str]) -> Shop:
        """The shop as if it didn't sell some products; their queries stay."""
        gone = set(left_out)
        return Shop(self.kind, tuple(one for one in self.catalogue if one[1] not in gone), self.queries)


def grozi(work: Path) -> Shop:
    """60 products in frames of an in-store video, two of each in the catalogue."""
    return Shop("grozi", grozi_frames(GROZI_CATALOGUE), grozi_frames(GROZI_QUERIES))


def grozi_frames(wanted: Sequence[str]) -> tuple[Labelled, ...]:
    """GroZi's frames of these numbers, "00" to "11"."""
    found = sorted(path for path in _folder("grozi").glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return tuple((path, path.parent.name) for path in found if path.stem[-2:] in wanted)


def phone(work: Path) -> Shop:
    """Twelve packaged goods in photos of a phone, cut to the product."""
    crops: list[tuple[str, Labelled]] = []
    for photo, sku, box, name in _phone_products():
        crops.append((photo, (_cut(photo, box, work / "phone" / f"{name}.png"), sku)))
    chosen: dict[str, list[str]] = {}
    for photo, (_, sku) in sorted(crops):
        seen = chosen.setdefault(sku, [])
        if photo not in seen and len(seen) < PHONE_CATALOGUE:
            seen.append(photo)
    catalogue = tuple(crop for photo, crop in crops if photo in chosen[crop[1]])
    return Shop("phone", catalogue, tuple(crop for photo, crop in crops if photo not in chosen[crop[1]]))


def phone_whole(work: Path) -> Shop:
    """The same catalogue; photos with exactly one product as they came are the queries."""
    cut = phone(work)
    known = {path.stem.rpartition("-")[0] for path, _ in cut.catalogue}
    root = _folder("phone")
    queries = []
    for record in json.loads((root / "photos.json").read_text(encoding="utf-8")):
        path = root / record["photo"]
        if len(record["products"]) == 1 and path.stem not in known:
            queries.append((path, record["products"][0]["sku"]))
    return Shop("phone whole", cut.catalogue, tuple(queries))


def fridge(work: Path) -> Shop:
    """Eight goods in a fridge: each one's box in the first photo that has it, and the boxes of the other photos."""
    root = _folder("fridge")
    catalogue: dict[str, tuple[str, Labelled]] = {}
    crops: list[tuple[str, Labelled]] = []
    for record in json.loads((root / "photos.json").read_text(encoding="utf-8")):
        for number, product in enumerate(record["products"]):
            photo = str(root / record["photo"])
            place = work / "fridge" / f"{Path(photo).stem}-{number}.png"
            crop = (_cut(photo, product["box"], place, border=0.0), product["sku"])
            crops.append((photo, crop))
            catalogue.setdefault(product["sku"], (photo, crop))
    kept = tuple(crop for _, crop in catalogue.values())
    return Shop("fridge", kept, tuple(crop for photo, crop in crops if photo != catalogue[crop[1]][0]))


def grocery(work: Path) -> Shop:
    """81 products by hand in real shops: all train photos, asked for val's."""
    return Shop("grocery", _of_split("train"), _of_split("val"))


def grocery_iconic(work: Path) -> Shop:
    """The same queries; one catalogue picture of each product."""
    import csv

    root = shops.grocery_root()
    with (root / "classes.csv").open(newline="", encoding="utf-8") as file:
        pictures = [
            (root / row["Iconic Image Path (str)"].lstrip("/"), f"{int(row['Class ID (int)']):03d}")
            for row in csv.DictReader(file)
        ]
    return Shop("grocery iconic", tuple(pictures), _of_split("val"))


def rendered(work: Path) -> Shop:
    """500 rendered products that trained nothing: a plain picture each, asked for a hard view."""
    from encoders import rendered_shop

    folder, queries = rendered_shop(work)
    return Shop("rendered", tuple((path, path.parent.name) for path in sorted(folder.glob("*/*.png"))), tuple(queries))


SHOPS: Final[dict[str, Callable[[Path], Shop]]] = {
    "grozi": grozi, "phone": phone, "phone-whole": phone_whole, "fridge": fridge, "grocery": grocery,
    "grocery-iconic": grocery_iconic, "rendered": rendered,
}  # fmt: skip


def quarters(shop: Shop, draws: int, seed: int = 0) -> Iterator[tuple[str, ...]]:
    """Seeded draws of a quarter of the products, to be left out of the shop."""
    random = np.random.default_rng(seed)
    count = max(1, len(shop.skus) // 4)
    for _ in range(draws):
        yield tuple(sorted(random.choice(shop.skus, count, replace=False).tolist()))


def _folder(name: str) -> Path:
    root = shops.grocery_root().parent / name
    if not root.is_dir():
        shops.skip(f"{root.name} is not beside the grocery photos; see the README of shared/data")
    return root


def _of_split(split: str) -> tuple[Labelled, ...]:
    return tuple((photo.path, f"{photo.label:03d}") for photo in shops.grocery_photos(split))


def _phone_products() -> Iterator[tuple[str, str, tuple[float, ...], str]]:
    root = _folder("phone")
    for record in json.loads((root / "photos.json").read_text(encoding="utf-8")):
        path = root / record["photo"]
        for number, product in enumerate(record["products"]):
            corners = np.array(product["polygon"], float)
            box = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
            yield str(path), product["sku"], box, f"{path.stem}-{number}"


def _cut(photo: str, box: Sequence[float], place: Path, border: float = BORDER) -> Path:
    """A box of a photo with a border around it, as a file of its own."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as image:
            upright: Any = ImageOps.exif_transpose(image.convert("RGB"))
        wide, high = border * (box[2] - box[0]), border * (box[3] - box[1])
        left, top = max(0, round(box[0] - wide)), max(0, round(box[1] - high))
        right, bottom = min(upright.width, round(box[2] + wide)), min(upright.height, round(box[3] + high))
        upright.crop((left, top, max(left + 1, right), max(top + 1, bottom))).save(place)
    return place
