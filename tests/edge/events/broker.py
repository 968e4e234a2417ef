"""A real mosquitto on a port of its own, to be killed and started again, and a client that notes what it is told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIG = """listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
max_queued_messages 100000
"""


def mosquitto() -> str:
    """The broker's program; skips the test where it isn't installed."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs mosquitto: apt-get install mosquitto")
    return found


class Mosquitto:
    """One broker. `kill` is kill -9."""

    def __init__(self, folder: Path) -> None:
        self._program = mosquitto()  # before anything is open that a skipped test would leave so
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        folder.mkdir()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(CONFIG.format(port=self.port, folder=folder) + "user root\n")
        self._log = (folder / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=self._log, stderr=self._log)
        until(lambda: self._answers(), "mosquitto took no connection")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop it for good."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Listener:
    """Subscribes with a session that outlives connections, and keeps all messages: (topic, text, retained)."""

    def __init__(self, port: int, *topics: str, name: str = "listener") -> None:
        from paho.mqtt import client as mqtt

        self.messages: list[tuple[str, str, bool]] = []
        self._lock = threading.Lock()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self.subscriptions = 0
        self._client.on_subscribe = self._on_subscribe
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        until(lambda: self.subscriptions == 1, "the broker took no subscription")

    def _on_subscribe(self, *_: object) -> None:
        self.subscriptions += 1

    def _on_message(self, _client: object, _data: object, message: Any) -> None:
        with self._lock:
            self.messages.append((message.topic, message.payload.decode(), bool(message.retain)))

    def on(self, topic: str) -> list[str]:
        """What was said on a topic."""
        with self._lock:
            return [text for name, text, _ in self.messages if name == topic]

    def events(self, topic: str) -> list[dict[str, Any]]:
        """What was said there, as JSON."""
        return [json.loads(text) for text in self.on(topic)]

    def say(self, topic: str, text: str) -> None:
        """Publish something."""
        self._client.publish(topic, text, 1).wait_for_publish(5)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def until(is_true: Callable[[], bool], complaint: str, seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)
