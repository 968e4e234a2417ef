"""Mending: each tool brings a ruined photo nearer to the one it was, and leaves shapes and types alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shelfmatch.edge.imaging import enhance
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.imaging.quality import luma
from shelfmatch.edge.synthetic.products import make_product, render_view


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return np.asarray(render_view(make_product(16), 1, (200, 160), difficulty=0.0))


def error(pixels: Pixels, truth: Pixels) -> float:
    """Root mean square difference in grey levels."""
    return float(np.sqrt(np.mean((pixels.astype(float) - truth) ** 2)))


def test_denoising_removes_most_of_the_noise(photo: Pixels) -> None:
    noise = np.random.default_rng(0).normal(0, 25, photo.shape)
    noisy = np.rint(photo + noise).clip(0, 255).astype(np.uint8)
    assert error(enhance.denoise(noisy, 25), photo) < 0.5 * error(noisy, photo)


def test_denoising_nothing_changes_nothing(photo: Pixels) -> None:
    assert error(enhance.denoise(photo, 0.0), photo) < 0.1


def test_deblurring_brings_edges_back(photo: Pixels) -> None:
    blurred = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(2.5)))
    assert error(enhance.deblur(blurred, 2.5), photo) < 0.85 * error(blurred, photo)


def test_sharpening_steepens(photo: Pixels) -> None:
    def slopes(pixels: Pixels) -> float:
        return float(np.abs(np.diff(luma(pixels), axis=1)).mean())

    blurred = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(1.5)))
    assert slopes(enhance.sharpen(blurred)) > 1.2 * slopes(blurred)
    assert slopes(enhance.smooth(photo, 1.0)) < slopes(photo)


def test_auto_levels_fill_the_range(photo: Pixels) -> None:
    dark = (photo * 0.2).astype(np.uint8)
    low, high = np.percentile(luma(enhance.auto_levels(dark)), [1, 99])
    assert low < 15 and high > 235


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 300, 3), (9, 8, 3), (65, 33, 3)])
def test_odd_sizes(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    before = pixels.copy()
    for mended in (
        enhance.denoise(pixels, 10),
        enhance.deblur(pixels, 3),
        enhance.auto_levels(pixels),
        enhance.sharpen(pixels),
    ):
        assert mended.shape == shape and mended.dtype == np.uint8
    assert (pixels == before).all()
