"""The real photos that may train the detector, as scenes: phone photos with their polygons' boxes, a fridge's boxes.

Kept out: every phone photo that shows a class of `models.real.PHONE_OUT`, and the fridge's photos of `fridge_is_out`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfmatch.models.detection.canvas import LEAST, NOTICED, PRODUCT, SHOWN, UNSURE, Scene
from shelfmatch.models.real import PHONE_OUT

COMPLETE: Final = (
    *range(3), *range(5, 9), *range(11, 14), *range(20, 75), 80, 83, 85, 88, *range(90, 93), *range(99, 102), 105, 106, 108,
    111, 120, 121, *range(148, 153), *range(155, 198), 200, 201, *range(204, 208), *range(237, 243),
)  # fmt: skip
"""Of the phone photos that may train, in the order of photos.json: those on which every product is outlined. In the others (shops,
kitchens) only what is outlined is learned from. Told apart by eye."""
LONGEST: Final = 800
GROUND_SIDE: Final = 256


def fridge_is_out(number: int) -> bool:
    """Whether the fridge's photo of that place in photos.json only measures: every second."""
    return number % 2 == 1


@dataclass(frozen=True)
class Photo:
    """Pixels (h, w, 3), boxes (N, 4), whether all its products are boxed, and their outlines (P, 2), where they are known."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    complete: bool
    outlines: tuple[NDArray[np.float32], ...] = ()


def phone_photos(folder: Path, out: bool) -> list[dict[str, Any]]:
    """Entries of photos.json with a left-out class, or without one."""
    found = json.loads((folder / "photos.json").read_text())
    return [p for p in found if bool({q["sku"] for q in p["products"]} & set(PHONE_OUT)) == out]


def polygon_box(product: dict[str, Any]) -> tuple[float, float, float, float]:
    """The box around a product's outline."""
    points = np.array(product["polygon"])
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _small(path: Path, boxes: list[Any], complete: bool, outlines: list[Any] | None = None) -> Photo:
    image = Image.open(path).convert("RGB")
    scale = min(1.0, LONGEST / max(image.size))
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    scaled = tuple(np.array(outline, np.float32) * scale for outline in outlines or ())
    return Photo(np.asarray(small), np.array(boxes, np.float32).reshape(-1, 4) * scale, complete, scaled)


def photos(data: Path) -> tuple[list[Photo], list[Photo]]:
    """The phone photos and the fridge's that may train."""
    phone = [
        _small(
            data / "phone" / p["photo"],
            [polygon_box(q) for q in p["products"]],
            number in set(COMPLETE),
            [q["polygon"] for q in p["products"]],
        )
        for number, p in enumerate(phone_photos(data / "phone", out=False))
    ]
    fridge = [
        _small(data / "fridge" / p["photo"], [q["box"] for q in p["products"]], True)
        for number, p in enumerate(json.loads((data / "fridge" / "photos.json").read_text()))
        if not fridge_is_out(number)
    ]
    return phone, fridge


def grounds(found: list[Photo], seed: int) -> NDArray[np.uint8]:
    """Squares (N, side, side, 3) of complete photos without a product."""
    rng = np.random.default_rng(seed)
    return np.stack(list(_grounds(found, rng)))


def _grounds(found: list[Photo], rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    for photo in found:
        if not photo.complete:
            continue
        high, wide = photo.pixels.shape[:2]
        kept = 0
        for _ in range(60):
            size = int(min(high, wide) * rng.uniform(0.35, 1.0))
            x, y = int(rng.integers(0, wide - size + 1)), int(rng.integers(0, high - size + 1))
            b = photo.boxes
            if ((b[:, 0] < x + size) & (b[:, 2] > x) & (b[:, 1] < y + size) & (b[:, 3] > y)).any():
                continue
            part = photo.pixels[y : y + size, x : x + size]
            yield np.asarray(cv2.resize(part, (GROUND_SIDE, GROUND_SIDE), interpolation=cv2.INTER_AREA))
            kept += 1
            if kept == 4:
                break


def seen(photo: Photo, rng: np.random.Generator, side: int) -> Scene:
    """The photo or a part of it, padded to a square, mirrored, a little turned in aspect."""
    high, wide = photo.pixels.shape[:2]
    whole = rng.random() < 0.35
    size = max(high, wide) * (rng.uniform(0.95, 1.25) if whole else rng.uniform(0.35, 1.0))
    scale_x = side / size * np.exp(rng.normal(0, 0.05))
    scale_y = side / size * np.exp(rng.normal(0, 0.05))
    if len(photo.boxes) and rng.random() < 0.8:  # some product is in view
        box = photo.boxes[rng.integers(len(photo.boxes))]
        x, y = rng.uniform(0.1, 0.9, 2) * side / [scale_x, scale_y]
        left, top = (box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y
        rooms = [(wide - side / scale_x), (high - side / scale_y)]
        left, top = (
            float(np.clip(at, min(0, room), max(0, room))) for at, room in zip((left, top), rooms, strict=True)
        )
    else:
        left, top = rng.uniform(0, 1, 2) * [wide - size, high - size]
    matrix = np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y]])
    border = tuple(int(v) for v in rng.integers(0, 256, 3)) if rng.random() < 0.3 else (128, 128, 128)
    if scale_x < 0.7:
        shrink = (max(1, round(wide * scale_x)), max(1, round(high * scale_y)))
        small = cv2.resize(photo.pixels, shrink, interpolation=cv2.INTER_AREA)
        shift = np.array([[1, 0, -left * scale_x], [0, 1, -top * scale_y]])
        pixels = cv2.warpAffine(small, shift, (side, side), flags=cv2.INTER_LINEAR, borderValue=border)
    else:
        pixels = cv2.warpAffine(photo.pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=border)
    boxes = (photo.boxes - [left, top, left, top]) * [scale_x, scale_y, scale_x, scale_y]
    inside = np.clip(boxes, 0, side)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    shown = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
    least = np.minimum(inside[:, 2] - inside[:, 0], inside[:, 3] - inside[:, 1])
    noticed = (shown >= NOTICED * area) & (least > 0)
    kept = inside[noticed].astype(np.float32)
    kinds = np.where((shown >= SHOWN * area) & (least >= LEAST), PRODUCT, UNSURE)[noticed]
    if rng.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        kept = np.stack([side - kept[:, 2], kept[:, 1], side - kept[:, 0], kept[:, 3]], axis=1)
    if rng.random() < 0.3:
        pixels = np.ascontiguousarray(np.rot90(pixels, 2))
        kept = side - kept[:, [2, 3, 0, 1]]
    return Scene(np.asarray(pixels), kept.reshape(-1, 4).astype(np.float32), kinds.astype(np.int64), photo.complete)
