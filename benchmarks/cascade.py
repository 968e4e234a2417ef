"""Two encoders in one bundle: what the second adds, and how often it has to look. Grocery train photos as the shop, val as queries.

    python benchmarks/cascade.py --work DIR
    python benchmarks/cascade.py --work DIR --draws 2 --encoders shelfmatch-cnn shelfmatch-vit

Embedding 2,640 photos with their views takes minutes and is kept in `--work` (the same files as benchmarks/adaptation.py). After it
everything is what build_bundle does on the embeddings: `compose` for each encoder, `decide_pair` for both, galleries of i8 vectors
answer. Nothing was chosen on the dataset's test split, which isn't used here; the bars are those of that split.

Cost: one run of each encoder, interleaved, on one thread; and instructions on a Cortex-A72 as counted in QEMU. The bar of 1.5 is
held against the latter, which don't depend on the machine at hand. The bars for recall and strangers are those of V1 and V2.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import adaptation
import numpy as np
import reporting
from numpy.typing import NDArray

from shelfmatch.edge.build.draft import Contents, compose, decide_pair
from shelfmatch.edge.encoders.encoder import Encoder
from shelfmatch.edge.metrics import auroc
from shelfmatch.edge.scoring.cascade import Cascade, fused_rank
from shelfmatch.edge.scoring.decision import Decision, margin_of
from shelfmatch.edge.scoring.fusion import Ranked

LEFT_OUT = 16


@dataclass(frozen=True, slots=True)
class Answers:
    """Of each query the best product, its confidence, and whether both encoders looked."""

    best: NDArray[np.int64]
    confidence: NDArray[np.float64]
    asked: NDArray[np.bool_]

    def right_accepts(self, truth: NDArray[np.int64], sold: NDArray[np.bool_], rate: float) -> float:
        """The share of sold queries that are right and surer than all but `rate` of the others."""
        cut = float(np.quantile(self.confidence[~sold], 1 - rate))
        return float(((self.best == truth) & (self.confidence > cut))[sold].mean())


def judged(decision: Decision, ranked: Ranked, references: int) -> float:
    rival = ranked[1][1] if len(ranked) > 1 else None
    return decision.confidence(ranked[0][1], margin_of(ranked[0][1], rival), references)


def answers(
    contents: list[Contents], queries: list[NDArray[np.float32]], cascade: Cascade, decision: Decision, mode: str
) -> Answers:
    """`mode`: "first" alone, "both" on every query, or "cascade"."""
    galleries = [one.gallery for one in contents]
    rows: list[tuple[int, float, bool]] = []
    for pair in zip(*queries, strict=True):
        vectors = [gallery.adapted(query) for gallery, query in zip(galleries, pair, strict=True)]
        ranked = galleries[0].rank(vectors[0], 2)
        confidence = judged(cascade.first, ranked, galleries[0].references(ranked[0][0]))
        asked = mode == "both" or (mode == "cascade" and not cascade.is_sure(confidence))
        if asked:
            ranked = fused_rank(galleries, vectors, cascade.weights, 2)
            confidence = judged(decision, ranked, galleries[0].references(ranked[0][0]))
        rows.append((ranked[0][0], confidence, asked))
    best, confidences, looked = zip(*rows, strict=True)
    return Answers(np.array(best), np.array(confidences), np.array(looked, bool))


def shop_of(data: Mapping[str, adaptation.Data], left_out: NDArray[np.int64]) -> dict[str, tuple[object, Contents]]:
    """What build has of each encoder: enrolled photos, and contents."""
    made = {}
    for name, one in data.items():
        enrolled = adaptation.some(one.train, ~np.isin(adaptation.products(one.train), left_out))
        made[name] = (enrolled, compose(enrolled)[0])
    return made


def encode_ms(names: Sequence[str], work: Path, repeats: int = 40) -> dict[str, float]:
    """Median time of one run of each encoder, one after the other so that both meet the same machine."""
    encoders = {name: Encoder.load(adaptation.model_of(name, work)) for name in names}
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(repeats):
        for name, encoder in encoders.items():
            pixels = random.integers(0, 256, (encoder.card.height, encoder.card.width, 3), dtype=np.uint8)
            start = time.perf_counter()
            encoder.embed_pixels(pixels)
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(times) for name, times in taken.items()}


def instructions(names: Sequence[str]) -> dict[str, float]:
    """Millions an embedding, as benchmarks/encoders.py counted them."""
    counted = json.loads((Path(__file__).parent / "results" / "encoders.json").read_text(encoding="utf-8"))["results"]
    return {name: counted[name]["instructions_a72_m"] for name in names}


def costs(order: tuple[str, str], share: float, single: Mapping[str, float]) -> float:
    """Mean cost of a photo over that of the cheaper encoder alone."""
    return (single[order[0]] + share * single[order[1]]) / min(single.values())


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--draws", type=int, default=6, metavar="N")
    parser.add_argument("--encoders", nargs=2, choices=adaptation.ENCODERS, default=["v1", "v2"], metavar="NAME")
    arguments = parser.parse_args()
    report = reporting.Report.start("cascade", draws=arguments.draws, encoders=arguments.encoders)
    first, second = arguments.encoders
    orders = ((first, second), (second, first))
    with reporting.work_folder(arguments.work) as work:
        data = {name: adaptation.load(name, work) for name in arguments.encoders}
        milliseconds = encode_ms(arguments.encoders, work)
        print("one embedding: " + ", ".join(f"{name} {taken:.1f} ms" for name, taken in milliseconds.items()))
        random = np.random.default_rng(1)
        draws = [np.empty(0, np.int64), *(random.choice(81, LEFT_OUT, replace=False) for _ in range(arguments.draws))]
        for order in orders:
            report.results[", ".join(order)] = []
        for number, left_out in enumerate(draws):
            made = shop_of(data, left_out)
            for order in orders:
                report.results[", ".join(order)].append(measured(order, data, made, left_out, milliseconds))
            show(report, number)
    better = max(report.results[", ".join(order)][0]["first recall"] for order in orders)
    for order in orders:
        bars(report, ", ".join(order), report.results[", ".join(order)], better)
    return report.finish(arguments)


def measured(
    order: tuple[str, str],
    data: Mapping[str, adaptation.Data],
    made: dict[str, tuple[object, Contents]],
    left_out: NDArray[np.int64],
    milliseconds: Mapping[str, float],
) -> dict[str, float]:
    """Everything of one shop and one order of the encoders."""
    contents = [made[name][1] for name in order]
    cascade, decision = decide_pair([made[name][0] for name in order], contents, 0.05)  # type: ignore[misc]
    queries, truth = [data[name].queries for name in order], data[order[0]].truth
    sold = ~np.isin(truth, left_out)
    found = {"sure_from": cascade.sure_from, "weight_of_first": cascade.weights[0]}
    for mode in ("first", "both", "cascade"):
        one = answers(contents, queries, cascade, decision, mode)
        found[f"{mode} recall"] = float((one.best == truth)[sold].mean())
        if mode == "cascade":
            found["asked"] = float(one.asked[sold].mean())
            found["cost"] = costs(order, found["asked"], instructions(order))
            found["cost_ms"] = costs(order, found["asked"], milliseconds)
        if not sold.all():
            found[f"{mode} auroc"] = auroc(one.confidence[sold].tolist(), one.confidence[~sold].tolist()) or 0.0
            found[f"{mode} right accepts"] = one.right_accepts(truth, sold, 0.05)
        if not sold.all() and mode == "cascade":
            found["asked of strangers"] = float(one.asked[~sold].mean())
            found["false accepts"] = float((one.confidence >= decision.threshold)[~sold].mean())
    return found


def show(report: reporting.Report, number: int) -> None:
    rows = []
    for order, every in report.results.items():
        one = every[number]
        rows += [(order, what, f"{value:.3f}") for what, value in one.items()]
    reporting.print_table(f"shop {number}" if number else "all products sold", ("order", "what", "measured"), rows)


def bars(report: reporting.Report, name: str, every: list[dict[str, float]], better: float) -> None:
    """Hold one order against the bars; `better`: the recall of the better encoder alone."""
    whole, others = every[0], every[1:]
    gained = 100 * (whole["cascade recall"] - better)
    report.bar(f"{name}: cascade over the better alone, points", gained, 0, at_least=True)
    report.bar(f"{name}: cascade, cost over the cheaper's", whole["cost"], 1.5)
    if set(report.settings["encoders"]) != {"v1", "v2"}:
        return
    report.bar(f"{name}: both, recall@1 %", 100 * whole["both recall"], 80.5, at_least=True)
    for mode in ("first", "both", "cascade") if others else ():
        told_apart = mean(one[f"{mode} auroc"] for one in others)
        report.bar(f"{name}: {mode}, near strangers AUROC", told_apart, 0.80, at_least=True)
        accepts = mean(one[f"{mode} right accepts"] for one in others)
        report.bar(f"{name}: {mode}, right accepts at 5 %", accepts, 0.38, at_least=True)


if __name__ == "__main__":
    sys.exit(main())
