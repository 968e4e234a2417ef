"""Result files: their schema, comparing them, and the gate.

One module of over 400 lines: all compare the same measured result.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from shelfmatch.edge.bench import check_result, compare_results, load_result, run_bench, save_result
from shelfmatch.edge.bench.results import SCHEMA_FILE, VERSION, problem_of, schema
from shelfmatch.edge.bench.runner import Plan
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.errors import BenchError
from tests.conftest import tile_photo

Result = dict[str, Any]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_tflite: Path) -> Result:
    """A real result, of a short run."""
    photos = tmp_path_factory.mktemp("photos")
    for number in range(3):
        tile_photo(number, 9).save(photos / f"{number}.png")
    plan = Plan(2, 0.0, 0.2, 0.1, 0.1, 0.05, 0.05, 0, 0.05)
    return run_bench(tiny_tflite, photos=photos, plan=plan, references=40)


def made(
    measured: Result, *, seed: int, slower: float = 1.0, machine: float = 1.0, memory: float = 1.0, quiet: float = 1.0
) -> Result:
    """A result like a real one, with ten rounds whose figures are known: a program so much slower, on a machine so much slower."""
    random = np.random.default_rng(seed)
    result = copy.deepcopy(measured)

    def noisy(value: float) -> float:
        return float(value * math.exp(random.normal(0, 0.015)))

    stream, rounds = result["scenarios"]["single-stream"], []
    for _ in range(10):
        yard = noisy(0.5 * machine)
        row = {f"{level}_ms": noisy(2 * slower * machine) for level in ("p50", "p90", "p99")}
        for level, times in (("p50", 4.0), ("p90", 5.0)):
            row[f"quiet_{level}_yards"] = noisy(times * slower)
            row[f"quiet_{level}_ms"] = row[f"quiet_{level}_yards"] * yard
        rounds.append({**row, "quiet_share": quiet, "yardstick_ms": yard})
    stream["rounds"] = rounds
    steady = result["scenarios"]["steady-rate"]
    steady |= {"frames": 900, "late": 10, "dropped": 0}
    steady["rounds"] = [
        {
            **{key: noisy(value) for key, value in row.items() if key not in ("quiet_share", "yardstick_ms")},
            "quiet_share": quiet,
            "yardstick_ms": row["yardstick_ms"],
            "frames": 90,
            "late": 1,
            "dropped": 0,
        }
        for row in rounds
    ]
    result["scenarios"]["offline"]["rounds"] = [
        {
            "photos_per_s": noisy(1000 / (2 * slower * machine)),
            "photo_yards": noisy(4 * slower),
            "cpu_ms_per_photo": noisy(2 * slower * machine),
            "yardstick_ms": noisy(0.5 * machine),
        }
        for _ in range(10)
    ]
    result["start"]["rounds"] = [{"cold_ms": noisy(200 * machine), "cpu_ms": noisy(180 * machine)} for _ in range(10)]
    result["memory"]["rounds"] = [{"peak_bytes": round(noisy(80e6 * memory))} for _ in range(10)]
    result["findings"] = []
    return result


def test_made_up_results_keep_the_schema(measured: Result) -> None:
    jsonschema.validate(made(measured, seed=0), schema())


def test_equals_are_called_equal_and_ten_percent_are_found(measured: Result) -> None:
    alarms = missed = 0
    for number in range(100):
        base = made(measured, seed=3 * number)
        alarms += compare_results(base, made(measured, seed=3 * number + 1)).verdict != "no difference"
        slowed = compare_results(base, made(measured, seed=3 * number + 2, slower=1.1))
        missed += "single-stream p50" not in [row.name for row in slowed.regressions]
    assert alarms <= 3 and missed <= 2


def test_a_slower_machine_is_no_slower_program(measured: Result) -> None:
    found = compare_results(made(measured, seed=1), made(measured, seed=2, machine=1.3))
    assert found.verdict == "no difference" and found.machine_ratio == pytest.approx(1.3, abs=0.03)
    assert any(
        "the machine itself was 30% slower" in note or "29% slower" in note or "31%" in note for note in found.notes
    )
    both = compare_results(made(measured, seed=1), made(measured, seed=2, machine=1.3, slower=1.3))
    assert {row.name for row in both.regressions} == {
        *("single-stream p50", "single-stream p90", "steady-rate p50", "steady-rate p90", "offline")
    }


def test_between_machines_milliseconds_count(measured: Result) -> None:
    other = made(measured, seed=2, machine=1.3)
    other["board"]["cpu"] = "Cortex-A53"
    found = compare_results(made(measured, seed=1), other)
    assert not found.same_machine and "single-stream p50" in [row.name for row in found.regressions]
    renewed = made(measured, seed=2, machine=1.3)
    renewed["board"]["libraries"]["numpy"] = "9.9"
    assert compare_results(made(measured, seed=1), renewed).regressions  # another numpy, another yardstick


def test_beside_other_programs_cpu_time_counts(measured: Result) -> None:
    base, busy = made(measured, seed=1), made(measured, seed=2, quiet=0.4)
    for row in busy["scenarios"]["offline"]["rounds"]:
        row["photos_per_s"], row["photo_yards"] = row["photos_per_s"] / 3, row["photo_yards"] * 3
    for row in busy["start"]["rounds"]:
        row["cold_ms"] *= 3
    found = compare_results(base, busy)
    assert found.verdict == "no difference" and any("other programs" in note for note in found.notes)
    quiet = "of single-stream and steady-rate, only photos that nobody interrupted are compared: 100% and 40%"
    assert quiet in found.notes and quiet in found.table().splitlines()
    assert not any("interrupted" in note for note in compare_results(base, made(measured, seed=2)).notes)
    slower = made(measured, seed=2, quiet=0.4, slower=1.5)
    assert "offline" in [row.name for row in compare_results(base, slower).regressions]


def test_memory_is_compared_too(measured: Result) -> None:
    found = compare_results(made(measured, seed=1), made(measured, seed=2, memory=1.2))
    assert [row.name for row in found.regressions] == ["peak memory"] and "more" in found.verdict
    assert found.rows[-1].b == pytest.approx(96, abs=2)


def test_what_else_differs_is_noted(measured: Result) -> None:
    other = made(measured, seed=2)
    other["target"]["encoder_sha256"], other["target"]["encoder"] = "0" * 64, "another"
    other["photos"]["width"] = 4000
    other["findings"] = [{"kind": "throttled", "what": "90 °C"}]
    notes = compare_results(made(measured, seed=1), other, names=("old", "new")).notes
    assert any("another encoder: tiny and another" in note for note in notes)
    assert any("width 48 and 4000" in note for note in notes) and "new: THROTTLED: 90 °C" in notes


def test_another_second_encoder_is_noted(measured: Result) -> None:
    one, other = made(measured, seed=1), made(measured, seed=2)
    assert not any("second" in note for note in compare_results(one, other).notes)
    other["target"] |= {"second_encoder": "vit", "second_encoder_sha256": "0" * 64}
    assert "another second encoder: none and vit" in compare_results(one, other).notes
    assert "another second encoder: none and vit" in check_result(other, one).notes
    jsonschema.validate(other, schema())


def test_a_steady_rate_that_became_worse_is_a_regression(measured: Result) -> None:
    base, other = made(measured, seed=1), made(measured, seed=2)
    other["scenarios"]["steady-rate"] |= {"late": 180, "dropped": 90}
    for row in other["scenarios"]["steady-rate"]["rounds"]:
        row["late"], row["dropped"] = 18, 9
    (row,) = compare_results(base, other).regressions
    assert row.name == "steady-rate late or dropped" and row.said == "28.9 points more"
    assert (row.a, row.b) == pytest.approx((10 / 9, 30))
    back = compare_results(other, base)
    assert back.verdict == "steady-rate late or dropped: 28.9 points less" and not back.too_fast
    for row in other["scenarios"]["steady-rate"]["rounds"]:
        row["quiet_p90_yards"] *= 1.2
    assert "steady-rate p90" in [row.name for row in compare_results(base, other).regressions]


def test_frames_that_come_late_on_a_slower_machine_are_not_the_programs_fault(measured: Result) -> None:
    base, other = made(measured, seed=1), made(measured, seed=2, machine=1.3)
    for row in other["scenarios"]["steady-rate"]["rounds"]:
        row["late"] = 60
    found = compare_results(base, other)
    assert found.verdict == "no difference" and any("dropped frames aren't compared" in note for note in found.notes)
    other["board"]["cpu"] = "Cortex-A53"
    assert "steady-rate late or dropped" in [row.name for row in compare_results(base, other).regressions]


def test_a_scenario_that_is_missing_fails_the_gate(measured: Result) -> None:
    base, part = made(measured, seed=1), made(measured, seed=2)
    del part["scenarios"]["offline"]
    with pytest.raises(BenchError, match=r"^new has no offline, which old has; measure the same"):
        check_result(part, base, names=("old", "new"))
    check_result(base, part)  # more than the baseline has is no mistake
    assert "only old has offline: not compared" in compare_results(base, part, names=("old", "new")).notes
    assert "only new has offline: not compared" in compare_results(part, base, names=("old", "new")).notes
    with pytest.raises(BenchError, match="has no single-stream"):
        part["scenarios"] = {"offline": base["scenarios"]["offline"]}
        check_result(part, base)


def test_a_machines_speed_is_told_from_a_scenario_of_both_or_not_at_all(measured: Result) -> None:
    """Around a block of photos the yardstick runs faster than between them: that is no faster machine."""
    base, other = made(measured, seed=1), made(measured, seed=2)
    for result in (base, other):
        for row in result["scenarios"]["offline"]["rounds"]:
            row["yardstick_ms"] /= 1.5
    del base["scenarios"]["single-stream"], base["scenarios"]["steady-rate"]
    found = compare_results(base, other)
    assert found.machine_ratio == pytest.approx(1, abs=0.03) and found.verdict == "no difference"
    del other["scenarios"]["offline"]
    found = compare_results(base, other)
    assert found.machine_ratio is None and found.to_dict()["machine_ratio"] is None
    assert not any("the machine itself" in note for note in found.notes)
    assert any("no scenario in common" in note for note in found.notes)
    assert [row.name for row in found.rows] == ["cold start", "peak memory"] and found.verdict == "no difference"


def test_nothing_in_common_is_an_error(measured: Result) -> None:
    one, other = made(measured, seed=1), made(measured, seed=2)
    for result in (one, other):
        result["start"]["rounds"], result["memory"]["rounds"] = [], []
    del one["scenarios"]["offline"], other["scenarios"]["single-stream"], other["scenarios"]["steady-rate"]
    with pytest.raises(BenchError, match="no scenario in common"):
        compare_results(one, other)


def test_the_gate(measured: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "base": made(measured, seed=1),
        "same": made(measured, seed=2),
        "slow": made(measured, seed=3, slower=1.15),
        "fast": made(measured, seed=4, slower=0.6),
    }
    for name, result in files.items():
        save_result(tmp_path / f"{name}.json", result)

    def check(name: str, *more: str) -> tuple[int, str, str]:
        code = main(["bench", "check", str(tmp_path / f"{name}.json"), "--against", str(tmp_path / "base.json"), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert check("same")[0] == 0
    code, out, err = check("slow")
    assert code == 1 and "regression: single-stream p50 is 1" in err and "slower" in out
    code, out, err = check("fast", "--json")
    assert code == 0 and "too fast: single-stream p50" in err
    assert json.loads(out)["too_fast"][0] == "single-stream p50" and json.loads(out)["ok"]


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("board", "cpu", "Cortex-A53", "another machine than .*cpu 'Cortex-A53'"),
        ("photos", "width", 4000, "another target, photos or settings .*photos width 4000"),
        ("settings", "threads", 4, "threads 4 instead of 1"),
        ("target", "references", 9, "references 9"),
    ],
)
def test_the_gate_compares_like_with_like(measured: Result, group: str, key: str, value: object, message: str) -> None:
    other = made(measured, seed=1)
    other[group][key] = value
    with pytest.raises(BenchError, match=message):
        check_result(other, made(measured, seed=2))


# The schema.


def test_a_run_that_looked_for_the_product_and_one_that_did_not(measured: Result) -> None:
    """`locate` stands in a result's settings only where it was on."""
    plain, located = made(measured, seed=1), made(measured, seed=2)
    located["settings"]["locate"] = "auto"
    assert problem_of(located) is None
    assert "settings: locate off and auto" in compare_results(plain, located).notes
    assert "settings: locate auto and off" in compare_results(located, plain).notes
    with pytest.raises(BenchError, match=r"settings than baseline \(locate 'auto' instead of 'off'\)"):
        check_result(located, plain)
    with pytest.raises(BenchError, match=r"settings than baseline \(locate 'off' instead of 'auto'\)"):
        check_result(plain, located)


