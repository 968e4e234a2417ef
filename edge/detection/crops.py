"""Parts of a photo, cut out as if each were the photo: from as many pixels as an encoder can use, and no more are decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..imaging.decode import decode, full_size, read_photo
from ..imaging.image import Decoded, ImageSource, Limits, Pixels, source_name, upright_pixels
from ..imaging.resize import NetworkInput, Wanted
from .detection import Box, grown

BORDER = 0.06
"""What is left around a product, of its box's sides: so the catalogue's photos of our encoders' training were cut."""
_ENOUGH = 2
"""Times an encoder's input: beyond, more pixels of a part change nothing (`resize.halvings`)."""
_ALL = 1 << 20


class Photo:
    """One photo from which parts are cut. `size`: (width, height) upright, of all its pixels; boxes are in those.

    Raises ImageError."""

    def __init__(self, source: ImageSource, limits: Limits, card: NetworkInput | None = None) -> None:
        self._limits = limits
        self._source: ImageSource = read_photo(source, limits) if isinstance(source, (str, os.PathLike)) else source
        # Not without any: `decode` reads JPEGs with fewer copies where a size is wanted.
        self._decoded = decode(self._source, card or Wanted(_ALL, _ALL), limits, source_name(source))
        self.size = full_size(self._source, self._decoded, limits)
        self._pixels: Pixels | None = None

    @property
    def decoded(self) -> Decoded:
        """As it was decoded, perhaps halved."""
        return self._decoded

    @property
    def scale(self) -> float:
        """Of a side of the photo, how much a side of what was decoded has."""
        return self._decoded.upright_size[0] / self.size[0]

    @property
    def pixels(self) -> Pixels:
        """What was decoded, upright (H, W, 3)."""
        if self._pixels is None:
            self._pixels = upright_pixels(self._decoded)
        return self._pixels

    def prepare(self, boxes: Sequence[Box], card: NetworkInput) -> None:
        """Decode again, larger, if the smallest of these boxes has fewer pixels than the encoder of this card can use."""
        if self.scale >= 1 or not boxes:
            return
        least = min(max(box[2] - box[0], box[3] - box[1]) for box in boxes)
        wanted = min(1.0, _ENOUGH * max(card.width, card.height) / max(least, 1.0))
        if wanted > self.scale:
            size = Wanted(round(self.size[0] * wanted / _ENOUGH), round(self.size[1] * wanted / _ENOUGH))
            self._decoded, self._pixels = decode(self._source, size, self._limits), None

    def place_of(
        self, box: Box, inside: tuple[int, int, int, int], border: float = BORDER
    ) -> tuple[int, int, int, int]:
        """A box in the pixels of the `part` of another box, in those of the photo."""
        left, top, _, _ = self._edges(box, border)
        x0, y0, x1, y1 = (
            round((edge + corner) / self.scale) for edge, corner in zip(inside, (left, top) * 2, strict=True)
        )
        return x0, y0, x1, y1

    def part(self, box: Box, border: float = BORDER) -> Pixels:
        """The part inside a box, with a border around it; at least one pixel. A view, no copy."""
        left, top, right, bottom = self._edges(box, border)
        return self.pixels[top:bottom, left:right]

    def _edges(self, box: Box, border: float) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a box and its border in what was decoded."""
        x0, y0, x1, y1 = (edge * self.scale for edge in grown(box, border, self.size))
        high, wide = self.pixels.shape[:2]
        left, top = min(int(x0), wide - 1), min(int(y0), high - 1)
        right, bottom = max(left + 1, min(wide, int(np.ceil(x1)))), max(top + 1, min(high, int(np.ceil(y1))))
        return left, top, right, bottom
