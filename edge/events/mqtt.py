"""Events and states over MQTT, from the log: nothing is lost while the broker is away, and all is said again when it is back.

paho-mqtt keeps its own queue in memory and drops or repeats as it sees fit, so each connection here is a new client with an empty
queue, and what was sent is known from the log alone: an entry counts as arrived when the broker acknowledged it (QoS 1). A broker
that is killed may take down what it had acknowledged but not passed on; what it acknowledged in the last seconds before a
connection broke is therefore sent once more. Receivers drop what they have by `message_id`.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import EventError, RuntimeUnavailable
from .delivery import Courier, NotDelivered, checked_seconds, is_host
from .entry import Entry
from .home_assistant import EXPIRES_S, Device, Topics, discovery, discovery_topic, key_of
from .log import EventLog

if TYPE_CHECKING:
    from paho.mqtt.client import Client

CALM: Final = ("full", "low", "hidden", "no view", "ok")
"""States of slots and cameras for which nobody needs to come at once."""
MOST_IN_FLIGHT: Final = 20
"""Messages that wait for the broker's acknowledgement; mosquitto takes so many at once (max_inflight_messages)."""
SENT_AGAIN_S: Final = 5.0
_KEEPALIVE_S: Final = 30
_CONNECT_S: Final = 10.0
_ACKNOWLEDGE_S: Final = 20.0
_SAY_AGAIN_S: Final = EXPIRES_S / 3
_STEP_S: Final = 0.25
_QOS: Final = 1


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is. `tls`: encrypted, with the system's certificates or those in `ca_file`. Raises EventError."""

    host: str
    port: int = 1883
    username: str = ""
    password: str = ""
    tls: bool = False
    ca_file: Path | None = None
    birth_delay_s: float = 10.0
    """At most so long after Home Assistant's birth message everything is said again; when, is drawn, so that many devices don't
    come at once."""
    discovery_prefix: str = "homeassistant"

    def __post_init__(self) -> None:
        if not is_host(self.host):
            raise EventError(
                f"{self.host!r} arrived as the broker's host; expected a name or an address, like broker.local"
            )
        if not 0 < self.port < 65536:
            raise EventError(
                f"{self.port!r} arrived as the broker's port; expected 1 to 65535, mostly 1883, or 8883 with TLS"
            )
        if self.password and not self.username:
            raise EventError("a password for the broker arrived without a user name; expected both")
        checked_seconds("birth_delay_s", self.birth_delay_s, 0.0, 300.0)