def _drop(name: str) -> Callable[[Result], None]:
    return lambda result: result.pop(name)


MUTATIONS: dict[str, Callable[[Result], Any]] = {
    "no board": _drop("board"),
    "another format": lambda result: result.update(format="x"),
    "another version": lambda result: result.update(version=1),
    "an unknown key": lambda result: result.update(hostname="kiosk-3"),
    "a word for a number": lambda result: result["scenarios"]["single-stream"].update(seconds="long"),
    "true for a number": lambda result: result.update(seconds=True),
    "a negative sample": lambda result: result["scenarios"]["single-stream"]["samples_ms"].append(-1.0),
    "half a sample": lambda result: result["scenarios"]["single-stream"].update(samples=10.5),
    "an unknown scenario": lambda result: result["scenarios"].update(multi={}),
    "no rounds": lambda result: result["scenarios"]["single-stream"].update(rounds=[]),
    "an unknown kind": lambda result: result["photos"].update(kind="drawn"),
    "a list for an object": lambda result: result.update(memory=[]),
    "null where there must be text": lambda result: result.update(headline=None),
    "an interval without its end": lambda result: result["start"]["cold_ms"].pop("high"),
    "an unknown finding": lambda result: result["findings"].append({"kind": "odd", "what": ""}),
    "a sweep of something else": lambda result: result.update(sweep={"axes": []}),
    "no scenarios": lambda result: result.update(scenarios={}),
    "no numpy": lambda result: result["board"].update(libraries={}),
    "a yardstick of no length": lambda result: result["scenarios"]["offline"]["rounds"][0].update(yardstick_ms=0),
    "a latency of nothing": lambda result: result["scenarios"]["single-stream"]["rounds"][0].update(quiet_p50_yards=0),
    "more quiet than all": lambda result: result["scenarios"]["single-stream"]["rounds"][0].update(quiet_share=2),
    "more bytes than there are": lambda result: result["memory"]["rounds"][0].update(peak_bytes=10**400),
    "a round without its frames": lambda result: result["scenarios"]["steady-rate"]["rounds"][0].pop("frames"),
    "a library that is a number": lambda result: result["board"]["libraries"].update(numpy=2.4),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_our_reading_of_the_schema_is_jsonschemas(measured: Result, name: str) -> None:
    result = copy.deepcopy(measured)
    MUTATIONS[name](result)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(result, schema())
    assert problem_of(result) is not None
    with pytest.raises(BenchError, match="no result that can be saved"):
        save_result("nowhere.json", result)


def test_both_take_whole_numbers_written_with_a_point(measured: Result) -> None:
    result = copy.deepcopy(measured)
    result["scenarios"]["single-stream"]["samples"] = 10.0
    jsonschema.validate(result, schema())
    assert problem_of(result) is None
    assert problem_of([]) == "the document is [], expected object" and problem_of({}) == "the document has no format"


def test_the_schema_is_a_schema_and_uses_only_what_we_read() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    read = {
        *("$schema", "$id", "$defs", "$ref", "title", "description", "type", "required", "properties", "items"),
        *("additionalProperties", "const", "enum", "minimum", "minItems"),
        *("maximum", "minProperties"),
    }

    def keys(rule: Any) -> set[str]:
        if not isinstance(rule, dict):
            return set()
        nested = [*rule.get("properties", {}).values(), *rule.get("$defs", {}).values(), rule.get("items")]
        return {*rule, *(key for one in [*nested, rule.get("additionalProperties")] for key in keys(one))}

    assert keys(schema()) <= read
    assert SCHEMA_FILE.name == "result.schema.json" and schema()["properties"]["version"] == {"const": VERSION}


def test_a_result_survives_its_file(measured: Result, tmp_path: Path) -> None:
    save_result(tmp_path / "a.json", measured)
    assert load_result(tmp_path / "a.json") == json.loads(json.dumps(measured))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "is no result of shelfmatch bench"),
        (b'{"format": "shelfmatch-bench", "version": 9}', "has version 9; this shelfmatch reads 2"),
        (b'{"format": "shelfmatch-bench", "version": 1}', "has version 1; this shelfmatch reads 2"),
        (b'{"format": "shelfmatch-bench", "version": 2}', "has no shelfmatch"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "r.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=message):
        load_result(path)


def test_figures_at_the_ends_of_what_is_allowed_compare(measured: Result) -> None:
    """Nonsense that keeps the schema: no traceback."""
    one, other = made(measured, seed=1), made(measured, seed=2)
    for result, value in ((one, 1e-9), (other, 2**53 - 1)):
        for scenario in result["scenarios"].values():
            for row in scenario["rounds"]:
                row |= dict.fromkeys(row.keys() - {"quiet_share", "frames", "late", "dropped"}, value)
        result["start"]["rounds"] = [{"cold_ms": value, "cpu_ms": value}] * 10
        result["memory"]["rounds"] = [{"peak_bytes": 1 if value < 1 else value}] * 10
        assert problem_of(result) is None
    for a, b in ((one, other), (other, one)):
        assert "MB" in compare_results(a, b).table()


# The command.


def test_the_command_writes_and_compares(
    tiny_tflite: Path,
    tmp_path: Path,
    measured: Result,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shelfmatch.edge.bench.runner.QUICK", Plan(2, 0.0, 0.1, 0.1, 0.1, 0.0, 0.0, 0, 0.05))
    tile_photo(1, 1).save(tmp_path / "a.png")
    arguments = [
        "bench",
        str(tiny_tflite),
        "--quick",
        "--photos",
        ".",
        "--references",
        "30",
        "--scenario",
        "single-stream",
    ]
    assert main([*arguments, "-o", "one.json"]) == 0
    said = capsys.readouterr()
    assert "ms a photo" in said.out and "one.html" in said.out and said.err == ""
    assert main([*arguments, "-o", "two", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["result"] == "two.json" and record["scenarios"]["single-stream"]["samples"] > 0
    assert (tmp_path / "two.html").is_file() and set(load_result("two.json")["scenarios"]) == {"single-stream"}
    assert main(["bench", "compare", "one.json", "two.json"]) == 0
    assert "too few rounds to tell" in capsys.readouterr().out
    assert main(["bench", "compare", "one.json", "two.json", "one.json", "--json"]) == 0
    assert [one["b"] for one in json.loads(capsys.readouterr().out)] == ["two.json", "one.json"]


def test_options_may_stand_anywhere(measured: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    save_result(a, made(measured, seed=1))
    save_result(b, made(measured, seed=2))
    for words in (["compare", "--json", a, b], ["compare", a, "--json", b], ["--json", "compare", a, b]):
        assert main(["bench", *words]) == 0
        assert json.loads(capsys.readouterr().out)[0]["b"] == b
    assert main(["bench", "check", "--against", a, b]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "compare", "--jason", a, b])
    assert "unrecognized arguments: --jason" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "0 results arrived; expected two or more"),
        (["compare", "a.json", "b.json"], "a.json can't be read"),
        (["compare", "a.json", "--quick"], "--quick arrived with compare"),
        (["compare", "a.json", "b.json", "--against", "c.json"], "--against arrived with compare"),
        (["check", "a.json"], "1 result arrived with no --against"),
        (["check", "a.json", "--against", "b.json"], "a.json can't be read"),
        (["check", "a.json", "--against", "b.json", "--fps", "5"], "--fps arrived with check"),
        (["one", "two"], "2 targets arrived"),
        (["--against", "a.json"], "--against arrived with a target"),
        (["nothing"], "unknown encoder 'nothing'"),
        (["nothing.tflite"], "nothing.tflite does not exist"),
        (
            ["nothing.bundle"],
            "nothing.bundle does not exist; expected a bundle, an encoder's file or card, or its name",
        ),
        (["shops/nothing"], "shops/nothing does not exist; expected a bundle"),
        (["--references", "1000000000"], "--references 1000000000 arrived; expected 1 to 1,000,000"),
        (["--sweep", "threads", "--threads", "2"], "--threads 2 arrived with --sweep threads"),
        (["--sweep", "runtime", "--runtime", "onnx"], "--runtime onnx arrived with --sweep runtime"),
        (["--sweep", "threads"], "SHELFMATCH_DEVICE is empty, so"),
        (["--sweep", "threads", "--device-file", "."], ". can't be used: a folder arrived"),
        (["--sweep", "threads", "--device-file", ""], "'' can't be used: a folder arrived"),
        (["--sweep", "threads", "--device-file", "file/d.toml"], "file can't be used: File exists"),
        (["-o", "."], "-o '.' arrived; expected a name for two files, like bench"),
        (["-o", "/"], "-o '/' arrived; expected a name for two files, like /bench"),
        (["-o", ""], "-o '' arrived"),
        (["-o", "folder/"], "-o 'folder/' arrived; expected a name for two files, like folder/bench"),
        (["-o", "folder"], "folder.html can't be used: a folder arrived"),
        (["-o", "n" * 251], f"{'n' * 251}.json can't be used: File name too long"),
        (["compare", "a.json", "b.json", "--runtime", "onnx"], "--runtime arrived with compare"),
        (["--scenario", "multi"], "'multi' arrived; expected single-stream"),
        (["--fps", "-1"], "-1 frames a second"),
        (["--sweep", "colour"], "'colour' arrived; expected some of runtime"),
        (["--device-file", "d.toml"], "are for --sweep"),
        (["-o", "missing/out"], "missing is no folder"),
        (["--photos", "missing"], "missing is no folder"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shelfmatch.edge.bench.runner.run_round", _not_reached)
    monkeypatch.setattr("shelfmatch.edge.bench.sweep.run_round", _not_reached)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert main(["bench", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "folder.html"]


def _not_reached(*arguments: object) -> None:
    raise AssertionError("a round began")


def test_a_bundle_has_references_of_its_own(tile_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tile_bundle), "--references", "5000"]) == 2
    assert "which has references of its own" in capsys.readouterr().err
    assert main(["bench", str(tile_bundle), "--sweep", "index", "--references", "5000"]) == 2
    assert "which has references of its own" in capsys.readouterr().err


def test_precision_is_no_axis_of_a_bundle(tile_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tile_bundle), "--sweep", "precision"]) == 2
    assert "whose vectors belong to its encoder" in capsys.readouterr().err
