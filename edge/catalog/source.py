"""Where products come from: a folder of folders named by SKU, or a CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CatalogError
from .attributes import clean_sku

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
    """What a folder or a CSV holds: photos in a fixed order, attributes by SKU, files that are no photos, and (label, reason) of
    folders that can't be read."""

    photos: tuple[SourcePhoto, ...]
    attributes: Mapping[str, Mapping[str, str]]
    ignored: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()

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
    if not found.photos and found.unreadable:
        raise CatalogError(
            f"{path} holds no photos that can be read; the first folder: {': '.join(found.unreadable[0])}"
        )
    if not found.photos:
        raise CatalogError(
            f"{path} holds no photos; expected {path.name}/SKU/photo.jpg, or a CSV with the header image,sku"
        )
    return found


def _read_folder(root: Path) -> CatalogSource:
    photos, ignored = [], []
    unreadable: list[tuple[str, str]] = []
    for path in sorted(_files(root, unreadable)):
        label = _shown(path, root)
        if path.parent == root or path.suffix.lower() not in PHOTO_SUFFIXES:
            ignored.append(label)
        else:
            photos.append(SourcePhoto(path, label, _checked_sku(path.relative_to(root).parts[0], label)))
    return CatalogSource(tuple(photos), {}, tuple(ignored), tuple(sorted(unreadable)))


def _files(root: Path, unreadable: list[tuple[str, str]]) -> Iterator[Path]:
    """What lies in a folder and those in it, links followed but for those to a folder that they lie in; nothing hidden."""
    waiting: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(root, ())]
    while waiting:
        folder, above = waiting.pop()
        try:
            info = folder.stat()
            own = info.st_dev, info.st_ino
            entries = [] if own in above else list(folder.iterdir())
        except OSError as error:
            unreadable.append((_shown(folder, root), f"the folder can't be read: {error.strerror or error}"))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                unreadable.append((_shown(entry, root), f"it can't be looked at: {error.strerror or error}"))
                continue
            if is_folder:
                waiting.append((entry, (*above, own)))
            else:
                yield entry


def _shown(path: Path, root: Path) -> str:
    """Its path inside the source; names that aren't UTF-8 get question marks."""
    return path.relative_to(root).as_posix().encode(errors="replace").decode()


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
    top = os.path.normpath(folder.absolute())
    place = Path(os.path.normpath(Path(top, image)))
    if place.is_relative_to(top):
        return place.relative_to(top).as_posix()
    parts = Path(os.path.normpath(image)).parts
    return "/".join([part for part in parts if not part.startswith("/")][-2:])


def read_rows(path: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV whose header has at least the required columns; empty rows and columns without a name
    are left out, and cells are on one line. Raises CatalogError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = [" ".join(name.split()) for name in reader.fieldnames or []]
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
                rows.append((reader.line_num, {key: _cell(key, value) for key, value in row.items() if key}))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"{path} can't be read as a CSV in UTF-8: {error}") from error


def _cell(column: str, text: str) -> str:
    """Without the blanks around it; in what is only shown, a line break is a blank. File names and SKUs are as they are."""
    return text.strip() if column in ("image", "sku") else " ".join(text.split())


def _checked_sku(sku: str, where: str) -> str:
    cleaned = clean_sku(sku)
    if not cleaned or len(cleaned) > 200 or not cleaned.isprintable():
        raise CatalogError(f"{where}: SKU {sku[:40]!r} arrived; expected 1 to 200 printable characters")
    return cleaned