class MqttPublisher(Courier):
    """A thread that says a log's events, its slots' states and a device's discovery over MQTT.

    Raises RuntimeUnavailable without paho-mqtt.
    """

    def __init__(self, log: EventLog, broker: Broker, topics: Topics, device: Device) -> None:
        _paho()
        super().__init__(f"the broker {broker.host}", self._run)
        self._broker, self._topics = broker, topics
        self._consumer = log.consumer(f"mqtt {topics.prefix}")
        self._lock = threading.Lock()
        self._device = device
        self._gone: tuple[str, ...] = ()
        self._states: dict[str | None, Mapping[str, Any]] = {}
        """Of slots, and of the camera as None: a slot may be called camera."""
        self._unsaid: set[str | None] = set()
        """Whose state the broker doesn't have yet."""
        self._announce_at = 0.0
        self._acknowledged: deque[tuple[float, int]] = deque()
        """When, and which entries, in the last seconds."""
        self._again_from: int | None = None
        """From which entry on they are sent once more."""

    def set_device(self, device: Device) -> None:
        """The plan changed: announce its slots, and take those away that are gone."""
        with self._lock:
            self._gone = tuple(
                dict.fromkeys((*self._gone, *(slot for slot in self._device.slots if slot not in device.slots)))
            )
            keys = {key_of(slot) for slot in device.slots}
            self._gone = tuple(slot for slot in self._gone if key_of(slot) not in keys)
            self._device, self._announce_at = device, 0.0
            self._states = {name: state for name, state in self._states.items() if name not in self._gone}

    def set_states(self, slots: Mapping[str, Mapping[str, Any]], camera: Mapping[str, Any] | None = None) -> None:
        """What each slot, and the camera, shows now: JSON objects with `state`; `problem`, true or false, says whether somebody is
        needed; without it, a state that isn't one of CALM does. What differs from before is said at once, and all of it again every
        few minutes and whenever somebody may have missed it."""
        states: dict[str | None, Mapping[str, Any]] = {} if camera is None else {None: camera}
        states.update(slots.items())
        with self._lock:
            for name, state in states.items():
                if self._states.get(name) != state:
                    self._states[name] = dict(state)
                    self._unsaid.add(name)

    # -- the thread

    def _run(self) -> None:
        """Serve one connection. Raises whatever breaks it."""
        connection = _Connection(self._broker, self._topics)
        try:
            connection.open()
            self._arrived()
            self._serve(connection)
        except Exception as error:
            self._remember_recent()
            if isinstance(error, OSError):
                raise _Broken(str(error)) from error
            raise
        finally:
            connection.close()

    def _remember_recent(self) -> None:
        """The connection broke: what was acknowledged in the last seconds is sent once more."""
        recent = [number for at, number in self._acknowledged if at > time.monotonic() - SENT_AGAIN_S]
        if self._again_from is not None:
            recent.append(self._again_from)
        self._again_from = min(recent, default=None)
        self._acknowledged.clear()

    def _serve(self, connection: _Connection) -> None:
        """Publish until this ends, or until the connection breaks, which raises."""
        self._announce_at, said_at = 0.0, time.monotonic()
        again_until = cursor = self._consumer.position
        if self._again_from is not None:
            cursor = min(cursor, self._again_from - 1)
        while True:
            is_last = self._ended.is_set()
            connection.check()
            self._take_acknowledgements(connection, again_until)
            self._forget_kept(connection.take_kept())
            if connection.take_birth():
                self._announce_at = time.monotonic() + random.uniform(0.0, self._broker.birth_delay_s)
            now = time.monotonic()
            if now >= self._announce_at:
                self._announce(connection)
                said_at = now
            elif now >= said_at + _SAY_AGAIN_S:
                self._say_all_again()
                said_at = now
            self._say_states(connection)
            room = MOST_IN_FLIGHT - len(connection.waiting)
            entries = self._consumer.pending(room, after=cursor) if room > 0 else []
            for entry in entries:
                connection.publish_entry(entry)
                cursor = entry.sequence
            if is_last and not entries and not connection.waiting:
                connection.say_goodbye()
                return
            if connection.waiting:
                connection.wait_for_acknowledgement(_STEP_S)
            elif not is_last:
                self._await_entry(self._consumer, _STEP_S, after=cursor)

    def _take_acknowledgements(self, connection: _Connection, again_until: int) -> None:
        now = time.monotonic()
        for entry in connection.arrived():
            self._consumer.done(entry)
            self._acknowledged.append((now, entry.sequence))
            if entry.sequence >= again_until:
                self._again_from = None
        while self._acknowledged and self._acknowledged[0][0] < now - SENT_AGAIN_S:
            self._acknowledged.popleft()

    def _forget_kept(self, keys: set[str]) -> None:
        """Slots that went from the plan while nobody watched, as their states at the broker show: take them away, too."""
        with self._lock:
            known = {key_of(slot) for slot in (*self._device.slots, *self._gone)}
            if old := sorted(keys - known):
                self._gone, self._announce_at = (*self._gone, *old), 0.0

    def _announce(self, connection: _Connection) -> None:
        """Discovery, availability and all states."""
        with self._lock:
            message = discovery(self._device, self._topics, self._gone)
            self._announce_at = float("inf")
        if self._broker.discovery_prefix:
            connection.say(discovery_topic(self._device, self._broker.discovery_prefix), json.dumps(message))
        connection.say(self._topics.available, "online")
        for slot in self._gone:
            for topic in (self._topics.state(slot), self._topics.attributes(slot)):
                connection.say(topic, "")  # an empty retained message takes the old one away
        self._say_all_again()

    def _say_all_again(self) -> None:
        with self._lock:
            self._unsaid |= set(self._states)

    def _say_states(self, connection: _Connection) -> None:
        with self._lock:
            unsaid = {name: self._states[name] for name in self._unsaid if name in self._states}
            self._unsaid.clear()
            empty = sum(state.get("state") == "empty" for name, state in self._states.items() if name is not None)
        for name, state in unsaid.items():
            is_problem = "ON" if state.get("problem", state.get("state") not in CALM) else "OFF"
            topics = self._topics
            connection.say(topics.camera if name is None else topics.state(name), is_problem)
            about = topics.camera_attributes if name is None else topics.attributes(name)
            connection.say(about, json.dumps(dict(state), ensure_ascii=False))
        if unsaid:
            connection.say(self._topics.empty, str(empty))


class _Broken(NotDelivered):
    """The connection is gone, or was refused; its message says why."""


