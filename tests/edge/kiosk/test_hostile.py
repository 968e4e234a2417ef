"""What nobody sends who means well, swaps under load, and kills while staff teach."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import importlib.util
import io
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shelfmatch.edge import add_to_bundle, remove_from_bundle
from tests.conftest import tile_photo, write_tiles
from tests.support import tiers
from tests.support.kiosk import KioskProcess, form, jpeg

from .conftest import Started, tile


def huge_png(side: int) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(1 << 20), 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_and_others_are_answered(kiosk: KioskProcess) -> None:
    before = kiosk.resident_mb()
    answer = kiosk.match(huge_png(20_000))
    assert answer.status == 422 and "too many pixels" in answer.json["detail"]
    assert kiosk.match(tile(3)).json["sku"] == "sku-003"
    assert kiosk.resident_mb() < before + 40


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: localhost@evil.example\r\n\r\n",
        b"GET http://evil.example/healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: localhost:80:80\r\n\r\n",
        b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\norigin: null\r\ncontent-length: 1\r\n\r\nx",
        b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\norigin: http://[\r\ncontent-length: 1\r\n\r\nx",
        b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost.evil.example\r\ncontent-length: 1\r\n\r\nx",
        b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\ncontent-length: 1\r\n\r\nx",
        b"GET /v1/stream HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n\r\n",
        b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\nx",
        b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /v1/products/%ff%fe%00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /v1/products/..%2f..%2fetc%2fpasswd/picture HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /page/%2e%2e%2fapp.py HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
)
def test_heads_that_mean_harm(kiosk: KioskProcess, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", kiosk.port)) as one:
        one.settimeout(10)
        one.sendall(head)
        try:
            answer = one.recv(4000)
        except (ConnectionResetError, TimeoutError):
            answer = b""
    status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 400
    assert 400 <= status < 500, answer
    assert kiosk.get("/healthz").status == 200


def test_forms_that_are_none(kiosk: KioskProcess) -> None:
    kind, good = form([tile(1)], {}, name="photo")
    for sent, said in (
        (good[:50], kind), (good[:-20], kind), (good, "multipart/form-data"), (good, "multipart/form-data; boundary=other"),
        (b"", kind), (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"), (good + good, kind),
        (form([tile(1)] * 3, {}, name="photo")[1], kind), (form([], {"photo": "text"})[1], kind),
    ):  # fmt: skip
        answer = kiosk.request("POST", "/v1/match", sent, {"content-type": said})
        assert answer.status in (200, 415, 422), (answer.status, answer.body)


def mutated(photo: bytes, rng: random.Random) -> bytes:
    """A photo with bytes changed, cut, doubled or swapped."""
    data = bytearray(photo)
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(max(1, len(data)))
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 200)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randint(1, 200)]
        elif kind == 3:
            data[at : at + 4] = rng.randbytes(4)
        else:
            data = data[: max(1, at)] if rng.random() < 0.1 else data
    return bytes(data)


@pytest.mark.slow
def test_thousands_of_mutated_photos(started: Started, tile_shop: Path) -> None:
    """No status but 200, 413, 422 (and 503 where the queue is full), the process lives, and its memory stays where it was."""
    kiosk = started(tile_shop / "shop.bundle")
    base = tile_photo(3, 1, 160)
    seeds = [jpeg(base)]
    for kind, more in (
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("TIFF", {}),
        ("BMP", {}),
    ):
        file = io.BytesIO()
        base.save(file, kind, **more)
        seeds.append(file.getvalue())
    rng = random.Random(1)
    for photo in seeds:
        assert kiosk.match(photo).status == 200

    def one(photo: bytes) -> int:
        return kiosk.match(photo).status

    def many(count: int) -> set[int]:
        photos = [mutated(rng.choice(seeds), rng) for _ in range(count)]
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            return set(threads.map(one, photos))

    statuses = many(300)
    warm = kiosk.resident_mb()
    statuses |= many(tiers.count(2_000, soak=10_000))
    assert statuses <= {200, 413, 422, 503}, statuses
    assert kiosk.process.poll() is None and kiosk.resident_mb() < warm + 30
    assert kiosk.match(tile(3)).json["sku"] == "sku-003" and "Traceback" not in kiosk.log.read_text()


@pytest.mark.slow
def test_schemathesis_finds_nothing(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """Every operation of the OpenAPI document, with and without a staff code: no 500, and answers as they are described."""
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("pip install schemathesis")
    bundle = shutil.copytree(tile_shop / "shop.bundle", tmp_path / "shop.bundle")
    kiosk = started(bundle, "--pictures", str(tile_shop), "--set", "staff.attempts=1000", staff=True)
    url = f"http://127.0.0.1:{kiosk.port}/v1/openapi.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", url, "--header", f"Authorization: Bearer {kiosk.code}",
            "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--exclude-path-regex", "/v1/stream", "--max-examples", str(tiers.count(25, soak=300)), "--request-timeout", "20",
            "--phases", "examples,coverage,fuzzing", "--seed", "1", "--suppress-health-check", "all",
        ],
        capture_output=True, text=True, cwd=tmp_path, timeout=540,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert kiosk.process.poll() is None and "Traceback" not in kiosk.log.read_text()


@pytest.mark.slow
def test_bundles_swapped_under_load(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """No request fails, and each answer is of one whole bundle: a product of some generations is found in those alone."""
    bundle = shutil.copytree(tile_shop / "shop.bundle", tmp_path / "shop.bundle")
    extra = write_tiles(tmp_path / "extra", range(20, 21))
    kiosk = started(bundle, "--set", "answers.watch_seconds=0.05", "--set", "answers.queue=64")
    answers: list[tuple[int, int, str | None]] = []
    problems: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = kiosk.match(tile(20))
            if answer.status != 200:
                problems.append(f"{answer.status} {answer.body[:200]!r}")
            else:
                answers.append((answer.json["generation"], answer.status, answer.json["sku"]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    swaps = tiers.count(30, soak=100)
    memory = 0.0
    try:
        for number in range(swaps):
            before = kiosk.get("/readyz").json["generation"]
            if number % 2 == 0:
                add_to_bundle(bundle, extra, workers=1)
            else:
                remove_from_bundle(bundle, ["sku-020"])
            until = time.monotonic() + 20
            while kiosk.get("/readyz").json["generation"] == before and time.monotonic() < until:
                time.sleep(0.01)
            if number == 5:
                memory = kiosk.resident_mb()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems and kiosk.get("/readyz").json["swaps"] == swaps
    has_it = {generation: sku for generation, _, sku in answers}
    assert len(has_it) > swaps / 2
    assert all(sku == ("sku-020" if generation % 2 == 0 else None) for generation, _, sku in answers), sorted(
        set(answers)
    )
    assert kiosk.resident_mb() < memory + 25


@pytest.mark.slow
def test_kills_while_staff_teach(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """What was acknowledged is there, what wasn't is whole or isn't there, and the kiosk starts each time."""
    bundle = shutil.copytree(tile_shop / "shop.bundle", tmp_path / "shop.bundle")
    kiosk = started(bundle, staff=True)
    rng = random.Random(2)
    begin = time.monotonic()
    assert kiosk.enrol([tile(99, 1), tile(99, 2)], sku="taught-first", name="first").status == 201
    takes_s = time.monotonic() - begin
    acknowledged = {"taught-first"}
    for number in range(tiers.count(12, soak=50)):
        sku = f"taught-{number:02d}"
        photos = [tile(100 + number, photo) for photo in (1, 2)]

        def teach(sku: str = sku, photos: list[bytes] = photos) -> None:
            try:
                if kiosk.enrol(photos, sku=sku, name=sku).status == 201:
                    acknowledged.add(sku)
            except OSError:
                pass

        thread = threading.Thread(target=teach)
        thread.start()
        time.sleep(rng.uniform(0.0, 1.3 * takes_s))
        kiosk.kill()
        thread.join()
        kiosk.start()
        there = {one["sku"] for one in kiosk.get("/v1/products?taught=true&limit=200").json["products"]}
        assert acknowledged <= there
        for one in there:
            assert kiosk.get(f"/v1/products/{one}").json["photos"] == 2
    assert len(acknowledged) > 1, "no kill came after an acknowledgement; the test shows nothing"
    last = max(acknowledged - {"taught-first"})
    assert kiosk.match(tile(100 + int(last[-2:]), 9)).json["sku"] == last


def test_load_past_the_queue_is_a_quick_503(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle", "--set", "answers.workers=1", "--set", "answers.queue=1")
    photo = jpeg(tile_photo(40, 1, 1600))  # unknown: its look-again passes take a while
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        answers: list[Any] = list(threads.map(lambda _: kiosk.match(photo), range(36)))
    statuses = {answer.status for answer in answers}
    assert statuses == {200, 503}
    refused = next(answer for answer in answers if answer.status == 503)
    assert int(refused.headers["retry-after"]) >= 1 and refused.json["type"] == "/v1/docs#busy"
    assert kiosk.match(tile(3)).status == 200
    assert b'shelfmatch_refused_total{reason="busy"}' in kiosk.get("/metrics").body


def test_who_doesnt_wait_after_a_503_is_kept_waiting(started: Started, tile_shop: Path) -> None:
    """The refusal comes at once and whole; the next request of that connection isn't read before the queue is worked off.

    The queue is long: of a short one, worked off in a tenth of a second, a busy machine shows neither.
    """
    kiosk = started(tile_shop / "shop.bundle", "--set", "answers.workers=1", "--set", "answers.queue=23")
    slow = jpeg(tile_photo(40, 1, 1600))  # unknown: its look-again passes take a while
    refused = threading.Event()

    def at_work() -> set[int]:
        statuses = set()
        until = time.monotonic() + 60
        while not refused.is_set() and time.monotonic() < until:
            with contextlib.suppress(ConnectionError):  # refused while it sends
                statuses.add(status := kiosk.match(slow).status)
                if status == 503:  # each of its connections is held for a while, and 64 may be
                    time.sleep(0.5)
        return statuses

    with concurrent.futures.ThreadPoolExecutor(26) as threads:
        works = [threads.submit(at_work) for _ in range(26)]
        connection = http.client.HTTPConnection("127.0.0.1", kiosk.port, timeout=60)
        begun, status, until = 0.0, 200, time.monotonic() + 50
        while status != 503 and time.monotonic() < until:
            time.sleep(0.1)  # another one's turn
            begun = time.monotonic()
            connection.request("POST", "/v1/match", tile(3), {"content-type": "image/jpeg"})
            answer = connection.getresponse()
            status = answer.status
            assert answer.read()
        told = time.monotonic()
        refused.set()
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        read_again = time.monotonic()
        connection.close()
        assert status == 503
        retry_s = int(answer.headers["retry-after"] or 0)
        assert retry_s >= 2, "the queue isn't long enough for this test"
        # 2 s: rounded from 1.5 on. Longer than for 2 s nobody's connection is held.
        assert read_again - begun >= 1.5, "read again before the queue can have been worked off"
        assert told - begun < read_again - told, "told only when the connection was read again"
        assert all(one.result() <= {200, 503} for one in works)


def test_pictures_never_leave_their_folder(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    """A link out of the folder, and a SKU that is a path."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "secret.jpg")
    (pictures / "sku-001.jpg").symlink_to(tmp_path / "secret.jpg")
    Image.new("RGB", (50, 50)).save(pictures / "sku-002.jpg")
    kiosk = started(tile_shop / "shop.bundle", "--pictures", str(pictures), staff=True)
    kiosk.enrol([tile(30, 1)], sku="../secret", name="x")
    kiosk.kill()
    kiosk.start()
    assert kiosk.get("/v1/products/sku-001/picture").status == 404
    assert kiosk.get("/v1/products/sku-002/picture").status == 200
    assert kiosk.get("/v1/products/..%2Fsecret/picture").status == 404
