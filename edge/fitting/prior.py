"""What a thousand other shops taught about match or unknown, and how much of it a shop's own photos change.

Beside an encoder's file may lie NAME.prior, a few kilobytes of JSON; encoders of others take `generic.prior`. `models/prior.py`
fits them on rendered, printed and real shops of 2 to 300 products. Every shop's decision comes from here, on one path:

- The weights of the features (score, lead over the next product, references, products, and after local matching what that says)
  are the prior's: a shop's own photos are too few, and too alike, to say more of them.
- What unknown queries come to, and so the threshold for each rate of false accepts, is the prior's guess moved towards the shop's
  own left-out products, the more the more of them there are (empirical Bayes: the weight of n queries is n / (n + STRENGTH)). A
  guess that they contradict outright gives way to them.
- What probability a sum of features stands for depends on what was held out, photos or views, and on how many of them were found.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import EncoderError
from ..metrics import logits
from ..records import read_record
from ..scoring.adapter import MAX_DIMENSION
from ..scoring.decision import LEVELS, Confidences, Decision, Method
from .calibration import Floats, Samples, confidences_of, quantiles_of, reliability_of

SUFFIX = ".prior"
STRENGTH = 30.0
"""So many of a shop's own queries say as much as the prior does."""
CONTRADICTED, FEWEST_TO_CONTRADICT = 0.5, 8
"""Where fewer of a shop's own left-out queries than this share of those that should be would be rejected, its goods are none that
the prior knows of, and the queries decide alone, if they are so many. Of 132 shops of rendered, printed and photographed goods that
befell one. Eight patterns in a few colours, which look alike to an encoder of packages, let 69 of 80 others pass without this, 24
with it (tests/edge/build/test_unfamiliar_goods.py)."""
EXACT = 10_000
"""As `Confidences.unknown_count`: the table is a curve through all rates, and no count of queries limits it."""
_LEAST = 1e-15
"""Of a probability before its log odds: a chart of unknown queries reaches far out."""
_LIMIT = 40.0
_KNOWN_LOG_ODDS, _KNOWN_FEW = 2.2, 5.0
"""Nine of ten held-out queries are found in a shop like any other; counted as so many queries more."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a shop: its products, whether photos are held out (else views are), the share of its photos that are packshots, and the
    adapter's shrinkage, None where the embedding is compared as it is."""

    products: int
    by_photo: bool
    packshots: float
    shrinkage: float | None


