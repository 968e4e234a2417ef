"""The list of known encoders, and fetching them: from a real HTTP server that breaks off, ignores ranges or lies.

One module of over 400 lines: all ask one server.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderError
from shelfmatch.edge.encoders.registry import known_encoders
from shelfmatch.models.known import KnownEncoder, all_encoders, encoder_named
from shelfmatch.models.pull import pull
from tests.support.tiny_models import average_tflite


@dataclass
class Server:
    """One file over HTTP. `breaks_after`: bytes of the next answer before the connection is cut; `ranges`: whether it goes
    on where asked; `refuses`: whether it has 416 for every range; `requests`: the Range headers that arrived."""

    data: bytes
    breaks_after: int | None = None
    ranges: bool = True
    refuses: bool = False
    missing: bool = False
    address: str = ""
    requests: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(average_tflite())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requests.append(asked)
            if state.missing:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start and (state.refuses or start >= len(state.data)):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.data) - 1}/{len(state.data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.breaks_after is not None:
                body, state.breaks_after = body[: state.breaks_after], None
                self.wfile.write(body)
                self.connection.close()
                return
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.address = f"http://127.0.0.1:{httpd.server_port}/models"
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


@pytest.fixture
def tiny() -> KnownEncoder:
    data = average_tflite()
    return KnownEncoder(
        "tiny", "download", 48, (32, 32), "crop", "MIT", "a tiny network", size_bytes=len(data), file="tiny-file.tflite",
        url="http://127.0.0.1:9/nowhere/tiny-file.tflite", sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fetched_and_usable(
    server: Server, tiny: KnownEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    card = pull(tiny, tmp_path, server.address, told.append)
    assert names(tmp_path) == {"tiny.tflite", "tiny.json"} and sum(told) == len(server.data)
    encoder = Encoder.load(card)
    assert (encoder.card.name, encoder.card.license, encoder.card.resize) == ("tiny", "MIT", "crop")
    assert tiny.url in encoder.card.provenance and tiny.sha256 in encoder.card.provenance
    assert abs(float(np.linalg.norm(encoder.embed(np.full((40, 40, 3), 90, np.uint8))[0])) - 1) < 1e-5
    monkeypatch.setenv("SHELFMATCH_ENCODERS", str(tmp_path))
    assert Encoder.load("tiny").card == encoder.card and known_encoders()["tiny"] == card
    pull(tiny, tmp_path, server.address)
    assert len(server.requests) == 1  # whole already: not asked again
    (tmp_path / "tiny.tflite").write_bytes(b"damaged")
    pull(tiny, tmp_path, server.address)
    assert len(server.requests) == 2 and (tmp_path / "tiny.tflite").read_bytes() == server.data


@pytest.fixture
def garbling(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server whose TLS ends in garbage after half of the file."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with: apt-get install openssl")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*made, *named], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(urllib.request, "_opener", None)  # from 3.12 on it keeps the certificates of its first address
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    data = average_tflite()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as secret:
                secret.recv(65536)
                secret.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[: len(data) // 2])
                # Past the encryption, on the same connection.
                os.write(secret.fileno(), bytes(range(256)))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/models"
        thread.join()


def test_a_connection_that_goes_bad_is_no_disk_that_is_full(garbling: str, tiny: KnownEncoder, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"can't be fetched \(.*SSL.*\); try again and it goes on from there"):
        pull(tiny, tmp_path, garbling)
    assert names(tmp_path) == {".tiny-file.tflite.part"}


def test_goes_on_where_the_connection_broke(server: Server, tiny: KnownEncoder, tmp_path: Path) -> None:
    half = len(server.data) // 2
    server.breaks_after = half
    with pytest.raises(EncoderError, match="goes on from there"):
        pull(tiny, tmp_path, server.address)
    assert names(tmp_path) == {".tiny-file.tflite.part"}
    pull(tiny, tmp_path, server.address)
    assert server.requests == [None, f"bytes={half}-"]
    assert (tmp_path / "tiny.tflite").read_bytes() == server.data and names(tmp_path) == {"tiny.tflite", "tiny.json"}


def test_begins_again_where_ranges_are_ignored(server: Server, tiny: KnownEncoder, tmp_path: Path) -> None:
    (tmp_path / ".tiny-file.tflite.part").write_bytes(server.data[:200])
    server.ranges = False
    pull(tiny, tmp_path, server.address)
    assert server.requests == ["bytes=200-"] and (tmp_path / "tiny.tflite").read_bytes() == server.data


@pytest.mark.parametrize(
    "wrong", [lambda data: data[:-1] + b"\0" + data[-1:], lambda data: bytes(len(data)), lambda data: data + b"more"]
)
def test_a_wrong_file_is_not_kept(server: Server, tiny: KnownEncoder, tmp_path: Path, wrong: Any) -> None:
    server.data = wrong(server.data)
    with pytest.raises(EncoderError, match="nothing was kept"):
        pull(tiny, tmp_path, server.address)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("left", [200, len(average_tflite()), len(average_tflite()) + 1])
def test_an_unfinished_copy_of_another_file(server: Server, tiny: KnownEncoder, tmp_path: Path, left: int) -> None:
    """It is found out by the hash and thrown away, and the server judged by a whole answer of its own."""
    part = tmp_path / ".tiny-file.tflite.part"
    part.write_bytes(b"x" * left)
    asked = ["bytes=200-"] if left == 200 else []
    told: list[int] = []
    pull(tiny, tmp_path, server.address, told.append)
    assert server.requests == [*asked, None] and (tmp_path / "tiny.tflite").read_bytes() == server.data
    assert sum(told) == len(server.data)
    (tmp_path / "tiny.json").unlink()
    part.write_bytes(b"x" * left)
    server.requests.clear()
    server.data = bytes(len(server.data))
    with pytest.raises(EncoderError, match="nothing was kept"):
        pull(tiny, tmp_path, server.address)
    assert server.requests == [*asked, None] and not part.exists()


def test_a_log_in_page_is_not_gone_on_from(server: Server, tiny: KnownEncoder, tmp_path: Path) -> None:
    right, server.data = server.data, b"<html>log in here</html>\r\n"
    with pytest.raises(EncoderError) as caught:
        pull(tiny, tmp_path, server.address)
    message = str(caught.value)
    assert f"has 26 bytes, expected {len(right):,}: " in message and "\n" not in message and "--mirror" in message
    assert names(tmp_path) == set()
    server.data = right
    pull(tiny, tmp_path, server.address)
    assert server.requests == [None, None] and (tmp_path / "tiny.tflite").read_bytes() == right


@pytest.mark.parametrize(
    ("left", "asked"), [(0, [None]), (100, ["bytes=100-"]), (300, ["bytes=300-", None]), (400, ["bytes=400-", None])]
)
def test_a_cut_file(server: Server, tiny: KnownEncoder, tmp_path: Path, left: int, asked: list[str | None]) -> None:
    """Its server has 300 bytes; `left` is what an earlier pull left."""
    right, server.data = server.data, server.data[:300]
    if left:
        (tmp_path / ".tiny-file.tflite.part").write_bytes(right[:left])
    with pytest.raises(EncoderError, match=f"has 300 bytes, expected {len(right):,}: .* nothing was kept"):
        pull(tiny, tmp_path, server.address)
    assert server.requests == asked and names(tmp_path) == set()


def test_begins_again_where_ranges_are_refused(server: Server, tiny: KnownEncoder, tmp_path: Path) -> None:
    (tmp_path / ".tiny-file.tflite.part").write_bytes(server.data[:200])
    server.refuses = True
    pull(tiny, tmp_path, server.address)
    assert server.requests == ["bytes=200-", None] and (tmp_path / "tiny.tflite").read_bytes() == server.data


def test_a_mirror_folder(tiny: KnownEncoder, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / tiny.file).write_bytes(average_tflite())
    pull(tiny, tmp_path / "to", tmp_path / "mirror")
    assert names(tmp_path / "to") == {"tiny.tflite", "tiny.json"}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and can't be read")
def test_a_mirror_that_cant_be_read_and_a_folder_that_cant_be_written(tiny: KnownEncoder, tmp_path: Path) -> None:
    mirror, target = tmp_path / "mirror", tmp_path / "to"
    part = target / ".tiny-file.tflite.part"
    mirror.mkdir()
    target.mkdir()
    part.write_bytes(b"half")
    (mirror / tiny.file).symlink_to("/proc/self/mem")
    with pytest.raises(EncoderError, match=f"file {mirror / tiny.file} can't be read .Input/output error.; "):
        pull(tiny, target, mirror)
    assert part.read_bytes() == b"half"
    (mirror / tiny.file).unlink()
    (mirror / tiny.file).write_bytes(average_tflite())
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(EncoderError, match=f"{target} can't be written to .No space left on device.; "):
        pull(tiny, target, mirror)


def test_what_stands_in_the_way(server: Server, tiny: KnownEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server.missing = True
    cases = [
        (lambda: pull(tiny, tmp_path), "can't be fetched (Connection refused"),
        (lambda: pull(tiny, tmp_path, server.address), "can't be fetched (Not Found)"),
        (lambda: pull(tiny, tmp_path, tmp_path), f"has no {tiny.file}"),
        (lambda: pull(tiny, tmp_path, "ftp://somewhere"), "expected a folder or an address with http:// or https://"),
        (lambda: pull(tiny, tmp_path / "file" / "deeper"), "name a folder with --to"),
        (lambda: pull(replace(tiny, kind="embedded"), tmp_path), "is here already"),
        (lambda: pull(replace(tiny, kind="export", source="timm:x"), tmp_path), "shelfmatch export timm:x"),
        (lambda: encoder_named("mobilenet"), "expected one of shelfmatch-"),
    ]
    for call, message in cases:
        with pytest.raises(EncoderError) as caught:
            call()
        assert message in str(caught.value).replace("[Errno 111] ", "") and "\n" not in str(caught.value)


def test_one_pull_at_a_time(tiny: KnownEncoder, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True); input()",
         str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(EncoderError, match="another process is fetching"):
            pull(tiny, tmp_path, tmp_path)
    finally:
        holder.communicate(b"\n")


def test_the_list_is_sound() -> None:
    encoders = all_encoders()
    assert len({encoder.name for encoder in encoders}) == len(encoders) >= 9
    for encoder in encoders:
        assert (
            encoder.license and encoder.about and encoder.dimension > 0 and encoder.resize in ("squash", "crop", "pad")
        )
        if encoder.kind == "download":
            assert encoder.url.startswith("https://") and encoder.url.endswith(encoder.file)
            assert len(encoder.sha256) == 64 and encoder.size_bytes > 100_000
        if encoder.kind == "export":
            assert encoder.source.startswith(("timm:", "hf:"))


def test_the_real_files_are_those_of_the_list(coral_models: Path, tmp_path: Path) -> None:
    encoders = [encoder for encoder in all_encoders() if encoder.kind == "download"]
    assert len(encoders) == 3
    for encoder in encoders:
        loaded = Encoder.load(pull(encoder, tmp_path, coral_models))
        assert (loaded.card.height, loaded.card.width) == encoder.input
        assert loaded.card.dimension == encoder.dimension


def test_the_command(server: Server, tmp_path: Path) -> None:
    def run(*arguments: str, folder: Path = tmp_path / "own") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SHELFMATCH_ENCODERS": str(folder)}
        command = [sys.executable, "-m", "shelfmatch.edge.cli", "encoders", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    listed = json.loads(run("--json").stdout)
    assert [row["name"] for row in listed if row["default"]] and all(row["license"] for row in listed)
    text = run().stdout
    assert "(default)" in text and "to get it: shelfmatch encoders pull coral-mobilenetv1" in text
    # Another file under the right name, from a server: refused by its hash.
    server.data = bytes(encoder_named("coral-mobilenetv1").size_bytes)
    done = run("pull", "coral-mobilenetv1", "--mirror", server.address)
    assert (
        (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1 and "nothing was kept" in done.stderr
    )
    for arguments, message in (
        (["pull"], "arrived without a name"),
        (["pull", "nothing"], "unknown encoder 'nothing'"),
        (["--mirror", "x"], "go with: shelfmatch encoders pull NAME"),
    ):
        done = run(*arguments)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_real_one_by_command(coral_models: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "SHELFMATCH_ENCODERS": str(tmp_path)}

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "shelfmatch.edge.cli", "encoders", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    assert run("pull", "coral-mobilenetv2", "--mirror", str(coral_models))["name"] == "coral-mobilenetv2"
    assert [row["here"] for row in run() if row["name"] == "coral-mobilenetv2"] == [True]


def test_a_card_of_ones_own_is_listed(tiny: KnownEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / tiny.file).write_bytes(average_tflite())
    card = pull(tiny, tmp_path / "to", tmp_path / "mirror")
    shutil.move(card, card.with_name("mine.json"))
    monkeypatch.setenv("SHELFMATCH_ENCODERS", str(tmp_path / "to"))
    mine = encoder_named("mine")
    assert (mine.kind, mine.how(), mine.dimension) == ("own", "", 48)


@pytest.fixture
def own_folder(tiny: KnownEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoders' folder with a sound card, a record of another kind, and two cards whose files are gone."""
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / tiny.file).write_bytes(average_tflite())
    folder = tmp_path / "to"
    card = pull(tiny, folder, tmp_path / "mirror")
    record = {**json.loads(card.read_bytes()), "file": "away.tflite"}
    for name in ("gone", "coral-mobilenetv1"):
        (folder / f"{name}.json").write_text(json.dumps(record))
    (folder / "labels.json").write_text('{"labels": 1}')
    monkeypatch.setenv("SHELFMATCH_ENCODERS", str(folder))
    return folder


