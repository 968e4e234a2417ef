"""What there is around a match, measured: labels for known and unknown products, similar products, filters, word search.

    python benchmarks/around.py
    python benchmarks/around.py --parts filters words --work /tmp/around

Labels: the coarse class (of 43 in classes.csv) of the Grocery Store Dataset's val photos, voted by a shop of its train
photos under MobileNetV1; for unknown products 16 of the 81 are left out of the shop, six draws. Confidence is fitted on the
shop's own photos. Filters and words: made-up shops, one thread.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import reporting
import shops
from numpy.typing import NDArray

DRAWS, LEFT_OUT = 6, 16
PARTS = ("labels", "similar", "filters", "words")
CATEGORIES = 50


def classes() -> dict[int, tuple[str, str]]:
    """Class number → (name, coarse class)."""
    with (shops.grocery_root() / "classes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {int(row["Class ID (int)"]): (row["Class Name (str)"], row["Coarse Class Name (str)"]) for row in rows}


class Grocery:
    """The train photos' embeddings, made once, and shops of all products or without some; `kind` is their coarse class."""

    def __init__(self, work: Path) -> None:
        from shelfmatch.edge.encoders.encoder import Encoder

        self._work = work
        self._encoder = Encoder.load(shops.model_file(shops.V1))
        self._photos = shops.grocery_photos("train")
        kept = work / "train.npy"
        if not kept.exists():
            np.save(kept, self._encoder.embed(*(photo.path for photo in self._photos)))
        self._vectors = np.load(kept)

    def shop(self, name: str, without: set[int]) -> Path:
        from shelfmatch.edge.build.build import write_bundle
        from shelfmatch.edge.catalog.product import Product

        table = classes()
        sold = [label for label in table if label not in without]
        products = [Product(f"{label:03d}", table[label][0], {"kind": table[label][1]}) for label in sold]
        rows = [row for row, photo in enumerate(self._photos) if photo.label not in without]
        owners = [sold.index(self._photos[row].label) for row in rows]
        bundle = self._work / f"{name}.bundle"
        write_bundle(bundle, self._encoder, products, owners, self._vectors[rows], adapt="off")
        return bundle


def draws() -> list[set[int]]:
    random = np.random.default_rng(0)
    return [set(random.choice(81, LEFT_OUT, replace=False).tolist()) for _ in range(DRAWS)]


def voted(bundle: Path, photos: list[shops.GroceryPhoto]) -> list[tuple[float, bool]]:
    """(confidence, right) of the label of each photo."""
    from shelfmatch.edge import Matcher, MatchResult

    table = classes()
    with Matcher.open(bundle, look_again=False) as matcher:
        answers = list(matcher.match_many([photo.path for photo in photos], labels=["kind"], workers=2))
    rows = []
    for photo, answer in zip(photos, answers, strict=True):
        assert isinstance(answer, MatchResult)
        label = answer.labels["kind"]
        assert label is not None
        rows.append((label.confidence, label.value == table[photo.label][1]))
    return rows


def measure_labels(report: reporting.Report, work: Path) -> None:
    from shelfmatch.edge.metrics import calibration_error

    val, grocery = shops.grocery_photos("val"), Grocery(work)
    groups = {"known": voted(grocery.shop("all", set()), val), "unknown": []}
    for number, without in enumerate(draws()):
        strangers = [photo for photo in val if photo.label in without]
        groups["unknown"] += voted(grocery.shop(f"draw{number}", without), strangers)
    rows = []
    for name, answers in groups.items():
        confidences, right = zip(*answers, strict=True)
        figures = {
            "photos": len(answers),
            "accuracy": float(np.mean(right)),
            "confidence": float(np.mean(confidences)),
            "ece": calibration_error(confidences, right),
        }
        report.results[f"labels, {name}"] = figures
        rows.append((name, len(answers), *(f"{figures[key]:.3f}" for key in ("accuracy", "confidence", "ece"))))
    known, unknown = groups["known"], groups["unknown"]
    repeated = known * max(1, round(len(unknown) / len(known)))
    both = [*repeated, *unknown]
    rows.append(("both alike", len(both), *_summary(both, calibration_error)))
    reporting.print_table("Coarse class of val photos", ("product is", "photos", "right", "confidence", "ECE"), rows)


def _summary(answers: list[tuple[float, bool]], ece: Callable[..., float]) -> tuple[str, str, str]:
    confidences, right = zip(*answers, strict=True)
    return f"{np.mean(right):.3f}", f"{np.mean(confidences):.3f}", f"{ece(confidences, right):.3f}"