@dataclass(frozen=True, slots=True)
class Weights:
    """Of a logit. `score` and `lead` are in units of the spread of cosines (`Prior.spread_of`); `plain` is added, and `plain_score`
    to the weight of the score, where the embedding is compared as it is. The last two: after local matching."""

    intercept: float
    score: float
    lead: float
    references: float
    products: float
    plain: float
    plain_score: float
    local: float = 0.0
    local_lead: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Of the first search alone, or of local matching after it: `weights`; `thresholds` (R, 10), the coefficients of
    `_threshold_row`
    for each of `rates` of false accepts, ascending, with `centers` (R, 2); `chance` (6,): slope, intercept and coefficients of
    `_chance_row`, with UNKNOWN_SHARE of the queries unknown."""

    weights: Weights
    rates: tuple[float, ...]
    thresholds: tuple[tuple[float, ...], ...]
    centers: tuple[tuple[float, ...], ...]
    chance: tuple[float, ...]


AS_THEY_ARE: Final = (1.0, 0.0)
"""By what cosines are multiplied, and what is added, where the prior was fitted with the encoder itself."""


@dataclass(frozen=True, slots=True)
class Prior:
    """`name`: the encoder's, "generic" for others'; `shops`: how many it was fitted on. `spread` (4,): of cosines of unlike
    goods, as the encoder embeds them, and after an adapter the logarithm's intercept and slopes (log of the dimension, shrinkage).
    `background`: mean and standard deviation of
    the cosines of the pictures of `build.priors.likeness`; `cosines`: by what a plain cosine is multiplied, and what is added, to
    read it as one of that encoder."""

    name: str
    shops: int
    spread: tuple[float, ...]
    search: Stage
    local: Stage | None = None
    background: tuple[float, ...] = (0.0, 1.0)
    cosines: tuple[float, ...] = AS_THEY_ARE

    def moved(self, mean: float, deviation: float) -> Prior:
        """For another encoder, whose cosines of the pictures of `build.priors.likeness` have this mean and standard deviation:
        they are read as if they were those of the encoder that this was fitted for."""
        scale = self.background[1] / max(deviation, 1e-3)
        return replace(self, cosines=(scale, self.background[0] - scale * mean))

    def spread_of(self, facts: Facts) -> float:
        """By how much cosines of unlike goods differ: of products in few dimensions more than in many."""
        if facts.shrinkage is None:
            return self.spread[0]
        dimension = min(max(1, facts.products - 1), MAX_DIMENSION)
        return math.exp(self.spread[1] + self.spread[2] * math.log(dimension) + self.spread[3] * facts.shrinkage)

    def judge(self, stage: Literal["search", "local"], facts: Facts, known: Samples) -> Judge:
        """What decides in a shop; `known`: held-out queries of its products, any number of them."""
        chosen = self.search if stage == "search" or self.local is None else self.local
        weights, spread, plain = chosen.weights, self.spread_of(facts), float(facts.shrinkage is None)
        scale, shift = self.cosines if plain else (1.0, 0.0)
        score = (weights.score + weights.plain_score * plain) / spread
        intercept = weights.intercept + weights.products * math.log2(facts.products) + weights.plain * plain
        line = (
            intercept + score * shift,
            score * scale,
            weights.lead / spread * scale,
            weights.references,
            weights.local,
            weights.local_lead,
        )
        slope, base, *slopes = chosen.chance
        offset = base + float(_chance_row(facts, known.right) @ np.array(slopes))
        return Judge(chosen, facts, line, offset, slope, stage == "local", self.lone_rival(facts))

    def lone_rival(self, facts: Facts) -> float:
        """What the best of as many unlike products as the shop has would score: mean + deviation * sqrt(2 log P), which the
        largest of P
        normal numbers stays below (M. R. Leadbetter et al. 1983, "Extremes", section 1.5). A product that is alone leads over
        it."""
        if facts.shrinkage is None:
            scale, shift = self.cosines
            mean, deviation = (self.background[0] - shift) / scale, self.background[1] / scale
        else:
            mean, deviation = 0.0, 1 / math.sqrt(min(max(1, facts.products - 1), MAX_DIMENSION))
        return min(1.0, mean + deviation * math.sqrt(2 * math.log(facts.products)))

    def to_bytes(self) -> bytes:
        """The file."""
        record = asdict(self)
        if self.cosines == AS_THEY_ARE:
            del record["cosines"]
        return (json.dumps(record, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Prior:
        """What `to_bytes` wrote. Raises EncoderError."""
        try:
            record: Any = json.loads(data)
            stages = {key: None if record[key] is None else _stage(record[key], where) for key in ("search", "local")}
            pairs = {
                key: tuple(map(float, record[key])) for key in ("spread", "background", "cosines") if key in record
            }
            made = read_record(cls, {**record, **stages, **pairs}, where, EncoderError)
            if len(made.spread) != 4 or made.spread[0] <= 0 or len(made.background) != 2:
                raise ValueError(f"spread {made.spread}, background {made.background}")
            if len(made.cosines) != 2 or made.cosines[0] <= 0:
                raise ValueError(f"cosines {made.cosines}")
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(
                f"{where} is no prior that this version reads ({error}); install shelfmatch again"
            ) from error
        return made


@dataclass(frozen=True, slots=True)
class Judge:
    """A stage of the prior in one shop. `line`: intercept and weights of score, lead, log2(references), local and its lead; a
    probability's log odds are `offset` + `slope` * the line. `lone_rival`: as a `Decision` has it."""

    stage: Stage
    facts: Facts
    line: tuple[float, ...]
    offset: float
    slope: float
    of_parts: bool
    lone_rival: float

    def decision(self, rate: float, method: Method, known: Samples, unknown: Samples) -> Decision:
        """Match or unknown at a rate of false accepts, 0 to 1."""
        draft = self.draft(rate, method, len(known), len(unknown))
        return self.settle(draft, confidences_of(draft, known), known.right, confidences_of(draft, unknown))

    def draft(self, rate: float, method: Method, known: int, unknown: int) -> Decision:
        """The formula, its threshold yet to be set; from so many held-out queries."""
        intercept, score, lead, references, local, local_lead = (self.slope * weight for weight in self.line)
        return Decision(
            method if known and unknown else "prior",
            self.offset + intercept,
            score,
            lead,
            references,
            0.5,
            rate,
            known,
            unknown,
            local_weight=local if self.of_parts else None,
            local_lead_weight=local_lead if self.of_parts else 0.0,
            lone_rival=self.lone_rival,
        )

    def settle(self, draft: Decision, known: Floats, right: NDArray[np.bool_], unknown: Floats) -> Decision:
        """The draft with its threshold, from the confidences of known queries, which of them are right, and of unknown ones. Its
        rate of false accepts is what is expected there, that of right ones was measured on the known queries."""
        curve = self._curve(unknown)
        rate = draft.target_false_accept_rate
        threshold = min(1.0, math.nextafter(curve(rate), 2.0))
        table = tuple(float(f"{curve(1 - level):.7g}") for level in LEVELS)
        return replace(
            draft,
            threshold=threshold,
            false_accept_rate=1 - float(np.interp(threshold, table, LEVELS)),
            correct_accept_rate=float(((known >= threshold) & right).mean()) if len(known) else None,
            reliability=reliability_of(known, right),
            confidences=Confidences(
                table, EXACT, quantiles_of(known[right]), float(right.mean()) if len(right) else 0.0
            ),
        )

    def _curve(self, unknown: Floats) -> Any:
        """Rate of false accepts → the confidence that so many unknown queries reach, from those of the shop's own."""
        odds = (logits(unknown, _LEAST) - self.offset) / self.slope
        found = [
            float(_threshold_row(self.facts, odds, rate, center) @ np.array(row))
            for rate, center, row in zip(self.stage.rates, self.stage.centers, self.stage.thresholds, strict=True)
        ]
        if len(odds) >= FEWEST_TO_CONTRADICT:
            for place, rate in enumerate(self.stage.rates):
                if (odds < found[place]).mean() < CONTRADICTED * (1 - rate):
                    found[place] = float(np.quantile(odds, 1 - rate))
        falling = np.minimum.accumulate(found)  # a higher rate never has a higher threshold
        at = logits(np.array(self.stage.rates), _LEAST)

        def confidence(rate: float) -> float:
            place = float(logits(np.array(rate), _LEAST))
            inside = float(np.interp(place, at, falling))
            # Beyond the rates that were fitted the curve goes on as it ends.
            for end, next_to in ((0, 1), (-1, -2)):
                beyond = place - at[end]
                if (beyond < 0) == (end == 0) and beyond:
                    steep = (falling[end] - falling[next_to]) / (at[end] - at[next_to])
                    inside = float(falling[end] + min(0.0, steep) * beyond)
            return 1 / (1 + math.exp(-max(-_LIMIT, min(_LIMIT, self.offset + self.slope * inside))))

        return confidence


