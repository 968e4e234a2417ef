"""People in a picture: found, and blurred beyond recognition before anything reaches a disk. Fail-closed.

The detector is BlazeFace's full-range model (V. Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
GPUs"; Apache-2.0, as MediaPipe ships it). It isn't part of this package: the how-to says where to get it. Only the files whose
hash is known here are taken, since a detector that finds nobody looks like a shop without people.

A face that isn't seen can't be blurred. So three things stand behind each other: the threshold is low, the picture is searched
whole, mirrored, in parts and, where it stays sharp, in small ones, and around the middle, where the product is held, everything is
blurred, face or not.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..encoders.runtimes import choose_runtime, open_session
from ..errors import EncoderError, ImageError, PrivacyError
from ..imaging.decode import decode
from ..imaging.image import DEFAULT_LIMITS, Limits, upright

logger = logging.getLogger(__name__)

DETECTORS: Final = {
    "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3": "face_detection_full_range.tflite",
    "671dd2f9ed11a78436fc21cc42357a803dfc6f73e9fb86541be942d5716c2dce": "face_detection_full_range_sparse.tflite",
}
"""sha256 → what MediaPipe calls the file."""
_SIDE: Final = 192
_CELLS: Final = 48
"""Anchors stand in the middles of 48x48 cells, one each (`face_detection_full_range.pbtxt`: stride 4, fixed anchor size)."""
LEAST_SCORE: Final = 0.3
"""MediaPipe shows faces from 0.5 or 0.6 on; a label that is taken for a face costs a crop here, no more. One person in 60 scenes
(110 to 600 of 720 pixels tall, turned by up to 25 degrees, at 0.3 to 1.3 of the light, blurred by up to 3 pixels) had 0.39 at the
least, and 0.81 from 160 pixels on; half of 80 photos of groceries without people are below 0.3."""
_PART: Final = 0.6
_SMALL: Final = (0.3, 0.4)
"""Width and height of the small parts of the middle: somebody in the back has a face of 25 pixels of 1,024, which are 5 of the
network's 192 in the whole picture, 8 in a part, and 16 in a small one. Without these, in an hour of people before a kiosk
(tests/edge/kiosk/test_privacy.py), 11 of 343 kept pictures showed a face to another detector. They aren't searched mirrored, for
time."""
_SMALL_STEPS: Final = (4, 4)
MIDDLE: Final = (0.18, 0.08, 0.82, 0.92)
"""(left, top, right, bottom), 0 to 1: where a product is held up to the camera. All around it is blurred."""
_MOST_COVERED: Final = 0.35
"""Of the middle; where people cover more of it, the picture isn't kept at all."""
_BODY: Final = (2.2, 1.0, 12.0)
"""A person around a face: face widths to each side, face heights above it, and below it: shoulders, hair, and down to the feet."""
_BLUR_CELLS: Final = 14
"""A blurred part is first shrunk so that its longer side has so many pixels. Faces are told apart from about 16 pixels between
the eyes on (L. Harmon & B. Julesz 1973, "Masking in visual recognition", 16 blocks a face); here a whole person has 14."""

Box = tuple[float, float, float, float]


