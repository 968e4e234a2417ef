"""Memory, disk, temperature, camera and processor, from files like those of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmatch.edge.doctor import machine_checks
from shelfmatch.edge.machine import cpu


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("available_kb", "limit", "status"),
    [
        (400_000, None, "ok"),
        (100_000, None, "advice"),
        (50_000, None, "problem"),
        (400_000, "60000000", "problem"),
        (400_000, "max", "ok"),
    ],
)
def test_memory(available_kb: int, limit: str | None, status: str, tmp_path: Path) -> None:
    files = {"proc/meminfo": f"MemTotal:      500000 kB\nMemFree: 20 kB\nMemAvailable: {available_kb} kB\n"}
    if limit is not None:
        files["sys/fs/cgroup/memory.max"] = limit + "\n"
    assert machine_checks.memory(write(tmp_path, files)).status == status


@pytest.mark.parametrize(
    ("group", "files", "free_mb"),
    [
        ("", {"memory.max": "100000000", "memory.current": "60000000", "memory.stat": "inactive_file 0\n"}, 40),
        (
            "",
            {"memory.max": "100000000", "memory.current": "90000000", "memory.stat": "anon 1\ninactive_file 30000000"},
            40,
        ),
        ("", {"memory.max": "100000000"}, 100),
        ("", {"memory.max": "100000000", "memory.current": "110000000", "memory.stat": ""}, 0),
        (
            "/memory",
            {
                "memory.limit_in_bytes": "100000000",
                "memory.usage_in_bytes": "75000000",
                "memory.stat": "total_inactive_file 0",
            },
            25,
        ),
    ],
)
def test_memory_that_a_container_has_left(group: str, files: dict[str, str], free_mb: int, tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal:      500000 kB\nMemAvailable: 400000 kB\n"})
    write(tmp_path, {f"sys/fs/cgroup{group}/{name}": text for name, text in files.items()})
    assert machine_checks.memory(tmp_path).details == {"total_mb": 100, "available_mb": free_mb}


def test_the_hottest_of_sensors_of_one_name(tmp_path: Path) -> None:
    for number, degrees in enumerate([50, 85, 60]):
        folder = f"sys/class/thermal/thermal_zone{number}"
        write(tmp_path, {f"{folder}/temp": f"{degrees}000\n", f"{folder}/type": "cpu\n"})
    check = machine_checks.temperature(tmp_path)
    assert check.status == "advice" and check.details == {"celsius": {"cpu": 85.0}}


def test_temperature(tmp_path: Path) -> None:
    assert machine_checks.temperature(tmp_path).status == "absent"
    write(
        tmp_path,
        {"sys/class/thermal/thermal_zone0/temp": "51540\n", "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n"},
    )
    check = machine_checks.temperature(tmp_path)
    assert (check.status, check.finding) == ("ok", "52 °C at the sensor cpu-thermal.")
    write(
        tmp_path, {"sys/class/thermal/thermal_zone1/temp": "83000\n", "sys/class/thermal/thermal_zone1/type": "gpu\n"}
    )
    write(
        tmp_path, {"sys/class/thermal/thermal_zone2/temp": "-274000\n", "sys/class/thermal/thermal_zone2/type": "x\n"}
    )
    check = machine_checks.temperature(tmp_path)
    assert check.status == "advice" and "83 °C at the sensor gpu" in check.finding and "heat sink" in check.advice


def test_camera(tmp_path: Path) -> None:
    assert machine_checks.camera(tmp_path).status == "absent"
    videos = {
        0: ("HD Webcam C615", "0"),
        1: ("HD Webcam C615", "1"),
        10: ("bcm2835-codec-decode", "0"),
        14: ("bcm2835-isp-output0", "0"),
    }
    for number, (name, index) in videos.items():
        folder = f"sys/class/video4linux/video{number}"
        write(tmp_path, {f"{folder}/name": name + "\n", f"{folder}/index": index + "\n"})
    check = machine_checks.camera(tmp_path)  # its device file is not there, so it can't be opened
    assert (
        check.status == "advice"
        and check.details["cameras"] == {"/dev/video0": "HD Webcam C615"}
        and "usermod" in check.advice
    )
    write(tmp_path, {"dev/video0": ""})
    assert machine_checks.camera(tmp_path).status == "ok"


@pytest.mark.parametrize(
    ("name", "is_camera"),
    [
        ("Studio Display Camera", True),
        ("Crispy Cam", True),
        ("bcm2835-isp-capture0", False),
        ("rkisp1_stats", False),
        ("ISP output", False),
        ("pispbe-input", False),
    ],
)
def test_names_of_cameras(name: str, is_camera: bool, tmp_path: Path) -> None:
    write(tmp_path, {"sys/class/video4linux/video0/name": name + "\n", "sys/class/video4linux/video0/index": "0\n"})
    assert (machine_checks.camera(tmp_path).status != "absent") == is_camera


def test_disk(tmp_path: Path) -> None:
    assert machine_checks.disk(tmp_path).status == "ok" and list(tmp_path.iterdir()) == []
    unwritable = machine_checks.disk(Path("/proc"))
    assert unwritable.status == "advice" and "Nothing can be written to /proc" in unwritable.finding


@pytest.mark.parametrize(
    ("cpuinfo", "saturates"),
    [
        ("flags\t\t: fpu avx2 avx512f\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("flags\t\t: fpu avx2 avx_vnni\n", False),
        ("Features\t: fp asimd\n", False),
        (None, False),
    ],
)
def test_processors_whose_sums_saturate(cpuinfo: str | None, saturates: bool, tmp_path: Path) -> None:
    if cpuinfo is not None:
        write(tmp_path, {"proc/cpuinfo": "processor\t: 0\n" + cpuinfo})
    assert cpu.saturates(tmp_path) == saturates
