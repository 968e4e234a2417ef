"""Photos in: what arrives in all its forms becomes the same upright RGB pixels, or an ImageError of one line."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shelfmatch.edge import Encoder, ImageError
from shelfmatch.edge.imaging._pillow import no_warnings
from shelfmatch.edge.imaging.decode import decode, read_photo
from shelfmatch.edge.imaging.image import Decoded, Limits, source_name, upright
from shelfmatch.edge.imaging.resize import Resizer, fit, halvings, resizer_in_use
from tests.support.cards import plain_card

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


# Orientation


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ],
    ids=["jpeg", "png", "webp", "tiff", "tiff-lzw", "avif"],
)
def test_every_exif_orientation_comes_out_upright(orientation: int, kind: str, options: dict[str, Any]) -> None:
    picture, exif = stored(corners(), orientation)
    decoded = upright(decode(saved(picture, kind, exif=exif, **options)))
    assert decoded.size == (64, 48)
    # Flat quarters: a lossy codec keeps them within rounding, any other turn moves a colour by over 100.
    assert np.abs(np.asarray(decoded, int) - np.asarray(corners(), int)).max() <= (0 if "lossless" in options else 6)


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(61, 47), (400, 331)])
@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
def test_orientation_changes_nothing_in_the_input(
    orientation: int, resize: str, size: tuple[int, int], resizer: Resizer
) -> None:
    if resizer == "opencv":
        pytest.importorskip("cv2")
    card = plain_card(33, 40, resize=resize, crop_fraction=0.9)
    picture, exif = stored(scene(*size), orientation)
    expected = fit(decode(scene(*size)), card, resizer)
    turned = fit(decode(saved(picture, "PNG", exif=exif)), card, resizer)
    # Rounding between rows and columns, and the incomplete block at the far edge: part of an average with Pillow, left out
    # by OpenCV. A line too many or too few at one edge differs by over 3.
    assert difference(turned, expected) < (0.6 if resizer == "pillow" else 1.4)
    if resize == "pad":
        white = [(pixels == 255).all(axis=(1, 2)).nonzero()[0].tolist() for pixels in (expected, turned)]
        assert white[0] == white[1] != []


@pytest.mark.parametrize("orientation", [0, 9, 77, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(saved(corners(), "JPEG", exif=exif)).orientation == 1


def test_damaged_exif_takes_no_photo_away() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff\xff\xff\xff\xff" * 3
    assert decode(saved(corners(), "JPEG", exif=exif)).size == (64, 48)


def test_a_png_may_tell_its_orientation_after_its_pixels() -> None:
    picture, exif = stored(corners(), 6)
    plain = saved(picture, "PNG")
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert np.array_equal(upright(decode(plain[:-12] + late + plain[-12:])), corners())


def test_a_picture_opened_by_pillow_is_turned_as_its_file_is(tmp_path: Path) -> None:
    for kind in ("PNG", "TIFF"):
        picture, exif = stored(corners(), 8)
        picture.save(tmp_path / f"photo.{kind.lower()}", exif=exif)
        with Image.open(tmp_path / f"photo.{kind.lower()}") as opened:
            assert np.array_equal(upright(decode(opened)), corners())


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


# The resize rule


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 64), (127, 127), (127, 500), (20, 25), (1, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_under_four_times_the_size_it_is_a_full_decode_and_a_bilinear_resize(size: tuple[int, int], kind: str) -> None:
    data = saved(scene(*size), kind)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(fit(decode(data, plain_card()), plain_card()), expected)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
def test_halving_averages_boxes_and_ends_in_a_triangle(factor: int, resizer: Resizer) -> None:
    if resizer == "opencv":
        pytest.importorskip("cv2")
    pixels = np.random.default_rng(factor).integers(0, 256, (64 * factor, 64 * factor, 3)).astype(np.uint8)
    averages = pixels.reshape(64, factor, 64, factor, 3).astype(float).mean(axis=(1, 3))
    weights = triangle_weights(64, 32, 0, 64)
    expected = np.einsum("ij,jkc,lk->ilc", weights, averages, weights)
    inner = slice(1, -1)  # at the edge, Pillow drops what lies outside and OpenCV repeats the last pixel
    differences = np.abs(fit(decode(pixels), plain_card(), resizer) - expected)
    assert (differences if resizer == "pillow" else differences[inner, inner]).max() <= 1.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1600, 1200), (800, 600)), ((640, 480), (640, 480)), ((4032, 3024), (1008, 756)), ((895, 1600), (895, 1600))],
)
def test_the_jpeg_decoder_skips_what_the_resize_would_throw_away(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    data = saved(scene(*size).filter(ImageFilter.GaussianBlur(1)), "JPEG", quality=92)
    card = plain_card(224, 224)
    scaled = decode(data, card)
    assert scaled.size == expected and decode(data).size == size
    # DCT scaling keeps the low frequencies of each block, and a box average nearly so. On so smooth a scene even the nearest
    # pixel differs by only 0.46.
    assert difference(fit(scaled, card), fit(decode(data), card)) < 0.35


@pytest.mark.parametrize("size", [(61, 47), (640, 480), (1601, 1203)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_simplejpeg_gives_pillows_pixels(
    size: tuple[int, int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    data = saved(scene(*size), "JPEG", quality=90, **options)
    faster = decode(data, plain_card(64, 64))
    monkeypatch.setattr("shelfmatch.edge.imaging.decode._simplejpeg", lambda: None)
    plain = decode(data, plain_card(64, 64))
    assert isinstance(faster.pixels, np.ndarray) and isinstance(plain.pixels, Image.Image)
    assert np.array_equal(faster.pixels, np.asarray(plain.pixels))


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-700] + data[-600:]])
def test_what_libjpeg_warns_about_is_pillows_to_decide(damage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")

    def outcome() -> Any:
        try:
            return np.asarray(decode(damage(saved(scene(300, 200), "JPEG")), plain_card(64, 64)).pixels).tolist()
        except ImageError as error:
            return str(error)

    faster = outcome()
    monkeypatch.setattr("shelfmatch.edge.imaging.decode._simplejpeg", lambda: None)
    assert faster == outcome()


def test_a_portrait_jpeg_that_lies_on_its_side_is_scaled_by_its_upright_size() -> None:
    picture, exif = stored(scene(300, 1200), 6)
    assert picture.size == (1200, 300)
    assert decode(saved(picture, "JPEG", exif=exif), plain_card(50, 200)).size == (600, 150)


@pytest.mark.parametrize(
    ("size", "card", "orientation", "expected"),
    [
        ((127, 127), plain_card(32, 32), 1, 1),
        ((128, 128), plain_card(32, 32), 1, 2),
        ((1000, 128), plain_card(32, 32), 1, 2),
        ((1000, 128), plain_card(32, 32, resize="pad"), 1, 8),
        ((1000, 128), plain_card(32, 32, resize="crop"), 1, 2),
        ((1000, 128), plain_card(32, 32, resize="crop", crop_fraction=0.5), 1, 1),
        ((256, 128), plain_card(32, 64), 1, 1),
        ((256, 128), plain_card(32, 64), 6, 2),
        ((5, 5), plain_card(32, 32), 1, 1),
        ((65536, 65536), plain_card(1, 1), 1, 32768),
    ],
)
def test_halvings(size: tuple[int, int], card: Any, orientation: int, expected: int) -> None:
    assert halvings(size, card, orientation) == expected


def test_crop_takes_the_centre() -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 255
    assert (fit(decode(pixels), plain_card(40, 40, resize="crop")) == 255).all()
    inner = np.zeros((100, 100, 3), np.uint8)
    inner[25:75, 25:75] = 255
    assert (fit(decode(inner), plain_card(50, 50, resize="crop", crop_fraction=0.5)) == 255).all()
    assert (fit(decode(inner), plain_card(50, 50, resize="crop", crop_fraction=0.6)) == 0).any()


def test_pad_keeps_the_shape_and_fills_with_white() -> None:
    result = fit(decode(np.zeros((20, 80, 3), np.uint8)), plain_card(40, 40, resize="pad"))
    assert (result[15:25] == 0).all() and (result[:15] == 255).all() and (result[25:] == 255).all()
    odd = fit(decode(np.zeros((20, 80, 3), np.uint8)), plain_card(40, 33, resize="pad"))
    assert (odd[:, 0] == 0).all(axis=1).nonzero()[0].tolist() == list(range(11, 21))


@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_every_size_fits_every_input(resize: str, resizer: Resizer) -> None:
    """Rounding of the crop's box, slivers thinner than the factor: 700 sizes, of which some met each of these."""
    if resizer == "opencv":
        pytest.importorskip("cv2")
    random = np.random.default_rng(1)
    for _ in range(700):
        wide, high, card_wide, card_high = (int(n) for n in random.integers(1, 280, 4))
        card = plain_card(card_wide, card_high, resize=resize, crop_fraction=float(random.choice([1.0, 0.875, 0.01])))
        decoded = Decoded(np.zeros((high, wide, 3), np.uint8), int(random.integers(1, 9)))
        assert fit(decoded, card, resizer).shape == (card_high, card_wide, 3), (wide, high, card)


