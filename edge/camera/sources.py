"""Where frames come from, by one text: a folder, a video file, a camera, an address; or an iterator in Python."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ..arguments import check_turn
from ..catalog.photo_folder import PhotoWatch, is_photo, photos_in
from ..errors import ImageError
from ..imaging.camera import called, shown_source
from ..imaging.decode import decode
from ..imaging.image import upright
from .frame import Frame, checked, turned
from .live import LiveCamera
from .readers import check_source, is_csi, open_reader

logger = logging.getLogger(__name__)

POLL_S: Final = 0.5
"""A watched folder is asked so often; a source that has nothing says so about as often, by None."""
_STREAMS: Final = (
    "rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "rtmpe", "rtmpt", "rtp", "srt", "rist", "udp", "tcp", "tls", "mmsh", "mmst",
)  # fmt: skip
"""Addresses of what goes on: FFmpeg's network protocols (ffmpeg-protocols.html), by which OpenCV and PyAV read."""


def is_camera(source: str) -> bool:
    """Whether a source goes on for ever and is tried again when it drops out."""
    scheme, is_address, _ = source.partition("://")
    is_pipeline = " ! " in source  # GStreamer's, which some builds of OpenCV read
    is_stream = is_pipeline or (bool(is_address) and scheme.lower() in _STREAMS)
    is_device = source.startswith("/dev/") and not source.startswith("/dev/shm/")  # folders in memory
    return is_stream or is_csi(source) or source.isdecimal() or is_device


def frames(
    source: str,
    *,
    every_s: float = 1.0,
    once: bool = False,
    turn: int = 0,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Frame | None]:
    """Frames of a source, one each `every_s` seconds at most; None, now and then, while there is nothing new.

    `source`: a folder (photos that come into it and those below it; with `once` those that are there, sorted by path, and an end),
    a photo or a video file (an end, too), a camera's number or /dev/video0, "csi", an rtsp:// or http:// address. `turn`: degrees
    clockwise by which all of them are turned, one of `TURNS`. Raises ImageError for what is none of these or can never be one,
    RuntimeUnavailable where nothing here reads cameras of this kind.
    A camera that drops out is opened again for ever; photos that can't be read are logged and left out.
    """
    if turn:
        check_turn(turn)
        return _turned(frames(source, every_s=every_s, once=once, is_stopped=is_stopped), turn)
    if is_camera(source):
        check_source(source)
        return _of_camera(source, every_s, is_stopped)
    path = Path(source)
    if source and path.is_dir():  # Path("") is the current folder
        return _of_photos(path) if once else _of_watched(path, is_stopped)
    if path.is_file() and is_photo(path.name):
        return _of_photo(path)
    if path.is_file():
        return _of_video(source, every_s)
    raise ImageError(
        f"{shown_source(source)!r} arrived as a source; expected a folder, a photo or a video file, a camera's number like 0, csi, "
        "or an rtsp:// or http:// address"
    )


def frames_from(pictures: Iterable[object], source: str = "an iterator", *, every_s: float = 1.0) -> Iterator[Frame]:
    """Frames of an iterator in Python: Frames as they are, or (H, W, 3) uint8 RGB arrays, so many seconds apart.

    Raises ImageError for anything else.
    """
    began = time.time()
    for number, one in enumerate(pictures):
        yield one if isinstance(one, Frame) else Frame(checked(one, source), began + number * every_s, number, source)


def _turned(found: Iterator[Frame | None], turn: int) -> Iterator[Frame | None]:
    try:
        for frame in found:
            yield None if frame is None else replace(frame, pixels=turned(frame.pixels, turn))
    finally:
        found.close()  # type: ignore[attr-defined]  # a generator, which lets its camera go


def _of_camera(source: str, every_s: float, is_stopped: Callable[[], bool]) -> Iterator[Frame | None]:
    camera, number = LiveCamera(source, every_s), 0
    name = called(source)
    try:
        while not is_stopped():
            found = camera.next(POLL_S)
            if found is None:
                yield None
                continue
            yield Frame(checked(found[0], name), found[1], number, name)
            number += 1
    finally:
        camera.close()


def _of_video(source: str, every_s: float) -> Iterator[Frame | None]:
    reader, number, due = open_reader(source), 0, -1.0
    began = Path(source).stat().st_mtime
    try:
        while True:
            frame = reader.read()
            if frame is False or frame is None or isinstance(frame, bool):
                break
            position = reader.position_s()
            if position < due:
                continue
            due = position + every_s - 1e-3
            yield Frame(checked(frame, source), began + position, number, source)
            number += 1
    finally:
        reader.close()
    if not number:
        raise ImageError(f"{source} has no frame that can be read; expected a video file")


def _of_photo(path: Path) -> Iterator[Frame | None]:
    """The one frame of a photo. Raises ImageError where it can't be read."""
    yield _frame(path, 0)


def _of_photos(folder: Path) -> Iterator[Frame | None]:
    """The photos of a folder and of those below it, sorted by path, as a watch gives those that come at once."""
    number = 0
    for photo in photos_in(folder, all_of_them=False):
        frame = _read(Path(photo), number)
        if frame is not None:
            yield frame
            number += 1


def _of_watched(folder: Path, is_stopped: Callable[[], bool]) -> Iterator[Frame | None]:
    watch, number, was_there = PhotoWatch(folder), 0, True
    while not is_stopped():
        photos = watch.poll()
        if folder.is_dir() != was_there:
            was_there = not was_there
            logger.warning("%s is %s", folder, "back" if was_there else "gone; waiting for it")
        for photo in photos:
            frame = _read(Path(photo), number, functools.partial(watch.wait_for, photo))
            if frame is not None:
                yield frame
                number += 1
        if not photos:
            yield None
            time.sleep(POLL_S)


def _read(path: Path, number: int, comes_again: Callable[[], bool] = lambda: False) -> Frame | None:
    """A photo as a frame; None where it can't be read, which is logged."""
    try:
        return _frame(path, number)
    except (ImageError, OSError) as error:
        if not comes_again():
            logger.warning("%s is left out: %s", path, error)
        return None


def _frame(path: Path, number: int) -> Frame:
    """A photo as a frame, its time that of the file. Raises ImageError, OSError."""
    taken = path.stat().st_mtime
    pixels = np.asarray(upright(decode(path)).convert("RGB"))
    return Frame(checked(pixels, str(path)), taken, number, str(path.parent))
