"""What is measured: a bundle as it is, or an encoder in a made-up shop; and the photos it is shown."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import MANIFEST, Bundle
from ..catalog.product import Product
from ..encoders.card import EncoderCard
from ..encoders.encoder import Encoder
from ..encoders.registry import find_encoder
from ..errors import BenchError, EncoderError, ImageError, RuntimeUnavailable
from ..files import shown_name
from ..imaging.decode import FORMATS, decode
from ..imaging.image import upright
from ..machine.board import describe_board
from ..synthetic.products import make_shop, render_view
from ..terminal import complain

MOST_PHOTOS = 64
"""Shown in turn; more would only grow the pages that the system keeps of them."""
RENDERED_PHOTOS, RENDERED_SIZE = 24, (640, 480)
REFERENCES = 1000
MOST_REFERENCES = 1_000_000
"""Of a made-up shop: building its graph takes some ten minutes then."""
_BYTES_DRAWN = 20
"""Of memory for each number of each embedding of a made-up shop, while it is drawn."""
_VIEWS = 20
_LIKE_A_PHOTO = 0.78
"""The median cosine of two photos of a product under MobileNetV1 (benchmarks/shops.py)."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif", ".heic", ".heif")


@dataclass(frozen=True, slots=True)
class Photos:
    """What is shown: files, or a .npy file of frames. `kind`: rendered, folder or camera."""

    kind: str
    count: int
    width: int
    height: int
    paths: tuple[str, ...] = ()
    frames: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """In the result; never where they lie."""
        return {"kind": self.kind, "count": self.count, "width": self.width, "height": self.height}


@dataclass(frozen=True, slots=True)
class Target:
    """A bundle that can be opened, and how the result calls it."""

    name: str
    kind: str
    bundle: Path
    record: dict[str, Any] = field(default_factory=dict)


def rendered_photos(folder: Path) -> Photos:
    """24 JPEGs of 640x480 as a kiosk's camera would have stored them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, product in enumerate(make_shop(RENDERED_PHOTOS)):
        path = folder / f"{number:02d}.jpg"
        render_view(product, 1, RENDERED_SIZE).save(path, "JPEG", quality=90)
        paths.append(str(path))
    return Photos("rendered", len(paths), *RENDERED_SIZE, paths=tuple(paths))


def folder_photos(folder: Path) -> Photos:
    """Up to 64 photos from a folder and those in it, evenly spread over their names, hidden ones left out. Those that can't be
    read are told on stderr, and others take their places. Raises BenchError."""
    if not folder.is_dir():
        raise BenchError(f"--photos {folder} is no folder; expected one with photos in it")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise BenchError(
            f"{folder} holds no photos ({', '.join(FORMATS)}); give a folder with some, or leave --photos out"
        )
    places = np.unique(np.linspace(0, len(found) - 1, min(MOST_PHOTOS, len(found))).astype(int)).tolist()
    others = sorted({*range(len(found))} - {*places})
    sizes: dict[str, tuple[int, int]] = {}
    problems = []
    for place in [*places, *others]:
        if len(sizes) == len(places):
            break
        path = str(found[place].absolute())
        try:
            sizes[path] = upright(decode(path)).size  # each must be readable before anything is timed
        except ImageError as error:
            problems.append(str(error))
    if not sizes:
        raise BenchError(
            f"none of the {len(found)} photos in {folder} can be read; give a folder with some, or leave --photos out; "
            f"the first: {problems[0]}"
        )
    for problem in problems:
        complain(f"left out: {problem}")
    width, height = (int(np.median(side)) for side in zip(*sizes.values(), strict=True))
    return Photos("folder", len(sizes), width, height, paths=tuple(sizes))


def camera_photos(folder: Path, camera: str, count: int = RENDERED_PHOTOS) -> Photos:
    """Frames of a camera or a video, as `open_reader` takes them, taken before anything is timed. Raises BenchError where there are
    none."""
    from ..camera.readers import frames_of

    try:
        with contextlib.closing(frames_of(camera)) as taken:
            frames = list(itertools.islice(taken, count))
    except (ImageError, RuntimeUnavailable) as error:
        raise BenchError(f"{error}; or leave --camera out") from error
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "frames.npy"
    np.save(path, np.stack(frames))
    height, width = frames[0].shape[:2]
    return Photos("camera", len(frames), width, height, frames=str(path))


def check_references(target: str | os.PathLike[str], references: int | None) -> int:
    """How many a made-up shop has; None: not said. Raises BenchError where it can't have so many, or the target has its own."""
    if references is None:
        return REFERENCES
    if Path(target).is_dir():
        raise BenchError(
            f"--references {references} arrived with {target}, which has references of its own; leave it out, or name an encoder"
        )
    if not 1 <= references <= MOST_REFERENCES:
        raise BenchError(f"--references {references} arrived; expected 1 to {MOST_REFERENCES:,}")
    return references