def triangle_weights(size_in: int, size_out: int, start: float, end: float) -> Any:
    """(out, in) weights of one axis of an antialiased bilinear resize of the stretch from `start` to `end`."""
    step = (end - start) / size_out
    centres = start + (np.arange(size_out)[:, np.newaxis] + 0.5) * step
    weights = np.maximum(0, 1 - np.abs(np.arange(size_in) + 0.5 - centres) / max(1, step))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(45, 61), (64, 64), (67, 129), (333, 200), (31, 1000), (131, 258)])
def test_the_rule_as_a_formula(size: tuple[int, int]) -> None:
    """Box averages of blocks, then triangle weights, in float: up to the rounding of each of three steps."""
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    factor = halvings(size, plain_card(), 1)
    across, down = range(0, size[0], factor), range(0, size[1], factor)
    blocks = np.array([[pixels[y : y + factor, x : x + factor].mean(axis=(0, 1)) for x in across] for y in down])
    vertical = triangle_weights(len(down), 32, 0, size[1] / factor)
    horizontal = triangle_weights(len(across), 32, 0, size[0] / factor)
    expected = np.einsum("ij,jkc,lk->ilc", vertical, blocks, horizontal)
    assert np.abs(fit(decode(pixels), plain_card()) - expected).max() < 1.5


