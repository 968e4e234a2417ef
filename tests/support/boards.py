"""Made-up boards: the files of /sys and /proc that a Raspberry Pi or a PC has, to be read and changed by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PI_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
"""
MEMINFO = "MemTotal:        3884404 kB\nMemFree:          300000 kB\nMemAvailable:    3200000 kB\nSwapTotal:        102396 kB\n"


class Board:
    """A root folder; `put_files` writes some of its files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_files(self, files: dict[str, Any]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    def temperature(self, degrees: float, zone: int = 0) -> None:
        self.put_files({f"sys/class/thermal/thermal_zone{zone}/temp": int(degrees * 1000)})

    def zone(self, number: int, kind: str, degrees: float, **trips: float) -> None:
        """A thermal zone in place of the one with this number; `trips`: passive=80, critical=110, …"""
        folder = f"sys/class/thermal/thermal_zone{number}"
        for old in (self.root / folder).glob("*"):
            old.unlink()
        self.put_files({f"{folder}/type": kind})
        self.temperature(degrees, number)
        for place, (name, at) in enumerate(trips.items()):
            self.put_files({f"{folder}/trip_point_{place}_type": name})
            self.put_files({f"{folder}/trip_point_{place}_temp": int(at * 1000)})

    def frequency(self, mhz: float) -> None:
        self.put_files({f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": int(mhz * 1000) for n in range(4)})


def raspberry_pi(root: Path) -> Board:
    """A Pi 4 at 1.8 GHz and 50 °C, which begins to slow down at 80."""
    board = Board(root)
    board.put_files(
        {
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "proc/cpuinfo": PI_CPUINFO,
            "proc/meminfo": MEMINFO,
            "proc/loadavg": "0.05 0.03 0.01 1/150 900",
            "proc/stat": "cpu  100 0 100 1000 0 0 0 0 0 0\ncpu0 1 1 1 1",
            "etc/os-release": 'NAME="Raspbian"\nPRETTY_NAME="Raspbian GNU/Linux 12"',
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
            "sys/class/thermal/thermal_zone0/trip_point_0_temp": 80_000,
            "sys/class/thermal/thermal_zone0/trip_point_1_type": "active",
            "sys/class/thermal/thermal_zone0/trip_point_1_temp": 50_000,
            "sys/class/thermal/cooling_device0/type": "gpio-fan",
            "sys/class/thermal/cooling_device0/cur_state": 1,
        }
    )
    for number in range(4):
        folder = f"sys/devices/system/cpu/cpu{number}/cpufreq"
        board.put_files(
            {
                f"{folder}/scaling_driver": "cpufreq-dt",
                f"{folder}/scaling_governor": "ondemand",
                f"{folder}/cpuinfo_min_freq": 600_000,
                f"{folder}/cpuinfo_max_freq": 1_800_000,
                f"{folder}/scaling_max_freq": 1_800_000,
            }
        )
    board.temperature(50)
    board.frequency(1800)
    return board
