"""The memory that a new process can have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .sysfs import ROOT, read_int, read_sizes, read_text


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: all there is, and what a new process can have of it."""

    total: int
    available: int


def memory(root: Path = ROOT) -> Memory | None:
    """The machine's memory, or a container's where its limit is lower; None where the system doesn't say."""
    found = read_sizes(root / "proc/meminfo")
    if "MemTotal" not in found:
        return None
    total, available = found["MemTotal"], found.get("MemAvailable", found.get("MemFree", 0))
    limit, used = _control_group(root)
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used))
    return Memory(total, available)


def _control_group(root: Path) -> tuple[int | None, int]:
    """(limit, used) in bytes of a container, (None, 0) without one. Files that are cached but not in use can go, and don't
    count."""
    for group, limit, used, idle in (
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        text = read_text(root / group / limit)
        if text is None:
            continue
        if not text.isdecimal():
            return None, 0
        taken, details = read_int(root / group / used), read_text(root / group / "memory.stat")
        if taken is None or details is None:
            return int(text), 0
        found = re.search(rf"^{idle} (\d+)$", details, re.MULTILINE)
        return int(text), taken - (int(found[1]) if found is not None else 0)
    return None, 0


def give_back() -> None:
    """Return to the system what was freed and is kept for later: between stages that need much memory of different kinds. Only
    where the C library can (glibc's malloc_trim); nothing elsewhere."""
    import ctypes
    import gc

    gc.collect()  # what refers to itself in a circle, like a tree of folders, isn't freed until then
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
