"""What this process has used: memory, CPU time, and how often it woke up."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from .sysfs import read_sizes

_SELF = Path("/proc/self")


def memory_bytes(less: int = 0) -> dict[str, int | None]:
    """`peak`: the most that was resident since this program began; `resident`: now; `proportional`: now, pages that other
    processes share counted in parts. None where the system doesn't say. `less`: what the measuring itself holds."""
    status = read_sizes(_SELF / "status")
    peak = status.get("VmHWM")
    if peak is None:  # no /proc: macOS counts bytes, others kilobytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {
        "peak": peak,
        "resident": status.get("VmRSS"),
        "proportional": read_sizes(_SELF / "smaps_rollup").get("Pss"),
    }
    return {name: None if value is None else value - less for name, value in found.items()}


def context_switches() -> int | None:
    """How often all threads of this process gave up the CPU or lost it; each time it woke up again."""
    total = 0
    try:
        tasks = list((_SELF / "task").iterdir())
    except OSError:
        return None
    for task in tasks:
        try:
            lines = (task / "status").read_text().splitlines()
        except OSError:  # a thread that ended meanwhile
            continue
        total += sum(int(line.split()[1]) for line in lines if "voluntary_ctxt_switches" in line)
    return total


def idle_for(seconds: float) -> dict[str, float | None]:
    """Do nothing, and see what runtimes and their threads do all the same: CPU milliseconds and wake-ups a second."""
    before, cpu = context_switches(), time.process_time()
    start = time.perf_counter()
    time.sleep(seconds)
    passed = time.perf_counter() - start
    cpu = time.process_time() - cpu
    after = context_switches()
    wakeups = None if before is None or after is None else max(0, after - before - 1)  # one is this sleep's own
    return {
        "seconds": passed,
        "cpu_ms_per_s": cpu * 1e3 / passed,
        "wakeups_per_s": None if wakeups is None else wakeups / passed,
    }
