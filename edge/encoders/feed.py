"""Pixels → a network's input tensor, as its card says: order, normalization, quantization and layout."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import EncoderError
from ..imaging.image import Pixels
from .card import Quantization
from .session import Session, TensorInfo


class FedWithPixels(Protocol):
    """What a card says of a network's only input; see `EncoderCard`."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def input_dtype(self) -> Literal["uint8", "int8", "float32"]: ...
    @property
    def layout(self) -> Literal["NHWC", "NCHW"]: ...
    @property
    def color_order(self) -> Literal["RGB", "BGR"]: ...
    @property
    def mean(self) -> tuple[float, float, float] | None: ...
    @property
    def std(self) -> tuple[float, float, float] | None: ...
    @property
    def input_quantization(self) -> Quantization | None: ...


class PixelFeed:
    """Makes input tensors for one network."""

    def __init__(self, card: FedWithPixels) -> None:
        self._card = card
        self._tables = _lookup_tables(card)

    def tensor(self, pixels: Pixels) -> NDArray[Any]:
        """(H, W, 3) uint8 RGB of the card's size as the network's input, a batch of one. Raises EncoderError for another size."""
        card = self._card
        if pixels.shape != (card.height, card.width, 3) or pixels.dtype != np.uint8:
            raise EncoderError(
                f"pixels {pixels.shape} {pixels.dtype} arrived; expected ({card.height}, {card.width}, 3) uint8"
            )
        if card.color_order == "BGR":
            pixels = pixels[:, :, ::-1]
        value: NDArray[Any] = pixels
        if self._tables is not None:
            value = np.empty(pixels.shape, self._tables.dtype)
            for channel in range(3):
                value[:, :, channel] = self._tables[channel][pixels[:, :, channel]]
        if card.layout == "NCHW":
            value = value.transpose(2, 0, 1)
        return np.ascontiguousarray(value)[np.newaxis]


def _lookup_tables(card: FedWithPixels) -> NDArray[Any] | None:
    """(3, 256) input values for each pixel value and channel; None where the pixels go in as they are.

    256 values a channel make every normalization and quantization exact and one look-up a pixel.
    """
    levels = np.arange(256, dtype=np.float64)
    if card.mean is None or card.std is None:
        if card.input_dtype == "uint8":
            return None
        real = np.tile(levels - (128 if card.input_dtype == "int8" else 0), (3, 1))
        return real.astype(card.input_dtype)
    real = (levels[np.newaxis] - np.array(card.mean)[:, np.newaxis]) / np.array(card.std)[:, np.newaxis]
    if card.color_order == "BGR":
        real = real[::-1]
    if card.input_dtype == "float32" or card.input_quantization is None:
        return np.asarray(real, np.float32)
    stored = np.rint(real / card.input_quantization.scale) + card.input_quantization.zero_point
    limits = np.iinfo(card.input_dtype)
    table: NDArray[Any] = stored.clip(limits.min, limits.max).astype(card.input_dtype)
    identity = card.input_dtype == "uint8" and bool((table == levels.astype(np.uint8)).all())
    return None if identity else table


def same_quantization(a: Quantization, b: Quantization) -> bool:
    """Whether a file and its card mean the same: cards are also written by hand."""
    return a.zero_point == b.zero_point and abs(a.scale - b.scale) <= 1e-5 * a.scale


def checked_input(session: Session, card: FedWithPixels, what: str) -> TensorInfo:
    """A loaded file's only input, held against its card; `what`: how messages call the file. Raises EncoderError."""
    tensor = session.inputs[0] if len(session.inputs) == 1 else None
    size = (card.height, card.width, 3) if card.layout == "NHWC" else (3, card.height, card.width)
    if tensor is None or not _fits(tensor.shape, (1, *size)) or tensor.dtype != card.input_dtype:
        found = ", ".join(f"{info.dtype} {list(info.shape)}" for info in session.inputs) or "none"
        raise EncoderError(f"{what} takes {found}; its card says one input of {card.input_dtype} {[1, *size]}")
    return tensor


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a tensor's shape, -1 where a side is free, takes the expected one."""
    return len(shape) == len(expected) and all(a in (-1, b) for a, b in zip(shape, expected, strict=True))
