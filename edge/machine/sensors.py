"""What the machine does while it is measured: temperature, frequencies, throttling, power, and who else takes the CPU.

Linux only has to be asked: thermal zones and hwmon for degrees, cpufreq for clocks, the firmware of a Raspberry Pi
(`vcgencmd get_throttled`) and Intel's counters for throttling, cooling devices for caps, RAPL and hwmon for energy, /proc/stat
for what a hypervisor steals, the control group for a container's quota. What isn't there stays None.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .cpu import cpu_folders
from .sysfs import ROOT, read_int, read_text
from .thermal import cpu_zones

_CPU_COOLING = re.compile(r"cpu|processor|clamp", re.IGNORECASE)
_OTHERS_POWER = re.compile(
    r"^(bat|cmb|ucsi)|^(ac|ac\d|acad|adp\d)$|battery|charger|amdgpu|radeon|nouveau|nvidia|i915|^xe$|nvme|drivetemp|wifi|^mlx\d",
    re.IGNORECASE,
)
"""Chips that measure a battery, its charger, or one device: not what the board takes."""
_NOT_YET: int | None = None
_VCGENCMD_EVERY_S = 1.0
"""It starts a process, 3 ms of a Pi 4's time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `energy_j` counts up from the first; `stolen` and `quota_s` count from boot. `nearest_c` and `limit_c`: of the
    zone that is nearest to where the system slows it down, None where no zone says where."""

    time_s: float
    temperature_c: float | None
    frequency_mhz: float | None
    allowed_mhz: float | None
    throttled: int | None
    throttle_count: int | None
    cooling: int | None
    energy_j: float | None
    stolen: float | None
    quota_s: float | None
    nearest_c: float | None = None
    limit_c: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def vcgencmd(*arguments: str) -> str | None:
    """A Raspberry Pi's firmware; None on other machines."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=2, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class Sensors:
    """The files and commands that this machine has, found once."""

    def __init__(self, root: Path = ROOT, firmware: Callable[..., str | None] = vcgencmd) -> None:
        self._root, self._firmware = root, firmware
        self._zones = cpu_zones(root)
        limits = {limit for _, limit in self._zones if limit is not None}
        self.trip_c = limits.pop() if len(limits) == 1 else None
        self._frequencies = [
            cpu / "cpufreq/scaling_cur_freq" for cpu in cpu_folders(root) if (cpu / "cpufreq").is_dir()
        ]
        self._counts = _throttle_counts(root)
        cooling = sorted((root / "sys/class/thermal").glob("cooling_device*"))
        self._cooling = [path / "cur_state" for path in cooling if _CPU_COOLING.search(read_text(path / "type") or "")]
        self._meter = EnergyMeter(root, firmware)
        self.energy_source = self._meter.source
        self._has_firmware = firmware("get_throttled") is not None
        self._quota = _quota_file(root)
        self._firmware_at, self._bits = float("-inf"), _NOT_YET

    def read(self) -> Sample:
        """Look at everything once, 0.2 ms on a machine with two cores."""
        now = time.perf_counter()
        zones = [(value / 1000, limit) for path, limit in self._zones if (value := read_int(path)) is not None]
        held = [(degrees, limit) for degrees, limit in zones if limit is not None]
        nearest_c, limit_c = max(held, key=lambda zone: zone[0] - zone[1], default=(None, None))
        clocks = [value for path in self._frequencies if (value := read_int(path)) is not None]
        allowed = [
            value for path in self._frequencies if (value := read_int(path.with_name("scaling_max_freq"))) is not None
        ]
        return Sample(
            time_s=now,
            temperature_c=max((degrees for degrees, _ in zones), default=None),
            frequency_mhz=max(clocks) / 1000 if clocks else None,
            allowed_mhz=max(allowed) / 1000 if allowed else None,
            throttled=self._throttled(now),
            throttle_count=_sum(self._counts),
            cooling=_sum(self._cooling),
            energy_j=self._meter.read(now),
            stolen=self._stolen(),
            quota_s=self._quota_seconds(),
            nearest_c=nearest_c,
            limit_c=limit_c,
        )

    def _throttled(self, now: float) -> int | None:
        """The bits of get_throttled: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""
        if self._has_firmware and now - self._firmware_at >= _VCGENCMD_EVERY_S:
            self._firmware_at = now
            match = re.search(r"0x([0-9a-fA-F]+)", self._firmware("get_throttled") or "")
            self._bits = int(match[1], 16) if match else None
        return self._bits

    def _stolen(self) -> float | None:
        """CPU seconds that the hypervisor gave to others, all cores together (proc(5): the eighth number, in ticks of 10 ms)."""
        first = (read_text(self._root / "proc/stat") or "").partition("\n")[0].split()
        return int(first[8]) / 100 if len(first) > 8 and first[0] == "cpu" else None

    def _quota_seconds(self) -> float | None:
        for line in (read_text(self._quota) or "").splitlines() if self._quota is not None else ():
            name, _, value = line.partition(" ")
            if name == "throttled_usec" and value.isdecimal():
                return int(value) / 1e6
        return None


class EnergyMeter:
    """Joules since the first reading, from RAPL's counters, or else from a power sensor, or a Pi 5's."""

    def __init__(self, root: Path, firmware: Callable[..., str | None]) -> None:
        self._rapl = [(path / "energy_uj", read_int(path / "max_energy_range_uj") or 0) for path in _rapl_domains(root)]
        self._power = _power_files(root) if not self._rapl else []
        self._firmware = firmware if not self._rapl and not self._power and _pmic_watts(firmware) is not None else None
        self._last: dict[Path, int] = {}
        self._joules, self._watts, self._at = 0.0, 0.0, 0.0
        self.source = (
            "RAPL" if self._rapl else "hwmon" if self._power else "PMIC" if self._firmware is not None else None
        )

    def read(self, now: float) -> float | None:
        """Joules up to now."""
        if self.source is None:
            return None
        if self._rapl:
            for path, wraps_at in self._rapl:
                value = read_int(path)
                if value is not None:
                    used = value - self._last.get(path, value)
                    self._joules += (used if used >= 0 else used + wraps_at) / 1e6
                    self._last[path] = value
            return self._joules
        watts = _pmic_watts(self._firmware) if self._firmware is not None else _watts(self._power)
        if watts is not None:
            if self._at:
                self._joules += (watts + self._watts) / 2 * (now - self._at)
            self._watts, self._at = watts, now
        return self._joules


class Recorder:
    """Samples taken by a thread of the process that waits, not of the one that is measured."""

    def __init__(self, sensors: Sensors, interval_s: float) -> None:
        self.sensors, self.interval_s = sensors, interval_s
        self.samples: list[Sample] = [sensors.read()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shelfmatch-sensors", daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.samples.append(self.sensors.read())

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take the last sample; a second time, nothing."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self.samples.append(self.sensors.read())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _sum(paths: list[Path]) -> int | None:
    """None where nothing can be read. A cooling device that does nothing may say -1 (intel_powerclamp)."""
    values = [max(0, value) for path in paths if (value := read_int(path)) is not None]
    return sum(values) if values else None


def _throttle_counts(root: Path) -> list[Path]:
    """Intel's counters: each core has its own, a package's is shown in all of its cores."""
    cores: list[Path] = []
    packages: dict[str | None, Path] = {}
    for cpu in cpu_folders(root):
        if (path := cpu / "thermal_throttle/core_throttle_count").is_file():
            cores.append(path)
        if (path := cpu / "thermal_throttle/package_throttle_count").is_file():
            packages.setdefault(read_text(cpu / "topology/physical_package_id"), path)
    return [*cores, *packages.values()]


def _rapl_domains(root: Path) -> list[Path]:
    """psys, which is the whole machine, or else the packages; never both, since one holds the other."""
    found = {
        path: read_text(path / "name") or ""
        for path in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        if path.name.count(":") == 1 and read_int(path / "energy_uj") is not None
    }
    whole = [path for path, name in found.items() if name == "psys"]
    return whole[:1] or [path for path, name in found.items() if name.startswith("package")] or list(found)


def _power_files(root: Path) -> list[tuple[Path, Path | None]]:
    """Of hwmon, what the board takes: power in microwatts, or a voltage (mV) with its current (mA)."""
    found: list[tuple[Path, Path | None]] = []
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _OTHERS_POWER.search(read_text(chip / "name") or ""):
            continue
        power = sorted(chip.glob("power*_input")) or sorted(chip.glob("power*_average"))
        found += [(path, None) for path in power]
        if not power:
            pairs = [(path, chip / path.name.replace("curr", "in")) for path in sorted(chip.glob("curr*_input"))]
            found += [(current, volts) for current, volts in pairs if volts.is_file()]
    return found


def _watts(files: list[tuple[Path, Path | None]]) -> float | None:
    total, any_read = 0.0, False
    for path, volts in files:
        first, second = read_int(path), 1 if volts is None else read_int(volts)
        if first is not None and second is not None:
            total, any_read = total + first * second / 1e6, True
    return total if any_read else None


def _pmic_watts(firmware: Callable[..., str | None]) -> float | None:
    """A Raspberry Pi 5's rails: `vcgencmd pmic_read_adc` lists NAME_A current(N)=…A and NAME_V volt(N)=…V."""
    rails: dict[str, dict[str, float]] = {}
    for name, kind, value in re.findall(r"(\w+)_([AV])\s+\w+\(\d+\)=([0-9.]+)[AV]", firmware("pmic_read_adc") or ""):
        rails.setdefault(name, {})[kind] = float(value)
    pairs = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(pairs) if pairs else None


def _quota_file(root: Path) -> Path | None:
    """cpu.stat of this process's control group (version 2)."""
    group = next(
        (line[3:] for line in (read_text(root / "proc/self/cgroup") or "").splitlines() if line.startswith("0::")), "/"
    )
    for path in (root / "sys/fs/cgroup" / group.lstrip("/") / "cpu.stat", root / "sys/fs/cgroup/cpu.stat"):
        if path.is_file():
            return path
    return None
