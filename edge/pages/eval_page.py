"""The page of `eval --report`: how good, how sure, and the photos that went wrong, to look at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.product import Reference
from ..catalog.source import read_source
from ..errors import ImageError
from ..evaluation.results import Answer, Confusion, Evaluation, group_rows, percent
from ..files import sha256_of, shown_name, write_atomic
from ..matching.results import MatchResult, sureness, surenesses
from ..terminal import titled
from . import charts, html

if TYPE_CHECKING:
    from ..matching.matcher import Matcher
    from ..progress import Progress

MOST_CELLS = 24
"""So many pictures of a kind: enough to see a pattern, and a page of a few megabytes."""


def write_eval_page(
    path: Path,
    evaluation: Evaluation,
    matcher: Matcher,
    *,
    photos: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write one self-contained HTML page. `matcher`: the one that was evaluated.

    A bundle holds no photos, so the catalogue's are shown where they are found: in `photos`, the folder or CSV that the bundle was
    built from, or else under their labels beside the bundle or the queries. A file counts only if it has the sha256 that was
    catalogued; where there is none, the page has the query and the names. Raises CatalogError if `photos` can't be read.
    """
    cells = _Cells(evaluation, matcher, _Photos(evaluation, matcher, photos))
    galleries = cells.galleries()
    total = sum(len(jobs) for _, _, _, jobs in galleries)
    drawn = (job() for _, _, _, jobs in galleries for job in jobs)
    stream = iter(progress(drawn, total) if progress is not None else drawn)
    body = _figures(evaluation, matcher)
    for heading, note, wide, jobs in galleries:
        visible = [next(stream) for _ in jobs]
        if visible:
            body += [f"<h2>{escape(heading)}</h2><p>{escape(note)}</p>", html.gallery(visible, wide=wide)]
    for _ in stream:  # lets a progress bar finish
        pass
    if evaluation.unreadable:
        body.append(html.section("Queries that can't be read", html.table(evaluation.unreadable)))
    write_atomic(path, html.page(f"{_name(matcher)} – eval", body))


def _name(matcher: Matcher) -> str:
    return shown_name(matcher.bundle.path.absolute().name)


def _figures(evaluation: Evaluation, matcher: Matcher) -> list[str]:
    """What there is to say without pictures of products."""
    known = [answer.confidence for query, answer in evaluation.answers if query.sku]
    unknown = [answer.confidence for query, answer in evaluation.answers if not query.sku]
    error = evaluation.calibration_error
    manifest = matcher.bundle.manifest
    body = [
        f"<h1>{escape(_name(matcher))}</h1><p>{evaluation.known:,} photos of its {manifest.products:,} products and "
        f"{evaluation.unknown:,} of products that are not in the catalogue. Encoder: {escape(manifest.encoder.name)}.</p>",
        html.figures(
            {
                "right at first place": percent(evaluation.recall_at_1),
                "right among five": percent(evaluation.recall_at_5),
                "accepted and right": percent(evaluation.correct_accept_rate),
                f"unknown, accepted all the same (target {100 * evaluation.target_false_accept_rate:.3g}%)": percent(
                    evaluation.false_accept_rate
                ),
                "right accepts, of the best possible": percent(evaluation.efficiency),
                "calibration error": "–" if error is None else f"{error:.3f}",
                "photo → product, median": f"{evaluation.latency_ms['p50']:.1f} ms",
            }
        ),
        html.section("All figures", html.table(evaluation.rows()), note="Intervals are Wilson's, at 95 %."),
        html.section(
            "How sure it is",
            charts.histogram(
                {"in the catalogue": known, "not in the catalogue": unknown},
                manifest.final_decision.threshold,
                "confidence",
            ),
            note="Left of the line the answer is “unknown”.",
        ),
        html.section(
            "Whether that is true",
            charts.reliability_plot(evaluation.reliability),
            note="Answers by how sure they are, against the share that is right, in 15 bins; the red lines are the error. "
            "A dot under the dashed line is too sure, one above it too modest.",
        ),
    ]
    if evaluation.risk_coverage:
        body.append(
            html.section(
                "What more or fewer answers would cost",
                charts.risk_curve(
                    [(point.coverage, point.risk, point.threshold) for point in evaluation.risk_coverage],
                    manifest.final_decision.threshold,
                ),
                note="To the right more of the photos get an answer; the curve says what share of these answers would be wrong: "
                "another product, or one that isn't in the catalogue. The dot is the bundle's own threshold.",
            )
        )
    for attribute, groups in evaluation.by.items():
        header, *rows = group_rows(groups)
        body.append(html.section(f"By {attribute}", html.grid(header, rows)))
    return body


