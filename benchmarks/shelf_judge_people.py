"""Who and what comes between camera and shelf in the judging generator: people from behind, arms, trolleys, a roll container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
KINDS: Final = ("walk", "stand", "trolley", "container", "reach")


@dataclass(frozen=True, slots=True)
class Cover:
    """A picture with its mask, both as large as its box; what is under the mask is hidden."""

    picture: NDArray[np.uint8]
    mask: Mask


@dataclass(frozen=True, slots=True)
class Visit:
    """Something between frames `first` and `last`, both included. `x`, `y`: where its middle begins; `speed`: pixels a frame."""

    kind: str
    first: int
    last: int
    x: float
    y: float
    speed: float
    cover: int
    seed: int


def make_covers(rng: np.random.Generator) -> dict[str, list[Cover]]:
    """What one life's visits are drawn with."""
    people = [_person(rng) for _ in range(7)]
    return {
        "stand": people,
        "walk": [Cover(cv2.blur(one.picture, (int(rng.integers(5, 31)), 1)), one.mask) for one in people],
        "trolley": [_trolley(rng) for _ in range(3)],
        "container": [_container(rng) for _ in range(2)],
        "reach": [_arm(rng) for _ in range(5)],
    }


def _cloth(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Plain, striped, checked or mottled."""
    colour, other = rng.integers(15, 225, 3), rng.integers(15, 225, 3)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = colour
    kind, step = rng.integers(0, 4), int(rng.integers(14, 46))
    if kind == 1:
        picture[np.arange(height) // step % 2 == 0] = other
    elif kind == 2:
        picture[(np.arange(height) // step % 2 == 0)[:, None] & (np.arange(width) // step % 2 == 0)[None]] = other
    elif kind == 3:
        rough = rng.uniform(0.6, 1.3, (height // 24 + 2, width // 24 + 2)).astype(np.float32)
        picture *= cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    across = np.linspace(-1, 1, width, dtype=np.float32)
    picture *= (1.05 - 0.35 * (across - rng.uniform(-0.4, 0.4)) ** 2)[None, :, None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _person(rng: np.random.Generator) -> Cover:
    """From behind or aside: hair or a hat, shoulders, a body that leaves the picture below."""
    height, width = int(rng.integers(620, 1000)), int(rng.integers(240, 420))
    picture, mask = _cloth(rng, height, width), np.zeros((height, width), np.uint8)
    middle, head = width // 2, int(width * rng.uniform(0.17, 0.22))
    cv2.ellipse(mask, (middle, int(head * 1.35)), (head, int(head * 1.3)), 0, 0, 360, 255, -1)
    neck = int(head * 2.5)
    shoulders = [
        (middle - head // 2, neck - head // 2),
        (middle + head // 2, neck - head // 2),
        (width - 12, neck + head),
        (width - 2, int(height * 0.55)),
        (int(width * 0.86), height),
        (int(width * 0.14), height),
        (2, int(height * 0.55)),
        (12, neck + head),
    ]
    cv2.fillPoly(mask, [np.array(shoulders, np.int32)], 255)
    hair = tuple(int(v) for v in rng.integers(10, 150, 3) * rng.uniform(0.4, 1.0))
    cv2.ellipse(picture, (middle, int(head * 1.35)), (head, int(head * 1.3)), 0, 0, 360, hair, -1)
    skin = tuple(int(v * rng.uniform(0.45, 1.0)) for v in (232, 190, 160))
    cv2.rectangle(picture, (middle - head // 2, int(head * 2.2)), (middle + head // 2, neck), skin, -1)
    legs = int(height * rng.uniform(0.6, 0.72))
    picture[legs:] = _cloth(rng, height - legs, width)
    return Cover(picture, mask)


def _trolley(rng: np.random.Generator) -> Cover:
    """Wires that one sees through, and goods inside."""
    height, width = int(rng.integers(240, 340)), int(rng.integers(330, 480))
    picture, mask = np.full((height, width, 3), 150, np.uint8), np.zeros((height, width), np.uint8)
    step = int(rng.integers(22, 34))
    for x in range(0, width, step):
        cv2.line(mask, (x, 0), (int(width * 0.1 + x * 0.8), height), 255, 4)
    for y in range(0, height, step):
        cv2.line(mask, (0, y), (width, y), 255, 4)
    picture[:, :, :] = rng.integers(110, 200)
    for _ in range(int(rng.integers(2, 7))):
        x, y = int(rng.integers(0, width - 120)), int(rng.integers(height // 3, height - 60))
        w, h = int(rng.integers(60, 120)), int(rng.integers(60, height - y + 1))
        picture[y : y + h, x : x + w] = _cloth(rng, *picture[y : y + h, x : x + w].shape[:2])
        mask[y : y + h, x : x + w] = 255
    return Cover(picture, mask)


def _container(rng: np.random.Generator) -> Cover:
    """Staff's roll container: a stack of brown boxes behind a frame."""
    height, width = int(rng.integers(560, 820)), int(rng.integers(260, 380))
    picture, mask = np.empty((height, width, 3), np.uint8), np.full((height, width), 255, np.uint8)
    tall = int(rng.integers(90, 150))
    for y in range(0, height, tall):
        picture[y : y + tall] = (np.array([176, 138, 96]) * rng.uniform(0.7, 1.1)).astype(np.uint8)
        cv2.line(picture, (0, y), (width, y), (90, 66, 44), 3)
        cv2.line(picture, (0, y + tall // 2), (width, y + tall // 2), (196, 166, 120), 9)
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), (130, 134, 140), 16)
    return Cover(picture, mask)


def _arm(rng: np.random.Generator) -> Cover:
    """A sleeve from below or aside, a hand at its end (the top of the picture is where it grasps)."""
    height, width = int(rng.integers(420, 640)), int(rng.integers(84, 130))
    picture, mask = _cloth(rng, height, width), np.zeros((height, width), np.uint8)
    skin = tuple(int(v * f) for v, f in zip((228, 184, 152), [rng.uniform(0.45, 1.0)] * 3, strict=True))
    wrist = int(height * 0.22)
    points = [(width // 4, wrist), (3 * width // 4, wrist), (width - 2, height), (2, height)]
    cv2.fillPoly(mask, [np.array(points, np.int32)], 255)
    cv2.ellipse(mask, (width // 2, int(wrist * 0.7)), (int(width * 0.36), int(wrist * 0.7)), 0, 0, 360, 255, -1)
    picture[: wrist + 4] = skin
    for finger in (0.36, 0.5, 0.64):
        cv2.line(
            picture, (int(width * finger), 0), (int(width * finger), wrist // 2), tuple(int(v * 0.75) for v in skin), 2
        )
    turn = float(rng.uniform(-38, 38))
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, 0), turn, 1.0)
    matrix[:, 2] += (side - width / 2, 4)
    size = (2 * side, side + 8)
    picture, mask = (cv2.warpAffine(one, matrix, size, flags=cv2.INTER_NEAREST) for one in (picture, mask))
    return Cover(picture, mask)


def put_before(frame: NDArray[np.uint8], hidden: Mask, cover: Cover, left: int, top: int) -> None:
    """Draw something with its upper left corner there, in place; `hidden` becomes 255 under it."""
    height, width = frame.shape[:2]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + cover.mask.shape[1]), min(height, top + cover.mask.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    box = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    cv2.copyTo(cover.picture[box], cover.mask[box], frame[y0:y1, x0:x1])
    cv2.max(hidden[y0:y1, x0:x1], cover.mask[box], hidden[y0:y1, x0:x1])
