"""Cameras by the names that the kernel gives their video devices."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .sysfs import ROOT, read_text

_NO_CAMERAS = re.compile(r"codec|\b(rk)?isp\d*(?![a-z])|rpivid|hevc|pispbe|m2m|loopback|decoder|encoder", re.IGNORECASE)
"""Video devices of a Raspberry Pi that take no pictures."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera's device file (/dev/video0), its name, and whether this user may open it."""

    device: str
    name: str
    can_open: bool


def cameras(root: Path = ROOT) -> list[Camera]:
    """The cameras that are connected, in the order of their numbers."""
    found = []
    for device in sorted((root / "sys/class/video4linux").glob("video*"), key=lambda path: (len(path.name), path.name)):
        name, number = read_text(device / "name"), read_text(device / "index")
        # A camera's second device carries metadata.
        if name is not None and number == "0" and not _NO_CAMERAS.search(name):
            can_open = os.access(root / "dev" / device.name, os.R_OK | os.W_OK)
            found.append(Camera(f"/dev/{device.name}", name, can_open))
    return found
