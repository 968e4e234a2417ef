"""The systemd unit of a watch: its own user, its own folder, and nothing else of the machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from ..camera.sources import is_camera
from ..errors import ShelfError
from ..imaging.camera import may_hold_password, shown_source
from ..machine.systemd import (
    ANY_NETWORK,
    CREDENTIALS,
    LOOPBACK_ALONE,
    NO_NETWORK,
    Planned,
    command_line,
    in_a_home,
    own_command,
    sandbox,
)
from .planogram import is_line

NAME: Final = "shelfmatch-shelf"
UNIT_PATH: Final = f"/etc/systemd/system/{NAME}.service"
FOLDER: Final = f"/var/lib/{NAME}"
"""The only one that the service may write to."""
SOURCE_VARIABLE: Final = "SHELFMATCH_SOURCE"
"""The environment's variable, and systemd's credential, that a source comes from which is no option."""
SOURCE_PATH: Final = f"{CREDENTIALS}/{SOURCE_VARIABLE}"
"""Named in the unit: systemd before 251 doesn't look for credentials (systemd.exec(5), LoadCredential=)."""

UNIT: Final = """\
# Written by shelfmatch shelf install. systemd-analyze security {name}.service
[Unit]
Description=shelfmatch: watches a shelf
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=5
WatchdogSec=120
TimeoutStartSec=300
TimeoutStopSec=30
{sandbox}{credentials}Environment=MALLOC_ARENA_MAX=2 PYTHONDONTWRITEBYTECODE=1
MemoryMax=75%
TasksMax=64

[Install]
WantedBy=multi-user.target
"""


def planned(options: argparse.Namespace, source: str, credentials: tuple[str, ...] = ()) -> list[Planned]:
    """The files of `shelf watch` as a service, the unit last, with these options, and these credentials from /etc/credstore, where
    they may be missing. Everybody may read a unit, and passwords stand in addresses and pipelines in many ways: all of these go
    into a credential. Raises ShelfError for what the service couldn't read or write, and for what isn't one line of text."""
    _check_lines(options, source)
    secret = source if is_camera(source) and may_hold_password(source) else ""
    if not is_camera(source):
        if "://" in source or shown_source(source.strip()) != source.strip():
            raise ShelfError(
                f"--source {shown_source(source.strip())} arrived; expected a camera's address, like "
                "rtsp://NAME:PASSWORD@HOST/PATH, or a folder's path from / on"
            )
        source = str(Path(source).absolute())
    plan, bundle, pictures = (
        str(Path(path).absolute()) if path else "" for path in (options.plan, options.bundle, options.pictures)
    )
    command = [own_command(), "shelf", "watch", "--json", *([] if secret else ["--source", source]), "--bundle", bundle]
    command += ["--turn", str(options.turn)] if options.turn else []
    command += ["--every", f"{options.every:g}", "--frames", str(options.frames), "--seconds", f"{options.seconds:g}"]
    command += ["--log", options.log or f"{FOLDER}/log"]
    for name in ("state", "port", "mqtt", "device", "topic"):
        value = getattr(options, name)
        command += [f"--{name}", str(value)] if value else []
    for url in options.webhook:
        command += ["--webhook", url]
    command += ["--pictures", pictures] if pictures else []
    if problem := in_a_home(plan, bundle, command[0], source, pictures):
        raise ShelfError(problem)
    for name in ("log", "state"):
        path = getattr(options, name)
        if path and not os.path.normpath(path).startswith(f"{FOLDER}/"):
            raise ShelfError(
                f"--{name} {path} arrived, where the service can't write; expected a place in {FOLDER}, or no --{name}"
            )
    # The live page needs loopback; a camera on the network, a broker and a webhook need more, otherwise there is nothing.
    network = ANY_NETWORK + LOOPBACK_ALONE if options.port else NO_NETWORK
    if "://" in source or options.mqtt or options.webhook:
        network = ANY_NETWORK
    if secret:
        credentials = (*credentials, f"{SOURCE_VARIABLE}:{SOURCE_PATH}")
    unit = UNIT.format(
        name=NAME,
        command=command_line([*command, plan]),
        sandbox=sandbox(NAME, network, has_camera=is_camera(source) and "://" not in source),
        credentials="".join(f"LoadCredential={one}\n" for one in credentials),
    )
    files = [Planned(SOURCE_PATH, f"{secret}\n", 0o600)] if secret else []
    return [*files, Planned(UNIT_PATH, unit)]


def _check_lines(options: argparse.Namespace, source: str) -> None:
    """A unit is text with a setting on each line: one with a line break in it would have other settings. Raises ShelfError."""
    for name in ("plan", "source", "bundle", "pictures", "log", "state", "mqtt", "device", "topic", "webhook"):
        value = source if name == "source" else getattr(options, name)
        for text in value if isinstance(value, list) else [value]:
            if not is_line(text or ""):
                option = "PLAN" if name == "plan" else f"--{name}"
                text = shown_source(text) if name == "source" else text
                raise ShelfError(
                    f"{option} {text[:60]!r} arrived; expected text on one line, in UTF-8, without control characters"
                )


def kept_source(root: Path) -> str:
    """The source of the credential below `root`, which an earlier install or a person wrote; empty where there is none. Raises
    ShelfError."""
    path = root / SOURCE_PATH.lstrip("/")
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ShelfError(f"{path} can't be read: {error}; run it with sudo, or name --source") from error


def write(files: list[Planned], root: Path) -> None:
    """Write the files below `root`. Raises ShelfError."""
    for one in files:
        try:
            one.write(root)
        except FileExistsError as error:
            raise ShelfError(f"{error.filename} is no folder; expected one, or nothing there") from error
        except OSError as error:
            raise ShelfError(
                f"{root / one.path.lstrip('/')} can't be written: {error.strerror}; run it with sudo"
            ) from error
    os.sync()
