"""The rule for photos of nothing in a shop: its own pictures and rendered goods against rendered pictures of nothing."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..encoders.card import EncoderCard
from ..encoders.encoder import Encoder
from ..encoders.registry import find_encoders
from ..errors import EncoderError, ShelfmatchError
from ..fitting.blank_fit import fit_blank_rule, with_room
from ..imaging.image import Pixels
from ..scoring.adapter import Floats
from ..scoring.blank import BlankRule
from .spool import Rows

SUFFIX = ".blank"
GOODS, GOODS_SHOP, GOODS_SIZE = 64, 990, (200, 150)
"""Hard views of rendered goods, of a shop that nothing was fitted or measured on."""
_MOST = 4096
"""Rows at a time."""
_made: dict[str, tuple[Floats, Floats]] = {}
"""sha256 of an encoder's file → what was rendered and embedded for it in this process."""


def blank_rule(own: Rows[np.float32], encoder: Encoder, model: Path | None = None) -> BlankRule | None:
    """The rule of a shop with these (N, D) plain embeddings; `model`: the encoder's file, where it is known."""
    goods, nothing = _shipped(encoder.card, model) or embedded(encoder)
    # A direction needs no more; what lies beyond the limit is asked of all of them.
    some = np.unique(np.linspace(0, max(len(own) - 1, 0), min(len(own), _MOST)).astype(np.intp))
    return with_room_for(fit_blank_rule(own[some], goods, nothing), own)


def with_room_for(rule: BlankRule | None, own: Rows[np.float32]) -> BlankRule | None:
    """`with_room` for rows that may wait on the disk, some at a time."""
    for start in range(0, len(own), _MOST):
        if rule is not None:
            rule = with_room(rule, own[start : start + _MOST])
    return rule


def embedded(encoder: Encoder) -> tuple[Floats, Floats]:
    """(G, D) embeddings of rendered goods and (M, D) of nothing. Once a process."""
    key = encoder.card.sha256
    if key not in _made:
        goods, nothing = rendered()
        _made[key] = encoder.embed(*goods), encoder.embed(*nothing)
    return _made[key]


@functools.cache
def rendered() -> tuple[tuple[Pixels, ...], tuple[Pixels, ...]]:
    """Pictures of goods and of nothing, (H, W, 3) uint8 RGB. Two seconds, once a process."""
    from ..synthetic.nothing import nothing_pictures  # only encoders of others need them
    from ..synthetic.products import make_shop, render_view

    rising = np.linspace(0.3, 1.0, 8)
    goods = tuple(
        np.asarray(render_view(product, 1, GOODS_SIZE, float(rising[place % 8])))
        for place, product in enumerate(make_shop(GOODS, GOODS_SHOP))
    )
    return goods, nothing_pictures()


def to_bytes(card: EncoderCard, other: EncoderCard, found: tuple[Floats, Floats]) -> bytes:
    """The file beside an encoder's two files, of these cards: int8, 50 KB."""
    out = io.BytesIO()
    goods, nothing = (np.rint(127 * one).astype(np.int8) for one in found)
    np.savez_compressed(out, sha256=np.array([card.sha256, other.sha256]), goods=goods, nothing=nothing)
    return out.getvalue()


def _shipped(card: EncoderCard, model: Path | None) -> tuple[Floats, Floats] | None:
    """What lies beside an encoder's file, None where that is of other bytes or isn't there. Raises EncoderError."""
    if model is None:
        model = _installed(card)
    if model is None:
        return None
    path = model.with_suffix(SUFFIX)
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            if card.sha256 not in arrays["sha256"].tolist():
                return None
            goods, nothing = (_units(arrays[name]) for name in ("goods", "nothing"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EncoderError(f"{path} can't be read: {error}; install shelfmatch again") from error
    return goods, nothing


def _installed(card: EncoderCard) -> Path | None:
    try:
        ((found, model),) = find_encoders(card.name, None, "onnx" if card.format == "onnx" else "litert")
    except ShelfmatchError:
        return None
    return model if found.sha256 == card.sha256 else None


def _units(rows: NDArray[np.int8]) -> Floats:
    values = rows.astype(np.float32)
    result: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return result
