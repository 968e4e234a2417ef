"""The end-to-end demo on a rendered shop, offline: its bundle, and photos it has never seen."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .build.build import build_bundle
from .build.report import BuildReport
from .errors import CatalogError
from .evaluation.evaluate import evaluate
from .evaluation.results import Evaluation, Query
from .files import write_atomic
from .matching.matcher import Matcher
from .matching.results import MatchResult, shortfall, sureness
from .pages import charts, html
from .progress import Progress
from .synthetic.design import VARIANTS
from .synthetic.products import Product, make_shop, render_plain, render_view
from .terminal import size_text

PRODUCTS, SIBLINGS, PHOTOS, KNOWN_QUERIES, UNKNOWN_QUERIES = 60, 8, 4, 160, 40
CATALOGUE_DIFFICULTY, QUERY_DIFFICULTY = 0.35, 0.4
"""Catalogue photos are taken with care, queries by whoever stands before the kiosk (0 square on … 1 half hidden)."""

_MARK = "shelfmatch-demo"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured, and where its page is."""

    build: BuildReport
    evaluation: Evaluation
    page: Path
    bundle: Path

    def to_dict(self) -> dict[str, Any]:
        """The document of `demo --json`."""
        return {
            "build": self.build.to_dict(),
            "eval": self.evaluation.to_dict(),
            "page": str(self.page),
            "bundle": str(self.bundle),
        }

    def table(self) -> str:
        """For people."""
        return "\n".join(
            [
                f"shop        {self.build.products} rendered products, {self.build.references} photos, "
                f"{size_text(self.build.size_bytes)} bundle built in {self.build.seconds:.1f} s with {self.build.encoder}",
                self.evaluation.table(),
                f"pictures    {self.page}",
                f"try it      shelfmatch match {self.bundle} {self.page.parent / 'queries' / 'known-000.jpg'}",
            ]
        )


def run_demo(out: Path, *, seed: int = 0, progress: Callable[[str, str], Progress] | None = None) -> DemoResult:
    """Render, build, match, write `out`/index.html. Raises CatalogError if `out` holds somebody's files, ValueError for a seed
    outside 0 to 499."""
    bar: Callable[[str, str], Any] = progress or (lambda description, unit: lambda stream, total: stream)
    stocked = _mostly_distinct(make_shop(3 * PRODUCTS, seed=2 * seed))
    unknown = make_shop(UNKNOWN_QUERIES, seed=2 * seed + 1)
    _claim(out)
    catalogue = _write_catalogue(out, stocked, bar("render catalogue", "photo"))
    queries = _write_queries(out, stocked, unknown, bar("render queries", "photo"))
    bundle = out / "shop.bundle"
    built = build_bundle(catalogue, bundle, progress=bar("catalogue", "photo"))
    with Matcher.open(bundle) as matcher:
        evaluation = evaluate(matcher, queries, progress=bar("match", "photo"))
        names = {product.sku: product.name for product in [*stocked, *unknown]}
        page_path = out / "index.html"
        write_atomic(page_path, html.page("shelfmatch demo", _page_body(out, built, evaluation, matcher, names)))
    return DemoResult(built, evaluation, page_path, bundle)


def _mostly_distinct(products: Sequence[Product]) -> list[Product]:
    """PRODUCTS of them: one of each product line, and SIBLINGS more that differ from one of those in flavour and colour."""
    lines: dict[int, list[Product]] = {}
    for product in products:
        lines.setdefault(product.seed // VARIANTS, []).append(product)
    first = [line[0] for line in lines.values()]
    siblings = [line[1] for line in lines.values() if len(line) > 1]
    return [*first[: PRODUCTS - SIBLINGS], *siblings[:SIBLINGS]]


def _claim(out: Path) -> None:
    """Use an empty or new folder, or one of an earlier demo, which is cleared; it may be a link, or where the user stands."""
    folder = out.resolve()
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise CatalogError(f"{out} holds files that are no demo; choose another folder with --out")
        for child in list(folder.iterdir()):
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != _MARK:  # which says whose the folder is until all is gone
                child.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("made by shelfmatch demo; cleared by the next one\n")


def _write_catalogue(out: Path, stocked: Sequence[Product], progress: Any) -> Path:
    def jobs() -> Iterable[tuple[Product, int]]:
        return ((product, photo) for product in stocked for photo in range(PHOTOS))

    rows = []
    for product, photo in progress(jobs(), len(stocked) * PHOTOS):
        name = f"photos/{product.sku}/{photo}.jpg"
        plain = photo == 0
        image = render_plain(product) if plain else render_view(product, photo, difficulty=CATALOGUE_DIFFICULTY)
        _save(image, out / name)
        rows.append((name, product.sku, product.name, product.gtin, product.price, product.category, product.brand))
    path = out / "catalogue.csv"
    _write_csv(path, ("image", "sku", "name", "gtin", "price", "category", "brand"), rows)
    return path


def _write_queries(out: Path, stocked: Sequence[Product], unknown: Sequence[Product], progress: Any) -> list[Query]:
    jobs = [("known", number, stocked[number % len(stocked)]) for number in range(KNOWN_QUERIES)]
    jobs += [("unknown", number, unknown[number % len(unknown)]) for number in range(UNKNOWN_QUERIES)]
    queries = []
    for kind, number, product in progress(jobs, len(jobs)):
        name = f"queries/{kind}-{number:03d}.jpg"
        # Views 1 to 3 are in the catalogue.
        view = 100 + number
        _save(render_view(product, view, difficulty=QUERY_DIFFICULTY), out / name)
        queries.append(Query(out / name, name, product.sku if kind == "known" else ""))
    _write_csv(out / "queries.csv", ("image", "sku"), [(query.label, query.sku) for query in queries])
    return queries


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=90)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    write_atomic(path, text.getvalue().encode())


