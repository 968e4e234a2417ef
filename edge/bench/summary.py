"""Rounds → the figures of a result, each with how sure it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..machine.sensors import Recorder
from ..matching.results import STAGES
from . import throttle
from .results import FORMAT, VERSION
from .scenarios import QUIET
from .statistics import Floats, mean_of_rounds, quantiles

LEVELS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_FEW_QUIET = 0.1
NEARLY_ALL = 0.9
"""Of the samples: where so many were interrupted by nobody, those that were change no figure."""
Round = Mapping[str, Any]
Slice = Mapping[str, Any]


def header(started: datetime, seconds: float, quick: bool, board: Mapping[str, Any]) -> dict[str, Any]:
    """Which document this is."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "shelfmatch": __version__,
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "quick": quick,
        "board": dict(board),
    }


def summarize(rounds: Sequence[Round], recorder: Recorder, board: Mapping[str, Any], start_s: float) -> dict[str, Any]:
    """Everything that was measured. Times in the result count from `start_s`."""
    names = list(dict.fromkeys(one["scenario"] for record in rounds for one in record["slices"]))
    scenarios = {}
    for name in names:
        slices = [one for record in rounds for one in record["slices"] if one["scenario"] == name]
        scenarios[name] = _offline(slices) if name == "offline" else _latency(slices)
        scenarios[name]["blocks"] = list(_blocks(slices, start_s))
        scenarios[name]["energy_mj_per_photo"] = _energy(slices, recorder)
    stream = "single-stream" if "single-stream" in names else names[0]
    busy = [one["blocks"] for record in rounds for one in record["slices"] if one["scenario"] == stream]
    frequency = board["frequency"] or {}
    cpus = os.cpu_count() or 1  # what was stolen is summed over all of them, not over those that this process may use
    findings = [
        finding.to_dict()
        for finding in throttle.find(
            recorder.samples,
            busy if stream != "steady-rate" else [],
            trip_c=recorder.sensors.trip_c,
            driver=frequency.get("driver"),
            cores=cpus,
        )
    ]
    document = {
        "rounds": len(rounds),
        "scenarios": scenarios,
        "encode_loop": _encode_loop(rounds),
        "start": _start(rounds),
        "memory": _memory(rounds),
        "idle": next((record["idle"] for record in rounds if "idle" in record), None),
        "sensors": {
            "interval_s": recorder.interval_s,
            "trip_c": recorder.sensors.trip_c,
            "energy_source": recorder.sensors.energy_source,
            "cpus": cpus,
            "samples": [{**one.to_dict(), "time_s": round(one.time_s - start_s, 3)} for one in recorder.samples],
        },
        "findings": findings,
    }
    return {"headline": headline(document), **document}


def headline(document: Mapping[str, Any]) -> str:
    """The result as one sentence; what spoils it is part of it."""
    parts = []
    for name, scenario in document["scenarios"].items():
        if name == "offline":
            parts.append(f"{scenario['photos_per_s']['value']:.1f} photos/s with {scenario['workers']} threads")
            continue
        p50, p90 = scenario["latency_ms"]["p50"]["value"], scenario["latency_ms"]["p90"]["value"]
        if name == "single-stream":
            parts.append(f"{p50:.2f} ms a photo ({p90:.2f} at the 90th percentile{_undisturbed(scenario)})")
        else:
            parts.append(f"{late_share(scenario):.1%} of frames late or dropped at {scenario['fps']:g} fps")
    said = ", ".join(parts)
    spoilt = throttle.spoilt(document["findings"])
    return f"{said}. {spoilt}" if spoilt else said


def quiet_p50_ms(scenario: Mapping[str, Any]) -> float | None:
    """The median of samples that nobody interrupted; None where hardly any was."""
    shares = [row["quiet_share"] for row in scenario["rounds"]]
    if float(np.median(shares)) >= NEARLY_ALL:
        return None
    return float(np.median([row["quiet_p50_ms"] for row in scenario["rounds"]]))


def _undisturbed(scenario: Mapping[str, Any]) -> str:
    p50 = quiet_p50_ms(scenario)
    return "" if p50 is None else f"; {p50:.2f} where nobody interrupted"


def late_share(scenario: Mapping[str, Any]) -> float:
    """The part of a camera's frames that were answered too late or not at all."""
    return float((scenario["late"] + scenario["dropped"]) / max(1, scenario["frames"]))


