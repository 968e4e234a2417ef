"""Confidences of a ranking: as bundles of before have them, and after local matching with what that says."""

from __future__ import annotations

import pytest

from shelfmatch.edge import BundleError
from shelfmatch.edge.scoring.decision import Decision, margin_of
from shelfmatch.edge.scoring.evidence import Evidence, mean_evidence

FUSED = Evidence([(2, 0.8), (1, 0.7), (3, 0.3)], {1: 0.75, 2: 0.6, 3: 0.4}, {1: 0.3, 2: 0.9})
OLD = {
    "method": "held-out", "intercept": -5.0, "score_weight": 8.0, "margin_weight": 3.0, "references_weight": 0.5,
    "threshold": 0.9, "target_false_accept_rate": 0.05, "known": 40, "unknown": 30, "false_accept_rate": 0.05,
    "correct_accept_rate": 0.7, "reliability": [[0.9, 1.0, 40]],
}  # fmt: skip
"""As versions wrote it that knew nothing of a prior."""


def test_a_decision_of_before_answers_as_before() -> None:
    """On the scores that rank, fused ones after local matching; and it is written as it was read."""
    decision = Decision.from_dict(OLD)
    assert decision.local_weight is None and decision.confidences is None
    found = decision.confidences_of(FUSED, [4, 1, 2])
    assert found == [
        decision.confidence(0.8, margin_of(0.8, 0.7), 4),
        decision.confidence(0.7, margin_of(0.7, 0.8), 1),
        decision.confidence(0.3, margin_of(0.3, 0.8), 2),
    ]
    assert {**decision.to_dict(), "reliability": OLD["reliability"]} == {**OLD, "reliability": OLD["reliability"]}
    assert decision.confidences_of(Evidence.of_search([(1, 0.7)]), [1]) == [decision.confidence(0.7, 0.7, 1)]


def test_after_local_matching_both_speak() -> None:
    decision = Decision.from_dict({**OLD, "local_weight": 2.0, "local_lead_weight": 4.0})
    found = decision.confidences_of(FUSED, [4, 1, 2])
    assert found == [
        pytest.approx(decision.confidence(0.6, 0.6 - 0.75, 4, 0.9, 0.9 - 0.3)),
        pytest.approx(decision.confidence(0.75, 0.75 - 0.6, 1, 0.3, 0.3 - 0.9)),
        pytest.approx(
            decision.confidence(0.4, 0.4 - 0.75, 2, 0.3, 0.3 - 0.9)
        ),  # not looked at: as the least of those that were
    ]
    assert Decision.from_dict({**decision.to_dict()}) == decision


def test_a_product_alone_leads_over_what_unlike_ones_would_score() -> None:
    """By a filter that leaves one product, or in a shop of one: nothing else scoring is no reason to be sure."""
    decision = Decision.from_dict({**OLD, "lone_rival": 0.55})
    assert decision.confidences_of(Evidence.of_search([(1, 0.7)]), [1]) == [decision.confidence(0.7, 0.7 - 0.55, 1)]
    assert decision.confidences_of(FUSED, [4, 1, 2]) == Decision.from_dict(OLD).confidences_of(FUSED, [4, 1, 2])


@pytest.mark.parametrize("local", [False, True])
def test_products_with_the_same_photos_share_what_is_sure_of_them(local: bool) -> None:
    """Three that nothing tells apart were 99 % sure each; one of them is right at most."""
    decision = Decision.from_dict({**OLD, **({"local_weight": 2.0, "local_lead_weight": 4.0} if local else {})})
    ranked = [(4, 0.8), (1, 0.8), (7, 0.8 - 1e-7), (3, 0.3)]
    parts = {4: 0.7, 1: 0.7, 7: 0.7, 3: 0.1} if local else {}
    found = decision.confidences_of(Evidence(ranked, dict(ranked), parts), [2, 2, 2, 2])
    apart = [(4, 0.8), (1, 0.79), (7, 0.78), (3, 0.3)]
    alone = decision.confidences_of(Evidence(apart, dict(apart), parts), [2, 2, 2, 2])
    assert sum(found[:3]) <= 1 and found[0] == pytest.approx(found[1]) == pytest.approx(found[2], abs=1e-5)
    assert found[0] == pytest.approx(alone[0] / 3, abs=0.02) and found[3] == pytest.approx(alone[3], abs=0.02)
    if local:  # parts of them tell them apart
        found = decision.confidences_of(Evidence(ranked, dict(ranked), {**parts, 4: 0.8}), [2, 2, 2, 2])
        assert found[0] > alone[0] - 0.02


def test_a_wrong_weight_is_refused() -> None:
    with pytest.raises(BundleError, match="local_weight is 'much'"):
        Decision.from_dict({**OLD, "local_weight": "much"})


def test_frames_are_averaged_in_all_that_they_say() -> None:
    other = Evidence([(1, 0.9), (2, 0.5)], {1: 0.9, 2: 0.5}, {1: 0.7, 2: 0.1})
    mean = mean_evidence([FUSED, other])
    assert mean.plain[1] == pytest.approx(0.825) and mean.local[2] == pytest.approx(0.5)
    assert dict(mean.ranked)[1] == pytest.approx(0.8) and mean_evidence([FUSED]) is FUSED
    assert mean_evidence([FUSED, Evidence.of_search([(1, 0.9)])]).local == {}
    assert mean.cut(1).ranked == mean.ranked[:1] and mean.cut(1).plain == mean.plain
