"""Photos in: what arrives in all its forms becomes the same RGB pixels; warnings and threads."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import ImageError
from shelfmatch.edge.imaging._pillow import no_warnings
from shelfmatch.edge.imaging.decode import decode, read_photo
from shelfmatch.edge.imaging.image import source_name, upright
from shelfmatch.edge.imaging.resize import Resizer, fit
from tests.support.cards import plain_card
from tests.support.photos import corners, difference, saved, scene

# Modes

WHITE, RED = (255, 255, 255), (255, 0, 0)


def in_mode(mode: str, *values: Any) -> Image.Image:
    """A row of pixels."""
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def with_palette(image: Image.Image, **info: Any) -> Image.Image:
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.info.update(info)
    return image


def tagged(image: Image.Image, **info: Any) -> Image.Image:
    image.info.update(info)
    return image


MODES: dict[str, tuple[Image.Image, list[tuple[int, int, int]]]] = {
    "1": (in_mode("1", 0, 255), [(0, 0, 0), WHITE]),
    "L": (in_mode("L", 0, 100, 255), [(0, 0, 0), (100, 100, 100), WHITE]),
    "L with tRNS": (tagged(in_mode("L", 7, 100), transparency=7), [WHITE, (100, 100, 100)]),
    "LA over white": (in_mode("LA", (100, 255), (100, 0), (100, 128)), [(100, 100, 100), WHITE, (177, 177, 177)]),
    "La over white": (in_mode("La", (100, 255), (0, 0), (50, 128)), [(100, 100, 100), WHITE, (177, 177, 177)]),
    "P": (with_palette(in_mode("P", 0, 1, 2)), [RED, (0, 255, 0), (0, 0, 255)]),
    "P with a transparent colour": (with_palette(in_mode("P", 0, 1), transparency=1), [RED, WHITE]),
    "P with alpha by colour": (
        with_palette(in_mode("P", 0, 1, 2), transparency=bytes([255, 0, 128])),
        [RED, WHITE, (127, 127, 255)],
    ),
    "PA": (with_palette(in_mode("PA", (0, 255), (1, 0), (2, 128))), [RED, WHITE, (127, 127, 255)]),
    "RGB": (in_mode("RGB", (1, 2, 3), RED), [(1, 2, 3), RED]),
    "RGB with tRNS": (tagged(in_mode("RGB", (1, 2, 3), RED), transparency=(1, 2, 3)), [WHITE, RED]),
    "RGBA over white": (in_mode("RGBA", (*RED, 255), (9, 9, 9, 0), (200, 0, 0, 128)), [RED, WHITE, (227, 127, 127)]),
    "RGBa over white": (in_mode("RGBa", (*RED, 255), (0, 0, 0, 0), (100, 0, 0, 128)), [RED, WHITE, (227, 127, 127)]),
    "RGBX": (in_mode("RGBX", (1, 2, 3, 0)), [(1, 2, 3)]),
    "CMYK": (in_mode("CMYK", (0, 255, 255, 0), (0, 0, 0, 255), (0, 0, 0, 0)), [RED, (0, 0, 0), WHITE]),
    "YCbCr": (in_mode("YCbCr", (76, 85, 255), (128, 128, 128)), [RED, (128, 128, 128)]),
    "HSV": (in_mode("HSV", (0, 255, 255), (85, 255, 255), (0, 0, 60)), [RED, (0, 255, 0), (60, 60, 60)]),
    # sRGB's red in the ICC's D50: L* 54.3 (138 of 255), a* 80.8, b* 69.9.
    "LAB": (Image.frombytes("LAB", (3, 1), bytes([138, 81, 70, 255, 0, 0, 0, 0, 0])), [RED, WHITE, (0, 0, 0)]),
    "I": (in_mode("I", 0, 32768, 65535), [(0, 0, 0), (128, 128, 128), WHITE]),
    "I of 8 bits": (in_mode("I", 0, 100, 255), [(0, 0, 0), (100, 100, 100), WHITE]),
    "I beyond 16 bits": (in_mode("I", -5, 32768, 2**31 - 1), [(0, 0, 0), (128, 128, 128), WHITE]),
    "I;16": (in_mode("I;16", 0, 255, 25600, 65535), [(0, 0, 0), (0, 0, 0), (100, 100, 100), WHITE]),
    "I;16 in the dark": (in_mode("I;16", 0, 200, 255), [(0, 0, 0)] * 3),
    "I;16B": (Image.frombytes("I;16B", (2, 1), b"\x64\x00\xff\xff"), [(100, 100, 100), WHITE]),
    "I;16L": (Image.frombytes("I;16L", (2, 1), b"\x00\x64\xff\xff"), [(100, 100, 100), WHITE]),
    "F from 0 to 1": (in_mode("F", 0.0, 0.5, 1.0), [(0, 0, 0), (128, 128, 128), WHITE]),
    "F from 0 to 255": (in_mode("F", -3.0, 99.6, 999.0), [(0, 0, 0), (100, 100, 100), WHITE]),
    "F with NaN": (in_mode("F", float("nan"), 0.5, float("-inf")), [(0, 0, 0), (128, 128, 128), (0, 0, 0)]),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name: str) -> None:
    image, expected = MODES[name]
    pixels = upright(decode(image))
    assert pixels.mode == "RGB"
    # YCbCr and LAB are 8-bit spaces of their own; LAB's 256 steps span more than sRGB's.
    tolerance = {"YCbCr": 2, "LAB": 8}.get(name, 1)
    assert np.abs(np.asarray(pixels, int)[0] - np.array(expected)).max() <= tolerance


def test_the_picture_that_was_given_is_left_as_it_was() -> None:
    image = in_mode("RGBA", (200, 0, 0, 128))
    fit(decode(image), plain_card())
    assert image.mode == "RGBA" and image.getpixel((0, 0)) == (200, 0, 0, 128)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_files_keep_their_high_byte(kind: str) -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(1, 256).repeat(4, axis=0)
    pixels = np.asarray(upright(decode(saved(Image.fromarray(ramp), kind))))
    assert np.array_equal(pixels, np.repeat((ramp >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2))


def test_big_endian_16_bit_tiff() -> None:
    image = Image.frombytes("I;16B", (3, 1), b"\x00\x00\x64\x00\xff\xff")
    assert np.asarray(upright(decode(saved(image, "TIFF"))))[0, :, 0].tolist() == [0, 100, 255]


def png_of_16_bits(wide: int, colour: int, values: tuple[int, ...], *chunks: bytes) -> bytes:
    """One row; `colour`: 0 grey, 2 RGB."""
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", wide, 1, 16, colour, 0, 0, 0))
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    return png + b"".join(chunks) + png_chunk(b"IDAT", zlib.compress(row)) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_16_bit_rgb_png() -> None:
    png = png_of_16_bits(2, 2, (0x1234, 0x8000, 0xFFFF, 0x00FF, 0x6400, 0x0101))
    assert np.asarray(upright(decode(png)))[0].tolist() == [[0x12, 0x80, 0xFF], [0x00, 0x64, 0x01]]


def test_16_bit_grey_png_with_one_grey_to_see_through() -> None:
    png = png_of_16_bits(4, 0, (0x1234, 0x1235, 0x8000, 0xFFFF), png_chunk(b"tRNS", struct.pack(">H", 0x1234)))
    assert np.asarray(upright(decode(png)))[0, :, 0].tolist() == [0xFF, 0x12, 0x80, 0xFF]


def test_cmyk_jpeg_has_the_colours_that_were_saved() -> None:
    decoded = upright(decode(saved(corners().convert("CMYK"), "JPEG", quality=95)))
    assert difference(decoded, corners()) < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    assert difference(upright(decode(data)), frames[0]) < 1


@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
def test_arrays_may_be_views(resizer: Resizer) -> None:
    if resizer == "opencv":
        pytest.importorskip("cv2")
    whole = np.array(scene(200, 160))
    whole.flags.writeable = False
    for view in (whole[::2, ::3], whole[::-1], whole[:, ::-1, ::-1], whole.transpose(1, 0, 2), whole[3:90, 7:101]):
        copied = fit(decode(np.array(view)), plain_card(), resizer)
        assert np.array_equal(fit(decode(view), plain_card(), resizer), copied)


def test_every_form_of_a_source_gives_the_same_pixels(tmp_path: Path) -> None:
    data = saved(corners(), "PNG")
    (tmp_path / "photo.png").write_bytes(data)
    for source in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        data,
        bytearray(data),
        memoryview(data),
        corners(),
    ):
        assert np.array_equal(upright(decode(source)), corners())
    assert read_photo(tmp_path / "photo.png") == data


def test_source_names(tmp_path: Path) -> None:
    corners().save(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as opened:
        assert source_name(opened) == str(tmp_path / "photo.png")
    assert source_name(tmp_path / "a.jpg") == str(tmp_path / "a.jpg")
    assert source_name(b"12345") == "<5 bytes>"
    assert source_name(corners()) == "<RGB image 64x48>"
    assert source_name(np.zeros((4, 5, 3), np.uint8)) == "<array (4, 5, 3) uint8>"


# Warnings and threads


def test_odd_metadata_warns_nobody() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + b"\x0f\x01\x02\0\xff\0\0\0\x10\0\0\0" + b"\0\0\0\0"
    data = saved(corners(), "JPEG", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = Image.open(io.BytesIO(data)).copy()
        picture.getexif()
        assert len(caught) == 2  # Pillow does warn
        caught.clear()
        for source in (data, picture.copy()):
            assert decode(source).size == (64, 48)
        assert caught == []


def test_silence_lasts_until_the_last_thread_leaves() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with no_warnings:
            with no_warnings:
                warnings.warn("both inside", stacklevel=1)
            warnings.warn("one inside", stacklevel=1)
        warnings.warn("none inside", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["none inside"]


def test_the_filters_of_warnings_are_as_before() -> None:
    before = list(warnings.filters)
    data = [saved(corners(), kind) for kind in ("JPEG", "PNG", "WEBP")] + [
        b"\x89PNG\r\n\x1a\nbroken",
        b"\xff\xd8\xff\xe0",
    ]
    problems: list[BaseException] = []

    def work() -> None:
        for number in range(60):
            try:
                decode(data[number % 5])
            except ImageError:
                pass
            except BaseException as error:
                problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and warnings.filters == before
    with pytest.warns(UserWarning, match="seen"):
        warnings.warn("seen", UserWarning, stacklevel=1)
