"""Encoders of hand-written networks, and the pixels they are given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderError
from tests.support.cards import plain_card

PIXELS = np.random.default_rng(3).integers(0, 256, (8, 8, 3)).astype(np.uint8)


def message_of(error: type[EncoderError], call: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Pixels → stored input → embedding, with networks that give their input back


def unit(vector: Any) -> Any:
    flat = np.asarray(vector, np.float64).reshape(-1)
    return flat / np.linalg.norm(flat)


def encoder_of(folder: Path, model: bytes, suffix: str, **changes: Any) -> Encoder:
    path = folder / f"net{suffix}"
    path.write_bytes(model)
    file_format = suffix.removeprefix(".")
    card = plain_card(
        8, 8, dimension=192, file=path.name, sha256=hashlib.sha256(model).hexdigest(), format=file_format, **changes
    )
    return Encoder(card, model)
