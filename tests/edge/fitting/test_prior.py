"""The prior: every shop's decision, moved by the shop's own held-out queries, the more of them the more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderError
from shelfmatch.edge.build.priors import likeness, prior_for
from shelfmatch.edge.encoders.registry import find_encoders
from shelfmatch.edge.fitting.calibration import Samples, confidences_of, tuned
from shelfmatch.edge.fitting.prior import Facts, Prior, generic_prior, own_prior, prior_file

FACTS = Facts(products=40, by_photo=True, packshots=0.0, shrinkage=0.3)


def samples(scores: list[float], right: bool, lead: float = 0.3, local: float = 0.5) -> Samples:
    count = len(scores)
    values = np.array(scores, float)
    return Samples(
        values,
        np.full(count, lead),
        np.ones(count),
        np.full(count, right),
        np.full(count, local),
        np.full(count, local - 0.2),
    )


def unknown(level: float, count: int, seed: int = 0) -> Samples:
    """Of products that were left out: their scores, and small leads."""
    random = np.random.default_rng(seed)
    return samples((level + 0.1 * random.standard_normal(count)).tolist(), False, lead=0.05, local=0.2)


KNOWN = samples(np.linspace(0.6, 0.95, 200).tolist(), True)


def test_shops_of_nothing_have_a_threshold_too() -> None:
    """Two products, and nothing that could be held out: what other shops taught."""
    facts, none = Facts(2, False, 1.0, None), Samples.empty()
    decision = generic_prior().judge("search", facts, none).decision(0.05, "synthetic-views", none, none)
    assert decision.method == "prior" and 0.5 < decision.threshold < 1
    assert decision.false_accept_rate == pytest.approx(0.05, abs=0.001) and decision.correct_accept_rate is None
    assert decision.confidences is not None and len(decision.confidences.unknown) > 100
    assert tuned(decision, 0.2).threshold < decision.threshold < tuned(decision, 0.01).threshold
    assert decision.confidence(0.95, 0.5) > decision.threshold > decision.confidence(0.3, 0.02)


@pytest.mark.parametrize("stage", ["search", "local"])
def test_the_shops_own_unknown_queries_move_the_threshold(stage: str) -> None:
    """The more of them, the further; and to where they are."""
    judge = generic_prior().judge(stage, FACTS, KNOWN)  # type: ignore[arg-type]
    thresholds = {
        (level, count): judge.decision(0.05, "held-out", KNOWN, unknown(level, count)).threshold
        for level in (0.4, 0.75)
        for count in (6, 60, 600)
    }
    gaps = [thresholds[0.75, count] - thresholds[0.4, count] for count in (6, 60, 600)]
    assert 0 < gaps[0] < gaps[1] < gaps[2], thresholds


def test_a_shop_of_many_keeps_its_promise() -> None:
    """Whatever its unknown queries score: with 600 of them some 5 % of others like them are accepted."""
    for level in (0.35, 0.5, 0.65):
        judge = generic_prior().judge("search", FACTS, KNOWN)
        decision = judge.decision(0.05, "held-out", KNOWN, unknown(level, 600))
        rate = (confidences_of(decision, unknown(level, 600, seed=1)) >= decision.threshold).mean()
        assert rate < 0.15, (level, rate)


def test_a_prior_that_the_shop_contradicts_gives_way() -> None:
    """Goods that look alike to the encoder: all left-out products score where other shops' never do, and few of them do."""
    facts = Facts(products=8, by_photo=True, packshots=0.0, shrinkage=None)
    judge = generic_prior().judge("search", facts, KNOWN)
    for count, reached in ((60, 0.15), (8, 0.26), (7, 1.0)):
        alike = samples(np.linspace(0.94, 0.97, count).tolist(), False, lead=0.02)
        decision = judge.decision(0.05, "held-out", KNOWN, alike)
        passed = (confidences_of(decision, alike) >= decision.threshold).mean()
        assert passed <= reached, count
        assert tuned(decision, 0.01).threshold >= decision.threshold >= tuned(decision, 0.2).threshold
    assert passed > 0.5  # too few to contradict anybody


