"""Catalogue photos cut to their product, where a detector is certain which of the things on a photo that is."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from ..detection.crops import Photo
from ..detection.detection import Box
from ..detection.on_demand import DetectorOnDemand
from ..detection.prominence import ALL, most_product_like, prominence, scaled
from ..imaging.image import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from ..detection.detector import Detector

CERTAIN = 0.5
"""Detection scores from which on a photo is cut: what is cut off is gone for good."""
LEAST = 0.02
"""Of the photo: less than that is an icon, a price tag, a reflection."""
APART = 0.6
"""Of the first one's prominence: where a second thing has more, the photo may be of either, and stays whole."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a photo that shows its product: where it was, and the part as a file of its own."""

    box: Box
    data: bytes


class PhotoCutter:
    """Cuts photos to their product. Safe to share between threads."""

    def __init__(self, detector: str | os.PathLike[str] | Detector | None, sessions: int) -> None:
        """Raises DetectorError, RuntimeUnavailable."""
        self._detector = DetectorOnDemand(detector, {"sessions": sessions}).get()

    @property
    def key(self) -> bytes:
        """What decides what is cut: the detector's file."""
        return self._detector.card.sha256.encode()

    def cut(self, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Cut | None:
        """The product's part of a photo; None where it fills the photo, or where it isn't certain what it is. Raises ImageError."""
        photo = Photo(data, limits, self._detector.card)
        found = [scaled(one, 1 / photo.scale) for one in self._detector.detect_once(photo.decoded, floor=CERTAIN / 2)]
        chosen = most_product_like(found, photo.size)
        if not chosen or chosen[0].score < CERTAIN:
            return None
        share = chosen[0].size[0] * chosen[0].size[1] / (photo.size[0] * photo.size[1])
        rivals = [prominence(one, photo.size) for one in chosen[:2]]
        whole = any(one.size[0] * one.size[1] >= ALL * photo.size[0] * photo.size[1] for one in found)
        if share < LEAST or whole or (len(rivals) > 1 and rivals[1] > APART * rivals[0]):
            return None
        part = Photo(data, limits).part(chosen[0].box)
        file = io.BytesIO()
        Image.fromarray(part).save(file, "PNG", compress_level=1)
        return Cut(chosen[0].box, file.getvalue())
