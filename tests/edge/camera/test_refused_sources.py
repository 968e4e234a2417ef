"""Cameras that can never work are refused at once; passwords of those that can are shown nowhere."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import ImageError, RuntimeUnavailable
from shelfmatch.edge.camera.live import LiveCamera, check_camera
from shelfmatch.edge.camera.readers import frames_of, open_reader
from shelfmatch.edge.camera.sources import frames
from shelfmatch.edge.imaging.camera import open_capture, shown_source
from shelfmatch.edge.imaging.image import Pixels

pytest.importorskip("cv2", reason="cameras need OpenCV (shelfmatch[fast])")

SECRET = "rtsp://admin:s3cret@127.0.0.1:1/x"
SHOWN = "rtsp://***@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("csi:abc", "'csi:abc' arrived as a camera; expected csi, or csi:1"),
        ("csi:99999999999999999999", "expected csi, or csi:1"),
        ("foo://bar", "'foo://bar' arrived as a source; expected a folder"),
        ("file:///tmp/a.mp4", "arrived as a source; expected a folder"),
        ("foo://admin:s3cret@host/x", "'foo://***@host/x' arrived as a source"),
        ("/dev/null", "/dev/null is no camera; expected one like /dev/video0"),
        ("/dev/shm", "/dev/shm is no camera"),
        ("/dev/videoX", "/dev/videoX is not there; expected one like /dev/video0"),
        ("/dev/video99999", "/dev/video99999 is not there"),
        ("100", "camera 100 arrived; expected a number from 0 to 99"),
        ("99999999999999999999", "camera 99999999999999999999 arrived; expected a number from 0 to 99"),
        pytest.param("9" * 5000, "expected a number from 0 to 99", id="thousands of digits"),
        ("", "'' arrived as a source; expected a folder"),
    ],
)
def test_what_can_never_be_a_camera_is_refused_at_once(source: str, said: str) -> None:
    before = threading.active_count()
    with pytest.raises(ImageError) as caught:
        frames(source)
    assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert threading.active_count() == before


def test_a_reader_that_is_not_installed_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(RuntimeUnavailable, match="apt install python3-picamera2"):
        frames("csi")
    monkeypatch.setattr("shelfmatch.edge.camera.readers.find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailable, match="need OpenCV or PyAV"):
        frames("rtsp://camera/1")


@pytest.mark.skipif(Path("/dev/video7").exists(), reason="there is a camera 7")
@pytest.mark.parametrize("source", ["7", "/dev/video7", "/dev/v4l/by-id/usb-shelf-7"])
def test_a_camera_that_is_not_plugged_in_yet_is_waited_for(source: str, caplog: pytest.LogCaptureFixture) -> None:
    found, deadline = frames(source), time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        assert next(found) is None
    found.close()  # type: ignore[attr-defined]
    assert "expected" in caplog.text and "plugged in" in caplog.text and "trying again" in caplog.text


@pytest.mark.skipif(Path("/dev/video7").exists(), reason="there is a camera 7")
def test_opencv_says_nothing_of_its_own_about_a_camera_that_is_not_there() -> None:
    script = """
from shelfmatch.edge.imaging.camera import open_capture
for _ in range(2):
    try:
        open_capture("7")
    except Exception:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("source", ["100", "99999999999999999999"])
def test_a_number_that_no_camera_has_is_one_line_everywhere(source: str) -> None:
    for opened in (open_capture, open_reader, check_camera, lambda one: next(frames_of(one))):
        with pytest.raises(ImageError, match=rf"^camera {source} arrived; expected a number from 0 to 99[^\n]*$"):
            opened(source)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (SECRET, SHOWN),
        ("rtsps://admin@host", "rtsps://***@host"),
        ("http://a:b@[::1]:80/x?channel=1", "http://***@[::1]:80/x?channel=1"),
        ("rtsp://admin:p@ss@host/x", "rtsp://***@host/x"),
        ("rtsp://admin:pa/ss#1?@host/x", "rtsp://***@host/x"),
        ("rtsp://admin:a b@host/x", "rtsp://***@host/x"),
        ("rtsp://host:554/user=admin&password=s3cret&channel=1", "rtsp://host:554/user=admin&password=***&channel=1"),
        ("http://host/x?usr=a&pwd=s3cret", "http://host/x?usr=a&pwd=***"),
        ("rtsp://host/1?user=a&psw=s3cret", "rtsp://host/1?user=a&psw=***"),
        ("http://host/v?loginuse=a&loginpas=s3cret", "http://host/v?loginuse=a&loginpas=***"),
        ("rtspsrc user-id=a user-pw=s3cret ! fakesink", "rtspsrc user-id=a user-pw=*** ! fakesink"),
        ("admin:s3cret@host/x", "***@host/x"),
        ("rtsp:/admin:s3cret@host/x", "***@host/x"),
        *((one, one) for one in ("0", "csi:1", "/dev/video2", "", "rtsp://host/x", "rtsp://host:554/live@1")),
        *((one, one) for one in ("http://[fe80::1]/a@b", "photos/a@b.mp4", "a b.mp4", "/data/12:30@shelf.mp4")),
    ],
)  # fmt: skip
def test_how_an_address_is_shown(source: str, shown: str) -> None:
    assert shown_source(source) == shown


def test_no_message_shows_the_password_of_a_camera(caplog: pytest.LogCaptureFixture) -> None:
    for opened in (open_capture, open_reader, check_camera):
        with pytest.raises(ImageError, match="can't be opened") as caught:
            opened(SECRET)
        assert str(caught.value).startswith(SHOWN)
    given: list[str] = []

    def fails(source: str) -> object:
        given.append(source)
        raise [OSError(f"no route to {source}"), ValueError(f"{source}\nis bad")][len(given) % 2]

    with caplog.at_level(logging.INFO):
        camera = LiveCamera(SECRET, 0.0, opened=fails, first_wait_s=0.01)  # type: ignore[arg-type]
        deadline = time.monotonic() + 20
        while len(given) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        camera.close()
    assert set(given) == {SECRET}, "it is opened with all of its address"
    assert "s3cret" not in caplog.text and caplog.text.count(SHOWN) >= 2 and f"{SHOWN} is bad" in caplog.text
    assert "s3cret" not in camera.source + camera.problem


class _OneFrame:
    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        time.sleep(0.01)
        return np.zeros((8, 8, 3), np.uint8)

    def position_s(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("source", "name"), [(SECRET, SHOWN), ("0", "camera 0")])
def test_a_cameras_frames_are_named_without_its_password(
    source: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lambda source, every_s: LiveCamera(source, every_s, opened=lambda _: _OneFrame())  # noqa: E731
    monkeypatch.setattr("shelfmatch.edge.camera.sources.LiveCamera", made)
    found = frames(source, every_s=0.0)
    frame = next(one for one in found if one is not None)
    found.close()  # type: ignore[attr-defined]
    assert frame.source == name
