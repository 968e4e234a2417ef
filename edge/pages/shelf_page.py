"""The page of `shelf report`: a shelf over time, from its log. One file, no script, for phones and screens, light and dark."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Final

from ..errors import ImageError
from ..events.history import History, Incident, PlanSlot, Span
from ..privacy.counts import NoisySum
from . import html

STATES: Final = ("full", "low", "empty", "misplaced", "unknown", "no view")
"""In the order of the legend; each has a colour and, for those who don't see it, a letter."""
_LETTERS: Final = {"low": "L", "empty": "E", "misplaced": "M", "unknown": "?", "no view": "–"}
_MOST_PICTURES: Final = 60
_MOST_ALERTS: Final = 200
_MOST_HOURS, _MOST_DAYS, _MOST_APART = 8 * 24, 400, 60
"""Bars: of hours, then of days, then of weeks; more than so many stand side by side without gaps, which a phone has no room for."""
_LONGEST_NAME: Final = 14
"""Letters of a slot's name that are drawn on it."""
_STYLE: Final = """
:root { color-scheme: light dark; --card: #fff; --ground: #f6f7f9; --full: #3f7d57; --low: #e3b21c; --empty: #c8322b;
  --misplaced: #7d4cc2; --unknown: #2a6fd0; --noview: #98a2b3; --onstate: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #313846; --card: #1a1f29; --ground: #11151c;
  --full: #3a7350; --low: #cfa12a; --empty: #cf3f38; --misplaced: #8455cc; --unknown: #2f72d4; --noview: #5a6475; } }
body { background: var(--ground); } section.card, .figures div, figure { background: var(--card); }
figure .pair { background: var(--ground); } figure .pair .shot { border-color: var(--card); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 16px; margin: 0 0 14px; padding: 0; list-style: none; font-size: 13px; }
.legend i { display: inline-block; width: 22px; height: 16px; border-radius: 4px; margin-right: 6px; vertical-align: middle;
  font: 700 11px/16px system-ui, sans-serif; color: var(--onstate); text-align: center; }
.full { fill: var(--full); background: var(--full); } .low { fill: var(--low); background: var(--low); }
.empty { fill: var(--empty); background: var(--empty); } .misplaced { fill: var(--misplaced); background: var(--misplaced); }
.unknown { fill: var(--unknown); background: var(--unknown); } .noview { fill: var(--noview); background: var(--noview); }
svg.shelf { width: 100%; height: auto; max-height: 640px; } svg.shelf polygon { stroke: var(--card); stroke-width: 2; }
svg.shelf text { fill: var(--onstate); text-anchor: middle; dominant-baseline: central; }
.legend i.low { color: #1d2430; } svg.shelf text.low { fill: #1d2430; background: none; }
.line { display: grid; grid-template-columns: minmax(84px, 150px) 1fr; gap: 10px; align-items: center; margin: 3px 0; }
.line b { font: 13px/1.25 system-ui, sans-serif; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.line svg { width: 100%; height: 16px; display: block; border-radius: 4px; background: var(--ground); }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; }
.bars { display: flex; align-items: flex-end; gap: 2px; height: 150px; border-bottom: 1px solid var(--line); overflow: hidden; }
.bars span { flex: 1 1 0; min-width: 2px; background: var(--unknown); border-radius: 3px 3px 0 0; }
.bars.many { gap: 0; } .bars.many span { min-width: 0; border-radius: 0; }
.bars span.none { background: repeating-linear-gradient(45deg, var(--line) 0 4px, transparent 4px 8px); height: 100%; }
.wide { overflow-x: auto; } .wide table.grid td, .wide table.grid th { text-align: left; }
.wide table.grid td:last-child, .wide table.grid th:last-child { text-align: right; padding-right: 0; }
@media (max-width: 560px) { main { padding: 20px 12px 48px; } h1 { font-size: 24px; } section.card { padding: 14px; }
  .axis span:nth-child(even):not(:last-child) { display: none; }
  .figures div { flex: 1 1 40%; min-width: 0; padding: 10px 12px; } .figures b { font-size: 22px; } }
@media print { :root { color-scheme: light; } section.card { break-inside: avoid; } }
"""


