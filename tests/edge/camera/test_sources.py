"""Where frames come from, and what happens where they don't."""

from __future__ import annotations

import http.server
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from shelfmatch.edge import ImageError
from shelfmatch.edge.camera.frame import Frame, checked
from shelfmatch.edge.camera.live import LiveCamera, check_camera
from shelfmatch.edge.camera.sources import frames, frames_from, is_camera
from shelfmatch.edge.imaging.image import Pixels

from .conftest import picture, video

cv2 = pytest.importorskip("cv2", reason="videos need OpenCV (shelfmatch[fast])")


def write(folder: Path, name: str, level: int) -> None:
    Image.fromarray(picture(level)).save(folder / f".{name}", "PNG")
    (folder / f".{name}").replace(folder / name)


def test_a_folder_once_gives_its_photos_by_name_and_leaves_broken_ones_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, level in (("b.png", 20), ("a.png", 10)):
        write(tmp_path, name, level)
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    found = [frame for frame in frames(str(tmp_path), once=True) if frame is not None]
    assert [(frame.number, int(frame.pixels[0, 0, 0])) for frame in found] == [(0, 10), (1, 20)]
    assert "c.jpg is left out" in caplog.text and len(caplog.records) == 1


def test_a_folder_once_gives_those_of_the_folders_below_as_a_watch_does(tmp_path: Path) -> None:
    for folder, name, level in (
        ("", "c.png", 30),
        ("b", "a.png", 20),
        ("a/deep", "z.png", 10),
        (".hidden", "x.png", 90),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write(tmp_path / folder, name, level)
    found = [frame for frame in frames(str(tmp_path), once=True) if frame is not None]
    assert [(frame.number, int(frame.pixels[0, 0, 0])) for frame in found] == [(0, 10), (1, 20), (2, 30)]


def test_a_watched_folder_gives_what_comes_and_waits_for_a_folder_that_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder, "old.png", 5)
    stop, found = threading.Event(), []
    source = frames(str(folder), is_stopped=stop.is_set)
    assert next(source) is None
    write(folder, "new.png", 50)
    while not found:
        found = [frame for frame in [next(source)] if frame is not None]
    assert int(found[0].pixels[0, 0, 0]) == 50
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    next(source)
    folder.mkdir()
    next(source)
    stop.set()
    assert list(source) == []
    assert "is gone; waiting for it" in caplog.text


def test_a_photo_is_one_frame_without_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "shelf.png", 50)
    monkeypatch.setattr("shelfmatch.edge.camera.readers.find_spec", lambda name: None)
    found = list(frames(str(tmp_path / "shelf.png")))
    assert len(found) == 1 and found[0] is not None and int(found[0].pixels[0, 0, 0]) == 50
    (tmp_path / "text.jpg").write_text("no photo at all")
    with pytest.raises(ImageError, match=r"text\.jpg is damaged or not a photo"):
        list(frames(str(tmp_path / "text.jpg")))


def test_a_video_is_sampled_by_its_own_time(tmp_path: Path) -> None:
    path = video(tmp_path / "shelf.avi")
    found = [frame for frame in frames(str(path), every_s=0.5) if frame is not None]
    assert [int(frame.pixels[20, 20, 0]) for frame in found] == pytest.approx([0, 50, 100, 150], abs=6)
    assert found[1].time - found[0].time == pytest.approx(0.5)


@pytest.mark.parametrize("source", ["nowhere", "nowhere/at/all.mp4", "none"])
def test_a_source_that_is_none_is_named(source: str) -> None:
    with pytest.raises(ImageError, match="expected a folder, a photo or a video file, a camera's number like 0"):
        list(frames(source))


