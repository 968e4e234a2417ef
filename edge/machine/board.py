"""What machine this is: the board, its CPU and how it is clocked, memory, kernel, libraries. Nothing that says whose it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from . import cpu
from .sysfs import ROOT, read_sizes, read_text

_LIBRARIES = ("numpy", "pillow", "ai-edge-litert", "tflite-runtime", "onnxruntime", "usearch", "numkong", "simplejpeg")
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def describe_board(root: Path = ROOT) -> dict[str, Any]:
    """The record `board` of a result."""
    memory = read_sizes(root / "proc/meminfo")
    return {
        "model": _model(root),
        "cpu": cpu.cpu_name(root),
        "architecture": platform.machine(),
        "features": cpu.features(root),
        "cores": cpu.usable_cores(),
        "virtual": cpu.is_virtual(root),
        "frequency": cpu.frequency(root),
        "memory_bytes": memory.get("MemTotal"),
        "available_bytes": memory.get("MemAvailable"),
        "swap_bytes": memory.get("SwapTotal"),
        "load_average": _load(root),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(root),
        "python": platform.python_version(),
        "libraries": _libraries(),
    }


def _model(root: Path) -> str | None:
    """What the board or computer is called: the device tree's name on ARM, DMI's on PCs."""
    tree = read_text(root / "proc/device-tree/model") or read_text(root / "sys/firmware/devicetree/base/model")
    if tree:
        return tree
    parts = [read_text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(part for part in parts if part) or None


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
    import numpy as np  # the doctor reads other parts of this room where numpy is broken

    found["numpy"] = np.__version__
    return found
