"""Photos drawn for the tests, as files of every kind, and what goes wrong with them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import ImageError
from shelfmatch.edge.imaging.decode import decode

STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that writes an EXIF orientation stores an upright scene."""


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(width: int, height: int) -> Image.Image:
    """A smooth picture without any symmetry: what a photo is to a resizer, without its noise."""
    coarse = np.random.default_rng(7).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def corners(width: int = 64, height: int = 48) -> Image.Image:
    """Four flat quarters of different colours, on JPEG's block grid."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (230, 20, 20)
    pixels[: height // 2, width // 2 :] = (20, 230, 20)
    pixels[height // 2 :, : width // 2] = (20, 20, 230)
    pixels[height // 2 :, width // 2 :] = (230, 220, 40)
    return Image.fromarray(pixels)


def stored(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return (image if turn is None else image.transpose(turn)), exif


def difference(a: Any, b: Any) -> float:
    """Mean absolute difference in units of 0 to 255."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


# What can't be read


def message_of(source: Any, **arguments: Any) -> str:
    with pytest.raises(ImageError) as caught:
        decode(source, **arguments)
    message = str(caught.value)
    assert message == " ".join(message.splitlines()) and len(message) < 400
    return message


# Limits


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )


def in_subprocess(code: str, *, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Run indented code in a fresh interpreter with warnings as errors."""
    lines = [line.removeprefix(" " * 8) for line in code.strip("\n").splitlines()]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done