@pytest.mark.parametrize("size", [(45, 61), (69, 90), (91, 69), (110, 127), (300, 200)])
def test_opencvs_filter_is_as_wide_as_pillows(size: tuple[int, int]) -> None:
    """On noise as sharp as a lens leaves it, the two differ far less than OpenCV's own filters from Pillow's."""
    cv2: Any = pytest.importorskip("cv2")
    noise = np.random.default_rng(size).normal(128, 60, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8)
    noise = cv2.GaussianBlur(noise, (0, 0), 1)
    wanted = fit(decode(noise), plain_card()).astype(int)
    found = difference(fit(decode(noise), plain_card(), "opencv"), wanted)
    for its_own in (cv2.INTER_LINEAR, cv2.INTER_AREA):
        assert found < 0.75 * difference(cv2.resize(noise, (32, 32), interpolation=its_own), wanted)


def test_golden_values() -> None:
    """Fixed numbers, so that no version of Pillow or of this module changes the preprocessor unseen."""
    rows, columns = np.mgrid[0:37, 0:50]
    pixels = np.stack([5 * columns, 6 * rows, (7 * rows + 11 * columns) % 256], axis=2).astype(np.uint8)
    squashed = fit(decode(pixels), plain_card(4, 3)).tolist()
    assert squashed == [
        [[35, 41, 120], [92, 41, 133], [155, 41, 128], [213, 41, 120]],
        [[35, 108, 153], [92, 108, 109], [155, 108, 144], [213, 108, 108]],
        [[35, 179, 112], [92, 179, 140], [155, 179, 113], [213, 179, 151]],
    ]
    white = [[255, 255, 255]] * 4
    assert fit(decode(pixels), plain_card(4, 5, resize="pad")).tolist() == [white, *squashed, white]
    assert fit(decode(pixels), plain_card(4, 3, resize="crop", crop_fraction=0.7)).tolist() == [
        [[58, 56, 165], [101, 56, 100], [144, 56, 126], [188, 56, 160]],
        [[58, 109, 130], [101, 109, 99], [144, 109, 169], [188, 109, 99]],
        [[58, 161, 89], [101, 161, 149], [144, 161, 135], [188, 161, 95]],
    ]
    assert fit(decode(pixels[:5, :7]), plain_card(4, 3)).tolist() == [
        [[3, 3, 9], [10, 3, 26], [20, 3, 46], [27, 3, 63]],
        [[3, 12, 20], [10, 12, 37], [20, 12, 57], [27, 12, 74]],
        [[3, 21, 31], [10, 21, 48], [20, 21, 68], [27, 21, 85]],
    ]


# Faster resizer


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(40, 50), (90, 70), (640, 480), (331, 1203)])
def test_opencv_is_close_to_pillow(size: tuple[int, int], resize: str) -> None:
    pytest.importorskip("cv2")
    card = plain_card(32, 32, resize=resize)
    decoded = decode(scene(*size))
    assert 0 < difference(fit(decoded, card, "opencv"), fit(decoded, card, "pillow")) < 1.5


