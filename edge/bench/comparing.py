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
from .summary import NEARLY_ALL, late_share
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
_SCENARIOS = ("single-stream", "steady-rate", "offline")


@dataclass(frozen=True, slots=True)
class Basis:
    """In what two results are held against each other. `common`: the scenario whose yardsticks count for both, None where they
    have none in common; `ratio`: how much slower the machine was by them."""

    scale: Scale
    common: str | None
    ratio: float | None

    @property
    def is_steady(self) -> bool:
        """Whether what no yardstick mends can be compared: nobody else at work, and a machine as fast as before."""
        return self.scale == "ms" or (self.scale == "yards" and abs((self.ratio or 1.0) - 1) <= MIN_EFFECT)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that is judged, more being worse; `shown` turns it into what people read, with `unit`."""

    name: str
    unit: str
    rounds: Callable[[Result, Basis], list[float]]
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
        if self.unit == "%":
            return f"{abs(self.b - self.a):.1f} points {'more' if found.verdict == 'slower' else 'less'}"
        worse, better = ("more", "less") if self.unit == "MB" else ("slower", "faster")
        return f"{change:.0%} {worse if found.verdict == 'slower' else better}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A. `same_machine`: judged in yards; `machine_ratio`: how much slower the machine itself was in B, None where no
    scenario of both tells."""

    a: str
    b: str
    same_machine: bool
    machine_ratio: float | None
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
            if row.difference.verdict == "faster"
            and row.difference.ratio <= 1 - TOO_FAST
            and row.unit not in ("MB", "%")
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
    basis = _basis(a, b, same)
    metrics = [metric for metric in METRICS if metric.rounds(a, basis) and metric.rounds(b, basis)]
    if not metrics:
        raise BenchError(f"{names[0]} and {names[1]} have no scenario in common; measure the same ones")
    least = _smallest_effect(a, b, basis)
    alpha = FALSE_ALARMS / len(metrics)
    rows = []
    for metric in metrics:
        effect = _MEMORY_EFFECT if metric.unit == "MB" else least * metric.effect
        found = difference(metric.rounds(a, basis), metric.rounds(b, basis), alpha=alpha, min_effect=effect)
        rows.append(Row(metric.name, metric.unit, metric.value(a), metric.value(b), found))
    return Comparison(*names, same, basis.ratio, tuple(rows), tuple(_notes(a, b, names, basis)))


def _basis(a: Result, b: Result, same: bool) -> Basis:
    """In what times are counted: a yardstick is only one where it is the same work of the same libraries, in the same scenario:
    between photos it runs in colder caches than around a block of them."""
    common = next((name for name in _SCENARIOS if _rounds_of(a, name) and _rounds_of(b, name)), None)
    if common is None:
        return Basis("ms", None, None)
    ratio = median(_yardsticks(b, common)) / median(_yardsticks(a, common))
    versions = [(of["board"]["python"], of["board"]["libraries"]["numpy"]) for of in (a, b)]
    if not same or versions[0] != versions[1]:
        return Basis("ms", common, ratio)
    return Basis("cpu" if min(_cpu_had(a), _cpu_had(b)) < _DISTURBED else "yards", common, ratio)


def _cpu_had(result: Result) -> float:
    """The share of samples that nobody interrupted, of single-stream where there is one."""
    rows = _rounds_of(result, "single-stream") or _rounds_of(result, "steady-rate")
    return median(row["quiet_share"] for row in rows) if rows else 1.0


def _smallest_effect(a: Result, b: Result, basis: Basis) -> float:
    """What is called a difference at all: more where the machine's speed changed, and where others were at work, whose caches
    and memory the yardstick shares but not in the same proportion."""
    if basis.scale == "ms" or basis.common is None:
        return MIN_EFFECT
    return smallest_effect(_yardsticks(a, basis.common), _yardsticks(b, basis.common), _cpu_had(a), _cpu_had(b))


def check_result(result: Result, baseline: Result, *, names: tuple[str, str] = ("baseline", "result")) -> Comparison:
    """The same for a gate, which must compare like with like. Raises BenchError if the two measured different things or on
    different machines, or a scenario of the baseline wasn't measured again."""
    missing = _missing(result, baseline)
    if missing:
        raise BenchError(
            f"{names[1]} has no {', '.join(missing)}, which {names[0]} has; measure the same scenarios, or use bench compare"
        )
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
    settings = {key: value for key, value in _settings(result).items() if key not in ("device_file", "runtime")}
    target = {key: result["target"][key] for key in ("kind", "references", "index")}
    return {**target, **{f"photos {key}": value for key, value in result["photos"].items()}, **settings}


def _settings(result: Result) -> dict[str, Any]:
    """What was in force; `locate` stands in a result only where it was on."""
    return {"locate": "off", **result["settings"]}


def _missing(result: Result, other: Result) -> list[str]:
    """The scenarios that the other one has alone."""
    return [name for name in other["scenarios"] if name not in result["scenarios"]]


