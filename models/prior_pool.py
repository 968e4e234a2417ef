"""A pool of pictures to draw a thousand shops from: rendered, printed and real goods, embedded once by an encoder.

    python models/prior_pool.py pictures --stock STOCK --real REAL.npz --out PICTURES.npz [--share 0.5]
    python models/prior_pool.py embed PICTURES.npz ENCODER POOL.npz

STOCK is what `printer/gather.py` wrote, REAL.npz what `real.py` packed: photos that may train. Nothing of GroZi, of the grocery
dataset's val photos, of the phone classes and boxes that are left out, nor of the rendered test shop is among them; the seeds of
rendered and printed goods are others than those that the encoders saw.

`--share`: so much of each kind of goods, where there is no time for all of them (38,000 runs of the encoder).

Each picture goes through the code of a build (`edge.build.embed_photos`), with the synthetic views that a build would make of it.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shelfmatch.edge import Encoder
from shelfmatch.edge.build.embed_photos import embed_photo
from shelfmatch.edge.encoders.local import find_local
from shelfmatch.edge.encoders.registry import find_encoders
from shelfmatch.edge.imaging.views import MOST_VIEWS, PHOTO_VIEWS
from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view
from shelfmatch.edge.threads import in_order
from shelfmatch.models import real
from shelfmatch.models.local_training import hard_copy
from shelfmatch.models.printer import views
from shelfmatch.models.printer.press import print_pages
from shelfmatch.models.printer.stock import Stock

RENDERED, RENDERED_SHOPS, RENDERED_VIEWS = 120, (902, 903, 904), 4
PRINTED, PRINTED_SEED, PRINTED_VIEWS, PRINTED_SIDE = 300, 800_000_000, 4, 224
BOXES, BOX_COPIES = 500, 3
MOST_A_CLASS: Final = {"grocery": 20, "phone": 60}
SEED: Final = 1802


@dataclass(frozen=True)
class Shown:
    """A picture of the pool: `kind` of shop, `product`, `place`: 0 where it is what a catalogue would show, 1 and more where it
    is what a camera might see."""

    kind: str
    product: str
    place: int
    image: Image.Image


def rendered(share: float) -> Iterator[Shown]:
    """Plain pictures, and views of rising difficulty."""
    random = np.random.default_rng(SEED)
    for shop in RENDERED_SHOPS:
        for product in make_shop(round(share * RENDERED), shop):
            yield Shown("rendered", product.sku, 0, render_plain(product, 320))
            # Rising: a shop has one camera, not the best and the worst at once (`prior_shops.CAMERAS`).
            for view, difficulty in enumerate(sorted(random.uniform(0.3, 1.0, RENDERED_VIEWS).tolist())):
                yield Shown("rendered", product.sku, 1 + view, render_view(product, view + 1, (400, 300), difficulty))


def printed(stock: Path, grounds: NDArray[np.uint8], share: float) -> Iterator[Shown]:
    """A catalogue's picture and harder ones of printed packages."""
    torch.manual_seed(SEED)
    pages = print_pages(Stock(stock), PRINTED_SEED, 1)
    behind = torch.from_numpy(grounds).permute(0, 3, 1, 2)
    for _ in range(round(share * PRINTED) // 12):
        made = list(itertools.islice(pages, 12))
        pictures = [
            torch.from_numpy(np.stack([getattr(one, side) for one in made])).permute(0, 3, 1, 2)
            for side in ("front", "other")
        ]
        numbers = [torch.tensor([getattr(one, part) for one in made]) for part in ("size", "other_size", "kind")]
        prints = views.Prints(*pictures, *numbers)
        for place in range(1 + PRINTED_VIEWS):
            rising = (place - 1 + torch.rand(12)) / PRINTED_VIEWS
            hard = rising * 0.7 + 0.3 if place else torch.full((12,), 0.1)
            found = views.photograph(prints, hard, PRINTED_SIDE, behind, prints)
            for one, pixels in zip(made, found.permute(0, 2, 3, 1).to(torch.uint8).numpy(), strict=True):
                yield Shown("printed", f"{one.family}-{one.variant}", place, Image.fromarray(pixels))


def photographed(file: Path, share: float) -> Iterator[Shown]:
    """Photos by hand; boxes, of which there is one picture each, with ruined copies."""
    random = np.random.default_rng(SEED)
    count: dict[str, int] = {}
    for picture, _ in real.read(file):
        kind = "grocery" if picture.kind == "iconic" else picture.kind
        name = f"{kind}{picture.label}"
        number = count[name] = count.get(name, 0) + (picture.kind != "iconic")  # a class has one of those, and keeps it
        boxes = count["boxes"] = count.get("boxes", 0) + (kind == "box")
        most = max(1, round(share * MOST_A_CLASS.get(kind, 1)))
        if (
            kind == "ground"
            or (kind == "box" and boxes > share * BOXES)
            or (number > most and picture.kind != "iconic")
        ):
            continue
        yield Shown(kind, name, 0 if picture.kind in ("iconic", "box") else number, picture.image)
        for copy in range(BOX_COPIES if kind == "box" else 0):
            yield Shown(kind, name, 1 + copy, hard_copy(picture.image, random))


def grounds(file: Path, count: int = 60) -> NDArray[np.uint8]:
    """(count, 224, 224, 3) backgrounds for printed goods."""
    shown = (np.asarray(p.image.resize((224, 224))) for p, _ in real.read(file) if p.kind == "ground")
    return np.stack(list(itertools.islice(shown, count)))


def pictures(options: argparse.Namespace) -> None:
    """Make the pictures and keep them."""
    kinds, products, places, files = [], [], [], []
    behind = grounds(options.real)
    sources = (
        rendered(options.share),
        printed(options.stock, behind, options.share),
        photographed(options.real, options.share),
    )
    for shown in itertools.chain(*sources):
        out = io.BytesIO()
        shown.image.convert("RGB").save(out, "JPEG", quality=92)
        files.append(out.getvalue())
        kinds.append(shown.kind)
        products.append(shown.product)
        places.append(shown.place)
        if len(files) % 500 == 0:
            print(len(files), shown.kind, flush=True)
    np.savez(options.out, kinds=kinds, products=products, places=places, ends=np.cumsum([len(one) for one in files]),
             files=np.frombuffer(b"".join(files), np.uint8))  # fmt: skip


def embed(options: argparse.Namespace) -> None:
    """Every picture and its views through an encoder: what a build would keep of them."""
    stored: Any = dict(np.load(options.pictures))
    ends, files = stored["ends"], stored["files"].tobytes()
    ((card, model),) = find_encoders(options.encoder, None, "auto")
    head = find_local(model, card.sha256)
    encoder = Encoder(card, model.read_bytes(), sessions=options.workers, local=head)
    jobs = [
        (
            files[start:end],
            MOST_VIEWS if place == 0 else PHOTO_VIEWS * (kind != "box"),
        )  # a box's copies are only asked for
        for start, end, place, kind in zip([0, *ends[:-1]], ends, stored["places"], stored["kinds"], strict=True)
    ]

    def one(job: tuple[bytes, int]) -> Any:
        return embed_photo(job[0], encoder, job[1])[0]

    count, dimension = len(jobs), card.dimension
    vectors = np.zeros((count, 1 + MOST_VIEWS, dimension), np.float16)
    shots, spreads = np.zeros(count, bool), np.zeros(count, np.float32)
    cells = None
    for row, found in enumerate(in_order(one, jobs, workers=options.workers, ahead=16)):
        made = 1 + len(found.views)
        vectors[row, 0], vectors[row, 1:made], shots[row] = found.vector, found.views, found.is_packshot
        if found.cells is not None:
            if cells is None:
                cells = np.zeros((count, 1 + MOST_VIEWS, found.cells.shape[1]), np.uint8)
            cells[row, :made] = found.cells
        if row % 500 == 0:
            print(row, flush=True)
    arrays: dict[str, Any] = {"vectors": vectors, "is_packshot": shots, "spreads": spreads}
    arrays |= {key: stored[key] for key in ("kinds", "products", "places")} | (
        {} if cells is None else {"cells": cells}
    )
    np.savez(options.out, **arrays)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Make the pool of pictures, or embed it.")
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("pictures")
    for name in ("stock", "real", "out"):
        make.add_argument(f"--{name}", type=Path, required=True)
    make.add_argument("--share", type=float, default=1.0, help="of each kind of goods (default: 1)")
    make.set_defaults(run=pictures)
    through = commands.add_parser("embed")
    through.add_argument("pictures", type=Path)
    through.add_argument("encoder")
    through.add_argument("out", type=Path)
    through.add_argument("--workers", type=int, default=2)
    through.set_defaults(run=embed)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run(options)


if __name__ == "__main__":
    main()