@dataclass(frozen=True, slots=True)
class ShelfReport:
    """What the page is made from. `pictures`: the log's folder of pictures, None to show none; `passers`: noisy sums of hours."""

    name: str
    history: History
    pictures: Path | None = None
    passers: tuple[NoisySum, ...] = ()


def shelf_page(report: ShelfReport) -> bytes:
    """The whole document."""
    past = report.history
    return html.page(
        f"{report.name}: shelf report",
        [
            f"<h1>{escape(report.name)}</h1>",
            f"<p>{_moment(past.start)} to {_moment(past.end)}, local time of this device.</p>",
            _headline(past),
            _now(past),
            _timelines(past),
            _compliance(past),
            _products(past),
            _alerts(past),
            _pictures(past.incidents, report.pictures),
            _passers(report.passers),
        ],
        _STYLE,
    )


def _headline(past: History) -> str:
    found = past.summary()
    share, refill = found["compliance"], found["median_minutes_to_refill"]
    return html.figures(
        {
            "of the time as in the plan": "–" if share is None else f"{share:.1%}",
            "open alerts": str(found["open_alerts"]),
            "events about slots": f"{found['events']:,}",
            "from alert to refill, median": "–" if refill is None else _duration(60 * refill),
        }
    )


def _now(past: History) -> str:
    """The shelf as it is at the end."""
    states = {slot: spans[-1] if spans else Span("full", past.end, past.end) for slot, spans in past.slots.items()}
    counts = {state: sum(span.state == state for span in states.values()) for state in STATES}
    placed = [slot for slot in past.plan if len(slot.polygon) >= 3]
    parts = [_legend({state: count for state, count in counts.items() if count or state == "full"})]
    if past.camera and past.camera[-1].state != "ok":
        parts.append(f"<p>The camera: {escape(past.camera[-1].state)}. What the slots show is older.</p>")
    parts.append(_drawn(placed, states) if placed else _listed(past, states))
    note = "" if placed else "Without a plan there is no picture of the shelf; name it with --plan."
    return html.section("The shelf now", *parts, note=note)


