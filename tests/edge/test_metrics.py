"""Calibration error and intervals against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmatch.edge.metrics import RELIABILITY_BINS, calibration_error, error_of, reliability, wilson

fixed = settings(derandomize=True, database=None, deadline=None)


@fixed
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80), st.integers(1, 20))
def test_the_error_is_the_bins_weighted_gap(answers: list[tuple[float, bool]], bins: int) -> None:
    gaps = 0.0
    for number in range(bins):
        inside = [one for one in answers if min(bins - 1, int(one[0] * bins)) == number]
        if inside:
            confidence, accuracy = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            gaps += len(inside) / len(answers) * abs(accuracy - confidence)
    confidences, right = zip(*answers, strict=True)
    assert calibration_error(confidences, right, bins) == pytest.approx(gaps, abs=1e-9)
    table = reliability(confidences, right, bins)
    assert sum(row.count for row in table) == len(answers) and len(table) == bins
    assert all(row.low - 1e-9 <= (row.confidence or row.low) <= row.high + 1e-9 for row in table)


def test_what_is_sure_and_right_has_no_error_and_what_is_sure_and_wrong_has_all() -> None:
    assert calibration_error([1.0, 1.0, 0.0], [True, True, False]) == 0
    assert calibration_error([1.0, 1.0], [False, False]) == 1
    assert calibration_error([0.25] * 4, [True, False, False, False]) == 0
    assert calibration_error([], []) is None is error_of(reliability([], []))
    assert len(reliability([0.3], [True])) == RELIABILITY_BINS == 15
    empty, *_ = reliability([0.99], [True])
    assert empty.to_dict() == {"low": 0.0, "high": 1 / 15, "count": 0, "confidence": None, "accuracy": None}


def test_wilson_is_the_interval_whose_ends_are_just_compatible() -> None:
    z = 1.959964
    for successes, trials in ((0, 20), (1, 20), (10, 20), (20, 20), (3, 1000)):
        bounds = wilson(successes, trials)
        assert bounds is not None and 0 <= bounds[0] <= successes / trials <= bounds[1] <= 1
        for bound in bounds:  # its definition: the rates p with |observed - p| = z * sqrt(p (1 - p) / n)
            if 0 < bound < 1:
                reach = z * math.sqrt(bound * (1 - bound) / trials)
                assert abs(successes / trials - bound) == pytest.approx(reach, rel=1e-6)
    # Brown, Cai & DasGupta 2001: of 0 in n the upper end is z² / (n + z²).
    assert wilson(0, 20) == (0.0, pytest.approx(z * z / (20 + z * z)))
    assert wilson(0, 0) is None