def _page_body(
    out: Path, built: BuildReport, evaluation: Evaluation, matcher: Matcher, names: dict[str, str]
) -> list[str]:
    known = [answer.confidence for query, answer in evaluation.answers if query.sku]
    unknown = [answer.confidence for query, answer in evaluation.answers if not query.sku]
    threshold = matcher.bundle.manifest.final_decision.threshold
    groups = _sorted_answers(evaluation)
    return [
        "<h1>shelfmatch demo</h1>",
        f"<p>{built.products} rendered products with {built.references} photos; {evaluation.known} photos of them that the shop "
        f"has never seen, and {evaluation.unknown} of products that are not in its catalogue. Encoder: {built.encoder}.</p>",
        html.figures(
            {
                "right at first place": _percent(evaluation.recall_at_1),
                "right among five": _percent(evaluation.recall_at_5),
                "accepted and right": _percent(evaluation.correct_accept_rate),
                "unknown, accepted all the same": _percent(evaluation.false_accept_rate),
                "photo → product, median": f"{evaluation.latency_ms['p50']:.1f} ms",
            }
        ),
        html.section(
            "Where the time goes",
            charts.bars({stage.replace("_", " "): taken for stage, taken in evaluation.stages_ms.items()}, "ms"),
            note="Median of each stage, from a JPEG on disk to the answer. "
            f"{_percent(evaluation.looked_again)} of the photos were not recognised at once and given a look-again pass.",
        ),
        html.section(
            "How sure it is",
            charts.histogram({"in the catalogue": known, "not in the catalogue": unknown}, threshold, "confidence"),
            note="Left of the line the answer is “unknown”. The line was set on the shop's own photos alone.",
        ),
        *(
            f"<h2>{heading}</h2>" + html.gallery(_cell(out, query, answer, matcher, names) for query, answer in chosen)
            for heading, chosen in groups
            if chosen
        ),
    ]


def _sorted_answers(evaluation: Evaluation) -> list[tuple[str, list[tuple[Query, MatchResult]]]]:
    right = [(q, a) for q, a in evaluation.answers if q.sku and a.sku == q.sku]
    wrong = [(q, a) for q, a in evaluation.answers if a.sku is not None and a.sku != q.sku]
    refused = [(q, a) for q, a in evaluation.answers if not q.sku and a.sku is None]
    missed = [(q, a) for q, a in evaluation.answers if q.sku and a.sku is None]
    return [
        (f"Recognised ({len(right)})", right[:16]),
        (f"Rightly unknown ({len(refused)})", refused[:12]),
        (f"In the catalogue, but not sure enough ({len(missed)})", missed[:12]),
        (f"Wrong ({len(wrong)})", wrong[:16]),
    ]


def _cell(out: Path, query: Query, answer: MatchResult, matcher: Matcher, names: dict[str, str]) -> str:
    best = answer.candidates[0]
    truth = names.get(query.sku, "") or "not in the catalogue"
    product_id = matcher.catalog.product_id(best.sku)
    photo = matcher.catalog.references(product_id)[0].photo if product_id is not None else ""
    right = answer.sku == (query.sku or None)
    kind = "good" if right else ("bad" if answer.sku is not None else "open")
    headline = best.name if answer.sku is not None else f"unknown (nearest: {best.name})"
    sure = (
        f"{sureness(best.confidence)} sure"
        if answer.sku is not None
        else shortfall(answer.confidence, answer.threshold)
    )
    detail = sure + ("" if right else f"; in truth: {truth}")
    return html.pair(kind, query.path, out / photo, headline, detail)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.3g} %"
