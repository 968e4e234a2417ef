"""The pass over a photo's bar codes: an article number of the catalogue settles what its look left open.

It runs where the look is rejected: not on the hot path. An own number decides; one that the catalogue doesn't have makes the answer
"unknown"; several that disagree settle nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog.gtin import canonical, is_of_one_shop, item_of
from ..catalog.ids import product_of
from ..imaging.barcodes import Code, read_codes
from ..imaging.decode import decode
from ..imaging.image import upright
from .results import Candidate

if TYPE_CHECKING:
    from ..encoders.encoder import Vector
    from ..imaging.image import ImageSource, Limits
    from ..scoring.fusion import Allowed
    from .snapshot import Snapshot

CERTAIN = 0.999
"""The confidence of an answer by its bar code: the check digit lets one misread code in ten through, and readers misread few."""


@dataclass(frozen=True, slots=True)
class Barcode:
    """`number`: the article number on the photo as it was read; `format`: "EAN-13"; `known`: whether the catalogue has it; `box`:
    left, top, right, bottom in pixels of the upright photo."""

    number: str
    format: str
    known: bool
    box: tuple[int, int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """Under "barcode" in `match --json`."""
        return {"gtin": self.number, "format": self.format, "known": self.known, "box": list(self.box)}


def barcode_pass(
    snapshot: Snapshot,
    image: ImageSource,
    limits: Limits,
    vector: Vector,
    candidates: tuple[Candidate, ...],
    allowed: Allowed,
) -> tuple[Barcode, tuple[Candidate, ...]] | None:
    """What a photo's bar code says, with the candidates after it (its product first, or none of them believed); None where it has
    none or they disagree. Raises ImageError."""
    found: dict[tuple[str, ...], Code] = {}
    for code in read_codes(upright_pixels(image, limits)):
        numbers = canonical(code.text)
        if numbers:
            found.setdefault(numbers, code)
    known = snapshot.catalog.by_gtin()
    if len(found) != 1:
        return None
    ((numbers, code),) = found.items()
    products = [product for number in numbers for product in known.get(number, ())]
    barcode = Barcode(_shown(numbers), code.format, bool(products), code.box)
    if products:
        best = _best_of(snapshot, vector, products, candidates, allowed)
        return None if best is None else (barcode, (best, *(one for one in candidates if one.sku != best.sku)))
    if any(is_of_one_shop(number) for number in numbers) and _is_kin(numbers, known):
        return None
    return barcode, tuple(replace(one, confidence=1 - CERTAIN) for one in candidates)


def upright_pixels(image: ImageSource, limits: Limits) -> Any:
    """The photo in its own size, (H, W, 3) uint8."""
    return np.asarray(upright(decode(image, None, limits)))


def _shown(numbers: tuple[str, ...]) -> str:
    """As scanners give it: 14 digits without the zero that EAN-13 lacks, or the eight of an EAN-8."""
    number = numbers[-1]
    return number[6:] if number.startswith("000000") else number[1:] if number[0] == "0" else number


def _is_kin(numbers: tuple[str, ...], known: dict[str, tuple[int, ...]]) -> bool:
    """Whether the catalogue has goods whose number differs in what a scale prints alone, weight or price."""
    items = {item_of(number) for number in numbers}
    return any(is_of_one_shop(number) and item_of(number) in items for number in known)


def _best_of(
    snapshot: Snapshot, vector: Vector, products: list[int], candidates: tuple[Candidate, ...], allowed: Allowed
) -> Candidate | None:
    """Of the products with the number the one that looks most alike, if one passes the filter."""
    gallery = snapshot.gallery
    own = np.isin(product_of(gallery.index.ids), np.array(products, np.uint32))
    ranked = gallery.rank(vector, len(products), own if allowed is None else own & allowed)
    if not ranked:
        return None
    product, score = ranked[0]
    sure = max(CERTAIN, snapshot.decision.threshold)  # accepted, however few false accepts were asked for
    found = Candidate(snapshot.catalog.product(product), score, sure)
    seen = next((one for one in candidates if one.sku == found.sku), None)
    return found if seen is None else replace(seen, confidence=max(sure, seen.confidence))
