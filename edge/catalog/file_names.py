"""What the names of photos say: a SKU, or that several photos show one product."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..terminal import amount
from . import gtin

_VIEW_WORDS = """
front back rear side sides left right top bottom above below detail details closeup closeups view views angle angles zoom
image images photo photos picture pictures pic pics img imgs thumbs thumbnails packshot packshots shelf
vorne hinten vorderseite rückseite seite seiten links rechts oben unten ansicht ansichten bild bilder foto fotos
devant derrière avant arrière face dos côté côtés gauche droite haut bas détail détails vue vues
正面 背面 反面 侧面 左 右 上 下 顶部 底部 细节 图片 照片
"""
VIEWS = frozenset(_VIEW_WORDS.split())
"""What folders and endings of names are called that tell photos of one product apart."""
_LAST = re.compile(r"(.+?)([ _.\-]+)([^\W\d_]*)(\d{0,2})")
"""A name, and its last part: a word, a number of at most two digits, or both."""


def sku_of_file(photo: str) -> str:
    """The SKU that a photo's name says: without its ending, without the " (2)" of a copy; of a name that begins with a valid GTIN,
    that number, since what follows counts photos."""
    stem = re.sub(r" \(\d+\)$", "", os.path.splitext(photo)[0])  # noqa: PTH122
    number = re.match(r"\d+(?!\d)", stem)
    return number[0] if number is not None and gtin.is_gtin(number[0]) else stem


@dataclass(frozen=True, slots=True)
class SeveralPhotos:
    """Photos whose names differ only in what counts photos or names a view: how many, of how many products, and the names of one
    product's first two."""

    photos: int
    products: int
    example: tuple[str, str]

    def __str__(self) -> str:
        products = amount(self.products, "product")
        return f"{self.photos:,} photos look like {products} with several photos ({' and '.join(self.example)})"


def several_photos(names: Iterable[tuple[str, str]]) -> SeveralPhotos | None:
    """Of (folder, SKU that a photo's name says): whether at least half of them look like several photos of fewer products, as do
    A_1, A_2, B_front and B_back. None where they don't: numbers of variants seldom begin at 1 for each of several products."""
    alone = list(dict.fromkeys(names))
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for folder, name in alone:
        stem, ending = _parted(name)
        groups.setdefault((folder, stem), {})[name] = ending
    found = [group for group in groups.values() if len(group) > 1 and set(group.values()) != {"number"}]
    if len(found) == 1 and "view" not in found[0].values():  # a series of numbers alone may be anything
        return None
    count = sum(map(len, found))
    if not found or 2 * count < len(alone):
        return None
    first, second = list(found[0])[:2]
    return SeveralPhotos(count, len(found), (first, second))


def _parted(name: str) -> tuple[str, Literal["", "first", "number", "view"]]:
    """A name without the number and the word for a view at its end, and what was there: a number (the "first": 0 or 1), or a view
    with or without one."""
    ending: Literal["", "first", "number", "view"] = ""
    for _ in range(2):
        part = _LAST.fullmatch(name)
        if part is None:
            break
        stem, mark, word, number = part.groups()
        if word.casefold() in VIEWS and ending != "view":
            name, ending = stem, "view"
        elif not word and number and ending in ("", "view") and mark.strip():
            name, ending = stem, ending or ("first" if int(number) < 2 else "number")
        else:
            break
    return name, ending
