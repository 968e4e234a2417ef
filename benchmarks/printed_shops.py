"""Shops to measure encoders with that their training left out: new designs set with new typefaces, families of variants, photos of
boxes, and phone photos.

The stock is what `models/printer/gather.py` collects of typefaces that trained nothing (docs/benchmarks/encoders.md lists them).
    python benchmarks/printed_shops.py --stock STOCK PICTURES    # new designs, variants: what `models/measure.py --folder` reads

Each printed product has one picture as a catalogue shows it, and is asked for with one view: turned, cut, dark, in a hand or on
a shelf.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import goods
import numpy as np
import shops
from PIL import Image

PRODUCTS: Final = 500
FAMILIES: Final = 60
VARIANTS: Final = 6
SEED: Final = 40_000_000
"""The encoders' training designed families from 0 to some millions."""
SIDE: Final = 224
"""Pixels of a picture's side; encoders see 152."""
BATCH: Final = 25
HARD: Final = {"plain": (0.0, 0.0), "view": (0.2, 1.0)}
"""Between which a view's hardness lies, as `mixer.hardness` draws a query's."""


def new_designs(stock_folder: Path, work: Path) -> goods.Shop:
    """500 products, each of another family."""

    def chosen(stock: Any) -> Iterator[list[Any]]:
        from shelfmatch.models.printer import design

        for number in range(10 * PRODUCTS):
            yield design.family(SEED + number, stock, 2)[:1]

    return _shop("printed", stock_folder, work, chosen, PRODUCTS)


def families(stock_folder: Path, work: Path) -> goods.Shop:
    """60 families of six products that differ in a word or a band of colour alone."""

    def chosen(stock: Any) -> Iterator[list[Any]]:
        from shelfmatch.models.printer import design

        for number in range(1000 * FAMILIES):
            family = design.family(2 * SEED + number, stock, VARIANTS)
            if len(family) == VARIANTS and set(family[0].differs) <= {"word", "band"}:
                yield family

    return _shop("variants", stock_folder, work, chosen, FAMILIES * VARIANTS)


def boxes(work: Path) -> goods.Shop:
    """The photos of boxes left out, each asked for with a hard copy of itself (`models/measure.py`)."""
    from shelfmatch.models import measure

    return _of_rows("boxes", work, measure.boxes)


def phone_out(work: Path) -> goods.Shop:
    """Phone photos of the six classes that trained nothing, cut to the product: three of each, asked for the others."""
    from shelfmatch.models import measure

    return _of_rows("phone-out", work, measure.phone)


def _of_rows(name: str, work: Path, make: Callable[[Path], Any]) -> goods.Shop:
    catalogue: list[goods.Labelled] = []
    queries: list[goods.Labelled] = []
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, (sku, role, picture) in enumerate(make(shops.grocery_root().parent)):
        path = folder / f"{number:04d}.png"
        if not path.is_file():
            picture.save(path)
        (catalogue if role == "ref" else queries).append((path, sku))
    return goods.Shop(name, tuple(catalogue), tuple(queries))


def _shop(
    name: str, stock_folder: Path, work: Path, chosen: Callable[[Any], Iterator[list[Any]]], count: int
) -> goods.Shop:
    """The first `count` designs that can be printed, photographed plainly and hard; kept in `work`."""
    folder = work / name
    skus = [f"{name}-{number:04d}" for number in range(count)]
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prints, grounds = list(_printed(stock_folder, chosen, count)), _grounds()
        for kind in ("plain", "view"):
            for first in range(0, count, BATCH):
                part, seed = prints[first : first + BATCH], SEED + first + (kind == "view")
                shown = _photographed(part, HARD[kind], seed, grounds)
                for sku, picture in zip(skus[first : first + BATCH], shown, strict=True):
                    Image.fromarray(picture).save(folder / f"{sku}-{kind}.png")
        (folder / "done").touch()
    return goods.Shop(
        name,
        tuple((folder / f"{sku}-plain.png", sku) for sku in skus),
        tuple((folder / f"{sku}-view.png", sku) for sku in skus),
    )


def _printed(stock_folder: Path, chosen: Callable[[Any], Iterator[list[Any]]], count: int) -> Iterator[Any]:
    from shelfmatch.models.printer import package
    from shelfmatch.models.printer.stock import Stock

    stock = Stock(stock_folder)
    for family in chosen(stock):
        if count <= 0:
            return
        try:
            found = [package.printed(one, stock) for one in family]
        except (OSError, ValueError):  # one face of many can't draw one of its letters
            continue
        count -= len(found)
        yield from found


def _grounds() -> Any:
    """(G, 3, 160, 160) pictures to stand before: shelves that trained nothing."""
    import torch

    photos = sorted((shops.grocery_root().parent / "gaps").glob("*.jpg"))[::4]
    if not photos:
        shops.skip("no photos in gaps/ of the data")
    small = [np.asarray(Image.open(path).convert("RGB").resize((160, 160))) for path in photos]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)


def _photographed(prints: list[Any], hard: tuple[float, float], seed: int, grounds: Any) -> Any:
    """(N, SIDE, SIDE, 3) pictures; each stands beside others of the same batch."""
    import torch

    from shelfmatch.models.printer.views import Prints, photograph

    torch.manual_seed(seed)
    batch = Prints(
        *(
            torch.from_numpy(np.stack([getattr(one, name) for one in prints])).permute(0, 3, 1, 2)
            for name in ("front", "other")
        ),
        *(torch.tensor([getattr(one, name) for one in prints]) for name in ("size", "other_size")),
        torch.tensor([one.kind for one in prints]),
    )
    hardness = torch.rand(len(prints)) * (hard[1] - hard[0]) + hard[0]
    shown = photograph(batch, hardness, SIDE, grounds, batch)
    return shown.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Print new designs and families of variants.")
    parser.add_argument("--stock", type=Path, required=True, help="typefaces that are new")
    parser.add_argument("pictures", type=Path, help="gets SET/PRODUCT/ref-0.png and query-0.png")
    options = parser.parse_args()
    if not (options.stock / "words.json").is_file():
        parser.error(f"{options.stock} has no words.json; expected what models/printer/gather.py makes")
    with tempfile.TemporaryDirectory() as work:
        for make in (new_designs, families):
            shop = make(options.stock, Path(work))
            for role, labelled in (("ref", shop.catalogue), ("query", shop.queries)):
                for path, sku in labelled:
                    folder = options.pictures / shop.kind / sku
                    folder.mkdir(parents=True, exist_ok=True)
                    shutil.move(path, folder / f"{role}-0.png")
            print(f"{shop.kind}: {len(shop.catalogue)} products", flush=True)


if __name__ == "__main__":
    main()
