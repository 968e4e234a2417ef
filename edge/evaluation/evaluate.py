"""How good a bundle is on labelled photos: recall, ranks, and what it does with products it doesn't sell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.source import read_rows
from ..errors import CatalogError, ImageError
from ..matching.matcher import Matcher
from ..matching.results import MatchResult
from ..metrics import ReliabilityBin, auroc, error_of, reliability, wilson

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..progress import Progress

MRR_DEPTH = 100
"""A right product below this place counts as not found in the mean reciprocal rank."""


@dataclass(frozen=True, slots=True)
class Query:
    """A labelled photo; `sku` is empty for a product the shop doesn't sell. `attributes` are the CSV's other columns."""

    path: Path
    label: str
    sku: str
    attributes: Mapping[str, str] = field(default_factory=dict, compare=False)


Answer = tuple[Query, MatchResult]


@dataclass(slots=True, kw_only=True)
class Rates:
    """Rates from 0 to 1; None where there was nothing to measure on. Recall is over the known queries, before rejection;
    known queries are accepted with the right SKU, accepted with another one (`wrong_accept_rate`), or rejected."""

    known: int
    unknown: int
    recall_at_1: float | None
    recall_at_5: float | None
    mrr: float | None
    auroc: float | None
    false_accept_rate: float | None
    correct_accept_rate: float | None
    wrong_accept_rate: float | None


@dataclass(slots=True, kw_only=True)
class GroupRates(Rates):
    """The rates of the queries that have this value of an attribute; None: of those that have none."""

    value: str | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """Two products that were mixed up at first place, before rejection: photos of `sku` taken for `other`, and the
    other way round; `sku` is the one that suffered more."""

    sku: str
    other: str
    taken_for_other: int
    other_taken_for: int

    @property
    def count(self) -> int:
        return self.taken_for_other + self.other_taken_for


@dataclass(slots=True, kw_only=True)
class Evaluation(Rates):
    """What `evaluate` measured; latencies in ms.

    The intervals are Wilson's at 95 %. `calibration_error` (15 bins, Guo et al. 2017) holds the confidence of each answer's
    best candidate against whether that is the product; for an unknown query it never is. `by`: attribute → rates by value,
    of the known queries' products, and of unknown queries where the CSV has such a column. `second_encoder_rate`: the share of
    queries at which both encoders of a bundle looked; None where it has one.
    """

    queries: int
    target_false_accept_rate: float
    false_accept_interval: tuple[float, float] | None
    correct_accept_interval: tuple[float, float] | None
    latency_ms: dict[str, float]
    stages_ms: dict[str, float]
    looked_again: float
    calibration_error: float | None
    reliability: list[ReliabilityBin]
    confusions: list[Confusion] = field(default_factory=list)
    by: dict[str, list[GroupRates]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list, repr=False)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    second_encoder_rate: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document of `eval --json`; "second_encoder_rate" only of bundles with two encoders."""
        return {
            "queries": self.queries,
            "recall_at_1": self.recall_at_1,
            "recall_at_5": self.recall_at_5,
            "mrr": self.mrr,
            "open_set": {
                "known": self.known,
                "unknown": self.unknown,
                "auroc": self.auroc,
                "false_accept_rate": self.false_accept_rate,
                "false_accept_interval": self.false_accept_interval,
                "correct_accept_rate": self.correct_accept_rate,
                "correct_accept_interval": self.correct_accept_interval,
                "wrong_accept_rate": self.wrong_accept_rate,
                "target_false_accept_rate": self.target_false_accept_rate,
            },
            "calibration": {"error": self.calibration_error, "bins": [row.to_dict() for row in self.reliability]},
            "confusions": [{**asdict(pair), "count": pair.count} for pair in self.confusions],
            "by": {attribute: [asdict(group) for group in groups] for attribute, groups in self.by.items()},
            "latency_ms": self.latency_ms,
            "stages_ms": self.stages_ms,
            "looked_again": self.looked_again,
            "unreadable": [{"image": label, "message": problem} for label, problem in self.unreadable],
            **({} if self.second_encoder_rate is None else {"second_encoder_rate": self.second_encoder_rate}),
        }

    def rows(self) -> list[tuple[str, str]]:
        """(what, figure), for people."""
        return [
            ("queries", f"{self.queries:,} ({self.known:,} of products the shop sells, {self.unknown:,} of others)"),
            ("recall@1, recall@5", f"{percent(self.recall_at_1)}, {percent(self.recall_at_5)}"),
            ("mean reciprocal rank", _decimal(self.mrr)),
            ("known: accepted and right", percent(self.correct_accept_rate) + _interval(self.correct_accept_interval)),
            ("known: accepted as another", percent(self.wrong_accept_rate)),
            (
                "unknown: accepted all the same",
                f"{percent(self.false_accept_rate)}{_interval(self.false_accept_interval)}, "
                f"target {100 * self.target_false_accept_rate:.3g}%",
            ),
            ("known against unknown, AUROC", _decimal(self.auroc)),
            ("calibration error of confidence", _decimal(self.calibration_error)),
            *(
                [("second encoder asked", percent(self.second_encoder_rate))]
                if self.second_encoder_rate is not None
                else []
            ),
            (
                "photo → product, p50 / p90 / p99",
                " / ".join(f"{value:.1f}" for value in self.latency_ms.values()) + " ms",
            ),
            ("stages, median", ", ".join(f"{stage} {value:.1f}" for stage, value in self.stages_ms.items()) + " ms"),
            ("photos looked at twice", percent(self.looked_again)),
        ]

    def table(self) -> str:
        """For people."""
        blocks = [_aligned(self.rows())]
        blocks += [f"\nby {attribute}\n{_aligned(group_rows(groups))}" for attribute, groups in self.by.items()]
        if self.confusions:
            pairs = [(f"{pair.sku} and {pair.other}", f"{pair.count}") for pair in self.confusions[:_SHOWN]]
            blocks.append(f"\nmixed up most often\n{_aligned(pairs)}")
        return "\n".join(blocks)


