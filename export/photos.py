"""The photos an export is measured on: read once, through the runtime's own preprocessing, kept as the network's pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..edge.errors import ImageError
from ..edge.evaluation import read_queries
from ..edge.image import Pixels, decode, fit, read_photo
from ..edge.source import read_source
from .errors import PhotosError
from .preprocessing import Preprocessing
from .tools import Progress

MIN_PHOTOS = 16
"""Parity of int8 files no longer depends on the number of calibration photos from here on (measured: 16, 64 and 128)."""
MAX_PHOTOS = 1000
"""More than a gate of half a point can use, and 150 MB of pixels at 224x224."""
CALIBRATION_PHOTOS = 64


@dataclass(frozen=True, slots=True)
class Photos:
    """`pixels` (N, H, W, 3) uint8 of the network's size, the SKU of each, and the sha256 over the photos' files."""

    pixels: Pixels
    skus: tuple[str, ...]
    sha256: str
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.skus)

    def spread(self, count: int) -> Pixels:
        """`count` photos, evenly spread; all where there are fewer."""
        picks: NDArray[np.intp] = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.intp))
        chosen: Pixels = self.pixels[picks]
        return chosen


def read_photos(source: str | Path, preprocessing: Preprocessing, progress: Progress) -> Photos:
    """A folder of folders named by SKU, or a CSV: at most MAX_PHOTOS of it, evenly spread, one product no more than others.

    Raises CatalogError for what is no such source, PhotosError where too little of it can be read.
    """
    found = read_source(source).photos
    picks = np.unique(np.linspace(0, len(found) - 1, min(MAX_PHOTOS, len(found))).astype(np.intp))
    photos = _read([(found[i].path, found[i].sku) for i in picks], preprocessing, progress)
    if len(photos) < MIN_PHOTOS:
        unreadable = f", {len(photos.unreadable)} more can't be read" if photos.unreadable else ""
        raise PhotosError(
            f"{source} has {len(photos)} readable photos{unreadable}; expected at least {MIN_PHOTOS}, better 64 or more, "
            "of the shop's products"
        )
    return photos


def read_gate_queries(path: str | Path, preprocessing: Preprocessing, progress: Progress) -> Photos:
    """A CSV with the header image,sku; rows without a SKU say nothing about recall and are left out."""
    known = [(query.path, query.sku) for query in read_queries(path) if query.sku]
    photos = _read(known, preprocessing, progress)
    if not len(photos):
        raise PhotosError(f"{path} has no readable photo with a SKU; expected rows of image,sku")
    return photos


def check_labels(photos: Photos, source: str | os.PathLike[str]) -> None:
    """Raises PhotosError where no product has two photos: nothing could then find another photo of its product."""
    counts = np.unique(photos.skus, return_counts=True)[1]
    if (counts < 2).all():
        raise PhotosError(
            f"{source} has one photo of each of {len(counts)} products; the gate needs two or more of some, "
            "or --gate-queries QUERIES.csv"
        )


def _read(rows: Sequence[tuple[Path, str]], preprocessing: Preprocessing, progress: Progress) -> Photos:
    card = preprocessing.card()
    pixels, skus, unreadable = [], [], []
    digest = hashlib.sha256()
    for path, sku in progress(rows, len(rows)):
        try:
            data = read_photo(path)
            pixels.append(fit(decode(data, card), card))
        except ImageError as error:
            unreadable.append(str(error))
            continue
        digest.update(hashlib.sha256(data).digest())
        skus.append(sku)
    empty = np.empty((0, card.height, card.width, 3), np.uint8)
    return Photos(np.stack(pixels) if pixels else empty, tuple(skus), digest.hexdigest(), tuple(unreadable))
