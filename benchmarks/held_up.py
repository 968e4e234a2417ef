"""Products held up in rendered rooms: how many boxes of a photo are worth trying (`MOST_BOXES` of edge/matching/locate.py).

    python benchmarks/held_up.py --faces FACES --shops 6 --boxes 1 2 3 4

FACES is what `models/detection/faces.py` makes of a stock of typefaces (or SHELFMATCH_FACES says where it is). Each shop has
thirty packages of designs and typefaces that trained no detector, one plain picture each; asked are three photos of each, and six
of each of twelve that the shop doesn't have: in a hand or standing about, before parts of real photos and rendered rooms, through a
camera's blur and noise. Nothing of it measures anything else, so that the number may be chosen on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import reporting
from numpy.typing import NDArray
from PIL import Image
from reporting import Report

from shelfmatch.edge import Matcher, build_bundle
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.matching import locate
from shelfmatch.models.detection import real, rooms
from shelfmatch.models.detection.camera import photographed
from shelfmatch.models.detection.faces import PRINTED, Faces, read

SIDE: Final = 640
KNOWN, STRANGE, EACH = 30, 12, 3
BORDER: Final = 15
HEADER: Final = ("boxes", "recall@1", "right accepts", "accepted as another", "false accepts", "located")
DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"


def front(faces: Faces, number: int) -> Image.Image:
    """A package's front on white, twice as large."""
    face = faces.cut(number).astype(np.float32)
    plain = (face[:, :, :3] + 255 - face[:, :, 3:]).clip(0, 255).astype(np.uint8)
    high, wide = plain.shape[:2]
    picture = np.full((high + 2 * BORDER, wide + 2 * BORDER, 3), 255, np.uint8)
    picture[BORDER : BORDER + high, BORDER : BORDER + wide] = plain
    return Image.fromarray(picture).resize((2 * picture.shape[1], 2 * picture.shape[0]))


def alone(faces: Faces, number: int) -> Faces:
    """The faces of one product."""
    one = slice(number, number + 1)
    return Faces(faces.front[one], faces.other[one], faces.sizes[one], faces.kinds[one], faces.families[one])


def photo(faces: Faces, number: int, rng: np.random.Generator, grounds: NDArray[np.uint8]) -> Pixels:
    """A product held up or standing about."""
    product = alone(faces, number)
    while True:
        scene = rooms.held(product, rng, SIDE, grounds)
        if len(scene.boxes):
            return photographed(scene.pixels, rng)


def asked(
    faces: Faces, chosen: NDArray[np.int64], rng: np.random.Generator, grounds: NDArray[np.uint8]
) -> Iterator[tuple[Pixels, str]]:
    """Photos with their SKU, "" of a product that the shop doesn't have."""
    for place, number in enumerate(chosen.tolist()):
        for _ in range(EACH if place < KNOWN else 2 * EACH):
            yield photo(faces, number, rng, grounds), f"P{number}" if place < KNOWN else ""


def counts(matcher: Matcher, photos: list[tuple[Pixels, str]], boxes: int) -> tuple[float, ...]:
    """Shares, in the order of HEADER; no boxes: the whole photo alone."""
    locate.MOST_BOXES = boxes
    answers = [(matcher.match(pixels, top_k=1, locate="auto" if boxes else "off"), sku) for pixels, sku in photos]
    known = [(answer, sku) for answer, sku in answers if sku]
    strange = [answer for answer, sku in answers if not sku]
    return (
        float(np.mean([bool(answer.candidates) and answer.candidates[0].sku == sku for answer, sku in known])),
        float(np.mean([answer.sku == sku for answer, sku in known])),
        float(np.mean([answer.sku not in (None, sku) for answer, sku in known])),
        float(np.mean([answer.sku is not None for answer in strange])),
        float(np.mean([answer.located is not None for answer, _ in answers])),
    )


def main() -> int:
    """Draw shops, ask, and say."""
    parser = reporting.argument_parser(__doc__)
    faces_at = os.environ.get("SHELFMATCH_FACES")
    parser.add_argument("--faces", type=Path, default=faces_at and Path(faces_at), required=faces_at is None)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with phone and fridge")
    parser.add_argument("--shops", type=int, default=6)
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 2, 3, 4])
    options = parser.parse_args()
    for needed, what in (
        (options.faces / "new-front.npy", "--faces"),
        (options.data / "phone" / "photos.json", "--data"),
    ):
        if not needed.is_file():
            parser.error(f"{needed} is not there; expected in the folder that {what} names")
    faces, grounds = read(options.faces, "new"), real.grounds(real.photos(options.data)[0], 7)
    report = Report.start("held-up", shops=options.shops, known=KNOWN, strange=STRANGE, odds=locate.ODDS)
    found: dict[int, list[tuple[float, ...]]] = {boxes: [] for boxes in (0, *options.boxes)}
    with reporting.work_folder(options.work) as work:
        for shop in range(options.shops):
            rng = np.random.default_rng(100 + shop)
            chosen = rng.choice(PRINTED["new"], KNOWN + STRANGE, replace=False)
            catalogue, bundle = work / f"held-up-{shop}", work / f"held-up-{shop}.bundle"
            for number in chosen[:KNOWN].tolist():
                picture = catalogue / f"P{number}" / "front.png"
                picture.parent.mkdir(parents=True, exist_ok=True)
                front(faces, number).save(picture)
            if not bundle.exists():
                build_bundle(catalogue, bundle)
            photos = list(asked(faces, chosen, rng, grounds))
            with Matcher.open(bundle, sessions=1) as matcher:
                for boxes, rows in found.items():
                    rows.append(counts(matcher, photos, boxes))
            print(f"shop {shop}: right accepts {[round(rows[-1][1], 3) for rows in found.values()]}", flush=True)
    table: list[tuple[Any, ...]] = [
        (boxes, *(f"{100 * float(share):.1f} %" for share in np.mean(rows, axis=0))) for boxes, rows in found.items()
    ]
    reporting.print_table(f"{options.shops} shops", HEADER, table)
    report.results = {"rows": [dict(zip(HEADER, row, strict=True)) for row in table]}
    return report.finish(options)


if __name__ == "__main__":
    raise SystemExit(main())