def test_thresholds_fall_with_the_rate_and_can_be_tuned() -> None:
    judge = generic_prior().judge("search", FACTS, KNOWN)
    decisions = [judge.decision(rate, "held-out", KNOWN, unknown(0.5, 200)) for rate in (0.001, 0.01, 0.05, 0.1, 0.5)]
    thresholds = [decision.threshold for decision in decisions]
    assert thresholds == sorted(thresholds, reverse=True) and len(set(thresholds)) == 5
    for decision in decisions[1:]:  # the table is a line between its levels
        again = tuned(decisions[2], decision.target_false_accept_rate)
        assert again.threshold == pytest.approx(decision.threshold, abs=0.002)


def test_local_matching_weighs_in() -> None:
    decision = generic_prior().judge("local", FACTS, KNOWN).decision(0.05, "held-out", KNOWN, unknown(0.5, 100))
    assert decision.local_weight is not None and decision.local_weight > 0 and decision.local_lead_weight > 0
    assert decision.confidence(0.6, 0.2, 1, 0.9, 0.6) > decision.confidence(0.6, 0.2, 1, 0.2, 0.0)
    assert generic_prior().judge("search", FACTS, KNOWN).decision(0.05, "held-out", KNOWN, KNOWN).local_weight is None


def test_a_file_is_what_was_written() -> None:
    prior = generic_prior()
    assert Prior.from_bytes(prior.to_bytes(), "x") == prior
    moved = prior.moved(0.2, 0.1)
    assert Prior.from_bytes(moved.to_bytes(), "x") == moved != prior


@pytest.mark.parametrize("harm", ["not JSON", "a field less", "a row less", "a wrong version", "cosines turned"])
def test_a_damaged_file_is_refused(tmp_path: Path, harm: str) -> None:
    record = json.loads(generic_prior().to_bytes())
    if harm == "a field less":
        del record["search"]["rates"]
    if harm == "a row less":
        record["search"]["thresholds"].pop()
    if harm == "cosines turned":
        record["cosines"] = [-1.0, 0.0]
    if harm == "a wrong version":
        record["more"] = 1
    file = prior_file(tmp_path / "some.tflite")
    file.write_text("{" if harm == "not JSON" else json.dumps(record))
    with pytest.raises(EncoderError, match=r"some\.tflite\.prior"):
        own_prior(tmp_path / "some.tflite")


def test_the_default_encoder_has_its_own() -> None:
    for runtime in ("litert", "onnx"):
        ((card, model),) = find_encoders("shelfmatch-cnn", None, runtime)
        prior = own_prior(model)
        assert prior is not None and prior.name == "shelfmatch-cnn" and prior.shops >= 300 and prior.local is not None
        assert prior_for(Encoder(card, model.read_bytes())) == prior


def test_others_read_their_cosines_as_its_own(tmp_path: Path, tiny_tflite: Path) -> None:
    """An encoder for which all goods are alike: a cosine of .8 says there what .5 says elsewhere."""
    assert own_prior(tmp_path / "theirs.onnx") is None
    generic = generic_prior()
    mean, deviation = generic.background
    moved = generic.moved(0.7, deviation / 2)
    facts, none = Facts(20, False, 0.0, None), Samples.empty()
    ours, theirs = (one.judge("search", facts, none).draft(0.05, "prior", 0, 0) for one in (generic, moved))
    assert theirs.confidence(0.7, 0.0) == pytest.approx(ours.confidence(mean, 0.0))
    assert theirs.confidence(0.7 + 0.1, 0.1) == pytest.approx(ours.confidence(mean + 0.2, 0.2))
    adapted = Facts(20, False, 0.0, 0.3)  # an adapter has centred them
    assert moved.judge("search", adapted, none).line == generic.judge("search", adapted, none).line
    encoder = Encoder.load(tiny_tflite)
    assert prior_for(encoder) == generic.moved(*likeness(encoder)) and 0 < likeness(encoder)[1] < 1
