"""A tree of folders as a catalogue: which folders are products, which are categories, and what belongs to neither."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import CatalogError
from . import gtin
from .attributes import clean_sku
from .file_names import VIEWS, several_photos, sku_of_file
from .listing import PHOTO_SUFFIXES, SYSTEM_FOLDERS, CatalogSource, Finding, SourcePhoto, few, several
from .sku import sku_problem

SkuFrom: TypeAlias = Literal["auto", "folder", "path", "file"]
SKU_FROM: tuple[SkuFrom, ...] = ("auto", "folder", "path", "file")
_TOGETHER = "put each product's photos into a folder named by its SKU, or name a CSV with the header image,sku"


@dataclass(slots=True)
class _Folder:
    """`place`: its path, as text: of 50,000 folders `Path` would keep 20 MB more. `photos`: their names; `count`: photos in it and
    below."""

    place: str
    label: str
    above: _Folder | None = None
    photos: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)
    count: int = 0
    is_bundle: bool = False

    @property
    def name(self) -> str:
        """As it is on the disk."""
        return os.path.basename(self.place)  # noqa: PTH119

    def place_of(self, photo: str) -> str:
        """The path of a photo in it."""
        return os.path.join(self.place, photo)  # noqa: PTH118

    def label_of(self, name: str) -> str:
        """What reports call a file in it: names that aren't UTF-8 and characters that can't be shown get question marks."""
        return f"{self.label}/{_shown(name)}" if self.label else _shown(name)

    def filled(self) -> list[_Folder]:
        """The folders in it that hold photos, at any depth."""
        return [one for one in self.folders if one.count]

    def below(self) -> Iterator[_Folder]:
        """Itself and all folders below it."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting.extend(one.folders)


