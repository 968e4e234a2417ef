"""Standard output and webhooks: in order, again until it arrived, and what is refused for good is left out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shelfmatch.edge import EventError
from shelfmatch.edge.events import delivery
from shelfmatch.edge.events.delivery import Delivery, NotDelivered, json_lines
from shelfmatch.edge.events.entry import Entry
from shelfmatch.edge.events.log import EventLog
from shelfmatch.edge.events.webhook import Webhook

from .broker import until
from .unreadable import unreadable
from .worker import event

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses in `answers`, then with 200; keeps what was taken."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.taken: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.requests = 0
        self.retry_after = "1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.taken.append({name.lower(): value for name, value in self.headers.items()})
            self.server.bodies.append(body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        if status == 429:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def test_lines_of_json(tmp_path: Path) -> None:
    stream = io.StringIO()
    with EventLog.open(tmp_path) as log, Delivery(log, "stdout", json_lines(stream)):
        for number in range(3):
            log.append(event(number))
        until(lambda: stream.getvalue().count("\n") == 3, "the lines didn't come")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["id"] for line in lines] == ["e0", "e1", "e2"]
    assert [line["sequence"] for line in lines] == [1, 2, 3]
    assert lines[0]["after"] == {"state": "empty"}
    stream.close()
    with pytest.raises(NotDelivered, match="can't be written"):
        json_lines(stream)(Entry(1, "m-1", 0.0, event(1)))


def test_a_webhook_gets_all_in_order(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.02)
    receiver.answers = [503, 302, 429, 200, 400, 200, 500]
    with EventLog.open(tmp_path) as log, Delivery(log, "hook", Webhook(receiver.url, SECRET).send) as hook:
        for number in range(5):
            log.append(event(number))
        until(lambda: len(receiver.taken) == 4, "not all arrived")
        until(lambda: log.consumer("hook").position == 5, "not all is noted")
        assert hook.problem == ""
    ids = [json.loads(body)["id"] for body in receiver.bodies]
    assert ids == ["e0", "e2", "e3", "e4"], "e1 was refused with 400"
    for headers, body in zip(receiver.taken, receiver.bodies, strict=True):
        assert headers["webhook-id"] == json.loads(body)["message_id"]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        right = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{right}"
        assert headers["content-type"] == "application/json"


def test_a_receiver_that_is_away(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.02)
    with EventLog.open(tmp_path) as log:
        with Delivery(log, "hook", Webhook("http://127.0.0.1:9/secret").send) as hook:
            log.append(event(0))
            until(lambda: "http://127.0.0.1:9 can't be reached" in hook.problem, "it doesn't say so")
            assert "secret" not in hook.problem
        with Delivery(log, "hook", Webhook(receiver.url).send):
            until(lambda: len(receiver.taken) == 1, "it didn't arrive later")
    assert "webhook-signature" not in receiver.taken[0]


def test_a_disk_that_cant_be_read_is_tried_with_pauses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with EventLog.open(tmp_path) as log:
        delivery = Delivery(log, "stdout", json_lines(stream))
        for number in range(2):
            log.append(event(number))
        for _ in range(2):  # the second time is said, too
            caplog.clear()
            with unreadable(log) as tried:
                if not delivery._thread.is_alive():
                    delivery.start()
                else:
                    log.append(event(2))
                time.sleep(2)
            assert 2 <= len(tried) < 50, "two tries each half second"
            assert caplog.text.count("can't be read now") == 1
            until(lambda: log.consumer("stdout").position == log._last, "it didn't go on")
        delivery.stop()
    assert [json.loads(line)["id"] for line in stream.getvalue().splitlines()] == ["e0", "e1", "e2"]


def test_a_pause_that_cant_be_reckoned(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.02)
    receiver.answers, receiver.retry_after = [429], "Mon, 01 Jan 2026 00:00:00 +99999999999999999999"
    with EventLog.open(tmp_path) as log, Delivery(log, "hook", Webhook(receiver.url).send) as hook:
        log.append(event(1))
        until(lambda: len(receiver.taken) == 1, "it isn't tried again")
        until(lambda: hook.problem == "", "the problem stays")
    assert "answered 429; expected 2xx" in caplog.text and "Error" not in caplog.text


def test_what_nobody_expected_ends_no_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.02)
    taken: list[str] = []
    is_well = threading.Event()

    def send(entry: Entry) -> delivery.Outcome:
        if not is_well.is_set():
            raise OverflowError("too\nlarge")
        taken.append(entry.event.id)
        return "arrived"

    with EventLog.open(tmp_path) as log, Delivery(log, "own", send) as own:
        for number in range(2):
            log.append(event(number))
        until(lambda: own.problem == "OverflowError: too large", "the problem isn't said")
        is_well.set()
        until(lambda: taken == ["e0", "e1"], "it isn't tried again")
        until(lambda: own.problem == "", "the problem stays")
    assert [one.getMessage() for one in caplog.records] == ["own: OverflowError: too large; events wait in the log"], (
        "once, in one line"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/s3cret",
        "https://",
        "https://user:password@host/s3cret",
        "https://:password@host/s3cret",
        "https://@host/s3cret",
        "https://host/s3cret\n",
        "https://host/s3cret path",
        "https://host/s3cret\x7f",
        " https://host/s3cret",
        "https://host/s3crét",
        "https://host\\s3cret",
        "https://host:99999/s3cret",
        "https://host:0/s3cret",
        "https://host:-1/s3cret",
        "https://host:s3cret",
        "https://a..b/s3cret",
        f"https://{'x' * 64}/s3cret",
        "https://[::1/s3cret",
        "https://[s3cret]/",
    ],
)
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(EventError, match="expected https://HOST/PATH") as caught:
        Webhook(url)
    assert "s3cr" not in str(caught.value) and "password@" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.0.0.1:8080/a%20b?c=d#e", "http://127.0.0.1:8080"),
        ("https://bücher.example/x", "https://bücher.example"),
        ("https://my_pi.local./x", "https://my_pi.local."),
        ("http://[fe80::1%25eth0]:80/", "http://fe80::1%25eth0:80"),
        ("http://host:/x", "http://host"),
    ],
)
def test_right_addresses(url: str, place: str) -> None:
    assert Webhook(url).place == place


def test_wrong_settings() -> None:
    for secret in ("abc", "whsec_abc", "whsec_" + base64.b64encode(b"short").decode(), "whsec_???"):
        with pytest.raises(EventError, match="expected whsec") as caught:
            Webhook("https://host/", secret)
        assert secret not in str(caught.value)
    with pytest.raises(EventError, match=r"expected 0\.1 to 300 seconds"):
        Webhook("https://host/", timeout_s=0)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """Against their own library, where it is installed."""
    library = pytest.importorskip("standardwebhooks", reason="pip install standardwebhooks")
    entry, hook = Entry(1, "m-1", 0.0, event(1)), Webhook("https://host/", SECRET)
    body = json.dumps(entry.to_dict()).encode()
    headers = hook.headers(entry, body, int(time.time()))
    assert library.Webhook(SECRET).verify(body, headers)["id"] == "e1"
    with pytest.raises(library.WebhookVerificationError):
        library.Webhook(SECRET).verify(body + b" ", headers)