class _Connection:
    """One connection, from connect to its end, with what was sent over it and isn't acknowledged yet. paho's callbacks run in its
    thread; all else is called by the publisher's."""

    def __init__(self, broker: Broker, topics: Topics) -> None:
        self.waiting: deque[tuple[int, Entry]] = deque()
        """Message numbers and entries, in the order in which they were sent."""
        self._broker, self._topics = broker, topics
        self._changed = threading.Condition()
        self._is_connected, self._why, self._birth = False, "", False
        self._kept: set[str] = set()
        self._numbers: set[int] = set()
        self._oldest = time.monotonic()
        self._client = self._make_client()

    def _make_client(self) -> Client:
        mqtt = _paho()
        client: Client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(0)
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if self._broker.tls:
            _encrypt(client, self._broker.ca_file)
        client.will_set(self._topics.available, "offline", _QOS, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_message = self._on_publish, self._on_message
        client.connect_timeout = _CONNECT_S
        return client

    def open(self) -> None:
        """Connect. Raises OSError or _Broken."""
        self._client.connect(self._broker.host, self._broker.port, _KEEPALIVE_S)
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_connected or self._why, _CONNECT_S)
            if not self._is_connected:
                raise _Broken(self._why or f"no answer to the connection within {_CONNECT_S:.0f} s")
        if self._broker.discovery_prefix:
            self._client.subscribe(f"{self._broker.discovery_prefix}/status", _QOS)
        self._client.subscribe([(topic, _QOS) for topic in self._topics.of_any_slot])

    def check(self) -> None:
        """Raises _Broken where the connection is gone, or acknowledges nothing any more."""
        with self._changed:
            if not self._is_connected:
                raise _Broken(self._why or "the connection is gone")
            if not self.waiting:
                self._oldest = time.monotonic()
            elif time.monotonic() > self._oldest + _ACKNOWLEDGE_S:
                raise _Broken(f"nothing was acknowledged for {_ACKNOWLEDGE_S:.0f} s")

    def publish_entry(self, entry: Entry) -> None:
        """Send an entry of the log."""
        text = json.dumps(entry.to_dict(), ensure_ascii=False, allow_nan=False)
        self.waiting.append((self._publish(self._topics.events, text, retain=False), entry))

    def say(self, topic: str, text: str) -> None:
        """Publish something retained, which is said again in any case: nobody waits for its acknowledgement."""
        self._publish(topic, text, retain=True)

    def _publish(self, topic: str, text: str, retain: bool) -> int:
        done = self._client.publish(topic, text, _QOS, retain)
        if done.rc:
            raise _Broken(f"a message can't be sent: {_paho().error_string(done.rc)}")
        return done.mid

    def arrived(self) -> list[Entry]:
        """The entries at the front that were acknowledged since it was last called."""
        found = []
        with self._changed:
            while self.waiting and self.waiting[0][0] in self._numbers:
                number, entry = self.waiting.popleft()
                self._numbers.discard(number)
                self._oldest = time.monotonic()
                found.append(entry)
            if not self.waiting:
                self._numbers.clear()  # those of states
        return found

    def wait_for_acknowledgement(self, timeout_s: float) -> None:
        """Wait until the first message that waits may have been acknowledged."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self.waiting or self.waiting[0][0] in self._numbers or not self._is_connected, timeout_s
            )

    def take_birth(self) -> bool:
        """Whether Home Assistant came back since this was last called."""
        with self._changed:
            born, self._birth = self._birth, False
        return born

    def take_kept(self) -> set[str]:
        """Keys of slots (`key_of`) of which the broker had kept something, since this was last called."""
        with self._changed:
            kept, self._kept = self._kept, set()
        return kept

    def say_goodbye(self) -> None:
        """Say that the device stopped, not that it failed."""
        self._client.publish(self._topics.available, "stopped", _QOS, retain=True).wait_for_publish(2.0)

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    # -- called by paho's thread

    def _on_connect(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        with self._changed:
            self._is_connected = not reason.is_failure
            self._why = f"it refused the connection: {reason}" if reason.is_failure else ""
            self._changed.notify_all()

    def _on_disconnect(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        with self._changed:
            self._is_connected = False
            self._why = self._why or f"the connection broke: {reason}"
            self._changed.notify_all()

    def _on_publish(self, client: Client, _data: object, number: int, _reason: object, _properties: object) -> None:
        with self._changed:
            self._numbers.add(number)
            self._changed.notify_all()

    def _on_message(self, client: Client, _data: object, message: Any) -> None:
        key = self._topics.key_in(message.topic)
        with self._changed:
            if key is None:
                self._birth = self._birth or message.payload == b"online"
            elif message.retain and message.payload:  # what we say ourselves comes back without that mark
                self._kept.add(key)


def _encrypt(client: Client, ca_file: Path | None) -> None:
    try:
        client.tls_set(None if ca_file is None else str(ca_file))
    except OSError as error:  # which doesn't name the file
        why = error.strerror or error
        raise _Broken(f"{ca_file or 'the system'}: {why}; expected the broker's certificates as PEM") from error


def _paho() -> Any:
    """paho-mqtt's client module. Raises RuntimeUnavailable that names the extra."""
    try:
        from paho.mqtt import client
    except ImportError as error:
        raise RuntimeUnavailable(
            "MQTT needs paho-mqtt, which is not installed; pip install 'shelfmatch[mqtt]'"
        ) from error
    if not hasattr(client, "CallbackAPIVersion"):
        raise RuntimeUnavailable("paho-mqtt 1 is installed; expected 2: pip install 'shelfmatch[mqtt]'")
    return client
