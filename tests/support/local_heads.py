"""A local matching head for the tiny encoders: their 4x4 cells of 3 colours, compared by hand-written weights."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from shelfmatch.edge.encoders.local import LocalCard, LocalHead, local_file
from tests.support import tiny_models

CHANNELS = 2
NUMBERS = 3


def card_for(model: bytes, **changes: Any) -> LocalCard:
    """Of the tiny encoder with its cells as a second output; they are centred on middle grey."""
    card = LocalCard(
        "tiny-local", hashlib.sha256(model).hexdigest(), "cells", 1 / 128, 128, "NHWC", tiny_models.CELLS, 3, NUMBERS, CHANNELS, 0.0
    )  # fmt: skip
    return dataclasses.replace(card, **changes)


def likeness_head(model: bytes, sign: float = 1.0) -> LocalHead:
    """A head whose logit rises with the mean cosine of the best cells, (0.9 → 0); `sign` -1: it says the opposite."""
    card = card_for(model)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in card.shapes().items()}
    arrays["project.weight"] = np.eye(3, NUMBERS, dtype=np.float32)
    arrays["factors"] = np.array([12.0, 0.0, 1.0], np.float32)
    arrays["last0.weight"][2 * CHANNELS + 1] = 1.0  # the mean cosine of the best cells, weighted by their lengths
    arrays["last1.weight"][:] = sign * 40 / CHANNELS
    arrays["last1.bias"][:] = sign * -36.0
    return LocalHead(card, arrays)


def random_head(model: bytes, seed: int = 0, **changes: Any) -> LocalHead:
    """A head of random weights."""
    random = np.random.default_rng(seed)
    card = card_for(model, **changes)
    arrays = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in card.shapes().items()}
    arrays["factors"] = np.array([6.0, 2.0, 0.5], np.float32)
    return LocalHead(card, arrays)


def write_encoder(folder: Path, head: str = "likeness") -> Path:
    """The tiny encoder with its cells as a second output, its card, and a head beside it ("none": without)."""
    import json

    from shelfmatch.edge.encoders.infer_card import inspect_encoder

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tapped.tflite"
    path.write_bytes(tiny_models.average_tflite(extra_output=True))
    card = inspect_encoder(path, "embedding")
    path.with_name("tapped.tflite.json").write_text(json.dumps(card.to_dict()))
    model = path.read_bytes()
    heads = {"likeness": likeness_head(model), "opposite": likeness_head(model, -1.0)}
    if head != "none":
        local_file(path).write_bytes(heads[head].to_bytes())
    return path