@dataclass(slots=True)
class _Sorted:
    """What a tree was found to be: (product folder, the folders whose photos are its), and what was left out of it."""

    products: list[tuple[_Folder, list[_Folder]]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    inner: list[str] = field(default_factory=list)


def read_folder(root: Path, sku_from: SkuFrom = "auto") -> CatalogSource:
    """Read a tree of any depth. Raises CatalogError for photos without folders around them.

    The SKU is the name of the folder that holds the photos ("folder"), its path inside the source ("path"), or each photo's own
    name without its ending ("file"; only the number where a name begins with a valid GTIN, as in 4006381333931_2.jpg). Folders
    above are the attributes category, category2, … from the outside in. "auto" is "folder" with three differences: folders in a
    product's folder that are called front, details, images and the like hold more photos of that product, as does a single folder
    beside photos; where several folders bear one name that is no article number (four digits), their paths are the SKUs.
    """
    unreadable: list[tuple[str, str]] = []
    top = _tree(root, unreadable)
    found = _Sorted()
    _sort(top, sku_from, found)
    if top.photos and sku_from != "file":
        if not found.products and not unreadable:
            raise CatalogError(_flat(root, top))
        found.left_out += [(_shown(photo), "a photo beside the folders of products") for photo in top.photos]
    catalogued = _catalogued(found, sku_from)
    bundles = {id(one) for folder in top.below() if folder.is_bundle for one in folder.below()}
    ignored = [label for folder in top.below() if id(folder) not in bundles for label in folder.others]
    photos, attributes, findings = catalogued
    findings += _hints(top, photos)
    return CatalogSource(
        tuple(sorted(photos, key=_by_parts)),
        attributes,
        tuple(sorted(ignored)),
        tuple(sorted(unreadable)),
        tuple(sorted(found.left_out)),
        tuple(findings),
        str(root),
    )


def _tree(root: Path, unreadable: list[tuple[str, str]]) -> _Folder:
    """A folder and those in it, links followed but for those to a folder that they lie in; nothing hidden."""
    top = _Folder(str(root), "")
    waiting: list[tuple[_Folder, tuple[tuple[int, int], ...]]] = [(top, ())]
    order = [top]
    while waiting:
        folder, above = waiting.pop()
        try:
            info = os.stat(folder.place)  # noqa: PTH116
            own = info.st_dev, info.st_ino
            entries = [] if own in above else _listed(folder.place)
        except OSError as error:
            unreadable.append((folder.label or ".", f"the folder can't be read: {error.strerror or error}"))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                # Path's answer for links: it takes a link in a circle for no folder, and says so where it may not look.
                is_folder = Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()
            except OSError as error:
                unreadable.append((folder.label_of(entry.name), f"it can't be looked at: {error.strerror or error}"))
                continue
            if is_folder and entry.name.casefold() in SYSTEM_FOLDERS:
                folder.others.append(folder.label_of(entry.name))
            elif is_folder:
                inner = _Folder(entry.path, folder.label_of(entry.name), folder)
                folder.folders.append(inner)
                order.append(inner)
                waiting.append((inner, (*above, own)))
            elif os.path.splitext(entry.name)[1].lower() in PHOTO_SUFFIXES:  # noqa: PTH122
                folder.photos.append(entry.name)
            else:
                folder.others.append(folder.label_of(entry.name))
        folder.is_bundle = not folder.photos and any(entry.name == "manifest.json" for entry in entries)
    for folder in reversed(order):  # those inside come after those around them
        folder.count = len(folder.photos) + sum(one.count for one in folder.folders)
    return top


def _listed(place: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name."""
    with os.scandir(place) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _by_parts(photo: SourcePhoto) -> str:
    """Sorts as paths do, a folder's files before those of the folder "… 2" beside it."""
    return os.path.normcase(photo.place).replace(os.sep, "\0")


def _sort(top: _Folder, sku_from: SkuFrom, found: _Sorted) -> None:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        if not folder.count:
            if folder is not top:
                reason = "a bundle of shelfmatch" if folder.is_bundle else "a folder without photos"
                found.left_out.append((folder.label, reason))
            continue
        if sku_from != "auto":
            if folder.photos and (folder is not top or sku_from == "file"):
                found.products.append((folder, [folder]))
            waiting.extend(folder.folders)
        elif folder is not top and _is_product(folder):
            found.products.append((folder, list(folder.below())))
            found.inner += [one.label for one in folder.filled()]
        else:
            if folder is not top:
                reason = f"a photo beside the folders of {len(folder.filled())} products in {folder.label}"
                found.left_out += [(folder.label_of(photo), reason) for photo in folder.photos]
            waiting.extend(folder.folders)


def _is_product(folder: _Folder) -> bool:
    """Whether a folder with photos in it or below is one product: with photos and at most one folder of them, or with folders that
    are all called like views."""
    filled = folder.filled()
    if filled and all(one.name.casefold() in VIEWS and not one.filled() for one in filled):
        return True
    return bool(folder.photos) and len(filled) <= 1


def _catalogued(
    found: _Sorted, sku_from: SkuFrom
) -> tuple[list[SourcePhoto], dict[str, dict[str, str]], list[Finding]]:
    """Photos with their SKUs, attributes from the folders above, and findings."""
    by_path, findings = _ambiguous(found, sku_from)
    photos: list[SourcePhoto] = []
    attributes: dict[str, dict[str, str]] = {}
    places: list[tuple[str, str]] = []
    for folder, own in found.products:
        in_path = sku_from == "path" or clean_sku(folder.name) in by_path
        above = _above(folder if sku_from != "file" else _Folder(folder.place, "", folder))
        around = "/".join(above.values())
        for one, photo in ((holder, photo) for holder in own for photo in holder.photos):
            name = sku_of_file(photo) if sku_from == "file" else folder.label if in_path else folder.name
            problem = sku_problem(name)
            if problem:
                found.left_out.append((one.label_of(photo) if sku_from == "file" else folder.label, problem))
                if sku_from == "file":
                    continue
                break
            sku = clean_sku(name)
            photos.append(SourcePhoto(one.place_of(photo), one.label_of(photo), sku))
            if above and sku not in attributes:
                attributes[sku] = above
            places.append((sku, around))
    doubled = several(places)
    if doubled:
        first = next(iter(doubled))
        findings.append(
            Finding(
                "contradiction",
                f"{len(doubled):,} products lie in several categories, the first counts: {first} in "
                f"{few(sorted(doubled[first]))}",
                tuple(doubled),
            )
        )
    findings += _more_findings(found, sku_from)
    return photos, attributes, findings


def _above(folder: _Folder) -> dict[str, str]:
    """The folders around a product's, from the outside in, as attributes."""
    names: list[str] = []
    around = folder.above
    while around is not None and around.above is not None:
        names.append(_shown(around.name))
        around = around.above
    return {"category" if not level else f"category{level + 1}": name for level, name in enumerate(reversed(names))}


def _ambiguous(found: _Sorted, sku_from: SkuFrom) -> tuple[set[str], list[Finding]]:
    """Names that several folders of different parents bear and that are no article numbers."""
    if sku_from != "auto":
        return set(), []
    parents = ((clean_sku(folder.name), folder.above.label if folder.above else "") for folder, _ in found.products)
    names = {name for name in several(parents) if sum(map(str.isdigit, name)) < 4}
    if not names:
        return names, []
    count = sum(clean_sku(folder.name) in names for folder, _ in found.products)
    example = next(folder.label for folder, _ in found.products if clean_sku(folder.name) in names)
    sentence = (
        f"{count:,} folders share their names with others ({few(sorted(names))}): their paths are the SKUs, like {example}; "
        "where they are one product, add --sku-from folder"
    )
    return names, [Finding("folders", sentence)]


def _more_findings(found: _Sorted, sku_from: SkuFrom) -> list[Finding]:
    findings = []
    if found.inner:
        sentence = (
            f"{len(found.inner):,} folders lie in folders of products and count as more photos of these ({few(found.inner)}); "
            "where they are products themselves, add --sku-from folder"
        )
        findings.append(Finding("folders", sentence))
    if sku_from == "file":
        several_each = several_photos(
            (one.label, sku_of_file(photo)) for _, own in found.products for one in own for photo in one.photos
        )
        if several_each is not None:
            sentence = f"{several_each}, but each is a product of its own now; where they belong together, {_TOGETHER}"
            findings.append(Finding("folders", sentence))
    else:
        numbered = []
        for folder, own in found.products:
            stems = {sku_of_file(photo) for one in own for photo in one.photos}
            if sum(map(gtin.is_gtin, stems)) > 1 and not gtin.is_gtin(folder.name):
                numbered.append(folder.label)
        if numbered:
            sentence = (
                f"photos in {few(numbered)} are named by different GTINs but count as one product a folder; "
                "where each number is a product, add --sku-from file"
            )
            findings.append(Finding("folders", sentence))
    return findings


def _hints(top: _Folder, photos: list[SourcePhoto]) -> list[Finding]:
    """What a folder seems to be, where it hardly is what was meant."""
    findings = []
    tables = [other for other in top.others if other.lower().endswith((".csv", ".tsv"))]
    if tables:
        sentence = f"{few(tables)} beside the folders was not read; to build from it, name it instead of the folder"
        findings.append(Finding("folders", sentence))
    if len(photos) > 1 and len({photo.sku for photo in photos}) == 1:
        sentence = (
            f"all {len(photos):,} photos are of one product, {photos[0].sku}; where each is another one, add --sku-from file, or "
            "give each a folder named by its SKU"
        )
        findings.append(Finding("folders", sentence, (photos[0].sku,)))
    return findings


def _flat(root: Path, top: _Folder) -> str:
    """Why a folder of photos alone is no catalogue, and what to do."""
    skus = len({sku_of_file(photo) for photo in top.photos})
    tables = [other for other in top.others if other.lower().endswith((".csv", ".tsv"))]
    csv = f"the CSV {root / tables[0]} in it, " if len(tables) == 1 else ""
    several_each = several_photos(("", sku_of_file(photo)) for photo in top.photos)
    but = "" if several_each is None else f"; but {several_each}: then {_TOGETHER}"
    return (
        f"{root} holds no photos in folders: {len(top.photos):,} photos lie in it side by side; expected {csv}"
        f"{root.name}/SKU/photo.jpg, or --sku-from file to make each photo's name its SKU ({skus:,} products){but}"
    )


def _shown(name: str) -> str:
    """Names that aren't UTF-8 and characters that can't be shown get question marks."""
    return _printable(name.encode(errors="replace").decode())


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
