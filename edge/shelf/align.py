"""Where the shelf is in a frame: an affine move from the reference photo, found again in each frame.

Inverse compositional alignment (S. Baker and I. Matthews 2004, "Lucas-Kanade 20 years on") over points with strong gradients,
tile by tile: each tile's own brightness and contrast are taken out, tiles that show something else (a shopper, another product)
weigh little, and the share of tiles that agree says how much a pose is worth. Where the last pose no longer fits, phase
correlation (C. Kuglin and D. Hines 1975) proposes others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]
"""(2, 3): pixels of the reference → pixels of the frame."""

IDENTITY: Final[Matrix] = np.array([[1.0, 0, 0], [0, 1, 0]])
_TILE: Final = 16
_POINTS: Final = 10
"""Of a tile, those with the strongest gradients; every second of twice as many, so that both sides of an edge are there."""
_LEAST_CONTRAST: Final = 3.0
"""Grey levels of standard deviation: flatter tiles say nothing of a place."""
AGREES: Final = 0.6
"""Correlation of a tile with the reference from which on it agrees; of unlike tiles it is about 0, noise leaves more than 0.8."""
ENOUGH: Final = 0.2
"""Share of tiles that must agree for a pose to count: the others may be behind people or show other products."""
_SURE: Final = 0.35
"""Share for a pose that isn't near the last one: shelves repeat themselves, and a camera that was turned away finds a quarter of
its tiles in the wrong place (seed 11 of `benchmarks/shelf_life.py`)."""
_GOOD: Final = 0.45
"""From this share on no other pose is looked for."""
_ROUNDS: Final = 4
_SETTLED: Final = 0.03
"""Pixels at the frame's border: a smaller step ends the rounds."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A pose, and the share of tiles that agree with it."""

    matrix: Matrix
    agreement: float


