"""Fitting a shop's adapter on its own pictures, in closed form, and measuring on pictures held out whether it helps.

`discriminant` finds the map, `held_out` says what it would find; here one of the choices is taken, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress
from ..scoring.adapter import Adaptation, Adapter, Floats
from .calibration import MIN_SAMPLES, Samples
from .discriminant import adapter_of, means_of
from .held_out import Held, hold_out
from .pictures import Pictures, has_second_photos

NEAR_BEST = 0.01
"""Choices whose recalls differ by less are as good. Among them prototypes come first, which photos of another visit move less
(grocery validation: up to four points) and which are fewer to scan; then the better separation of unknown products."""

FEW, CLEAR_GAIN = 16, 0.5
"""In shops of up to so many products an adapter must find more of the held-out photos, by CLEAR_GAIN / products: what tells
few products apart hardly tells others from them. Of 45 shops of 4 to 16 rendered, printed and photographed goods, asked for 5 %,
with an adapter wherever it finds no fewer, and by this rule: false accepts 7.9 and 6.1 %, right ones 45 and 69 %, AUROC .88 and
.94, recall@1 95 and 94 %; after local matching (17 of them) 8.2 and 6.7 %, 76 and 77 %, .94 and .95, 95 and 93 %."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found: the adapter (None: the embedding as it is), what `info` says, and how held-out queries scored: photos
    (`by_photo`), or views where products have one photo."""

    adapter: Adapter | None
    adaptation: Adaptation
    known: Samples
    unknown: Samples
    by_photo: bool


def fit(pictures: Pictures, *, force: bool = False, views: int = 0, progress: Progress | None = None) -> Fit:
    """Choose and fit a shop's adapter, or none. `force`: an adapter even where held-out photos are found better without.

    A few seconds for 10,000 pictures of 1,280 components. The chosen map is used only where it finds no fewer of the held-out
    photos than the plain embedding does.
    """
    dimension = pictures.vectors.shape[1]
    photos = int((~pictures.is_view).sum())
    products = len(np.unique(pictures.products))
    by_photo = has_second_photos(pictures)
    held = hold_out(pictures, by_photo, progress)
    plain = held[None, "max"]
    adapted = {choice: one for choice, one in held.items() if choice[0] is not None}
    viewed = pictures.viewed
    partly = not by_photo and viewed < products
    some = viewed if partly else None

    def none(reason: str) -> Fit:
        adaptation = Adaptation("none", "max", reason, dimension, None, photos, views, _recall(plain), viewed=some)
        return Fit(None, adaptation, plain.known, plain.unknown, by_photo)

    if products < 3:
        return none(f"a shop of {products} products has nothing to tell apart that the encoder doesn't")
    if len(pictures) <= products:
        return none("each product has one picture and no views; how one product's pictures differ can't be learnt")
    if min(len(plain.known), len(plain.unknown)) < MIN_SAMPLES and not (force and adapted):
        return none(f"held-out pictures are too few to tell ({len(plain.known)}; at least {MIN_SAMPLES})")
    best = max(one.recall for one in adapted.values())
    choice = max(
        (choice for choice, one in adapted.items() if one.recall >= best - NEAR_BEST),
        key=lambda choice: (choice[1] == "prototype", adapted[choice].separation),
    )
    chosen = adapted[choice]
    compared = f"held-out {'photos' if by_photo else 'views'}: recall@1 "
    compared += f"{plain.recall:.1%} without, {chosen.recall:.1%} with"
    if chosen.recall < plain.recall and not force:
        return none(f"it would find fewer of the {compared}")
    if products <= FEW and chosen.recall - plain.recall < CLEAR_GAIN / products and not force:
        return none(f"so few products are told from others better without; {compared}")
    assert choice[0] is not None
    adapter = adapter_of(pictures, choice[0]).as_stored()
    adaptation = Adaptation(
        "lda",
        choice[1],
        compared,
        adapter.dimension,
        choice[0],
        photos,
        views,
        _recall(plain),
        _recall(chosen),
        some,
    )
    return Fit(adapter, adaptation, chosen.known, chosen.unknown, by_photo)


def _recall(held: Held) -> float | None:
    return held.recall if len(held.known) else None


def prototypes(adapter: Adapter, pictures: Pictures) -> tuple[NDArray[np.int64], Floats]:
    """(P,) products and (P, d) unit vectors: the mean of each product's adapted pictures, views counting as in `weights`."""
    rows = adapter.apply(pictures.vectors, pictures.is_packshot)
    return means_of(rows, pictures.products, pictures.weights())
