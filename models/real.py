"""The real photos that may train, cut to their products, as one small file; and which of them are never trained on.

    python models/real.py DATA TEACHERS REAL.npz
    python models/real.py DATA REAL.npz             # the pictures alone: enough for `prior_pool.py`

DATA holds `grocery`, `phone` and `boxes` (shared/data); `fridge`, `grozi` and `gaps` only measure. Kept out of
training: the grocery
dataset's val photos and the products of `pictures.HELD_OUT`; every second class of the phone photos (`PHONE_OUT`), with all photos
that show one of them; every sixth of the boxes (`box_is_out`).
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from shelfmatch.edge import Encoder

SIDE: Final = 176
"""The longer side of a kept picture."""
GROUND_SIDE: Final = 224
PHONE_OUT: Final = ("class02", "class06", "class10", "class14", "class18", "class22")
GREY: Final = (128, 128, 128)
"""What photos are padded to a square with: the colour that the encoders see as nothing (their mean, 127.5)."""


def box_is_out(number: int) -> bool:
    """Whether the box of that place in the order of file names only measures."""
    return number % 6 == 5


def padded(image: Image.Image) -> Image.Image:
    """The whole picture in the middle of a grey square."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image.convert("RGB"), ((side - image.width) // 2, (side - image.height) // 2))
    return square


@dataclass(frozen=True)
class Picture:
    """`kind`: grocery, iconic, phone, box or ground; `label`: its product in that set; `mask`: coverage (L), where it is known."""

    kind: str
    label: int
    image: Image.Image
    mask: Image.Image | None = None


def _grocery(root: Path) -> Iterator[Picture]:
    from shelfmatch.edge.imaging.views import packshot_mask
    from shelfmatch.models.pictures import HELD_OUT, read_iconic, read_split

    for path, label in zip(*read_split(root, "train.txt"), strict=True):
        if label not in HELD_OUT:
            yield Picture("grocery", int(label), Image.open(path).convert("RGB"))
    for path, label in zip(*read_iconic(root), strict=True):
        if label not in HELD_OUT:
            image = Image.open(path).convert("RGB")
            mask = packshot_mask(np.asarray(image))
            yield Picture(
                "iconic", int(label), image, None if mask is None else Image.fromarray(mask.astype(np.uint8) * 255)
            )


def phone_crops(root: Path, out: bool, margin: float) -> Iterator[tuple[str, str, Image.Image, Image.Image]]:
    """(photo, class, crop, mask) of the left-out classes or of the others, `margin` of its size around each product's box.

    The others' photos are those that show none of the left-out classes.
    """
    for photo in json.loads((root / "photos.json").read_text()):
        shown = {product["sku"] for product in photo["products"]}
        if not out and shown & set(PHONE_OUT):
            continue
        image = Image.open(root / photo["photo"]).convert("RGB")
        for product in photo["products"]:
            if (product["sku"] in PHONE_OUT) == out:
                outline = [tuple(point) for point in product["polygon"]]
                xs, ys = zip(*outline, strict=True)
                mask = Image.new("L", image.size)
                ImageDraw.Draw(mask).polygon(outline, fill=255)
                px, py = (max(xs) - min(xs)) * margin, (max(ys) - min(ys)) * margin
                box = (max(0, int(min(xs) - px)), max(0, int(min(ys) - py)), int(max(xs) + px), int(max(ys) + py))
                box = (*box[:2], min(image.width, box[2]), min(image.height, box[3]))
                yield photo["photo"], product["sku"], image.crop(box), mask.crop(box)


def _phone(root: Path) -> Iterator[Picture]:
    for _, sku, image, mask in phone_crops(root, out=False, margin=0.15):
        if min(image.size) >= 40:
            yield Picture("phone", int(sku.removeprefix("class")), image, mask)
    rng = np.random.default_rng(3)
    for photo in json.loads((root / "photos.json").read_text()):
        if not {product["sku"] for product in photo["products"]} & set(PHONE_OUT):
            image = Image.open(root / photo["photo"]).convert("RGB")
            side = int(min(image.size) * rng.uniform(0.5, 0.95))
            x, y = (int(rng.integers(0, length - side + 1)) for length in image.size)
            yield Picture("ground", -1, image.crop((x, y, x + side, y + side)))


