"""A catalogue's photos looked at before anything is built: which can be read, which show too little, which are the same."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..errors import CatalogError, ImageError
from ..imaging.decode import decode, read_photo
from ..imaging.fingerprint import Fault, Look, look_of
from ..imaging.image import source_name
from ..imaging.resize import fit
from ..threads import in_order
from .listing import CatalogSource, Finding, SourcePhoto, few
from .same_pictures import SamePictures

Poor: TypeAlias = Literal["dark", "blank", "placeholder"]
POOR: tuple[Poor, ...] = ("dark", "blank", "placeholder")
_Looked: TypeAlias = tuple[SourcePhoto, bytes, Look | None, str]
Progress: TypeAlias = Callable[[Iterator[_Looked], int], Iterable[_Looked]]
_WHAT: dict[Fault, str] = {"dark": "too dark to tell the product by", "blank": "without anything to see"}


@dataclass(frozen=True, slots=True)
class _Small:
    """The size that photos are looked at in; see `imaging.resize.NetworkInput`."""

    width: int = 64
    height: int = 64
    resize: Literal["squash"] = "squash"
    crop_fraction: float = 1.0
    border_color: tuple[int, int, int] = (128, 128, 128)


_SMALL = _Small()


class Looks:
    """What a catalogue's photos show, as they are read: those that show too little, and one picture of several products."""

    def __init__(self) -> None:
        self._same = SamePictures()
        self._faults: dict[Fault, list[SourcePhoto]] = defaultdict(list)

    def add(self, photo: SourcePhoto, sha256: bytes, look: Look | None) -> None:
        """Enter a photo; without a look, as where its embedding was kept from before, by its bytes alone."""
        usable = look is not None and look.fault != "blank"
        self._same.add(photo, sha256, look.fingerprint if look is not None and usable else b"")
        if look is not None and look.fault is not None:
            self._faults[look.fault].append(photo)

    def findings(self) -> list[Finding]:
        """Pictures of several products, then those that show too little, a line each kind."""
        findings = self._same.findings()
        for fault, photos in self._faults.items():
            labels = tuple(photo.label for photo in photos)
            sentence = f"{len(photos):,} photos are {_WHAT[fault]} ({few(labels)}); --leave-out {fault} leaves them out"
            skus, places = tuple(dict.fromkeys(photo.sku for photo in photos)), tuple(photo.place for photo in photos)
            findings.append(Finding(fault, sentence, skus, labels, places))
        return findings


def examine(source: CatalogSource, workers: int = 0, progress: Progress | None = None) -> CatalogSource:
    """The source with what its photos show: those that can't be read are listed as unreadable, and the findings say which are dark,
    blank, or the same picture of several products. Reads every photo, in small (JPEGs: some 5 ms each of a core)."""
    looks = Looks()
    unreadable = list(source.unreadable)
    usable = []
    count = workers or os.cpu_count() or 1
    stream = in_order(_looked_at, source.photos, count, ahead=8 * count)
    visible = stream if progress is None else progress(stream, len(source.photos))
    for photo, digest, look, problem in visible:
        if look is None:
            unreadable.append((photo.label, problem))
            continue
        usable.append(photo)
        looks.add(photo, digest, look)
    return replace(
        source,
        photos=tuple(usable),
        unreadable=tuple(unreadable),
        findings=(*source.findings, *looks.findings()),
    )


def leave_out(source: CatalogSource, findings: Sequence[Finding], poor: Collection[str]) -> CatalogSource:
    """A source without the photos that `examine` found to be of these kinds: dark, blank, placeholder. They are listed in
    `left_out`, and what was found of them in `findings`. Raises CatalogError for another kind, or where nothing would be left."""
    strange = [kind for kind in poor if kind not in POOR]
    if strange:
        raise CatalogError(f"--leave-out {strange[0]} arrived; expected some of {', '.join(POOR)}")
    gone = {place: finding.kind for finding in findings if finding.kind in poor for place in finding.places}
    photos = tuple(photo for photo in source.photos if photo.place not in gone)
    if source.photos and not photos:
        raise CatalogError(
            f"{source} holds only photos that are {' or '.join(poor)}; build without --leave-out, or take others"
        )
    reasons = {"dark": "a dark photo", "blank": "a photo without anything to see", "placeholder": "a placeholder"}
    labels = {photo.place: photo.label for photo in source.photos}
    left_out = (*source.left_out, *((labels[place], reasons[kind]) for place, kind in gone.items() if place in labels))
    said = [
        replace(finding, message=f"{finding.message.split('; --leave-out')[0]}; left out")
        for finding in findings
        if finding.kind in poor
    ]
    return replace(source, photos=photos, left_out=left_out, findings=(*source.findings, *said))


def _looked_at(photo: SourcePhoto) -> _Looked:
    data = b""
    try:
        data = read_photo(photo.path)
        return photo, hashlib.sha256(data).digest(), look_of(fit(decode(data, _SMALL), _SMALL)), ""
    except ImageError as error:
        message = str(error).replace(source_name(data), photo.label)
        return photo, b"", None, message.replace(str(photo.path), photo.label)
