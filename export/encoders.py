"""What every source becomes: an encoder in memory that embeds photos and writes itself as a float file of each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..edge.encoders.card import Format
from ..edge.imaging.image import Pixels
from .errors import ExportError
from .preprocessing import Preprocessing

Vectors = NDArray[np.float32]
OwnProcessor = Callable[[Image.Image], NDArray[np.float32]]
"""A model's own preprocessing: an RGB photo → (3, H, W) as its network takes it."""

FORMATS: tuple[Format, ...] = ("onnx", "tflite")


@dataclass(frozen=True, slots=True)
class Projection:
    """A last linear layer: (D', D) float32 weights and (D',) float32 bias."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, vectors: Vectors) -> Vectors:
        """(N, D) → (N, D')."""
        projected: Vectors = vectors @ self.weight.T + self.bias
        return projected


class Writer(Protocol):
    """Writes the network, projected where asked, as a float file whose input is RGB pixels as float32, 0.0 to 255.0."""

    def __call__(self, path: Path, projection: Projection | None) -> None: ...


@dataclass(frozen=True, slots=True)
class SourceEncoder:
    """A trained encoder, whatever it came from.

    `embed` takes (N, H, W, 3) uint8 RGB of the preprocessing's size to (N, D) float32, not normalized: the reference that
    exported files are held against. `writers` has the formats it can be written in; `refused` says why not the others.
    `finished` is a device file that needs no conversion: a network that is quantized already. `takes_normalized`: what is
    written takes normalized floats, since a ready file can't be given its normalization; the card then has mean and std.
    `notes`: what was assumed of it, or is to be doubted. `own_processor`: what its framework does to photos, to compare with; None
    where that isn't known, or the user said otherwise. `faulty_operator`: of a photo, the operator that a format's converter
    gets wrong, in words.
    """

    name: str
    preprocessing: Preprocessing
    dimension: int
    embed: Callable[[Pixels], Vectors]
    writers: Mapping[Format, Writer]
    refused: Mapping[Format, str] = field(default_factory=dict)
    finished: Mapping[Format, bytes] = field(default_factory=dict)
    takes_normalized: bool = False
    provenance: str = ""
    license: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    own_processor: OwnProcessor | None = None
    faulty_operator: Callable[[Format, Pixels], str] | None = None

    def writer(self, file_format: Format) -> Writer:
        """How this format is written. Raises ExportError that says why it can't be."""
        if file_format in self.writers:
            return self.writers[file_format]
        raise ExportError(
            f"{self.name} can't become .{file_format}: {self.refused.get(file_format, 'no way is known')}"
        )


def fit_projection(vectors: Vectors, dimension: int) -> Projection:
    """The PCA of (N, D) embeddings onto their `dimension` strongest directions (Jolliffe 2002), centred.

    Signs are fixed, so that the same photos give the same layer. Raises ExportError where the photos or the embedding
    don't carry that many dimensions.
    """
    most = min(len(vectors) - 1, vectors.shape[1])
    if not 1 <= dimension <= most:
        raise ExportError(
            f"--dim {dimension} arrived; {len(vectors)} photos of a {vectors.shape[1]}-dimensional embedding carry 1 to {most}"
        )
    centred = vectors.astype(np.float64)
    mean = centred.mean(axis=0)
    _, _, directions = np.linalg.svd(centred - mean, full_matrices=False)
    weight = directions[:dimension]
    signs = np.sign(weight[np.arange(dimension), np.abs(weight).argmax(axis=1)])
    weight = weight * signs[:, np.newaxis]
    return Projection(weight.astype(np.float32), (-(weight @ mean)).astype(np.float32))
