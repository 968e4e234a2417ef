"""What of the machine's doings spoils a figure: findings that a result must say in its headline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from ..machine.sensors import Sample

Kind = Literal["throttled", "disturbed", "note"]

_FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Now; the same 16 bits higher: since boot."""
_HOT_C = 80.0
"""Where no trip point says better: where a Raspberry Pi begins to slow down."""
_LESS = 0.9
"""Of the frequency that was or may be: a step of cpufreq is 6 to 15 % on ARM boards."""
_SLOWER = 1.2
"""Of the yardstick between thirds of a run; neighbours on a virtual machine move it by some 10 %."""
_ALONE = 0.9
"""Of the time that one core's program asked for; less was somebody else's."""
_STOLEN = 0.02
_QUOTA = 0.01
_IN_A_ROW = 3
_PINNED_DRIVERS = ("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp", "acpi-cpufreq")
"""Their highest frequency is a boost that not all cores reach at once; running below it is no throttle."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`throttled`: the machine ran slower than it can; `disturbed`: others had a part of it; `note`: good to know."""

    kind: Kind
    what: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


Block = Mapping[str, float]


def find(
    samples: Sequence[Sample],
    rounds: Sequence[Sequence[Block]],
    *,
    trip_c: float | None = None,
    driver: str | None = None,
    cores: int = 1,
) -> list[Finding]:
    """Look at all that was recorded. `rounds`: the blocks in which one photo came after another, round by round."""
    blocks = [block for one in rounds for block in one]
    busy = [sample for sample in samples if any(_during(sample, block) for block in blocks)]
    return [
        *_of_flags(samples),
        *_of_counters(samples),
        *_of_temperature(samples, trip_c),
        *_of_frequency(busy, driver),
        *_of_speed(rounds),
        *_of_neighbours(samples, blocks, cores),
    ]


def _during(sample: Sample, block: Block) -> bool:
    return block["start_s"] <= sample.time_s <= block["start_s"] + block["seconds"]


def _of_flags(samples: Sequence[Sample]) -> list[Finding]:
    """A Raspberry Pi's firmware."""
    bits = [sample.throttled for sample in samples if sample.throttled is not None]
    if not bits:
        return []
    seen, first = 0, bits[0]
    for value in bits:
        seen |= (value & 0xF) | ((value & ~first) >> 16 & 0xF)
    names = [name for bit, name in _FLAGS.items() if seen >> bit & 1]
    if names:
        return [Finding("throttled", f"the firmware reports: {', '.join(names)}")]
    before = [name for bit, name in _FLAGS.items() if first >> (bit + 16) & 1]
    return [Finding("note", f"since boot, but not in this run: {', '.join(before)}")] if before else []


def _of_counters(samples: Sequence[Sample]) -> list[Finding]:
    found = []
    counts = [sample.throttle_count for sample in samples if sample.throttle_count is not None]
    if counts and counts[-1] > counts[0]:
        found.append(Finding("throttled", f"the CPU throttled itself {counts[-1] - counts[0]:,} times"))
    cooling = [sample.cooling for sample in samples if sample.cooling is not None]
    if cooling and max(cooling) > 0:
        found.append(Finding("throttled", "the kernel capped the CPU to cool it"))
    quota = [(sample.time_s, sample.quota_s) for sample in samples if sample.quota_s is not None]
    if len(quota) > 1 and (waited := quota[-1][1] - quota[0][1]) > _QUOTA * (quota[-1][0] - quota[0][0]):
        found.append(Finding("throttled", f"the container's CPU quota held its threads back for {waited:.1f} s"))
    return found


def _of_temperature(samples: Sequence[Sample], trip_c: float | None) -> list[Finding]:
    """Each zone against its own limit; where none has one, the hottest against what is usual."""
    held = [
        (sample.nearest_c, sample.limit_c)
        for sample in samples
        if sample.nearest_c is not None and sample.limit_c is not None
    ]
    if not held:
        limit = trip_c if trip_c is not None else _HOT_C
        held = [(sample.temperature_c, limit) for sample in samples if sample.temperature_c is not None]
    degrees, limit = max(held, key=lambda zone: zone[0] - zone[1], default=(0.0, _HOT_C))
    if degrees >= limit:
        return [Finding("throttled", f"{degrees:.0f} °C, where it slows down from {limit:.0f} °C on")]
    return []


