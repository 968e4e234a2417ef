"""Where products come from: a folder of folders named by SKU, or a CSV."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import CatalogError

PHOTO_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".mpo",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".avif",
        ".heic",
        ".heif",
    }
)


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """One photo of a catalogue source. `label` is how reports call it: its path inside the source."""

    path: Path
    label: str
    sku: str


@dataclass(frozen=True, slots=True)
class CatalogSource:
    """What a folder or a CSV holds: photos in a fixed order, attributes by SKU, and files that are no photos."""

    photos: tuple[SourcePhoto, ...]
    attributes: Mapping[str, Mapping[str, str]]
    ignored: tuple[str, ...] = ()

    def skus(self) -> list[str]:
        """The products, each once, in the order of their photos."""
        return list(dict.fromkeys(photo.sku for photo in self.photos))


def read_source(source: str | os.PathLike[str]) -> CatalogSource:
    """Read a folder of folders named by SKU, or a CSV with the header image,sku. Raises CatalogError."""
    path = Path(source)
    if path.is_dir():
        found = _read_folder(path)
    elif path.is_file():
        found = _read_csv(path)
    else:
        raise CatalogError(f"{path} does not exist; expected a folder of folders named by SKU, or a CSV")
    if not found.photos:
        raise CatalogError(
            f"{path} holds no photos; expected {path.name}/SKU/photo.jpg, or a CSV with the header image,sku"
        )
    return found


def _read_folder(root: Path) -> CatalogSource:
    photos, ignored = [], []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts) or path.is_dir():
            continue
        label = "/".join(parts).encode(errors="replace").decode()  # names that aren't UTF-8 get question marks
        if len(parts) < 2 or path.suffix.lower() not in PHOTO_SUFFIXES:
            ignored.append(label)
        else:
            photos.append(SourcePhoto(path, label, _checked_sku(parts[0], label)))
    return CatalogSource(tuple(photos), {}, tuple(ignored))


def _read_csv(path: Path) -> CatalogSource:
    """Where rows of one SKU differ in an attribute, the first that has it counts."""
    photos = []
    attributes: dict[str, dict[str, str]] = {}
    for line, row in read_rows(path, ("image", "sku")):
        image, sku = row.pop("image"), row.pop("sku")
        if not image:
            raise CatalogError(f"{path} line {line} names no image; expected a path relative to the CSV")
        sku = _checked_sku(sku, f"{path} line {line}")
        photos.append(SourcePhoto(path.parent / image, _label(image, path.parent), sku))
        known = attributes.setdefault(sku, {})
        for key, value in row.items():
            if value:
                known.setdefault(key, value)
    return CatalogSource(tuple(photos), attributes)


def _label(image: str, folder: Path) -> str:
    """What a bundle may know of a photo's place: nothing above the source."""
    if not Path(image).is_absolute():
        return image
    with contextlib.suppress(ValueError):
        return Path(image).relative_to(folder.absolute()).as_posix()
    return "/".join(Path(image).parts[-2:])


def read_rows(path: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV whose header has at least the required columns; empty rows and columns without a name
    are left out. Raises CatalogError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            missing = [column for column in required if column not in header]
            if missing:
                raise CatalogError(
                    f"{path} has the header {','.join(header)[:200]!r}; expected it to include {','.join(required)}"
                )
            twice = [name for place, name in enumerate(header) if name and name in header[:place]]
            if twice:
                raise CatalogError(f"{path} has the column {twice[0]} twice; expected each once")
            rows = []
            for row in reader:
                if None not in row and not any(value and value.strip() for value in row.values()):
                    continue
                if None in row or None in row.values():
                    raise CatalogError(f"{path} line {reader.line_num} has more or fewer fields than the header")
                rows.append((reader.line_num, {key: value.strip() for key, value in row.items() if key}))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"{path} can't be read as a CSV in UTF-8: {error}") from error


def _checked_sku(sku: str, where: str) -> str:
    if not sku or len(sku) > 200 or not sku.isprintable():
        raise CatalogError(f"{where}: SKU {sku[:40]!r} arrived; expected 1 to 200 printable characters")
    return sku
