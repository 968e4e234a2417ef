"""The page of a result: one self-contained HTML file, plots inside, no script, nothing fetched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from ..files import write_atomic
from ..pages import html
from . import plots
from .summary import late_share, quiet_p50_ms
from .throttle import spoilt

Result = Mapping[str, Any]


def write_page(path: str | os.PathLike[str], result: Result) -> None:
    """Write the page of a result. Raises OSError."""
    write_atomic(Path(path), html.page(f"{result['target']['name']} – bench", _body(result)))


def _body(result: Result) -> list[str]:
    scenarios = result["scenarios"]
    return [
        f"<h1>{escape(result['target']['name'])} on {escape(_board_name(result))}</h1>",
        f"<p>{escape(_what(result))}</p>",
        _warning(result),
        html.figures(_figures(result)),
        *(_latency_section(name, scenarios[name]) for name in ("single-stream", "steady-rate") if name in scenarios),
        html.section(
            "The run through time",
            plots.time_line(result),
            note="Each dot is a quarter of a second. What slows the machine shows in all strips, "
            "what slows the program in the first alone.",
        ),
        *_stages(scenarios),
        html.section(
            "Memory",
            plots.memory_bars(result["memory"]["steps"], result["memory"]["peak_bytes"]),
            note="Resident after each step, of a fresh process that did nothing else; what the measuring holds is taken off.",
        ),
        *_sweep(result["sweep"]),
        html.section(
            "All figures", html.table(figure_rows(result)), note="Intervals are at 95 %, bootstrapped over rounds."
        ),
        html.section("The machine", html.table(board_rows(result["board"]))),
    ]


def _board_name(result: Result) -> str:
    board = result["board"]
    return str(board["model"] or board["cpu"])


def _what(result: Result) -> str:
    target, photos = result["target"], result["photos"]
    quick = " A quick run: the full one takes 1,024 samples and 60 s a scenario." if result["quick"] else ""
    second = "" if target["second_encoder"] is None else f" and {target['second_encoder']}"
    return (
        f"{target['encoder']} ({target['input']}){second}, {target['references']:,} references, {photos['count']} "
        f"{photos['kind']} photos of {photos['width']}×{photos['height']}; {result['settings']['runtime']}, "
        f"{_threads(result['settings']['threads'])}, {result['settings']['resizer']}; {result['rounds']} rounds, "
        f"each in a fresh process, {result['started_at'][:16].replace('T', ' ')} UTC, shelfmatch {result['shelfmatch']}.{quick}"
    )


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _warning(result: Result) -> str:
    trouble = spoilt(result["findings"])
    notes = "; ".join(finding["what"] for finding in result["findings"] if finding["kind"] == "note")
    box = '<section class="card" style="border-color:#b42318"><b style="color:#b42318">{}</b></section>'
    return (box.format(escape(trouble)) if trouble else "") + (f"<p>{escape(notes)}</p>" if notes else "")


def _figures(result: Result) -> dict[str, str]:
    figures: dict[str, str] = {}
    scenarios = result["scenarios"]
    if "single-stream" in scenarios:
        latency = scenarios["single-stream"]["latency_ms"]
        figures["photo → product, median"] = f"{latency['p50']['value']:.2f} ms"
        figures["nine of ten within"] = f"{latency['p90']['value']:.2f} ms"
    if "offline" in scenarios:
        workers = scenarios["offline"]["workers"]
        figures[f"photos a second, {_threads(workers)}"] = f"{scenarios['offline']['photos_per_s']['value']:.0f}"
    if "steady-rate" in scenarios:
        steady = scenarios["steady-rate"]
        figures[f"late or dropped at {steady['fps']:g} fps"] = f"{late_share(steady):.1%}"
    figures["cold start, process to answer"] = f"{result['start']['cold_ms']['value']:.0f} ms"
    if result["memory"]["peak_bytes"] is not None:
        figures["peak memory"] = f"{result['memory']['peak_bytes'] / 1e6:.0f} MB"
    return figures


def _latency_section(name: str, scenario: Mapping[str, Any]) -> str:
    note = {
        "single-stream": "One photo after another; from the call to the answer, a file on disk included.",
        "steady-rate": "Frames arrive on time; from a frame's arrival to its answer. A frame that finds the matcher busy waits, "
        "and is dropped when the next one comes.",
    }[name]
    extra = ""
    if name == "steady-rate":
        jitter = scenario["jitter_ms"]
        extra = html.table(
            [
                ("frames", f"{scenario['frames']:,} at {scenario['fps']:g} a second"),
                ("late", f"{scenario['late']:,} answered after the next one had come; {scenario['dropped']:,} dropped"),
                (
                    "jitter",
                    f"p50 {jitter['p50']:.2f}, p90 {jitter['p90']:.2f}, p99 {jitter['p99']:.2f} ms between answers",
                ),
            ]
        )
    heading = f"Latency, {name}: {scenario['samples']:,} samples"
    return html.section(heading, plots.distribution(scenario["samples_ms"], scenario["latency_ms"]), extra, note=note)


def _stages(scenarios: Mapping[str, Any]) -> list[str]:
    stream = scenarios.get("single-stream")
    if stream is None:
        return []
    note = f"Medians; all stages together are {stream['stage_sum_of_wall']:.1%} of the time measured from outside."
    return [html.section("Where the time goes", plots.stage_bars(stream["stages_ms"]), note=note)]


def _sweep(sweep: Mapping[str, Any] | None) -> list[str]:
    if sweep is None:
        return []
    rows = []
    for point in sweep["points"]:
        settings = point["settings"]
        rows.append(
            (
                f"{settings['encoder']}, {settings['runtime']}, {_threads(settings['threads'])}, {settings['index']}",
                _or_dash(point["p50_ms"], 1, 2),
                _or_dash(point["p90_ms"], 1, 2),
                _or_dash(point["peak_bytes"], 1e-6, 1),
                _or_dash(point["cosine"], 1, 4),
                "chosen" if point["chosen"] else point["excluded"] or "",
            )
        )
    note = (
        f"Of {', '.join(sweep['axes'])}; the lightest of those within noise of the best 90th percentile, with at most "
        f"{sweep['memory_limit_bytes'] / 1e6:,.0f} MB."
    )
    return [html.section("Settings tried", html.grid(("", "p50 ms", "p90 ms", "MB", "cosine", ""), rows), note=note)]


def _or_dash(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{value * factor:.{digits}f}"


def _estimate(one: Mapping[str, float], unit: str, digits: int = 2) -> str:
    return f"{one['value']:.{digits}f} {unit} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


def figure_rows(result: Result) -> list[tuple[str, str]]:
    """(what, figure), for people: on the page and on the terminal."""
    rows = []
    for name, scenario in result["scenarios"].items():
        if name == "offline":
            rows.append((name, f"{_estimate(scenario['photos_per_s'], 'photos/s', 1)}, {scenario['workers']} threads"))
        else:
            latency = scenario["latency_ms"]
            rows += [(f"{name} {level}", _estimate(latency[level], "ms")) for level in latency]
            undisturbed = quiet_p50_ms(scenario) if name == "single-stream" else None
            if undisturbed is not None:
                rows.append((f"{name}, nobody interrupting", f"{undisturbed:.2f} ms, median"))
            rows.append((f"{name} stages, median", _medians(scenario["stages_ms"])))
        if name == "steady-rate":
            rows.append(
                (
                    f"{name} frames",
                    f"{scenario['frames']:,}, {scenario['late']:,} late, {scenario['dropped']:,} dropped",
                )
            )
        if scenario["energy_mj_per_photo"] is not None:
            source = result["sensors"]["energy_source"]
            rows.append((f"{name} energy", f"{scenario['energy_mj_per_photo']:.1f} mJ a photo, by {source}"))
    start, memory, idle, loop = result["start"], result["memory"], result["idle"], result["encode_loop"]
    rows.append(("cold start", f"{_estimate(start['cold_ms'], 'ms', 0)}, from a fresh process to its first answer"))
    parts = ("interpreter_ms", "import_ms", "load_ms", "first_match_ms")
    rows.append(
        ("of that", ", ".join(f"{part[:-3].replace('_', ' ')} {start[part]['value']:.0f}" for part in parts) + " ms")
    )
    for key, label in (("peak_bytes", "peak"), ("steady_bytes", "steady"), ("offline_peak_bytes", "peak offline")):
        if memory[key] is not None:
            rows.append((f"memory, {label}", f"{memory[key] / 1e6:.1f} MB"))
    if idle is not None:
        wakeups = idle["wakeups_per_s"]
        woken = "" if wakeups is None else f", {wakeups:.1f} wake-ups a second"
        rows.append(("idle", f"{idle['cpu_ms_per_s']:.2f} ms of CPU a second{woken}"))
    if loop is not None:
        said = (
            f"{loop['bare_p50_ms']:.3f} ms alone, {loop['encode_p50_ms']:.3f} ms as our stage ({loop['ratio']:.3f} ×)"
        )
        rows.append(("the network", said))
    return rows


def _medians(stages: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {one['p50']:.2f}" for name, one in stages.items()) + " ms"


def board_rows(board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value) of the machine."""
    frequency = board["frequency"]
    clock = "not told by the kernel"
    if frequency is not None:
        clock = f"{frequency['min_mhz'] or 0:,.0f} to {frequency['max_mhz'] or 0:,.0f} MHz, governor {frequency['governor'] or '–'}"
    memory = board["memory_bytes"]
    return [
        ("model", board["model"] or "–"),
        (
            "CPU",
            f"{board['cpu']}, {board['architecture']}, {board['cores']} cores{', virtual' if board['virtual'] else ''}",
        ),
        ("features", " ".join(board["features"]) or "–"),
        ("clock", clock),
        (
            "memory",
            "–" if memory is None else f"{memory / 1e9:.1f} GB, {(board['available_bytes'] or 0) / 1e9:.1f} GB free",
        ),
        ("load before", "–" if board["load_average"] is None else f"{board['load_average']:.2f}"),
        ("system", f"{board['system'] or '–'}, {board['kernel']}"),
        (
            "libraries",
            ", ".join(
                f"{name} {version}" for name, version in {"Python": board["python"], **board["libraries"]}.items()
            ),
        ),
    ]
