"""Which resize rule suits a shop's photos, for an encoder whose card names none: tried on the shop's own held-out photos.

What a network was trained with is not in its file. On tall and flat goods it decides what is seen of them, and which
rule is best differs by network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..catalog.listing import Finding, SourcePhoto
from ..encoders.card import EncoderCard
from ..encoders.encoder import Encoder
from ..errors import ImageError, VectorError
from ..fitting.calibration import evenly
from ..imaging.decode import decode, read_photo
from ..imaging.image import upright
from ..imaging.resize import fit

Rule = Literal["squash", "crop", "pad"]
RULES: Final[tuple[Rule, ...]] = ("squash", "crop", "pad")
PRODUCTS, FEWEST = 40, 10
"""Products that are tried, two photos each, and fewer than which say nothing: 160 runs of the encoder more than the build has."""
SQUARE = 0.03
"""Photos whose sides differ by no more are seen alike by all rules (as in `pad`)."""
CERTAIN = 2.0
"""Standard errors of the difference of two paired shares (Q. McNemar 1947): another rule than the card's must find so many more."""


def suited(encoder: Encoder, photos: Sequence[SourcePhoto]) -> tuple[EncoderCard, Finding | None]:
    """The encoder's card with the rule that finds most of the shop's own photos, held out one by one, and what to say of it; as it
    is where none is better for sure: products have one photo, photos are square, or too few of them."""
    card = encoder.card
    pairs = _pairs(photos)
    if len(pairs) < FEWEST or _square(pairs):
        return card, None
    found = {rule: _found(encoder, _with(card, rule), pairs) for rule in (card.resize, *RULES)}
    own = found[card.resize]
    best = max(RULES, key=lambda rule: int(found[rule].sum()))
    more, less = int((found[best] & ~own).sum()), int((own & ~found[best]).sum())
    if more - less <= CERTAIN * math.sqrt(more + less):
        return card, None
    counts = {rule: int(found[rule].sum()) for rule in (best, card.resize)}
    sentence = (
        f"encoder {card.name} came without a card that names its resize rule: {best} finds {counts[best]} of {len(own)} of the "
        f"shop's photos among the others, {card.resize} {counts[card.resize]}; the bundle uses {best}; name another one in a card"
    )
    return _with(card, best), Finding("resize", sentence)


def _with(card: EncoderCard, rule: str) -> EncoderCard:
    if rule == card.resize:
        return card
    made: Rule = next(one for one in RULES if one == rule)
    return replace(card, resize=made, crop_fraction=card.crop_fraction if made == "crop" else 1.0)


def _pairs(photos: Sequence[SourcePhoto]) -> list[tuple[SourcePhoto, SourcePhoto]]:
    """The first and the last photo of products, evenly spread over those that have two."""
    ends: dict[str, tuple[SourcePhoto, SourcePhoto]] = {}
    for photo in photos:
        ends[photo.sku] = (ends.get(photo.sku, (photo, photo))[0], photo)
    several = [pair for pair in ends.values() if pair[0] is not pair[1]]
    return [several[place] for place in evenly(len(several), PRODUCTS)]


def _square(pairs: Sequence[tuple[SourcePhoto, SourcePhoto]]) -> bool:
    sides = []
    for photo, _ in pairs:
        try:
            picture = upright(decode(read_photo(photo.path)))
        except ImageError:
            continue
        sides.append(abs(math.log(picture.width / picture.height)))
    return not sides or float(np.median(sides)) <= SQUARE


def _found(encoder: Encoder, card: EncoderCard, pairs: Sequence[tuple[SourcePhoto, SourcePhoto]]) -> NDArray[np.bool_]:
    """(2 P,) whether each photo's nearest one, as the card sees them, is of the same product; never of one that can't be read."""
    rows, owners = np.zeros((2 * len(pairs), card.dimension), np.float32), np.repeat(np.arange(len(pairs)), 2)
    seen = np.zeros(len(rows), bool)
    for row, photo in enumerate(photo for pair in pairs for photo in pair):
        try:
            rows[row] = encoder.embed_pixels(fit(decode(read_photo(photo.path), card), card, encoder.resizer))
            seen[row] = True
        except (ImageError, VectorError):
            continue
    cosines = np.where(seen[np.newaxis], rows @ rows.T, -2.0)
    np.fill_diagonal(cosines, -2.0)
    right: NDArray[np.bool_] = (owners[cosines.argmax(axis=1)] == owners) & seen
    return right
