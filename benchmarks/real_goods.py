"""Right answers on real goods: recall, "unknown" queries, and what the decision makes of them, shop by shop, encoder by encoder.

    python benchmarks/real_goods.py --encoders shelfmatch-cnn v1 --shops grozi phone fridge --draws 6

Bundles are built by the product's own `build_bundle`, answers come from its matcher. Closed shops give recall@1; draws with a
quarter of the products left out give the open-set figures: AUROC of confidence (right product sold against not sold), the share
of known queries answered right at the shop's own threshold and the false accepts there, and the oracle: the most that any
threshold on the same confidences accepts at the asked-for rate.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import goods
import numpy as np
import reporting
from encoders import file_of

COLUMNS = ("shop", "encoder", "recall@1", "AUROC", "false accepts", "right accepts", "oracle", "efficiency")


@dataclass(frozen=True, slots=True)
class Answers:
    """Of (N,) queries: `right` where the first candidate is the product, `known` where the shop sells it, `accepted` where the
    decision was a match, and the confidences."""

    right: np.ndarray[Any, np.dtype[np.bool_]]
    known: np.ndarray[Any, np.dtype[np.bool_]]
    accepted: np.ndarray[Any, np.dtype[np.bool_]]
    confidence: np.ndarray[Any, np.dtype[np.float64]]

    def figures(self, rate: float) -> dict[str, float]:
        """From 0 to 1; NaN where the queries have none of a kind."""
        known, unknown = self.known, ~self.known
        found = {"recall_at_1": float(self.right[known].mean())}
        if not unknown.any():
            return found
        above = np.sort(self.confidence[unknown])[::-1]
        allowed = int(rate * len(above))
        oracle = above[allowed] if allowed < len(above) else -1.0
        sure = (self.confidence[known, None] > self.confidence[None, unknown]).mean()
        tied = (self.confidence[known, None] == self.confidence[None, unknown]).mean()
        right = float((self.accepted & self.right)[known].mean())
        best = float(((self.confidence > oracle) & self.right)[known].mean())
        return {
            **found,
            "auroc": float(sure + tied / 2),
            "false_accepts": float(self.accepted[unknown].mean()),
            "right_accepts": right,
            "oracle_right_accepts": best,
        }


def catalogue_csv(shop: goods.Shop, work: Path) -> Path:
    """The shop's catalogue as a source to build from."""
    source = work / "catalogue.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "sku"), *((str(path), sku) for path, sku in shop.catalogue)])
    return source


def answers_of(shop: goods.Shop, encoder: Path, work: Path, options: Any) -> list[Answers]:
    """Build the shop and ask all its queries; with `--local both` a second time, of the same bundle, without local matching."""
    from shelfmatch.edge import Matcher, build_bundle

    bundle = work / "shop.bundle"
    local: Any = "auto" if options.local == "both" else options.local
    report = build_bundle(
        catalogue_csv(shop, work),
        bundle,
        encoder=encoder,
        adapt=options.adapt,
        false_accept=options.false_accept,
        local=local,
    )
    if report.local_reason:
        print(
            f"  {'with' if report.local else 'without'} local matching: {report.local_reason}",
            file=sys.stderr,
            flush=True,
        )
    found = []
    for with_local in (True, False) if options.local == "both" else (True,):
        if not with_local and report.local is None:
            found.append(found[0])
            continue
        with Matcher.open(bundle, look_again=not options.no_look_again, local=with_local) as matcher:
            results = list(matcher.match_many([path for path, _ in shop.queries], top_k=2))
            found.append(_judged(shop, results))
    return found


def _judged(shop: goods.Shop, results: Sequence[Any]) -> Answers:
    from shelfmatch.edge import MatchResult

    sold = set(shop.skus)
    right, known, accepted, confidence = [], [], [], []
    for (_, sku), result in zip(shop.queries, results, strict=True):
        answer = result if isinstance(result, MatchResult) else None
        first = answer.candidates[0].sku if answer is not None and answer.candidates else None
        right.append(first == sku)
        known.append(sku in sold)
        accepted.append(answer is not None and answer.decision == "match")
        confidence.append(answer.confidence if answer is not None else 0.0)
    return Answers(np.array(right), np.array(known), np.array(accepted), np.array(confidence, float))


def measured(name: str, shop: goods.Shop, work: Path, options: Any) -> list[dict[str, Any]]:
    """The closed shop's recall and the draws' figures: their means, and each draw's; with `--local both` again without it."""
    encoder = file_of(name, work)
    asked = [answers_of(shop, encoder, work, options)]
    asked += [
        answers_of(shop.without(gone), encoder, work, options)
        for gone in goods.quarters(shop, options.draws, options.seed)
    ]
    found = []
    for answers in zip(*asked, strict=True):
        closed, *draws = (one.figures(options.false_accept) for one in answers)
        means = {key: float(np.mean([draw[key] for draw in draws])) for key in (draws[0] if draws else {})}
        found.append({**means, "recall_at_1": closed["recall_at_1"], "queries": len(shop.queries), "draws": draws})
    return found


def _row(shop: str, name: str, found: dict[str, Any]) -> tuple[str, ...]:
    def percent(key: str) -> str:
        return f"{found[key]:.1%}" if key in found else "–"

    efficiency = "–"
    if found.get("oracle_right_accepts"):
        efficiency = f"{found['right_accepts'] / found['oracle_right_accepts']:.2f}"
    auroc = f"{found['auroc']:.3f}" if "auroc" in found else "–"
    return (shop, name, percent("recall_at_1"), auroc, percent("false_accepts"), percent("right_accepts"),
            percent("oracle_right_accepts"), efficiency)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", default=["shelfmatch-cnn", "v1"], help="names, v1, v2, files or cards")
    parser.add_argument("--shops", nargs="+", default=["grozi", "phone", "fridge"], choices=list(goods.SHOPS))
    parser.add_argument("--draws", type=int, default=6, help="open-set draws a shop (default: 6; 0: recall alone)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adapt", default="auto", choices=("auto", "on", "off"))
    parser.add_argument(
        "--local",
        default="auto",
        choices=("auto", "on", "off", "both"),
        help="local matching; both: auto, and the same bundle without",
    )
    parser.add_argument("--false-accept", type=float, default=0.05)
    parser.add_argument("--no-look-again", action="store_true", help="one pass over each photo")
    options = parser.parse_args(arguments)
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "work", "gate")}
    report = reporting.Report.start("real_goods", **settings)
    rows = []
    with reporting.work_folder(options.work) as work:
        for kind in options.shops:
            shop = goods.SHOPS[kind](work)
            for name in options.encoders:
                names = (name, f"{name}, without local")
                for label, found in zip(names, measured(name, shop, work, options), strict=False):
                    report.results.setdefault(kind, {})[label] = found
                    rows.append(_row(kind, label, found))
                    print("  ".join(rows[-1]), flush=True)
    reporting.print_table(f"Asked for {options.false_accept:.0%} false accepts", COLUMNS, rows)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
