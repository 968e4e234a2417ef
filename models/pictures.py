"""What the encoders learn from, prepared once and kept: squares of photos, rendered products, the teachers' features."""

from __future__ import annotations

import csv
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shelfmatch.edge import Encoder
from shelfmatch.edge.bundle.manifest import EncoderCard
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.image import ImageSource
from shelfmatch.edge.imaging.resize import fit
from shelfmatch.edge.synthetic import products as rendered
from shelfmatch.edge.threads import in_order
from shelfmatch.export import cut
from shelfmatch.models.lite2 import open_lite2

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

PHOTO_SIDE: Final = 256
RENDERED_SIDE: Final = 208
"""Pictures are kept larger than the networks' input, so that crops have room to move."""
PRODUCTS: Final = 7200
VIEWS: Final = 3
TRAIN_SHOP: Final = 900
TEST_PRODUCTS: Final = 500
TEST_SHOP: Final = 901
TEST_DIFFICULTY: Final = 0.8
TEACHERS: Final = {
    "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite": None,
    "tf2_mobilenet_v2_1.0_224_ptq.tflite": "172",
}
"""File and, where the file is a classifier, the tensor that holds its pooled features. A run with a pair has `lite2` as a third."""
# numpy.random.default_rng(2024).choice(81, 16, replace=False), sorted: Avocado, Banana, Mango, Honeydew-Melon, Watermelon,
# Nectarine, Conference, Kaiser, Oatly-Oat-Milk, Yoggi-Vanilla-Yoghurt, Ginger, Brown-Cap-Mushroom, Solid-Potato, Beef-Tomato,
# Regular-Tomato, Zucchini.
HELD_OUT: Final = (5, 6, 10, 13, 14, 15, 21, 22, 45, 58, 65, 67, 74, 77, 78, 80)
"""Products of the grocery dataset that are never trained on."""


@dataclass(frozen=True)
class Photos:
    """Squares (N, side, side, 3) and their products."""

    pixels: Pixels
    labels: Labels

    def without(self, products: Iterable[int]) -> Photos:
        """Those of all other products."""
        kept = ~np.isin(self.labels, list(products))
        return Photos(self.pixels[kept], self.labels[kept])


def square_card(side: int) -> EncoderCard:
    """A card whose preprocessing is the encoders': the centre square at `side` pixels."""
    return EncoderCard(
        name="square",
        file="none",
        sha256="0" * 64,
        size_bytes=1,
        format="tflite",
        width=side,
        height=side,
        input_name="",
        input_dtype="uint8",
        layout="NHWC",
        output_name="",
        output_dtype="float32",
        dimension=1,
        resize="crop",
    )


def to_square(source: ImageSource, side: int) -> Pixels:
    """The centre square at `side` pixels, by the code that runs on the device (`edge.image`, Pillow's resizer)."""
    card = square_card(side)
    return fit(decode(source, card), card, "pillow")


def read_split(grocery: Path, name: str) -> tuple[list[Path], Labels]:
    """Files and fine labels of train.txt or val.txt."""
    rows = [line.split(",") for line in (grocery / name).read_text().splitlines() if line.strip()]
    return [grocery / row[0].strip() for row in rows], np.array([int(row[1]) for row in rows])


def read_iconic(grocery: Path) -> tuple[list[Path], Labels]:
    """The 81 catalogue pictures and their labels."""
    with (grocery / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [grocery / row["Iconic Image Path (str)"].lstrip("/") for row in rows]
    return paths, np.array([int(row["Class ID (int)"]) for row in rows])


def _square_photo(path: Path) -> Pixels:
    return to_square(path, PHOTO_SIDE)


def _render_product(product: rendered.Product) -> Pixels:
    """Plain picture and views of rising difficulty, (1 + VIEWS, side, side, 3)."""
    pictures = [to_square(rendered.render_plain(product, 320), RENDERED_SIDE)]
    for view in range(VIEWS):
        difficulty = 0.2 + 0.8 * ((view + 0.5 + product.seed % 7 / 7) / VIEWS % 1.0)
        pictures.append(to_square(rendered.render_view(product, view, (278, RENDERED_SIDE), difficulty), RENDERED_SIDE))
    return np.stack(pictures)


def _render_test(product: rendered.Product) -> Pixels:
    """What an unseen product is tested with: the plain picture and a hard view, (2, side, side, 3)."""
    hard = rendered.render_view(product, 0, (640, 480), TEST_DIFFICULTY)
    return np.stack([to_square(rendered.render_plain(product, 480), PHOTO_SIDE), to_square(hard, PHOTO_SIDE)])


def _cached(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array mapped from its file, made and written first where there is none."""
    if not path.exists():
        started = time.monotonic()
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, make())
        temporary.replace(path)
        print(f"made {path.name} in {time.monotonic() - started:.0f} s", flush=True)
    result: NDArray[Any] = np.load(path, mmap_mode="r")
    return result


def _parallel(function: Callable[[Any], Pixels], items: Iterable[Any]) -> Pixels:
    # Not fork: the trainer has threads by now, torch's and perhaps JAX's.
    with multiprocessing.get_context("forkserver").Pool() as pool:
        return np.stack(pool.map(function, list(items), chunksize=8))


def photos(grocery: Path, work: Path, split: str) -> Photos:
    """ "train", "val" or "iconic", all products."""
    files, labels = read_iconic(grocery) if split == "iconic" else read_split(grocery, f"{split}.txt")
    return Photos(_cached(work / f"{split}.npy", lambda: _parallel(_square_photo, files)), labels)


def rendered_train(work: Path) -> Pixels:
    """(PRODUCTS, 1 + VIEWS, side, side, 3): each product's plain picture, then its views."""
    return _cached(work / "rendered.npy", lambda: _parallel(_render_product, rendered.make_shop(PRODUCTS, TRAIN_SHOP)))


def rendered_test(work: Path) -> Pixels:
    """(TEST_PRODUCTS, 2, side, side, 3): plain picture and hard view of products that training never sees."""
    return _cached(
        work / "rendered-test.npy", lambda: _parallel(_render_test, rendered.make_shop(TEST_PRODUCTS, TEST_SHOP))
    )


def teacher_features(name: str, pixels: Pixels, teachers: Path, work: Path) -> NDArray[np.float16]:
    """Both teachers' unit features of each picture of the set `name`, side by side, (N, 1024 + 1280)."""

    def make() -> NDArray[np.float16]:
        parts = []
        for file, output in TEACHERS.items():
            path = teachers / file if output is None else cut(teachers / file, output, work / f"cut-{file}")
            parts.append(_features(Encoder.load(path, resizer="pillow", sessions=2), pixels))
        return np.concatenate(parts, axis=1)

    return np.asarray(_cached(work / f"teachers-{name}.npy", make))


def lite2_features(name: str, pixels: Pixels, work: Path) -> NDArray[np.float16]:
    """The third teacher's unit features of each picture of the set `name`, (N, 1280)."""
    return np.asarray(_cached(work / f"lite2-{name}.npy", lambda: _features(open_lite2(work), pixels)))


def _features(encoder: Encoder, pixels: Pixels) -> NDArray[np.float16]:
    found = in_order(lambda picture: encoder.embed(picture)[0], pixels, 2, ahead=16)
    return np.stack(list(found)).astype(np.float16)
