"""What reads a camera: OpenCV or PyAV for USB cameras, network cameras and videos, picamera2 for those on a Raspberry Pi's ribbon.

A reader is opened by its function, gives frames one by one, and is closed; it knows nothing of retries.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ..arguments import check_turn
from ..errors import ImageError, RuntimeUnavailable
from ..imaging.camera import LAST_CAMERA, called, camera_number, is_video_device, open_capture, shown_source
from ..imaging.image import Pixels
from .frame import turned

_TIMEOUT_S: Final = 10
"""For a network camera to answer, and between two of its packets."""
_MANY_SIZE: Final = (1280, 960)
"""Pixels of a ribbon camera's frames where many come in a second; a sensor's own millions are for single pictures."""
_MOST_DEVICES: Final = 256
"""That Linux numbers, /dev/video0 to /dev/video255 (VIDEO_NUM_DEVICES in its v4l2-dev.c)."""


class Reader(Protocol):
    """An open camera. `read`: the next frame, (H, W, 3) uint8 RGB, or None where only `skip` was asked for; False at the end of a
    video, or where the camera gives no more."""

    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        """Wait for the next frame."""

    def position_s(self) -> float:
        """How far into a video the last frame was, seconds; 0 for a camera."""

    def close(self) -> None:
        """Let it go."""


class _OpenCv:
    def __init__(self, source: str) -> None:
        self._capture = open_capture(source)
        self._position = 0.0

    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        import cv2

        if not self._capture.grab():
            return False
        self._position = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        if skip:
            return None
        is_read, frame = self._capture.retrieve()
        return np.ascontiguousarray(frame[:, :, ::-1]) if is_read else False

    def position_s(self) -> float:
        return self._position

    def close(self) -> None:
        self._capture.release()


class _Av:
    def __init__(self, source: str) -> None:
        import av

        name, options, form = source, {}, None
        if source.isdecimal() or source.startswith("/dev/"):
            name, form = (f"/dev/video{source}" if source.isdecimal() else source), "v4l2"
        elif source.startswith("rtsp"):
            options = {"rtsp_transport": "tcp"}
        # Of FFmpeg's errors some are an OSError or a ValueError, too, but none of those of HTTP, as for a wrong password.
        self._errors = (OSError, ValueError, av.error.FFmpegError)
        try:
            self._container: Any = av.open(name, format=form, options=options, timeout=_TIMEOUT_S)
        except self._errors as error:
            raise ImageError(f"{called(source)} can't be opened: {_first_line(error, source)}") from error
        if not self._container.streams.video:
            self._container.close()
            raise ImageError(f"{called(source)} has no pictures; expected a video or a camera")
        self._frames = self._container.decode(video=0)
        self._source, self._position = source, 0.0

    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        try:
            frame = next(self._frames)
        except StopIteration:
            return False
        except self._errors as error:
            raise ImageError(f"{called(self._source)} broke off: {_first_line(error, self._source)}") from error
        self._position = float(frame.time or 0.0)
        if skip:
            return None
        # A phone held upright records a video that lies on its side, and notes the turn: degrees, counter-clockwise as rot90's.
        # OpenCV turns by itself; an old PyAV has no `rotation`.
        turns = round(getattr(frame, "rotation", 0) / 90)
        return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))

    def position_s(self) -> float:
        return self._position

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._container.close()


class _Csi:
    """A camera on the ribbon of a Raspberry Pi, by Debian's picamera2: single pictures with all its pixels, or many a second with
    as many as a product that is held up needs."""

    def __init__(self, source: str, *, many: bool = False) -> None:
        number, made = _csi_number(source), _picamera2()
        with contextlib.ExitStack() as opened:
            try:
                camera: Any = made(number)
                opened.callback(camera.close)  # picamera2 keeps one that didn't start, and the next try finds it in use
                camera.configure(
                    camera.create_video_configuration(main={"size": _MANY_SIZE, "format": "BGR888"})
                    if many
                    else camera.create_still_configuration(main={"format": "BGR888"})
                )
                camera.start()
            except (RuntimeError, IndexError) as error:
                raise ImageError(f"CSI camera {number} can't be opened: {_first_line(error)}") from error
            opened.pop_all()
        self._camera = camera

    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        frame = self._camera.capture_array("main")
        return None if skip else np.ascontiguousarray(frame)

    def position_s(self) -> float:
        return 0.0

    def close(self) -> None:
        self._camera.close()


def is_csi(source: str) -> bool:
    """Whether a source is a camera on the ribbon."""
    return source == "csi" or source.startswith("csi:")


def _csi_number(source: str) -> int:
    try:
        number = camera_number(source.partition(":")[2] or "0")
    except ImageError:
        number = None
    if number is None:
        raise ImageError(f"{source!r} arrived as a camera; expected csi, or csi:1 for the second one")
    return number


def _picamera2() -> Any:
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise RuntimeUnavailable(
            "a CSI camera needs picamera2, which pip can't build; sudo apt install python3-picamera2, and make the environment "
            "with python3 -m venv --system-site-packages"
        ) from error
    except Exception as error:  # built for another numpy, libcamera's library missing: they raise what they like
        raise RuntimeUnavailable(f"picamera2 is installed and can't be loaded: {_first_line(error)}") from error
    return Picamera2


def check_source(source: str) -> None:
    """Whether a camera of this name can ever be read here: what can't is refused at once, not tried again for ever. A camera that
    isn't plugged in yet can. Raises ImageError, RuntimeUnavailable."""
    if is_csi(source):
        _csi_number(source)
        _picamera2()
        return
    if source.startswith("/dev/"):
        _check_device(source)
    else:
        camera_number(source)
    _choice()


