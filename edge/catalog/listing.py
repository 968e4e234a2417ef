"""What a catalogue source holds: its photos, the attributes of its products, what was left out, and what its owner should know."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

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

SYSTEM_FOLDERS = frozenset(
    {
        "__macosx",
        "@eadir",
        "@recycle",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "lost+found",
        "system volume information",
    }
)
"""Folders that systems and network storage make, in small letters: thumbnails, and what was deleted."""

FindingKind: TypeAlias = Literal[
    "guessed",
    "cleaned",
    "contradiction",
    "price",
    "gtin",
    "folders",
    "same picture",
    "placeholder",
    "dark",
    "blank",
    "resize",
]


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """One photo of a catalogue source. `place` is its path, as text; `label` is how reports call it: its path inside the source."""

    place: str
    label: str
    sku: str

    @property
    def path(self) -> Path:
        """Where it is. Made when it is asked for: kept, the paths of 50,000 photos are 20 MB."""
        return Path(self.place)

    @property
    def folder(self) -> str:
        """The folder that it is in, "" for the current one."""
        return os.path.dirname(self.place)  # noqa: PTH120  (for each photo)


@dataclass(frozen=True, slots=True)
class Finding:
    """What the owner of a source should know, in one sentence that also says what to do. `skus` and `photos`: the products and the
    labels of the photos it is about, as far as it is about some; `places`: where these photos are, since a label may be that of
    several."""

    kind: FindingKind
    message: str
    skus: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": self.kind, "message": self.message, "skus": list(self.skus), "photos": list(self.photos)}


@dataclass(frozen=True, slots=True)
class CatalogSource:
    """What a folder or a CSV holds: photos in a fixed order, attributes by SKU, files that are no photos, (label, reason) of what
    can't be read, and of what was left out though it can be read: folders without photos, photos beside product folders, rows of
    a CSV that name no product. `path` is where it was read from."""

    photos: tuple[SourcePhoto, ...]
    attributes: Mapping[str, Mapping[str, str]]
    ignored: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    path: str = ""

    def skus(self) -> list[str]:
        """The products, each once, in the order of their photos."""
        return list(dict.fromkeys(photo.sku for photo in self.photos))

    def __str__(self) -> str:
        return self.path


def several(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """What comes with several values, and these. A set for each of 50,000 SKUs would be 15 MB."""
    first: dict[str, str] = {}
    found: dict[str, set[str]] = {}
    for key, value in pairs:
        if first.setdefault(key, value) != value:
            found.setdefault(key, {first[key]}).add(value)
    return found


def few(names: Iterable[object], most: int = 5) -> str:
    """The first of some names with commas between them, and how many there are more."""
    listed = [str(name) for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more:,} more" if more > 0 else "")
