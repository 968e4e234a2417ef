"""A catalogue's photos looked at before anything is built: which can be read, which show too little, which are the same."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..errors import CatalogError, ImageError
from ..files import sha256_of
from ..imaging.decode import decode, read_photo
from ..imaging.fingerprint import Fault, Look, look_of
from ..imaging.resize import fit
from ..threads import in_order
from .listing import CatalogSource, Finding, SourcePhoto, few
from .same_pictures import SamePictures

Poor: TypeAlias = Literal["dark", "blank", "placeholder"]
POOR: tuple[Poor, ...] = ("dark", "blank", "placeholder")
_WHAT: dict[Fault, str] = {"dark": "too dark to tell the product by", "blank": "without anything to see"}


@dataclass(frozen=True, slots=True)
class _Small:
    """The size that photos are looked at in; see `imaging.resize.NetworkInput`."""

    width: int = 64
    height: int = 64
    resize: Literal["squash"] = "squash"
    crop_fraction: float = 1.0


_SMALL = _Small()


def examine(source: CatalogSource, workers: int = 0) -> CatalogSource:
    """The source with what its photos show: those that can't be read are listed as unreadable, and the findings say which are dark,
    blank, or the same picture of several products. Reads every photo, in small (JPEGs: some 5 ms each of a core)."""
    same = SamePictures()
    faults: dict[Fault, list[SourcePhoto]] = defaultdict(list)
    unreadable = list(source.unreadable)
    usable = []
    count = workers or os.cpu_count() or 1
    for photo, digest, look, problem in in_order(_looked_at, source.photos, count, ahead=8 * count):
        if look is None:
            unreadable.append((photo.label, problem))
            continue
        usable.append(photo)
        same.add(photo.sku, photo.label, digest, b"" if look.fault == "blank" else look.fingerprint)
        if look.fault:
            faults[look.fault].append(photo)
    findings = [*source.findings, *same.findings()]
    for fault, photos in faults.items():
        labels = tuple(photo.label for photo in photos)
        sentence = f"{len(photos):,} photos are {_WHAT[fault]} ({few(labels)}); --leave-out {fault} leaves them out"
        findings.append(Finding(fault, sentence, tuple(dict.fromkeys(photo.sku for photo in photos)), labels))
    return replace(source, photos=tuple(usable), unreadable=tuple(unreadable), findings=tuple(findings))


def same_files(source: CatalogSource) -> list[Finding]:
    """Which files of one content stand for several products. Reads only files of one size."""
    sizes: dict[int, list[SourcePhoto]] = defaultdict(list)
    for photo in source.photos:
        try:
            sizes[photo.path.stat().st_size].append(photo)
        except OSError:
            continue  # it is reported when it is read
    same = SamePictures()
    for size, photos in sizes.items():
        if size and len({photo.sku for photo in photos}) > 1:
            for photo in photos:
                try:
                    same.add(photo.sku, photo.label, bytes.fromhex(sha256_of(photo.path)))
                except OSError:
                    continue
    return same.findings()


def leave_out(source: CatalogSource, poor: Collection[str]) -> CatalogSource:
    """An examined source without the photos of these kinds: dark, blank, placeholder. They are listed in `left_out`. Raises
    CatalogError for another kind, or where nothing would be left."""
    strange = [kind for kind in poor if kind not in POOR]
    if strange:
        raise CatalogError(f"--leave-out {strange[0]} arrived; expected some of {', '.join(POOR)}")
    gone = {label: finding.kind for finding in source.findings if finding.kind in poor for label in finding.photos}
    photos = tuple(photo for photo in source.photos if photo.label not in gone)
    if source.photos and not photos:
        raise CatalogError(
            f"{source} holds only photos that are {' or '.join(poor)}; build without --leave-out, or take others"
        )
    left_out = (
        *source.left_out,
        *((label, f"a {kind} photo" if kind != "placeholder" else "a placeholder") for label, kind in gone.items()),
    )
    return replace(source, photos=photos, left_out=left_out)


def _looked_at(photo: SourcePhoto) -> tuple[SourcePhoto, bytes, Look | None, str]:
    try:
        data = read_photo(photo.path)
        return photo, hashlib.sha256(data).digest(), look_of(fit(decode(data, _SMALL), _SMALL)), ""
    except ImageError as error:
        return photo, b"", None, str(error).replace(str(photo.path), photo.label)
