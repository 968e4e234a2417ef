"""The fit of the prior: on shops whose truth is known it keeps the promise, and the shipped files are what it writes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed: pip install 'shelfmatch[test]'")
pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.edge import Encoder
from shelfmatch.edge.build.priors import likeness
from shelfmatch.edge.fitting.calibration import Samples, confidences_of
from shelfmatch.edge.fitting.prior import Facts, Prior
from shelfmatch.models.prior import RATES, fit_prior
from shelfmatch.models.prior_shops import CAMERAS, KINDS, Drawn, Pool, family_of

pytestmark = pytest.mark.xdist_group("export")


def drawn(random: np.random.Generator) -> Drawn:
    """A shop of which right answers score and lead more than unknown queries, by how much being the shop's own secret."""
    products = int(np.exp(random.uniform(np.log(2), np.log(300))))
    harder, by_photo = float(random.normal(0, 0.06)), bool(random.random() < 0.5)
    shrinkage = None if random.random() < 0.3 else float(random.choice([0.1, 0.3, 0.6]))
    unit = 0.2 if shrinkage is None else 0.5 * max(2, products) ** -0.15

    def queried(count: int, known: bool, ease: float) -> Samples:
        level = (4.0 if known else 2.6 + 0.2 * np.log2(products)) + ease + (0 if known else harder * 5)
        scores = unit * (level + random.standard_normal(count) * 0.6)
        leads = unit * np.abs(random.normal(2.0 if known else 0.6, 0.6, count))
        right = np.full(count, known) & (random.random(count) < 0.95)
        local = np.clip(random.normal(0.8 if known else 0.4, 0.15, count), 0, 1)
        return Samples(scores, leads, np.ones(count), right, local, local - 0.35)

    seen = {"held": 0.5 * (not by_photo), "real": 0.0}
    both = {
        which: {stage: (queried(60, True, ease), queried(60, False, ease / 4)) for stage in ("search", "local")}
        for which, ease in seen.items()
    }
    if products < 3:
        both["held"] = {stage: (Samples.empty(), Samples.empty()) for stage in ("search", "local")}
    facts = Facts(products, by_photo, float(not by_photo), shrinkage)
    return Drawn(str(random.choice(list(KINDS))), facts, both["held"], both["real"])


@pytest.fixture(scope="module")
def shops() -> list[Drawn]:
    random = np.random.default_rng(18)
    return [drawn(random) for _ in range(160)]


def test_shops_that_had_no_part_in_the_fit_get_what_they_asked_for(shops: list[Drawn]) -> None:
    prior = fit_prior("some", shops[:100])
    assert Prior.from_bytes(prior.to_bytes(), "x") == prior and prior.search.rates == RATES
    for stage in ("search", "local"):
        for rate in (0.05, 0.2):
            found = []
            for shop in shops[100:]:
                judge = prior.judge(stage, shop.facts, shop.held[stage][0])  # type: ignore[arg-type]
                decision = judge.decision(rate, "held-out", *shop.held[stage])
                known, unknown = (confidences_of(decision, one) for one in shop.real[stage])
                found.append([(one >= decision.threshold).mean() for one in (unknown, known)])
            false, right = np.mean(found, axis=0)
            assert abs(false - rate) < 0.03 + rate / 10, (stage, rate, false)
            assert right > 0.3


