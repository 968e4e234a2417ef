"""Known answers: pictures and networks whose embeddings are known, to tell a runtime that calculates wrongly from one that works.

An encoder that comes with the package has a file NAME.known beside its card: the embedding of `known_picture`, made by
`python -m shelfmatch.models.known_embeddings`. ONNX Runtime can't read a .tflite file; where no .onnx encoder came along it is
asked a network written here, whose answer numpy works out on its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EncoderError
from .card import EncoderCard
from .encoder import Encoder, embedded_folders, known_encoders
from .session import RUNTIMES

Pixels = NDArray[np.uint8]

LEAST_COSINE = 0.995
"""Between an embedding here and the known one. LiteRT's kernels for x86-64 and for three ARM processors (benchmarks/arm) and
tflite-runtime 2.14 agree to 0.9999 and better."""


@dataclass(frozen=True, slots=True)
class KnownEmbedding:
    """What an encoder makes of `known_picture`: (D,) float32 of unit norm, for the encoder file of this sha256."""

    sha256: str
    vector: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """The file NAME.known."""
        record = {"encoder_sha256": self.sha256, "embedding": [round(float(x), 6) for x in self.vector]}
        return (json.dumps(record) + "\n").encode()

    @classmethod
    def read(cls, path: Path) -> KnownEmbedding:
        """Raises EncoderError if the file is missing or damaged."""
        try:
            record = json.loads(path.read_bytes())
            return cls(record["encoder_sha256"], np.asarray(record["embedding"], np.float32))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"{path} can't be read ({error!r}); expected a known embedding, install shelfmatch again"
            ) from error


def embedded_cards() -> dict[str, Path]:
    """The card of each encoder file that came with the package, by the card's own name: NAME, or NAME.tflite and NAME.onnx."""
    cards = [path for runtime in RUNTIMES for path in known_encoders(runtime).values()]
    return {path.stem: path for path in sorted(cards) if path.parent in embedded_folders()}


def known_file(card_path: Path) -> Path:
    """Where an encoder's known embedding is: beside its card."""
    return card_path.with_suffix(".known")


def known_picture(card: EncoderCard) -> Pixels:
    """(H, W, 3) uint8 of the card's size: bars, a ramp and a chequer in whole numbers, the same on every machine."""
    y, x = np.mgrid[0 : card.height, 0 : card.width].astype(np.int64)
    planes = (x * 255 // max(1, card.width - 1), (y // 12 + x // 7) % 2 * 160 + 40, (x * x + 3 * y * y) // 24 % 256)
    return np.stack(planes, axis=2).astype(np.uint8)


def known_of(encoder: Encoder) -> KnownEmbedding:
    """The embedding that this machine gives."""
    return KnownEmbedding(encoder.card.sha256, encoder.embed_pixels(known_picture(encoder.card)))


# The network for ONNX Runtime: a float branch (convolution) and an integer one (matrix product), the kernels of real encoders.

SIDE, CHANNELS, UNITS = 24, 16, 32
FLOATS, INTEGERS = "floats", "integers"


def _pattern(*shape: int) -> NDArray[np.int64]:
    """Whole numbers from -7 to 7 without a short period."""
    n = np.arange(int(np.prod(shape)), dtype=np.int64)
    return ((n * n + 5 * n) // 3 % 15 - 7).reshape(shape)


def onnx_input() -> Pixels:
    """(1, SIDE, SIDE, 3) uint8."""
    return (_pattern(1, SIDE, SIDE, 3) * 17 + 128).astype(np.uint8)


def onnx_answers() -> dict[str, NDArray[np.float32]]:
    """The network's two outputs by numpy: a 3x3 convolution with ReLU and global average, and an integer matrix product."""
    pixels, weights = onnx_input().astype(np.int64), _pattern(CHANNELS, 3, 3, 3)
    windows = np.lib.stride_tricks.sliding_window_view(pixels[0].transpose(2, 0, 1), (3, 3), axis=(1, 2))
    maps = np.einsum("cyxij,ocij->oyx", windows, weights)
    floats = np.maximum(maps, 0).mean(axis=(1, 2))
    integers = pixels.reshape(1, -1) @ _pattern(pixels.size, UNITS)
    return {FLOATS: floats.astype(np.float32)[np.newaxis], INTEGERS: integers.astype(np.float32)}


def onnx_network() -> bytes:
    """The network as an .onnx file, field by field as onnx.proto3 numbers them: the device has no onnx package."""
    uint8, int8, float32 = 2, 3, 1
    size = SIDE * SIDE * 3
    nodes = [
        _node("Cast", ["pixels"], "real", _attribute("to", 2, _field(3, float32))),
        _node("Transpose", ["real"], "planes", _attribute("perm", 7, *(_field(8, axis) for axis in (0, 3, 1, 2)))),
        _node("Conv", ["planes", "kernel"], "maps"),
        _node("Relu", ["maps"], "positive"),
        _node("GlobalAveragePool", ["positive"], "means"),
        _node("Flatten", ["means"], FLOATS),
        _node("Flatten", ["pixels"], "row"),
        _node("MatMulInteger", ["row", "matrix"], "sums"),
        _node("Cast", ["sums"], INTEGERS, _attribute("to", 2, _field(3, float32))),
    ]
    weights = [
        _tensor("kernel", float32, _pattern(CHANNELS, 3, 3, 3).astype("<f4")),
        _tensor("matrix", int8, _pattern(size, UNITS).astype(np.int8)),
    ]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"known")
    graph += b"".join(_field(5, weight) for weight in weights)
    graph += _field(11, _value("pixels", uint8, (1, SIDE, SIDE, 3)))
    graph += _field(12, _value(FLOATS, float32, (1, CHANNELS))) + _field(12, _value(INTEGERS, float32, (1, UNITS)))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))  # IR version 8, opset 13


def _field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint or a string of bytes (https://protobuf.dev/programming-guides/encoding)."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _node(operator: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    named = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    return named + _field(4, operator.encode()) + (_field(5, attribute) if attribute else b"")


def _attribute(name: str, kind: int, *values: bytes) -> bytes:
    return _field(1, name.encode()) + b"".join(values) + _field(20, kind)


def _tensor(name: str, kind: int, values: NDArray[Any]) -> bytes:
    shape = b"".join(_field(1, size) for size in values.shape)
    return shape + _field(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _value(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind) + _field(2, sizes)))
