"""Match or unknown: samples from the catalogue itself, the fitted confidence, the threshold that keeps its promise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shelfmatch.edge import BundleError, VectorIndex
from shelfmatch.edge.catalog.ids import PHOTO_BITS
from shelfmatch.edge.fitting.calibration import (
    MAX_SAMPLES,
    MIN_SAMPLES,
    UNKNOWN_SHARE,
    Samples,
    calibrate,
    leave_one_out,
    left_out_products,
)
from shelfmatch.edge.fitting.logistic import fit_logistic
from shelfmatch.edge.scoring.decision import Confidences, Decision, best_products, margin_of
from shelfmatch.edge.scoring.gallery import Gallery

fixed = settings(derandomize=True, database=None, deadline=None)


def shop(seed: int, photos: list[int], dimension: int = 16, spread: float = 0.5) -> VectorIndex:
    """An index of so many photos a product, around one direction each; f32, so that nothing is rounded."""
    random = np.random.default_rng(seed)
    rows, ids = [], []
    for product, count in enumerate(photos):
        centre = random.normal(size=dimension)
        rows += [centre + spread * random.normal(size=dimension) for _ in range(count)]
        ids += [(product << PHOTO_BITS) + photo for photo in range(count)]
    order = random.permutation(len(ids))
    return VectorIndex.build(np.array(rows, np.float32)[order], np.array(ids)[order], kind="exact", dtype="f32")


def samples_by_brute_force(index: VectorIndex, rows: NDArray[np.intp]) -> tuple[list[Any], list[Any]]:
    """Known and unknown (score, margin, right) of the photos at these rows, from the whole matrix of cosines."""
    vectors, products = index.vectors().astype(np.float64), index.ids >> PHOTO_BITS
    cosines = vectors @ vectors.T
    known, unknown = [], []
    for row in rows:
        best = {
            int(product): max(
                (cosines[row, other] for other in np.flatnonzero(products == product) if other != row), default=None
            )
            for product in np.unique(products)
        }
        own = int(products[row])
        ranked = sorted(((score, product) for product, score in best.items() if score is not None), reverse=True)
        others = [hit for hit in ranked if hit[1] != own]
        for samples, hits, wanted in ((known, ranked, best[own] is not None), (unknown, others, True)):
            if hits and wanted:
                rival = hits[1][0] if len(hits) > 1 else 0.0
                samples.append((hits[0][0], hits[0][0] - rival, samples is known and hits[0][1] == own))
    return known, unknown


@pytest.mark.parametrize(
    "photos",
    [[3] * 12, [1] * 30, [1, 5, 2, 1, 9], [2, 2], [4], [1], [40, 1], [200, 3, 1, 2], [70, 70, 70]],
    ids=lambda photos: f"{len(photos)}-products-of-up-to-{max(photos)}",
)
@pytest.mark.parametrize("spread", [0.1, 2.0])
def test_leave_one_out_equals_brute_force(photos: list[int], spread: float) -> None:
    index = shop(len(photos), photos, spread=spread)
    for found, expected in zip(leave_one_out(index), samples_by_brute_force(index, np.arange(len(index))), strict=True):
        assert len(found) == len(expected)
        if expected:
            scores, margins, right = map(np.array, zip(*expected, strict=True))
            assert np.allclose(found.scores, scores, atol=1e-6) and np.allclose(found.margins, margins, atol=1e-6)
            assert (found.right == right).all()


def test_leave_one_out_takes_an_even_part_of_a_large_shop() -> None:
    index = shop(1, [5] * 60)
    known, unknown = leave_one_out(index, limit=50)
    rows = np.unique(np.linspace(0, 299, 50).astype(np.intp))
    expected = samples_by_brute_force(index, rows)
    assert len(known) == len(unknown) == len(rows) == 50 <= MAX_SAMPLES
    assert np.allclose(known.scores, [score for score, _, _ in expected[0]], atol=1e-6)
    assert np.allclose(unknown.margins, [margin for _, margin, _ in expected[1]], atol=1e-6)


def test_the_number_of_references_gives_no_known_query_away() -> None:
    known, unknown = leave_one_out(shop(4, [3] * 20))
    assert set(known.references.tolist()) == set(unknown.references.tolist()) == {3.0}


def test_a_photo_that_two_products_have_is_no_unknown_query() -> None:
    """Left out with one of them it finds the other, with certainty, and the threshold let nothing else pass."""
    single = shop(4, [3] * 20)
    own = single.ids >> PHOTO_BITS == 7
    twin = single.vectors(np.flatnonzero(own))
    both = VectorIndex(single.dimension, dtype="f32")
    both.add(single.ids, single.vectors())
    both.add(np.array([(40 << PHOTO_BITS) + photo for photo in range(3)], np.uint32), twin)
    for before, after in (
        (leave_one_out(single)[1], leave_one_out(both)[1]),
        (left_out_products([Gallery(single)]), left_out_products([Gallery(both)])),
    ):
        assert len(after) == len(before) - 3 and after.scores.max() < 0.99
        assert after.scores == pytest.approx(before.scores[~own], abs=1e-6)


def test_leave_one_out_of_an_empty_shop() -> None:
    known, unknown = leave_one_out(VectorIndex(8))
    assert len(known) == len(unknown) == 0


def samples(seed: int, count: int, centre: float, right: float) -> Samples:
    """Scores around a centre, margins around a tenth of it."""
    random = np.random.default_rng(seed)
    scores = random.normal(centre, 0.1, count)
    references = random.integers(1, 9, count).astype(float)
    return Samples(scores, random.normal(centre / 10, 0.05, count), references, random.random(count) < right)


def accepted(decision: Decision, of: Samples) -> NDArray[np.bool_]:
    rows = zip(of.scores, of.margins, of.references, strict=True)
    confidences = [decision.confidence(score, margin, int(references)) for score, margin, references in rows]
    return np.array(confidences) >= decision.threshold


@fixed
@given(
    seed=st.integers(0, 2**32 - 1),
    known=st.integers(MIN_SAMPLES, 300),
    unknown=st.integers(MIN_SAMPLES, 300),
    rate=st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5, 0.9]),
    apart=st.sampled_from([-0.3, 0.0, 0.1, 0.5, 3.0]),
    right=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    digits=st.sampled_from([1, 2, 12]),
)
def test_the_threshold_keeps_the_rate_on_its_samples(
    seed: int, known: int, unknown: int, rate: float, apart: float, right: float, digits: int
) -> None:
    """Also where the two can't be told apart, where many scores are equal, and where no known query is right."""
    ours = samples(seed, known, 0.4 + apart, right)
    theirs = Samples(
        *(np.round(part, digits) for part in (samples(seed + 1, unknown, 0.4, 0).scores,) * 2),
        np.ones(unknown),
        np.zeros(unknown, bool),
    )
    decision = calibrate(ours, theirs, rate, "leave-one-out")
    wrong = accepted(decision, theirs)
    assert wrong.mean() <= rate and decision.false_accept_rate == wrong.mean()
    assert decision.correct_accept_rate == (accepted(decision, ours) & ours.right).mean()
    assert 0 <= decision.threshold <= 1 and (decision.known, decision.unknown) == (known, unknown)
    numbers = (decision.intercept, decision.score_weight, decision.margin_weight, decision.references_weight)
    assert all(map(math.isfinite, numbers))


