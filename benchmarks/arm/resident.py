"""What the kernel says of memory; for the programs that run inside the emulated machine."""

from __future__ import annotations

import re
from pathlib import Path


def status_mb(path: str, key: str) -> float:
    """A "Key: N kB" line of a file in /proc, in MB of 1,048,576 bytes."""
    found = re.search(rf"^{key}:\s+(\d+) kB", Path(path).read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) / 1024 if found else float("nan")


def machine_mb() -> dict[str, float]:
    """The machine's memory, and what of it is to be had now."""
    return {
        "machine_mb": status_mb("/proc/meminfo", "MemTotal"),
        "free_before_mb": status_mb("/proc/meminfo", "MemAvailable"),
    }


def peak_mb(pid: int | str) -> float:
    """The most resident pages that a process ever had, those of mapped files included."""
    return status_mb(f"/proc/{pid}/status", "VmHWM")


def resident_mb(pid: int | str) -> dict[str, float]:
    """A process's resident pages now, and the most that there were."""
    path = f"/proc/{pid}/status"
    return {"now_mb": status_mb(path, "VmRSS"), "private_mb": status_mb(path, "RssAnon"), "peak_mb": peak_mb(pid)}
