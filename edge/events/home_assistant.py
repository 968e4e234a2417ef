"""What Home Assistant is told over MQTT: one device with an entity a slot, found by itself (its "device discovery")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .._version import __version__
from ..errors import EventError

EXPIRES_S: Final = 900
"""An entity whose state isn't said again for so long becomes unavailable."""
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
"""What Home Assistant takes as a part of a discovery topic."""


@dataclass(frozen=True, slots=True)
class Device:
    """A camera and the slots it watches. `id`: letters, digits, _ and -, the same for as long as the camera hangs there; `slots`:
    each slot's id and what people call it; `page`: the address of its live page, if it has one. Raises EventError."""

    id: str
    name: str
    slots: Mapping[str, str] = field(default_factory=dict)
    page: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise EventError(f"{self.id!r} arrived as a device's id; expected letters, digits, _ and -, like bay-1")


@dataclass(frozen=True, slots=True)
class Topics:
    """Where things are said: `<prefix>/available`, `<prefix>/events`, and for each slot its state and its attributes."""

    prefix: str

    def __post_init__(self) -> None:
        if (
            not self.prefix
            or re.search(r"[+#\0]", self.prefix)
            or self.prefix.startswith(("$", "/"))
            or len(self.prefix) > 200
        ):
            raise EventError(
                f"{self.prefix!r} arrived as a topic's prefix; expected one like shop/bay-1, without + and #"
            )

    @property
    def available(self) -> str:
        """online, stopped or offline, retained; offline is the last will."""
        return f"{self.prefix}/available"

    @property
    def events(self) -> str:
        """Every event of the log, one JSON object each, not retained."""
        return f"{self.prefix}/events"

    @property
    def camera(self) -> str:
        """ON where the camera needs somebody, retained."""
        return f"{self.prefix}/camera/state"

    @property
    def camera_attributes(self) -> str:
        """What is known about the camera, as a JSON object, retained."""
        return f"{self.prefix}/camera/attributes"

    @property
    def empty(self) -> str:
        """How many slots are empty, retained."""
        return f"{self.prefix}/empty"

    def state(self, slot: str) -> str:
        """ON where the slot needs somebody, OFF where it doesn't, retained."""
        return f"{self.prefix}/slots/{key_of(slot)}/state"

    def attributes(self, slot: str) -> str:
        """What is known about a slot, as a JSON object, retained."""
        return f"{self.prefix}/slots/{key_of(slot)}/attributes"

    @property
    def of_any_slot(self) -> tuple[str, str]:
        """Both, of whatever slots there are, as brokers take subscriptions."""
        return f"{self.prefix}/slots/+/state", f"{self.prefix}/slots/+/attributes"

    def key_in(self, topic: str) -> str | None:
        """The slot's part of a topic of `of_any_slot`; None of another."""
        if not topic.startswith(f"{self.prefix}/slots/"):
            return None
        key, _, what = topic.removeprefix(f"{self.prefix}/slots/").partition("/")
        return key if what in ("state", "attributes") and _ID.fullmatch(key) else None


def key_of(slot: str) -> str:
    """A slot's id as a part of a topic: as it is where that can be, and else made so, with a hash that tells alike ones apart."""
    if _ID.fullmatch(slot):
        return slot
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", slot).strip("_") + "_" + hashlib.sha256(slot.encode()).hexdigest()[:6]


def discovery_topic(device: Device, discovery_prefix: str = "homeassistant") -> str:
    """Where the discovery message is said, retained."""
    return f"{discovery_prefix}/device/shelfmatch_{device.id}/config"


def discovery(device: Device, topics: Topics, gone: tuple[str, ...] = ()) -> dict[str, Any]:
    """The discovery message. `gone`: slots of an earlier plan, whose entities are taken away."""
    about: dict[str, Any] = {
        "identifiers": [f"shelfmatch_{device.id}"],
        "name": device.name,
        "manufacturer": "shelfmatch",
        "model": "Shelf camera",
        "sw_version": __version__,
    }
    if device.page:
        about["configuration_url"] = device.page
    components: dict[str, Any] = {
        "camera": _camera(device, topics),
        "empty": _empty(device, topics),
        "events": _events(device, topics),
    }
    for slot, name in device.slots.items():
        components[f"slot_{key_of(slot)}"] = _slot(device, topics, slot, name)
    for slot in gone:
        components.setdefault(f"slot_{key_of(slot)}", {"platform": "binary_sensor"})
    return {
        "device": about,
        "origin": {"name": "shelfmatch", "sw_version": __version__},
        "components": components,
        "availability": [
            {
                "topic": topics.available,
                "payload_available": "online",
                "payload_not_available": "offline",
                # Home Assistant heeds these two alone: a device that said "stopped" would go on as available.
                "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
            }
        ],
        "availability_mode": "all",
        "qos": 1,
    }


def _entity(device: Device, platform: str, key: str, name: str) -> dict[str, Any]:
    slug = re.sub(r"[^a-z0-9]+", "_", f"{device.id}_{key}".lower()).strip("_")
    return {
        "platform": platform,
        "unique_id": f"shelfmatch_{device.id}_{key}",
        "default_entity_id": f"{platform}.{slug}",
        "name": name,
    }


def _slot(device: Device, topics: Topics, slot: str, name: str) -> dict[str, Any]:
    return {
        **_entity(device, "binary_sensor", f"slot_{key_of(slot)}", name or slot),
        "device_class": "problem",
        "state_topic": topics.state(slot),
        "json_attributes_topic": topics.attributes(slot),
        "expire_after": EXPIRES_S,
    }


def _camera(device: Device, topics: Topics) -> dict[str, Any]:
    return {
        **_entity(device, "binary_sensor", "camera", "Camera"),
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": topics.camera,
        "json_attributes_topic": topics.camera_attributes,
        "expire_after": EXPIRES_S,
    }


def _empty(device: Device, topics: Topics) -> dict[str, Any]:
    return {
        **_entity(device, "sensor", "empty", "Empty slots"),
        "state_class": "measurement",
        "state_topic": topics.empty,
        "expire_after": EXPIRES_S,
    }


def _events(device: Device, topics: Topics) -> dict[str, Any]:
    return {
        **_entity(device, "event", "events", "Shelf events"),
        "event_types": ["new", "update", "end"],
        "state_topic": topics.events,
        "value_template": (
            "{{ {'event_type': value_json.type, 'id': value_json.id, 'message_id': value_json.message_id, "
            "'slot': value_json.slot, 'state': value_json.after.state | default(none), 'severity': value_json.severity} "
            "| to_json }}"
        ),
    }
