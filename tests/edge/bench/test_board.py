"""What the benchmark reads of the machine, on made-up boards, and what it makes of throttling."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shelfmatch.edge.bench import throttle
from shelfmatch.edge.bench.throttle import energy_between, find, spoilt
from shelfmatch.edge.machine.board import describe_board
from shelfmatch.edge.machine.sensors import EnergyMeter, Recorder, Sample, Sensors
from tests.support.boards import PI_CPUINFO, Board, raspberry_pi


def silent(*arguments: str) -> str | None:
    """A machine without vcgencmd."""
    return None


def test_a_raspberry_pi_is_described(tmp_path: Path) -> None:
    record = describe_board(raspberry_pi(tmp_path).root)
    assert record["model"] == "Raspberry Pi 4 Model B Rev 1.4" and record["cpu"] == "Cortex-A72"
    assert "asimd" in record["features"] and not record["virtual"]
    assert record["frequency"] == {"driver": "cpufreq-dt", "governor": "ondemand", "min_mhz": 600, "max_mhz": 1800}
    assert record["memory_bytes"] == 3884404 * 1024 and record["load_average"] == 0.05
    assert record["system"] == "Raspbian GNU/Linux 12"
    assert {"numpy", "pillow"} <= set(record["libraries"])


@pytest.mark.parametrize(
    ("parts", "cpu"),
    [
        (["0xd05"] * 4 + ["0xd0b"] * 4, "Cortex-A55 + Cortex-A76"),
        (["0xd05", "0xfff"], "Cortex-A55 + 0xfff"),
        (["0xd0b"] * 4, "Cortex-A76"),
    ],
)
def test_all_kinds_of_cores_are_named(tmp_path: Path, parts: list[str], cpu: str) -> None:
    board = raspberry_pi(tmp_path)
    board.put_files({"proc/cpuinfo": "\n".join(PI_CPUINFO.replace("0xd08", part) for part in parts)})
    assert describe_board(board.root)["cpu"] == cpu


def test_a_bare_machine_is_described_all_the_same(tmp_path: Path) -> None:
    record = describe_board(tmp_path)
    assert record["model"] is None and record["frequency"] is None and record["memory_bytes"] is None
    assert record["cpu"] and record["cores"] >= 1
    sample = Sensors(tmp_path, silent).read()
    assert sample.temperature_c is None and sample.frequency_mhz is None and sample.energy_j is None


def test_sensors_read_what_changes(tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path)
    sensors = Sensors(board.root, lambda *arguments: "throttled=0x50000" if arguments == ("get_throttled",) else None)
    first = sensors.read()
    assert (first.temperature_c, first.frequency_mhz, first.allowed_mhz) == (50.0, 1800.0, 1800.0)
    assert first.throttled == 0x50000 and first.cooling is None and sensors.trip_c == 80.0
    board.temperature(71.5)
    board.frequency(900)
    second = sensors.read()
    assert (second.temperature_c, second.frequency_mhz) == (71.5, 900.0)


def test_the_cpus_zone_counts_where_there_are_several(tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path)
    board.put_files({"sys/class/thermal/thermal_zone1/type": "battery", "sys/class/thermal/thermal_zone1/temp": 99_000})
    assert Sensors(board.root, silent).read().temperature_c == 50.0


def test_a_pc_tells_its_temperature_through_hwmon(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.put_files({"sys/class/hwmon/hwmon0/name": "nvme", "sys/class/hwmon/hwmon0/temp1_input": 80_000})
    board.put_files({"sys/class/hwmon/hwmon1/name": "k10temp", "sys/class/hwmon/hwmon1/temp1_input": 45_500})
    assert Sensors(board.root, silent).read().temperature_c == 45.5


@pytest.mark.parametrize("unset", [-274, 0, 5, 250])
def test_a_trip_point_that_is_not_set_is_no_limit(unset: float, tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path)
    board.zone(0, "x86_pkg_temp", 45, passive=unset)
    sensors = Sensors(board.root, silent)
    assert sensors.trip_c is None and find([sensors.read()], []) == []
    board.zone(0, "x86_pkg_temp", 45, passive=unset, hot=95)
    assert Sensors(board.root, silent).trip_c == 95.0


def test_each_zone_has_its_own_limit(tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path)
    board.zone(0, "soc-thermal", 50, passive=60)
    board.zone(1, "cpu-thermal", 75, passive=95)
    sensors = Sensors(board.root, silent)
    cool = sensors.read()
    assert cool.temperature_c == 75.0 and find([cool], [], trip_c=sensors.trip_c) == []
    board.temperature(62)
    (found,) = find([cool, sensors.read(), cool], [], trip_c=sensors.trip_c)
    assert found.what == "62 °C, where it slows down from 60 °C on"


def test_a_board_with_only_a_critical_trip_slows_down_at_80(tmp_path: Path) -> None:
    """A Raspberry Pi 4: the firmware slows it down long before the kernel's 110 °C."""
    board = raspberry_pi(tmp_path)
    board.zone(0, "cpu-thermal", 82, critical=110)
    sensors = Sensors(board.root, silent)
    (found,) = find([sensors.read()], [], trip_c=sensors.trip_c)
    assert sensors.trip_c is None and found.what == "82 °C, where it slows down from 80 °C on"