def measure_similar(report: reporting.Report, work: Path) -> None:
    """How often the product found most similar is of the same kind, for the kinds that have two products or more."""
    from shelfmatch.edge import Matcher
    from shelfmatch.edge.catalog.ids import product_of

    with Matcher.open(Grocery(work).shop("all", set())) as matcher:
        products = dict(matcher.catalog.products())
        kinds = {product_id: product.attributes["kind"] for product_id, product in products.items()}
        shared = [p for p, kind in kinds.items() if list(kinds.values()).count(kind) > 1]
        vectors, owners = matcher.index.vectors(), product_of(matcher.index.ids)
        start = time.perf_counter()
        ours = [matcher.similar(products[p].sku, top_k=1)[0].product.attributes["kind"] == kinds[p] for p in shared]
        milliseconds = (time.perf_counter() - start) * 1e3 / len(shared)
    scores = vectors @ vectors.T
    rows_of = {p: np.flatnonzero(owners == p) for p in kinds}
    rows: list[tuple[object, ...]] = [("similar()", f"{np.mean(ours):.3f}", f"{milliseconds:.1f}")]
    report.results["similar"] = {"ours": float(np.mean(ours)), "ms": milliseconds}
    rules: dict[str, Callable[[NDArray[Any]], float]] = {
        "mean of bests": lambda pairs: float(pairs.max(axis=1).mean()),
        "best pair": lambda pairs: float(pairs.max()),
        "mean of all pairs": lambda pairs: float(pairs.mean()),
    }
    for name, rule in rules.items():
        nearest = [
            max((q for q in kinds if q != p), key=lambda q: rule(scores[np.ix_(rows_of[p], rows_of[q])]))
            for p in shared
        ]
        right = float(np.mean([kinds[q] == kinds[p] for p, q in zip(shared, nearest, strict=True)]))
        report.results["similar"][name] = right
        rows.append((name, f"{right:.3f}", "–"))
    reporting.print_table(
        f"First similar product of the same kind, {len(shared)} products", ("rule", "share", "ms"), rows
    )


def microseconds(call: Callable[[], object], repetitions: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


def made_up_catalog(path: Path, products: int) -> tuple[Any, float]:
    """A catalogue of invented names, a fiftieth of it of each category, and the seconds that finishing it took."""
    from shelfmatch.edge.catalog.catalog import Catalog
    from shelfmatch.edge.catalog.editor import CatalogEditor

    random = np.random.default_rng(0)
    syllables = ["da", "ra", "mel", "to", "vi", "ko", "lin", "ur", "sa", "be", "no", "fi", "gra", "pe", "zu"]
    words = ["".join(random.choice(syllables, random.integers(2, 5))) for _ in range(4000)]
    editor = CatalogEditor(path)
    for number in range(products):
        name = " ".join(random.choice(words, 4))
        attributes = {"name": name, "category": f"kind {number % CATEGORIES}", "brand": str(random.choice(words[:200]))}
        attributes["gtin"] = f"40{number:011d}"
        product_id = editor.put_product(f"TEA-{number:06d}", attributes)
        for photo in range(shops.VIEWS):
            editor.add_reference(product_id, f"{photo}.jpg", b"")
    start = time.perf_counter()
    editor.finish()
    return Catalog(path), time.perf_counter() - start


def measure_filters(report: reporting.Report, work: Path) -> None:
    """What a filter costs beside the search it narrows."""
    from shelfmatch.edge.catalog.ids import PHOTO_BITS
    from shelfmatch.edge.index.vector_index import VectorIndex

    rows = []
    for kind, products in (("exact", 500), ("exact", 10_000), ("hnsw", 2_500)):
        count = products * shops.VIEWS
        with tempfile.TemporaryDirectory(dir=work) as folder:
            catalog, _ = made_up_catalog(Path(folder) / "c.sqlite", products)
            vectors, queries = shops.clustered_vectors(count, 128, 64)
            ids = np.repeat(np.arange(products), shops.VIEWS) << PHOTO_BITS | np.tile(np.arange(shops.VIEWS), products)
            VectorIndex.build(vectors, ids, kind=kind).save(Path(folder) / "v")
            index = VectorIndex.load(Path(folder) / "v")

            def search(where: dict[str, str] | None, number: int = 0) -> object:
                keep = None if where is None else catalog.passing(index.ids, where)  # noqa: B023
                return index.search_groups(queries[number % 64], 5, bits=PHOTO_BITS, allowed=keep)  # noqa: B023

            plain = microseconds(lambda: search(None), 300)
            begin = time.perf_counter()
            search({"category": "kind 7"})
            first = (time.perf_counter() - begin) * 1e6
            kept = microseconds(lambda: search({"category": "kind 7"}), 300)
            rows.append((kind, f"{count:,}", f"{plain:.0f}", f"{first:.0f}", f"{kept:.0f}"))
            report.results[f"filter, {kind}, {count}"] = {"plain_us": plain, "first_us": first, "kept_us": kept}
            catalog.close()
    header = ("index", "references", "no filter, µs", "first, µs", "again, µs")
    reporting.print_table("A filter that a fiftieth passes, × 128, i8", header, rows)


def measure_words(report: reporting.Report, work: Path) -> None:
    """Search as one types."""
    rows = []
    for products in (10_000, 100_000):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            catalog, seconds = made_up_catalog(Path(folder) / "c.sqlite", products)
            size = (Path(folder) / "c.sqlite").stat().st_size
            typed = ("d", "dara", "dara mel", "tea 0042", "kind 7 tovi")
            times = [microseconds(partial(catalog.find, words, 10), 30) / 1e3 for words in typed]
            rows.append((f"{products:,}", f"{seconds:.1f}", f"{size / 1e6:.1f}", *(f"{value:.2f}" for value in times)))
            report.results[f"words, {products}"] = {"finish_s": seconds, "bytes": size, "ms": times}
            catalog.close()
    header = ("products", "finish, s", "file, MB", "d", "dara", "dara mel", "tea 0042", "kind 7 tovi")
    reporting.print_table("find, ms by what was typed", header, rows)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    report = reporting.Report.start("around")
    measures = {
        "labels": measure_labels,
        "similar": measure_similar,
        "filters": measure_filters,
        "words": measure_words,
    }
    with reporting.work_folder(arguments.work) as work:
        for part in arguments.parts:
            measures[part](report, work)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
