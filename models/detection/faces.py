"""Product faces to set into scenes, made once and kept: printed packages, and real ones cut out of photos that may train.

    python models/detection/faces.py STOCK DATA FOLDER

STOCK is what `printer/gather.py` collects, DATA holds `grocery`, `phone` and `boxes`. FOLDER gets `train-*.npy` and `new-*.npy`;
the new ones are other families set in other typefaces (every fifth), and the boxes that `real.box_is_out` keeps out.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfmatch.edge.imaging.views import packshot_mask
from shelfmatch.models.printer.package import CANVAS, FLAT, Printed
from shelfmatch.models.printer.press import print_pages
from shelfmatch.models.printer.stock import Stock

PRINTED: Final = {"train": 9000, "new": 700}
FIRST_SEED: Final = {"train": 1, "new": 1_000_000}
MOST_SIBLINGS: Final = 2
MODERATE: Final = 6
"""A real cut-out whose longer side is this many times the shorter is no product."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """N products: `front` and `other` (N, CANVAS, CANVAS, 4), colours times coverage, in the middle of the canvas; `sizes` (N, 4):
    width and height of both in pixels; `kinds` (N,) as `package` names them; `families` (N,)."""

    front: Pixels
    other: Pixels
    sizes: NDArray[np.int32]
    kinds: NDArray[np.int32]
    families: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kinds)

    def cut(self, number: int, side: bool = False) -> Pixels:
        """The front, or what is seen from another side, without the canvas around it: (h, w, 4)."""
        wide, high = self.sizes[number, 2:] if side else self.sizes[number, :2]
        canvas = self.other if side else self.front
        x, y = (CANVAS - wide) // 2, (CANVAS - high) // 2
        return canvas[number, y : y + high, x : x + wide]


def stocks(folder: Path) -> dict[str, Stock]:
    """The stock with four fifths of its typefaces' families, and with the fifth that training never sees."""
    families = sorted(
        {entry["family"] for entry in json.loads((folder / "sources.json").read_text()) if "file" in entry}
    )
    new = set(families[2::5])
    file_family = {
        str(folder / "fonts" / entry["file"]): entry["family"]
        for entry in json.loads((folder / "sources.json").read_text())
        if "file" in entry
    }
    found = {}
    for part in PRINTED:
        stock = Stock(folder)
        for script, faces in stock.faces.items():
            kept = [face for face in faces if (file_family[face] in new) == (part == "new")]
            stock.faces[script] = kept or faces
        found[part] = stock
    return found


def premultiplied(face: Pixels) -> Pixels:
    """(h, w, 4) with colours times coverage, so that shrinking leaves no dark seam."""
    found = face.copy()
    found[..., :3] = (face[..., :3].astype(np.uint16) * face[..., 3:] // 255).astype(np.uint8)
    return found


def _real(picture: Image.Image, mask: NDArray[np.bool_] | None, whole: bool) -> Printed | None:
    """A photographed product on the canvas: cut to its mask, or its whole rectangle where `whole`."""
    if mask is None:
        return None
    ys, xs = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    if not len(ys) or not len(xs):
        return None
    box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
    wide, high = box[2] - box[0], box[3] - box[1]
    if min(wide, high) < 40 or max(wide, high) > MODERATE * min(wide, high):
        return None
    cover = Image.fromarray(np.full(mask.shape, 255, np.uint8) if whole else mask.astype(np.uint8) * 255)
    rgba = picture.convert("RGB").copy()
    rgba.putalpha(cover)
    rgba = rgba.crop(box)
    scale = (CANVAS - 4) / max(wide, high)
    rgba = rgba.resize((max(8, round(wide * scale)), max(8, round(high * scale))), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (CANVAS, CANVAS))
    canvas.paste(rgba, ((CANVAS - rgba.width) // 2, (CANVAS - rgba.height) // 2))
    size = (rgba.width / CANVAS, rgba.height / CANVAS)
    return Printed(np.asarray(canvas), np.asarray(canvas), size, size, FLAT, -1, 0)


def real_faces(data: Path, part: str) -> Iterator[Printed]:
    """Boxes, iconic packages and phone polygons as cut-outs; only boxes for the new part."""
    from shelfmatch.models.pictures import HELD_OUT, read_iconic
    from shelfmatch.models.real import box_is_out, phone_crops

    for number, path in enumerate(sorted((data / "boxes").glob("*.jpg"))):
        if box_is_out(number) == (part == "new"):
            image = Image.open(path).convert("RGB")
            mask = packshot_mask(np.asarray(image))
            # A mask that fills its box leaves out print at the edge now and then: the rectangle is the product.
            found = _real(image, mask, whole=mask is not None and _fills(mask))
            if found is not None:
                yield found
    if part == "new":
        return
    for path, label in zip(*read_iconic(data / "grocery"), strict=True):
        if label not in HELD_OUT:
            image = Image.open(path).convert("RGB")
            found = _real(image, packshot_mask(np.asarray(image)), whole=False)
            if found is not None:
                yield found
    for _, _, image, cover in phone_crops(data / "phone", out=False, margin=0.0):
        found = _real(image, np.asarray(cover) > 127, whole=False)
        if found is not None and min(image.size) >= 70:
            yield found


def _fills(mask: NDArray[np.bool_]) -> bool:
    ys, xs = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    return bool(mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].mean() > 0.9)


def gathered(found: list[Printed]) -> Faces:
    """Faces in memory."""
    sizes = np.array([[*one.size, *one.other_size] for one in found]) * CANVAS
    return Faces(
        np.stack([premultiplied(one.front) for one in found]),
        np.stack([premultiplied(one.other) for one in found]),
        sizes.round().astype(np.int32),
        np.array([one.kind for one in found], np.int32),
        np.array([one.family for one in found], np.int32),
    )


def write(stock: Stock, data: Path, folder: Path, part: str) -> None:
    """The faces of a part."""
    printed = itertools.islice(print_pages(stock, FIRST_SEED[part], 1, MOST_SIBLINGS), PRINTED[part])
    found = gathered(list(itertools.chain(printed, real_faces(data, part))))
    np.save(folder / f"{part}-front.npy", found.front)
    np.save(folder / f"{part}-other.npy", found.other)
    np.save(folder / f"{part}-sizes.npy", found.sizes)
    np.save(folder / f"{part}-kinds.npy", np.stack([found.kinds, found.families], axis=1))
    print(f"{part}: {len(found)} faces, {PRINTED[part]} of them printed", flush=True)


def read(folder: Path, part: str) -> Faces:
    """The faces of "train" or "new", mapped from their files."""
    front, other, sizes, kinds = (
        np.load(folder / f"{part}-{name}.npy", mmap_mode="r") for name in ("front", "other", "sizes", "kinds")
    )
    return Faces(front, other, np.asarray(sizes), np.asarray(kinds[:, 0]), np.asarray(kinds[:, 1]))


def main() -> None:
    """The command line; see the first lines."""
    stock, data, folder = map(Path, sys.argv[1:4])
    folder.mkdir(parents=True, exist_ok=True)
    for part, stocked in stocks(stock).items():
        write(stocked, data, folder, part)


if __name__ == "__main__":
    main()
