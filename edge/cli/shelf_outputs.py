"""Where a shelf's events go from its log: options of `shelf watch`, and what they open."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EventError
from ..machine.systemd import credential_text

if TYPE_CHECKING:
    from ..camera.frame import Frame
    from ..events.event import Event
    from ..events.home_assistant import Device
    from ..events.log import EventLog
    from ..events.mqtt import Broker, MqttPublisher
    from ..shelf.crops import Box

logger = logging.getLogger(__name__)

_AROUND = 0.06
"""Of a slot's sides, beyond its corners: what is beside it says which slot that is."""
_LOOK_EVERY_S = 1.0
"""For states that changed."""
PASSWORD_VARIABLE = "SHELFMATCH_MQTT_PASSWORD"
SECRET_VARIABLE = "SHELFMATCH_WEBHOOK_SECRET"


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The options; all of them need --log."""
    parser.add_argument(
        "--mqtt", metavar="URL", help="events and states to this broker: mqtt://HOST, or mqtts://USER@HOST:8883; the password is "
        f"in {PASSWORD_VARIABLE}, or in a file of this name in systemd's credentials"
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="ID", help="what MQTT and Home Assistant call this camera (default: the plan's name)"
    )
    parser.add_argument("--topic", metavar="PREFIX", help="where it is said (default: shelfmatch/ID)")
    parser.add_argument(
        "--webhook", metavar="URL", action="append", default=[], help="post each event there; may be named again; the secret that "
        f"signs is in {SECRET_VARIABLE}, or in a file of this name in systemd's credentials"
    )  # fmt: skip
    parser.add_argument(
        "--pictures", metavar="DETECTOR", help="keep a picture of the slot with each event, none with a person in it; this is the "
        "file of the detector of people"
    )  # fmt: skip


def pictures(
    options: argparse.Namespace, in_sight: Callable[[str, float, tuple[int, int]], Box | None]
) -> Callable[[Event, Frame | None], bytes | None]:
    """What gives an event's picture, as JPEG; None where pictures are off, or somebody may be on it. `in_sight`: as
    `ShelfWatcher` has it, of the frame of the event. Raises PrivacyError for a file that isn't the detector, EventError without a
    log."""
    if not options.pictures:
        return lambda event, frame: None
    if not options.log:
        raise EventError("--pictures needs a log to keep them in; name its folder with --log")
    from ..privacy.people import PeopleFinder

    finder = PeopleFinder(Path(options.pictures))

    def picture(event: Event, frame: Frame | None) -> bytes | None:
        if frame is None or event.slot is None:
            return None
        height, width = frame.pixels.shape[:2]
        box = in_sight(event.slot, _AROUND, (width, height))
        return None if box is None else finder.slot_picture(frame.pixels, box)

    return picture


@contextlib.contextmanager
def outputs(
    options: argparse.Namespace, log: EventLog | None, status: Callable[[], Mapping[str, Any]]
) -> Iterator[None]:
    """Deliver a log's events until the end of the block. `status`: the plan's name, the camera and the slots, as `ShelfService`
    tells them. Raises EventError, RuntimeUnavailable."""
    if log is None:
        if options.mqtt or options.webhook:
            raise EventError("--mqtt and --webhook need a log to send from; name its folder with --log")
        yield
        return
    from ..events.delivery import Delivery, json_lines
    from ..events.webhook import Webhook

    with contextlib.ExitStack() as opened:
        if options.json:
            opened.enter_context(Delivery(log, "standard output", json_lines(sys.stdout)))
        for url in dict.fromkeys(options.webhook):
            hook = Webhook(url, secret(SECRET_VARIABLE))
            opened.enter_context(Delivery(log, hook.name, hook.send))
        if options.mqtt:
            opened.enter_context(_published(options, log, status))
        yield


@contextlib.contextmanager
def _published(options: argparse.Namespace, log: EventLog, status: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    from ..events.home_assistant import Topics
    from ..events.mqtt import MqttPublisher

    device = _device(options, status())
    topics = Topics(options.topic or f"shelfmatch/{device.id}")
    publisher = MqttPublisher(log, broker_of(options.mqtt, secret(PASSWORD_VARIABLE)), topics, device)
    ended = threading.Event()
    follower = threading.Thread(target=_follow, args=(publisher, options, status, ended), daemon=True)
    with publisher:
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()


def _follow(
    publisher: MqttPublisher,
    options: argparse.Namespace,
    status: Callable[[], Mapping[str, Any]],
    ended: threading.Event,
) -> None:
    """Take the states over, and another plan's slots. What can't be taken over is said once, and tried again: a plan may have
    names that MQTT takes none of, and the next one others."""
    known: Device | None = None
    problem = ""
    while True:
        is_last = ended.wait(_LOOK_EVERY_S)
        try:
            now = status()
            device = _device(options, now)
            if known is not None and device != known:
                publisher.set_device(device)
            known = device
            publisher.set_states({slot["id"]: slot for slot in now["slots"]}, {"state": now["camera"]})
            problem = ""
        except Exception as error:  # a thread that is gone says nothing, and nobody would know
            if problem != (problem := f"{type(error).__name__}: {error}"):
                logger.warning("the states aren't published now: %s", problem)
        if is_last:
            return


def _device(options: argparse.Namespace, status: Mapping[str, Any]) -> Device:
    from ..events.home_assistant import Device

    name = str(status["plan"]) or "shelf"
    slots = {slot["id"]: " ".join(filter(None, (slot["id"], slot.get("expected", "")))) for slot in status["slots"]}
    return Device(options.device or re.sub(r"[^a-zA-Z0-9_-]+", "-", name).strip("-") or "shelf", name, slots)


def credentials_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The secrets that these outputs ask systemd for. Raises EventError for an address that can't be one."""
    from ..events.webhook import Webhook

    if options.mqtt:
        broker_of(options.mqtt, "")
    for url in options.webhook:
        Webhook(url)
    return tuple(
        name for name, wanted in ((PASSWORD_VARIABLE, options.mqtt), (SECRET_VARIABLE, options.webhook)) if wanted
    )


def broker_of(url: str, password: str) -> Broker:
    """A broker from mqtt://USER@HOST:PORT, or mqtts:// with TLS. Raises EventError."""
    from ..events.mqtt import Broker

    expected = f"expected mqtt://HOST or mqtts://USER@HOST:PORT, and the password in {PASSWORD_VARIABLE}"
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"mqtt://{url}")
    except ValueError:  # its message may show a password
        raise EventError(f"--mqtt names an address that can't be taken apart; {expected}") from None
    has_more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in ("mqtt", "mqtts") or parts.password or has_more or not parts.hostname:
        raise EventError(f"--mqtt names {parts.scheme}://{parts.hostname or ''}; {expected}")
    try:
        port = parts.port
    except ValueError as error:
        raise EventError(f"--mqtt has a wrong port: {error}; expected 1 to 65535") from error
    tls = parts.scheme == "mqtts"
    user = urllib.parse.unquote(parts.username or "")
    usual = 8883 if tls else 1883
    return Broker(parts.hostname, usual if port is None else port, user, password if user else "", tls)


def secret(name: str) -> str:
    """From systemd's credentials (LoadCredential), else from the environment; empty where there is none. Raises EventError."""
    return credential_text(name, EventError) or os.environ.get(name, "")