class _Photos:
    """Files of catalogued photos, by what their bytes are."""

    def __init__(self, evaluation: Evaluation, matcher: Matcher, source: str | os.PathLike[str] | None) -> None:
        self._listed: dict[str, list[Path]] = {}
        self._folders: list[Path] = []
        self._hashes: dict[Path, bytes] = {}
        if source is not None:
            for photo in read_source(source).photos:
                self._listed.setdefault(photo.label, []).append(photo.path)
        else:
            queries = {query.path.parent for query, _ in evaluation.answers}
            self._folders = [matcher.bundle.path.absolute().parent, *sorted(queries)]

    def file(self, reference: Reference) -> Path | None:
        """Where a reference's photo is; None if it is not found, or not the same any more."""
        beside: list[Path] = [folder / reference.photo for folder in self._folders]
        for path in [*self._listed.get(reference.photo, []), *beside]:
            if path not in self._hashes:
                with contextlib.suppress(OSError):
                    self._hashes[path] = bytes.fromhex(sha256_of(path))
            if reference.photo_sha256 and self._hashes.get(path) == reference.photo_sha256:
                return path
        return None


_Jobs = Sequence[Callable[[], str]]


class _Cells:
    """What is shown of the answers, drawn one by one."""

    def __init__(self, evaluation: Evaluation, matcher: Matcher, photos: _Photos) -> None:
        self._evaluation = evaluation
        self._matcher = matcher
        self._photos = photos

    def galleries(self) -> list[tuple[str, str, bool, _Jobs]]:
        """(heading, note, whether wide, what draws each cell)."""
        answers = self._evaluation.answers
        accepted = [one for one in answers if not one[0].sku and one[1].sku is not None]
        rejected = [one for one in answers if one[0].sku and one[1].sku is None]
        pairs = self._evaluation.confusions
        return [
            (
                f"Mixed up most often ({len(pairs):,} pairs)",
                "At first place, accepted or not; of each pair the photo that was the surest mistake.",
                True,
                [lambda pair=pair: self._mixed_up(pair) for pair in pairs[:MOST_CELLS]],  # type: ignore[misc]
            ),
            (
                f"Not in the catalogue, accepted all the same ({len(accepted):,})",
                "The surest first.",
                False,
                [lambda one=one: self._accepted(one) for one in _surest(accepted)],  # type: ignore[misc]
            ),
            (
                f"In the catalogue, and rejected ({len(rejected):,})",
                "Those that came nearest to being accepted first.",
                True,
                [lambda one=one: self._rejected(one) for one in _surest(rejected)],  # type: ignore[misc]
            ),
        ]

    def _mixed_up(self, pair: Confusion) -> str:
        mistakes = [
            one
            for one in self._evaluation.answers
            if (one[0].sku, one[1].candidates[0].sku if one[1].candidates else "") == (pair.sku, pair.other)
        ]
        query, answer = _surest(mistakes)[0]
        back = f", {_times(pair.other_taken_for)} the other way round" if pair.other_taken_for else ""
        return html.shots(
            "bad" if answer.sku is not None else "open",
            [
                ("query", query.path, query.label),
                *self._shots(query.path, (pair.other, "taken for"), (pair.sku, "in truth")),
            ],
            f"{self._title(pair.sku)}, taken for {self._title(pair.other)}",
            f"{_times(pair.taken_for_other)}{back}; "
            f"here {_sure(answer)} sure, {'accepted' if answer.sku is not None else 'rejected'}",
        )

    def _accepted(self, one: Answer) -> str:
        query, answer = one
        sku = answer.candidates[0].sku
        return html.shots(
            "bad",
            [("query", query.path, query.label), *self._shots(query.path, (sku, "taken for"))],
            f"taken for {self._title(sku)}",
            f"{query.label}, {sureness(answer.confidence)} sure",
        )

    def _rejected(self, one: Answer) -> str:
        query, answer = one
        first = answer.candidates[0].sku if answer.candidates else query.sku
        nearest = [] if first == query.sku else [(first, "nearest")]
        return html.shots(
            "open",
            [("query", query.path, query.label), *self._shots(query.path, *nearest, (query.sku, "in truth"))],
            self._title(query.sku),
            f"{_sure(answer)} sure" + (f" of {self._title(first)}" if nearest else ", and it would have been right"),
        )

    def _title(self, sku: str) -> str:
        """A product's name; with its SKU where another product is called the same."""
        catalog = self._matcher.catalog
        product_id = catalog.product_id(sku)
        name = catalog.product(product_id).name if product_id is not None else ""
        return name if name and len(catalog.where({"name": name})) == 1 else titled(sku, name)

    def _shots(self, query: Path, *wanted: tuple[str, str]) -> list[tuple[str, Path | None, str]]:
        """For (SKU, tag): the product's photo most like the query, of those that are found."""
        shots: list[tuple[str, Path | None, str]] = []
        for sku, tag in wanted:
            found = None
            with contextlib.suppress(ImageError):
                files = map(self._photos.file, self._matcher.nearest_photos(query, sku))
                found = next(filter(None, files), None)
            shots.append((tag, found, self._title(sku)))
        return shots


def _surest(answers: Iterable[Answer]) -> list[Answer]:
    return sorted(answers, key=lambda one: -one[1].confidence)[:MOST_CELLS]


def _sure(answer: MatchResult) -> str:
    """How sure the best candidate is, rounded as `match` prints it."""
    said = surenesses(answer.candidates, answer.sku, answer.threshold)
    return said[0] if said else sureness(answer.confidence)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
