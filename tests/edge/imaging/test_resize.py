"""The resize rule as a formula, golden values, both resizers, and what the size of a photo does to its embedding."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shelfmatch.edge import Encoder, ImageError
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.image import Decoded
from shelfmatch.edge.imaging.resize import Resizer, fit, halvings, resizer_in_use
from tests.support.cards import plain_card
from tests.support.photos import difference, in_subprocess, saved, scene, stored


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


@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
@pytest.mark.parametrize("factor", [2, 3])
def test_coarsely_is_the_mean_of_whole_blocks(factor: int, resizer: Resizer) -> None:
    if resizer == "opencv":
        pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 256, (32 * factor, 48 * factor, 3), dtype=np.uint8)
    means = pixels.reshape(32, factor, 48, factor, 3).mean(axis=(1, 3))
    seen = fit(Decoded(pixels), plain_card(48, 32), resizer, coarsely=True)
    assert np.abs(seen - means).max() <= 1
    finer = fit(Decoded(pixels), plain_card(48, 32), resizer)
    assert np.abs(finer - means).max() > 8


def test_crop_takes_the_centre() -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 255
    assert (fit(decode(pixels), plain_card(40, 40, resize="crop")) == 255).all()
    inner = np.zeros((100, 100, 3), np.uint8)
    inner[25:75, 25:75] = 255
    assert (fit(decode(inner), plain_card(50, 50, resize="crop", crop_fraction=0.5)) == 255).all()
    assert (fit(decode(inner), plain_card(50, 50, resize="crop", crop_fraction=0.6)) == 0).any()


@pytest.mark.parametrize("size", [(96, 96), (96, 64), (60, 112)])
def test_squash_crop_is_the_middle_of_what_squash_shows(size: tuple[int, int]) -> None:
    card = plain_card(resize="squash-crop", crop_fraction=0.5)
    photo = scene(*size)
    wide, high = size
    middle = photo.crop((wide // 4, high // 4, wide - wide // 4, high - high // 4))
    inner = slice(2, -2)  # the filter sees beyond the cut
    found, squashed = fit(decode(photo), card).astype(int), fit(decode(middle), plain_card()).astype(int)
    assert np.abs(found - squashed)[inner, inner].max() <= 1
    assert np.abs(found - fit(decode(photo), plain_card()).astype(int)).mean() > 2


def test_pad_keeps_the_shape_on_a_border_that_says_nothing() -> None:
    result = fit(decode(np.zeros((20, 80, 3), np.uint8)), plain_card(40, 40, resize="pad"))
    assert (result[15:25] == 0).all() and (result[:15] == 128).all() and (result[25:] == 128).all()
    odd = fit(decode(np.zeros((20, 80, 3), np.uint8)), plain_card(40, 33, resize="pad"))
    assert (odd[:, 0] == 0).all(axis=1).nonzero()[0].tolist() == list(range(11, 21))
    of_the_mean = plain_card(
        40, 40, resize="pad", input_dtype="float32", mean=[123.675, 116.28, 103.53], std=[58.0] * 3
    )
    assert fit(decode(np.zeros((20, 80, 3), np.uint8)), of_the_mean)[0, 0].tolist() == [124, 116, 104]
    chosen = plain_card(40, 40, resize="pad", padding=[9, 8, 7])
    assert fit(decode(np.zeros((20, 80, 3), np.uint8)), chosen)[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize(
    ("size", "bare"), [((100, 100), True), ((103, 100), True), ((100, 97), True), ((105, 100), False)]
)
def test_a_photo_that_is_square_to_a_few_per_cent_has_no_border(size: tuple[int, int], bare: bool) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    result = fit(decode(pixels), plain_card(100, 100, resize="pad"))
    assert (result == 0).all() == bare


@pytest.mark.parametrize("resizer", ["pillow", "opencv"])
def test_pad_sees_what_squash_sees(resizer: Resizer) -> None:
    """Both ends of a tall photo are in the input, where a crop cuts them off."""
    if resizer == "opencv":
        pytest.importorskip("cv2")
    tall = np.full((400, 100, 3), 60, np.uint8)
    tall[:50], tall[-50:] = 250, 200
    padded = fit(decode(tall), plain_card(64, 64, resize="pad"), resizer)
    assert padded[2, 32].tolist() == [250] * 3 and padded[61, 32].tolist() == [200] * 3
    assert (padded[:, :23] == 128).all() and (padded[:, 41:] == 128).all()
    cropped = fit(decode(tall), plain_card(64, 64, resize="crop"), resizer)
    assert (cropped == 60).all()


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
    grey = [[128, 128, 128]] * 4
    assert fit(decode(pixels), plain_card(4, 5, resize="pad")).tolist() == [grey, *squashed, grey]
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
        from shelfmatch.edge.imaging.resize import resizer_in_use
        print(resizer_in_use("auto"), resizer_in_use("pillow"))
        resizer_in_use("opencv")
        """,
        fails=True,
    )
    assert answers.stdout.split() == ["pillow", "pillow"]
    assert "ImageError: resizer 'opencv' was asked for" in answers.stderr and "shelfmatch[fast]" in answers.stderr


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


def test_an_opencv_that_can_t_be_loaded_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    script = "from shelfmatch.edge.imaging.opencv import opencv\nopencv()"
    ended = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert "OpenCV is installed and can't be loaded: libGL.so.1" in ended.stderr.splitlines()[-1]
