"""Where `shelf watch` sends its events: the options, and all ways at once."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import EventError, PrivacyError
from shelfmatch.edge.cli.shelf_outputs import add_outputs, broker_of, outputs, pictures
from shelfmatch.edge.events.log import EventLog

from .broker import Listener, Mosquitto, until
from .test_delivery import SECRET, Receiver
from .worker import event


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--log")
    add_outputs(parser)
    return parser.parse_args(words)


class Shelf:
    """What a service tells about itself."""

    def __init__(self) -> None:
        self.slots = {"s0": "empty", "s1": "full", "camera": "empty"}

    def status(self) -> dict[str, Any]:
        slots = [{"id": name, "state": state, "expected": f"SKU-{name}"} for name, state in self.slots.items()]
        return {"plan": "Bay 1, left", "camera": "ok", "slots": slots}


def test_all_ways_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt: pip install 'shelfmatch[mqtt]'")
    broker, receiver, shelf = Mosquitto(tmp_path / "mosquitto"), Receiver(), Shelf()
    broker.start()
    monkeypatch.setenv("SHELFMATCH_WEBHOOK_SECRET", SECRET)
    listener = Listener(broker.port, "#")
    options = parsed("--json", "--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--webhook", receiver.url)
    with EventLog.open(tmp_path / "log") as log, outputs(options, log, shelf.status):
        for number in range(3):
            log.append(event(number))
        until(lambda: len(listener.on("shelfmatch/Bay-1-left/events")) == 3, "MQTT didn't get all")
        until(lambda: listener.on("shelfmatch/Bay-1-left/slots/s0/state") == ["ON"], "no states")
        until(lambda: listener.on("shelfmatch/Bay-1-left/slots/camera/state") == ["ON"], "no state of the slot camera")
        until(lambda: listener.on("shelfmatch/Bay-1-left/camera/state") == ["OFF"], "no state of the camera")
        shelf.slots = None  # type: ignore[assignment]  # what nobody expected
        until(lambda: "the states aren't published now" in caplog.text, "nothing was said")
        shelf.slots = {"s0": "full", "s2": "empty"}
        until(lambda: bool(listener.on("shelfmatch/Bay-1-left/slots/s2/state")), "another plan wasn't followed")
        until(lambda: listener.on("shelfmatch/Bay-1-left/slots/s1/state") == ["OFF", ""], "a slot that is gone stays")
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["e0", "e1", "e2"]
    assert [json.loads(body)["id"] for body in receiver.bodies] == ["e0", "e1", "e2"]
    assert all("webhook-signature" in headers for headers in receiver.taken)
    until(lambda: listener.on("shelfmatch/Bay-1-left/available")[-1] == "stopped", "it said no goodbye")
    listener.close()
    broker.close()
    receiver.shutdown()
    receiver.server_close()


def test_wrong_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    for words in (("--mqtt", "mqtt://host"), ("--webhook", "https://host/")):
        with pytest.raises(EventError, match="need a log"), outputs(parsed(*words), None, shelf.status):
            pass
    with outputs(parsed(), None, shelf.status):
        pass
    for url in (
        *("http://host", "mqtt://user:secret@host", "mqtt://:secret@host", "mqtt://", "mqtt://host/topic"),
        *("mqtt://[::1", "mqtt://user:secret@[::1", "mqtt://user@host?password=secret", "mqtt://user@host#secret"),
    ):
        with pytest.raises(EventError, match="expected mqtt://HOST") as caught:
            broker_of(url, "")
        assert "secret" not in str(caught.value)
    with pytest.raises(EventError, match="wrong port"):
        broker_of("mqtt://host:70000", "")
    with pytest.raises(EventError, match="0 arrived as the broker's port"):
        broker_of("mqtt://host:0", "")
    with pytest.raises(EventError, match="expected a name or an address"):
        broker_of("mqtt://broker..local", "")
    with pytest.raises(EventError, match="needs a log"):
        pictures(parsed("--pictures", "detector.tflite"), lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(PrivacyError, match="can't be read"):
        pictures(parsed("--pictures", str(tmp_path / "x.tflite"), "--log", "log"), lambda: None)  # type: ignore[arg-type, return-value]
    found = broker_of("mqtts://shelf%40shop@host", "pw")
    assert (found.host, found.port, found.username, found.password, found.tls) == (
        "host",
        8883,
        "shelf@shop",
        "pw",
        True,
    )
    assert broker_of("host", "pw").password == "", "no password without a user"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "SHELFMATCH_WEBHOOK_SECRET").write_text("whsec_wrong\n")
    with (
        EventLog.open(tmp_path / "log") as log,
        pytest.raises(EventError, match="secret can't be used"),
        outputs(parsed("--webhook", "https://host/"), log, shelf.status),
    ):
        pass
