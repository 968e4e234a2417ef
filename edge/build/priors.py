"""The prior of an encoder: its own, or the generic one moved to how alike its embeddings are."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ..encoders.card import EncoderCard
from ..encoders.encoder import Encoder
from ..encoders.registry import find_encoders
from ..errors import ShelfmatchError
from ..fitting.prior import Prior, generic_prior, own_prior
from ..imaging.image import Pixels

PICTURES, SIDE, SHOP = 24, 160, 990
"""Rendered products of as many families, which no shop that anything was fitted on has."""


def prior_for(encoder: Encoder, model: Path | None = None) -> Prior:
    """`model`: the encoder's file, where it is known; else that of the installed encoder with its name and bytes."""
    found = own_prior(model) if model is not None else _installed(encoder.card)
    return found or generic_prior().moved(*likeness(encoder))


def _installed(card: EncoderCard) -> Prior | None:
    try:
        ((found, model),) = find_encoders(card.name, None, "onnx" if card.format == "onnx" else "litert")
    except ShelfmatchError:
        return None
    return own_prior(model) if found.sha256 == card.sha256 else None


def likeness(encoder: Encoder) -> tuple[float, float]:
    """Mean and standard deviation of the cosines of unlike goods, as an encoder embeds them: of a network for photos in general all
    goods lie on one side."""
    vectors = encoder.embed(*_pictures())
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return float(cosines.mean()), float(cosines.std())


@functools.cache
def _pictures() -> tuple[Pixels, ...]:
    from ..synthetic.products import make_shop, render_plain  # only encoders of others need it

    families = {product.seed // 8: product for product in reversed(make_shop(3 * PICTURES, SHOP))}
    chosen = [families[family] for family in sorted(families)][:PICTURES]
    return tuple(np.asarray(render_plain(product, SIDE)) for product in chosen)