def test_the_threshold_keeps_the_rate_on_new_queries() -> None:
    """Conformal: over many shops, at most the rate is accepted of queries that the threshold wasn't set on."""
    rates = []
    for seed in range(200):
        decision = calibrate(samples(seed, 100, 0.7, 1.0), samples(1000 + seed, 100, 0.4, 0.0), 0.1, "leave-one-out")
        rates.append(accepted(decision, samples(2000 + seed, 100, 0.4, 0.0)).mean())
    # 20,000 draws; a shop's rate varies by 0.03 with its 100 samples, the mean of 200 shops by 0.003.
    assert 0.08 < np.mean(rates) < 0.11


@fixed
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(MIN_SAMPLES, 200),
    apart=st.sampled_from([0.0, 0.05, 0.2, 1.0, 30.0]),
    spread=st.sampled_from([1e-9, 1e-3, 1.0, 1e3]),
    outlier=st.sampled_from([0.0, 5.0, 1000.0]),
)
def test_the_fit_is_the_optimum(seed: int, count: int, apart: float, spread: float, outlier: float) -> None:
    """The gradient of the penalized likelihood is zero there, and it is concave: there is no better one."""
    random = np.random.default_rng(seed)
    right = np.arange(2 * count) < count
    noise = random.normal(0, 1, (2 * count, 2))
    features = np.column_stack([random.normal(apart * right, 1.0), noise]) * spread
    features[0] += outlier * spread
    weights = np.full(2 * count, 0.5 / count)
    intercept, *slopes = fit_logistic(features, right, weights)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standardized = (features - mean) / scale
    beta = np.array([intercept + slopes @ mean, *(slopes * scale)])

    def loss(values: NDArray[np.float64]) -> float:
        logits = values[0] + standardized @ values[1:]
        return float(weights @ np.logaddexp(0, np.where(right, -logits, logits)) + 0.5e-3 * (values[1:] @ values[1:]))

    best = loss(beta)
    gradient = [(loss(beta + step) - loss(beta - step)) / 2e-4 for step in 1e-4 * np.eye(4)]
    assert np.abs(gradient).max() < 1e-5, f"loss {best}, gradient {gradient}"