def test_cards_that_cant_be_used_are_told_and_the_rest_listed(own_folder: Path) -> None:
    command = [sys.executable, "-m", "shelfmatch.edge.cli", "encoders"]
    for arguments in ([], ["--json"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0
        told = done.stderr.splitlines()
        assert len(told) == 3 and all(line.startswith("shelfmatch: ") and str(own_folder) in line for line in told)
        for name in ("gone.json", "coral-mobilenetv1.json", "labels.json"):
            assert sum(f"{own_folder / name}" in line for line in told) == 1
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {"tiny", "shelfmatch-cnn", "coral-mobilenetv2"} <= set(rows) and not {"gone", "labels"} & set(rows)
    coral = rows["coral-mobilenetv1"]
    assert (coral["here"], coral["get"]) == (False, "shelfmatch encoders pull coral-mobilenetv1")


def test_a_card_that_cant_be_used_stops_its_own_name_only(own_folder: Path, server: Server) -> None:
    command = [sys.executable, "-m", "shelfmatch.edge.cli", "encoders", "pull", "coral-mobilenetv1"]
    done = subprocess.run([*command, "--mirror", server.address], capture_output=True, text=True)
    assert server.requests == [None] and done.stderr.count("\n") == 1 and str(own_folder) not in done.stderr
    assert encoder_named("tiny").kind == "own"
    for load in (Encoder.load, encoder_named):
        with pytest.raises(EncoderError, match=r"labels.json: encoder card: unknown field labels"):
            load("labels")
        with pytest.raises(EncoderError, match=r"gone.json names the file away.tflite, which is not beside it"):
            load("gone")
