"""The processor: its name, what it can do, how it is clocked, and which of its cores this process may use."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from .sysfs import ROOT, read_int, read_text

_ARM_PARTS = {  # https://github.com/util-linux/util-linux/blob/master/sys-utils/lscpu-arm.c
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
}
_FEATURES = (
    *(
        "sse4_2",
        "avx",
        "avx2",
        "fma",
        "avx512f",
        "avx512bw",
        "avx_vnni",
        "avx512_vnni",
        "avx512_bf16",
        "amx_int8",
        "sha_ni",
    ),
    *("neon", "asimd", "vfpv4", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sha2"),
)


def cpu_folders(root: Path) -> list[Path]:
    """/sys/devices/system/cpu/cpu0, cpu1, …"""
    found = [path for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*") if path.name[3:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[3:]))


def read_cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    info: dict[str, str] = {}
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info


def cpu_name(root: Path = ROOT) -> str:
    """What the processor is called: the kinds of cores that ARM made, big.LITTLE's joined, or what the system says."""
    info = read_cpuinfo(root)
    return (
        _arm_cores(root) or info.get("model name") or info.get("Hardware") or platform.processor() or platform.machine()
    )


def _arm_cores(root: Path) -> str:
    """The kinds of cores that ARM made, big.LITTLE's joined; "" where none is known."""
    text = read_text(root / "proc/cpuinfo") or ""
    implementers = re.findall(r"^CPU implementer\s*:\s*(\w+)", text, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(\w+)", text, re.MULTILINE)
    cores = dict.fromkeys(part.lower() for maker, part in zip(implementers, parts, strict=False) if maker == "0x41")
    return " + ".join(_ARM_PARTS.get(part, part) for part in cores) if cores.keys() & _ARM_PARTS.keys() else ""


def features(root: Path = ROOT) -> list[str]:
    """Of the instruction sets that make networks faster, those that this processor has."""
    info = read_cpuinfo(root)
    return [name for name in _FEATURES if name in info.get("flags", info.get("Features", "")).split()]


def is_virtual(root: Path = ROOT) -> bool:
    """Whether a hypervisor lends this processor (x86)."""
    return "hypervisor" in read_cpuinfo(root).get("flags", "").split()


def saturates(root: Path = ROOT) -> bool:
    """Whether this is an x86 processor without VNNI: its instruction for sums of 8-bit products (VPMADDUBSW) stops at 16 bits."""
    flags = read_cpuinfo(root).get("flags")
    return flags is not None and not {"avx512_vnni", "avx_vnni"} & set(flags.split())


def frequency(root: Path = ROOT) -> dict[str, Any] | None:
    """How the cores are clocked; None where the kernel doesn't say (most virtual machines)."""
    folders = [cpu / "cpufreq" for cpu in cpu_folders(root) if (cpu / "cpufreq").is_dir()]
    if not folders:
        return None
    highest = [value for folder in folders if (value := read_int(folder / "cpuinfo_max_freq"))]
    lowest = [value for folder in folders if (value := read_int(folder / "cpuinfo_min_freq"))]
    governors = sorted({text for folder in folders if (text := read_text(folder / "scaling_governor"))})
    return {
        "driver": read_text(folders[0] / "scaling_driver"),
        "governor": ", ".join(governors) or None,
        "min_mhz": min(lowest) / 1000 if lowest else None,
        "max_mhz": max(highest) / 1000 if highest else None,
    }


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
