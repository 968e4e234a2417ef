"""Plots: what they show is what was measured."""

from __future__ import annotations

import re

import pytest

from shelfmatch.edge.pages import charts


@pytest.mark.parametrize("threshold", [0.0, 0.03, 0.5, 0.967, 0.9999, 1.0])
def test_no_bar_stands_on_both_sides_of_the_threshold(threshold: float) -> None:
    """The line ran through the tallest bar: bins were even from 0 to 1, and the last one held both kinds."""
    values = [0.0, 0.01, 0.2, 0.9, 0.96, 0.9669, 0.967, 0.98, 0.9999, 1.0]
    drawn = charts.histogram({"known": values}, threshold, "confidence")
    line = float(re.findall(r'<line x1="([\d.]+)"', drawn)[1])
    bars = [
        tuple(map(float, found))
        for found in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)" fill', drawn)
    ]
    bars = [bar for bar in bars if bar[1] != 12.0]  # the legend
    assert bars and all(x + wide <= line + 0.1 or x >= line - 0.1 for x, wide, _ in bars)
    right = sum(high for x, _, high in bars if x >= line - 0.1) / sum(high for _, _, high in bars)
    assert right == pytest.approx(sum(value >= threshold for value in values) / len(values), abs=0.01)
    assert 0 <= line <= 760 and f"threshold {100 * threshold:.3g} %" in drawn