def test_a_packages_throttling_counts_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for number in range(4):
        cpu = f"sys/devices/system/cpu/cpu{number}"
        board.put_files({f"{cpu}/topology/physical_package_id": number // 2})
        board.put_files({f"{cpu}/thermal_throttle/package_throttle_count": 10 + number // 2})
        board.put_files({f"{cpu}/thermal_throttle/core_throttle_count": 1})
    assert Sensors(board.root, silent).read().throttle_count == 10 + 11 + 4


def test_an_idle_power_clamp_hides_no_cap(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for number, (kind, state) in enumerate([("intel_powerclamp", -1), ("Processor", 1)]):
        folder = f"sys/class/thermal/cooling_device{number}"
        board.put_files({f"{folder}/type": kind, f"{folder}/cur_state": state})
    sensors = Sensors(board.root, silent)
    assert "capped the CPU" in find([sensors.read()], [])[0].what
    board.put_files({"sys/class/thermal/cooling_device1/cur_state": 0})
    assert sensors.read().cooling == 0


@pytest.mark.parametrize(
    ("domains", "joules"),
    [
        ({"package-0": 3, "psys": 7}, 7.0),
        ({"package-0": 3, "package-1": 4}, 7.0),
        ({"package-0": 3, "dram": 4}, 3.0),
        ({"package-0-die-0": 3, "package-0-die-1": 1}, 4.0),
    ],
)
def test_rapl_domains_that_hold_each_other_count_once(tmp_path: Path, domains: dict[str, int], joules: float) -> None:
    board = Board(tmp_path)
    folders = {name: f"sys/class/powercap/intel-rapl:{number}" for number, name in enumerate(domains)}
    board.put_files({f"{folder}/name": name for name, folder in folders.items()})
    board.put_files({f"{folder}/energy_uj": 5 for folder in folders.values()})
    meter = EnergyMeter(board.root, silent)
    meter.read(0.0)
    board.put_files({f"{folders[name]}/energy_uj": 5 + used * 1_000_000 for name, used in domains.items()})
    assert meter.read(1.0) == pytest.approx(joules)


def test_rapl_counts_and_wraps(tmp_path: Path) -> None:
    board = Board(tmp_path)
    package = "sys/class/powercap/intel-rapl:0"
    board.put_files({f"{package}/energy_uj": 900_000, f"{package}/max_energy_range_uj": 1_000_000})
    board.put_files({f"{package}/intel-rapl:0:0/energy_uj": 5, "sys/class/powercap/intel-rapl:0:0/energy_uj": 5})
    meter = EnergyMeter(board.root, silent)
    assert meter.source == "RAPL" and meter.read(0.0) == 0.0
    board.put_files({f"{package}/energy_uj": 100_000})
    assert meter.read(1.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "files",
    [
        {"power1_input": 2_000_000},
        {"power1_average": 2_000_000},
        {"curr1_input": 400, "in1_input": 5_000},
    ],
)
def test_hwmon_power_is_integrated(tmp_path: Path, files: dict[str, int]) -> None:
    board = Board(tmp_path)
    board.put_files({f"sys/class/hwmon/hwmon0/{name}": value for name, value in files.items()})
    meter = EnergyMeter(board.root, silent)
    assert meter.source == "hwmon" and meter.read(10.0) == 0.0
    assert meter.read(13.0) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("chip", "counts"),
    [
        ("ina3221", True),
        ("power_meter", True),
        ("zenpower", True),
        *((name, False) for name in ("BAT0", "AC", "ADP1", "ucsi_source_psy_USBC000:001", "amdgpu", "nouveau", "nvme")),
    ],
)
def test_power_of_a_battery_or_of_one_device_is_not_the_boards(tmp_path: Path, chip: str, counts: bool) -> None:
    board = Board(tmp_path)
    board.put_files({"sys/class/hwmon/hwmon0/name": chip, "sys/class/hwmon/hwmon0/power1_input": 2_000_000})
    board.put_files({"sys/class/hwmon/hwmon1/name": "BAT1", "sys/class/hwmon/hwmon1/curr1_input": 400})
    board.put_files({"sys/class/hwmon/hwmon1/in1_input": 12_000})
    meter = EnergyMeter(board.root, silent)
    assert meter.source == ("hwmon" if counts else None)
    meter.read(1.0)
    assert meter.read(2.0) == (pytest.approx(2.0) if counts else None)


def test_a_pi_5_tells_its_rails(tmp_path: Path) -> None:
    said = "VDD_CORE_A current(7)=1.50000A\nHDMI_A current(0)=0.1A\nVDD_CORE_V volt(15)=0.80000V\nEXT5V_V volt(24)=5.1V"
    meter = EnergyMeter(tmp_path, lambda *arguments: said)
    assert meter.source == "PMIC" and meter.read(1.0) == 0.0
    assert meter.read(2.0) == pytest.approx(1.2)


def test_energy_is_shared_out_by_time() -> None:
    samples = [replace(CALM, time_s=float(time), energy_j=2.0 * time) for time in range(5)]
    assert energy_between(samples, 1.5, 3.25) == pytest.approx(3.5)
    assert energy_between(samples, 3.0, 9.0) is None
    assert energy_between([CALM, CALM], 0.0, 0.0) is None


def test_a_recorder_takes_samples_while_others_work(tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path)
    with Recorder(Sensors(board.root, silent), 0.01) as recorder:
        board.temperature(60)
        while not any(sample.temperature_c == 60 for sample in recorder.samples):
            pass
    times = [sample.time_s for sample in recorder.samples]
    assert times == sorted(times) and recorder.samples[0].temperature_c == 50


CALM = Sample(0.0, 50.0, 1800.0, 1800.0, 0, 0, 0, None, 0.0, 0.0)


def run_of(change: Callable[[Sample], Sample], seconds: int = 40) -> list[Sample]:
    """A sample every half a second; the second half changed."""
    samples = [replace(CALM, time_s=number / 2) for number in range(2 * seconds)]
    return [change(sample) if sample.time_s >= seconds / 2 else sample for sample in samples]


def blocks_of(seconds: int = 40, slower: float = 1.0, cpu: float = 1.0) -> list[list[dict[str, float]]]:
    """Rounds of four seconds, one block a second; the second half slower by the yardstick."""
    blocks = [
        {"start_s": float(time), "seconds": 1.0, "cpu_s": cpu, "yardstick_ms": slower if time >= seconds / 2 else 1.0}
        for time in range(seconds)
    ]
    return [blocks[first : first + 4] for first in range(0, seconds, 4)]


def test_a_calm_run_has_no_findings() -> None:
    assert find(run_of(lambda sample: sample), blocks_of(), trip_c=80.0, driver="cpufreq-dt") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"throttled": 0x4}, "the firmware reports: throttled"),
        ({"throttled": 0x50005}, "under-voltage, throttled"),
        ({"throttled": 0x80000}, "soft temperature limit"),
        ({"throttle_count": 12}, "throttled itself 12 times"),
        ({"cooling": 2}, "the kernel capped the CPU"),
        ({"temperature_c": 82.0}, "82 °C"),
        ({"frequency_mhz": 1200.0}, "fell from 1,800 to 1,200 MHz"),
        ({"allowed_mhz": 1000.0}, "highest frequency was lowered to 1,000 MHz"),
        ({"quota_s": 9.0}, "quota held its threads back for 9.0 s"),
    ],
)
def test_throttling_is_found(change: dict[str, Any], said: str) -> None:
    found = find(run_of(lambda sample: replace(sample, **change)), blocks_of(), trip_c=80.0, driver="cpufreq-dt")
    assert [finding.kind for finding in found] == ["throttled"] and said in found[0].what
    assert spoilt([finding.to_dict() for finding in found]).startswith("THROTTLED: ")


