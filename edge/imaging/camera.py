"""Frames of a camera or a video file, by OpenCV where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, RuntimeUnavailable
from .image import Pixels


def frames_of(source: str) -> Iterator[Pixels]:
    """(H, W, 3) uint8 RGB frames until the source ends; a camera's never does.

    `source`: a camera's number ("0" is /dev/video0), a video file, or an address that OpenCV opens (rtsp://…). Raises
    RuntimeUnavailable without OpenCV, ImageError for a source that can't be opened or breaks off before its first frame.
    """
    capture = open_capture(source)
    try:
        count = 0
        while True:
            is_read, frame = capture.read()
            if not is_read:
                break
            count += 1
            yield np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV's frames are BGR
        if not count:
            raise ImageError(
                f"{called(source)} gave no frame; expected a camera that is on and that no other program uses"
            )
    finally:
        capture.release()


def called(source: str) -> str:
    """How messages call a source."""
    return f"camera {source}" if source.isdecimal() else source


def open_capture(source: str) -> Any:
    """OpenCV's capture of a source, as `frames_of` takes it. Raises RuntimeUnavailable, ImageError."""
    try:
        import cv2
    except ImportError as error:
        raise RuntimeUnavailable(
            "a camera needs OpenCV, which is not installed; pip install opencv-python-headless, or shelfmatch[fast]"
        ) from error
    if not source.isdecimal() and "://" not in source and not Path(source).is_file():
        raise ImageError(
            f"{source!r} arrived as a camera; expected its number, like 0 for /dev/video0, a video file, or an rtsp:// address"
        )
    quieten = getattr(cv2, "setLogLevel", None)  # not in every version; its own lines on stderr say less than ours
    if quieten is not None:
        quieten(0)
    try:
        capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    except cv2.error as error:
        raise ImageError(f"{called(source)} can't be opened: {error}") from error
    if not capture.isOpened():
        capture.release()
        raise ImageError(
            f"{called(source)} can't be opened; expected one that is plugged in (ls /dev/video*), readable by this user, and that "
            "no other program uses"
            if source.isdecimal()
            else f"{source} can't be opened; expected a video that OpenCV reads"
        )
    return capture