class PeopleFinder:
    """Finds people by their faces. Safe to share between threads. Raises PrivacyError for a file that isn't the detector."""

    def __init__(self, path: Path) -> None:
        try:
            model = path.read_bytes()
        except OSError as error:
            raise PrivacyError(f"{path} can't be read: {error.strerror}; expected the detector of people") from error
        digest = hashlib.sha256(model).hexdigest()
        if digest not in DETECTORS:
            raise PrivacyError(
                f"{path} has sha256 {digest[:12]}…; expected one of {', '.join(DETECTORS.values())} of MediaPipe, "
                "see docs/howto/kiosk.md"
            )
        self._session = open_session(choose_runtime("tflite", "auto"), model, 1)
        self._lock = threading.Lock()
        self._outputs = {info.name: info.shape for info in self._session.outputs}

    def faces(self, picture: Image.Image) -> list[Box]:
        """Boxes of faces, 0 to 1 of the picture's sides, with doubles. Raises EncoderError."""
        found: list[Box] = []
        for (left, top, right, bottom), ways in _parts():
            width, height = picture.size
            part = picture.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))
            for mirrored in ways:
                turned = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part
                for x0, y0, x1, y1 in self._faces_in(turned):
                    if mirrored:
                        x0, x1 = 1 - x1, 1 - x0
                    wide, high = right - left, bottom - top
                    found.append((left + x0 * wide, top + y0 * high, left + x1 * wide, top + y1 * high))
        return found

    def _faces_in(self, picture: Image.Image) -> Iterator[Box]:
        """Faces of one run: the picture fitted into the network's square, on black."""
        side = max(picture.size)
        square = Image.new("RGB", (side, side))
        square.paste(picture)
        pixels = np.asarray(square.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
        boxes, scores = self._run(pixels[np.newaxis])
        for index in np.flatnonzero(scores >= LEAST_SCORE):
            row, column = divmod(int(index), _CELLS)
            x, y, wide, high = (float(value) / _SIDE for value in boxes[index, :4])
            x, y = x + (column + 0.5) / _CELLS, y + (row + 0.5) / _CELLS
            across, down = side / picture.width, side / picture.height
            yield (x - wide / 2) * across, (y - high / 2) * down, (x + wide / 2) * across, (y + high / 2) * down

    def _run(self, value: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes = next(name for name, shape in self._outputs.items() if shape[-1] == 16)
        logits = next(name for name, shape in self._outputs.items() if shape[-1] == 1)
        with self._lock:
            rows, raw = (self._session.run(value, name) for name in (boxes, logits))
        scores: NDArray[np.float32] = 1 / (1 + np.exp(-np.clip(raw.reshape(-1), -80, 80)))
        if rows.shape[1] != _CELLS**2 or not np.isfinite(rows).all() or not np.isfinite(scores).all():
            raise EncoderError("the detector of people gave numbers that mean nothing")
        return rows[0], scores

    def without_people(self, photo: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
        """A photo as JPEG in which nobody can be told, None where that can't be had: people cover too much of it, or anything at
        all goes wrong."""
        try:
            picture = upright(decode(photo, None, limits)).convert("RGB")
            picture.thumbnail((1024, 1024))
            people = [_person(face) for face in self.faces(picture)]
        except (ImageError, EncoderError) as error:
            logger.warning("a picture wasn't kept: %s", error)
            return None
        if _covered(people) > _MOST_COVERED:
            return None
        kept = _blurred(picture, people)
        if any(_touches_middle(face) for face in self.faces(kept)):  # one that blurring didn't take away
            return None
        file = io.BytesIO()
        kept.save(file, "JPEG", quality=85, comment=b"")  # Pillow would take over the photo's own
        return file.getvalue()

    def slot_picture(self, frame: NDArray[np.uint8], box: Box) -> bytes | None:
        """The part of a shelf camera's frame, (H, W, 3) uint8 RGB, in `box` (left, top, right, bottom, 0 to 1), as JPEG; None where
        that can't be had without people: somebody whose face is found stands before it, or anything at all goes wrong.

        A person from behind has no face: ask only for slots that nothing covers.
        """
        try:
            picture = Image.fromarray(frame).convert("RGB")
            people = [_person(face) for face in self.faces(picture)]
        except (EncoderError, ValueError, TypeError) as error:
            logger.warning("a picture wasn't kept: %s", error)
            return None
        if any(one[0] < box[2] and box[0] < one[2] and one[1] < box[3] and box[1] < one[3] for one in people):
            return None
        part = picture.crop(_in_pixels(box, picture.size))
        if min(part.size) < 8 or self.faces(part):  # nearer, what the whole frame was too coarse for
            return None
        file = io.BytesIO()
        part.save(file, "JPEG", quality=85)
        return file.getvalue()


def _parts() -> Iterator[tuple[Box, tuple[bool, ...]]]:
    """The whole picture, four corners of it that overlap, and small parts of the middle that do: faces in the back are small. With
    each, whether it is searched as it is and mirrored."""
    both = (False, True)
    yield (0.0, 0.0, 1.0, 1.0), both
    for left in (0.0, 1 - _PART):
        for top in (0.0, 1 - _PART):
            yield (left, top, left + _PART, top + _PART), both
    (wide, high), (columns, rows) = _SMALL, _SMALL_STEPS
    edge = 0.03  # of a face that stands on the middle's border
    for left in np.linspace(MIDDLE[0] - edge, MIDDLE[2] + edge - wide, columns).tolist():
        for top in np.linspace(MIDDLE[1] - edge, MIDDLE[3] + edge - high, rows).tolist():
            yield (left, top, left + wide, top + high), (False,)


def _person(face: Box) -> Box:
    """The part of the picture that belongs to whoever has this face."""
    wide, high = face[2] - face[0], face[3] - face[1]
    side, above, below = _BODY
    box = face[0] - side * wide, face[1] - above * high, face[2] + side * wide, face[3] + below * high
    return max(0.0, box[0]), max(0.0, box[1]), min(1.0, box[2]), min(1.0, box[3])


def _touches_middle(face: Box) -> bool:
    x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    return MIDDLE[0] < x < MIDDLE[2] and MIDDLE[1] < y < MIDDLE[3]


def _covered(people: list[Box]) -> float:
    """How much of the middle people cover, 0 to 1."""
    grid = np.zeros((100, 100), bool)
    for left, top, right, bottom in people:
        grid[int(top * 100) : int(np.ceil(bottom * 100)), int(left * 100) : int(np.ceil(right * 100))] = True
    middle = grid[int(MIDDLE[1] * 100) : int(MIDDLE[3] * 100), int(MIDDLE[0] * 100) : int(MIDDLE[2] * 100)]
    return float(middle.mean())


def _blurred(picture: Image.Image, people: list[Box]) -> Image.Image:
    """The picture with people, and all around the middle, blurred beyond recognition: shrunk to a few pixels, which nothing brings
    back, and then smoothed."""
    width, height = picture.size
    scale = _BLUR_CELLS / max(width, height)
    few = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX)
    smooth = few.resize(picture.size, Image.Resampling.BICUBIC).filter(
        ImageFilter.GaussianBlur(max(width, height) / 60)
    )
    mask = Image.new("L", picture.size, 255)
    draw = ImageDraw.Draw(mask)
    draw.rectangle(_in_pixels(MIDDLE, picture.size), fill=0)
    for person in people:
        draw.rectangle(_in_pixels(person, picture.size), fill=255)
    kept = picture.copy()
    kept.paste(smooth, mask=mask)
    return kept


def _in_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    return int(box[0] * width), int(box[1] * height), int(np.ceil(box[2] * width)), int(np.ceil(box[3] * height))
