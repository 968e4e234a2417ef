"""Golden embeddings: what each encoder that comes with the package makes of one picture, to tell a runtime that calculates wrongly
from one that works.

An encoder has a file NAME.known beside its card: the embedding of `golden_picture`, made by
`python -m shelfmatch.models.known_embeddings`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import EncoderCard
from ..errors import EncoderError
from .encoder import Encoder
from .registry import embedded_folders, known_encoders
from .runtimes import RUNTIMES

Pixels = NDArray[np.uint8]

LEAST_COSINE = 0.995
"""Between an embedding here and the golden one. LiteRT's kernels for x86-64 and for three ARM processors (benchmarks/arm) and
tflite-runtime 2.14 agree to 0.9999 and better."""


@dataclass(frozen=True, slots=True)
class GoldenEmbedding:
    """What an encoder makes of `golden_picture`: (D,) float32 of unit norm, for the encoder file of this sha256."""

    sha256: str
    vector: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """The file NAME.known."""
        record = {"encoder_sha256": self.sha256, "embedding": [round(float(x), 6) for x in self.vector]}
        return (json.dumps(record) + "\n").encode()

    @classmethod
    def read(cls, path: Path) -> GoldenEmbedding:
        """Raises EncoderError if the file is missing or damaged."""
        try:
            record = json.loads(path.read_bytes())
            return cls(record["encoder_sha256"], np.asarray(record["embedding"], np.float32))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"{path} can't be read ({error!r}); expected a golden embedding, install shelfmatch again"
            ) from error


def embedded_cards() -> dict[str, Path]:
    """The card of each encoder file that came with the package, by the card's own name: NAME, or NAME.tflite and NAME.onnx."""
    cards = [path for runtime in RUNTIMES for path in known_encoders(runtime).values()]
    return {path.stem: path for path in sorted(cards) if path.parent in embedded_folders()}


def golden_file(card_path: Path) -> Path:
    """Where an encoder's golden embedding is: beside its card."""
    return card_path.with_suffix(".known")


def golden_picture(card: EncoderCard) -> Pixels:
    """(H, W, 3) uint8 of the card's size: bars, a ramp and a chequer in whole numbers, the same on every machine."""
    y, x = np.mgrid[0 : card.height, 0 : card.width].astype(np.int64)
    planes = (x * 255 // max(1, card.width - 1), (y // 12 + x // 7) % 2 * 160 + 40, (x * x + 3 * y * y) // 24 % 256)
    return np.stack(planes, axis=2).astype(np.uint8)


def golden_of(encoder: Encoder) -> GoldenEmbedding:
    """The embedding that this machine gives."""
    return GoldenEmbedding(encoder.card.sha256, encoder.embed_pixels(golden_picture(encoder.card)))
