"""Cameras as they are named, and shown without their passwords; and as OpenCV opens them, where it is installed."""

from __future__ import annotations

import functools
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

from ..errors import ImageError, RuntimeUnavailable
from .opencv import opencv

LAST_CAMERA: Final = 99
"""Cameras have numbers from 0 on; OpenCV takes the hundreds of a number for one of its backends (VideoCapture::open)."""
_VIDEO4LINUX: Final = 81
"""Major number of Linux's cameras (admin-guide/devices.txt)."""
_USER = re.compile(
    r"""^(?:([a-z][a-z0-9+.-]*://)                                       # an address,
    (?!(?:\[[^]@]*\]|[^@:/?\#]*)(?::\d*)?(?:[/?\#]|$))                  # with more than a host and its port before the path;
    |(?![a-z][a-z0-9+.-]*://|[a-z]:\\)(?=[^@/]*:))                               # or one whose beginning was forgotten:
    .*@""",  # up to the last @, since passwords are typed with any letters
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_PASSWORD = re.compile(r"((?:pas\w*|psw|pwd|pw|token|secret)=)[^&#\s]*", re.IGNORECASE)


def shown_source(source: str) -> str:
    """A source as messages, logs and pages show it: `rtsp://***@host/x`, without the name and the password to open it with."""
    return _PASSWORD.sub(r"\1***", _USER.sub(r"\1***@", source))


def may_hold_password(source: str) -> bool:
    """Whether a camera's source is an address, or one of GStreamer's pipelines: passwords stand in these in many ways."""
    return "://" in source or " ! " in source


def called(source: str) -> str:
    """How messages call a source."""
    return f"camera {source}" if source.isdecimal() else shown_source(source)


def camera_number(source: str) -> int | None:
    """A camera's number, None for a source that is no number. Raises ImageError for one that no camera has."""
    if not source.isdecimal():
        return None
    if len(source) > 4 or int(source) > LAST_CAMERA:
        raise ImageError(
            f"camera {source[:30]} arrived; expected a number from 0 to {LAST_CAMERA}, like 0 for /dev/video0 (ls /dev/video*)"
        )
    return int(source)


def is_video_device(path: str | os.PathLike[str]) -> bool:
    """Whether a camera of this machine is there under this name."""
    try:
        info = Path(path).stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(info.st_mode) and os.major(info.st_rdev) == _VIDEO4LINUX


@functools.cache
def _quiet_opencv() -> Any:
    """OpenCV without its own lines on stderr, which come again with each try and say less than ours; None where it isn't
    installed."""
    cv2 = opencv()
    places: tuple[Any, ...] = (getattr(getattr(cv2, "utils", None), "logging", None), cv2)
    for where in places:  # 5.0 has the second no more, older ones don't have the first
        if hasattr(where, "setLogLevel"):
            where.setLogLevel(0)
            break
    return cv2


def open_capture(source: str) -> Any:
    """OpenCV's capture of a source: a camera's number ("0" is /dev/video0) or device, a video file, or an address (rtsp://…).

    Raises RuntimeUnavailable, ImageError.
    """
    cv2 = _quiet_opencv()
    if cv2 is None:
        raise RuntimeUnavailable(
            "a camera needs OpenCV, which is not installed; pip install opencv-python-headless, or shelfmatch[fast]"
        )
    number = camera_number(source)
    if number is None and "://" not in source and not Path(source).is_file() and not is_video_device(source):
        raise ImageError(
            f"{shown_source(source)!r} arrived as a camera; expected its number, like 0 for /dev/video0, csi, a video file, "
            "or an rtsp:// address"
        )
    try:
        capture = cv2.VideoCapture(source if number is None else number)
    except cv2.error as error:
        reason = " ".join(str(error).replace(source, shown_source(source)).split())[:200]
        raise ImageError(f"{called(source)} can't be opened: {reason}") from error
    if not capture.isOpened():
        capture.release()
        raise ImageError(
            f"{called(source)} can't be opened; expected one that is plugged in (ls /dev/video*), readable by this user, and that "
            "no other program uses"
            if number is not None
            else f"{called(source)} can't be opened; expected a video that OpenCV reads"
        )
    return capture
