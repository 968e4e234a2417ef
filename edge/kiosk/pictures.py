"""Pictures of products for the page: small JPEGs, from the folder that the bundle was built from. In memory, never written."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..catalog.listing import PHOTO_SUFFIXES
from ..errors import ImageError
from ..imaging.decode import decode
from ..imaging.image import Limits, upright
from .shop import Served

SIDE: Final = 480
"""Pixels; twice what the page shows on the Pi's screen."""
_MOST_BYTES: Final = 8 * 1024 * 1024
_LIMITS: Final = Limits(size_bytes=32 * 1024 * 1024, pixels=50_000_000)


def small_jpeg(source: bytes | Path, limits: Limits = _LIMITS, side: int = SIDE) -> bytes:
    """A photo as a small JPEG without its metadata. Raises ImageError."""
    picture = upright(decode(source, None, limits))
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


class Pictures:
    """Pictures by SKU, those that were asked for last in memory. Safe to share between threads.

    `folder`: what the bundle was built from, or one with SKU.jpg; None: there are only those that staff took.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder.resolve()
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._taught: OrderedDict[str, bytes] = OrderedDict()

    def has(self, served: Served, sku: str) -> bool:
        """Whether there may be a picture: cheap, without looking."""
        return self._folder is not None or sku in self._taught or sku in served.composed.pictured

    def remember(self, sku: str, picture: bytes) -> None:
        """Show this picture of a taught product, as long as this process runs."""
        with self._lock:
            self._taught[sku] = picture
            while len(self._taught) > 200:
                self._taught.popitem(last=False)

    def forget(self, sku: str) -> None:
        """The product is gone."""
        with self._lock:
            self._taught.pop(sku, None)

    def of(self, served: Served, sku: str, kept: bytes | None = None) -> bytes | None:
        """A product's picture as JPEG, None where there is none; `kept`: one that staff took and that could be kept."""
        taught = self._taught.get(sku) or kept
        if taught is not None:
            return taught
        key = (served.bundle_id, sku)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        for path in self._candidates(served, sku):
            try:
                made = small_jpeg(path)
            except ImageError:
                continue
            self._keep(key, made)
            return made
        return None

    def _keep(self, key: tuple[str, str], made: bytes) -> None:
        with self._lock:
            self._kept[key] = made
            self._size = sum(map(len, self._kept.values()))
            while self._size > _MOST_BYTES:
                self._size -= len(self._kept.popitem(last=False)[1])

    def _candidates(self, served: Served, sku: str) -> Iterator[Path]:
        """Files that may show it: the catalogue's own photos by their labels, then SKU.jpg. None outside the folder, whatever
        a SKU or a label says."""
        if self._folder is None:
            return
        product_id = served.snapshot.catalog.product_id(sku)
        labels = [] if product_id is None else [one.photo for one in served.snapshot.catalog.references(product_id)[:3]]
        labels += [one.removeprefix(f"{self._folder.name}/") for one in labels]  # of a CSV beside the folder
        names = [*labels, *(f"{sku}{suffix}" for suffix in (".jpg", ".png", ".webp", ".jpeg"))]
        for name in names:
            if "\0" in name or Path(name).suffix.lower() not in PHOTO_SUFFIXES:
                continue
            try:
                path = (self._folder / name).resolve()
                if path.is_relative_to(self._folder) and path.is_file():
                    yield path
            except OSError:  # a name too long for a file
                continue