def threshold_rows(facts: Facts, odds: Floats, rates: tuple[float, ...], centers: Any) -> Floats:
    """(R, 10): what `thresholds` are multiplied with, for the (N,) log odds of a shop's left-out queries."""
    return np.stack([_threshold_row(facts, odds, rate, center) for rate, center in zip(rates, centers, strict=True)])


def _threshold_row(facts: Facts, odds: Floats, rate: float, center: Any) -> Floats:
    """1, the shop's own quantile and mean against what shops have, whether photos were held out, products, whether nothing was,
    and what packshots and views make of it."""
    many = math.log2(facts.products) / 4 - 1
    if not len(odds):
        return np.array([1, 0, 0, 0, many, 1, 0, 0, 0, 0], float)
    trust = len(odds) / (len(odds) + STRENGTH)
    own, mean = float(np.quantile(odds, 1 - rate)) - center[0], float(odds.mean()) - center[1]
    photo, shots = float(facts.by_photo) - 0.5, (0.0 if facts.by_photo else facts.packshots)
    return np.array(
        [
            1,
            trust * own,
            trust * mean,
            photo,
            many,
            0,
            trust * photo * own,
            shots,
            trust * shots * own,
            trust * max(own, 0),
        ]
    )


def _chance_row(facts: Facts, right: NDArray[np.bool_]) -> Floats:
    """Whether photos were held out, packshots' views, products, and how many of the held-out queries were found."""
    photo, shots = float(facts.by_photo) - 0.5, (0.0 if facts.by_photo else facts.packshots)
    count = len(right)
    share = (float(right.sum()) + 0.9 * _KNOWN_FEW) / (count + _KNOWN_FEW)
    found = count / (count + STRENGTH) * (math.log(share / (1 - share)) - _KNOWN_LOG_ODDS)
    return np.array([photo, shots, math.log2(facts.products) / 4 - 1, found])


chance_row = _chance_row


def _stage(record: Mapping[str, Any], where: str) -> Stage:
    weights = read_record(Weights, record["weights"], where, EncoderError)
    tables = {key: tuple(tuple(map(float, row)) for row in record[key]) for key in ("thresholds", "centers")}
    vectors = {key: tuple(map(float, record[key])) for key in ("rates", "chance")}
    stage = Stage(weights, vectors["rates"], tables["thresholds"], tables["centers"], vectors["chance"])
    sound = (
        set(record) == {field.name for field in fields(Stage)}
        and len(stage.rates) == len(stage.thresholds) == len(stage.centers) > 1
        and all(len(row) == 10 for row in stage.thresholds)
        and all(len(row) == 2 for row in stage.centers)
        and len(stage.chance) == 6
        and stage.chance[0] > 0
    )
    if not sound:
        raise ValueError("a stage lacks numbers")
    return stage


def prior_file(model: Path) -> Path:
    """Where an encoder file's prior is: beside it."""
    return model.with_name(model.name + SUFFIX)


def own_prior(model: Path) -> Prior | None:
    """The prior beside an encoder file, None where there is none. Raises EncoderError where it can't be read."""
    path = prior_file(model)
    try:
        return Prior.from_bytes(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EncoderError(f"{path} can't be read: {error}") from error


@functools.cache
def generic_prior() -> Prior:
    """For encoders without one of their own, once it is `moved` to them: what shelfmatch-cnn's shops taught."""
    data = resources.files(__package__).joinpath("generic" + SUFFIX).read_bytes()
    return Prior.from_bytes(data, "generic" + SUFFIX)
