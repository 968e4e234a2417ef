"""What can't be read or is too large is an ImageError of one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.image import Limits, upright
from tests.support.photos import corners, difference, in_subprocess, message_of, png_header, saved, scene


def test_missing_empty_and_special_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    assert "none.jpg does not exist; expected the path of a photo" in message_of(tmp_path / "none.jpg")
    assert "empty.jpg is empty" in message_of(tmp_path / "empty.jpg")
    assert "pipe.jpg is not a regular file" in message_of(tmp_path / "pipe.jpg")  # and doesn't wait for a writer
    assert "is a folder; expected the path of a photo" in message_of(tmp_path)
    assert "/dev/zero is not a regular file" in message_of("/dev/zero")
    assert "circle.jpg can't be read: Too many levels" in message_of(tmp_path / "circle.jpg")
    assert "can't be read" in message_of("a" * 300)
    assert "can't be read" in message_of("nul\0.jpg")
    assert "can't be read: Not a directory" in message_of(tmp_path / "empty.jpg" / "inside.jpg")


def test_a_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("price;4.99\nname;tea\n")
    message = message_of(tmp_path / "text.jpg")
    assert "text.jpg is damaged or not a photo of a known format (it begins with b'price;4.99" in message
    assert message.endswith("expected one of JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF, HEIC")


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(saved(corners(), "PNG"))
    assert np.array_equal(upright(decode(tmp_path / "photo.jpg")), corners())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"])
def test_a_file_cut_in_half(kind: str) -> None:
    data = saved(scene(120, 90), kind)
    assert "damaged or not a photo" in message_of(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["ICO", "PDF", "SGI", "TGA", "PCX"])
def test_formats_that_hold_no_photos_are_refused(kind: str) -> None:
    assert "not a photo of a known format" in message_of(saved(corners(), kind))


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * 4


def test_heic_without_its_plug_in() -> None:
    done = in_subprocess(
        f"""
        import sys
        sys.modules["pillow_heif"] = None
        from shelfmatch.edge.imaging.decode import decode
        decode({HEIC!r})
        """,
        fails=True,
    )
    assert "is a HEIC photo; pip install 'shelfmatch[heic]', or save it as JPEG" in done.stderr


def test_heic_with_its_plug_in() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = saved(corners(), "HEIF", quality=95)
    assert difference(upright(decode(data)), corners()) < 4
    for torn in (data[: len(data) // 2], data[:-20], HEIC):
        message = message_of(torn)
        assert "is damaged or not a photo: " in message and "\n" not in message and "object at 0x" not in message
        assert message.endswith("; expected a whole photo, copy it or save it again")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 1), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((3, 10, 10), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((2, 10, 10, 3), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 3), np.int8),
        np.zeros((10, 10, 3), bool),
        np.zeros((10, 10, 3), object),
        np.array(5),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_arrays_of_another_kind(array: Any) -> None:
    message = message_of(array)
    assert str(array.shape) in message and str(array.dtype) in message and "expected (H, W, 3) uint8 RGB" in message


@pytest.mark.parametrize("source", [None, 7, 1.5, ["a.jpg"], {"image": 1}, object()])
def test_sources_of_another_kind(source: Any) -> None:
    assert "expected a path, bytes, a PIL image or an (H, W, 3) uint8 RGB array" in message_of(source)


@pytest.mark.parametrize("size", [(60000, 60000), (8001, 8000), (64_000_001, 1), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    message = message_of(png_header(*size))
    assert "pixels" in message and "make it smaller" in message


def test_the_pixel_limit_is_exact(tmp_path: Path) -> None:
    limits = Limits(pixels=48 * 64)
    wider = saved(corners(65, 48), "JPEG")
    for source in (saved(corners(), "JPEG"), saved(corners(), "PNG"), corners(), np.asarray(corners())):
        assert decode(source, limits=limits).size == (64, 48)
    for source in (wider, saved(corners(65, 48), "PNG"), corners(65, 48), np.asarray(corners(65, 48))):
        assert "65x48 pixels; at most 3,072 are decoded" in message_of(source, limits=limits)


def test_the_byte_limit_is_exact(tmp_path: Path) -> None:
    data = saved(corners(), "PNG")
    (tmp_path / "photo.png").write_bytes(data)
    for source in (data, tmp_path / "photo.png"):
        assert decode(source, limits=Limits(size_bytes=len(data))).size == (64, 48)
        assert f"has {len(data)} bytes; at most" in message_of(source, limits=Limits(size_bytes=len(data) - 1))


def test_a_file_beyond_the_byte_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(10**12)  # a hole, which reading would turn into memory
    assert "1,000,000,000,000 bytes" in message_of(tmp_path / "huge.jpg")


@pytest.mark.parametrize("progressive", [True, False], ids=["progressive", "sequential"])
def test_a_jpeg_of_many_scans_is_refused(progressive: bool) -> None:
    plain = saved(corners(), "JPEG", progressive=progressive)
    start = plain.index(b"\xff\xda")
    one_component = b"\xff\xda\x00\x08\x01\x01\x00" + (b"\x00\x00\x00" if progressive else b"\x00\x3f\x00")
    assert "JPEG with 51 scans; at most 50" in message_of(plain[:start] + one_component * 51 + b"\xff\xd9")
    assert decode(plain[:start] + one_component * 50 + b"\xff\xd9").size == (64, 48)
    assert decode(plain).size == (64, 48)
