"""The device's own camera as the service streams it: who looks, and a camera that is slow or fails."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.kiosk import device_camera
from shelfmatch.edge.kiosk.device_camera import DeviceCamera
from shelfmatch.edge.synthetic.products import make_shop

from .conftest import Started, film, streamed, tile

pytest.importorskip("cv2", reason="pip install 'shelfmatch[fast]'")


def test_many_viewers_at_once_find_no_more_room_than_one_after_the_other(
    started: Started, tile_shop: Path, tmp_path: Path
) -> None:
    """Each counted from its first bytes on, and twenty that came together had all found room by then."""
    camera = film(make_shop(1, seed=6)[0], tmp_path / "film.mjpeg")
    kiosk = started(tile_shop / "shop.bundle", "--camera", str(camera))
    connections = [http.client.HTTPConnection("127.0.0.1", kiosk.port, timeout=60) for _ in range(20)]
    for number, one in enumerate(connections):
        one.connect()
        one.putrequest("GET", "/v1/stream" if number % 2 else "/v1/stream/answers")
    for one in connections:
        one.endheaders()
    statuses = [one.getresponse().status for one in connections]
    assert sorted(set(statuses)) == [200, 503] and statuses.count(200) == 8
    for one in connections:
        one.close()
    end = time.monotonic() + 20
    while True:  # those who left are counted no more
        with contextlib.ExitStack() as opened:
            again = [opened.enter_context(streamed(kiosk, "/v1/stream")).status for _ in range(8)]
        if again == [200] * 8:
            break
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_camera_that_opens_slowly_is_no_failure(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """The page said for a moment that the camera can't be used, each time somebody came."""
    frames = film(make_shop(1, seed=6)[0], tmp_path / "film.mjpeg").read_bytes()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(4)
            self.send_response(200)
            self.send_header("content-type", "video/x-motion-jpeg")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(frames)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kiosk = started(tile_shop / "shop.bundle", "--camera", f"http://127.0.0.1:{server.server_port}/film.mjpeg")
        with streamed(kiosk, "/v1/stream/answers") as answer:
            assert answer.readline() == b"event: answer\n"
        kiosk.kill()
        server.shutdown()


def test_the_stream_of_a_camera_that_hangs_upside_down_is_upright(tmp_path: Path) -> None:
    path = film(make_shop(1, seed=6)[0], tmp_path / "film.mjpeg")
    shown = []
    for turn in (0, 180, 90):
        camera = DeviceCamera(str(path), 10.0, turn)
        try:
            end = time.monotonic() + 20
            while (frame := camera.newest(0)[1]) is None:
                assert time.monotonic() < end
        finally:
            camera.close()
        shown.append(np.asarray(Image.open(io.BytesIO(frame)).convert("L"), float))
    assert shown[2].shape == (640, 480)
    for turn, seen in ((2, shown[1]), (-1, shown[2])):
        assert np.abs(np.rot90(shown[0], turn) - seen).mean() < 5 < np.abs(shown[0].mean() - shown[0]).mean()


def test_a_camera_whose_driver_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The thread that reads it ended, and until the next start nobody saw anything."""
    opened = device_camera.frames_of
    tries = []

    def frames_of(source: str, *, turn: int) -> Any:
        tries.append(source)
        if len(tries) == 1:
            raise ValueError("what OpenCV raises is no error of ours")
        return opened(source, turn=turn)

    monkeypatch.setattr(device_camera, "frames_of", frames_of)
    monkeypatch.setattr(device_camera, "_RETRY_S", 0.1)
    camera = DeviceCamera(str(film(make_shop(1, seed=6)[0], tmp_path / "film.mjpeg")), 10.0)
    try:
        end = time.monotonic() + 20
        while (frame := camera.newest(0)[1]) is None:
            assert time.monotonic() < end
        assert frame[:3] == b"\xff\xd8\xff" and camera.problem == ""
    finally:
        camera.close()


def test_a_viewer_whose_body_never_comes_is_told_so(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """The stream began, and ended in 90 lines of the log each time: whoever is on the network could fill the disk with them."""
    camera = film(make_shop(1, seed=6)[0], tmp_path / "film.mjpeg")
    kiosk = started(tile_shop / "shop.bundle", "--camera", str(camera), "--set", "server.body_seconds=0.5")
    for path in ("/v1/stream", "/v1/stream/answers"):
        connection = http.client.HTTPConnection("127.0.0.1", kiosk.port, timeout=60)
        connection.putrequest("GET", path)
        connection.putheader("content-length", "1000")
        connection.endheaders()
        assert connection.getresponse().status == 408
        connection.close()
    assert "Traceback" not in kiosk.log.read_text()


def test_no_client_shows_the_devices_camera_what_it_wants(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """Frames that others sent by the name of its session were weighed together with those of the camera."""
    photo = tile(1)
    (tmp_path / "film.mjpeg").write_bytes(photo * 40)
    kiosk = started(tile_shop / "shop.bundle", "--camera", str(tmp_path / "film.mjpeg"))
    with streamed(kiosk, "/v1/stream/answers") as answer:
        while b'"frames":4' not in answer.readline():
            pass
        found = kiosk.match(photo, "?session=device-camera")
    assert found.status == 200 and found.json["frames"] == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends connections by themselves")
def test_viewers_who_take_nothing_keep_nobody_out(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """Eight screens that were switched off, or somebody's eight connections, kept every other screen away."""
    camera = film(make_shop(1, seed=6)[0], tmp_path / "film.mjpeg")
    kiosk = started(tile_shop / "shop.bundle", "--camera", str(camera), "--set", "camera.frames_per_second=60")
    with contextlib.ExitStack() as opened:
        for _ in range(8):
            one = opened.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", kiosk.port))
            one.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        end = time.monotonic() + 90
        while True:
            with streamed(kiosk, "/v1/stream") as answer:
                if answer.status == 200:
                    break
            assert time.monotonic() < end
            time.sleep(1)