def _of_frequency(busy: Sequence[Sample], driver: str | None) -> list[Finding]:
    """A frequency that fell while there was work, or that never came up to what is allowed."""
    clocks = [sample.frequency_mhz for sample in busy if sample.frequency_mhz is not None]
    if len(clocks) < _IN_A_ROW:
        return []
    smooth = [median(clocks[place : place + _IN_A_ROW]) for place in range(len(clocks) - _IN_A_ROW + 1)]
    top = max(smooth)
    after = clocks[smooth.index(top) :]
    low = _lowest_in_a_row(after, _LESS * top)
    if low is not None:
        return [Finding("throttled", f"the CPU fell from {top:,.0f} to {low:,.0f} MHz at work")]
    allowed = [sample.allowed_mhz for sample in busy if sample.allowed_mhz is not None]
    if allowed and max(allowed) > min(allowed) and min(allowed) < _LESS * max(allowed):
        return [Finding("throttled", f"the highest frequency was lowered to {min(allowed):,.0f} MHz")]
    if allowed and driver not in _PINNED_DRIVERS and top < _LESS * max(allowed):
        return [Finding("throttled", f"the CPU ran at {top:,.0f} MHz of {max(allowed):,.0f} that are allowed")]
    return []


def _lowest_in_a_row(values: Sequence[float], limit: float) -> float | None:
    """The lowest of values below the limit, if so many came together."""
    run: list[float] = []
    lowest: float | None = None
    for value in values:
        run = [*run, value] if value < limit else []
        if len(run) >= _IN_A_ROW:
            lowest = min(run) if lowest is None else min(lowest, *run)
    return lowest


def _of_speed(rounds: Sequence[Sequence[Block]]) -> list[Finding]:
    """The yardstick: a machine that slows down without saying why."""
    speeds = [median(block["yardstick_ms"] for block in one) for one in rounds if one]
    third = max(1, len(speeds) // 3)
    if len(speeds) < 3:
        return []
    thirds = [median(speeds[place : place + third]) for place in range(len(speeds) - third + 1)]
    fastest, last = min(thirds), thirds[-1]
    slowest = max(thirds[thirds.index(fastest) :])
    if slowest < _SLOWER * fastest:
        return []
    end = "and stayed so" if last >= _SLOWER * fastest else "for a while"
    return [Finding("throttled", f"the machine became {slowest / fastest - 1:.0%} slower during the run {end}")]


def _of_neighbours(samples: Sequence[Sample], blocks: Sequence[Block], cores: int) -> list[Finding]:
    found = []
    asked, had = sum(block["seconds"] for block in blocks), sum(block["cpu_s"] for block in blocks)
    if asked and had < _ALONE * asked:
        found.append(Finding("disturbed", f"it had a core for {had / asked:.0%} of the time that it asked for one"))
    stolen = [(sample.time_s, sample.stolen) for sample in samples if sample.stolen is not None]
    if len(stolen) > 1:
        seconds = (stolen[-1][0] - stolen[0][0]) * cores
        share = (stolen[-1][1] - stolen[0][1]) / seconds if seconds else 0.0
        if share > _STOLEN:
            found.append(Finding("disturbed", f"the hypervisor gave {share:.0%} of the CPU to others"))
    return found


def spoilt(findings: Sequence[Mapping[str, Any]]) -> str:
    """For a headline: "" where nothing spoils the figures."""
    parts = []
    for kind in ("throttled", "disturbed"):
        texts = [finding["what"] for finding in findings if finding["kind"] == kind]
        if texts:
            parts.append(f"{kind.upper()}: {'; '.join(texts)}")
    return ". ".join(parts)


def energy_between(samples: Sequence[Sample], start_s: float, end_s: float) -> float | None:
    """Joules used in a stretch of time, between samples in proportion; None without a meter or outside what was recorded."""
    known = [(sample.time_s, sample.energy_j) for sample in samples if sample.energy_j is not None]
    if len(known) < 2 or start_s < known[0][0] or end_s > known[-1][0]:
        return None

    def at(time_s: float) -> float:
        for (before, low), (after, high) in pairwise(known):
            if before <= time_s <= after:
                return low + (high - low) * (time_s - before) / ((after - before) or 1)
        return known[-1][1]

    return at(end_s) - at(start_s)
