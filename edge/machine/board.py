"""What machine this is: the board, its CPU and how it is clocked, memory, kernel, libraries. Nothing that says whose it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

from .process import usable_cores

ROOT = Path("/")
"""Where /sys and /proc are looked for; tests put a made-up board's files elsewhere."""

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
_LIBRARIES = ("numpy", "pillow", "ai-edge-litert", "tflite-runtime", "onnxruntime", "usearch", "numkong", "simplejpeg")
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
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


def read_text(path: Path) -> str | None:
    """A small file of /sys or /proc, stripped; None where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \t\n\0")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The same as a whole number; None where it is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def describe_board(root: Path = ROOT) -> dict[str, Any]:
    """The record `board` of a result."""
    info = _cpuinfo(root)
    return {
        "model": _model(root),
        "cpu": _arm_cores(root) or _cpu_name(info),
        "architecture": platform.machine(),
        "features": [name for name in _FEATURES if name in info.get("flags", info.get("Features", "")).split()],
        "cores": usable_cores(),
        "virtual": "hypervisor" in info.get("flags", "").split(),
        "frequency": _frequency(root),
        "memory_bytes": _memory(root).get("MemTotal"),
        "available_bytes": _memory(root).get("MemAvailable"),
        "swap_bytes": _memory(root).get("SwapTotal"),
        "load_average": _load(root),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(root),
        "python": platform.python_version(),
        "libraries": _libraries(),
    }


def cpu_folders(root: Path) -> list[Path]:
    """/sys/devices/system/cpu/cpu0, cpu1, …"""
    found = [path for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*") if path.name[3:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[3:]))


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    info: dict[str, str] = {}
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info


def _arm_cores(root: Path) -> str:
    """The kinds of cores that ARM made, big.LITTLE's joined; "" where none is known."""
    text = read_text(root / "proc/cpuinfo") or ""
    implementers = re.findall(r"^CPU implementer\s*:\s*(\w+)", text, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(\w+)", text, re.MULTILINE)
    cores = dict.fromkeys(part.lower() for maker, part in zip(implementers, parts, strict=False) if maker == "0x41")
    return " + ".join(_ARM_PARTS.get(part, part) for part in cores) if cores.keys() & _ARM_PARTS.keys() else ""


def _cpu_name(info: dict[str, str]) -> str:
    return info.get("model name") or info.get("Hardware") or platform.processor() or platform.machine()


def _model(root: Path) -> str | None:
    """What the board or computer is called: the device tree's name on ARM, DMI's on PCs."""
    tree = read_text(root / "proc/device-tree/model") or read_text(root / "sys/firmware/devicetree/base/model")
    if tree:
        return tree
    parts = [read_text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(part for part in parts if part) or None


def _frequency(root: Path) -> dict[str, Any] | None:
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


def _memory(root: Path) -> dict[str, int]:
    found = {}
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return found


def _load(root: Path) -> float | None:
    words = (read_text(root / "proc/loadavg") or "").split()
    try:
        return float(words[0]) if words else os.getloadavg()[0]
    except (ValueError, OSError):
        return None


def _system(root: Path) -> str | None:
    for line in (read_text(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return None


def _libraries() -> dict[str, str]:
    """Name → version of what a match may run through."""
    found = {}
    for name in (*_LIBRARIES, *_OPENCV):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["numpy"] = np.__version__
    return found
