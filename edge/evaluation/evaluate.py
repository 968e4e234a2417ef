"""How good a bundle is on labelled photos: recall, ranks, and what it does with unknown queries."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..catalog.csv_photos import Places
from ..catalog.listing import Finding
from ..catalog.photo_folder import photos_in
from ..catalog.tables import read_table, wrong_lines
from ..errors import CatalogError, ImageError
from ..matching.matcher import Matcher
from ..matching.results import STAGES, MatchResult
from ..metrics import auroc, error_of, reliability, wilson
from .acceptance import efficiency, risk_coverage
from .results import Answer, Confusion, Evaluation, GroupRates, LocalEffect, Query, Rates

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..progress import Progress

MRR_DEPTH = 100
"""A right product below this place counts as not found in the mean reciprocal rank."""


UNKNOWN_FOLDER = "unknown"
"""In a folder of queries: where the photos of products lie that are not in the catalogue."""


def read_queries(path: str | os.PathLike[str], catalog: Catalog | None = None) -> list[Query]:
    """A CSV with the header image,sku; image paths are relative to it. Or a folder of folders named by SKU, or "unknown".

    Of nested folders the SKU is the lowest one's name, or its path, that `catalog` has; without one the name of the folder that
    holds the photo. Raises CatalogError; ImageError for a folder without photos.
    """
    return queries_and_findings(path, catalog)[0]


def queries_and_findings(
    path: str | os.PathLike[str], catalog: Catalog | None = None, columns: Mapping[str, str] | None = None
) -> tuple[list[Query], list[Finding]]:
    """As `read_queries`, and what was guessed about a CSV. `columns`: our name → the CSV's, where they are unusual."""
    arguments.path_of("queries", path, "queries.csv")
    arguments.columns(columns)
    csv_path = Path(path)
    if not csv_path.exists():
        raise CatalogError(
            f"{path} does not exist; expected a folder of folders named by SKU, or a CSV with the header image,sku"
        )
    if csv_path.is_dir():
        if columns:
            raise CatalogError(f"--columns arrived with the folder {path}; expected a CSV, whose columns it names")
        return [_query_in(csv_path, Path(photo), catalog) for photo in photos_in(csv_path)], []
    table = read_table(csv_path, ("image", "sku"), columns)
    if table.bad:
        raise CatalogError(wrong_lines(csv_path, table.bad))
    queries, places = [], Places(csv_path.parent)
    for line, row in table.rows:
        if not row["image"]:
            raise CatalogError(f"{csv_path} line {line} names no image; expected a path relative to the CSV")
        attributes = {key: value for key, value in row.items() if key not in ("image", "sku") and value}
        queries.append(Query(csv_path.parent / places.found(row["image"]), row["image"], row["sku"], attributes))
    if not queries:
        raise CatalogError(f"{csv_path} has a header and no rows; expected at least one query")
    guessed = [Finding("guessed", f"{csv_path.name}: {guess}") for guess in table.guessed]
    return queries, [*guessed, *places.findings()]


def _query_in(root: Path, photo: Path, catalog: Catalog | None) -> Query:
    folders = photo.relative_to(root).parts[:-1]
    label = photo.relative_to(root).as_posix()
    if not folders:
        raise CatalogError(
            f"{photo} lies beside the folders; expected {root.name}/SKU/photo.jpg, or {root.name}/{UNKNOWN_FOLDER}/photo.jpg for "
            "what is not in the catalogue; or name a CSV with the header image,sku"
        )
    if catalog is None:
        return Query(photo, label, "" if folders[-1] == UNKNOWN_FOLDER else folders[-1])
    sku = sku_in(folders, catalog)
    if sku is not None:
        return Query(photo, label, sku)
    if UNKNOWN_FOLDER in folders:
        return Query(photo, label, "")
    raise CatalogError(
        f"the folder of {label} is named {folders[-1]!r}, which the bundle doesn't have as a SKU; rename it, or put it into a "
        f"folder named {UNKNOWN_FOLDER} if the product is not in the catalogue"
    )


