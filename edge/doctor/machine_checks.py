"""The machine around the packages: processor, memory, disk, temperature, camera, as the system's files tell."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "advice", "problem", "absent"]

NEEDED_MEMORY_MB, COMFORTABLE_MEMORY_MB = 70, 150
"""A fresh process that matches one photo peaks at 55 to 70 MB, one that builds a shop of some thousand photos at 130 to 300 MB
(benchmarks/coldstart.py, benchmarks/adaptation.py)."""
NEEDED_DISK_MB = 50
HOT_CELSIUS = 80.0
"""Where a Raspberry Pi begins to slow down (https://www.raspberrypi.com/documentation/computers/raspberry-pi.html)."""

_NO_CAMERAS = re.compile(r"codec|\b(rk)?isp\d*(?![a-z])|rpivid|hevc|pispbe|m2m|loopback|decoder|encoder", re.IGNORECASE)
"""Video devices of a Raspberry Pi that take no pictures."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: a sentence about it, and one about what to do. "problem": it is broken; "absent": not there.
    `needed`: whether the main job needs it."""

    name: str
    status: Status
    finding: str
    advice: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    needed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As in `doctor --json`."""
        return {
            "name": self.name,
            "status": self.status,
            "finding": self.finding,
            "advice": self.advice,
            **self.details,
        }


def processor() -> Check:
    """Python and the processor it was built for."""
    bits, machine = 8 * struct.calcsize("P"), platform.machine()
    details = {"python": platform.python_version(), "machine": machine, "bits": bits, "cores": os.cpu_count()}
    finding = f"Python {platform.python_version()}, {bits} bits, on {machine} with {os.cpu_count()} cores."
    if bits == 32 and machine in ("aarch64", "x86_64"):
        return Check(
            "processor", "advice", finding + " The processor could do 64 bits.",
            "Most packages are only made for 64 bits: install the 64-bit system on this board.", details,
        )  # fmt: skip
    if bits == 32:
        return Check(
            "processor", "advice", finding,
            "On 32-bit ARM there are tflite-runtime and the exact index, without LiteRT, ONNX Runtime and usearch.", details,
        )  # fmt: skip
    return Check("processor", "ok", finding, details=details)


def saturates(root: Path = Path("/")) -> bool:
    """Whether this is an x86 processor without VNNI: its instruction for sums of 8-bit products (VPMADDUBSW) stops at 16 bits."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)", text, re.MULTILINE)
    return flags is not None and not {"avx512_vnni", "avx_vnni"} & set(flags[1].split())


def memory(root: Path = Path("/")) -> Check:
    """Memory that a new process can have, a container's limit included."""
    total, available = _meminfo(root)
    if total is None:
        return Check("memory", "ok", "How much memory is free can't be told on this system.")
    limit, used = _control_group(root)
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0.0, limit - used))
    details = {"total_mb": round(total), "available_mb": round(available)}
    finding = f"{available:,.0f} MB of memory are free, of {total:,.0f} MB."
    if available < NEEDED_MEMORY_MB:
        return Check(
            "memory", "problem", finding,
            f"A match needs up to {NEEDED_MEMORY_MB} MB: stop other programs or add swap.", details,
        )  # fmt: skip
    if available < COMFORTABLE_MEMORY_MB:
        return Check(
            "memory", "advice", finding, "Enough to match, tight to build: build the bundle on a larger machine and copy it here.",
            details,
        )  # fmt: skip
    return Check("memory", "ok", finding, details=details)


def _meminfo(root: Path) -> tuple[float | None, float]:
    """(total, available) in MB of a million bytes; (None, 0) where the system doesn't tell."""
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None, 0.0
    found = {key: int(value) * 1024 / 1e6 for key, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    if "MemTotal" not in found:
        return None, 0.0
    return found["MemTotal"], found.get("MemAvailable", found.get("MemFree", 0.0))


def _control_group(root: Path) -> tuple[float | None, float]:
    """(limit, used) in MB of a container, (None, 0) without one. Files that are cached but not in use can go, and don't count."""
    for group, limit, used, idle in (
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            text = (root / group / limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if not text.isdecimal():
            return None, 0.0
        try:
            taken = int((root / group / used).read_text(encoding="ascii"))
            found = re.search(
                rf"^{idle} (\d+)$", (root / group / "memory.stat").read_text(encoding="ascii"), re.MULTILINE
            )
        except (OSError, ValueError):
            return int(text) / 1e6, 0.0
        return int(text) / 1e6, (taken - (int(found[1]) if found is not None else 0)) / 1e6
    return None, 0.0


def disk(folder: Path) -> Check:
    """Whether a bundle can be written to the folder."""
    try:
        free = shutil.disk_usage(folder).free / 1e6
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".shelfmatch-doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check(
            "disk", "advice", f"Nothing can be written to {folder}: {error.strerror}.",
            "Matching works from a read-only disk; to build or change bundles, give the doctor's user the right to write there.",
        )  # fmt: skip
    finding = f"{free:,.0f} MB are free in {folder}."
    details = {"free_mb": round(free)}
    if free < NEEDED_DISK_MB:
        return Check(
            "disk",
            "advice",
            finding,
            "A bundle takes some MB, and two of them while it is changed: make room.",
            details,
        )
    return Check("disk", "ok", finding, details=details)


def temperature(root: Path = Path("/")) -> Check:
    """The hottest sensor."""
    zones: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        try:
            celsius = int((zone / "temp").read_text(encoding="ascii")) / 1000
            name = (zone / "type").read_text(encoding="ascii", errors="replace").strip()
        except (OSError, ValueError):
            continue
        if -50 < celsius < 200:  # sensors that aren't connected report nonsense
            # Several sensors may have one name.
            zones[name or zone.name] = max(celsius, zones.get(name or zone.name, celsius))
    if not zones:
        return Check("temperature", "absent", "No temperature sensor can be read.")
    hottest = max(zones, key=lambda name: zones[name])
    finding = f"{zones[hottest]:.0f} °C at the sensor {hottest}."
    if zones[hottest] >= HOT_CELSIUS:
        return Check(
            "temperature", "advice", finding,
            "At this heat boards slow down, by half and more: give it air or a heat sink.", {"celsius": zones},
        )  # fmt: skip
    return Check("temperature", "ok", finding, details={"celsius": zones})


def camera(root: Path = Path("/")) -> Check:
    """Cameras by the names that the kernel gives their video devices, and whether this user may open them."""
    cameras: dict[str, str] = {}
    closed: list[str] = []
    for device in sorted((root / "sys/class/video4linux").glob("video*"), key=lambda path: (len(path.name), path.name)):
        try:
            name = (device / "name").read_text(encoding="utf-8", errors="replace").strip()
            first = (device / "index").read_text(encoding="ascii").strip() == "0"
        except OSError:
            continue
        if first and not _NO_CAMERAS.search(name):  # a camera's second device carries metadata
            node = root / "dev" / device.name
            cameras[f"/dev/{device.name}"] = name
            if not os.access(node, os.R_OK | os.W_OK):
                closed.append(f"/dev/{device.name}")
    if not cameras:
        return Check("camera", "absent", "No camera is connected; photos from files need none.")
    finding = "; ".join(f"{name} at {node}" for node, name in cameras.items()) + "."
    details = {"cameras": cameras}
    if closed:
        return Check(
            "camera", "advice", finding,
            f"This user may not open {', '.join(closed)}: as root, usermod -aG video USER, then log in again.", details,
        )  # fmt: skip
    return Check("camera", "ok", finding, details=details)