def _legend(counts: Mapping[str, int]) -> str:
    items = (
        f'<li><i class="{_class(state)}">{_LETTERS.get(state, "")}</i>{escape(state)}: {count}</li>'
        for state, count in counts.items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _drawn(placed: Sequence[PlanSlot], states: Mapping[str, Span]) -> str:
    xs, ys = ([corner[axis] for slot in placed for corner in slot.polygon] for axis in (0, 1))
    left, top = min(xs), min(ys)
    width, height = max(max(xs) - left, 1.0), max(max(ys) - top, 1.0)
    scale = 1000 / width
    parts = []
    for slot in placed:
        span = states.get(slot.id, Span("full", 0.0, 0.0))
        corners = [((x - left) * scale, (y - top) * scale) for x, y in slot.polygon]
        middle = [sum(corner[axis] for corner in corners) / len(corners) for axis in (0, 1)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        wide = max(x for x, _ in corners) - min(x for x, _ in corners)
        name = _short(slot.name or slot.sku or slot.id)
        size = min(15.0, 1.45 * wide / max(len(name), 4))
        low = ' class="low"' if span.state == "low" else ""
        parts.append(
            f'<g><title>{escape(_words(slot, span))}</title><polygon class="{_class(span.state)}" points="{points}"/>'
            f'<text{low} x="{middle[0]:.1f}" y="{middle[1] - 9:.1f}" style="font-size:{size:.1f}px">{escape(name)}</text>'
            f'<text{low} x="{middle[0]:.1f}" y="{middle[1] + 11:.1f}" style="font-size:18px;font-weight:700">'
            f"{_LETTERS.get(span.state, '')}</text></g>"
        )
    return (
        f'<svg class="shelf" viewBox="-2 -2 1004 {height * scale + 4:.0f}" role="img" aria-label="the shelf, slot by slot">'
        f"{''.join(parts)}</svg>"
    )


def _listed(past: History, states: Mapping[str, Span]) -> str:
    rows = [(slot.id, _words(slot, states[slot.id])) for slot in past.plan if slot.id in states]
    return html.table(rows)


def _words(slot: PlanSlot, span: Span) -> str:
    product = " ".join(filter(None, (slot.name, f"({slot.sku})" if slot.name and slot.sku else slot.sku)))
    by = f" by {span.by}" if span.by else ""
    return f"{slot.id}{': ' if product else ''}{product}, {span.state}{by} since {_moment(span.start)}"


def _timelines(past: History) -> str:
    """A line for each slot, and one for the camera."""
    length = max(past.end - past.start, 1.0)
    names = {slot.id: slot.name or slot.sku for slot in past.plan}
    rows = [_line(past, length, "Camera", "", past.camera)]
    rows += [_line(past, length, slot, names.get(slot, ""), spans) for slot, spans in past.slots.items()]
    ticks = "".join(f"<span>{_tick(past.start + length * part / 4, length)}</span>" for part in range(5))
    axis = f'<div class="line"><b></b><div class="axis">{ticks}</div></div>'
    return html.section("Slot by slot", axis, *rows, axis, note="Point at a bar to read what it is and since when.")


def _line(past: History, length: float, slot: str, name: str, spans: Iterable[Span]) -> str:
    bars = []
    for span in spans:
        x, wide = 1000 * (span.start - past.start) / length, 1000 * (span.end - span.start) / length
        words = f"{span.state}{f' by {span.by}' if span.by else ''}, {_moment(span.start)} for {_duration(span.end - span.start)}"
        bars.append(
            f'<rect class="{_class(span.state)}" x="{x:.2f}" width="{max(wide, 1.5):.2f}" height="16">'
            f"<title>{escape(words)}</title></rect>"
        )
    caption = f"{slot} {name}".strip()
    return (
        f'<div class="line"><b title="{escape(caption, quote=True)}">{escape(caption)}</b>'
        f'<svg viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label="{escape(caption, quote=True)}">'
        f"{''.join(bars)}</svg></div>"
    )


def _compliance(past: History) -> str:
    word, step_s = _step(past.end - past.start)
    steps = past.compliance(step_s)
    bars = "".join(
        f'<span class="none" title="{_moment(start)}: the camera saw nothing"></span>'
        if share is None
        else f'<span style="height:{max(100 * share, 1):.1f}%" title="{_moment(start)}: {share:.1%}"></span>'
        for start, share in steps
    )
    axis = f'<div class="axis"><span>{_moment(past.start)}</span><span>{_moment(past.end)}</span></div>'
    note = (
        f"{word.capitalize()} by {word}: of the slots' time, the share with the right product in it (full or low). "
        "The top is 100 %."
    )
    return html.section("As in the plan", _bars(bars, len(steps)) + axis, note=note)


def _step(length_s: float) -> tuple[str, float]:
    """What one bar stands for: so that they can be told apart, also those of a log of years."""
    if length_s <= _MOST_HOURS * 3600:
        return "hour", 3600.0
    return ("day", 86_400.0) if length_s <= _MOST_DAYS * 86_400 else ("week", 7 * 86_400.0)


def _bars(bars: str, count: int) -> str:
    many = " many" if count > _MOST_APART else ""
    return f'<div class="bars{many}">{bars}</div>'


def _products(past: History) -> str:
    names = {slot.sku: slot.name for slot in past.plan}
    times = {sku: sum(one.sku == sku and one.state == "empty" for one in past.incidents) for sku in names}
    rows = [
        (sku, names[sku], f"{minutes:,.0f}", str(times[sku]))
        for sku, minutes in past.empty_minutes().items()
        if minutes > 0 or times[sku]
    ]
    if not rows:
        return html.section("Out of stock", "<p>No product was out of stock.</p>")
    table = html.grid(("SKU", "Name", "Minutes", "Times a slot was empty"), rows)
    return html.section(
        "Out of stock",
        f'<div class="wide" tabindex="0">{table}</div>',
        note="Minutes in which no slot of the product had any.",
    )


def _alerts(past: History) -> str:
    alerts = sorted((one for one in past.incidents if one.severity == "alert"), key=lambda one: -one.start)
    if not alerts:
        return html.section("Alerts", "<p>There was none.</p>")
    rows = [
        (
            _moment(one.start),
            one.slot or "camera",
            one.sku,
            one.state + (f" by {one.by}" if one.by else ""),
            "open" if one.end is None else _duration(max(0.0, one.end - one.start)),
        )
        for one in alerts[:_MOST_ALERTS]
    ]
    note = f"The latest {_MOST_ALERTS} of {len(alerts):,}." if len(alerts) > _MOST_ALERTS else ""
    table = html.grid(("Since", "Slot", "SKU", "What", "Until refilled"), rows)
    return html.section("Alerts", f'<div class="wide" tabindex="0">{table}</div>', note=note)


def _pictures(incidents: Iterable[Incident], folder: Path | None) -> str:
    """First and last picture of events that have some; nothing where pictures are off."""
    if folder is None:
        return ""
    cells: list[str] = []
    for one in sorted(incidents, key=lambda one: -one.start):
        shots = [
            (tag, _readable(folder / name), "gone") for tag, name in zip(("first", "last"), one.pictures, strict=False)
        ]
        if any(shot[1] for shot in shots) and len(cells) < _MOST_PICTURES:
            kind = "bad" if one.end is None else "open"
            cells.append(html.shots(kind, shots, f"{one.slot or 'camera'}: {one.state}", _moment(one.start)))
    return html.section("Pictures", html.gallery(cells), note="Where nobody stood before the slot.") if cells else ""


def _readable(path: Path) -> Path | None:
    try:
        html.thumbnail(path, 16)
    except (ImageError, OSError):
        return None
    return path


def _passers(sums: Sequence[NoisySum]) -> str:
    if not sums:
        return ""
    total = sum(one.sum for one in sums)
    spread = math.sqrt(sum(_variance(one.epsilon) for one in sums))
    highest = max([one.sum for one in sums] + [1])
    bars = "".join(
        f'<span style="height:{max(100 * one.sum / highest, 1):.1f}%" title="{_moment(one.start_time)}: {one.sum}"></span>'
        for one in sums
    )
    axis = (
        f'<div class="axis"><span>{_moment(sums[0].start_time)}</span><span>{_moment(sums[-1].end_time)}</span></div>'
    )
    note = (
        f"About {max(0, total):,} people passed (± {2 * spread:,.0f} in 95 of 100 cases). Each hour's number got noise before "
        "it was written down, so that nobody can tell from it whether one person was there; it may be below zero."
    )
    return html.section("Passers-by", _bars(bars, len(sums)) + axis, note=note)


def _variance(epsilon: str) -> float:
    """Of discrete Laplace noise (Canonne, Kamath, Steinke 2020): 2 q / (1 - q)², q = exp(-epsilon)."""
    ratio = math.exp(-float(Fraction(epsilon)))
    return 2 * ratio / (1 - ratio) ** 2


def _class(state: str) -> str:
    if state == "ok":
        return "full"
    return state if state in STATES[:-1] else "noview"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _tick(seconds: float, length: float) -> str:
    days = length / 86_400  # from most of a year on, days don't tell one year from the next
    return time.strftime("%H:%M" if days < 2 else "%m-%d" if days < 300 else "%Y-%m", time.localtime(seconds))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.1f} days"