class Aligner:
    """Finds a reference, (h, w) grey float32, in frames of the same size."""

    def __init__(self, reference: Floats) -> None:
        self.reference = reference.astype(np.float32)
        self._prepare()

    def _prepare(self) -> None:
        """Choose the points and what is computed with them once."""
        grey = self.reference
        height, width = grey.shape
        down, across = (np.asarray(slope, np.float32) for slope in np.gradient(grey))
        strength = across**2 + down**2
        strength[:2], strength[-2:], strength[:, :2], strength[:, -2:] = 0, 0, 0, 0
        rows, columns = height // _TILE, width // _TILE
        cut = strength[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE)
        tiles = cut.transpose(0, 2, 1, 3).reshape(rows * columns, _TILE * _TILE)
        best = np.argpartition(-tiles, 2 * _POINTS, axis=1)[:, : 2 * _POINTS]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(tiles, best, 1), axis=1), 1)[:, ::2]
        number = np.arange(rows * columns)[:, None]
        y = (number // columns) * _TILE + best // _TILE
        x = (number % columns) * _TILE + best % _TILE
        values = grey[y, x]
        kept = values.std(axis=1) >= _LEAST_CONTRAST
        if kept.sum() < 6:  # a plain wall: the best that there is
            kept[np.argsort(-values.std(axis=1))[:6]] = True
        self._x, self._y = x[kept].astype(np.float64), y[kept].astype(np.float64)
        values = values[kept]
        self._centred = values - values.mean(axis=1, keepdims=True)
        self._spread = np.maximum(self._centred.std(axis=1, keepdims=True), 1e-3)
        gx, gy = across[y[kept], x[kept]], down[y[kept], x[kept]]
        u, v = (self._x - width / 2) / width, (self._y - height / 2) / width
        self._steepest = np.stack([gx * u, gx * v, gx, gy * u, gy * v, gy], axis=-1).reshape(-1, 6).astype(np.float32)
        self._size = height, width
        self._spectrum = np.fft.rfft2(_windowed(grey))

    def relearn(self, reference: Floats) -> None:
        """Take another picture as the reference: parts of the shelf show other products for good."""
        self.reference = reference.astype(np.float32)
        self._prepare()

    def find(self, grey: Floats, start: Matrix) -> Alignment:
        """The pose in a frame, (h, w) grey float32, from the one in the frame before."""
        found = self._refined(grey, start)
        if found.agreement >= _GOOD:
            return found
        for matrix in self._proposals(grey, start):
            other = self._refined(grey, matrix, 3 * _ROUNDS)
            if other.agreement > max(found.agreement + 0.08, _SURE):
                found = other
        return found

    def agreement(self, grey: Floats, matrix: Matrix) -> float:
        """The share of tiles that agree with a pose."""
        return float((self._sampled(grey, matrix)[1] >= AGREES).mean())

    def _refined(self, grey: Floats, matrix: Matrix, rounds: int = _ROUNDS) -> Alignment:
        error, like = self._sampled(grey, matrix)
        for _ in range(rounds):
            step = self._step(error, like)
            if step is None:
                break
            moved = _composed(matrix, step, self._size)
            error, new = self._sampled(grey, moved)
            if new.mean() < like.mean() - 0.02:  # it runs away
                break
            matrix, like = moved, new
            if np.abs(step).sum() < _SETTLED:
                break
        return Alignment(matrix, float((like >= AGREES).mean()))

    def _sampled(self, grey: Floats, matrix: Matrix) -> tuple[Floats, Floats]:
        """How a frame at the points differs from the reference, (tiles, points), and each tile's correlation with it."""
        x = matrix[0, 0] * self._x + matrix[0, 1] * self._y + matrix[0, 2]
        y = matrix[1, 0] * self._x + matrix[1, 1] * self._y + matrix[1, 2]
        seen = bilinear(grey, x, y)
        seen -= seen.mean(axis=1, keepdims=True)
        spread = np.maximum(seen.std(axis=1, keepdims=True), 1e-3)
        like = (seen * self._centred).mean(axis=1) / (spread[:, 0] * self._spread[:, 0])
        return seen * (self._spread / spread) - self._centred, like

    def _step(self, error: Floats, like: Floats) -> Matrix | None:
        """The move that explains the differences best; Tukey's weights leave out what a move can't explain."""
        scale = 1.4826 * float(np.median(np.abs(error))) * 3 + 2.0
        weights = np.clip(1 - (error / scale) ** 2, 0, 1) ** 2 * np.clip((like - 0.1) / 0.6, 0.02, 1)[:, None]
        weighted = self._steepest * weights.reshape(-1, 1).astype(np.float32)
        hessian = (weighted.T @ self._steepest).astype(np.float64)
        hessian += np.eye(6) * (1e-4 * np.trace(hessian) + 1e-6)
        try:
            return np.asarray(np.linalg.solve(hessian, weighted.T @ error.reshape(-1)), np.float64)
        except np.linalg.LinAlgError:
            return None

    def _proposals(self, grey: Floats, start: Matrix) -> list[Matrix]:
        """Other places, from the peaks of the phase correlation."""
        cross = np.fft.rfft2(_windowed(grey)) * np.conj(self._spectrum)
        surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-3), s=(self._size[0] // 2, self._size[1] // 2))
        found = []
        for _ in range(4):
            row, column = np.unravel_index(int(surface.argmax()), surface.shape)
            dy = row - surface.shape[0] if row > surface.shape[0] // 2 else row
            dx = column - surface.shape[1] if column > surface.shape[1] // 2 else column
            found.append(np.array([[1.0, 0, 2.0 * dx], [0, 1, 2.0 * dy]]))
            surface[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 0
        return [*found, IDENTITY] if not np.array_equal(start, IDENTITY) else found


def bilinear(grey: Floats, x: Matrix, y: Matrix) -> Floats:
    """A picture's values between its pixels; beyond its border those of the border."""
    height, width = grey.shape
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    fx, fy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    flat, at = grey.reshape(-1), top * width + left
    upper = flat[at] * (1 - fx) + flat[at + 1] * fx
    lower = flat[at + width] * (1 - fx) + flat[at + width + 1] * fx
    return np.asarray(upper + (lower - upper) * fy, np.float32)


def _windowed(grey: Floats) -> Floats:
    """Half the size, without its mean, fading out to the border."""
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    half = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    return np.asarray((half - half.mean()) * window, np.float32)


def _composed(matrix: Matrix, step: Matrix, size: tuple[int, int]) -> Matrix:
    """The pose after the inverse of a step, whose coordinates are about the middle and in widths."""
    height, width = size
    a, b, c, d, e, f = step
    linear = np.array([[1 + a / width, b / width], [d / width, 1 + e / width]])
    middle = np.array([width / 2, height / 2])
    shift = np.array([c, f]) + middle - linear @ middle
    delta = np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])
    whole = np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(delta)
    return np.asarray(whole[:2], np.float64)


def displacement(matrix: Matrix, width: int, height: int) -> float:
    """How far a pose moves the frame's middle, as a share of its width."""
    middle = np.array([width / 2, height / 2, 1.0])
    return float(np.hypot(*(matrix @ middle - middle[:2]))) / width