def _split(one: Slice) -> list[NDArray[np.float64]]:
    """A slice's samples by block; frames of a steady rate that no block closed go to the last."""
    ends = np.cumsum([int(block["photos"]) for block in one["blocks"]])[:-1]
    return list(np.split(np.asarray(one["samples_ms"], float), ends))


def _latency(slices: Sequence[Slice]) -> dict[str, Any]:
    """Of single-stream and steady-rate."""
    by_round = [_split(one) for one in slices]
    estimates = quantiles(by_round, list(LEVELS.values()))
    stages = {name: np.concatenate([one["stages_ms"].get(name, []) for one in slices]) for name in STAGES}
    total = float(sum(sum(one["samples_ms"]) for one in slices))
    summed = float(sum(values.sum() for values in stages.values()))
    record: dict[str, Any] = {
        "samples": sum(len(one["samples_ms"]) for one in slices),
        "seconds": sum(block["seconds"] for one in slices for block in one["blocks"]),
        "latency_ms": {name: estimate.to_dict() for name, estimate in zip(LEVELS, estimates, strict=True)},
        "stages_ms": {
            name: {
                "p50": float(np.median(values)),
                "p90": float(np.percentile(values, 90)),
                "mean": float(values.mean()),
            }
            for name, values in stages.items()
            if len(values)
        },
        "rounds": [round_figures(one) for one in slices],
        "samples_ms": [value for one in slices for value in one["samples_ms"]],
    }
    if slices[0]["scenario"] == "steady-rate":
        jitter = np.concatenate([one["jitter_ms"] or [0.0] for one in slices])
        record |= {name: sum(one[name] for one in slices) for name in ("frames", "late", "dropped")}
        for row, one in zip(record["rounds"], slices, strict=True):
            row |= {name: one[name] for name in ("frames", "late", "dropped")}
        record |= {"fps": slices[0]["fps"], "jitter_ms": {n: float(np.quantile(jitter, q)) for n, q in LEVELS.items()}}
    else:
        record["stage_sum_of_wall"] = summed / total
    return record


def round_figures(one: Slice) -> dict[str, float]:
    """One round: quantiles in ms, and of the samples that nobody interrupted also in times of the yardstick as it was around
    their block."""
    parts = _split(one)
    samples = np.concatenate(parts)
    yards = np.repeat([block["yardstick_ms"] for block in one["blocks"]], [len(part) for part in parts])
    figures = {f"{name}_ms": float(np.quantile(samples, q)) for name, q in LEVELS.items()}
    part = np.asarray(one["cpu_ms"], float) / samples
    share = float((part >= QUIET).mean())
    if share >= _FEW_QUIET:
        chosen, values = part >= QUIET, samples
    else:  # those that were interrupted least, and of them the time on the CPU
        least = np.partition(part, -1 - int(_FEW_QUIET * len(part)))[-1 - int(_FEW_QUIET * len(part))]
        chosen, values = part >= least, samples * np.minimum(part, 1)
    for name in ("p50", "p90"):
        figures[f"quiet_{name}_ms"] = float(np.quantile(values[chosen], LEVELS[name]))
        figures[f"quiet_{name}_yards"] = float(np.quantile((values / yards)[chosen], LEVELS[name]))
    return {**figures, "quiet_share": share, "yardstick_ms": float(np.median(yards))}


def _offline(slices: Sequence[Slice]) -> dict[str, Any]:
    rounds = []
    for one in slices:
        photos, seconds = (sum(block[key] for block in one["blocks"]) for key in ("photos", "seconds"))
        yards = [block["seconds"] * 1e3 / block["photos"] / block["yardstick_ms"] for block in one["blocks"]]
        rounds.append(
            {
                "photos_per_s": photos / seconds,
                "photo_yards": float(np.median(yards)),
                "cpu_ms_per_photo": 1e3 * sum(block["cpu_s"] for block in one["blocks"]) / photos,
                "yardstick_ms": float(np.median([block["yardstick_ms"] for block in one["blocks"]])),
            }
        )
    return {
        "photos": sum(int(block["photos"]) for one in slices for block in one["blocks"]),
        "seconds": sum(block["seconds"] for one in slices for block in one["blocks"]),
        "workers": slices[0]["workers"],
        "photos_per_s": mean_of_rounds([row["photos_per_s"] for row in rounds]).to_dict(),
        "rounds": rounds,
    }