def test_shops_that_can_be_told_apart_stay_finite() -> None:
    ours = Samples(np.full(50, 0.9), np.full(50, 0.5), np.ones(50), np.ones(50, bool))
    theirs = Samples(np.full(50, 0.1), np.full(50, 0.01), np.ones(50), np.zeros(50, bool))
    decision = calibrate(ours, theirs, 0.05, "synthetic-views")
    assert max(abs(decision.score_weight), abs(decision.margin_weight), abs(decision.intercept)) < 1000
    assert accepted(decision, ours).all() and not accepted(decision, theirs).any()
    assert decision.confidence(0.9, 0.5) > 0.9 > 0.1 > decision.confidence(0.1, 0.01)
    assert decision.method == "synthetic-views"


def test_how_many_samples_there_are_says_nothing() -> None:
    """A shop's photos all give an unknown sample, but not all a known one: their numbers say nothing of what will be asked."""
    ours, few = samples(1, 40, 0.7, 1.0), samples(2, 40, 0.4, 0.0)
    many = Samples.joined([few] * 100)
    middle = (0.5, 0.05, 2)
    one, other = (calibrate(ours, unknown, 0.05, "leave-one-out") for unknown in (few, many))
    assert abs(one.confidence(*middle) - other.confidence(*middle)) < 1e-6
    # The rare stranger: where half of the samples are either, most are taken for known.
    assert one.confidence(*middle) > 0.5


def test_strangers_are_told_apart_by_what_tells_them_apart() -> None:
    """Margins tell right answers from wrong ones, scores tell strangers, who are few: scores must weigh all the same."""
    random = np.random.default_rng(4)
    right = np.arange(1000) < 800
    ours = Samples(random.normal(0.7, 0.1, 1000), random.normal(np.where(right, 0.2, 0.05), 0.05), np.ones(1000), right)
    theirs = Samples(random.normal(0.5, 0.1, 500), random.normal(0.15, 0.05, 500), np.ones(500), np.zeros(500, bool))
    decision = calibrate(ours, theirs, 0.05, "held-out")
    both = Samples.joined([ours, theirs])
    features = np.column_stack([both.scores, both.margins])
    # Weighed as if strangers were as rare as they are, 43 % of the right ones would pass; so, 63 %.
    shares = np.repeat([(1 - UNKNOWN_SHARE) / 1000, UNKNOWN_SHARE / 500], [1000, 500])
    plain = features @ fit_logistic(features, both.right, shares)[1:]
    passed = (plain[:1000] >= np.quantile(plain[1000:], 0.95))[right].mean()
    assert decision.correct_accept_rate is not None and decision.correct_accept_rate / right.mean() > 1.3 * passed
    # And the confidence stays a probability: four in five are right.
    chances = np.array([decision.confidence(*one, 1) for one in zip(ours.scores, ours.margins, strict=True)])
    assert chances.mean() == pytest.approx(right.mean(), abs=UNKNOWN_SHARE)


def test_a_stretched_rate_lets_more_of_the_samples_pass_and_no_more_than_that() -> None:
    ours, theirs = samples(1, 400, 0.7, 1.0), samples(2, 400, 0.4, 0.0)
    plain, stretched = (calibrate(ours, theirs, 0.1, "held-out", stretch=stretch) for stretch in (1.0, 1.5))
    assert plain.false_accept_rate is not None and stretched.false_accept_rate is not None
    assert plain.false_accept_rate <= 0.1 < stretched.false_accept_rate <= 0.15
    assert stretched.target_false_accept_rate == 0.1


def test_the_number_of_references_counts_where_it_tells_something() -> None:
    """Products with many references are more often taken for others: the same score means less there."""
    random = np.random.default_rng(3)
    references = np.repeat([1.0, 32.0], 300)
    ours = Samples(random.normal(0.7, 0.1, 600), np.full(600, 0.1), references, np.ones(600, bool))
    theirs = Samples(random.normal(0.4 + 0.006 * references, 0.1), np.full(600, 0.1), references, np.zeros(600, bool))
    decision = calibrate(ours, theirs, 0.05, "held-out")
    assert decision.references_weight < 0
    assert decision.confidence(0.6, 0.1, 32) < decision.confidence(0.6, 0.1, 1)


