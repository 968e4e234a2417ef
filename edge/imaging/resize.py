"""The resize rule: the one preprocessor for cataloguing, calibration and the device.

Everywhere the same: halve while both sides stay at least twice as large as asked (in the JPEG decoder, which skips the work,
or by box averaging), then one step with a triangle filter two pixels of the result wide, which is Pillow's bilinear with its
antialiasing. Photos under four times the asked size get exactly what a full decode and a bilinear resize give. OpenCV has no
such filter; `opencv` builds it of what OpenCV is fast at, of the same width.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from PIL import Image

from ..errors import ImageError
from .image import UPRIGHT, Decoded, Pixels

Resizer: TypeAlias = Literal["pillow", "opencv"]

_RESIZERS: dict[str, Resizer] = {"pillow": "pillow", "opencv": "opencv"}
_SWAPS_SIDES = {5, 6, 7, 8}
_AS_GOOD_AS_FULL = 0.03
"""A padded photo whose border would take no more of a side than this is stretched to the whole input instead: such a border tells
the network nothing, and a photo that is square to a few per cent pays nothing for the rule."""


class NetworkInput(Protocol):
    """The picture that a network takes: all that resizing needs of an encoder's card.

    `width` and `height` in pixels; `resize`: "squash" to that size, "crop" the centre, "squash-crop" (the middle of both sides,
    whatever their ratio), or "pad", which keeps the sides' ratio
    and all of the photo, on a flat border of `border_color` (R, G, B, 0 to 255); `crop_fraction`: how much of the centre is
    kept, above 0 and up to 1.
    """

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def resize(self) -> Literal["squash", "crop", "squash-crop", "pad"]: ...
    @property
    def crop_fraction(self) -> float: ...
    @property
    def border_color(self) -> tuple[int, int, int]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A size (pixels) in which all of a photo is wanted by whoever has no network: `decode` halves large photos as for one."""

    width: int
    height: int
    resize: Literal["pad"] = "pad"
    crop_fraction: float = 1.0
    border_color: tuple[int, int, int] = (128, 128, 128)


def resizer_in_use(wanted: str = "auto") -> Resizer:
    """The resizer that "auto", "pillow" or "opencv" means on this machine: OpenCV where it is installed.

    Raises ImageError for another name, or for "opencv" where it is missing.
    """
    installed = importlib.util.find_spec("cv2") is not None
    if wanted == "auto":
        return "opencv" if installed else "pillow"
    if wanted == "opencv" and not installed:
        raise ImageError("resizer 'opencv' was asked for but OpenCV is not installed; pip install 'shelfmatch[fast]'")
    if isinstance(wanted, str) and wanted in _RESIZERS:
        return _RESIZERS[wanted]
    raise ImageError(f"unknown resizer {wanted!r}; expected auto, pillow or opencv")


def _stored_size(card: NetworkInput, orientation: int) -> tuple[int, int]:
    """The card's (width, height) as it lies in a picture that is still to be turned upright."""
    size = (card.width, card.height)
    return (size[1], size[0]) if orientation in _SWAPS_SIDES else size


def _source_box(size: tuple[int, int], card: NetworkInput, orientation: int) -> tuple[float, float, float, float]:
    """The part of the picture that becomes the input: all of it, or the centre for "crop" and "squash-crop"."""
    if card.resize in ("squash", "pad"):
        return (0.0, 0.0, float(size[0]), float(size[1]))
    if card.resize == "squash-crop":
        half_w, half_h = size[0] * card.crop_fraction / 2, size[1] * card.crop_fraction / 2
    else:
        wide, high = _stored_size(card, orientation)
        scale = min(size[0] / wide, size[1] / high) * card.crop_fraction
        half_w, half_h = wide * scale / 2, high * scale / 2
    # Rounding can put an edge 1e-14 outside, which Pillow refuses.
    left, top = max(0.0, size[0] / 2 - half_w), max(0.0, size[1] / 2 - half_h)
    return (left, top, min(float(size[0]), size[0] / 2 + half_w), min(float(size[1]), size[1] / 2 + half_h))


