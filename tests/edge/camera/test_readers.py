"""What opens a camera or a video: OpenCV, PyAV, picamera2; and how their pictures are turned."""

from __future__ import annotations

import http.server
import struct
import sys
import threading
import types
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import ImageError
from shelfmatch.edge.camera.readers import frames_of, open_reader
from shelfmatch.edge.camera.sources import frames
from shelfmatch.edge.imaging.image import Pixels

from .conftest import picture, video

cv2 = pytest.importorskip("cv2", reason="videos need OpenCV (shelfmatch[fast])")


def test_pyav_reads_what_opencv_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="PyAV comes with shelfmatch[camera]")
    from shelfmatch.edge.camera import readers

    reader = readers._Av(str(video(tmp_path / "shelf.avi", 3)))
    first, skipped, third = reader.read(), reader.read(skip=True), reader.read()
    assert skipped is None and isinstance(first, np.ndarray) and isinstance(third, np.ndarray)
    assert (int(first[0, 0, 0]), int(third[0, 0, 0])) == pytest.approx((0, 20), abs=3)
    assert reader.read() is False
    reader.close()
    with pytest.raises(ImageError, match="can't be opened"):
        readers._Av(str(tmp_path / "none.avi"))


def test_pyav_names_a_file_that_is_sound_alone(tmp_path: Path) -> None:
    """It was "tuple index out of range", with its traceback."""
    pytest.importorskip("av", reason="PyAV comes with shelfmatch[camera]")
    from shelfmatch.edge.camera import readers

    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(ImageError, match=r"sound\.wav has no pictures; expected a video"):
        readers._Av(str(tmp_path / "sound.wav"))


@pytest.mark.parametrize("status", [401, 404, 500])
def test_pyav_says_what_a_camera_on_the_network_answered(status: int) -> None:
    """It was FFmpeg's own error: a traceback with the address, and in the journal of a kiosk the password in it."""
    pytest.importorskip("av", reason="PyAV comes with shelfmatch[camera]")
    from shelfmatch.edge.camera import readers

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}/x.mp4"
        with pytest.raises(
            ImageError, match=rf"^http://\*\*\*@{address} can't be opened: .*{status // 100}[^\n]*$"
        ) as caught:
            readers._Av(f"http://anna:s3cret@{address}")
        server.shutdown()
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ImageError, match=r"^foo://bar can't be opened: .*Protocol not found"):
        readers._Av("foo://bar")


@pytest.mark.parametrize("reader", ["_OpenCv", "_Av"])
@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), (0, 1)), ((0, -1, 1, 0), (1, 0)), ((-1, 0, 0, -1), (1, 1))]
)
def test_a_phone_s_video_is_turned_as_it_notes(
    tmp_path: Path, reader: str, matrix: tuple[int, ...], corner: tuple[int, int]
) -> None:
    if reader == "_Av":
        pytest.importorskip("av", reason="PyAV comes with shelfmatch[camera]")
    from shelfmatch.edge.camera import readers

    path, pixels = tmp_path / "phone.mp4", np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :16] = 255
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    writer.write(pixels)
    writer.release()
    # The track's matrix a, b, u, c, d, v, x, y, w: 16.16 fixed-point numbers, w 2.30 (ISO/IEC 14496-12, 8.3.2).
    level, (a, b, c, d) = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), (65536 * one for one in matrix)
    held, track = path.read_bytes(), path.read_bytes().index(b"tkhd")
    before, after = struct.pack(">9i", *level), struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    assert before in held[track:]
    path.write_bytes(held[:track] + held[track:].replace(before, after, 1))

    opened = getattr(readers, reader)(str(path))
    frame = opened.read()
    opened.close()
    assert frame.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
    rows, columns = (8 if not low else frame.shape[axis] - 8 for axis, low in enumerate(corner))
    assert frame[rows, columns, 0] > 200 and np.mean(frame > 128) < 0.2


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_pictures_of_a_camera_that_hangs_on_its_side_are_turned(tmp_path: Path, turn: int) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :16] = 255  # the left
    Image.fromarray(pixels).save(tmp_path / "a.png")
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    writer.write(pixels)
    writer.release()
    expected = Image.fromarray(pixels).rotate(-turn, expand=True)
    video = str(tmp_path / "a.avi")
    found = [next(frames(str(source), turn=turn)) for source in (tmp_path / "a.png", video)]
    shown = [next(frames_of(video, turn=turn)), *(frame.pixels for frame in found if frame is not None)]
    assert len(shown) == 3
    for one in shown:
        assert one.shape == (expected.height, expected.width, 3) and one.flags.c_contiguous
        assert np.abs(one.astype(int) - np.asarray(expected)).mean() < 4
    for wrong in (45, -90, 360):
        for opened in (frames, frames_of):
            with pytest.raises(
                ImageError, match=r"a turn of -?\d+ arrived; expected 0, 90, 180, 270 degrees clockwise"
            ):
                next(opened(video, turn=wrong))


def test_a_csi_camera_gives_all_its_pixels_to_a_shelf_and_many_frames_to_a_kiosk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """picamera2 needs a board; this stands for what is asked of it."""
    asked: list[tuple[str, dict[str, object]]] = []

    class Picamera2:
        def __init__(self, number: int) -> None:
            self.number = number

        def create_still_configuration(self, main: dict[str, object]) -> tuple[str, dict[str, object]]:
            return "still", main

        def create_video_configuration(self, main: dict[str, object]) -> tuple[str, dict[str, object]]:
            return "video", main

        def configure(self, found: tuple[str, dict[str, object]]) -> None:
            asked.append(found)

        def start(self) -> None:
            pass

        def capture_array(self, name: str) -> Pixels:
            return picture(10 * self.number)

        def close(self) -> None:
            asked.append(("closed", {}))

    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))  # type: ignore[arg-type]
    reader = open_reader("csi")
    reader.close()
    many = frames_of("csi:2", turn=180)
    assert [int(next(many)[0, 0, 0]) for _ in range(3)] == [20, 20, 20]
    many.close()
    assert asked == [
        ("still", {"format": "BGR888"}),
        ("closed", {}),
        ("video", {"size": (1280, 960), "format": "BGR888"}),
        ("closed", {}),
    ]


def test_a_csi_camera_that_does_not_start_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """picamera2 lists it until it is closed, and would have refused each further try."""
    asked: list[str] = []

    class Picamera2:
        def __init__(self, number: int) -> None:
            asked.append(f"opened {number}")

        def create_still_configuration(self, main: dict[str, object]) -> dict[str, object]:
            return main

        def configure(self, found: dict[str, object]) -> None:
            raise RuntimeError("no memory for its frames")

        def close(self) -> None:
            asked.append("closed")

    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="CSI camera 1 can't be opened: no memory for its frames"):
        open_reader("csi:1")
    assert asked == ["opened 1", "closed"]


def test_a_csi_camera_without_picamera2_says_how_to_get_it() -> None:
    from shelfmatch.edge import RuntimeUnavailable

    with pytest.raises(RuntimeUnavailable, match="apt install python3-picamera2"):
        open_reader("csi")