def test_reliability_is_what_the_known_samples_show() -> None:
    ours = samples(1, 2000, 0.7, 0.8)
    decision = calibrate(ours, samples(2, 2000, 0.4, 0.0), 0.05, "held-out")
    assert sum(count for _, _, count in decision.reliability) == 2000
    right = sum(share * count for _, share, count in decision.reliability) / 2000
    assert right == pytest.approx(ours.right.mean())


@pytest.mark.parametrize(("known", "unknown"), [(0, 0), (MIN_SAMPLES - 1, 500), (500, MIN_SAMPLES - 1), (0, 500)])
def test_too_few_samples_give_a_default_that_says_so(known: int, unknown: int) -> None:
    decision = calibrate(samples(1, known, 0.7, 1.0), samples(2, unknown, 0.4, 0.0), 0.05, "leave-one-out")
    assert decision.method == "default" and (decision.known, decision.unknown) == (known, unknown)
    assert decision.false_accept_rate is None and decision.correct_accept_rate is None
    assert decision.confidence(0.8, 0.0) == 0.5 == decision.threshold
    assert decision.confidence(0.9, 0.0) > 0.9 and decision.confidence(0.7, 0.0) < 0.1


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_rates_that_are_none_are_refused(rate: float) -> None:
    with pytest.raises(BundleError, match="between 0 and 1"):
        calibrate(samples(1, 50, 0.7, 1.0), samples(2, 50, 0.4, 0.0), rate, "leave-one-out")


@fixed
@given(
    numbers=st.tuples(*[st.floats(-1e6, 1e6)] * 4),
    score=st.floats(-1, 1),
    margin=st.floats(-2, 2),
    references=st.integers(0, 4096),
)
def test_confidence_is_a_probability_that_grows_with_the_logit(
    numbers: tuple[float, float, float, float], score: float, margin: float, references: int
) -> None:
    decision = Decision("leave-one-out", *numbers, threshold=0.5, target_false_accept_rate=0.05)
    confidence = decision.confidence(score, margin, references)
    assert 0 <= confidence <= 1
    logit = numbers[0] + numbers[1] * score + numbers[2] * margin + numbers[3] * math.log2(max(1, references))
    assert (confidence >= 0.5) == (logit >= 0) or abs(logit) < 1e-9
    if abs(logit) < 30:
        assert confidence == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-9)


def test_a_decision_survives_the_manifest() -> None:
    decision = calibrate(samples(1, 50, 0.7, 0.9), samples(2, 50, 0.4, 0.0), 0.05, "leave-one-out")
    table = decision.confidences
    assert (
        table is not None and Confidences.from_dict(json.loads(json.dumps(table.to_dict(), allow_nan=False))) == table
    )
    read = Decision.from_dict(json.loads(json.dumps(decision.to_dict(), allow_nan=False)))
    assert read == replace(
        decision, confidences=None
    )  # they stand elsewhere: earlier versions know no such field of a decision
    for record in (
        {**decision.to_dict(), "mood": "good"},
        {"method": "default"},
        {**decision.to_dict(), "confidences": {}},
    ):
        with pytest.raises(BundleError, match="not one this version reads"):
            Decision.from_dict(record)


def test_a_table_cut_short_is_refused() -> None:
    table = calibrate(samples(1, 50, 0.7, 0.9), samples(2, 50, 0.4, 0.0), 0.05, "leave-one-out").confidences
    assert table is not None
    for broken in ({**table.to_dict(), "unknown": [0.5]}, {"unknown": []}, 5, {**table.to_dict(), "stretch": "x"}):
        with pytest.raises(BundleError, match="build the bundle again"):
            Confidences.from_dict(broken)


def test_the_best_reference_speaks_for_a_product() -> None:
    ids = np.array([5, 1, 7, 2, 6], np.uint32) << PHOTO_BITS
    ids[1] += 3
    ids[3] = (1 << PHOTO_BITS) + 9
    hits = best_products(ids, np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32))
    assert [product for product, _ in hits] == [5, 1, 7, 6]
    assert [score for _, score in hits] == pytest.approx([0.9, 0.8, 0.7, 0.5])
    assert best_products(ids[:0], np.empty(0, np.float32)) == []
    assert margin_of(0.9, 0.7) == pytest.approx(0.2) and margin_of(0.9, None) == 0.9