def _blocks(slices: Sequence[Slice], start_s: float) -> Iterator[dict[str, Any]]:
    """What the time line is drawn from."""
    for number, one in enumerate(slices):
        parts: Sequence[Floats | None] = _split(one) if "samples_ms" in one else [None] * len(one["blocks"])
        for block, part in zip(one["blocks"], parts, strict=True):
            yield {
                "round": number,
                "start_s": round(block["start_s"] - start_s, 4),
                "seconds": round(block["seconds"], 4),
                "photos": int(block["photos"]),
                "p50_ms": None if part is None or not len(part) else float(np.median(part)),
                "max_ms": None if part is None or not len(part) else float(part.max()),
                "cpu_s": round(block["cpu_s"], 4),
                "yardstick_ms": round(block["yardstick_ms"], 4),
                "cpu_share": round(block["cpu_share"], 4),
            }


def _energy(slices: Sequence[Slice], recorder: Recorder) -> float | None:
    """Millijoules of the whole board or package for one photo, what it uses at rest included; None without a meter."""
    joules, photos = 0.0, 0
    for one in slices:
        first, last = one["blocks"][0], one["blocks"][-1]
        used = throttle.energy_between(recorder.samples, first["start_s"], last["start_s"] + last["seconds"])
        if used is None:
            return None
        joules, photos = joules + used, photos + sum(int(block["photos"]) for block in one["blocks"])
    return joules * 1e3 / photos


def _encode_loop(rounds: Sequence[Round]) -> dict[str, float] | None:
    """The network alone against the stage in which it runs for us."""
    with_bare = [record["bare"] for record in rounds if "bare" in record]
    if not with_bare:
        return None
    bare = float(np.median(np.concatenate([one["bare_ms"] for one in with_bare])))
    ours = float(np.median(np.concatenate([one["encode_ms"] for one in with_bare])))
    return {"bare_p50_ms": bare, "encode_p50_ms": ours, "ratio": ours / bare}


def _start(rounds: Sequence[Round]) -> dict[str, Any]:
    """From the start of a process to its first answer. The first round may have read from the disk; the median doesn't care."""
    parts = {
        "cold_ms": [record["cold_s"] for record in rounds],
        "interpreter_ms": [record["interpreter_s"] for record in rounds],
        "import_ms": [record["clock_s"]["imported"] for record in rounds],
        "load_ms": [record["clock_s"]["load"] for record in rounds],
        "cpu_ms": [record["clock_s"]["cpu"] for record in rounds],
        "first_match_ms": [record["clock_s"]["first_match"] for record in rounds],
    }
    figures: dict[str, Any] = {
        name: mean_of_rounds([value * 1e3 for value in values]).to_dict() for name, values in parts.items()
    }
    return {
        **figures,
        "rounds": [{"cold_ms": record["cold_s"] * 1e3, "cpu_ms": record["clock_s"]["cpu"] * 1e3} for record in rounds],
    }


def _memory(rounds: Sequence[Round]) -> dict[str, Any]:
    """`peak_bytes`: after matching one photo at a time; `steady_bytes`: what is resident then, `steady_proportional_bytes`
    without other processes' shares of the same pages; `offline_peak_bytes`: with a thread on each core."""

    def after(step: str, key: str) -> int | None:
        values = [record["memory"][step][key] for record in rounds if step in record["memory"]]
        known = [value for value in values if value is not None]
        return int(np.median(known)) if known else None

    streams = [name for name in ("single-stream", "steady-rate", "warm") if name in rounds[0]["memory"]]
    steps = dict.fromkeys(name for record in rounds for name in record["memory"])
    return {
        "started_bytes": after("started", "resident"),
        "peak_bytes": after(streams[0], "peak"),
        "steady_bytes": after(streams[0], "resident"),
        "steady_proportional_bytes": after(streams[0], "proportional"),
        "offline_peak_bytes": after("offline", "peak"),
        "rounds": [{"peak_bytes": record["memory"][streams[0]]["peak"]} for record in rounds],
        "steps": {name: after(name, "resident") for name in steps},
    }