def _notes(a: Result, b: Result, names: tuple[str, str], basis: Basis) -> list[str]:
    notes = []
    scale, ratio = basis.scale, basis.ratio
    for (one, other), name in zip(((b, a), (a, b)), names, strict=True):
        if _missing(one, other):
            notes.append(f"only {name} has {', '.join(_missing(one, other))}: not compared")
    if ratio is None:
        notes.append("no scenario in common, so nothing tells how fast the machine was: compared in milliseconds")
    elif scale == "ms":
        notes.append("different machines, Pythons or numpys: compared in milliseconds")
    elif scale == "cpu":
        notes.append("other programs were at work: offline is compared by CPU time, cold start not at all")
    shares = [_cpu_had(result) for result in (a, b)]
    if min(shares) < NEARLY_ALL:
        notes.append(
            "of single-stream and steady-rate, only photos that nobody interrupted are compared: "
            f"{shares[0]:.0%} and {shares[1]:.0%}"
        )
    if ratio is not None and scale != "ms" and abs(ratio - 1) > MIN_EFFECT:
        how = "slower" if ratio > 1 else "faster"
        notes.append(
            f"the machine itself was {abs(ratio - 1):.0%} {how} with {names[1]}; times are compared without that"
        )
    if not basis.is_steady and all(_rounds_of(result, "steady-rate") for result in (a, b)):
        notes.append("late and dropped frames aren't compared: they hang on how fast the machine was")
    for result, name in zip((a, b), names, strict=True):
        trouble = spoilt(result["findings"])
        if trouble:
            notes.append(f"{name}: {trouble}")
    for key in ("encoder_sha256", "second_encoder_sha256", "references", "index"):
        if a["target"][key] != b["target"][key]:
            label = key.removesuffix("_sha256")
            said = [str(of["target"][label] or "none") for of in (a, b)]
            notes.append(f"another {label.replace('_', ' ')}: {' and '.join(said)}")
    for group, one, other in (("photos", a["photos"], b["photos"]), ("settings", _settings(a), _settings(b))):
        notes += [f"{group}: {key} {value} and {other[key]}" for key, value in one.items() if value != other[key]]
    libraries = a["board"]["libraries"] | {"python": a["board"]["python"]}
    others = b["board"]["libraries"] | {"python": b["board"]["python"]}
    versions = ((key, libraries.get(key, "–"), others.get(key, "–")) for key in sorted({*libraries, *others}))
    return [*notes, *(f"{key} {one} and {other}" for key, one, other in versions if one != other)]


def _yardsticks(result: Result, scenario: str) -> list[float]:
    return [row["yardstick_ms"] for row in _rounds_of(result, scenario)]


def _rounds_of(result: Result, scenario: str) -> Sequence[Mapping[str, float]]:
    found: Sequence[Mapping[str, float]] = result["scenarios"].get(scenario, {"rounds": []})["rounds"]
    return found


def _latency(scenario: str, level: str, effect: float = 1.0) -> Metric:
    def rounds(result: Result, basis: Basis) -> list[float]:
        unit = "ms" if basis.scale == "ms" else "yards"
        return [row[f"quiet_{level}_{unit}"] for row in _rounds_of(result, scenario)]

    def value(result: Result) -> float:
        return median(row[f"quiet_{level}_ms"] for row in _rounds_of(result, scenario))

    return Metric(f"{scenario} {level}", "ms", rounds, value, effect)


def _late_rounds(result: Result, basis: Basis) -> list[float]:
    """1 and the share of a round's frames that came too late or never, which may be none: a ratio of 1.05 is 5 points more."""
    if not basis.is_steady:
        return []
    return [1 + late_share(row) for row in _rounds_of(result, "steady-rate")]


def _offline_rounds(result: Result, basis: Basis) -> list[float]:
    scale = basis.scale
    rows = _rounds_of(result, "offline")
    if scale == "cpu":
        return [row["cpu_ms_per_photo"] / row["yardstick_ms"] for row in rows]
    return [row["photo_yards"] if scale == "yards" else 1 / row["photos_per_s"] for row in rows]


def _cold_rounds(result: Result, basis: Basis) -> list[float]:
    """None beside other programs: a fresh process reads files and touches new pages, whose cost is theirs to decide."""
    if basis.scale == "cpu":
        return []
    speed = 1.0 if basis.scale == "ms" or basis.common is None else median(_yardsticks(result, basis.common))
    return [row["cold_ms"] / speed for row in result["start"]["rounds"]]


def _memory(result: Result, basis: Basis | None = None) -> list[float]:
    peaks = [row["peak_bytes"] for row in result["memory"]["rounds"]]
    return [] if None in peaks else [peak / 1e6 for peak in peaks]


METRICS = (
    _latency("single-stream", "p50"),
    _latency("single-stream", "p90"),
    # Between frames the CPU rests: its clock falls, and other programs fill the caches.
    _latency("steady-rate", "p50", effect=2.0),
    _latency("steady-rate", "p90", effect=2.0),
    Metric(
        "steady-rate late or dropped",
        "%",
        _late_rounds,
        lambda result: 100 * late_share(result["scenarios"]["steady-rate"]),
    ),
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
"""What is judged. Of single-stream and steady-rate the samples that nobody interrupted."""
