"""A CSV as a catalogue: the photos that its rows name, the products' attributes, and what doesn't fit together."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..errors import CatalogError
from .attributes import clean_sku
from .contradictions import Attributes
from .listing import PHOTO_SUFFIXES, CatalogSource, Finding, SourcePhoto
from .sku import sku_problem
from .tables import read_table, wrong_lines

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_ENDING = re.compile(r"\.(?:jpe?g|png|webp|gif|heic)(?=[\s,;|]|$)", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def read_csv(path: Path, columns: Mapping[str, str] | None = None) -> CatalogSource:
    """Read a CSV. Where rows of one SKU differ in an attribute, the first that has it counts, and a finding lists them. Lines
    that can't be used are left out and listed. Raises CatalogError if it is no such CSV, or none of its lines can be used."""
    table = read_table(path, ("image", "sku"), columns)
    bad = list(table.bad)
    photos: list[SourcePhoto] = []
    attributes = Attributes()
    places = Places(path.parent)
    for line, row in table.rows:
        image, sku = row.pop("image"), row.pop("sku")
        problem = _image_problem(image, path.parent) or sku_problem(sku)
        if problem:
            bad.append((line, problem))
            continue
        image = places.found(image)
        sku = clean_sku(sku)
        photos.append(SourcePhoto(str(path.parent / image), _label(image, path.parent), sku))
        attributes.add(sku, row, line)
    bad.sort()
    if bad and not photos:
        raise CatalogError(wrong_lines(path, bad))
    findings = [Finding("guessed", f"{path.name}: {guess}") for guess in table.guessed]
    findings += [Finding("cleaned", f"{path.name}: {what}") for what in table.cleaned]
    return CatalogSource(
        tuple(photos),
        attributes.by_sku(),
        left_out=tuple((f"{path.name} line {line}", problem) for line, problem in bad),
        findings=(*findings, *places.findings(), *attributes.findings()),
        path=str(path),
    )


def _image_problem(image: str, folder: Path) -> str:
    """Why a cell can't name a photo, "" where it can."""
    if not image:
        return "names no image; expected a path relative to the CSV"
    if _ADDRESS.match(image):
        return f"names an address, {image[:60]!r}; expected a file: download the photos and name them"
    if _WINDOWS.match(image):
        return (
            f"names a place on a Windows computer, {image[:60]!r}; expected a path relative to the CSV: put the photos beside it "
            "and take what is before them away"
        )
    if "\0" in image:
        return "names an image with a character that no file has"
    if len(_ENDING.findall(image)) > 1 and not os.path.exists(folder / image):  # noqa: PTH110
        return f"names several photos, {image[:60]!r}; expected one photo a row: write a row for each"
    return ""


class Places:
    """Finds photos whose names are written as on another system: with backslashes, in other case, without their endings, or with
    letters put together otherwise (a ZIP of a Mac)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[Path, dict[str, list[str]]] = {}
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def found(self, image: str) -> str:
        """The cell, or what was meant by it where only that exists."""
        if os.path.exists(self._folder / image):  # noqa: PTH110  (a third of Path.exists, for each photo)
            return image
        forward = image.replace("\\", "/")
        if "\\" in image:
            self._count("backslashes are read as slashes", image)
            if os.path.exists(self._folder / forward):  # noqa: PTH110
                return forward
        place = self._folder / forward
        names = self._names(place.parent).get(_plain(place.name), [])
        if len(names) == 1 and names[0] != place.name:
            is_case = names[0].casefold() == place.name.casefold()
            what = "the case of letters is" if is_case else "how letters are put together is"
            self._count(f"{what} another than the file's", image)
            return (Path(forward).parent / names[0]).as_posix()
        if place.suffix.lower() not in PHOTO_SUFFIXES:
            names = [
                name
                for suffix in PHOTO_SUFFIXES
                for name in self._names(place.parent).get(f"{_plain(place.name)}{suffix}", [])
            ]
            if len(names) == 1:
                self._count("the file's ending is missing", image)
                return (Path(forward).parent / names[0]).as_posix()
        return forward

    def findings(self) -> list[Finding]:
        """What was read otherwise than it is written."""
        return [
            Finding("cleaned", f"in {count:,} image names {what}, as in {self._examples[what]!r}")
            for what, count in self._counts.items()
        ]

    def _count(self, what: str, image: str) -> None:
        self._counts[what] += 1
        self._examples.setdefault(what, image)

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                for entry in sorted(folder.iterdir()):
                    names.setdefault(_plain(entry.name), []).append(entry.name)
            except OSError:
                pass  # a photo that isn't there is reported when it is read
            self._listed[folder] = names
        return self._listed[folder]


def _plain(name: str) -> str:
    """A file's name as it is looked for."""
    return unicodedata.normalize("NFC", name).casefold()


def _label(image: str, folder: Path) -> str:
    """What a bundle may know of a photo's place: nothing above the source."""
    top = os.path.normpath(folder.absolute())
    place = Path(os.path.normpath(Path(top, image)))
    if place.is_relative_to(top):
        return place.relative_to(top).as_posix()
    parts = Path(os.path.normpath(image)).parts
    return "/".join([part for part in parts if not part.startswith("/")][-2:])
