"""Quality of photos: each measure against a fault of known size, on real and rendered photos."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shelfmatch.edge.imaging import quality
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.synthetic.products import make_product, render_view


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A sharp, well-lit rendered photo of 224x224."""
    view = render_view(make_product(8), 0, (448, 448), difficulty=0.0)
    return np.asarray(view.resize((224, 224), Image.Resampling.BILINEAR))


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    values = pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return np.rint(values).clip(0, 255).astype(np.uint8)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def test_a_good_photo_has_no_faults(photo: Pixels) -> None:
    found = quality.measure(photo, photo)
    assert found.faults == ()
    assert found.blur_px < 1.3 and found.noise < 2.5


@pytest.mark.parametrize("sigma", [5.0, 10.0, 20.0])
def test_noise_is_in_grey_levels(sigma: float) -> None:
    grey = np.full((128, 128), 128, np.float32) + np.random.default_rng(1).normal(0, sigma, (128, 128)).astype(
        np.float32
    )
    assert quality.noise_of(grey) == pytest.approx(sigma, rel=0.05)


def test_edges_are_no_noise() -> None:
    stripes = np.where(np.arange(128) // 16 % 2, 220, 30).astype(np.float32)
    assert quality.noise_of(np.tile(stripes, (128, 1))) == 0.0


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 4.0])
def test_blur_is_in_pixels(sigma: float) -> None:
    step = np.zeros((96, 96, 3), np.uint8)
    step[:, 48:] = 255
    grey = quality.luma(blurred(step, sigma))
    assert quality.blur_of(grey) == pytest.approx(sigma, rel=0.3)


def test_a_picture_without_edges_is_as_blurred_as_it_gets() -> None:
    assert quality.blur_of(np.full((64, 64), 90, np.float32)) == quality.MAX_BLUR_PX


@pytest.mark.parametrize(
    ("fault", "ruin"),
    [
        ("dark", lambda pixels: (pixels * 0.15).astype(np.uint8)),
        ("low contrast", lambda pixels: (100 + pixels * 0.2).astype(np.uint8)),
        ("noisy", lambda pixels: noisy(pixels, 15)),
        ("blurred", lambda pixels: blurred(pixels, 3)),
    ],
)
def test_faults_are_named(photo: Pixels, fault: str, ruin: object) -> None:
    assert callable(ruin)
    assert fault in quality.measure(ruin(photo)).faults


def test_jpeg_blocks_are_seen_where_they_are(photo: Pixels) -> None:
    def stored(level: int) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", quality=level)
        return np.asarray(Image.open(buffer))

    assert quality.measure(stored(10), stored(10)).faults == ("blocky",)
    assert quality.measure(stored(95), stored(95)).faults == ()


def test_the_box_is_where_the_detail_is() -> None:
    grey = np.full((100, 200), 128, np.float32)
    grey[20:60, 100:160] = np.random.default_rng(0).integers(0, 256, (40, 60))
    left, top, right, bottom = quality.detail_box(grey)
    assert 0.45 < left < 0.55 and 0.1 < top < 0.25 and 0.75 < right < 0.85 and 0.55 < bottom < 0.7


def test_tiny_pictures_are_measured_too() -> None:
    assert quality.measure(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)).brightness == 0
