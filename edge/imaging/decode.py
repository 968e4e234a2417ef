"""Photos in: read, decode, make RGB. Errors of decoders on hostile input come as ImageError."""

from __future__ import annotations

import functools
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from ..errors import ImageError
from ..memory_short import is_short
from . import _pillow
from .image import DEFAULT_LIMITS, UPRIGHT, Decoded, ImageSource, Limits, Pixels, source_name
from .resize import NetworkInput, halvings

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Formats that are read. Others (EPS, PDF, PSD, icons) start interpreters or hold no photos."""
_EXPECTED = ", ".join((*FORMATS, "HEIC"))
"""HEIC is read by a plug-in of its own."""

_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_EXIF_ORIENTATION = 0x0112
_SMALL_JPEG = 256 * 1024
"""Up to this size no header can keep Pillow busy for long; most photos of a camera at 640x480 are below it."""


def read_photo(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The file's bytes, after its kind and size were checked. Raises ImageError."""
    name = os.fspath(path)
    try:
        with open(path, "rb", opener=_open_without_blocking) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ImageError(f"{name} is not a regular file; expected a photo")
            _check_weight(name, info.st_size, limits)
            return file.read()
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; expected the path of a photo") from error
    except IsADirectoryError as error:
        raise ImageError(
            f"{name} is a folder; expected the path of a photo (the commands match and eval take folders, too)"
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} can't be read: {getattr(error, 'strerror', None) or error}") from error


def _open_without_blocking(name: str, flags: int) -> int:
    """A named pipe without a writer must not hang the caller."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _check_weight(name: str, size_bytes: int, limits: Limits) -> None:
    if size_bytes == 0:
        raise ImageError(f"{name} is empty; expected a photo")
    if size_bytes > limits.size_bytes:
        raise ImageError(f"{name} has {size_bytes:,} bytes; at most {limits.size_bytes:,} are read, make it smaller")


def decode(
    source: ImageSource, card: NetworkInput | None = None, limits: Limits = DEFAULT_LIMITS, name: str | None = None
) -> Decoded:
    """Decode a photo to RGB.

    `source`: a path, the bytes of a file, a PIL image, or an (H, W, 3) uint8 RGB array. With a `card`, large photos come out
    halved as often as the card's input size allows. `name`: what messages call it, where bytes were read from a file. Raises
    ImageError for anything that is not a readable photo.
    """
    if isinstance(source, np.ndarray):
        return Decoded(_checked_array(source, limits))
    name = name or source_name(source)
    if isinstance(source, Image.Image):
        with _as_image_error(name), _pillow.no_warnings if source.info else nullcontext():
            _check_pixels(name, source.size, limits)
            source.load()
            return Decoded(_to_rgb(source), _orientation(source))
    if isinstance(source, (str, os.PathLike)):
        data = read_photo(source, limits)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        _check_weight(name, len(data), limits)
    else:
        raise ImageError(
            f"{name} can't be read as a photo; expected a path, bytes, a PIL image or an (H, W, 3) uint8 RGB array"
        )
    with _as_image_error(name):
        if data[:3] == b"\xff\xd8\xff":
            return _decode_jpeg(name, data, card, limits)
        return _decode_other(name, data, limits)


def full_size(source: ImageSource, decoded: Decoded, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(width, height) upright of the photo that `decoded` was made of, perhaps halved: a JPEG's header says it."""
    if not isinstance(source, (bytes, bytearray, memoryview)) or bytes(source[:3]) != b"\xff\xd8\xff":
        return decoded.upright_size  # only JPEGs come out halved
    with _as_image_error(source_name(source)), _pillow.no_warnings:
        wide, high = JpegImagePlugin.JpegImageFile(io.BytesIO(source)).size
    return (wide, high) if decoded.orientation < 5 else (high, wide)


def _checked_array(array: NDArray[Any], limits: Limits) -> Pixels:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(f"array of shape {array.shape} and dtype {array.dtype} arrived; expected (H, W, 3) uint8 RGB")
    _check_pixels("array", (array.shape[1], array.shape[0]), limits)
    return array


