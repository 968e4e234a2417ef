"""Fit a prior of match or unknown on shops, and write NAME.prior.

    python models/prior.py SHOPS.pkl --name shelfmatch-cnn --encoder shelfmatch-cnn \\
        --out models/shelfmatch-cnn.tflite.prior models/shelfmatch-cnn.onnx.prior
    python models/prior.py SHOPS.pkl --name generic --encoder shelfmatch-cnn --out edge/fitting/generic.prior

    python models/prior.py SHOPS.pkl --name shelfmatch-cnn --encoder shelfmatch-cnn --before OLD.prior --out NEW.prior
    python models/prior.py --name shelfmatch-cnn --encoder models/shelfmatch-cnn.tflite.json --before OLD.prior --out NEW.prior

SHOPS.pkl: what `prior_shops.py` drew; several files are one set of shops. `--before`: a prior that was fitted on other shops
keeps its weights, and draws the new thresholds to its own, the less the more shops there are; without shops the encoder's cosines
are read as if they were of the encoder that it was fitted for (`Prior.moved`). Three fits, in each of which every
shop weighs alike: the weights of the features (logistic regression, UNKNOWN_FOR_RANKING of the queries unknown), for each rate of
false accepts the quantile of unknown queries given what the shop's own left-out ones came to (quantile regression: R. Koenker &
G. Bassett 1978, "Regression quantiles"), and what probability that stands for (Platt scaling with UNKNOWN_SHARE unknown).
"""

from __future__ import annotations

import argparse
import math
import pickle
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from shelfmatch.edge import Encoder
from shelfmatch.edge.build.priors import likeness
from shelfmatch.edge.files import write_atomic
from shelfmatch.edge.fitting.calibration import UNKNOWN_SHARE, Samples
from shelfmatch.edge.fitting.logistic import fit_logistic
from shelfmatch.edge.fitting.prior import AS_THEY_ARE, Prior, Stage, Weights, chance_row, threshold_rows
from shelfmatch.edge.metrics import auroc
from shelfmatch.models.prior_shops import Drawn

Floats = NDArray[np.float64]
Name = Literal["search", "local"]

UNKNOWN_FOR_RANKING: Final = 0.4
"""With so few as a probability needs (UNKNOWN_SHARE) the weights would tell right answers from wrong ones, and hardly unknown
queries from both: of shops never fitted to, 66 % of the right answers are accepted at 5 % false accepts with .4, 63 with .15."""
RATES: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_RIDGE: Final = 0.02
_SMOOTH: Final = 0.15
"""Of the pinball loss's kink, in log odds."""


class Table:
    """Samples of many shops in one: features (N, 8) in the order of `Weights` after the intercept, whether right (N,), unknown
    (N,), and each row's shop."""

    def __init__(
        self, shops: Sequence[Drawn], stage: Name, which: Literal["real", "held"], spread: tuple[float, ...]
    ) -> None:
        parts = []
        for number, shop in enumerate(shops):
            for is_unknown, samples in enumerate(getattr(shop, which)[stage]):
                if len(samples):
                    features = features_of(shop, samples, spread)
                    parts.append(
                        (
                            features,
                            samples.right,
                            np.full(len(samples), bool(is_unknown)),
                            np.full(len(samples), number),
                        )
                    )
        self.features, self.right, self.unknown, self.shop = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )

    def weights(self, unknown: float) -> Floats:
        """(N,): each shop alike, this share of it unknown queries; adding up to 1."""
        counts: defaultdict[tuple[Any, bool], float] = defaultdict(float)
        for key in zip(self.shop.tolist(), self.unknown.tolist(), strict=True):
            counts[key] += 1
        shares = {False: 1 - unknown, True: unknown}
        found = np.array(
            [shares[key[1]] / counts[key] for key in zip(self.shop.tolist(), self.unknown.tolist(), strict=True)]
        )
        result: Floats = found / found.sum()
        return result


def features_of(shop: Drawn, samples: Samples, spread: tuple[float, ...]) -> Floats:
    """(N, 8): what `Weights` multiplies."""
    plain = float(shop.facts.shrinkage is None)
    unit = Prior("", 0, spread, _NOTHING).spread_of(shop.facts)
    ones = np.ones(len(samples))
    return np.column_stack(
        [
            samples.scores / unit,
            samples.margins / unit,
            np.log2(np.maximum(samples.references, 1)),
            ones * math.log2(shop.facts.products),
            ones * plain,
            plain * samples.scores / unit,
            samples.local,
            samples.local_leads,
        ]
    )


_NOTHING = Stage(Weights(0, 0, 0, 0, 0, 0, 0), (), (), (), ())


