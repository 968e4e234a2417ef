"""Home Assistant's own schemas, run by a Python that has it: JSON of a discovery message and of an event on stdin, what it made of
them on stdout. Not imported by tests: it needs another Python. Its cloud client alone is left out."""

from __future__ import annotations

import asyncio
import importlib
import json
import pathlib
import sys
import tempfile
import types
from unittest.mock import MagicMock

import homeassistant  # type: ignore[import-not-found]


async def main() -> None:
    """One question, one answer; what is wrong ends it with a traceback."""
    for name in ("hass_nabucasa", "hass_nabucasa.remote", "hass_nabucasa.cloud_api", "hass_nabucasa.const"):
        sys.modules[name] = MagicMock()
    package = types.ModuleType("homeassistant.components.mqtt")  # its own __init__ starts all of Home Assistant
    package.__path__ = [str(pathlib.Path(homeassistant.__path__[0]) / "components" / "mqtt")]
    sys.modules[package.__name__] = package
    from homeassistant.core import HomeAssistant  # type: ignore[import-not-found]

    hass = HomeAssistant(tempfile.mkdtemp())  # not started; templates want to know it
    question = json.load(sys.stdin)
    schemas = importlib.import_module("homeassistant.components.mqtt.schemas")
    message = question["message"]
    schemas.DEVICE_DISCOVERY_SCHEMA(
        message
    )  # as mqtt/discovery.py: what it gives is dropped, the message goes on as it came
    shared = {name: message[name] for name in schemas.SHARED_OPTIONS if name in message}
    kept = {}
    for name, component in message["components"].items():
        config = {key: value for key, value in component.items() if key != "platform"}
        if config:  # one that has its platform alone is taken away
            platform = importlib.import_module(f"homeassistant.components.mqtt.{component['platform']}")
            kept[name] = sorted(platform.DISCOVERY_SCHEMA({**shared, **config, "device": message["device"]}))
    from homeassistant.helpers.template import Template  # type: ignore[import-not-found]

    text = question["message"]["components"]["events"]["value_template"]
    rendered = Template(text, hass).async_render({"value_json": question["event"]}, parse_result=False)
    print(json.dumps({"kept": kept, "rendered": json.loads(rendered)}))


if __name__ == "__main__":
    asyncio.run(main())
