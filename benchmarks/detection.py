"""How well "shelfmatch-detect" finds products and empty places, on photos and designs that trained nothing.

    python benchmarks/detection.py --faces FACES
    python benchmarks/detection.py --faces FACES --detector OTHER.tflite --shelves 20

FACES is what `models/detection/faces.py` makes of a stock of typefaces (or SHELFMATCH_FACES says where it is); without it the
rendered shelves are left out. Real ones:
phone photos of the six classes kept out of training, every second photo of the fridge, 140 shelves with their empty places boxed
(measured with only). Average precision is over all finds from a score of 0.03 on, with tiles as `Detector.detect` takes them;
counts are of finds from the card's own floor on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import reporting
import shops
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shelfmatch.edge.detection.detector import Detector
from shelfmatch.models.detection.precision import Found, average_precision, recall_at

LOWEST: Final = 0.03
PARTLY_OUTLINED: Final = (
    6, 7, 16, 50, *range(61, 65), *range(66, 73), 112, 113, 116, 119, 131, 136, 156, *range(162, 166), 173, 174, *range(183, 187),
    *range(189, 196), 198, *range(201, 206), *range(208, 215), *range(221, 229), 231, 233, 236, 244, *range(254, 257),
    *range(265, 281), *range(291, 295), 303, 306, *range(313, 315), *range(318, 322),
)  # fmt: skip
"""Of the phone photos with left-out classes, in the order of photos.json, those that show products nobody outlined (shops, shelves
of a room), or whose outline lies beside the product. Told apart by eye, before anything was measured with them."""
LOOKED_AT: Final = frozenset((*range(0, 140, 4), 3, 7, 8, 17, 30, 44, 58, 71, 85, 99, 112, 126, 135))
"""Of the shelves with boxed gaps, in the order of photos.json, those that were looked at, or whose boxes were held against what was
found, before rendered shelves were made more like them."""
SHELF_SIDE: Final = 1280
FACINGS: Final = (100, 300)
Photo = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
"""Pixels, true boxes (G, 4), boxes (U, 4) whose finds count neither way."""
NONE: Final = np.zeros((0, 4), np.float32)


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """Upright RGB pixels."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def phone(folder: Path, whole: bool) -> Iterator[Photo]:
    """Photos with a class that was left out; `whole`: those on which every product is outlined."""
    from shelfmatch.models.detection.real import phone_photos, polygon_box

    for number, photo in enumerate(phone_photos(folder, out=True)):
        if not whole or number not in PARTLY_OUTLINED:
            boxes = np.array([polygon_box(product) for product in photo["products"]], np.float32)
            yield pixels_of(folder / photo["photo"]), boxes.reshape(-1, 4), NONE


def fridge(folder: Path) -> Iterator[Photo]:
    """The photos that trained nothing, empty ones among them."""
    from shelfmatch.models.detection.real import fridge_is_out

    for number, photo in enumerate(json.loads((folder / "photos.json").read_text())):
        if fridge_is_out(number):
            boxes = np.array([product["box"] for product in photo["products"]], np.float32)
            yield pixels_of(folder / photo["photo"]), boxes.reshape(-1, 4), NONE


def gaps(folder: Path, all_of_them: bool) -> Iterator[Photo]:
    """Shelves with their empty places; `all_of_them`: those that were looked at, too."""
    for number, photo in enumerate(json.loads((folder / "photos.json").read_text())):
        if number in LOOKED_AT and not all_of_them:
            continue
        yield pixels_of(folder / photo["photo"]), np.array(photo["gaps"], np.float32).reshape(-1, 4), NONE


def shelves(faces: Path, count: int, kind: int) -> Iterator[Photo]:
    """Rendered shelves of new designs with 100 to 300 facings; their products (0) or their empty places (1)."""
    from shelfmatch.models.detection import faces as stored
    from shelfmatch.models.detection.camera import photographed
    from shelfmatch.models.detection.shelves import Layout, shelf

    products, rng = stored.read(faces, "new"), np.random.default_rng(2400)
    while count:
        plan = Layout(
            float(rng.uniform(70, 150)), float(rng.choice([0.0, 0.08, 0.15])), float(rng.choice([0.1, 0.4, 1.0]))
        )
        scene = shelf(products, rng, SHELF_SIDE, plan)
        if FACINGS[0] <= int((scene.kinds == 0).sum()) <= FACINGS[1]:
            count -= 1
            yield photographed(scene.pixels, rng), scene.boxes[scene.kinds == kind], scene.boxes[scene.kinds < 0]


