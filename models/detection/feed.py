"""A process that renders scenes without end, and the store of the latest that batches are drawn from."""

from __future__ import annotations

import mmap
import multiprocessing
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shelfmatch.models.detection.canvas import SHOWN, UNSURE

KEPT: Final = 1536
"""Scenes in store; a new one takes the oldest one's place."""
MOST: Final = 320
"""Boxes of a scene at most."""
AGAIN: Final = 3.0
"""How often a scene is shown in the mean: mirrored or not, whole or a part."""


def _arrays(memory: mmap.mmap, side: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    pixels = KEPT * side * side * 3
    pictures = np.frombuffer(memory, np.uint8, pixels).reshape(KEPT, side, side, 3)
    boxes = np.frombuffer(memory, np.float32, KEPT * MOST * 5, offset=pixels).reshape(KEPT, MOST, 5)
    numbers = np.frombuffer(memory, np.int64, KEPT * 2, offset=pixels + boxes.nbytes).reshape(KEPT, 2)
    return pictures, boxes, numbers


def _render(memory: mmap.mmap, side: int, folder: Path, data: Path, seed: int, made: Any, asked: Any) -> None:
    import cv2

    from shelfmatch.models.detection.scenes import source

    cv2.setNumThreads(1)
    pictures, boxes, numbers = _arrays(memory, side)
    parts, rng = source(folder, data), np.random.default_rng(seed)
    while True:
        if made.value > KEPT // 2 + asked.value / AGAIN:
            time.sleep(0.05)
            continue
        scene = parts.scene(rng, side)
        place, count = made.value % KEPT, min(MOST, len(scene.boxes))
        numbers[place] = 0, scene.complete
        pictures[place] = scene.pixels
        boxes[place, :count, :4] = scene.boxes[:count]
        boxes[place, :count, 4] = scene.kinds[:count]
        numbers[place, 0] = count
        made.value += 1


def _smaller(
    picture: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    kinds: NDArray[np.int64],
    side: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """A part of a scene, or the scene with fewer pixels."""
    import cv2

    whole = picture.shape[0]
    if rng.random() < 0.5:
        shrunk = cv2.resize(np.ascontiguousarray(picture), (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk), boxes * (side / whole), kinds
    x, y = (int(v) for v in rng.integers(0, whole - side + 1, 2))
    moved = boxes - np.array([x, y, x, y], np.float32)
    inside = np.clip(moved, 0, side)
    areas = [(part[:, 2] - part[:, 0]) * (part[:, 3] - part[:, 1]) for part in (inside, moved)]
    share = areas[0] / np.maximum(areas[1], 1e-6)
    kinds = np.where(share >= SHOWN, kinds, UNSURE)
    seen = share > 0.02
    return picture[y : y + side, x : x + side], inside[seen], kinds[seen]


class Feed:
    """Batches of scenes that another process renders. Make it before torch has threads: it forks."""

    def __init__(self, faces: Path, data: Path, side: int, seed: int) -> None:
        self.side = side
        self.memory = mmap.mmap(-1, KEPT * (side * side * 3 + MOST * 20 + 16))
        context = multiprocessing.get_context("fork")
        self._made, self._asked = context.Value("q", 0), context.Value("q", 0)
        work = (self.memory, side, faces, data, seed, self._made, self._asked)
        self.process = context.Process(target=_render, args=work, daemon=True)
        self.process.start()
        self.pictures, self.boxes, self.numbers = _arrays(self.memory, side)

    @property
    def made(self) -> int:
        """Scenes rendered so far."""
        return int(self._made.value)

    def batch(
        self, rng: np.random.Generator, count: int, side: int
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor, bool]]]:
        """Pictures (N, 3, side, side) 0 to 255, and of each the boxes (G, 4), kinds (G,) and completeness.

        Half are mirrored; where `side` is less than the scenes', half are parts of scenes, half are scenes made smaller.
        Raises RuntimeError where the process that renders has ended.
        """
        while True:
            # Also when there are enough: a run that goes on learns the same scenes over and over.
            if not self.process.is_alive():
                raise RuntimeError("the process that renders scenes has ended; its error stands above")
            if self.made >= max(count, 64):
                break
            time.sleep(0.2)
        self._asked.value += count
        pixels, targets = [], []
        for place in rng.integers(0, min(self.made, KEPT), count):
            picture, (boxes, complete) = (
                self.pictures[place],
                (self.boxes[place, : self.numbers[place, 0]], self.numbers[place, 1]),
            )
            corners, kinds = boxes[:, :4].copy(), boxes[:, 4].astype(np.int64)
            if rng.random() < 0.5:
                picture = picture[:, ::-1]
                corners[:, [0, 2]] = self.side - corners[:, [2, 0]]
            if side < self.side:
                picture, corners, kinds = _smaller(picture, corners, kinds, side, rng)
            pixels.append(np.ascontiguousarray(picture.transpose(2, 0, 1)))
            targets.append((torch.from_numpy(corners), torch.from_numpy(kinds), bool(complete)))
        return torch.from_numpy(np.stack(pixels)), targets

    def close(self) -> None:
        """End the other process."""
        self.process.terminate()
        self.process.join()