def _check_device(source: str) -> None:
    """Raise ImageError for what is no camera, and for what isn't there and can't come: a number that Linux gives to none. Names of
    the owner's own rules (udev's SYMLINK) come with the camera."""
    if is_video_device(source):
        return
    there = Path(source).exists()
    number = _device_number(source)
    may_come = number < _MOST_DEVICES if number is not None else not source.startswith("/dev/video")
    if there or not may_come:
        raise ImageError(
            f"{source} {'is no camera' if there else 'is not there'}; expected one like /dev/video0 (ls /dev/video*)"
        )


def _device_number(source: str) -> int | None:
    """2 for /dev/video2, and for a link to it; None for another name."""
    found = re.fullmatch(r"/dev/video(0|[1-9][0-9]{0,5})", os.path.realpath(source))
    return None if found is None else int(found[1])


def open_reader(source: str) -> Reader:
    """Open a camera or a video: "csi" or "csi:1", a camera's number, /dev/video0 or a link to it, an rtsp:// or http:// address, a
    video file.

    Raises ImageError where it can't be opened now, RuntimeUnavailable where nothing here reads such a source.
    """
    if is_csi(source):
        return _Csi(source)
    number = camera_number(source)
    if source.startswith("/dev/"):
        if not Path(source).exists():
            raise ImageError(f"{source} is not there; expected a camera that is plugged in (ls /dev/video*)")
        number = _device_number(source)
    is_numbered = number is not None and number <= LAST_CAMERA
    return _choice()(str(number) if is_numbered else source)


def frames_of(source: str, *, turn: int = 0) -> Generator[Pixels, None, None]:
    """(H, W, 3) uint8 RGB frames of a camera or a video, as `open_reader` takes them, until there are no more.
    `turn`: degrees clockwise, one of `TURNS`.

    Raises ImageError and RuntimeUnavailable as `open_reader` does, ImageError where there is no first frame.
    """
    check_turn(turn)
    reader, count = _Csi(source, many=True) if is_csi(source) else open_reader(source), 0
    try:
        while (pixels := reader.read()) is not False:
            if pixels is not None and not isinstance(pixels, bool):
                count += 1
                yield turned(pixels, turn)
    finally:
        reader.close()
    if not count:
        raise ImageError(no_frame(source))


def no_frame(source: str) -> str:
    """That a source was opened and gave nothing."""
    return f"{called(source)} gave no frame; expected a camera that is on and that no other program uses"


def _choice() -> Callable[[str], Reader]:
    if find_spec("cv2") is not None:
        return _OpenCv
    if find_spec("av") is not None:
        return _Av
    raise RuntimeUnavailable(
        "cameras and videos need OpenCV or PyAV, neither is installed; pip install 'shelfmatch[fast]' or 'shelfmatch[camera]'"
    )


def _first_line(error: BaseException, source: str = "") -> str:
    text = str(error).replace(source, shown_source(source)) if source else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
