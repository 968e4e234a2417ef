"""The inputs of the benchmarks: grocery photos, trained encoders, camera-sized photos, and shops of any size."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from shelfmatch.edge import Encoder

VIEWS = 20
"""Reference photos a product, in made-up shops and vectors alike."""

V1 = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
V2 = "tf2_mobilenet_v2_1.0_224_ptq.tflite"
V2_POOLED_TENSOR = "172"
"""The pooled feature of V2, [1, 1, 1, 1280]: what comes after it is ImageNet's classifier."""

_TO_CENTER = 0.78**0.5
_BESIDE = Path(__file__).resolve().parents[2] / "shared"


def skip(reason: str) -> NoReturn:
    """Leave with a sentence that says how to get what is missing."""
    print(f"skipped: {reason}", file=sys.stderr)
    raise SystemExit(2)


@dataclass(frozen=True, slots=True)
class GroceryPhoto:
    """A photo of the Grocery Store Dataset with the number of its product."""

    path: Path
    label: int


def grocery_root() -> Path:
    """The folder with train.txt and val.txt: ../shared/data/grocery, or where SHELFMATCH_DATA points."""
    given = os.environ.get("SHELFMATCH_DATA")
    for folder in [Path(given), Path(given) / "grocery"] if given else [_BESIDE / "data" / "grocery"]:
        if (folder / "train.txt").is_file():
            return folder.resolve()
    skip(
        "the Grocery Store Dataset (Klasson et al. 2019, github.com/marcusklasson/GroceryStoreDataset) is neither in "
        "../shared/data/grocery nor where SHELFMATCH_DATA points; clone it and point SHELFMATCH_DATA at its dataset/"
    )


def model_file(name: str) -> Path:
    """A trained encoder from ../shared/models, or from where SHELFMATCH_MODELS points."""
    given = os.environ.get("SHELFMATCH_MODELS")
    path = (Path(given) if given else _BESIDE / "models") / name
    if path.is_file():
        return path.resolve()
    skip(
        f"{name} (github.com/google-coral/test_data) is neither in ../shared/models nor where SHELFMATCH_MODELS "
        f"points; download it and point SHELFMATCH_MODELS at its folder"
    )


def grocery_photos(split: str) -> list[GroceryPhoto]:
    """The photos of train.txt or val.txt, in the file's order."""
    root = grocery_root()
    photos = []
    for line in (root / f"{split}.txt").read_text(encoding="utf-8").splitlines():
        if line.strip():
            path, label, _ = (part.strip() for part in line.split(","))
            photos.append(GroceryPhoto(root / path, int(label)))
    return photos


def spread(photos: list[GroceryPhoto], count: int) -> list[GroceryPhoto]:
    """`count` photos, evenly spread over the list, so over the products."""
    return [photos[int(place)] for place in np.linspace(0, len(photos) - 1, min(count, len(photos)))]


def write_csv(path: Path, photos: list[GroceryPhoto]) -> Path:
    """A catalogue CSV (`image,sku`) of grocery photos, with paths relative to the CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "sku"))
        writer.writerows((os.path.relpath(photo.path, path.parent.resolve()), f"{photo.label:03d}") for photo in photos)
    return path


def sized_photos(folder: Path, width: int, height: int, count: int) -> list[Path]:
    """Grocery photos as a camera of that size would have stored them: resized by Lanczos, JPEG of quality 90."""
    from PIL import Image

    paths = []
    for number, photo in enumerate(spread(grocery_photos("val"), count)):
        path = folder / f"photo-{width}x{height}-{number:03d}-of-{count}.jpg"
        if not path.exists():
            with Image.open(photo.path) as image:
                resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            partial = path.with_suffix(".partial")
            resized.save(partial, "JPEG", quality=90)
            partial.replace(path)
        paths.append(path)
    return paths


def decoded_arrays(photos: list[Path]) -> list[Path]:
    """Each photo's pixels as a camera hands them over: (H, W, 3) uint8 RGB in a .npy file beside it."""
    from PIL import Image

    paths = []
    for photo in photos:
        path = photo.with_suffix(".npy")
        if not path.exists():
            with Image.open(photo) as image:
                np.save(path, np.asarray(image.convert("RGB")))
        paths.append(path)
    return paths


