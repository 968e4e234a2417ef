"""Temperatures, in degrees Celsius, and from how many degrees on the system slows the processor down."""

from __future__ import annotations

import re
from pathlib import Path

from .sysfs import ROOT, read_int, read_text

_CPU_ZONE = re.compile(r"cpu|soc|x86_pkg|package|core|cluster|acpitz", re.IGNORECASE)
_CPU_CHIP = re.compile(r"coretemp|k10temp|zenpower|cpu|soc", re.IGNORECASE)
_TRIPS = {"passive", "hot"}
"""At "critical" the system shuts down; it slows down long before."""
_SENSIBLE_TRIPS = range(20_000, 200_001)
"""Drivers give 0 or -274000 (THERMAL_TEMP_INVALID) for a trip point that isn't set."""


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Name → degrees of every thermal zone; of several with one name, the hottest."""
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        millidegrees, name = read_int(zone / "temp"), read_text(zone / "type")
        # Sensors that aren't connected report nonsense.
        if millidegrees is not None and name is not None and -50_000 < millidegrees < 200_000:
            celsius = millidegrees / 1000
            found[name or zone.name] = max(celsius, found.get(name or zone.name, celsius))
    return found


def cpu_zones(root: Path) -> list[tuple[Path, float | None]]:
    """The CPU's temperatures (millidegrees), and from how many degrees on the system slows each down; all zones where none is
    the CPU's."""
    zones = [path for path in sorted((root / "sys/class/thermal").glob("thermal_zone*")) if (path / "temp").is_file()]
    chosen = [path for path in zones if _CPU_ZONE.search(read_text(path / "type") or "")] or zones
    if chosen:
        return [(zone / "temp", _limit_c(zone)) for zone in chosen]
    chips = [
        path for path in (root / "sys/class/hwmon").glob("hwmon*") if _CPU_CHIP.search(read_text(path / "name") or "")
    ]
    return [(path, None) for chip in sorted(chips) for path in sorted(chip.glob("temp*_input"))]


def _limit_c(zone: Path) -> float | None:
    kinds = [path for path in zone.glob("trip_point_*_type") if read_text(path) in _TRIPS]
    trips = [read_int(path.with_name(path.name.replace("_type", "_temp"))) for path in kinds]
    return min((trip / 1000 for trip in trips if trip is not None and trip in _SENSIBLE_TRIPS), default=None)