@contextmanager
def _as_image_error(name: str) -> Iterator[None]:
    """Pillow's decoders raise almost anything on hostile input, from SyntaxError to struct.error."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels ({error}); make it smaller") from error
    except Exception as error:
        if is_short(error):
            raise ImageError(f"{name} needs more memory than there is; make it smaller, or give more memory") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__  # libheif's ends in a newline
        if isinstance(error, UnidentifiedImageError):  # its text names an object in memory
            reason = "its header can't be read"
        raise ImageError(
            f"{name} is damaged or not a photo: {reason}; expected a whole photo, copy it or save it again"
        ) from error


def _check_pixels(name: str, size: tuple[int, int], limits: Limits) -> None:
    if size[0] < 1 or size[1] < 1:
        raise ImageError(f"{name} has no pixels ({size[0]}x{size[1]})")
    if size[0] * size[1] > limits.pixels:
        raise ImageError(
            f"{name} has {size[0]}x{size[1]} pixels; at most {limits.pixels:,} are decoded, make it smaller"
        )


def _decode_jpeg(name: str, data: bytes, card: NetworkInput | None, limits: Limits) -> Decoded:
    # The plug-in's class directly: Image.open would load four more plug-ins, a third of a cold start.
    file = io.BytesIO(data) if len(data) <= _SMALL_JPEG else _pillow.Doled(name, data)
    with _pillow.no_warnings:
        image = JpegImagePlugin.JpegImageFile(file)
        _check_pixels(name, image.size, limits)
        orientation = _orientation(image)
    scans = _scans(data, image, file.tell())
    if scans > limits.scans:
        raise ImageError(f"{name} is a JPEG with {scans} scans; at most {limits.scans} are decoded, save it again")
    factor = 1 if card is None else min(8, halvings(image.size, card, orientation))
    if card is not None and image.mode == "RGB":
        pixels = _decode_with_simplejpeg(data, image.size, factor)
        if pixels is not None:
            return Decoded(pixels, orientation)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return Decoded(_to_rgb(image), orientation)


def _decode_with_simplejpeg(data: bytes, size: tuple[int, int], factor: int) -> Pixels | None:
    """The same pixels by the same library with fewer copies (a fifth of the time at 640x480); None where Pillow is to decide.

    That is where simplejpeg isn't installed, and for a file that libjpeg so much as warns about.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None:
        return None
    high, wide = -(-size[1] // factor), -(-size[0] // factor)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=high, min_width=wide, min_factor=factor)
    except (ValueError, RuntimeError):
        return None
    return pixels if pixels.shape == (high, wide, 3) else None


@functools.cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _scans(data: bytes, image: JpegImagePlugin.JpegImageFile, header_end: int) -> int:
    """How often libjpeg would walk the picture: once where the first scan of a sequential JPEG holds all its components."""
    components = data[data.rfind(b"\xff\xda", 0, header_end) + 4]
    if components == image.layers and "progressive" not in image.info:
        return 1
    return data.count(b"\xff\xda\x00")  # the length that follows is 8 to 14


def _decode_other(name: str, data: bytes, limits: Limits) -> Decoded:
    if data[:4] in _pillow.TIFF_MARKS:
        _pillow.check_tiff(name, data, limits.pixels)
        _pillow.silence_tiff()
    with _pillow.no_warnings:
        try:
            image: Image.Image = Image.open(_pillow.Doled(name, data), formats=FORMATS)
        except UnidentifiedImageError as error:
            image = _open_heif(name, data, error)
        _check_pixels(name, image.size, limits)
        _pillow.check_codec(name, data, image)
        image.load()
        # Only now: Pillow turns TIFFs upright as it loads them, and a PNG may tell its orientation after its pixels.
        orientation = _orientation(image)
    return Decoded(_to_rgb(image), orientation)


def _open_heif(name: str, data: bytes, error: UnidentifiedImageError) -> Image.Image:
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
        raise ImageError(
            f"{name} is damaged or not a photo of a known format (it begins with {data[:12]!r}); "
            f"expected one of {_EXPECTED}"
        ) from error
    try:
        from pillow_heif import HeifImagePlugin  # noqa: F401  (importing it registers the format)
    except ImportError:
        raise ImageError(f"{name} is a HEIC photo; pip install 'shelfmatch[heic]', or save it as JPEG") from error
    return Image.open(io.BytesIO(data), formats=("HEIF",))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or where the metadata is damaged."""
    if image.format == "JPEG" and "exif" not in image.info and "xmp" not in image.info:
        return 1  # getexif would import the TIFF plug-in to find nothing
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged metadata takes no photo away
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB: transparency over white, 16 bits scaled to 8, the first frame of animations."""
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        pixels = _to_8_bit(values)
        see_through = image.info.get("transparency")
        if isinstance(see_through, int):  # one 16-bit grey of a PNG
            pixels = np.where(values == see_through, np.uint8(255), pixels)
        return Image.fromarray(pixels).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _to_8_bit(values: NDArray[Any]) -> Pixels:
    """16-bit integers, 32-bit integers holding them, and floats (0 to 1, or 0 to 255) as 0 to 255."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        scaled: Pixels = np.clip(values * scale + 0.5, 0, 255).astype(np.uint8)
        return scaled
    shift = 8 if values.dtype.itemsize == 2 or values.max(initial=0) > 255 else 0
    narrowed: Pixels = (np.clip(values, 0, 65535).astype(np.uint16) >> shift).clip(0, 255).astype(np.uint8)
    return narrowed
