"""Photos of nothing in ten shops with three encoders: none may be a match; and how flat real photos of products are.

    python benchmarks/nothing.py --encoders shelfmatch-cnn shelfmatch-vit v1

The photos: plain walls, black and white frames with sensor noise, gradients of light, out-of-focus frames, empty places on shelves
(`gaps`, measured only), rendered backgrounds. The shops: the real ones and rendered ones of 2 to 60 products, each built as a
shop's owner would.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import goods
import numpy as np
import reporting
import shops
from encoders import file_of
from PIL import Image, ImageFilter
from real_goods import catalogue_csv

KINDS = ("plain", "black", "white", "gradient", "out of focus", "empty shelf", "background")


def nothing(work: Path, count: int = 200) -> list[tuple[str, Path]]:
    """(kind, file) of `count` photos that show no product."""
    folder = work / "nothing"
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    found = []
    gaps = _empty_places()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        path = folder / f"{number:03d}.jpg"
        if not path.exists():
            _picture(kind, random, gaps).save(path, quality=90)
        found.append((kind, path))
    return found


def _picture(kind: str, random: np.random.Generator, gaps: Iterator[Image.Image]) -> Image.Image:
    if kind == "empty shelf":
        return next(gaps)
    if kind in ("background", "out of focus"):
        from shelfmatch.edge.synthetic.products import render_background

        picture = render_background(int(random.integers(10**6)))
        return picture.filter(ImageFilter.GaussianBlur(40)) if kind == "out of focus" else picture
    level = {"black": 3.0, "white": 252.0}.get(kind, float(random.uniform(20, 235)))
    pixels = np.full((480, 640, 3), level) + random.normal(0, 2, (480, 640, 3))
    if kind == "plain":
        pixels += random.normal(0, 25, 3)
    if kind == "gradient":
        pixels += np.linspace(-20, 20, 640)[None, :, None]
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _empty_places() -> Iterator[Image.Image]:
    """The largest empty place of each photo of `gaps`."""
    root = shops.grocery_root().parent / "gaps"
    for record in json.loads((root / "photos.json").read_text(encoding="utf-8")):
        boxes = sorted(record["gaps"], key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        if boxes:
            with Image.open(root / record["photo"]) as image:
                yield image.convert("RGB").crop(tuple(round(edge) for edge in boxes[-1]))


def made_shops(work: Path) -> dict[str, goods.Shop]:
    """Ten shops: real ones, and parts of the rendered one."""
    found = {kind: goods.SHOPS[kind](work) for kind in ("grozi", "phone", "fridge", "grocery-iconic")}
    whole = goods.rendered(work)
    for count in (2, 3, 6, 10, 25, 60):
        skus = whole.skus[: count * 7 : 7]
        found[f"rendered {count}"] = whole.without([sku for sku in whole.skus if sku not in skus])
    return found


def spreads(work: Path, name: str) -> dict[str, list[float]]:
    """The five flattest photos of products: what `Embedding.spread` says of them, in grey levels."""
    from shelfmatch.edge import Encoder

    encoder = Encoder.load(file_of(name, work))
    found = {}
    for kind in ("phone", "fridge"):
        shop = goods.SHOPS[kind](work)
        photos = [path for path, _ in (*shop.catalogue, *shop.queries)]
        found[kind] = sorted(round(encoder.embed_timed(path).spread, 1) for path in photos)[:5]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    from shelfmatch.edge import Matcher, MatchResult, build_bundle

    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", default=["shelfmatch-cnn", "shelfmatch-vit", "v1"])
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args(arguments)
    report = reporting.Report.start("nothing", encoders=options.encoders, count=options.count)
    rows: list[tuple[object, ...]] = []
    with reporting.work_folder(options.work) as work:
        photos = nothing(work, options.count)
        report.results["flattest photos of products"] = spreads(work, options.encoders[0])
        print("the flattest photos of products:", report.results["flattest photos of products"])
        for name in options.encoders:
            for shop_name, shop in made_shops(work).items():
                bundle = work / "nothing.bundle"
                build_bundle(catalogue_csv(shop, work), bundle, encoder=file_of(name, work))
                accepted: dict[str, Any] = dict.fromkeys(KINDS, 0)
                with Matcher.open(bundle) as matcher:
                    answers = matcher.match_many([path for _, path in photos])
                    for (kind, _), answer in zip(photos, answers, strict=True):
                        accepted[kind] += isinstance(answer, MatchResult) and answer.decision == "match"
                report.results.setdefault(name, {})[shop_name] = accepted
                rows.append((name, shop_name, *accepted.values(), sum(accepted.values())))
                print(*rows[-1], flush=True)
    reporting.print_table(f"Accepted of {options.count}", ("encoder", "shop", *KINDS, "all"), rows)
    report.bar("photos of nothing accepted", sum(int(str(row[-1])) for row in rows), 0)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
