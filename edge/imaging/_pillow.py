"""Living with Pillow on untrusted files: silence, and refusal of small files that cost seconds or gigabytes.

Pillow decodes the pixels of all common formats in C, but walks their metadata, and decodes a few rare formats, in Python.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import struct
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

from ..errors import ImageError
from ..forking import renew_after_fork

_PIECES = 250_000
"""Reads of one file. A 64 MB PNG in chunks of 8 kB needs 32,000; Python does 250,000 in half a second, on a slow machine in 1.5."""
_COSTLY_PIECE = 10_000
"""What a piece counts that Python unpacks after reading it: a PNG's colour profile (1 MB from 1 kB: 4 ms), or Photoshop's
resources in a JPEG (5,000 in a segment: 6 ms)."""
_PYTHON_CODECS = {"ppm", "ppm_plain", "bmp_rle"}
_PYTHON_PIXELS = 640 * 480
"""Pixels that are decoded in Python: 1 to 5 µs each, where C takes 10 ns."""
_COMMENTS = 1000
"""Comments in a text PPM: for each, Pillow copies the megabyte around it."""
_STRIPS = 200_000
"""Strips or tiles of a TIFF: more than three planes of 65,535 lines, each by itself."""

TIFF_MARKS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">", b"II+\0": "<", b"MM\0+": ">"}
"""Byte order by the first four bytes; two are wrong and read all the same."""
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "L", 16: "Q"}
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_OFFSETS = {273, 324}


class _NoWarnings:
    """Pillow warns about odd metadata and about its own pixel limit. Ours come as ImageError; a user's log is not the place.

    Filters are the process's: the first thread that enters silences them, the last that leaves restores them, so that
    several decode at once and none restores another's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught: warnings.catch_warnings[None] | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: those that were inside are no threads of it."""
        self._lock = threading.Lock()
        self._inside = 0
        if self._caught is not None:
            self._caught.__exit__(None, None, None)
            self._caught = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._caught is None:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._caught is not None:
                self._caught.__exit__(None, None, None)
                self._caught = None


no_warnings = _NoWarnings()


@functools.cache
def silence_tiff() -> None:
    """libtiff, and Pillow's log where none is set up, write to stderr what the ImageError says already."""
    import ctypes

    from PIL import _imaging

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)  # Pillow has no switch for it
    logging.getLogger("PIL.TiffImagePlugin").addHandler(logging.NullHandler())


class Doled(io.BytesIO):
    """A file in memory that can be read in a bounded number of pieces. `read` raises ImageError beyond."""

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        self._name = name
        self._left = _PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        costly = piece[4:8] == b"iCCP" or piece[:13] == b"Photoshop 3.0"
        self._left -= _COSTLY_PIECE if costly else 1
        if self._left < 0:
            raise ImageError(f"{self._name} is made of too many pieces to be a photo; save it again")
        return piece


def check_codec(name: str, data: bytes, image: Image.Image) -> None:
    """Refuse large pictures in what Pillow decodes in Python: text PPM, PPM of odd ranges, run-length BMP."""
    codecs = {tile[0] for tile in getattr(image, "tile", ())}
    if codecs & _PYTHON_CODECS and image.width * image.height > _PYTHON_PIXELS:
        raise ImageError(
            f"{name} has {image.width}x{image.height} pixels; this kind of {image.format} is read up to "
            f"{_PYTHON_PIXELS:,}, save it as JPEG or PNG"
        )
    if "ppm_plain" in codecs and data.count(b"#") > _COMMENTS:
        raise ImageError(f"{name} is a PPM with over {_COMMENTS:,} comments; save it as JPEG or PNG")


def check_tiff(name: str, data: bytes, pixels: int) -> None:
    """Refuse a TIFF of too many strips, or with tiles that reach far beyond the picture.

    Pillow makes a Python object of every strip as it opens the file, and libtiff a buffer of a whole tile.
    """
    sizes = dict.fromkeys((_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT), 1)
    for tag, count, value in _tiff_entries(data):
        if tag in _OFFSETS and count > _STRIPS:
            raise ImageError(f"{name} is a TIFF of {count:,} parts; at most {_STRIPS:,} are read, save it again")
        if tag in sizes:
            sizes[tag] = max(sizes[tag], value)
    wide, high, tile_wide, tile_high = sizes.values()
    covered = -(-wide // tile_wide) * tile_wide, -(-high // tile_high) * tile_high
    if covered[0] * covered[1] > pixels:
        raise ImageError(
            f"{name} has tiles for {covered[0]}x{covered[1]} pixels; at most {pixels:,} are decoded, make it smaller"
        )


def _tiff_entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(tag, count, first value or 0) of the first directory (TIFF 6.0 and BigTIFF), as far as the file goes."""
    order = TIFF_MARKS[data[:4]]
    head, number, entry = ("Q", "Q", "HHQ8s") if b"+" in data[2:4] else ("L", "H", "HHL4s")
    try:
        (place,) = struct.unpack_from(order + head, data, 8 if head == "Q" else 4)
        (entries,) = struct.unpack_from(order + number, data, place)
        place += struct.calcsize(order + number)
        for _ in range(entries):
            tag, kind, count, value = struct.unpack_from(order + entry, data, place)
            place += struct.calcsize(order + entry)
            readable = count == 1 and kind in _TIFF_INTEGERS
            yield tag, count, struct.unpack_from(order + _TIFF_INTEGERS[kind], value)[0] if readable else 0
    except struct.error:  # cut off; Pillow says so
        return
