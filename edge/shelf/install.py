"""The systemd unit of a watch: its own user, its own folder, and nothing else of the machine."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from ..camera.sources import is_camera
from ..errors import ShelfError
from ..files import write_atomic

NAME: Final = "shelfmatch-shelf"
UNIT_PATH: Final = f"/etc/systemd/system/{NAME}.service"
_HOMES: Final = ("/home/", "/root/")

UNIT: Final = """\
# Written by shelfmatch shelf install. systemd-analyze security {name}.service
[Unit]
Description=shelfmatch: watches a shelf
After=network.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=5
WatchdogSec=120
TimeoutStartSec=300
TimeoutStopSec=30
# A user that exists while this runs; its folder stays.
DynamicUser=yes
User={name}
StateDirectory={name}
StateDirectoryMode=0700
UMask=0077
Environment=MALLOC_ARENA_MAX=2 PYTHONDONTWRITEBYTECODE=1
MemoryMax=75%
TasksMax=64
# What it doesn't need, it doesn't get.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateUsers=yes
{network}{devices}ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
NoNewPrivileges=yes
MemoryDenyWriteExecute=yes
CapabilityBoundingSet=
AmbientCapabilities=
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def planned_unit(options: argparse.Namespace) -> str:
    """The unit of `shelf watch` with these options. Raises ShelfError for what the service couldn't read."""
    executable = shutil.which("shelfmatch", path=str(Path(sys.executable).parent)) or sys.argv[0]
    plan, bundle = Path(options.plan).absolute(), Path(options.bundle).absolute()
    source = options.source if is_camera(options.source) else str(Path(options.source).absolute())
    for what in (str(plan), str(bundle), executable, source):
        if what.startswith(_HOMES):
            raise ShelfError(
                f"{what} lies in somebody's home, which the service can't see; expected a place like /srv/shelfmatch"
            )
    command = [
        executable,
        "shelf",
        "watch",
        "--json",
        "--source",
        source,
        "--bundle",
        str(bundle),
        "--every",
        f"{options.every:g}",
    ]
    command += ["--frames", str(options.frames), "--seconds", f"{options.seconds:g}"]
    command += ["--log", options.log or f"/var/lib/{NAME}/log"]
    command += ["--port", str(options.port)] if options.port else []
    # A camera on the network, and the live page on loopback, need sockets; otherwise there are none.
    network = "RestrictAddressFamilies=AF_UNIX\nPrivateNetwork=yes\n"
    if "://" in source:
        network = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
    elif options.port:
        network = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nIPAddressDeny=any\nIPAddressAllow=localhost\n"
    devices = "PrivateDevices=yes\n"
    if is_camera(source) and "://" not in source:
        devices = "DevicePolicy=closed\nDeviceAllow=char-video4linux rw\nDeviceAllow=char-media rw\nSupplementaryGroups=video\n"
    words = " ".join(shlex.quote(word).replace("%", "%%") for word in [*command, str(plan)])
    return UNIT.format(name=NAME, command=words, network=network, devices=devices)


def write_unit(text: str, root: Path) -> None:
    """Write the unit below `root`. Raises ShelfError."""
    path = root / UNIT_PATH.lstrip("/")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
    except OSError as error:
        raise ShelfError(f"{path} can't be written: {error.strerror}; run it with sudo") from error
    os.sync()
