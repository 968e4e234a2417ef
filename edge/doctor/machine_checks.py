"""Checks of the machine around the packages: processor, memory, disk, temperature, camera, as the system's files tell."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import tempfile
from pathlib import Path

from ..machine.cameras import cameras
from ..machine.memory import memory as read_memory
from ..machine.sysfs import ROOT
from ..machine.thermal import temperatures
from .check import Check

NEEDED_MEMORY_MB, COMFORTABLE_MEMORY_MB = 70, 150
"""A fresh process that matches one photo peaks at 55 to 70 MB, one that builds a shop of some thousand photos at 130 to 300 MB
(benchmarks/coldstart.py, benchmarks/adaptation.py)."""
NEEDED_DISK_MB = 50
HOT_CELSIUS = 80.0
"""Where a Raspberry Pi begins to slow down (https://www.raspberrypi.com/documentation/computers/raspberry-pi.html)."""


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


def memory(root: Path = ROOT) -> Check:
    """Memory that a new process can have, a container's limit included."""
    found = read_memory(root)
    if found is None:
        return Check("memory", "ok", "How much memory is free can't be told on this system.")
    total, available = found.total / 1e6, found.available / 1e6
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


def temperature(root: Path = ROOT) -> Check:
    """The hottest sensor."""
    zones = temperatures(root)
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


def camera(root: Path = ROOT) -> Check:
    """Cameras by the names that the kernel gives their video devices, and whether this user may open them."""
    found = cameras(root)
    if not found:
        return Check("camera", "absent", "No camera is connected; photos from files need none.")
    finding = "; ".join(f"{one.name} at {one.device}" for one in found) + "."
    details = {"cameras": {one.device: one.name for one in found}}
    closed = [one.device for one in found if not one.can_open]
    if closed:
        return Check(
            "camera", "advice", finding,
            f"This user may not open {', '.join(closed)}: as root, usermod -aG video USER, then log in again.", details,
        )  # fmt: skip
    return Check("camera", "ok", finding, details=details)
