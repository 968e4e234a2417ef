"""The plots of a result, as SVG: how latencies are spread, the run through time, stages, memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

WIDE = 1000
_BLUE, _SOFT, _LINE, _INK = "#528bff", "#98a2b3", "#e4e7ec", "#1d2430"
_STAGES = {
    "decode": "#2e90fa",
    "preprocess": "#53b1fd",
    "encode": "#7a5af8",
    "search": "#12b76a",
    "decide": "#f79009",
    "second_encoder": "#f04438",
    "local": "#f97066",
    "barcode": "#667085",
    "locate": "#15b79e",
    "look_again": "#ee46bc",
}


def _svg(high: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDE} {high:.0f}" width="100%" role="img">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, anchor: str = "start", color: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{color}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str = _LINE, extra: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" {extra}/>'


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers in a range."""
    raw = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"


def distribution(samples_ms: Sequence[float], quantiles: Mapping[str, Mapping[str, float]]) -> str:
    """A histogram on a logarithmic axis (a latency that is twice another's is as far from it anywhere), and the quantiles with
    their intervals under it."""
    values = np.log(np.maximum(np.asarray(samples_ms, float), 1e-4))
    low, high = float(values.min()), float(values.max())
    low, high = low - 0.03, max(high, low + math.log(1.3)) + 0.03
    counts, edges = np.histogram(values, bins=80, range=(low, high))
    top, base = 26, 206

    def x(value: float) -> float:
        return 10 + (WIDE - 20) * (math.log(max(value, 1e-4)) - low) / (high - low)

    parts = [_line(10, base, WIDE - 10, base, _SOFT)]
    bar = (WIDE - 20) / len(counts)
    for place, count in enumerate(counts):
        tall = (base - top) * float(count) / float(counts.max())
        if count:
            box = f'x="{10 + place * bar:.1f}" y="{base - tall:.1f}" width="{bar - 1:.1f}" height="{tall:.1f}"'
            parts.append(
                f'<rect {box} fill="{_BLUE}"><title>{count:,} photos around {_number(math.exp(edges[place]))} ms</title></rect>'
            )
    last = -math.inf
    for tick in _log_ticks(math.exp(low), math.exp(high)):
        if x(tick) - last > 34:
            parts.append(
                _line(x(tick), base, x(tick), base + 5, _SOFT) + _text(x(tick), base + 19, _number(tick), "middle")
            )
            last = x(tick)
    for row, (name, one) in enumerate(quantiles.items()):
        y = base + 40 + 24 * row
        color = ("#067647", "#b54708", "#b42318")[row % 3]
        parts.append(_line(x(one["value"]), top - 8, x(one["value"]), y, color, 'stroke-dasharray="4 4"'))
        parts.append(_line(x(one["low"]), y, x(one["high"]), y, color, 'stroke-width="3"'))
        parts.append(f'<circle cx="{x(one["value"]):.1f}" cy="{y}" r="5" fill="{color}"/>')
        said = f"{name} {one['value']:.2f} ms ({one['low']:.2f} to {one['high']:.2f})"
        right = x(one["high"]) + 12 + 7.2 * len(said) < WIDE
        parts.append(
            _text(x(one["high"]) + 12 if right else x(one["low"]) - 12, y + 5, said, "start" if right else "end")
        )
    return _svg(base + 36 + 24 * len(quantiles), parts)


def _log_ticks(low: float, high: float) -> list[float]:
    ticks = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [factor * 10.0**power for factor in (1, 1.5, 2, 3, 4, 5, 6, 8)]
    return [tick for tick in ticks if low <= tick <= high]


