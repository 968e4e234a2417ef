"""What services share under systemd: what they tell it, and what their units forbid them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ShelfmatchError
from ..files import write_atomic

CREDENTIALS: Final = "/etc/credstore"
"""Where systemd's credentials are kept (systemd.exec(5)); root alone may read them."""
_HOMES: Final = ("/home/", "/root/")
_NEEDS_QUOTES: Final = re.compile(r"[^A-Za-z0-9_@+=:,./-]")
ANY_NETWORK: Final = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
NO_NETWORK: Final = "RestrictAddressFamilies=AF_UNIX\nPrivateNetwork=yes\n"
LOOPBACK_ALONE: Final = "IPAddressDeny=any\nIPAddressAllow=localhost\n"
_NO_DEVICES: Final = "PrivateDevices=yes\n"
# A Raspberry Pi's ribbon needs the last: libcamera keeps its frames there.
_CAMERAS: Final = """\
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw
SupplementaryGroups=video
"""
_SANDBOX: Final = """\
# A user that exists while this runs; its folder stays.
DynamicUser=yes
User={name}
StateDirectory={name}
StateDirectoryMode=0700
UMask=0077
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
"""


def sandbox(name: str, network: str, *, has_camera: bool) -> str:
    """The lines of a unit that give a service a user and a folder, /var/lib/<name>, and keep the rest of the machine from it.
    `network`: ANY_NETWORK or NO_NETWORK, either with LOOPBACK_ALONE; `has_camera`: one of this machine's own."""
    return _SANDBOX.format(name=name, network=network, devices=_CAMERAS if has_camera else _NO_DEVICES)


@dataclass(frozen=True, slots=True)
class Planned:
    """A file of a service that is to be written: where, what, and who may read it."""

    path: str
    text: str
    mode: int = 0o644

    @property
    def is_secret(self) -> bool:
        """Whether its owner alone may read it."""
        return not self.mode & 0o077

    def write(self, root: Path) -> Path:
        """Write it below `root`; where. A folder that is made for a secret is for its owner alone, too. Raises OSError."""
        path = root / self.path.lstrip("/")
        if not path.parent.is_dir():
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(0o700 if self.is_secret else 0o777)
        write_atomic(path, self.text.encode(), self.mode)
        return path


def command_line(words: Sequence[str]) -> str:
    """Words as a unit's ExecStart= takes them (systemd.service(5), "Command lines"): in quotes with C's escapes, where `%` would
    name a specifier and, but in the program's path, `$` a variable. They must be single lines."""
    return " ".join((_quoted(words[0]), *(_quoted(word.replace("$", "$$")) for word in words[1:])))


def _quoted(word: str) -> str:
    if word and not _NEEDS_QUOTES.search(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def own_command() -> str:
    """The program that a unit starts: this environment's shelfmatch."""
    return shutil.which("shelfmatch", path=str(Path(sys.executable).parent)) or sys.argv[0]


def in_a_home(*paths: str) -> str:
    """Says which of these paths the sandbox hides because it lies in somebody's home; empty where none does."""
    for path in paths:
        if path.startswith(_HOMES):
            return f"{path} lies in somebody's home, which the service can't see; expected a place like /srv/shelfmatch"
    return ""


def credential(name: str) -> Path | None:
    """The file of a credential that the unit of this process loads (LoadCredential=); None where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    found = Path(folder, name) if folder else None
    return found if found is not None and found.is_file() else None


def credential_text(name: str, error: type[ShelfmatchError]) -> str:
    """The one line of a credential; empty where there is none. Raises `error` where it can't be read."""
    path = credential(name)
    try:
        return "" if path is None else path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"the credential {name} can't be read: {problem}; expected one line of text") from problem


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where nobody listens."""
    name = os.environ.get("NOTIFY_SOCKET")
    if not name:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        one.connect(f"\0{name[1:]}" if name.startswith("@") else name)
        one.sendall(message.encode())