def _boxes(root: Path) -> Iterator[Picture]:
    from shelfmatch.edge.imaging.views import packshot_mask

    for number, path in enumerate(sorted(root.glob("*.jpg"))):
        if not box_is_out(number):
            image = Image.open(path).convert("RGB")
            mask = packshot_mask(np.asarray(image))
            yield Picture("box", number, image, None if mask is None else Image.fromarray(mask.astype(np.uint8) * 255))


def pictures(data: Path) -> Iterator[Picture]:
    """All that may train."""
    yield from _grocery(data / "grocery")
    yield from _phone(data / "phone")
    yield from _boxes(data / "boxes")


def _stored(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


def _encoders(teachers: Path, work: Path) -> list[Encoder]:
    from shelfmatch.edge import Encoder
    from shelfmatch.export import cut
    from shelfmatch.models.pictures import TEACHERS

    names = [(teachers / file, output) for file, output in TEACHERS.items()]
    files = [path if output is None else cut(path, output, work / f"cut-{path.name}") for path, output in names]
    return [Encoder.load(path, resizer="pillow", threads=1) for path in files]


def pack(data: Path, teachers: Path | None, target: Path) -> None:
    """Write the pictures, small, and what the teachers see in them, whole and padded: nothing (zeros) without teachers."""
    encoders = [] if teachers is None else _encoders(teachers, target.parent)
    kinds, labels, seen = [], [], []
    images, masks = [], []
    for picture in pictures(data):
        small, mask = picture.image.copy(), picture.mask
        small.thumbnail(
            (GROUND_SIDE if picture.kind == "ground" else SIDE,) * 2, Image.Resampling.BILINEAR, reducing_gap=2.0
        )
        images.append(_stored(small, 70))
        masks.append(b"" if mask is None else _stored(mask.resize(small.size, Image.Resampling.BILINEAR), 40))
        kinds.append(picture.kind)
        labels.append(picture.label)
        square = padded(picture.image)
        parts = (
            [np.zeros(1, np.float32)]
            if picture.kind == "ground" or not encoders
            else [np.asarray(encoder.embed(square)[0]).ravel() for encoder in encoders]
        )
        seen.append(np.concatenate(parts).astype(np.float16))
    width = max(len(row) for row in seen)
    features = np.stack([row if len(row) == width else np.zeros(width, np.float16) for row in seen])
    np.savez(
        target,
        images=np.frombuffer(b"".join(images), np.uint8),
        masks=np.frombuffer(b"".join(masks), np.uint8),
        image_ends=np.cumsum([len(part) for part in images]),
        mask_ends=np.cumsum([len(part) for part in masks]),
        kinds=np.array(kinds),
        labels=np.array(labels),
        features=_reduced(features, np.array(kinds) != "ground"),
    )


def _reduced(features: NDArray[np.float16], rows: NDArray[np.bool_]) -> NDArray[np.float16]:
    """192 numbers a picture, by `losses.reduced`."""
    from shelfmatch.models.losses import reduced

    found = np.zeros((len(features), 192), np.float16)
    if features.shape[1] == 1:  # nobody looked
        return found
    found[rows] = reduced(features[rows], 192).numpy()
    return found


def read(path: Path) -> Iterator[tuple[Picture, NDArray[np.float16]]]:
    """The pictures of a packed file and their teachers' features (192,)."""
    stored: Any = np.load(path)
    images, masks = stored["images"].tobytes(), stored["masks"].tobytes()
    starts = [np.concatenate([[0], stored[key][:-1]]) for key in ("image_ends", "mask_ends")]
    ends = [stored[key] for key in ("image_ends", "mask_ends")]
    for row, (kind, label, features) in enumerate(
        zip(stored["kinds"], stored["labels"], stored["features"], strict=True)
    ):
        image, mask = (part[starts[i][row] : ends[i][row]] for i, part in enumerate((images, masks)))
        cover = Image.open(io.BytesIO(mask)).convert("L") if mask else None
        yield Picture(str(kind), int(label), Image.open(io.BytesIO(image)).convert("RGB"), cover), features


if __name__ == "__main__":
    given = [Path(one) for one in sys.argv[1:4]]
    pack(given[0], given[1] if len(given) == 3 else None, given[-1])