def stage_bars(stages_ms: Mapping[str, Mapping[str, float]]) -> str:
    """One bar of the medians, as long as the time they take, and the legend with figures."""
    total = sum(one["p50"] for one in stages_ms.values()) or 1.0
    parts, left = [], 0.0
    for place, (name, one) in enumerate(stages_ms.items()):
        width = WIDE * one["p50"] / total
        color = _STAGES.get(name, _SOFT)
        parts.append(f'<rect x="{left:.1f}" y="0" width="{max(width - 2, 1):.1f}" height="46" rx="4" fill="{color}"/>')
        x, y = 340 * (place % 3), 76 + 26 * (place // 3)
        parts.append(f'<rect x="{x}" y="{y - 11}" width="12" height="12" rx="2" fill="{color}"/>')
        parts.append(
            _text(
                x + 20,
                y,
                f"{name.replace('_', ' ')}: {one['p50']:.3f} ms, {one['p50'] / total:.0%} (p90 {one['p90']:.3f})",
            )
        )
        left += width
    return _svg(76 + 26 * ((len(stages_ms) - 1) // 3) + 10, parts)


def memory_bars(steps: Mapping[str, int | None], peak: int | None, limit: int | None = None) -> str:
    """What is resident after each step, and the peak."""
    rows = [(name.replace("started", "first answer"), value) for name, value in steps.items() if value is not None]
    rows += [("peak, one at a time", peak)] if peak is not None else []
    longest = max((value for _, value in rows), default=1)
    parts = []
    for place, (name, value) in enumerate(rows):
        y, width = 32 * place, 620 * value / longest
        parts.append(_text(0, y + 20, name))
        parts.append(f'<rect x="190" y="{y + 4}" width="{width:.1f}" height="22" rx="5" fill="{_BLUE}"/>')
        parts.append(_text(200 + width, y + 20, f"{value / 1e6:.1f} MB"))
    return _svg(32 * len(rows), parts)


class _Panel:
    """One strip of the time line: an axis of its own, the time shared with the others."""

    def __init__(
        self, top: float, high: float, times: tuple[float, float], values: Sequence[float], title: str, unit: str
    ) -> None:
        low, most = min(values), max(values)
        room = (most - low) * 0.08 or abs(most) * 0.05 or 1.0
        self.low, self.most = (low - room if low - room > 0 or low < 0 else 0.0), most + room
        self.top, self.high, self.times = top, high, times
        self.parts = [
            f'<rect x="70" y="{top}" width="{WIDE - 80}" height="{high}" fill="#f9fafb" stroke="{_LINE}"/>',
            _text(70, top - 7, f"{title} ({unit})"),
        ]
        for tick in _ticks(self.low, self.most, 4):
            self.parts.append(
                _line(70, self.y(tick), WIDE - 10, self.y(tick)) + _text(62, self.y(tick) + 4, _number(tick), "end")
            )

    def x(self, time_s: float) -> float:
        first, last = self.times
        return 70 + (WIDE - 80) * (time_s - first) / ((last - first) or 1.0)

    def y(self, value: float) -> float:
        return self.top + self.high * (1 - (value - self.low) / (self.most - self.low))

    def curve(self, points: Sequence[tuple[float, float]], color: str) -> None:
        path = " ".join(f"{self.x(t):.1f},{self.y(v):.1f}" for t, v in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')

    def dots(self, points: Sequence[tuple[float, float]], color: str, radius: float = 3) -> None:
        self.parts += [
            f'<circle cx="{self.x(t):.1f}" cy="{self.y(v):.1f}" r="{radius}" fill="{color}" fill-opacity=".75"/>'
            for t, v in points
        ]

    def level(self, value: float, text: str) -> None:
        if self.low < value < self.most:
            self.parts.append(_line(70, self.y(value), WIDE - 10, self.y(value), "#b42318", 'stroke-dasharray="5 4"'))
            self.parts.append(_text(WIDE - 14, self.y(value) - 5, text, "end", "#b42318"))


def time_line(result: Mapping[str, Any]) -> str:
    """Latency block by block; under it what the machine did at the same moments: temperature, frequency, the yardstick."""
    scenarios, samples = result["scenarios"], result["sensors"]["samples"]
    name = next((one for one in ("single-stream", "steady-rate") if one in scenarios), "offline")
    blocks = scenarios[name]["blocks"]
    every = [block for scenario in scenarios.values() for block in scenario["blocks"]]
    ends = (
        0.0,
        max([*(sample["time_s"] for sample in samples), *(block["start_s"] + block["seconds"] for block in every)]),
    )
    panels = []
    top = 26.0

    def strip(high: float, values: Sequence[float], title: str, unit: str) -> _Panel:
        nonlocal top
        panel = _Panel(top, high, ends, values, title, unit)
        panels.append(panel)
        top += high + 34
        return panel

    if name == "offline":
        points = [(block["start_s"], block["photos"] / block["seconds"]) for block in blocks]
        strip(170, [0, *(value for _, value in points)], "offline, each block", "photos/s").dots(points, _BLUE)
    else:
        points = [(block["start_s"], block["p50_ms"]) for block in blocks if block["p50_ms"] is not None]
        most = _sensible(value for _, value in points)
        visible = [(time_s, min(value, most)) for time_s, value in points]
        strip(170, [0, *(value for _, value in visible)], f"{name}, median of each block", "ms").dots(visible, _BLUE)
    for key, title, unit, color in (
        ("temperature_c", "temperature", "°C", "#d92d20"),
        ("frequency_mhz", "frequency, the fastest core", "MHz", "#067647"),
    ):
        known = [(sample["time_s"], sample[key]) for sample in samples if sample[key] is not None]
        if known:
            panel = strip(100, [value for _, value in known], title, unit)
            panel.curve(known, color)
            if key == "temperature_c" and result["sensors"]["trip_c"] is not None:
                panel.level(result["sensors"]["trip_c"], "slows down from here on")
    yards = [(block["start_s"], block["yardstick_ms"]) for block in blocks]
    strip(90, [0, *(value for _, value in yards)], "a fixed piece of work: the machine's own speed", "ms").dots(
        yards, "#7a5af8", 2
    )
    shares = (
        sorted((block["start_s"], 100 * min(1.0, block["cpu_s"] / block["seconds"])) for block in blocks)
        if name == "single-stream"
        else []
    )
    if shares:
        strip(70, [0, 100], "CPU that it got", "%").dots(shares, "#f79009", 2)
    parts = [part for panel in panels for part in panel.parts]
    return _svg(top + 6, [*parts, *_throttled_times(samples, panels), *_time_axis(panels[-1])])


def _sensible(values: Iterable[float]) -> float:
    """Where an axis ends, so that one bad moment doesn't press all others flat: beyond it, dots lie on the edge."""
    known = list(values) or [1.0]
    return max(3 * float(np.median(known)), 1.2 * float(np.percentile(known, 90)))


def _throttled_times(samples: Sequence[Mapping[str, Any]], panels: Sequence[_Panel]) -> list[str]:
    """Moments at which the firmware or the kernel held the CPU back, as a red band over all strips."""
    last, top = panels[-1], panels[0].top
    look = f'y="{top}" width="6" height="{last.top + last.high - top}" fill="#f04438" fill-opacity=".12"'
    return [
        f'<rect x="{last.x(sample["time_s"]) - 3:.1f}" {look}/>'
        for sample in samples
        if (sample["throttled"] or 0) & 0xF or (sample["cooling"] or 0) > 0
    ]


def _time_axis(panel: _Panel) -> list[str]:
    base = panel.top + panel.high
    return [
        _line(panel.x(tick), base, panel.x(tick), base + 5, _SOFT)
        + _text(panel.x(tick), base + 19, f"{_number(tick)} s", "middle")
        for tick in _ticks(*panel.times, 10)
    ]
