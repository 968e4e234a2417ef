"""Pictures of products for the page: small JPEGs, from what the bundle was built from. In memory, never written."""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ..catalog.listing import PHOTO_SUFFIXES
from ..errors import ImageError, KioskError
from ..files import shown_name
from ..imaging.decode import decode
from ..imaging.image import Limits, upright
from .shop import Served

SIDE: Final = 480
"""Pixels; twice what the page shows on the Pi's screen."""
_MOST_BYTES: Final = 8 * 1024 * 1024
_LOOK_AGAIN_S: Final = 60.0
_MOST_LOOKED_UP: Final = 4096
_LIMITS: Final = Limits(size_bytes=32 * 1024 * 1024, pixels=50_000_000)

_EXPECTED: Final = "the folder or the CSV that the bundle was built from, or a folder with SKU.jpg"


def small_jpeg(source: bytes | Path, limits: Limits = _LIMITS, side: int = SIDE) -> bytes:
    """A photo as a small JPEG without its metadata. Raises ImageError."""
    picture = upright(decode(source, None, limits))
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85, comment=b"")  # Pillow would take over the photo's own
    return file.getvalue()


def _folder_of(source: Path) -> Path:
    """The folder that the names of a source's photos begin from: a CSV's is the one it lies in. Raises KioskError."""
    try:
        if source.is_dir():
            return source.resolve()
        if source.is_file():
            return source.parent.resolve()
    except (OSError, ValueError):
        pass  # a name that no file can have is as good as none
    raise KioskError(
        f"{shown_name(str(source))!r} (pictures.folder) isn't there; expected {_EXPECTED}, or none for no pictures"
    )


class Pictures:
    """Pictures by SKU, those that were asked for last in memory. Safe to share between threads.

    `source`: the folder or the CSV that the bundle was built from, or a folder with SKU.jpg; None: there are only those that staff
    took. Raises KioskError where it isn't there.
    """

    def __init__(self, source: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._folder = None if source is None else _folder_of(source)
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._taught: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()
        self._looked_up: OrderedDict[tuple[str, str], tuple[bool, float]] = OrderedDict()

    def has(self, served: Served, sku: str) -> bool:
        """Whether there is a file that may show it. The disk is asked once a minute, not for each answer: not in the event loop."""
        if sku in self._taught or sku in served.composed.pictured:
            return True
        if self._folder is None:
            return False
        key, now = (served.bundle_id, sku), self._clock()
        with self._lock:
            found, since = self._looked_up.get(key, (False, -_LOOK_AGAIN_S))
        if now - since < _LOOK_AGAIN_S:
            return found
        found = next(self._candidates(served, sku), None) is not None
        with self._lock:
            self._looked_up[key] = found, now
            self._looked_up.move_to_end(key)
            while len(self._looked_up) > _MOST_LOOKED_UP:
                self._looked_up.popitem(last=False)
        return found

    def count(self, served: Served) -> int:
        """Of how many products there is a picture. Raises KioskError where there was to be one and there is none."""
        products = [product.sku for _, product in served.snapshot.catalog.products()]
        found = sum(self.has(served, sku) for sku in products)
        if self._source is not None and not found:
            raise KioskError(
                f"{self._source} (pictures.folder) has a picture of none of the {len(products):,} products, like {products[0]!r}; "
                f"expected {_EXPECTED}"
            )
        return found

    def remember(self, sku: str, sha256: bytes, picture: bytes) -> None:
        """Show this picture of a taught product, as long as this process runs; `sha256`: of the photo's file."""
        with self._lock:
            self._taught[sku] = sha256, picture
            while len(self._taught) > 200:
                self._taught.popitem(last=False)

    def forget(self, sku: str, sha256: bytes | None = None) -> None:
        """The product is gone, or only that photo of it."""
        with self._lock:
            if sha256 is None or self._taught.get(sku, (None,))[0] == sha256:
                self._taught.pop(sku, None)

    def of(self, served: Served, sku: str, kept: bytes | None = None) -> bytes | None:
        """A product's picture as JPEG, None where there is none; `kept`: one that staff took and that could be kept."""
        taught = self._taught.get(sku)
        if taught is not None or kept is not None:
            return kept if taught is None else taught[1]
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
