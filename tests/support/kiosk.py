"""A real kiosk in a process of its own, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def jpeg(image: Image.Image, quality: int = 92) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


class KioskProcess:
    """`shelfmatch serve` with these options; ready when this is made. Its log goes to `log`."""

    def __init__(self, bundle: Path, folder: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.bundle, self.folder = bundle, folder
        self.log = folder / "kiosk.log"
        self.code = ""
        self._options = options
        self._env = {**os.environ, **(env or {})}
        self.start()

    def start(self, wait_s: float = 120.0) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shelfmatch.edge.cli", "serve", str(self.bundle), "--port", str(self.port), *self._options],
                stdout=log, stderr=log, env=self._env,
            )  # fmt: skip
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.get("/healthz").status == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the kiosk didn't start:\n{self.log.read_text()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 120
    ) -> Answer:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, None, headers)

    def match(self, photo: bytes, query: str = "") -> Answer:
        return self.request("POST", f"/v1/match{query}", photo, {"content-type": "image/jpeg"})

    def staff(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", code: str | None = None
    ) -> Answer:
        headers = {"authorization": f"Bearer {self.code if code is None else code}"}
        return self.request(method, path, body, headers | ({"content-type": kind} if kind else {}))

    def enrol(self, photos: Sequence[bytes], **fields: str) -> Answer:
        kind, body = form(photos, fields)
        return self.staff("POST", "/v1/products", body, kind)

    def resident_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def form(photos: Sequence[bytes], fields: Mapping[str, str], name: str = "photos") -> tuple[str, bytes]:
    """(content type, body) of a form."""
    boundary, parts = "shelfmatch-test-boundary", []
    for key, value in fields.items():
        parts.append(f'--{boundary}\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode())
    for photo in photos:
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"; filename="a.jpg"\r\n'
        head += "content-type: image/jpeg\r\n\r\n"
        parts.append(head.encode() + photo + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()
