"""How good a bundle is on labelled photos: recall, ranks, and what it does with products it doesn't sell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import CatalogError, ImageError
from .matcher import Matcher, MatchResult
from .source import read_rows

if TYPE_CHECKING:
    from .build import Progress

MRR_DEPTH = 100
"""A right product below this place counts as not found in the mean reciprocal rank."""


@dataclass(frozen=True, slots=True)
class Query:
    """A labelled photo; `sku` is empty for a product the shop doesn't sell."""

    path: Path
    label: str
    sku: str


@dataclass(slots=True)
class Evaluation:
    """Rates from 0 to 1, latencies in ms; None where there was nothing to measure on. Recall is over the known queries,
    before rejection; `correct_accept_rate` is the share of known queries accepted with the right SKU."""

    queries: int
    known: int
    unknown: int
    recall_at_1: float | None
    recall_at_5: float | None
    mrr: float | None
    auroc: float | None
    false_accept_rate: float | None
    correct_accept_rate: float | None
    target_false_accept_rate: float
    latency_ms: dict[str, float]
    stages_ms: dict[str, float]
    answers: list[tuple[Query, MatchResult]] = field(default_factory=list, repr=False)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of `eval --json`."""
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
                "correct_accept_rate": self.correct_accept_rate,
                "target_false_accept_rate": self.target_false_accept_rate,
            },
            "latency_ms": self.latency_ms,
            "stages_ms": self.stages_ms,
            "unreadable": [{"image": label, "message": problem} for label, problem in self.unreadable],
        }

    def table(self) -> str:
        """For people."""
        rows = [
            ("queries", f"{self.queries:,} ({self.known:,} of products the shop sells, {self.unknown:,} of others)"),
            ("recall@1, recall@5", f"{_percent(self.recall_at_1)}, {_percent(self.recall_at_5)}"),
            ("mean reciprocal rank", "–" if self.mrr is None else f"{self.mrr:.3f}"),
            ("known: accepted and right", _percent(self.correct_accept_rate)),
            (
                "unknown: accepted all the same",
                f"{_percent(self.false_accept_rate)} (target {self.target_false_accept_rate:.0%})",
            ),
            ("known against unknown, AUROC", "–" if self.auroc is None else f"{self.auroc:.3f}"),
            (
                "photo → product, p50 / p90 / p99",
                " / ".join(f"{value:.1f}" for value in self.latency_ms.values()) + " ms",
            ),
            ("stages, median", ", ".join(f"{stage} {value:.1f}" for stage, value in self.stages_ms.items()) + " ms"),
        ]
        width = max(len(title) for title, _ in rows)
        return "\n".join(f"{title:<{width}}  {value}" for title, value in rows)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"


def read_queries(path: str | os.PathLike[str]) -> list[Query]:
    """A CSV with the header image,sku; image paths are relative to it. Raises CatalogError."""
    csv_path = Path(path)
    queries = []
    for line, row in read_rows(csv_path, ("image", "sku")):
        if not row["image"]:
            raise CatalogError(f"{csv_path} line {line} names no image; expected a path relative to the CSV")
        queries.append(Query(csv_path.parent / row["image"], row["image"], row["sku"]))
    if not queries:
        raise CatalogError(f"{csv_path} has a header and no rows; expected at least one query")
    return queries


def evaluate(
    matcher: Matcher,
    queries: str | os.PathLike[str] | Sequence[Query],
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Match every query and compare. Raises CatalogError if a query names a SKU that the shop doesn't have."""
    listed = list(queries) if isinstance(queries, Sequence) and not isinstance(queries, str) else read_queries(queries)
    for query in listed:
        if query.sku and matcher.catalog.product_id(query.sku) is None:
            raise CatalogError(
                f"query {query.label} has the SKU {query.sku!r}, which the bundle doesn't; "
                "leave the SKU empty for products the shop doesn't sell"
            )
    stream: Any = matcher.match_many([query.path for query in listed], top_k=MRR_DEPTH, workers=workers)
    if progress is not None:
        stream = progress(stream, len(listed))
    answers: list[tuple[Query, MatchResult]] = []
    unreadable = []
    for query, answer in zip(listed, stream, strict=True):
        if isinstance(answer, ImageError):
            unreadable.append((query.label, str(answer)))
        else:
            answers.append((query, answer))
    known = [(query, answer) for query, answer in answers if query.sku]
    unknown = [answer for query, answer in answers if not query.sku]
    ranks = np.array([_rank_of(query.sku, answer) for query, answer in known], float)
    totals = [answer.latency_ms["total"] for _, answer in answers]
    stages = ("decode", "preprocess", "encode", "search")
    return Evaluation(
        queries=len(answers),
        known=len(known),
        unknown=len(unknown),
        recall_at_1=_mean(ranks <= 1),
        recall_at_5=_mean(ranks <= 5),
        mrr=_mean(1 / ranks),
        auroc=auroc([a.confidence for _, a in known], [a.confidence for a in unknown]),
        false_accept_rate=_mean(np.array([a.sku is not None for a in unknown])),
        correct_accept_rate=_mean(np.array([answer.sku == query.sku for query, answer in known])),
        target_false_accept_rate=float(matcher.bundle.manifest.decision["target_false_accept_rate"]),
        latency_ms={f"p{q}": float(np.percentile(totals, q)) if totals else 0.0 for q in (50, 90, 99)},
        stages_ms={s: float(np.median([a.latency_ms[s] for _, a in answers])) if answers else 0.0 for s in stages},
        answers=answers,
        unreadable=unreadable,
    )


def _rank_of(sku: str, answer: MatchResult) -> float:
    """1 for the best place, infinity where the product is not among the candidates."""
    for place, candidate in enumerate(answer.candidates, start=1):
        if candidate.sku == sku:
            return float(place)
    return float("inf")


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """The chance that a positive scores above a negative, ties counting half (Mann & Whitney 1947); None without either."""
    if not positives or not negatives:
        return None
    ordered = np.sort(np.asarray(negatives, float))
    values = np.asarray(positives, float)
    below = np.searchsorted(ordered, values, "left")
    up_to = np.searchsorted(ordered, values, "right")
    return float((below + up_to).mean() / (2 * len(ordered)))
