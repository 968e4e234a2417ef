"""What a phone or a cheap shelf camera makes of a scene: light, dark, blur, few pixels, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def _light(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Exposure, contrast, colour and a slope of light in one table per channel and one map."""
    level = np.arange(256, dtype=np.float32) / 255
    table = np.empty((1, 256, 3), np.uint8)
    gamma, gain = np.exp(rng.normal(0, 0.22)), np.exp(rng.normal(0, 0.22))
    dark = rng.uniform(0.1, 0.5) if rng.random() < 0.08 else 1.0
    contrast, middle = np.exp(rng.normal(0, 0.18)), rng.uniform(0.3, 0.6)
    for channel in range(3):
        curve = level**gamma * gain * np.exp(rng.normal(0, 0.07))
        curve = ((curve - middle) * contrast + middle) * dark
        table[0, :, channel] = (curve * 255).clip(0, 255)
    found = cv2.LUT(pixels, table)
    if rng.random() < 0.3:
        corner = rng.uniform(0.5, 1.15, (2, 2)).astype(np.float32)
        slope = cv2.resize(corner, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        found = (found * slope[..., None]).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.12:
        grey = cv2.cvtColor(found, cv2.COLOR_RGB2GRAY)[..., None]
        found = cv2.addWeighted(found, 0.35, np.repeat(grey, 3, axis=2), 0.65, 0)
    return np.asarray(found)


def _softened(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    draw = rng.random()
    if draw < 0.25:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.4)))
    if draw < 0.32:
        length, angle = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
        kernel = np.zeros((9, 9), np.float32)
        end = (int(4 + np.cos(angle) * length / 2), int(4 + np.sin(angle) * length / 2))
        cv2.line(kernel, (8 - end[0], 8 - end[1]), end, 1.0, 1)
        return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()))
    if draw < 0.42:
        high, wide = pixels.shape[:2]
        share = rng.uniform(0.45, 0.85)
        small = cv2.resize(pixels, (int(wide * share), int(high * share)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (wide, high), interpolation=cv2.INTER_LINEAR))
    return pixels


def photographed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """(S, S, 3) → the same, as a camera gives it."""
    found = _light(_softened(pixels, rng), rng)
    if rng.random() < 0.35:
        noise = rng.normal(0, rng.uniform(1, 14), (found.shape[0] // 2, found.shape[1] // 2, 3)).astype(np.float32)
        grain = cv2.resize(noise, found.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        found = (found + grain).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.uniform(30, 95))
        _, coded = cv2.imencode(".jpg", found, [cv2.IMWRITE_JPEG_QUALITY, quality])
        found = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return np.asarray(found)
