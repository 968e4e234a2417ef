"""One picture that stands for several products: then they can't be told apart, and often it shows none of them."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..imaging.fingerprint import FINGERPRINT_BYTES, are_same_pictures, words_of
from .listing import Finding, SourcePhoto, few

PLACEHOLDER_SKUS = 3
"""From so many products on, a picture is taken for a placeholder, like "image coming soon"."""
_MOST_COMPARED = 64
_CHUNK = 4096


class SamePictures:
    """Pictures with the same bytes or the same look. Some 250 bytes a photo while they come; they are compared at the end, each
    with the 64 next ones, at most, whose hashes share a word with its own and are nearest to it in order."""

    def __init__(self) -> None:
        self._skus: list[str] = []
        self._labels: list[str] = []
        self._places: list[str] = []
        self._contents = array("Q")
        self._fingerprints = bytearray()
        self._looked_at = array("I")

    def add(self, photo: SourcePhoto, sha256: bytes, fingerprint: bytes = b"") -> None:
        """Enter a photo. Without a fingerprint, by its bytes alone."""
        if fingerprint:
            self._looked_at.append(len(self._skus))
            self._fingerprints += fingerprint
        self._skus.append(photo.sku)
        self._labels.append(photo.label)
        self._places.append(photo.place)
        self._contents.append(int.from_bytes(sha256[:8], "big"))  # 64 bits of a sha256 are enough for a shop

    def groups(self) -> list[list[int]]:
        """Photos that are one picture, by the numbers in which they came; only those of two and more."""
        above = list(range(len(self._skus)))

        def top(number: int) -> int:
            while above[number] != number:
                above[number] = above[above[number]]
                number = above[number]
            return number

        for one, other in self._pairs():
            first, second = sorted((top(one), top(other)))
            above[second] = first
        found: dict[int, list[int]] = defaultdict(list)
        for number in range(len(above)):
            found[top(number)].append(number)
        return [group for group in found.values() if len(group) > 1]

    def _pairs(self) -> Iterator[tuple[int, int]]:
        contents = np.frombuffer(self._contents, np.uint64) if self._contents else np.empty(0, np.uint64)
        order = np.argsort(contents, kind="stable")
        same = np.flatnonzero(contents[order[1:]] == contents[order[:-1]])
        yield from zip(order[same].tolist(), order[same + 1].tolist(), strict=True)
        prints = np.frombuffer(self._fingerprints, np.uint8).reshape(-1, FINGERPRINT_BYTES)
        numbers = np.frombuffer(self._looked_at, np.uint32) if self._looked_at else np.empty(0, np.uint32)
        for one, other in _near(prints):
            yield from zip(numbers[one].tolist(), numbers[other].tolist(), strict=True)

    def findings(self) -> list[Finding]:
        """One for each picture of several products, those of most products first."""
        found = []
        for group in self.groups():
            skus = tuple(dict.fromkeys(self._skus[number] for number in group))
            if len(skus) < 2:
                continue
            labels = tuple(self._labels[number] for number in group)
            places = tuple(self._places[number] for number in group)
            if len(skus) < PLACEHOLDER_SKUS:
                sentence = f"the same picture stands for {skus[0]} and {skus[1]} ({few(labels, 2)}); they can't be told apart by it"
                found.append(Finding("same picture", sentence, skus, labels, places))
            else:
                sentence = (
                    f"the same picture stands for {len(skus):,} products, perhaps a placeholder ({labels[0]}): {few(skus, 8)}; "
                    "--leave-out placeholder leaves it out"
                )
                found.append(Finding("placeholder", sentence, skus, labels, places))
        return sorted(found, key=lambda finding: -len(finding.skus))


def _near(prints: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows of (N, 200) fingerprints that are the same picture, as pairs in two arrays, some of them several times."""
    words = words_of(prints)
    for place in range(words.shape[1]):
        order = np.lexsort((*(words[:, other] for other in range(words.shape[1])), words[:, place]))
        own = words[order, place]
        for step in range(1, min(_MOST_COMPARED, len(order) - 1) + 1):
            together = np.flatnonzero(own[step:] == own[:-step])
            if not len(together):
                break
            for start in range(0, len(together), _CHUNK):
                part = together[start : start + _CHUNK]
                one, other = order[part], order[part + step]
                same = are_same_pictures(prints[one], prints[other])
                yield one[same], other[same]
