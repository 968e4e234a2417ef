"""One product's photos, one by one: which there are, how well they go together, and what they look like."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ..catalog.ids import MAX_PHOTOS, product_of
from ..imaging.decode import decode
from ..imaging.image import upright
from ..imaging.resize import Wanted
from .explanation import find_reference_photo
from .explanation_card import EMPTY, PAPER, SOFT, write_line, write_picture
from .similar import product_id_of

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..index.vector_index import VectorIndex

_TILE, _GAP, _CAPTION = 280, 20, 56
_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class ProductPhoto:
    """`number` names it in its product as long as it is there, `photo` is its path inside the source it came from, `sha256` of its
    file (hexadecimal; "" where only an embedding came). `alike`: the mean cosine to the product's other photos, None where it is
    alone; one far below the others may show something else."""

    number: int
    photo: str
    sha256: str
    alike: float | None

    def to_dict(self) -> dict[str, Any]:
        """As in `photos --json`."""
        return {**asdict(self), "alike": None if self.alike is None else round(self.alike, 6)}


def photos_of(index: VectorIndex, catalog: Catalog, sku: str) -> tuple[ProductPhoto, ...]:
    """A product's photos by number. Raises CatalogError if the catalogue doesn't have the SKU."""
    product = product_id_of(catalog, sku)
    rows = np.flatnonzero(product_of(index.ids) == product)
    vectors = index.vectors(rows)
    total = vectors.sum(axis=0)
    alike = {
        int(one): float(vector @ (total - vector)) / (len(rows) - 1) if len(rows) > 1 else None
        for one, vector in zip(index.ids[rows].tolist(), vectors, strict=True)
    }
    return tuple(
        ProductPhoto(reference.id % MAX_PHOTOS, reference.photo, reference.photo_sha256.hex(), alike[reference.id])
        for reference in catalog.references(product)
    )


def save_sheet(
    catalog: Catalog,
    sku: str,
    photos: Sequence[ProductPhoto],
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
) -> int:
    """Write a sheet of a product's photos with their numbers; how many of them lie in `source` as they were catalogued, the others
    are empty tiles: bundles hold no pictures. Raises ImageError for a path of another ending than a picture's, or that can't be
    written; CatalogError for a source that isn't there."""
    by_number = {one.id % MAX_PHOTOS: one for one in catalog.references(product_id_of(catalog, sku))}
    rows = math.ceil(len(photos) / _COLUMNS)
    columns = min(len(photos), _COLUMNS)
    size = (_GAP + columns * (_TILE + _GAP), _GAP + rows * (_TILE + _CAPTION + _GAP))
    sheet = Image.new("RGB", size, PAPER)
    count = 0
    for place, photo in enumerate(photos):
        row, column = divmod(place, _COLUMNS)
        corner = _GAP + column * (_TILE + _GAP), _GAP + row * (_TILE + _CAPTION + _GAP)
        found = find_reference_photo([by_number[photo.number]], source)
        _tile(sheet, corner, None if found is None else found[0], photo)
        count += found is not None
    write_picture(sheet, path)
    return count


def _tile(sheet: Image.Image, corner: tuple[int, int], data: bytes | None, photo: ProductPhoto) -> None:
    """A picture, or an empty place for it, and what it is below."""
    pen = ImageDraw.Draw(sheet)
    left, top = corner
    pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=EMPTY)
    if data is None:
        write_line(pen, (left + 16, top + _TILE // 2 - 10), "not there, or changed", 18, SOFT, _TILE - 32)
    else:
        # As it was catalogued: Pillow alone doesn't read HEIC, and shows 16 bits a channel as white.
        picture = ImageOps.contain(upright(decode(data, Wanted(_TILE, _TILE))), (_TILE, _TILE))
        sheet.paste(picture, (left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2))
    alike = "" if photo.alike is None else f", {photo.alike:.2f} like the others"
    write_line(pen, (left, top + _TILE + 8), f"{photo.number}{alike}", 18, SOFT, _TILE)
    write_line(pen, (left, top + _TILE + 30), photo.photo, 18, SOFT, _TILE, keep_end=True)
