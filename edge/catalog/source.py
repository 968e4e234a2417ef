"""Where products come from: a tree of folders, or a CSV."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .. import arguments
from ..errors import CatalogError
from .columns import columns_of
from .csv_photos import read_csv
from .folders import SKU_FROM, SkuFrom, read_folder
from .listing import PHOTO_SUFFIXES, CatalogSource, Finding, SourcePhoto, few, several
from .tables import read_rows

__all__ = [
    "PHOTO_SUFFIXES",
    "SKU_FROM",
    "CatalogSource",
    "Finding",
    "SkuFrom",
    "SourcePhoto",
    "columns_of",
    "read_rows",
    "read_source",
]

_TABLE_SUFFIXES = (".xlsx", ".xls", ".ods", ".numbers")


def read_source(
    source: str | os.PathLike[str] | CatalogSource,
    *,
    sku_from: SkuFrom = "auto",
    columns: Mapping[str, str] | None = None,
) -> CatalogSource:
    """Read a tree of folders that hold photos (see `folders.read_folder` for what is a product and what a category), or a CSV with
    the columns image and sku, by whatever usual names (`columns`: our name → the CSV's, where they are unusual).

    What can't be used is left out and listed in the result; CatalogError only if nothing can. What was read already comes back as
    it is, so that everything that takes a source takes a CatalogSource too.
    """
    if isinstance(source, CatalogSource):
        return source
    if sku_from not in SKU_FROM:
        raise CatalogError(f"sku_from is {sku_from!r}; expected one of {', '.join(SKU_FROM)}")
    arguments.path_of("source", source, "photos")
    arguments.columns(columns)
    path = Path(source)
    if path.is_dir():
        if columns:
            raise CatalogError(f"--columns arrived with the folder {path}; expected a CSV, whose columns it names")
        found = read_folder(path, sku_from)
    elif path.is_file():
        if sku_from != "auto":
            raise CatalogError(
                f"--sku-from {sku_from} arrived with the file {path}; expected a folder, a CSV says its SKUs"
            )
        _refuse_other_files(path)
        found = read_csv(path, columns)
    else:
        raise CatalogError(f"{path} does not exist; expected a folder of folders named by SKU, or a CSV")
    if not found.photos:
        raise CatalogError(_no_photos(path, found))
    return replace(found, findings=(*found.findings, *_alike(found)))


def _alike(source: CatalogSource) -> list[Finding]:
    """SKUs that are the same but for the case of their letters: two products, or one written in two ways."""
    found = several((photo.sku.casefold(), photo.sku) for photo in source.photos)
    if not found:
        return []
    groups = [sorted(skus) for skus in found.values()]
    sentence = (
        f"{len(groups):,} SKUs are written in several ways ({few([' and '.join(skus) for skus in groups], 3)}) and are "
        "products of their own; where they are one, write them alike"
    )
    return [Finding("contradiction", sentence, tuple(sku for skus in groups for sku in skus))]


def _no_photos(path: Path, found: CatalogSource) -> str:
    if found.unreadable:
        return f"{path} holds no photos that can be read; the first folder: {': '.join(found.unreadable[0])}"
    if path.is_file() and not found.left_out:
        return f"{path} has a header and no rows; expected a row for each photo"
    unusable = [f"{label}: {reason}" for label, reason in found.left_out if reason.startswith("SKU")]
    why = f"; {unusable[0]}" if unusable else ""
    expected = f"expected {path.name}/SKU/photo.jpg, or a CSV with the header image,sku"
    return f"{path} holds no photos{why}; {expected}" if not unusable else f"{path} holds no photos of products{why}"


def _refuse_other_files(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        raise CatalogError(f"{path} is one photo; expected the folder of folders that it lies in, or a CSV")
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        raise CatalogError(f"{path} is an archive; unpack it and name the folder")
    if suffix in _TABLE_SUFFIXES:
        raise CatalogError(f"{path} is a spreadsheet; open it, save it as 'CSV UTF-8' and name that file")