def test_a_board_that_never_came_up_is_found() -> None:
    slow = [replace(sample, frequency_mhz=1000.0) for sample in run_of(lambda sample: sample)]
    (found,) = find(slow, blocks_of(), driver="cpufreq-dt")
    assert found.what == "the CPU ran at 1,000 MHz of 1,800 that are allowed"
    assert find(slow, blocks_of(), driver="intel_pstate") == []  # a boost that all cores together don't reach


def test_a_cpu_that_idles_slowly_is_not_throttled() -> None:
    """ondemand and its kin: slow between the blocks, fast in them."""
    rounds = blocks_of()
    between = [replace(CALM, time_s=41.0 + number / 2, frequency_mhz=600.0) for number in range(20)]
    assert find([*run_of(lambda sample: sample), *between], rounds, driver="cpufreq-dt") == []
    once = [replace(sample, frequency_mhz=600.0 if sample.time_s == 30 else 1800.0) for sample in run_of(lambda s: s)]
    assert find(once, rounds, driver="cpufreq-dt") == []


def test_without_a_trip_point_80_degrees_count() -> None:
    assert find(run_of(lambda sample: replace(sample, temperature_c=79.0)), blocks_of()) == []
    assert "81 °C" in find(run_of(lambda sample: replace(sample, temperature_c=81.0)), blocks_of())[0].what


