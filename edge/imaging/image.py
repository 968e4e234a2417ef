"""What a photo is before and after decoding, how large one may be, and how messages call it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]
ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | Pixels"

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the picture upright; 1, upright, is not among them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a photo may weigh before anything of it is decoded.

    `pixels` covers the 61-megapixel cameras on sale. `scans` bounds progressive JPEGs: each scan walks all pixels again, and
    cameras write about ten (https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf).
    """

    size_bytes: int = 64 * 1024 * 1024
    pixels: int = 64_000_000
    scans: int = 50


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Decoded:
    """An RGB picture, perhaps already halved, and the EXIF orientation (1 to 8) that is still to be applied."""

    pixels: Image.Image | Pixels
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) with the orientation applied."""
        return self.size if self.orientation < 5 else (self.size[1], self.size[0])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored, before the orientation is applied."""
        if isinstance(self.pixels, np.ndarray):
            return self.pixels.shape[1], self.pixels.shape[0]
        return self.pixels.size


def source_name(source: object) -> str:
    """How messages and results call this source: its path, or what it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or f"<{source.mode} image {source.width}x{source.height}>"
    if isinstance(source, np.ndarray):
        return f"<array {source.shape} {source.dtype}>"
    return f"<{type(source).__name__}>"


def upright(decoded: Decoded) -> Image.Image:
    """The picture as a PIL image with its orientation applied."""
    image = Image.fromarray(decoded.pixels) if isinstance(decoded.pixels, np.ndarray) else decoded.pixels
    return image.transpose(UPRIGHT[decoded.orientation]) if decoded.orientation in UPRIGHT else image


def upright_pixels(decoded: Decoded) -> Pixels:
    """The picture upright as (H, W, 3) uint8; no copy where it was an upright array."""
    if isinstance(decoded.pixels, np.ndarray) and decoded.orientation not in UPRIGHT:
        return decoded.pixels
    return np.asarray(upright(decoded))
