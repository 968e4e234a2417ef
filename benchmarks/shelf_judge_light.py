"""Light, lens, exposure and what the camera itself does wrong, for the judging generator; all seeded and cheap."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

ONE = 100
"""Of a light map: a pixel that stays as it is."""
_SMALL = (160, 120)


class Light:
    """What makes a frame brighter or darker, warmer or colder, at each step of a life."""

    def __init__(
        self, rng: np.random.Generator, count: int, step_s: float, start_hour: float, size: tuple[int, int]
    ) -> None:
        self._size, self._step_s, self._start = size, step_s, start_hour
        self._rng = np.random.default_rng(rng.integers(2**32))
        slow = np.cumsum(rng.normal(0, 0.012, count))
        self._drift = slow - np.linspace(0, slow[-1], count)
        self._warm = rng.uniform(0.03, 0.12)
        self._jumps = self._exposure(rng, count)
        self._patches = [self._patch(rng, count) for _ in range(max(1, round(3 * count * step_s / 86_400)))]
        self._flicker = [
            (first, first + int(rng.integers(20, 240)), rng.uniform(0.02, 0.07))
            for first in rng.integers(0, count, max(1, count // 2500))
        ]
        self._tube = [
            (first, first + int(rng.integers(10, 120)), rng.uniform(0.55, 0.8), rng.integers(0, 2))
            for first in rng.integers(0, count, max(1, count // 5000))
        ]
        self._noise = [self._grain(rng) for _ in range(4)]
        self._lit = ""

    def _exposure(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Jumps of the automatic exposure: at once, back within frames or minutes."""
        gain = np.ones(count)
        for first in rng.integers(0, count, max(2, round(26 * count * self._step_s / 86_400))):
            length, factor = (
                int(rng.integers(2, 70)),
                float(rng.choice([rng.uniform(0.68, 0.88), rng.uniform(1.12, 1.4)])),
            )
            gain[first : first + length] *= factor
        return np.clip(gain, 0.6, 1.5)

    @staticmethod
    def _patch(rng: np.random.Generator, count: int) -> tuple[int, int, NDArray[np.float64], float, float]:
        """A window's sun: from when to when, its corners, how they wander, how bright."""
        first = int(rng.integers(0, max(1, count - 100)))
        corner, wide, tall, lean = (
            rng.uniform(0, 0.8, 2),
            rng.uniform(0.12, 0.4),
            rng.uniform(0.2, 0.7),
            rng.uniform(-0.3, 0.3),
        )
        corners = corner + np.array([[0, 0], [wide, 0], [wide + lean, tall], [lean, tall]])
        return first, first + int(rng.integers(120, 900)), corners, rng.uniform(-0.0012, 0.0012), rng.uniform(1.35, 2.1)

    def _grain(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Noise as what is added and what is taken away, larger than a frame, to be cut from anywhere."""
        width, height = self._size
        grain = np.clip(128 + rng.normal(0, rng.uniform(1.5, 3.6), (height + 64, width + 64, 3)), 0, 255).astype(
            np.uint8
        )
        data = cv2.imencode(".jpg", grain, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]  # as JPEG leaves it
        left = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.int16) - 128
        return np.clip(left, 0, 40).astype(np.uint8), np.clip(-left, 0, 40).astype(np.uint8)

    def hour(self, number: int) -> float:
        """Of the day."""
        return (self._start + number * self._step_s / 3600) % 24

    def is_dark(self, number: int) -> bool:
        """Whether all lamps are off."""
        return self.hour(number) >= 22.75 or self.hour(number) < 5.75

    def level(self, number: int) -> float:
        """Over the whole frame, 1 in the reference."""
        hour = self.hour(number)
        if self.is_dark(number):
            return 0.012
        dim = 0.55 if hour >= 22.25 or hour < 6.25 else 1.0  # the cleaners' light
        day = 1 + 0.1 * math.sin((hour - 6) / 16 * math.pi)
        return float(np.clip(dim * day * (1 + self._drift[number]), 0.4, 1.5) * self._jumps[number])

    def apply(self, frame: NDArray[np.uint8], number: int, plain: bool = False) -> NDArray[np.uint8]:
        """A frame in the light of a step; `plain`: the even light of the reference photos. With the sensor's noise."""
        width, height = self._size
        level = 1.0 if plain else self.level(number)
        warm = 0.0 if plain else self._warm * math.sin((self.hour(number) - 7) / 14 * math.pi)
        small = np.full((_SMALL[1], _SMALL[0], 3), ONE * level, np.float32)
        small *= np.array([1 + warm, 1.0, 1 - warm], np.float32)
        if not plain and not self.is_dark(number):
            self._local(small, number)
        light = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
        lit = cv2.multiply(frame, light, scale=1 / ONE)
        plus, minus = self._noise[int(self._rng.integers(0, len(self._noise)))]
        x, y = (int(v) for v in self._rng.integers(0, 64, 2))
        box = slice(y, y + height), slice(x, x + width)
        return cv2.subtract(cv2.add(lit, plus[box]), minus[box])

    def _local(self, small: NDArray[np.float32], number: int) -> None:
        """Sun patches behind clouds, a bad tube, bands of a lamp that flickers."""
        wide, high = _SMALL
        for first, last, corners, speed, gain in self._patches:
            cloud = math.sin(number * 0.11 + first) + math.sin(number * 0.037 + 2 * first)
            if first <= number <= last and cloud > -0.6:
                wandered = np.array([1.0, 0.5]) * speed * (number - first)
                where = (corners + wandered) * np.array([wide, high])
                mask = np.zeros((high, wide), np.float32)
                cv2.fillPoly(mask, [where.astype(np.int32)], 1.0)
                small *= 1 + (gain - 1) * cv2.blur(mask, (7, 7))[..., None]
        for first, last, share, side in self._tube:
            if first <= number <= last and self._rng.uniform() < 0.5:
                across = np.linspace(0, 1, wide, dtype=np.float32)
                small *= 1 - (1 - share) * np.clip(1.6 * (across if side else 1 - across) - 0.3, 0, 1)[None, :, None]
        for first, last, depth in self._flicker:
            if first <= number <= last:
                rows = np.arange(high, dtype=np.float32) / high
                small *= 1 + depth * np.sin(2 * np.pi * (rows * 3.3 + self._rng.uniform()))[:, None, None]


class Lens:
    """A smudge on the glass, from some hour until somebody wipes it."""

    def __init__(self, rng: np.random.Generator, count: int, size: tuple[int, int]) -> None:
        width, height = size
        self._spells = []
        for first in rng.integers(0, count, max(1, count // 4000)):
            radius = int(rng.integers(50, 120))
            x, y = int(rng.integers(0, width - 2 * radius)), int(rng.integers(0, height - 2 * radius))
            self._spells.append(
                (int(first), int(first) + int(rng.integers(200, 1500)), x, y, radius, rng.uniform(0.45, 0.8))
            )

    def apply(self, frame: NDArray[np.uint8], number: int) -> None:
        """In place."""
        for first, last, x, y, radius, strength in self._spells:
            if first <= number <= last:
                part = frame[y : y + 2 * radius, x : x + 2 * radius]
                soft = cv2.addWeighted(cv2.blur(part, (15, 15)), 0.86, np.full_like(part, 150), 0.14, 0)
                mask = np.zeros(part.shape[:2], np.float32)
                cv2.circle(mask, (radius, radius), int(radius * 0.75), float(strength), -1)
                mask = cv2.blur(mask, (31, 31))
                part[:] = cv2.blendLinear(soft, part, mask, 1 - mask)