def sku_in(folders: Sequence[str], catalog: Catalog) -> str | None:
    """The SKU that the folders around a photo say, from the outside in: the lowest one's path or name that the catalogue has. Its
    path first, as folders of one name have their paths as SKUs (`catalog.folders`)."""
    for end in range(len(folders), 0, -1):
        for start in range(end):
            name = "/".join(folders[start:end])
            if catalog.product_id(name) is not None:
                return name
    return None


def evaluate(
    matcher: Matcher,
    queries: str | os.PathLike[str] | Sequence[Query],
    *,
    by: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Match every query and compare. `by`: attributes of the catalogue by whose values the rates are given as well; `columns`: our
    name → the CSV's, of a CSV with unusual ones.

    Raises CatalogError if a query names a SKU that the shop doesn't have, or no product has an attribute of `by`; BundleError for
    what is no open matcher.
    """
    arguments.matcher(matcher)
    by = tuple(arguments.texts("by", (by,) if isinstance(by, str) else by, "category"))
    findings: list[Finding] = []
    if isinstance(queries, Sequence) and not isinstance(queries, str):
        arguments.queries(queries)
        given = list(queries)
    else:
        given, findings = queries_and_findings(queries, matcher.catalog, columns)
    listed = [_as_catalogued(query, matcher.catalog) for query in given]
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
    result = _measured(answers, float(matcher.bundle.manifest.final_decision.target_false_accept_rate))
    result.unreadable, result.findings = unreadable, findings
    if matcher.has_local:
        result.local = _local_effect(answers)
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
            "leave the SKU empty for products that are not in the catalogue"
        )
    sku = catalog.product(product_id).sku
    return query if sku == query.sku else replace(query, sku=sku)


def _check_attributes(matcher: Matcher, by: Sequence[str]) -> None:
    known = matcher.catalog.attribute_keys()
    unknown = [attribute for attribute in by if attribute not in known]
    if unknown:
        raise CatalogError(f"no product has the attribute {unknown[0]!r}; the catalogue has {', '.join(known)}")


def _measured(answers: list[Answer], target: float) -> Evaluation:
    rates = _rates(answers)
    confidences = [answer.confidence for _, answer in answers]
    right = [bool(query.sku) and _first(answer) == query.sku for query, answer in answers]
    table = reliability(confidences, right)
    totals = [answer.latency_ms["total"] for _, answer in answers]
    stages = {
        stage: [answer.latency_ms[stage] for _, answer in answers if stage in answer.latency_ms] for stage in STAGES
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
        efficiency=_efficiency(answers),
        risk_coverage=risk_coverage(confidences, right),
        barcodes=sum(answer.decided_by == "barcode" for _, answer in answers),
        located=sum(answer.located is not None for _, answer in answers),
    )


def _efficiency(answers: Sequence[Answer]) -> float | None:
    known = [(query.sku, answer) for query, answer in answers if query.sku]
    unknown = [answer for query, answer in answers if not query.sku]
    return efficiency(
        [answer.confidence for _, answer in known],
        [_first(answer) == sku for sku, answer in known],
        [answer.sku is not None for _, answer in known],
        [answer.confidence for answer in unknown],
        sum(answer.sku is not None for answer in unknown),
    )


def _local_effect(answers: Sequence[Answer]) -> LocalEffect:
    """What became of the queries that local matching was asked for."""
    compared = [(query.sku, answer) for query, answer in answers if answer.before_local is not None]
    known = [(sku, answer) for sku, answer in compared if sku]
    return LocalEffect(
        len(compared) / max(1, len(answers)),
        sum(answer.before_local != sku and _first(answer) == sku for sku, answer in known),
        sum(answer.before_local == sku and _first(answer) != sku for sku, answer in known),
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
