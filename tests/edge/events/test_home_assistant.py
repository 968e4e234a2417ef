"""The discovery message, held against Home Assistant's own schemas (2026.2), which need a newer Python than this one."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge.events.entry import Entry
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.events.home_assistant import Device, Topics, discovery, key_of

from .worker import event

ORACLE = Path(__file__).with_name("home_assistant_oracle.py")
TOPICS = Topics("shop/bay1")
DEVICE = Device("bay1", "Bay 1", {"r1c01": "Oats", "Regal 2/links": "Tee – Minze", "s3": ""}, "http://pi.local:8081/")


def ask(message: dict[str, Any], said: Event | None = None) -> subprocess.CompletedProcess[str]:
    """What Home Assistant makes of a discovery message and an event."""
    python = os.environ.get("SHELFMATCH_HOMEASSISTANT")
    if not python:
        pytest.skip("SHELFMATCH_HOMEASSISTANT names no Python with Home Assistant; .ci/home-assistant FOLDER makes one")
    entry = Entry(7, "m-7", 5.0, said or event(3))
    question = json.dumps({"message": message, "event": entry.to_dict()})
    return subprocess.run([python, str(ORACLE)], input=question, capture_output=True, text=True)


def test_a_device_that_stopped_is_not_available() -> None:
    """Home Assistant heeds only the two words it was told, and "stopped" is neither."""
    (availability,) = discovery(DEVICE, TOPICS)["availability"]
    rendered = pytest.importorskip("jinja2").Template(availability["value_template"])
    said = {word: rendered.render(value=word) for word in ("online", "stopped", "offline", "")}
    assert said == {"online": "online", "stopped": "offline", "offline": "offline", "": "offline"}
    assert (availability["payload_available"], availability["payload_not_available"]) == ("online", "offline")


@pytest.mark.slow
def test_home_assistant_takes_it() -> None:
    message = discovery(DEVICE, TOPICS, gone=("old",))
    done = ask(message)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    expected = {"camera", "empty", "events", *(f"slot_{key_of(slot)}" for slot in DEVICE.slots)}
    assert set(answer["kept"]) == expected, "slot_old is taken away"
    for name, kept in answer["kept"].items():  # nothing was dropped as unknown
        assert set(message["components"][name]) - {"platform"} <= set(kept)
    assert answer["rendered"] == {
        "event_type": "new", "id": "e3", "message_id": "m-7", "slot": "s3", "state": "empty", "severity": "detection",
    }  # fmt: skip
    camera = Event("c", "end", "camera", None, {"state": "covered"}, {}, 1.0, 2.0)
    assert json.loads(ask(message, camera).stdout)["rendered"]["state"] is None


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["device", "origin", "unique_id", "platform", "class", "topic", "types"])
def test_home_assistant_refuses_what_is_wrong(spoil: str) -> None:
    """So that the test above can fail."""
    message = copy.deepcopy(discovery(DEVICE, TOPICS))
    slot = message["components"]["slot_r1c01"]
    if spoil in ("device", "origin"):
        del message[spoil]
    elif spoil == "unique_id":
        del slot["unique_id"]
    elif spoil == "platform":
        slot["platform"] = "shelf"
    elif spoil == "class":
        slot["device_class"] = "trouble"
    elif spoil == "topic":
        slot["state_topic"] = "a/#/b"
    else:
        del message["components"]["events"]["event_types"]
    done = ask(message)
    assert done.returncode != 0 and "Invalid" in done.stderr


def test_a_slot_is_told_from_its_topic() -> None:
    topics = Topics("shop/bay1")
    for slot in ("s0", "shelf 2/left", "state"):
        assert topics.key_in(topics.state(slot)) == topics.key_in(topics.attributes(slot)) == key_of(slot)
    for other in (
        topics.camera,
        "homeassistant/status",
        "shop/bay1/slots/s0",
        "shop/bay1/slots/s 0/state",
        "slots/s0/state",
    ):
        assert topics.key_in(other) is None


def test_ids_and_topics_are_distinct() -> None:
    """Without Home Assistant: what must not meet."""
    slots = dict.fromkeys(("a/b", "a b", "a_b", "a-b", "ä", "ö", "r1c1"), "")
    message = discovery(Device("bay1", "Bay 1", slots), TOPICS)
    entities = message["components"].values()
    assert len(message["components"]) == len(slots) + 3
    assert len({one["unique_id"] for one in entities}) == len(message["components"])
    assert len({TOPICS.state(slot) for slot in slots}) == len(slots)
    assert "configuration_url" not in message["device"]
    json.dumps(message)