def test_resizer_in_use() -> None:
    pytest.importorskip("cv2")
    assert (resizer_in_use("auto"), resizer_in_use("opencv"), resizer_in_use("pillow")) == (
        "opencv",
        "opencv",
        "pillow",
    )
    with pytest.raises(ImageError, match="'lanczos'; expected auto, pillow or opencv"):
        resizer_in_use("lanczos")


def test_resizer_in_use_without_opencv() -> None:
    answers = in_subprocess(
        """
        import sys
        sys.modules["cv2"] = None
        from shelfmatch.edge.imaging.image import resizer_in_use
        print(resizer_in_use("auto"), resizer_in_use("pillow"))
        resizer_in_use("opencv")
        """,
        fails=True,
    )
    assert answers.stdout.split() == ["pillow", "pillow"]
    assert "ImageError: resizer 'opencv' was asked for" in answers.stderr and "shelfmatch[fast]" in answers.stderr


# What can't be read


def message_of(source: Any, **arguments: Any) -> str:
    with pytest.raises(ImageError) as caught:
        decode(source, **arguments)
    message = str(caught.value)
    assert message == " ".join(message.splitlines()) and len(message) < 400
    return message


def test_missing_empty_and_special_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    assert "none.jpg does not exist; expected the path of a photo" in message_of(tmp_path / "none.jpg")
    assert "empty.jpg is empty" in message_of(tmp_path / "empty.jpg")
    assert "pipe.jpg is not a regular file" in message_of(tmp_path / "pipe.jpg")  # and doesn't wait for a writer
    assert "can't be read: Is a directory" in message_of(tmp_path)
    assert "/dev/zero is not a regular file" in message_of("/dev/zero")
    assert "circle.jpg can't be read: Too many levels" in message_of(tmp_path / "circle.jpg")
    assert "can't be read" in message_of("a" * 300)
    assert "can't be read" in message_of("nul\0.jpg")
    assert "can't be read: Not a directory" in message_of(tmp_path / "empty.jpg" / "inside.jpg")


def test_a_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("price;4.99\nname;tea\n")
    message = message_of(tmp_path / "text.jpg")
    assert "text.jpg is damaged or not a photo of a known format (it begins with b'price;4.99" in message
    assert "expected one of JPEG, PNG" in message


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
        from shelfmatch.edge.imaging.image import decode
        decode({HEIC!r})
        """,
        fails=True,
    )
    assert "is a HEIC photo; pip install 'shelfmatch[heic]', or save it as JPEG" in done.stderr


def test_heic_with_its_plug_in() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = saved(corners(), "HEIF", quality=95)
    assert difference(upright(decode(data)), corners()) < 4
    assert "damaged or not a photo" in message_of(data[: len(data) // 2])
    assert message_of(HEIC)


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


@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
def test_arrays_may_be_views(resizer: Resizer) -> None:
    if resizer == "opencv":
        pytest.importorskip("cv2")
    whole = np.array(scene(200, 160))
    whole.flags.writeable = False
    for view in (whole[::2, ::3], whole[::-1], whole[:, ::-1, ::-1], whole.transpose(1, 0, 2), whole[3:90, 7:101]):
        copied = fit(decode(np.array(view)), plain_card(), resizer)
        assert np.array_equal(fit(decode(view), plain_card(), resizer), copied)


@pytest.mark.parametrize("source", [None, 7, 1.5, ["a.jpg"], {"image": 1}, object()])
def test_sources_of_another_kind(source: Any) -> None:
    assert "expected a path, bytes, a PIL image or an (H, W, 3) uint8 RGB array" in message_of(source)


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


# Limits


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )


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


# On real photos


def test_the_embedding_hardly_depends_on_the_size_of_the_photo(coral_models: Path, grocery: Path) -> None:
    """The bar of the issue: the same photo at 640x480 and at 12 megapixels, cosine 0.997 (median)."""
    encoder = Encoder.load(coral_models / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite", resizer="pillow")
    cosines = []
    for line in (grocery / "val.txt").read_text().splitlines()[::60]:
        with Image.open(grocery / line.split(",")[0]) as photo:
            large = photo.convert("RGB").resize((4032, 3024), Image.Resampling.BICUBIC)
        small = large.resize((640, 480), Image.Resampling.LANCZOS)
        vectors = encoder.embed(saved(large, "JPEG", quality=90), saved(small, "JPEG", quality=90))
        cosines.append(float(vectors[0] @ vectors[1]))
    assert len(cosines) >= 4 and np.median(cosines) >= 0.997


def in_subprocess(code: str, *, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Run indented code in a fresh interpreter with warnings as errors."""
    lines = [line.removeprefix(" " * 8) for line in code.strip("\n").splitlines()]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done