def halvings(size: tuple[int, int], card: NetworkInput, orientation: int) -> int:
    """The largest power of two by which the picture can shrink and still be twice as large as the card's input.

    Stopping at once as large would save 0.4 ms of a photo at 640x480, and move embeddings by 0.003 to 0.006 in cosine.
    """
    ratio = _ratio(size, card, orientation)
    factor = 1
    while factor * 4 <= ratio:
        factor *= 2
    return factor


def _ratio(size: tuple[int, int], card: NetworkInput, orientation: int) -> float:
    """How many times as large as in the input a picture is."""
    left, top, right, bottom = _source_box(size, card, orientation)
    wide, high = _stored_size(card, orientation)
    ratios = ((right - left) / wide, (bottom - top) / high)
    return max(ratios) if card.resize == "pad" else min(ratios)


def fit(decoded: Decoded, card: NetworkInput, resizer: Resizer = "pillow", *, coarsely: bool = False) -> Pixels:
    """Resize to the card's input size: (height, width, 3) uint8 RGB, upright.

    `coarsely`: averages whole blocks of pixels as far as they go, and filters what is left: a tenth of the work at two to one. For
    networks that ask where something is; what something is gets the finer filter.
    """
    if coarsely:
        factor = max(1, int(_ratio(decoded.size, card, decoded.orientation)))
    else:
        factor = halvings(decoded.size, card, decoded.orientation)
    whole = _stored_size(card, decoded.orientation)
    inside = _padded_size(decoded.size, whole) if card.resize == "pad" else whole
    result = _resize(decoded, card, inside, factor, resizer)
    if decoded.orientation in UPRIGHT:
        result = np.asarray(Image.fromarray(result).transpose(UPRIGHT[decoded.orientation]))
    if inside == whole:
        return result
    framed = _plain(card.height, card.width, card.border_color)
    top, left = (card.height - result.shape[0]) // 2, (card.width - result.shape[1]) // 2
    framed[top : top + result.shape[0], left : left + result.shape[1]] = result
    return framed


def _plain(height: int, width: int, color: tuple[int, int, int]) -> Pixels:
    """(height, width, 3) pixels of one colour, set row by row: pixel by pixel took a quarter of a resize's instructions."""
    rows = np.empty((height, width * 3), np.uint8)
    rows[:] = np.tile(np.array(color, np.uint8), width)
    return rows.reshape(height, width, 3)


def placed(size: tuple[int, int], card: NetworkInput) -> tuple[int, int, int, int]:
    """Where in the input a photo whose (width, height) upright is `size` lies: left, top, width, height in pixels; all of an input
    without a border."""
    if card.resize != "pad":
        return 0, 0, card.width, card.height
    wide, high = _padded_size(size, (card.width, card.height))
    return (card.width - wide) // 2, (card.height - high) // 2, wide, high


def inside(pixels: Pixels, size: tuple[int, int], card: NetworkInput) -> Pixels:
    """Of a padded input (height, width, 3), the part that shows the photo, whose (width, height) upright is `size`; all of an input
    without a border. A view, no copy."""
    left, top, wide, high = placed(size, card)
    return pixels[top : top + high, left : left + wide]


def _padded_size(size: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a picture of this `size` inside the border; `whole` where there is none worth its name."""
    ratio = max(size[0] / whole[0], size[1] / whole[1])
    wide, high = max(1, round(size[0] / ratio)), max(1, round(size[1] / ratio))
    least = 1 - _AS_GOOD_AS_FULL
    return whole if wide >= least * whole[0] and high >= least * whole[1] else (wide, high)


def _resize(decoded: Decoded, card: NetworkInput, size: tuple[int, int], factor: int, resizer: Resizer) -> Pixels:
    box = _source_box(decoded.size, card, decoded.orientation)
    if resizer == "opencv":
        from .opencv import resize

        return resize(np.asarray(decoded.pixels), box, size, factor)
    image = Image.fromarray(decoded.pixels) if isinstance(decoded.pixels, np.ndarray) else decoded.pixels
    if factor > 1:
        image = image.reduce(factor)  # the last column and row may average less than a whole block
        box = (box[0] / factor, box[1] / factor, box[2] / factor, box[3] / factor)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
