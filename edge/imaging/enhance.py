"""Mending photos with numpy and Pillow: light, noise, blur. (H, W, 3) uint8 RGB in and out; nothing is changed in place."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .image import Pixels
from .quality import luma

_BLOCK, _STEP = 8, 4
_KEEP = 2.7
"""Coefficients below this many standard deviations of the noise are taken for noise (Yu & Sapiro 2011 take 3)."""
_REGULARIZE = 0.003
"""Noise to signal power that the Wiener filter assumes: chosen on the train photos, flat from 0.001 to 0.01."""

# Brightness and two colour differences: noise in the first is what matters, and the three can be thresholded alike.
_COLOURS: Final[NDArray[np.float32]] = np.array(
    [[3**-0.5, 3**-0.5, 3**-0.5], [2**-0.5, 0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]], np.float32
)


def auto_levels(pixels: Pixels) -> Pixels:
    """Stretch the luma so that its 0.5th percentile becomes 0 and its 99.5th 255; colours keep their proportions."""
    low, high = np.percentile(luma(pixels), [0.5, 99.5])
    gain = 255 / max(float(high - low), 8.0)  # a flat picture stays nearly flat
    levels: Pixels = ((np.arange(256) - low) * gain).clip(0, 255).astype(np.uint8)
    stretched: Pixels = levels[pixels]
    return stretched


def denoise(pixels: Pixels, sigma: float) -> Pixels:
    """Remove white noise of that standard deviation in grey levels: overlapping 8x8 cosine transforms, small coefficients set
    to zero, the results averaged (G. Yu & G. Sapiro 2011, "DCT image denoising", Image Processing On Line). At 448x448: 30 ms.
    """
    high, wide = pixels.shape[:2]
    margin = _BLOCK - 1
    planes: NDArray[np.float32] = pixels.astype(np.float32) @ _COLOURS.T
    padded = np.pad(planes, ((margin, _BLOCK), (margin, _BLOCK), (0, 0)), "symmetric")
    total, counts = np.zeros_like(padded), np.zeros((*padded.shape[:2], 1), np.float32)
    for down in range(0, _BLOCK, _STEP):
        for right in range(0, _BLOCK, _STEP):
            rows = (padded.shape[0] - down) // _BLOCK * _BLOCK
            columns = (padded.shape[1] - right) // _BLOCK * _BLOCK
            part = np.s_[down : down + rows, right : right + columns]
            total[part] += _thresholded(padded[part], _KEEP * sigma)
            counts[part] += 1
    mended = (total / counts.clip(1))[margin : margin + high, margin : margin + wide] @ _COLOURS
    return _rounded(mended)


def _thresholded(planes: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    rows, columns, channels = planes.shape
    blocks = planes.reshape(rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK, channels).transpose(0, 2, 4, 1, 3)
    spectrum: NDArray[Any] = _DCT @ blocks @ _DCT.T
    keep = np.abs(spectrum) >= limit
    keep[..., 0, 0] = True  # the mean
    cleaned: NDArray[Any] = _DCT.T @ (spectrum * keep) @ _DCT
    return cleaned.transpose(0, 3, 1, 4, 2).reshape(rows, columns, channels)


def _cosines(size: int) -> NDArray[np.float32]:
    """The orthonormal type-II cosine transform (Ahmed, Natarajan & Rao 1974): (size, size)."""
    places = np.arange(size)
    matrix: NDArray[Any] = np.cos(np.pi * (2 * places + 1) * places[:, np.newaxis] / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_DCT: Final = _cosines(_BLOCK)


def deblur(pixels: Pixels, sigma_px: float) -> Pixels:
    """Undo a Gaussian blur of that standard deviation as far as noise allows: the Wiener filter (N. Wiener 1949), in frequencies,
    for a noise of `_REGULARIZE` of the signal's power. At 224x224: 25 ms."""
    high, wide = pixels.shape[:2]
    margin = min(max(8, int(4 * sigma_px)), high - 1, wide - 1)
    padded = np.pad(pixels.astype(np.float32), ((margin, margin), (margin, margin), (0, 0)), "reflect")
    down, across = np.fft.fftfreq(padded.shape[0]), np.fft.rfftfreq(padded.shape[1])
    transfer = np.exp(-2 * np.pi**2 * sigma_px**2 * (down[:, np.newaxis] ** 2 + across[np.newaxis] ** 2))
    inverse = (transfer / (transfer**2 + _REGULARIZE) * (1 + _REGULARIZE))[:, :, np.newaxis]
    mean = padded.mean(axis=(0, 1))
    spectrum = np.fft.rfft2(padded - mean, axes=(0, 1)) * inverse
    mended = np.fft.irfft2(spectrum, s=padded.shape[:2], axes=(0, 1)) + mean
    return _rounded(mended[margin : margin + high, margin : margin + wide])


def smooth(pixels: Pixels, sigma_px: float) -> Pixels:
    """A Gaussian blur: what it takes from the noise is more than what it takes from the product."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma_px)))


def sharpen(pixels: Pixels, radius_px: float = 2.0, percent: int = 150) -> Pixels:
    """Unsharp mask: edges get steeper, and nothing is invented between them."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius_px, percent, 0)))


def _rounded(values: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return pixels
