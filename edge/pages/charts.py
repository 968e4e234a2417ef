"""Plots as SVG: bars, a histogram with a threshold, a reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from ..metrics import ReliabilityBin, log_odds


def bars(values: Mapping[str, float], unit: str) -> str:
    """A horizontal bar for each value."""
    longest = max(values.values(), default=0.0) or 1.0
    rows = []
    for place, (caption, value) in enumerate(values.items()):
        y, width = 34 * place, max(2.0, 560 * value / longest)
        rows.append(
            f'<text x="0" y="{y + 20}">{escape(caption)}</text>'
            f'<rect x="120" y="{y + 4}" width="{width:.1f}" height="22" rx="5" fill="#528bff"/>'
            f'<text x="{130 + width:.1f}" y="{y + 20}">{value:.2f} {escape(unit)}</text>'
        )
    return f'<svg viewBox="0 0 800 {34 * len(values)}" width="100%" role="img">{"".join(rows)}</svg>'


_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
_REACH, _STEP = 8.0, 0.5
"""Of the axis, and of a bin, in log odds: most confidences lie close to 0 or to 1, where an even axis has one bin for them all."""


def histogram(groups: Mapping[str, Sequence[float]], threshold: float, caption: str) -> str:
    """Values from 0 to 1 of up to two groups as shares per bin, on an axis of log odds, and a line at the threshold.

    A bin ends at the threshold: what is drawn right of the line has reached it.
    """
    wide, high = 760, 200
    edge = min(_REACH - _STEP, max(_STEP - _REACH, log_odds(threshold)))
    before, after = math.ceil((edge + _REACH) / _STEP), math.ceil((_REACH - edge) / _STEP)
    start, width = edge - before * _STEP, _STEP * wide / ((before + after) * _STEP)

    def x_of(odds: float) -> float:
        return (odds - start) / _STEP * width

    shares = {name: _shares(values, threshold, edge, before, after) for name, values in groups.items()}
    tallest = max((max(found) for found in shares.values()), default=0.0) or 1.0
    parts = []
    for place, (name, found) in enumerate(shares.items()):
        color = ("#12b76a", "#f04438")[place % 2]
        for number, share in enumerate(found):
            tall, x = high * share / tallest, number * width + place * width / 2
            if share:
                box = f'x="{x + 0.5:.1f}" y="{high - tall:.1f}" width="{width / 2 - 1:.1f}" height="{tall:.1f}"'
                parts.append(f'<rect {box} fill="{color}"/>')
        parts.append(
            f'<rect x="{250 * place}" y="{high + 34}" width="12" height="12" fill="{color}"/>'
            f'<text x="{250 * place + 18}" y="{high + 45}">{escape(name)}</text>'
        )
    for tick in _TICKS:
        x = x_of(log_odds(tick))
        parts.append(f'<text x="{x:.1f}" y="{high + 17}" text-anchor="middle">{100 * tick:g} %</text>')
    x = x_of(edge)
    label = f"threshold {100 * threshold:.3g} %"
    return (
        f'<svg viewBox="0 -16 800 {high + 70}" width="100%" role="img">'
        f'<line x1="0" y1="{high}" x2="{wide}" y2="{high}" stroke="#98a2b3"/>'
        f'{"".join(parts)}<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{high}" stroke="#1d2430" stroke-dasharray="5 4"/>'
        f'<text x="{min(max(x, 60), wide - 60):.1f}" y="-5" text-anchor="middle">{label}</text>'
        f'<text x="{wide}" y="{high + 45}" text-anchor="end">{escape(caption)}</text></svg>'
    )


def reliability_plot(rows: Sequence[ReliabilityBin]) -> str:
    """A reliability diagram: what share is right at each confidence. True confidences lie on the diagonal; a dot's area
    grows with the answers in its bin."""
    side, left = 300, 88
    most = max((row.count for row in rows), default=0) or 1
    parts = [f'<rect x="{left}" y="0" width="{side}" height="{side}" fill="#f9fafb" stroke="#e4e7ec"/>']
    for tick in (0, 25, 50, 75, 100):
        along = side * tick / 100
        parts.append(
            f'<text x="{left - 8}" y="{side - along + 5:.0f}" text-anchor="end">{tick} %</text>'
            f'<text x="{left + along:.0f}" y="{side + 18}" text-anchor="middle">{tick} %</text>'
        )
    parts.append(f'<line x1="{left}" y1="{side}" x2="{left + side}" y2="0" stroke="#98a2b3" stroke-dasharray="5 4"/>')
    for row in rows:
        if row.confidence is not None and row.accuracy is not None:
            x, y, true = left + side * row.confidence, side * (1 - row.accuracy), side * (1 - row.confidence)
            radius = max(2.5, 16 * math.sqrt(row.count / most))
            parts.append(
                f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{true:.1f}" stroke="#f04438" stroke-width="2"/>'
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#528bff" fill-opacity=".75">'
                f"<title>{row.count:,} answers: {row.confidence:.1%} sure, {row.accuracy:.1%} right</title></circle>"
            )
    return (
        f'<svg viewBox="0 -18 800 {side + 62}" width="100%" role="img">{"".join(parts)}'
        f'<text x="{left + side / 2:.0f}" y="{side + 38}" text-anchor="middle">how sure</text>'
        f'<text x="14" y="{side / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {side / 2:.0f})">right</text></svg>'
    )


def risk_curve(points: Sequence[tuple[float, float, float]], threshold: float) -> str:
    """A risk-coverage curve from (coverage, risk, threshold) points, the surest first, with a dot where `threshold` lies."""
    wide, high, left = 600, 240, 88
    top = next(tick for tick in (0.05, 0.1, 0.2, 0.5, 1.0) if tick >= max(risk for _, risk, _ in points))

    def place(coverage: float, risk: float) -> str:
        return f"{left + wide * coverage:.1f},{high * (1 - risk / top):.1f}"

    parts = [f'<rect x="{left}" y="0" width="{wide}" height="{high}" fill="#f9fafb" stroke="#e4e7ec"/>']
    for tick in (0, 25, 50, 75, 100):
        risk = 100 * top * tick / 100
        parts.append(
            f'<text x="{left - 8}" y="{high * (1 - tick / 100) + 5:.0f}" text-anchor="end">{risk:.3g} %</text>'
            f'<text x="{left + wide * tick / 100:.0f}" y="{high + 18}" text-anchor="middle">{tick} %</text>'
        )
    line = " ".join(place(coverage, risk) for coverage, risk, _ in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#528bff" stroke-width="2.5"/>')
    accepted = [point for point in points if point[2] >= threshold]
    if accepted:
        coverage, risk, _ = accepted[-1]
        x, y = place(coverage, risk).split(",")
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="6" fill="#1d2430"><title>{coverage:.1%} of the photos get an answer, {risk:.1%} of the '
            "answers are wrong</title></circle>"
        )
    return (
        f'<svg viewBox="0 -18 800 {high + 62}" width="100%" role="img">{"".join(parts)}'
        f'<text x="{left + wide / 2:.0f}" y="{high + 38}" text-anchor="middle">photos that get an answer</text>'
        f'<text x="14" y="{high / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {high / 2:.0f})">wrong</text></svg>'
    )


def _shares(values: Sequence[float], threshold: float, edge: float, before: int, after: int) -> list[float]:
    """What part of the values, from 0 to 1 each, falls into each bin: `before` and `after` the threshold, which `edge` shows."""
    counts = [0] * (before + after)
    for value in values:
        number = math.floor((log_odds(value) - edge) / _STEP)
        number = max(0, number) if value >= threshold else min(-1, number)  # rounding carries none across
        counts[min(before + after - 1, max(0, before + number))] += 1
    return [count / max(1, len(values)) for count in counts]
