"""What an evaluation found: rates, groups, confusions; as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..catalog.listing import Finding
from ..matching.results import MatchResult
from ..metrics import ReliabilityBin
from .acceptance import RiskPoint


@dataclass(frozen=True, slots=True)
class Query:
    """A labelled photo; `sku` is empty for a product that is not in the catalogue. `attributes` are the CSV's other columns."""

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


@dataclass(frozen=True, slots=True)
class LocalEffect:
    """What local matching did: the share of queries that it was asked for (`asked`), and of the known ones how many it `mended`
    (wrong at first place without it, right with it) and how many it `spoiled`."""

    asked: float
    mended: int
    spoiled: int


@dataclass(slots=True, kw_only=True)
class Evaluation(Rates):
    """What `evaluate` measured; latencies in ms.

    The intervals are Wilson's at 95 %. `calibration_error` (15 bins, Guo et al. 2017) holds the confidence of each answer's
    best candidate against whether that is the product; for an unknown query it never is. `by`: attribute → rates by value,
    of the known queries' products, and of unknown queries where the CSV has such a column; `findings`: what was guessed about the
    CSV. `second_encoder_rate`: the share of queries at which both encoders of a bundle looked; None where it has one.
    `efficiency`: right answers accepted over the most that any threshold on the same confidences accepts with as many false
    accepts; None without queries of both kinds. `local`: None where the bundle has no local matching. `barcodes`: how many
    answers rest on a bar code, `located`: on a part of the photo that was found to be the product.
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
    findings: list[Finding] = field(default_factory=list)
    second_encoder_rate: float | None = None
    efficiency: float | None = None
    risk_coverage: list[RiskPoint] = field(default_factory=list)
    local: LocalEffect | None = None
    barcodes: int = 0
    located: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The document of `eval --json`; "local" only of bundles with local matching,
        "second_encoder_rate" of those with two encoders."""
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
                "efficiency": self.efficiency,
            },
            "risk_coverage": [point.to_dict() for point in self.risk_coverage],
            "calibration": {"error": self.calibration_error, "bins": [row.to_dict() for row in self.reliability]},
            "confusions": [{**asdict(pair), "count": pair.count} for pair in self.confusions],
            "by": {attribute: [asdict(group) for group in groups] for attribute, groups in self.by.items()},
            "latency_ms": self.latency_ms,
            "stages_ms": self.stages_ms,
            "looked_again": self.looked_again,
            "unreadable": [{"image": label, "message": problem} for label, problem in self.unreadable],
            "findings": [finding.to_dict() for finding in self.findings],
            "barcodes": self.barcodes,
            **({"located": self.located} if self.located else {}),
            **({} if self.local is None else {"local": asdict(self.local)}),
            **({} if self.second_encoder_rate is None else {"second_encoder_rate": self.second_encoder_rate}),
        }

    def rows(self) -> list[tuple[str, str]]:
        """(what, figure), for people."""
        return [
            ("queries", f"{self.queries:,} ({self.known:,} in the catalogue, {self.unknown:,} unknown)"),
            ("recall@1, recall@5", f"{percent(self.recall_at_1)}, {percent(self.recall_at_5)}"),
            ("mean reciprocal rank", _decimal(self.mrr)),
            ("known: accepted and right", percent(self.correct_accept_rate) + _interval(self.correct_accept_interval)),
            ("known: accepted as another", percent(self.wrong_accept_rate)),
            (
                "unknown: accepted all the same",
                f"{percent(self.false_accept_rate)}{_interval(self.false_accept_interval)}, "
                f"target {100 * self.target_false_accept_rate:.3g}%",
            ),
            ("right accepts, of the best possible", percent(self.efficiency)),
            ("known against unknown, AUROC", _decimal(self.auroc)),
            ("calibration error of confidence", _decimal(self.calibration_error)),
            *(
                [
                    (
                        "local matching asked",
                        f"{percent(self.local.asked)}; {self.local.mended:,} known queries put right, "
                        f"{self.local.spoiled:,} put wrong",
                    )
                ]
                if self.local is not None
                else []
            ),
            *([("answers by bar code", f"{self.barcodes:,}")] if self.barcodes else []),
            *([("answers to a part of the photo", f"{self.located:,}")] if self.located else []),
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
            ("photos with a look-again pass", percent(self.looked_again)),
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
