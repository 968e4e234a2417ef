"""One picture that stands for several products: then they can't be told apart, and often it shows none of them."""

from __future__ import annotations

from collections import defaultdict

from ..imaging.fingerprint import is_same_picture, words_of
from .listing import Finding, few

PLACEHOLDER_SKUS = 3
"""From so many products on, a picture is taken for a placeholder, like "image coming soon"."""
_MOST_COMPARED = 64


class SamePictures:
    """Pictures with the same bytes or the same look, as they come. A look costs 200 bytes and few comparisons: with those pictures
    alone whose hashes share a word, at most 64 a word."""

    def __init__(self) -> None:
        self._groups: list[list[tuple[str, str]]] = []
        self._by_bytes: dict[bytes, int] = {}
        self._by_word: dict[tuple[int, bytes], list[tuple[bytes, int]]] = defaultdict(list)

    def add(self, sku: str, label: str, sha256: bytes, fingerprint: bytes = b"") -> int:
        """Enter a photo; the number of the group of photos that look like it. Without a fingerprint, by its bytes alone."""
        number = self._by_bytes.get(sha256)
        if number is None and fingerprint:
            number = self._looking_like(fingerprint)
        if number is None:
            number = len(self._groups)
            self._groups.append([])
            for place, word in enumerate(words_of(fingerprint) if fingerprint else ()):
                near = self._by_word[place, word]
                if len(near) < _MOST_COMPARED:
                    near.append((fingerprint, number))
        self._by_bytes.setdefault(sha256, number)
        self._groups[number].append((sku, label))
        return number

    def _looking_like(self, fingerprint: bytes) -> int | None:
        for place, word in enumerate(words_of(fingerprint)):
            for other, number in self._by_word.get((place, word), ()):
                if is_same_picture(fingerprint, other):
                    return number
        return None

    def findings(self) -> list[Finding]:
        """One for each picture of several products, those of most products first."""
        found = []
        for group in self._groups:
            skus = tuple(dict.fromkeys(sku for sku, _ in group))
            if len(skus) < 2:
                continue
            labels = tuple(label for _, label in group)
            if len(skus) < PLACEHOLDER_SKUS:
                sentence = f"the same picture stands for {skus[0]} and {skus[1]} ({few(labels, 2)}); they can't be told apart by it"
                found.append(Finding("same picture", sentence, skus, labels))
            else:
                sentence = (
                    f"the same picture stands for {len(skus):,} products, perhaps a placeholder ({labels[0]}): {few(skus, 8)}; "
                    "--leave-out placeholder leaves it out"
                )
                found.append(Finding("placeholder", sentence, skus, labels))
        return sorted(found, key=lambda finding: -len(finding.skus))