def test_what_happened_since_boot_is_a_note() -> None:
    samples = [replace(CALM, time_s=float(number), throttled=0x50000) for number in range(9)]
    (found,) = find(samples, blocks_of(), trip_c=80.0)
    assert found.kind == "note" and spoilt([found.to_dict()]) == ""


def test_a_machine_that_slows_down_silently_is_found() -> None:
    (found,) = find([CALM], blocks_of(slower=1.4))
    assert found.kind == "throttled" and "40% slower during the run and stayed so" in found.what
    assert find([CALM], blocks_of(slower=1.1)) == []


def test_a_shared_machine_is_found() -> None:
    (found,) = find([CALM], blocks_of(cpu=0.6))
    assert found.kind == "disturbed" and "60%" in found.what
    (found,) = find(run_of(lambda sample: replace(sample, stolen=4.0)), blocks_of(), trip_c=80.0, cores=2)
    assert found.kind == "disturbed" and "hypervisor gave 5%" in found.what


# What the project's own benchmarks do before they begin


def benchmark_module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).resolve().parents[3] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(folder / "arm"))
    return importlib.import_module(name)


def test_budgets_that_cannot_be_measured_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = benchmark_module("check", monkeypatch)
    monkeypatch.setattr(check, "unavailable", lambda: "no emulator")
    monkeypatch.setattr("sys.argv", ["check.py"])
    assert check.main() == 0 and capsys.readouterr().out == "skipped: no emulator\n"
    monkeypatch.setattr("sys.argv", ["check.py", "--write-budgets"])
    assert check.main() == 1 and capsys.readouterr().err == "no budgets were written: no emulator\n"


@pytest.mark.parametrize("name", ["nodir/x.json", ".", "file.txt/x.json"])
def test_a_json_file_that_cannot_be_written_is_told_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = benchmark_module("reporting", monkeypatch).argument_parser("")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--json", str(tmp_path / name)])
    assert stopped.value.code == 2 and "expected a file that can be written" in capsys.readouterr().err
    assert parser.parse_args(["--json", str(tmp_path / "x.json")]).json == tmp_path / "x.json"


def test_flags_are_those_of_the_firmware() -> None:
    assert list(throttle._FLAGS) == [0, 1, 2, 3]
