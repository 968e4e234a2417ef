"""Two results side by side: what differs, what is noise, and whether the machine or the program changed.

On the same machine, times are compared in yards: in times of the yardstick that ran beside them. A machine that was busier or
hotter the second time then says so itself ("the machine was 12 % slower") and doesn't count as a slower program. Between
machines, milliseconds are what one wants to know. Each figure is judged at 5 % divided by how many are judged (Bonferroni), so
that a whole comparison of equals calls out in at most one of twenty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from ..errors import BenchError
from .statistics import MIN_EFFECT, Difference, difference, smallest_effect
from .throttle import spoilt

FALSE_ALARMS = 0.05
_MEMORY_EFFECT = 0.05
"""Allocators round, and libraries map pages as they please."""
TOO_FAST = 0.2
"""A fifth faster than the baseline: a stage may be missing, or the baseline is old."""
_DISTURBED = 0.9
Result = Mapping[str, Any]
Scale = Literal["ms", "yards", "cpu"]
"""Milliseconds; times of the yardstick; the same, and CPU time where a wall clock would measure other programs."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that is judged, more being worse; `shown` turns it into what people read, with `unit`."""

    name: str
    unit: str
    rounds: Callable[[Result, Scale], list[float]]
    value: Callable[[Result], float]
    effect: float = 1.0
    """Times the smallest effect that counts."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of A and B; `difference` of a quantity where more is worse."""

    name: str
    unit: str
    a: float
    b: float
    difference: Difference

    @property
    def said(self) -> str:
        """For people: inside the noise it is called that."""
        found = self.difference
        if found.verdict == "too few rounds":
            return "too few rounds to tell"
        if found.verdict == "no difference":
            return f"no difference (noise {found.noise:.0%})"
        change = abs(found.ratio - 1)
        worse, better = ("more", "less") if self.unit == "MB" else ("slower", "faster")
        return f"{change:.0%} {worse if found.verdict == 'slower' else better}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A. `same_machine`: judged in yards; `machine_ratio`: how much slower the machine itself was in B."""

    a: str
    b: str
    same_machine: bool
    machine_ratio: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """One sentence."""
        worse = [row for row in self.rows if row.difference.verdict == "slower"]
        better = [row for row in self.rows if row.difference.verdict == "faster"]
        if not worse and not better:
            return "no difference"
        return "; ".join(f"{row.name}: {row.said}" for row in [*worse, *better])

    @property
    def regressions(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.difference.verdict == "slower")

    @property
    def too_fast(self) -> tuple[Row, ...]:
        return tuple(
            row
            for row in self.rows
            if row.difference.verdict == "faster" and row.difference.ratio <= 1 - TOO_FAST and row.unit != "MB"
        )

    def to_dict(self) -> dict[str, Any]:
        """As in `bench compare --json`; infinite bounds are null."""
        rows = []
        for row in self.rows:
            numbers = {
                key: None if isinstance(value, float) and math.isinf(value) else value
                for key, value in asdict(row.difference).items()
            }
            rows.append({"name": row.name, "unit": row.unit, "a": row.a, "b": row.b, **numbers, "said": row.said})
        return {
            "a": self.a,
            "b": self.b,
            "verdict": self.verdict,
            "same_machine": self.same_machine,
            "machine_ratio": self.machine_ratio,
            "rows": rows,
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """For people."""
        header = ("", self.a, self.b, "")
        cells = [
            header,
            *((row.name, f"{row.a:.2f} {row.unit}", f"{row.b:.2f} {row.unit}", row.said) for row in self.rows),
        ]
        widths = [max(len(row[column]) for row in cells) for column in range(3)]
        lines = [
            f"{name:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}  {said}".rstrip() for name, a, b, said in cells
        ]
        return "\n".join([*lines, *self.notes, f"verdict: {self.verdict}"])


def compare_results(a: Result, b: Result, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Hold result B against result A. Raises BenchError if no figure is in both."""
    same = _machine(a) == _machine(b)
    scale = _scale(a, b, same)
    metrics = [metric for metric in METRICS if metric.rounds(a, scale) and metric.rounds(b, scale)]
    if not metrics:
        raise BenchError(f"{names[0]} and {names[1]} have no scenario in common; measure the same ones")
    ratio = median(_yardsticks(b)) / median(_yardsticks(a))
    least = _smallest_effect(a, b) if scale != "ms" else MIN_EFFECT
    alpha = FALSE_ALARMS / len(metrics)
    rows = []
    for metric in metrics:
        effect = _MEMORY_EFFECT if metric.unit == "MB" else least * metric.effect
        found = difference(metric.rounds(a, scale), metric.rounds(b, scale), alpha=alpha, min_effect=effect)
        rows.append(Row(metric.name, metric.unit, metric.value(a), metric.value(b), found))
    return Comparison(*names, same, ratio, tuple(rows), tuple(_notes(a, b, names, scale, ratio)))


def _scale(a: Result, b: Result, same: bool) -> Scale:
    """In what times are counted: a yardstick is only one where it is the same work of the same libraries."""
    versions = [(of["board"]["python"], of["board"]["libraries"]["numpy"]) for of in (a, b)]
    if not same or versions[0] != versions[1]:
        return "ms"
    return "cpu" if min(_cpu_had(a), _cpu_had(b)) < _DISTURBED else "yards"


def _cpu_had(result: Result) -> float:
    """The share of samples that nobody interrupted, of single-stream where there is one."""
    rows = _rounds_of(result, "single-stream") or _rounds_of(result, "steady-rate")
    return median(row["quiet_share"] for row in rows) if rows else 1.0


def _smallest_effect(a: Result, b: Result) -> float:
    """What is called a difference at all: more where the machine's speed changed, and where others were at work, whose caches
    and memory the yardstick shares but not in the same proportion."""
    return smallest_effect(_yardsticks(a), _yardsticks(b), _cpu_had(a), _cpu_had(b))


def check_result(result: Result, baseline: Result, *, names: tuple[str, str] = ("baseline", "result")) -> Comparison:
    """The same for a gate, which must compare like with like. Raises BenchError if the two measured different things or on
    different machines."""
    for what, of in (("machine", _machine), ("target, photos or settings", _measured)):
        if of(result) != of(baseline):
            one, other = of(baseline), of(result)
            key = next(key for key in one if one[key] != other.get(key))
            raise BenchError(
                f"{names[1]} was measured with another {what} than {names[0]} ({key} {other.get(key)!r} instead of "
                f"{one[key]!r}); measure the baseline anew, or use bench compare"
            )
    return compare_results(baseline, result, names=names)


def _machine(result: Result) -> dict[str, Any]:
    board = result["board"]
    return {key: board[key] for key in ("model", "cpu", "architecture", "cores", "memory_bytes")}


def _measured(result: Result) -> dict[str, Any]:
    """What must be equal for a gate; the encoder may change, which is what one may want to know."""
    settings = {key: value for key, value in result["settings"].items() if key not in ("device_file", "runtime")}
    target = {key: result["target"][key] for key in ("kind", "references", "index")}
    return {**target, **{f"photos {key}": value for key, value in result["photos"].items()}, **settings}


def _notes(a: Result, b: Result, names: tuple[str, str], scale: Scale, ratio: float) -> list[str]:
    notes = []
    if scale == "ms":
        notes.append("different machines, Pythons or numpys: compared in milliseconds")
    elif scale == "cpu":
        notes.append("other programs were at work: offline is compared by CPU time, cold start not at all")
    if scale != "ms" and abs(ratio - 1) > MIN_EFFECT:
        how = "slower" if ratio > 1 else "faster"
        notes.append(
            f"the machine itself was {abs(ratio - 1):.0%} {how} with {names[1]}; times are compared without that"
        )
    for result, name in zip((a, b), names, strict=True):
        trouble = spoilt(result["findings"])
        if trouble:
            notes.append(f"{name}: {trouble}")
    for key in ("encoder_sha256", "references", "index"):
        if a["target"][key] != b["target"][key]:
            label = "encoder" if key == "encoder_sha256" else key
            notes.append(f"another {label}: {a['target'][label]} and {b['target'][label]}")
    for group in ("photos", "settings"):
        for key, value in a[group].items():
            if value != b[group][key]:
                notes.append(f"{group}: {key} {value} and {b[group][key]}")
    libraries = a["board"]["libraries"] | {"python": a["board"]["python"]}
    others = b["board"]["libraries"] | {"python": b["board"]["python"]}
    versions = ((key, libraries.get(key, "–"), others.get(key, "–")) for key in sorted({*libraries, *others}))
    return [*notes, *(f"{key} {one} and {other}" for key, one, other in versions if one != other)]


def _yardsticks(result: Result) -> list[float]:
    """Of one scenario: between photos it runs in colder caches than around a block of them."""
    found = _rounds_of(result, "single-stream") or next(iter(result["scenarios"].values()))["rounds"]
    return [row["yardstick_ms"] for row in found]


def _rounds_of(result: Result, scenario: str) -> Sequence[Mapping[str, float]]:
    found: Sequence[Mapping[str, float]] = result["scenarios"].get(scenario, {"rounds": []})["rounds"]
    return found


def _stream(level: str) -> Metric:
    def rounds(result: Result, scale: Scale) -> list[float]:
        unit = "ms" if scale == "ms" else "yards"
        return [row[f"quiet_{level}_{unit}"] for row in _rounds_of(result, "single-stream")]

    def value(result: Result) -> float:
        return median(row[f"quiet_{level}_ms"] for row in _rounds_of(result, "single-stream"))

    return Metric(f"single-stream {level}", "ms", rounds, value)


def _offline_rounds(result: Result, scale: Scale) -> list[float]:
    rows = _rounds_of(result, "offline")
    if scale == "cpu":
        return [row["cpu_ms_per_photo"] / row["yardstick_ms"] for row in rows]
    return [row["photo_yards"] if scale == "yards" else 1 / row["photos_per_s"] for row in rows]


def _cold_rounds(result: Result, scale: Scale) -> list[float]:
    """None beside other programs: a fresh process reads files and touches new pages, whose cost is theirs to decide."""
    if scale == "cpu":
        return []
    speed = 1.0 if scale == "ms" else median(_yardsticks(result))
    return [row["cold_ms"] / speed for row in result["start"]["rounds"]]


def _memory(result: Result, scale: Scale = "ms") -> list[float]:
    peaks = [row["peak_bytes"] for row in result["memory"]["rounds"]]
    return [] if None in peaks else [peak / 1e6 for peak in peaks]


METRICS = (
    _stream("p50"),
    _stream("p90"),
    Metric(
        "offline",
        "photos/s",
        _offline_rounds,
        lambda result: float(result["scenarios"]["offline"]["photos_per_s"]["value"]),
        effect=2.0,  # how threads share cores and caches is luck: the same run is bimodal on a shared machine
    ),
    Metric(
        "cold start",
        "ms",
        _cold_rounds,
        lambda result: float(result["start"]["cold_ms"]["value"]),
        effect=2.0,  # no yardstick runs beside it, and every cache is cold
    ),
    Metric("peak memory", "MB", _memory, lambda result: median(_memory(result))),
)
"""What is judged. Of single-stream the samples that nobody interrupted."""