def test_the_command_writes_what_it_fits(shops: list[Drawn], tmp_path: Path) -> None:
    (tmp_path / "shops.pkl").write_bytes(pickle.dumps(shops[:40]))
    script = Path(__file__).resolve().parents[2] / "models" / "prior.py"
    command = [
        sys.executable,
        script,
        tmp_path / "shops.pkl",
        "--name",
        "some",
        "--out",
        tmp_path / "a.prior",
        "--rates",
        "0.05",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "search all" in " ".join(done.stdout.split()) and "asked for 5%" in done.stdout
    assert Prior.from_bytes((tmp_path / "a.prior").read_bytes(), "x") == fit_prior("some", shops[:40])


def test_the_command_moves_a_prior_to_another_encoder(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    before = root / "models" / "shelfmatch-cnn.tflite.prior"
    card = root / "models" / "shelfmatch-nano.tflite.json"
    words = ["--name", "small", "--encoder", card, "--before", before, "--out", tmp_path / "a.prior"]
    command = [sys.executable, root / "models" / "prior.py", *map(str, words)]
    subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    old = Prior.from_bytes(before.read_bytes(), "x")
    found = Prior.from_bytes((tmp_path / "a.prior").read_bytes(), "x")
    assert replace(found, name=old.name, cosines=old.cosines) == old
    mean, deviation = likeness(Encoder.load(card))
    scale, shift = found.cosines
    read = (scale * mean + shift, scale * deviation)
    assert read == pytest.approx(old.background, abs=1e-3) and found.cosines != old.cosines
    done = subprocess.run([*command[:2], *command[2:6], "--out", "b"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--before and --encoder" in done.stderr


@pytest.mark.slow
def test_an_earlier_prior_draws_few_shops_to_itself_and_many_move_it(shops: list[Drawn]) -> None:
    """Its weights stay; thresholds of eight shops alone are mere chance."""
    before = fit_prior("some", shops[:100])

    def off(prior: Prior) -> float:
        """How far from the asked-for rate shops are that had no part in it."""
        found = []
        for shop in shops[108:]:
            decision = prior.judge("search", shop.facts, shop.held["search"][0]).decision(
                0.05, "held-out", *shop.held["search"]
            )
            found.append((confidences_of(decision, shop.real["search"][1]) >= decision.threshold).mean())
        return float(np.abs(np.array(found) - 0.05).mean())

    few = fit_prior("some", shops[100:108], before=before)
    assert few.search.weights == before.search.weights
    assert few.spread == before.spread
    assert off(few) < off(fit_prior("some", shops[100:108]))

    def asked_of_all(prior: Prior) -> float:
        return prior.search.thresholds[RATES.index(0.05)][0]

    # Shops whose unknown queries score higher than any before.
    harder = [
        replace(
            shop,
            real={
                stage: (known, replace(unknown, scores=unknown.scores * 1.3))
                for stage, (known, unknown) in shop.real.items()
            },
        )
        for shop in shops[:60]
    ]
    assert asked_of_all(fit_prior("some", harder, before=before)) > asked_of_all(before) + 0.2


def test_a_shops_queries_are_of_one_camera() -> None:
    """Places of rendered goods are in the order of their difficulty: a shop's lie in one window, catalogue pictures apart."""
    pool = Pool.__new__(Pool)
    products, places = np.repeat([f"r{number:02d}" for number in range(40)], 5), np.tile(np.arange(5), 40)
    pool.arrays = {"kinds": np.full(200, "rendered"), "products": products, "places": places}
    seen = set()
    for seed in range(30):
        catalogue, known, unknown = pool.draw(np.random.default_rng(seed), "rendered", 12, 1)
        asked = tuple(sorted(set(places[np.concatenate([known, unknown])].tolist())))
        assert asked in CAMERAS
        assert all(places[rows].tolist() == [0] for rows in catalogue)
        seen.add(asked)
    assert seen == set(CAMERAS)


def test_product_lines_leave_a_shop_together_or_not() -> None:
    """In half of the shops unknown products have no variant in the catalogue, but for the line that is cut to the count."""
    assert [family_of(name) for name in ("80-0", "80-3", "BRE-17", "BRE-23", "box7")] == [
        "80",
        "80",
        "BRE-2",
        "BRE-2",
        "box7",
    ]
    pool = Pool.__new__(Pool)
    names = np.array([f"{line}-{variant}" for line in range(20) for variant in range(4)])
    pool.arrays = {
        "kinds": np.full(400, "printed"),
        "products": np.repeat(names, 5),
        "places": np.tile(np.arange(5), 80),
    }
    torn = []
    for seed in range(40):
        catalogue, _, unknown = pool.draw(np.random.default_rng(seed), "printed", 30, 1)
        assert len(catalogue) == 30
        known = {family_of(pool.arrays["products"][rows[0]]) for rows in catalogue}
        lacking = {family_of(name) for name in pool.arrays["products"][unknown].tolist()}
        torn.append(len(known & lacking))
    assert 10 <= sum(count <= 1 for count in torn) <= 30
    assert max(torn) > 8