def fit_spread(shops: Sequence[Drawn]) -> tuple[float, ...]:
    """`Prior.spread`: how cosines after an adapter shrink with the dimension and grow with the shrinkage, by the likelihood of
    the first search's formula. Units are any; as the encoder embeds them, it is 1."""

    def loss(slopes: Floats) -> float:
        table = Table(shops, "search", "real", (1.0, 0.0, *slopes.tolist()))
        weights = table.weights(UNKNOWN_FOR_RANKING)
        beta = fit_logistic(table.features[:, :6], table.right, weights)
        logits = np.clip(beta[0] + table.features[:, :6] @ beta[1:], -30, 30)
        return float((weights * np.logaddexp(0, np.where(table.right, -logits, logits))).sum())

    found = minimize(loss, np.array([-0.34, 0.25]), method="Nelder-Mead", options={"maxfev": 40, "xatol": 0.01})
    return (1.0, 0.0, *found.x.tolist())


def fit_stage(shops: Sequence[Drawn], name: Name, spread: tuple[float, ...], before: Stage | None = None) -> Stage:
    """The weights, the thresholds and the probability of one stage; `before`: of other shops, see `fit_prior`."""
    if before is None:
        table = Table(shops, name, "real", spread)
        columns = 6 if name == "search" else 8
        beta = fit_logistic(table.features[:, :columns], table.right, table.weights(UNKNOWN_FOR_RANKING))
        weights = Weights(*beta.tolist())
    else:
        weights = before.weights
    stage = Stage(weights, RATES, (), (), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    held = [logits_of(stage, shop, shop.held[name][1], spread) for shop in shops]
    real = [logits_of(stage, shop, shop.real[name][1], spread) for shop in shops]
    centers = (
        [
            (
                float(np.mean([np.quantile(one, 1 - rate) for one in held if len(one) > 4])),
                float(np.mean([one.mean() for one in held if len(one) > 4])),
            )
            for rate in RATES
        ]
        if before is None
        else before.centers
    )
    rows = np.stack([threshold_rows(shop.facts, own, RATES, centers) for shop, own in zip(shops, held, strict=True)])
    thresholds = [
        _quantile_regression(
            rows[:, place], real, 1 - rate, None if before is None else np.array(before.thresholds[place])
        )
        for place, rate in enumerate(RATES)
    ]
    return Stage(
        stage.weights,
        RATES,
        tuple(tuple(map(_short, row)) for row in thresholds),
        tuple(tuple(map(_short, row)) for row in centers),
        _chance(shops, name, stage, spread),
    )


def logits_of(stage: Stage, shop: Drawn, samples: Samples, spread: tuple[float, ...]) -> Floats:
    """(N,): the weighted sum of features."""
    weights = stage.weights
    numbers = [weights.score, weights.lead, weights.references, weights.products, weights.plain, weights.plain_score,
               weights.local, weights.local_lead]  # fmt: skip
    result: Floats = weights.intercept + features_of(shop, samples, spread) @ np.array(numbers)
    return result


def _quantile_regression(rows: Floats, values: Sequence[Floats], level: float, before: Floats | None = None) -> Floats:
    """(10,) coefficients under which `rows` (S, 10) times them is the `level` quantile of each shop's values; where the shops
    don't say, they are those `before`, else small."""
    used = [place for place, own in enumerate(values) if len(own) > 7]
    design = np.concatenate([np.repeat(rows[place][np.newaxis], len(values[place]), axis=0) for place in used])
    targets = np.concatenate([values[place] for place in used])
    weights = np.concatenate([np.full(len(values[place]), 1 / len(values[place])) for place in used])
    weights /= weights.sum()
    ridge = _RIDGE * min(level, 1 - level)
    free = np.arange(rows.shape[1]) > 0  # the first is the level itself
    center = np.zeros(rows.shape[1]) if before is None else before

    def loss(beta: Floats) -> tuple[float, Floats]:
        rest = targets - design @ beta
        soft = np.logaddexp(0, rest / _SMOOTH) * _SMOOTH - (1 - level) * rest
        slope = 1 / (1 + np.exp(-np.clip(rest / _SMOOTH, -50, 50))) - (1 - level)
        gradient = -(design * (weights * slope)[:, np.newaxis]).sum(axis=0)
        penalty = np.where(free, beta - center, 0.0)
        return float((weights * soft).sum() + ridge * (penalty @ penalty)), gradient + 2 * ridge * penalty

    start = center.copy()
    if before is None:
        start[0], start[1] = float(np.quantile(targets, level)), 0.5
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return found


def _chance(shops: Sequence[Drawn], name: Name, stage: Stage, spread: tuple[float, ...]) -> tuple[float, ...]:
    """Slope, intercept and coefficients of the probability."""
    table = Table(shops, name, "real", spread)
    columns = [
        np.column_stack(
            [
                logits_of(stage, shop, samples, spread),
                np.tile(chance_row(shop.facts, shop.held[name][0].right), (len(samples), 1)),
            ]
        )
        for shop in shops
        for samples in shop.real[name]
        if len(samples)
    ]
    beta = fit_logistic(np.concatenate(columns), table.right, table.weights(UNKNOWN_SHARE))
    return (_short(beta[1]), _short(beta[0]), *map(_short, beta[2:].tolist()))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def fit_prior(
    name: str, shops: Sequence[Drawn], background: tuple[float, ...] = (0.0, 1.0), before: Prior | None = None
) -> Prior:
    """The whole of it; `background` as `Prior` has it. `before`: fitted on other shops. Its weights stay, and what these
    shops say of thresholds and probabilities moves it."""
    spread = tuple(map(_short, fit_spread(shops))) if before is None else before.spread
    local = [shop for shop in shops if "local" in shop.real]
    search_before, local_before = (None, None) if before is None else (before.search, before.local)
    stages = {"search": _rounded(fit_stage(shops, "search", spread, search_before))}
    last = _rounded(fit_stage(local, "local", spread, local_before)) if local else None
    return Prior(name, len(shops), spread, stages["search"], last, background)


def _rounded(stage: Stage) -> Stage:
    numbers = {key: _short(getattr(stage.weights, key)) for key in Weights.__slots__}
    return Stage(Weights(**numbers), stage.rates, stage.thresholds, stage.centers, stage.chance)


def report(prior: Prior, shops: Sequence[Drawn], rate: float) -> list[tuple[str, ...]]:
    """By stage and kind of shop: how many, mean and highest rate of false accepts, right answers accepted, the best possible,
    AUROC, and the calibration error with UNKNOWN_SHARE unknown."""
    rows: list[tuple[str, ...]] = []
    for stage in ("search", "local"):
        found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for shop in shops:
            if stage not in shop.real or min(map(len, shop.real[stage])) < 10:
                continue
            figures = _figures(prior, shop, stage, rate)
            small = "up to 10 products" if shop.facts.products <= 10 else "more products"
            for key in (shop.kind, small, "all"):
                found[key].append(figures)
        for key in sorted(found):
            table = np.array(found[key])
            mean = table.mean(axis=0)
            rows.append((stage, key, f"{len(table)}", f"{mean[0]:.1%}", f"{table[:, 0].max():.0%}",
                         f"{mean[1]:.1%}", f"{mean[2]:.1%}",
                         f"{mean[1] / max(mean[2], 1e-9):.2f}", f"{mean[3]:.3f}"))  # fmt: skip
    return rows


def _figures(prior: Prior, shop: Drawn, stage: Name, rate: float) -> tuple[float, ...]:
    from shelfmatch.edge.fitting.calibration import confidences_of

    known, unknown = shop.real[stage]
    decision = prior.judge(stage, shop.facts, shop.held[stage][0]).decision(rate, "held-out", *shop.held[stage])
    sure, foreign = confidences_of(decision, known), confidences_of(decision, unknown)
    above = np.sort(foreign)[::-1]
    best = above[int(rate * len(above))]
    return (
        float((foreign >= decision.threshold).mean()),
        float(((sure >= decision.threshold) & known.right).mean()),
        float(((sure > best) & known.right).mean()),
        auroc(sure.tolist(), foreign.tolist()) or 0.0,
    )


def moved_to(before: Prior, background: tuple[float, ...]) -> Prior:
    """A prior whose rule stays as it is, for an encoder whose unlike goods have this mean and deviation of cosines."""
    scale, shift = before.moved(*background).cosines
    return replace(before, cosines=(_short(scale), _short(shift)))


def _write(prior: Prior, files: Sequence[Path]) -> None:
    for path in files:
        write_atomic(path, prior.to_bytes())


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Fit a prior on shops.")
    parser.add_argument("shops", type=Path, nargs="*")
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True)
    parser.add_argument("--encoder", help="whose shops they are, to read cosines of others by")
    parser.add_argument("--before", type=Path, help="a prior of other shops, to be moved by these")
    parser.add_argument("--rates", type=float, nargs="*", default=(0.01, 0.05, 0.1), help="to report")
    options = parser.parse_args()
    if not options.shops and (options.before is None or options.encoder is None):
        parser.error("without shops --before and --encoder say which prior is moved to which encoder")
    shops: list[Drawn] = [shop for file in options.shops for shop in pickle.loads(file.read_bytes())]
    before = None if options.before is None else Prior.from_bytes(options.before.read_bytes(), str(options.before))
    background = tuple(map(_short, likeness(Encoder.load(options.encoder)))) if options.encoder else (0.0, 1.0)
    if before is not None and not shops:
        prior = replace(moved_to(before, background), name=options.name)
        _write(prior, options.out)
        print(f"cosines are multiplied by {prior.cosines[0]:.3f}, and {prior.cosines[1]:+.3f} added")
        return
    if before is not None and before.cosines != AS_THEY_ARE:
        parser.error(f"{options.before} was moved to its encoder; with shops --before takes one that was fitted")
    folds: list[tuple[Prior, Any]] = []
    for fold in range(4):
        rest = [shop for number, shop in enumerate(shops) if number % 4 != fold]
        folds.append((fit_prior("fold", rest, before=before), shops[fold::4]))
    for rate in options.rates:
        print(f"asked for {rate:.0%}, shops of a quarter that had no part in the fit:")
        for fold, (prior, left_out) in enumerate(folds):
            for row in report(prior, left_out, rate) if fold == 0 else []:
                print("  ", *row)
    prior = fit_prior(options.name, shops, background, before)
    _write(prior, options.out)
    print(prior.spread, prior.search.weights, None if prior.local is None else prior.local.weights, sep="\n")


if __name__ == "__main__":
    main()
