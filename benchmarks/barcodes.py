"""Rendered packages with a readable bar code under hard views, and others without one or with a foreign one.

    python benchmarks/barcodes.py --count 1000

A code is printed on the package's picture before the camera sees it: small, tilted, out of the middle, with the camera's blur,
noise and
light. How many are settled by their code or by a sure look, how many answers are wrong, and how many of the others get a name.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reporting
from encoders import file_of
from PIL import Image

SHOP, SIZE = 905, (960, 720)


def printed(view: Image.Image, number: str, random: np.random.Generator) -> Image.Image:
    """The photo with a bar code stuck on the product, seen from aside."""
    import zxingcpp

    made = zxingcpp.create_barcode(number, zxingcpp.BarcodeFormat.EAN13)
    code = Image.fromarray(np.pad(np.asarray(zxingcpp.write_barcode_to_image(made, scale=6)), 60, constant_values=255))
    wide = int(random.uniform(0.26, 0.45) * view.width)
    label = code.convert("L").resize((wide, int(wide * random.uniform(0.4, 0.6))), Image.Resampling.LANCZOS)
    squeeze = float(random.uniform(0.75, 1.0))  # turned away from the camera
    label = label.resize((max(1, int(label.width * squeeze)), label.height), Image.Resampling.BILINEAR)
    mask = Image.new("L", label.size, 255)
    angle = float(random.uniform(-180, 180))
    turned, cover = (one.rotate(angle, Image.Resampling.BICUBIC, expand=True) for one in (label, mask))
    x, y = (
        int(random.uniform(0.25, 0.75) * length - turned_length / 2)
        for length, turned_length in zip(view.size, turned.size, strict=True)
    )
    view.paste(turned.convert("RGB"), (x, y), cover)
    return view


def seen(view: Image.Image, random: np.random.Generator) -> Image.Image:
    """By a camera: light, blur, noise, JPEG left to the caller."""
    from PIL import ImageFilter

    pixels = np.asarray(view.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.2)))), float)
    pixels = pixels * random.uniform(0.45, 1.15) + random.normal(0, random.uniform(0, 7), (*pixels.shape[:2], 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def measured(work: Path, encoder: str, count: int) -> dict[str, int]:
    """How many of `count` photos with a code, and of as many without or with a foreign one, ended how."""
    from shelfmatch.edge import Matcher, build_bundle
    from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view

    random = np.random.default_rng(18)
    products = make_shop(2 * count, SHOP)
    own, others = products[:count], products[count:]
    folder = work / "barcodes"
    folder.mkdir(exist_ok=True)
    rows: list[tuple[Any, ...]] = [("image", "sku", "gtin")]
    for product in own:
        place = folder / f"{product.sku}.png"
        if not place.exists():
            render_plain(product, 200).save(place)
        rows.append((place, product.sku, product.gtin))
    with (work / "barcodes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    build_bundle(work / "barcodes.csv", Path(work / "barcodes.bundle"), encoder=file_of(encoder, work))
    settled = looked = wrong = false = foreign = 0
    with Matcher.open(work / "barcodes.bundle", look_again=False) as matcher:
        for number, (product, other) in enumerate(zip(own, others, strict=True)):
            answer = matcher.match(
                np.asarray(seen(printed(render_view(product, 0, SIZE, 0.8), product.gtin, random), random))
            )
            right = answer.sku == product.sku
            settled += right and answer.decided_by == "barcode"
            looked += right and answer.decided_by == "image"
            wrong += answer.sku not in (None, product.sku)
            view = render_view(other, 0, SIZE, 0.8)
            if number % 2:
                view = printed(view, other.gtin, random)
            answer = matcher.match(np.asarray(seen(view, random)))
            false += answer.sku is not None and answer.decided_by == "barcode"
            foreign += answer.sku is None and answer.decided_by == "barcode"
    return {
        "settled": settled,
        "accepted by their look": looked,
        "wrong": wrong,
        "false by bar code": false,
        "foreign codes read": foreign,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoder", default="shelfmatch-cnn")
    parser.add_argument("--count", type=int, default=1000, help="photos of each kind")
    options = parser.parse_args(arguments)
    report = reporting.Report.start("barcodes", encoder=options.encoder, count=options.count)
    with reporting.work_folder(options.work) as work:
        report.results = measured(work, options.encoder, options.count)
    count = options.count
    found = report.results
    reporting.print_table(
        f"Of {count:,} photos each", ("what", "photos"), [(key, str(value)) for key, value in report.results.items()]
    )
    report.bar(
        "settled, or accepted and right",
        (found["settled"] + found["accepted by their look"]) / count,
        0.8,
        at_least=True,
    )
    report.bar("wrong", found["wrong"], 0)
    report.bar("false by a bar code", found["false by bar code"], 0)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
