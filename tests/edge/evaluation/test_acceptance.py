"""The decision held against every other threshold: efficiency, and the risk-coverage curve."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmatch.edge.evaluation.acceptance import POINTS, best_possible, efficiency, risk_coverage


def test_the_curve_accepts_the_surest_first() -> None:
    points = risk_coverage([0.9, 0.8, 0.8, 0.1], [True, True, False, False])
    assert [(point.coverage, point.risk, point.threshold) for point in points] == [
        (0.25, 0.0, 0.9), (0.75, pytest.approx(1 / 3), 0.8), (1.0, 0.5, 0.1),
    ]  # fmt: skip
    assert risk_coverage([], []) == []


def test_a_long_curve_is_thinned_and_keeps_both_ends() -> None:
    random = np.random.default_rng(0)
    sure = random.random(5000)
    points = risk_coverage(sure.tolist(), (random.random(5000) < sure).tolist())
    assert len(points) <= POINTS and points[-1].coverage == 1.0 and points[0].threshold == sure.max()
    assert points[-1].risk == pytest.approx(0.5, abs=0.03) and points[0].risk < 0.1


def test_the_best_possible_counts_right_answers_above_the_unknown_ones() -> None:
    known, right = np.array([0.9, 0.7, 0.6, 0.2]), np.array([True, False, True, True])
    unknown = np.array([0.8, 0.5, 0.1])
    assert best_possible(known, right, unknown, 0) == 0.25
    assert best_possible(known, right, unknown, 1) == 0.5
    assert best_possible(known, right, unknown, 3) == 0.75


def test_efficiency_of_a_threshold_that_is_too_high_and_of_the_best() -> None:
    known, right, unknown = [0.9, 0.7, 0.6, 0.4], [True, True, True, True], [0.5, 0.3]
    assert efficiency(known, right, [True, False, False, False], unknown, 0) == pytest.approx(1 / 3)
    assert efficiency(known, right, [True, True, True, False], unknown, 0) == 1.0
    assert efficiency(known, right, [False] * 4, [], 0) is None
