"""The prior of an encoder whose file may be anywhere: in a bundle, or in the caller's hands."""

from __future__ import annotations

from ..encoders.card import EncoderCard
from ..encoders.registry import find_encoders
from ..errors import ShelfmatchError
from ..fitting.prior import Prior, find_prior, generic_prior


def prior_of(card: EncoderCard) -> Prior:
    """That of the installed encoder with this card's name and bytes, else the generic one."""
    try:
        ((found, model),) = find_encoders(card.name, None, "auto")
    except ShelfmatchError:
        return generic_prior()
    return find_prior(model) if found.sha256 == card.sha256 else generic_prior()
