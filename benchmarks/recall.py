"""Recall of our bundle against the independent numpy script, on the same photos and the same encoder.

    python benchmarks/recall.py
    python benchmarks/recall.py --encoders v1 v2 --vectors i8 f32 --json recall.json

Catalogue: all train photos of the Grocery Store Dataset, through build_bundle from a CSV. Queries: its val photos.
recall@1 is over the best candidate before rejection, as in `shelfmatch eval`. The bar: within 0.3 points of the
script (one query is 0.34).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import reporting
import shops

BAR_POINTS = 0.3


def numpy_answers(model: Path, work: Path) -> dict[str, Any]:
    """What recall_numpy.py finds, run as the script it is."""
    target = work / "recall-numpy.json"
    script = Path(__file__).resolve().parent / "recall_numpy.py"
    subprocess.run(
        [sys.executable, str(script), str(shops.grocery_root()), str(model), "--json", str(target)], check=True
    )
    found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return found


def our_answers(model: Path, vectors: Literal["i8", "f16", "f32"], threads: int, work: Path) -> dict[str, Any]:
    """Build a bundle from the train photos and ask it for the val photos."""
    from shelfmatch.edge import Matcher, MatchResult, build_bundle

    source = shops.write_csv(work / "train.csv", shops.grocery_photos("train"))
    bundle = work / f"recall-{model.stem}-{vectors}.bundle"
    start = time.perf_counter()
    # The plain embedding and one look a photo, as the script has them.
    build_bundle(source, bundle, encoder=model, vectors=vectors, workers=threads, adapt="off")
    built = time.perf_counter()
    queries = shops.grocery_photos("val")
    with Matcher.open(bundle, threads=1, look_again=False) as matcher:
        results = list(matcher.match_many([photo.path for photo in queries], top_k=5, workers=threads))
    ranked = [
        [candidate.sku for candidate in result.candidates] for result in results if isinstance(result, MatchResult)
    ]
    wanted = [f"{photo.label:03d}" for photo in queries]
    return {
        "recall_at_1": sum(skus[0] == sku for skus, sku in zip(ranked, wanted, strict=True)) / len(wanted),
        "recall_at_5": sum(sku in skus for skus, sku in zip(ranked, wanted, strict=True)) / len(wanted),
        "answers": [int(skus[0]) for skus in ranked],
        "build_s": built - start,
        "match_s": time.perf_counter() - built,
    }


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=("v1", "v2"), default=["v1"])
    parser.add_argument("--vectors", nargs="+", choices=("i8", "f16", "f32"), default=["i8"])
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="photos embedded at a time by ours")
    arguments: argparse.Namespace = parser.parse_args()
    report = reporting.Report.start("recall", threads=arguments.threads)
    rows: list[tuple[object, ...]] = []
    with reporting.work_folder(arguments.work) as work:
        for name in arguments.encoders:
            model = shops.model_file(shops.V1) if name == "v1" else shops.cut_v2(work)
            reference = numpy_answers(model, work)
            report.results[name] = {"numpy": reference}
            for vectors in arguments.vectors:
                ours = our_answers(model, vectors, arguments.threads, work)
                report.results[name][vectors] = ours
                points = 100 * (ours["recall_at_1"] - reference["recall_at_1"])
                differing = sum(a != b for a, b in zip(ours["answers"], reference["answers"], strict=True))
                report.bar(f"{name} {vectors}: points away from numpy", round(abs(points), 6), BAR_POINTS)
                figures = (
                    f"{100 * value:.2f} %"
                    for value in (reference["recall_at_1"], ours["recall_at_1"], ours["recall_at_5"])
                )
                rows.append((name, vectors, *figures, f"{points:+.2f}", differing, f"{ours['build_s']:.1f} s"))
    header = ("encoder", "vectors", "numpy R@1", "ours R@1", "ours R@5", "points", "other answers", "build")
    reporting.print_table(f"{reference['queries']} val photos against all train photos", header, rows)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
