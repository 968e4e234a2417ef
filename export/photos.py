"""The photos an export is measured on: read once, through the runtime's own preprocessing, kept as the network's pixels."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..edge.catalog.source import read_source
from ..edge.errors import ImageError
from ..edge.evaluation.evaluate import read_queries
from ..edge.imaging.decode import decode, read_photo
from ..edge.imaging.image import Pixels
from ..edge.imaging.resize import fit
from ..edge.progress import Progress
from .errors import PhotosError
from .preprocessing import Preprocessing

MIN_PHOTOS = 16
"""Parity of int8 files no longer depends on the number of calibration photos from here on (measured: 16, 64 and 128)."""
MAX_PHOTOS = 1000
"""More than a gate of half a point can use, and 150 MB of pixels at 224x224."""
CALIBRATION_PHOTOS = 64


@dataclass(frozen=True, slots=True)
class Photos:
    """`pixels` (N, H, W, 3) uint8 of the network's size, the SKU of each, the sha256 over the photos' files, and that of each."""

    pixels: Pixels
    skus: tuple[str, ...]
    sha256: str
    unreadable: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    digests: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.skus)

    def spread(self, count: int) -> Pixels:
        """`count` photos, evenly spread; all where there are fewer."""
        chosen: Pixels = self.pixels[_evenly(len(self), count)]
        return chosen

    def some_paths(self, count: int) -> list[Path]:
        """The files of `count` photos, evenly spread."""
        return [self.paths[i] for i in _evenly(len(self.paths), count)]

    def without(self, others: Photos) -> Photos:
        """Those whose files aren't among the others'."""
        gone = set(others.digests)
        kept = [i for i, digest in enumerate(self.digests) if digest not in gone]
        digests = tuple(self.digests[i] for i in kept)
        return replace(
            self, pixels=self.pixels[kept], skus=tuple(self.skus[i] for i in kept), digests=digests,
            sha256=hashlib.sha256(b"".join(digests)).hexdigest(), paths=tuple(self.paths[i] for i in kept),
        )  # fmt: skip


def read_photos(source: str | Path, preprocessing: Preprocessing, progress: Progress) -> Photos:
    """A folder of folders named by SKU, or a CSV: at most MAX_PHOTOS of it, evenly spread.

    Raises CatalogError for what is no such source, PhotosError where too little of it can be read.
    """
    found = [(photo.path, photo.sku) for photo in read_source(source).photos]
    photos = _read(_thinned(found), preprocessing, progress)
    if len(photos) < MIN_PHOTOS:
        unreadable = f", {len(photos.unreadable)} more can't be read" if photos.unreadable else ""
        raise PhotosError(
            f"{source} has {len(photos)} readable photos{unreadable}; expected at least {MIN_PHOTOS}, better 64 or more, "
            "of the shop's products"
        )
    return photos


def _thinned(found: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """At most MAX_PHOTOS, evenly over the photos; where that would leave most products one photo, which finds no other, evenly
    over the products, several photos of each."""
    if len(found) <= MAX_PHOTOS:
        return found
    even = [found[i] for i in _evenly(len(found), MAX_PHOTOS)]
    counts = Counter(sku for _, sku in even)
    if sum(count for count in counts.values() if count > 1) >= len(even) / 2:
        return even
    by_sku: dict[str, list[tuple[Path, str]]] = {}
    for row in found:
        by_sku.setdefault(row[1], []).append(row)
    several, single = ([rows for rows in by_sku.values() if (len(rows) > 1) == more] for more in (True, False))
    groups = [several[i] for i in _evenly(len(several), MAX_PHOTOS // 4)]
    groups += [single[i] for i in _evenly(len(single), MAX_PHOTOS // 2 - len(groups))]
    each = max(2, MAX_PHOTOS // len(groups))
    return [rows[i] for rows in groups for i in _evenly(len(rows), each)]


def _evenly(count: int, most: int) -> list[int]:
    picks: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.intp)).tolist() if count else []
    return picks


def read_gate_queries(
    path: str | os.PathLike[str], photos: Photos, preprocessing: Preprocessing, progress: Progress
) -> Photos:
    """A CSV with the header image,sku, of other photos than `photos`, against which they are asked: a photo finds itself by any
    network. Rows without a SKU say nothing about recall and are left out. Raises PhotosError where too few are left."""
    known = [(query.path, query.sku) for query in read_queries(path) if query.sku]
    found = _read(known, preprocessing, progress)
    if not len(found):
        raise PhotosError(f"{path} has no readable photo with a SKU; expected rows of image,sku")
    queries = found.without(photos)
    products = set(photos.skus)
    counting = sum(sku in products for sku in queries.skus)
    if counting >= MIN_PHOTOS:
        return queries
    if not products.intersection(found.skus):
        raise PhotosError(
            f"{path} asks for none of the products of the calibration photos, for example {found.skus[0]}; expected photos of them"
        )
    own = len(found) - len(queries)
    beside = f", beside {own} that are calibration photos themselves" if own else ""
    raise PhotosError(
        f"{path} has {counting} photos of products of the calibration photos{beside}; the gate needs at least {MIN_PHOTOS}, or "
        "leave --gate-queries out"
    )


def check_labels(photos: Photos, source: str | os.PathLike[str]) -> None:
    """Raises PhotosError where too few photos could find another one of their product for the gate to say anything."""
    counts = Counter(photos.skus)
    queried = sum(count for count in counts.values() if count > 1)
    if queried < MIN_PHOTOS:
        raise PhotosError(
            f"{source} has {queried} photos whose product has another one, of {len(photos)} photos of {len(counts)} products; the "
            f"gate needs at least {MIN_PHOTOS}, or --gate-queries QUERIES.csv"
        )


def _read(rows: Sequence[tuple[Path, str]], preprocessing: Preprocessing, progress: Progress) -> Photos:
    pixels, skus, paths, unreadable = [], [], [], []
    digests: list[bytes] = []
    for path, sku in progress(rows, len(rows)):
        try:
            data = read_photo(path)
            pixels.append(fit(decode(data, preprocessing), preprocessing))
        except ImageError as error:
            message = str(error)
            unreadable.append(message if path.name in message else f"{path.name}: {message}")
            continue
        digests.append(hashlib.sha256(data).digest())
        skus.append(sku)
        paths.append(path)
    empty = np.empty((0, preprocessing.height, preprocessing.width, 3), np.uint8)
    return Photos(
        np.stack(pixels) if pixels else empty, tuple(skus), hashlib.sha256(b"".join(digests)).hexdigest(), tuple(unreadable),
        tuple(paths), tuple(digests),
    )  # fmt: skip
