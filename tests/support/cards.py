"""Cards for tests that need no encoder file behind them."""

from __future__ import annotations

from typing import Any

from shelfmatch.edge import EncoderCard

RECORD: dict[str, Any] = {
    "card_version": 1,
    "name": "plain",
    "file": "plain.tflite",
    "sha256": "0" * 64,
    "size_bytes": 1,
    "format": "tflite",
    "width": 32,
    "height": 32,
    "input_name": "pixels",
    "input_dtype": "uint8",
    "layout": "NHWC",
    "output_name": "embedding",
    "output_dtype": "float32",
    "dimension": 48,
}
"""The least that a card needs, as JSON."""


def plain_card(width: int = 32, height: int = 32, **changes: Any) -> EncoderCard:
    """A valid card; `changes` by field name, as in JSON."""
    return EncoderCard.from_dict({**RECORD, "width": width, "height": height, **changes})