def looked_at(detector: Detector, photos: Iterator[Photo], kind: str) -> tuple[list[Found], float]:
    """What is found on each, and the processor seconds a photo."""
    found, spent = [], 0.0
    for pixels, true, unsure in photos:
        began = time.process_time()
        seen = detector.detect(pixels, kinds=(kind,), floor=LOWEST)  # type: ignore[arg-type]
        spent += time.process_time() - began
        boxes = np.array([one.box for one in seen], np.float32).reshape(-1, 4)
        found.append(Found(boxes, np.array([one.score for one in seen], np.float32), true, unsure))
    return found, spent / max(1, len(found))


def count_error(photos: list[Found], floor: float) -> float:
    """By what share of its facings a photo's count is off, in the mean; finds on what is cut off or hidden aren't counted."""
    from shelfmatch.models.detection.precision import matched

    errors = []
    for photo in photos:
        kept = photo.scores >= floor
        counted = matched(Found(photo.boxes[kept], photo.scores[kept], photo.true, photo.unsure), 0.5) >= 0
        errors.append(abs(int(counted.sum()) - len(photo.true)) / len(photo.true))
    return float(np.mean(errors))


def measure(
    detector: Detector, sets: dict[str, tuple[Callable[[], Iterator[Photo]], str]]
) -> dict[str, dict[str, Any]]:
    """Figures of each set."""
    results = {}
    for name, (photos, kind) in sets.items():
        if kind not in detector.kinds:
            continue
        found, spent = looked_at(detector, photos(), kind)
        recall, score = recall_at(found, 1.0)
        results[name] = {
            "photos": len(found),
            "boxes": sum(len(photo.true) for photo in found),
            "ap30": 100 * average_precision(found, 0.3),
            "ap50": 100 * average_precision(found, 0.5),
            "ap75": 100 * average_precision(found, 0.75),
            "recall_at_one_false": 100 * recall,
            "score_there": score,
            "count_off": 100 * count_error(found, detector.card.floor)
            if name.startswith("shelves") and kind == "product"
            else None,
            "cpu_seconds": spent,
        }
        print(
            f"{name}: {json.dumps({key: value if value is None else round(value, 3) for key, value in results[name].items()})}",
            flush=True,
        )
    return results


BARS: Final = (
    ("phone", "ap50", 85.0), ("fridge", "recall_at_one_false", 95.0), ("shelves", "ap50", 95.0), ("shelves", "ap75", 80.0),
    ("gaps", "ap50", 40.0),
)  # fmt: skip


def main() -> int:
    """The command line; see the first lines."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--detector", default="shelfmatch-detect", help="a name, a file or a card")
    known = os.environ.get("SHELFMATCH_FACES")
    parser.add_argument(
        "--faces",
        type=Path,
        metavar="DIR",
        default=Path(known) if known else None,
        help="what models/detection/faces.py made",
    )
    parser.add_argument("--shelves", type=int, default=24, metavar="N", help="rendered shelves (default: 24)")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--only", nargs="+", help="some of the sets, by name")
    arguments = parser.parse_args()
    data = shops.grocery_root().parent
    detector = Detector.open(arguments.detector, runtime=arguments.runtime)
    report = reporting.Report.start("detection", detector=detector.card.name, shelves=arguments.shelves)
    sets: dict[str, tuple[Callable[[], Iterator[Photo]], str]] = {
        "phone": (lambda: phone(data / "phone", whole=False), "product"),
        "phone, all outlined": (lambda: phone(data / "phone", whole=True), "product"),
        "fridge": (lambda: fridge(data / "fridge"), "product"),
        "gaps": (lambda: gaps(data / "gaps", all_of_them=True), "gap"),
        "gaps, never looked at": (lambda: gaps(data / "gaps", all_of_them=False), "gap"),
    }
    if arguments.faces is not None:
        sets["shelves"] = (lambda: shelves(arguments.faces, arguments.shelves, 0), "product")
        sets["shelves' gaps"] = (lambda: shelves(arguments.faces, arguments.shelves, 1), "gap")
    if arguments.only:
        sets = {name: value for name, value in sets.items() if name in arguments.only}
    report.results = measure(detector, sets)
    rows = [
        (name, one["photos"], one["boxes"], *(f"{one[key]:.1f}" for key in ("ap50", "ap75", "recall_at_one_false")),
         "" if one["count_off"] is None else f"{one['count_off']:.1f} %", f"{one['cpu_seconds']:.2f} s")
        for name, one in report.results.items()
    ]  # fmt: skip
    header = (
        "photos",
        "number",
        "boxes",
        "AP50",
        "AP75",
        "found at ≤ 1 false a photo",
        "count off by",
        "processor time",
    )
    reporting.print_table("What is found", header, rows)
    for name, key, limit in BARS:
        if name in report.results:
            report.bar(f"{name}, {key}", report.results[name][key], limit, at_least=True)
    if "shelves" in report.results:
        report.bar("shelves, count off by %", report.results["shelves"]["count_off"], 3.0)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