_SHOWN = 10


def group_rows(groups: Sequence[GroupRates]) -> list[tuple[str, ...]]:
    """A table for people, headed."""
    header = ("", "known", "recall@1", "right", "unknown", "accepted")
    return [
        header,
        *(
            (
                group.value if group.value is not None else "(none)",
                f"{group.known:,}",
                percent(group.recall_at_1),
                percent(group.correct_accept_rate),
                f"{group.unknown:,}",
                percent(group.false_accept_rate),
            )
            for group in groups
        ),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, two columns as they are, more of them to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 or len(row) == 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def percent(rate: float | None) -> str:
    """A rate for people."""
    return "–" if rate is None else f"{100 * rate:.1f} %"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f" ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def read_queries(path: str | os.PathLike[str]) -> list[Query]:
    """A CSV with the header image,sku; image paths are relative to it. Raises CatalogError."""
    csv_path = Path(path)
    queries = []
    for line, row in read_rows(csv_path, ("image", "sku")):
        if not row["image"]:
            raise CatalogError(f"{csv_path} line {line} names no image; expected a path relative to the CSV")
        attributes = {key: value for key, value in row.items() if key not in ("image", "sku") and value}
        queries.append(Query(csv_path.parent / row["image"], row["image"], row["sku"], attributes))
    if not queries:
        raise CatalogError(f"{csv_path} has a header and no rows; expected at least one query")
    return queries


def evaluate(
    matcher: Matcher,
    queries: str | os.PathLike[str] | Sequence[Query],
    *,
    by: Sequence[str] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Match every query and compare. `by`: attributes of the catalogue by whose values the rates are given as well.

    Raises CatalogError if a query names a SKU that the shop doesn't have, or no product has an attribute of `by`.
    """
    given = list(queries) if isinstance(queries, Sequence) and not isinstance(queries, str) else read_queries(queries)
    listed = [_as_catalogued(query, matcher.catalog) for query in given]
    by = (by,) if isinstance(by, str) else by
    _check_attributes(matcher, by)
    stream: Any = matcher.match_many([query.path for query in listed], top_k=MRR_DEPTH, workers=workers)
    if progress is not None:
        stream = progress(stream, len(listed))
    answers: list[Answer] = []
    unreadable = []
    for query, answer in zip(listed, stream, strict=True):
        if isinstance(answer, ImageError):
            unreadable.append((query.label, str(answer)))
        else:
            answers.append((query, answer))
    result = _measured(answers, float(matcher.bundle.manifest.decision.target_false_accept_rate))
    result.unreadable = unreadable
    result.by = {attribute: _rates_by(answers, _value_of(matcher, attribute)) for attribute in by}
    return result


def _as_catalogued(query: Query, catalog: Catalog) -> Query:
    """The query with its SKU as the catalogue spells it, which answers are compared with. Raises CatalogError."""
    if not query.sku:
        return query
    product_id = catalog.product_id(query.sku)
    if product_id is None:
        raise CatalogError(
            f"query {query.label} has the SKU {query.sku!r}, which the bundle doesn't; "
            "leave the SKU empty for products the shop doesn't sell"
        )
    sku = catalog.product(product_id).sku
    return query if sku == query.sku else replace(query, sku=sku)


def _check_attributes(matcher: Matcher, by: Sequence[str]) -> None:
    known = matcher.catalog.attribute_keys()
    unknown = [attribute for attribute in by if attribute not in known]
    if unknown:
        raise CatalogError(f"no product has the attribute {unknown[0]!r}; the catalogue has {', '.join(known)}")


_STAGES = ("decode", "preprocess", "encode", "search", "decide", "second_encoder", "look_again")
"""The medians of the last two are over the photos at which the second encoder looked, and that were looked at again."""


def _measured(answers: list[Answer], target: float) -> Evaluation:
    rates = _rates(answers)
    table = reliability(
        [answer.confidence for _, answer in answers],
        [bool(query.sku) and _first(answer) == query.sku for query, answer in answers],
    )
    totals = [answer.latency_ms["total"] for _, answer in answers]
    stages = {
        stage: [answer.latency_ms[stage] for _, answer in answers if stage in answer.latency_ms] for stage in _STAGES
    }
    return Evaluation(
        **asdict(rates),
        queries=len(answers),
        target_false_accept_rate=target,
        false_accept_interval=wilson(round((rates.false_accept_rate or 0) * rates.unknown), rates.unknown),
        correct_accept_interval=wilson(round((rates.correct_accept_rate or 0) * rates.known), rates.known),
        latency_ms={f"p{q}": float(np.percentile(totals, q)) if totals else 0.0 for q in (50, 90, 99)},
        stages_ms={stage: float(np.median(taken)) for stage, taken in stages.items() if taken},
        looked_again=len(stages["look_again"]) / len(answers) if answers else 0.0,
        calibration_error=error_of(table),
        reliability=table,
        confusions=confusions_of(answers),
        answers=answers,
        second_encoder_rate=_mean(
            np.array([answer.second_encoder for _, answer in answers if answer.second_encoder is not None])
        ),
    )


def _rates(answers: Sequence[Answer]) -> Rates:
    known = [(query, answer) for query, answer in answers if query.sku]
    unknown = [answer for query, answer in answers if not query.sku]
    ranks = np.array([_rank_of(query.sku, answer) for query, answer in known], float)
    return Rates(
        known=len(known),
        unknown=len(unknown),
        recall_at_1=_mean(ranks <= 1),
        recall_at_5=_mean(ranks <= 5),
        mrr=_mean(1 / ranks),
        auroc=auroc([a.confidence for _, a in known], [a.confidence for a in unknown]),
        false_accept_rate=_mean(np.array([a.sku is not None for a in unknown])),
        correct_accept_rate=_mean(np.array([answer.sku == query.sku for query, answer in known])),
        wrong_accept_rate=_mean(np.array([answer.sku not in (None, query.sku) for query, answer in known])),
    )


def _value_of(matcher: Matcher, attribute: str) -> Callable[[Query], str | None]:
    """A query's value of an attribute: its product's in the catalogue; of an unknown one, what the CSV says."""

    def value(query: Query) -> str | None:
        product_id = matcher.catalog.product_id(query.sku) if query.sku else None
        if product_id is None:
            return query.attributes.get(attribute) or None
        product = matcher.catalog.product(product_id)
        return {"sku": product.sku, "name": product.name, **product.attributes}.get(attribute) or None

    return value


def _rates_by(answers: Sequence[Answer], value_of: Callable[[Query], str | None]) -> list[GroupRates]:
    """By value, the ones with the most queries first; those without a value last."""
    groups: dict[str | None, list[Answer]] = {}
    for query, answer in answers:
        groups.setdefault(value_of(query), []).append((query, answer))
    order = sorted(groups, key=lambda value: (value is None, -len(groups[value]), value or ""))
    return [GroupRates(**asdict(_rates(groups[value])), value=value) for value in order]


def confusions_of(answers: Sequence[Answer]) -> list[Confusion]:
    """The pairs of products that were mixed up, most often first."""
    mistakes = Counter(
        (query.sku, first)
        for query, answer in answers
        if query.sku and (first := _first(answer)) is not None and first != query.sku
    )
    pairs = []
    for (sku, other), count in mistakes.items():
        back = mistakes.get((other, sku), 0)
        if (count, other) > (back, sku):  # each pair once, from the side that suffered more
            pairs.append(Confusion(sku, other, count, back))
    return sorted(pairs, key=lambda pair: (-pair.count, pair.sku, pair.other))


def _first(answer: MatchResult) -> str | None:
    return answer.candidates[0].sku if answer.candidates else None


def _rank_of(sku: str, answer: MatchResult) -> float:
    """1 for the best place, infinity where the product is not among the candidates."""
    for place, candidate in enumerate(answer.candidates, start=1):
        if candidate.sku == sku:
            return float(place)
    return float("inf")


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