def test_no_video_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(ImageError, match=r"text\.mp4 can't be opened"):
        list(frames(str(tmp_path / "text.mp4")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no photos"):
        list(frames(str(tmp_path / "empty"), once=True))


def test_what_is_a_camera() -> None:
    assert all(map(is_camera, ("0", "/dev/video2", "csi", "csi:1", "rtsp://cam/1", "http://cam/stream")))
    assert not any(map(is_camera, ("photos", "a.mp4", "./0.mp4", "csi-photos", "csi_1.mp4", "", "/dev/shm/photos")))
    assert not any(map(is_camera, ("foo://bar", "file:///a.mp4", "://x", "photos/rtsp://x")))


def test_an_iterator_gives_frames_and_refuses_other_things() -> None:
    first, second = frames_from([picture(1), Frame(picture(2), 5.0, 9, "own")], every_s=3)
    assert (first.number, second.number, second.source) == (0, 9, "own")
    with pytest.raises(ImageError, match=r"a frame of ndarray \(48, 64\) uint8 arrived; expected \(H, W, 3\) uint8"):
        list(frames_from([picture(1)[:, :, 0]]))
    with pytest.raises(ImageError, match="a frame of str None None arrived"):
        checked("photo", "here")


@pytest.fixture
def web_page() -> Iterator[int]:
    """A server that answers every call with HTML."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>log in</html>")

        do_OPTIONS = do_DESCRIBE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_camera_that_answers_html_is_named(scheme: str, web_page: int) -> None:
    with pytest.raises(ImageError) as error:
        check_camera(f"{scheme}://127.0.0.1:{web_page}/stream")
    assert "can't be opened" in str(error.value) and "\n" not in str(error.value)


class _Failing:
    """A camera that gives two frames and drops out, twice."""

    def __init__(self, left: list[int]) -> None:
        self._left, self._frames = left, [1, 2]
        self._left.append(len(self._left))

    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        if not self._frames:
            if len(self._left) < 3:
                raise OSError("the cable is out")
            time.sleep(0.01)
            return False
        return picture(10 * len(self._left) + self._frames.pop(0))

    def position_s(self) -> float:
        return 0.0

    def close(self) -> None:
        self._left.append(-1)


def test_a_camera_that_drops_out_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    opened: list[int] = []
    with caplog.at_level(logging.INFO):
        camera = LiveCamera("cam", 0.0, opened=lambda source: _Failing(opened), first_wait_s=0.01)
        levels = set()
        deadline = time.monotonic() + 20
        while len([one for one in opened if one >= 0]) < 3 and time.monotonic() < deadline:
            found = camera.next(0.2)
            if found is not None:
                levels.add(int(found[0][0, 0, 0]))
        camera.close()
    assert len(levels) >= 2 and opened.count(-1) >= 2
    assert "the cable is out; trying again" in caplog.text and "cam is back" in caplog.text


class _BreaksOff:
    """A camera that gives a frame and raises, as PyAV does, each time."""

    def __init__(self) -> None:
        self._is_first = True

    def read(self, *, skip: bool = False) -> Pixels | bool | None:
        if not self._is_first:
            raise OSError("the stream broke off")
        self._is_first = False
        return picture(10)

    def position_s(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


def test_each_drop_out_of_a_camera_that_worked_is_the_first() -> None:
    """Waits that double would take 12.7 s until it is opened for the eighth time."""
    opened: list[float] = []

    def opens(source: str) -> _BreaksOff:
        opened.append(time.monotonic())
        return _BreaksOff()

    camera = LiveCamera("cam", 0.0, opened=opens, first_wait_s=0.1)
    deadline = time.monotonic() + 10
    while len(opened) < 8 and time.monotonic() < deadline:
        camera.next(0.2)
    camera.close()
    assert len(opened) >= 8, "a frame came, and the wait before the next try wasn't short again"


def test_a_camera_that_gives_no_frame_is_tried_less_and_less() -> None:
    opened: list[float] = []

    def fails(source: str) -> _BreaksOff:
        opened.append(time.monotonic())
        raise OSError("no route")

    camera = LiveCamera("cam", 0.0, opened=fails, first_wait_s=0.05)
    deadline = time.monotonic() + 20
    while len(opened) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    camera.close()
    assert opened[4] - opened[3] > 0.35, "the fourth wait is 0.4 s"