def cut_v2(folder: Path) -> Path:
    """V2 without its classifier, so that its pooled feature is the output."""
    from shelfmatch.export import cut

    path = folder / "mobilenet_v2_pooled.tflite"
    if not path.exists():
        cut(model_file(V2), output=V2_POOLED_TENSOR, destination=path)
    return path


def code_stamp() -> str:
    """A short hash of shelfmatch.edge's sources: what `--work` keeps of ours is kept for the same code only."""
    import shelfmatch.edge

    digest = hashlib.sha256()
    for folder in shelfmatch.edge.__path__:
        for source in sorted(Path(folder).glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:10]


def shop_bundle(work: Path, name: str, encoder_file: Path, references: int) -> Path:
    """The shop of that size for an encoder, made where the work folder has none that this code made."""
    path = work / f"{name}-{references}-{code_stamp()}.bundle"
    return path if path.exists() else make_shop_bundle(path, encoder_file, references)


def make_shop_bundle(path: Path, encoder_file: Path, references: int = 10_000) -> Path:
    """A bundle of that many references, 20 a product, around the embeddings of grocery photos.

    Each product has the embedding of one train photo as its first reference; the others are that vector turned in
    random directions, so far that two of them have a cosine of 0.78, the median of two photos of a product under V1.
    """
    from shelfmatch.edge.encoders.encoder import Encoder

    encoder = Encoder.load(encoder_file)
    photos = spread(grocery_photos("train"), -(-references // VIEWS))
    return write_shop(path, encoder, encoder.embed(*(photo.path for photo in photos)), references)


def write_shop(
    path: Path,
    encoder: Encoder,
    seeds: NDArray[np.float32],
    references: int,
    *,
    views: int = VIEWS,
    adapt: Literal["auto", "on", "off"] = "auto",
) -> Path:
    """A bundle of made-up products around seed embeddings (N, D), `views` references each."""
    from shelfmatch.edge.build.build import write_bundle
    from shelfmatch.edge.catalog.product import Product

    count = -(-references // views)
    random = np.random.default_rng(0)
    more = seeds[random.integers(0, len(seeds), max(0, count - len(seeds)))]
    centers = np.concatenate([seeds[:count], turned(more, _TO_CENTER, random)])
    vectors = np.repeat(centers, views, axis=0)
    vectors = np.where((np.arange(len(vectors)) % views == 0)[:, None], vectors, turned(vectors, _TO_CENTER, random))
    products = [Product(f"sku-{number:05d}", name=f"Product {number}") for number in range(count)]
    owners = np.repeat(np.arange(count), views)[:references]
    write_bundle(path, encoder, products, owners.tolist(), vectors[:references].astype(np.float32), adapt=adapt)
    return path


def turned(vectors: NDArray[Any], cosine: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Unit vectors (N, D), each turned in a random direction by the same angle."""
    noise = random.standard_normal(vectors.shape, dtype=np.float32)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    result: NDArray[np.float32] = (cosine * vectors + np.sqrt(1 - cosine**2) * noise).astype(np.float32)
    return result


def clustered_vectors(
    count: int, dimension: int, queries: int, noise_level: float = 0.5
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors in clusters of 20 views a product, and unseen views of random products as queries.

    A view is its product's direction plus Gaussian noise of `noise_level` times its length: 0.5 makes the median cosine
    of two views of a product 0.8.
    """
    random = np.random.default_rng(dimension)
    products = -(-count // VIEWS)
    centers = random.standard_normal((products, dimension), dtype=np.float32)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)

    def views(owners: NDArray[np.intp]) -> NDArray[np.float32]:
        noise = random.standard_normal((len(owners), dimension), dtype=np.float32)
        rows = centers[owners] + noise * np.float32(noise_level / np.sqrt(dimension))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    owners = np.repeat(np.arange(products), VIEWS)[:count]
    random.shuffle(owners)
    return views(owners), views(random.integers(0, products, queries))