def open_target(target: str | os.PathLike[str], photos: Photos, folder: Path, references: int = REFERENCES) -> Target:
    """The bundle, or a shop of `references` made-up references around what the encoder makes of the photos.

    Raises BundleError, EncoderError or BenchError for what is neither.
    """
    path = Path(target)
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise BenchError(
                f"{path} is a folder but no bundle; expected a bundle, an encoder's file or card, or its name"
            )
        bundle = Bundle.open(path)
        return Target(shown_name(path.absolute().name), "bundle", path.absolute(), _record(bundle))
    card, model = find_one(target)
    # Not by its name, which may be "someone/encoder" or lead out of the folder.
    built = made_up_shop(folder / f"{card.sha256[:12]}.bundle", Encoder(card, model.read_bytes()), photos, references)
    return Target(shown_name(card.name), "encoder", built, _record(Bundle.open(built)))


def find_one(target: str | os.PathLike[str]) -> tuple[EncoderCard, Path]:
    """Card and file of an encoder, where a bundle could have been named as well. Raises EncoderError or BenchError."""
    try:
        return find_encoder(target)
    except EncoderError as error:
        path = Path(target)
        if type(error) is not EncoderError or path.exists() or path.suffix in (".tflite", ".onnx", ".json"):
            raise
        if path.suffix or len(path.parts) > 1:
            raise BenchError(
                f"{path} does not exist; expected a bundle, an encoder's file or card, or its name"
            ) from error
        raise BenchError(f"{error}; or a bundle") from error


def made_up_shop(path: Path, encoder: Encoder, photos: Photos, references: int, index: str = "auto") -> Path:
    """A bundle with 20 references a product, turned from the photos' embeddings as far as photos of a product differ. Raises
    BenchError if there is too little memory."""
    from ..build.build import write_bundle

    free, needed = describe_board()["available_bytes"], references * encoder.card.dimension * _BYTES_DRAWN
    if free is not None and needed > free:
        raise BenchError(
            f"{references:,} references of {encoder.card.dimension} numbers need {needed / 1e9:.1f} GB and {free / 1e9:.1f} are "
            "free; give --references fewer"
        )
    seeds = encoder.embed(*sources(photos))
    random = np.random.default_rng(0)
    count = -(-references // _VIEWS)
    centers = seeds[np.arange(count) % len(seeds)]
    centers[len(seeds) :] = _turned(centers[len(seeds) :], random)
    owners = np.repeat(np.arange(count), _VIEWS)[:references]
    vectors = _turned(centers[owners], random)
    products = [Product(f"sku-{number:05d}", name=f"Product {number}") for number in range(count)]
    write_bundle(path, encoder, products, owners.tolist(), vectors, adapt="off", index=index)
    return path


def _turned(vectors: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    noise = random.standard_normal(vectors.shape, np.float32)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True) + 1e-12
    turned: NDArray[np.float32] = (_LIKE_A_PHOTO * vectors + np.sqrt(1 - _LIKE_A_PHOTO**2) * noise).astype(np.float32)
    return turned


def sources(photos: Photos) -> Sequence[Any]:
    """What an encoder or matcher is given."""
    return photos.paths if photos.frames is None else list(np.load(photos.frames))


def _record(bundle: Bundle) -> dict[str, Any]:
    """What the figures depend on; enough to see whether two results measured the same thing."""
    manifest = bundle.manifest
    others = [(branch.encoder.name, branch.encoder.sha256) for branch in manifest.branches[1:]]
    second_name, second_sha256 = others[0] if others else (None, None)
    return {
        "encoder": manifest.encoder.name,
        "encoder_sha256": manifest.encoder.sha256,
        "encoder_bytes": manifest.encoder.size_bytes,
        "second_encoder": second_name,
        "second_encoder_sha256": second_sha256,
        "input": f"{manifest.encoder.width}x{manifest.encoder.height} {manifest.encoder.input_dtype}",
        "products": manifest.products,
        "references": manifest.index.references,
        "dimension": manifest.index.dimension,
        "index": manifest.index.kind,
        "vectors": manifest.index.dtype,
        "bundle_bytes": sum(entry.size_bytes for entry in manifest.files.values()),
    }
