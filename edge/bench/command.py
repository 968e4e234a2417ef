"""What `shelfmatch bench` does with its arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import device
from ..encoders.encoder import Encoder
from ..encoders.registry import DEFAULT_ENCODER
from ..errors import BenchError, ShelfmatchError
from ..files import check_output
from ..terminal import DONE, NO, amount, complain, print_json, progress_bar, quiet_native
from .comparing import Comparison, check_result, compare_results
from .page import figure_rows, write_page
from .results import load_result, save_result
from .runner import DEFAULT_FPS, SCENARIOS, Settings, run_bench
from .sweep import run_sweep
from .target import check_references, find_one

_OF_A_RUN = ("photos", "camera", "quick", "scenario", "fps", "threads", "runtime", "resizer", "look_again", "locate", "references",
             "sweep", "memory_limit", "device_file", "output")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """bench, bench compare or bench check; the exit code."""
    first, rest = (options.words or [""])[0], options.words[1:]
    if first == "compare":
        _refuse(options, "compare", (*_OF_A_RUN, "against"))
        return _compare(options, rest)
    if first == "check":
        _refuse(options, "check", _OF_A_RUN)
        return _check(options, rest)
    _refuse(options, "a target", ("against",))
    if rest:
        raise BenchError(
            f"{len(options.words)} targets arrived ({', '.join(options.words)}); expected one, or compare, or check"
        )
    return _measure(options, first or DEFAULT_ENCODER)


def _refuse(options: argparse.Namespace, with_what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(options, name) not in (None, False, "auto"):
            raise BenchError(
                f"--{name.replace('_', '-')} arrived with {with_what}, which has no use for it; leave it out"
            )


def _measure(options: argparse.Namespace, target: str) -> int:
    if options.sweep is None and (options.memory_limit is not None or options.device_file is not None):
        raise BenchError(
            "--memory-limit and --device-file are for --sweep; name what to sweep, like --sweep runtime,threads"
        )
    json_file, page = _outputs("bench" if options.output is None else options.output, target)
    common: dict[str, Any] = {
        "photos": options.photos,
        "camera": options.camera,
        "scenarios": options.scenario or SCENARIOS,
        "fps": options.fps if options.fps is not None else DEFAULT_FPS,
        "quick": options.quick,
        "settings": Settings(
            options.threads, options.runtime, options.resizer, options.look_again, options.locate or "off"
        ),
        "references": options.references,
        "progress": progress_bar("bench", "round"),
    }
    check_references(target, options.references)
    _greet(target)
    if options.sweep is not None:
        limit = None if options.memory_limit is None else options.memory_limit * 1_000_000
        before = _settings_in(options.device_file)
        result = run_sweep(target, options.sweep, memory_limit_bytes=limit, device_file=options.device_file, **common)
        _tell_of_earlier(before, _settings_in(options.device_file))
    else:
        result = run_bench(target, **common)
    save_result(json_file, result)
    write_page(page, result)
    if options.json:
        print_json({"result": str(json_file), "page": str(page), **_short(result)})
        return DONE
    print(result["headline"])
    rows = figure_rows(result)
    wide = max(len(what) for what, _ in rows)
    print("\n".join(f"  {what:<{wide}}  {figure}" for what, figure in rows))
    if result["sweep"] is not None:
        _print_sweep(result["sweep"], options.device_file or device.user_path())
    print(f"  {'result':<{wide}}  {json_file}\n  {'page':<{wide}}  {page}")
    return DONE


def _outputs(given: str, target: str) -> tuple[Path, Path]:
    """OUT.json and OUT.html, tried before anything is measured. Raises BenchError, OSError."""
    base = Path(given)
    base = base.with_suffix("") if base.suffix in (".json", ".html") else base
    if base.name in ("", "..") or given.endswith("/"):
        raise BenchError(f"-o {given!r} arrived; expected a name for two files, like {base / 'bench'}")
    files = base.with_name(f"{base.name}.json"), base.with_name(f"{base.name}.html")
    if not base.parent.is_dir():
        raise BenchError(f"-o {base}: {base.parent} is no folder; make it first")
    check_output(files[0], "measurement", [target])
    check_output(files[1], "page", [target])
    return files


def _greet(target: str) -> None:
    """LiteRT announces its delegate on stderr once a process: here, before the bars. A bundle is opened elsewhere."""
    if not Path(target).is_dir():
        find_one(target)
        with quiet_native():
            Encoder.load(target).prepare()


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """The result without what only plots need; the file has all."""
    scenarios = {
        name: {key: value for key, value in scenario.items() if key not in ("samples_ms", "blocks")}
        for name, scenario in result["scenarios"].items()
    }
    return {**{key: value for key, value in result.items() if key != "sensors"}, "scenarios": scenarios}


def _settings_in(file: str | None) -> device.Device:
    """What a sweep's file says; nothing where it isn't there or can't be used."""
    try:
        return device.read(Path(file or device.user_path()))[0]
    except (ShelfmatchError, RuntimeError):
        return device.Device()


def _tell_of_earlier(before: device.Device, after: device.Device) -> None:
    """Say which settings of an earlier sweep are gone: of another target, or of another machine."""
    names = [line.partition(" = ")[0] for line in after.lines()]
    gone = [line for line in before.lines() if line.partition(" = ")[0] not in names]
    if gone:
        complain(
            f"of another target or machine, and not kept: {', '.join(gone)}; sweep all that this one needs, like "
            "--sweep runtime,threads"
        )


def _print_sweep(sweep: dict[str, Any], path: Any) -> None:
    for point in sweep["points"]:
        settings = point["settings"]
        figures = (
            ""
            if point["p90_ms"] is None
            else f"p90 {point['p90_ms']:.2f} ms, {(point['peak_bytes'] or 0) / 1e6:.0f} MB"
        )
        said = "chosen" if point["chosen"] else point["excluded"] or ""
        name = f"{settings['encoder']}, {settings['runtime']}, threads {settings['threads']}, {settings['index']}"
        print(f"  {name:<60}  {figures}  {said}".rstrip())
    print(f"  settings written to {path}")


def _results(files: list[str]) -> str:
    return amount(len(files), "result")


def _compare(options: argparse.Namespace, files: list[str]) -> int:
    if len(files) < 2:
        raise BenchError(f"{_results(files)} arrived; expected two or more to compare")
    results = [load_result(file) for file in files]
    found = [
        compare_results(results[0], one, names=(files[0], name))
        for one, name in zip(results[1:], files[1:], strict=True)
    ]
    if options.json:
        print_json([comparison.to_dict() for comparison in found])
    else:
        print("\n\n".join(comparison.table() for comparison in found))
    return DONE


def _check(options: argparse.Namespace, files: list[str]) -> int:
    if len(files) != 1 or options.against is None:
        raise BenchError(f"{_results(files)} arrived with {'' if options.against else 'no '}--against; "
                         "expected bench check RESULT --against BASELINE")  # fmt: skip
    result, baseline = load_result(files[0]), load_result(options.against)
    found = check_result(result, baseline, names=(options.against, files[0]))
    if options.json:
        record = {
            "regressions": [row.name for row in found.regressions],
            "too_fast": [row.name for row in found.too_fast],
        }
        print_json({"ok": not found.regressions, **record, **found.to_dict()})
    else:
        print(found.table())
    _tell(found)
    return NO if found.regressions else DONE


def _tell(found: Comparison) -> None:
    for row in found.regressions:
        complain(f"regression: {row.name} is {row.said} than the baseline")
    for row in found.too_fast:
        complain(
            f"too fast: {row.name} is {row.said} than the baseline; is all the work still done? if so, make a new baseline"
        )
