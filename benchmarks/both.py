"""Two of the embedded encoders in one bundle, on goods that trained none of them: what the second adds, and what it costs.

    python benchmarks/both.py --stock STOCK
    python benchmarks/both.py --pairs shelfmatch-cnn+shelfmatch-nano --sets grozi boxes

The sets are those of known_print.py, and grocery photos among all train photos and among catalogue pictures (`cascade.py` has more
of those). Everything goes through build_bundle and Matcher as they are by default, adapter and all, without local matching, which a
bundle with two encoders doesn't have. The first of a pair looks at every photo, the second where the first isn't sure.

Cost: instructions of a photo's embeddings on a Cortex-A72, as encoders.py counted them in QEMU, in the mean of all photos, over
shelfmatch-cnn's. The bar asks for a point more than the better of the two on three sets, at 1.5 times the cost.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import goods
import known_print
import numpy as np
import reporting
from cascade import instructions
from encoders import file_of
from real_goods import catalogue_csv
from remembered import remembered

PAIRS: Final = ("shelfmatch-cnn+shelfmatch-vit", "shelfmatch-cnn+shelfmatch-nano", "shelfmatch-nano+shelfmatch-cnn")
GROCERY: Final = ("grocery", "grocery-iconic")
SETS: Final = (*known_print.SETS, *GROCERY)
GAIN, FEWEST_SETS, COST = 0.01, 3, 1.5


def found(shop: goods.Shop, encoders: tuple[str, ...], work: Path) -> tuple[float, float]:
    """The share of queries whose first candidate is right, and the share that the second encoder looked at."""
    from shelfmatch.edge import Matcher, MatchResult, build_bundle

    folder = work / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / "both.bundle"
    files = [file_of(name, work) for name in encoders]
    build_bundle(catalogue_csv(shop, folder), bundle, encoder=files if len(files) > 1 else files[0], resizer="pillow")
    with Matcher.open(bundle, look_again=False, local=False) as matcher:
        results = list(matcher.match_many([path for path, _ in shop.queries], workers=2))
    right, second = [], []
    for result, (_, sku) in zip(results, shop.queries, strict=True):
        answered = isinstance(result, MatchResult)
        right.append(answered and bool(result.candidates) and result.candidates[0].sku == sku)
        second.append(answered and bool(result.second_encoder))
    return float(np.mean(right)), float(np.mean(second))


def compared(pair: str, shop: goods.Shop, work: Path, alone: dict[str, float]) -> dict[str, float]:
    """A pair in one shop; `alone`: what each encoder finds there, filled as it is asked for."""
    first, second = pair.split("+")
    for name in (first, second):
        if name not in alone:
            alone[name] = found(shop, (name,), work)[0]
    recall, asked = found(shop, (first, second), work)
    of = instructions((first, second, "shelfmatch-cnn"))
    return {
        "first": alone[first],
        "second": alone[second],
        "both": recall,
        "asked": asked,
        # 473 less 468 of 500 is a point; in floats it is a little less.
        "gain": round(recall - max(alone[first], alone[second]), 9),
        "cost": (of[first] + asked * of[second]) / of["shelfmatch-cnn"],
    }


def hold_against_bars(report: reporting.Report) -> None:
    """Of each pair the third-largest gain, and the mean cost over the CNN's."""
    for pair, by_set in report.results.items():
        gains = sorted((one["gain"] for one in by_set.values()), reverse=True)
        if len(gains) >= FEWEST_SETS:
            report.bar(f"{pair}: gain in the third best set", gains[FEWEST_SETS - 1], GAIN, at_least=True)
        cost = float(np.mean([one["cost"] for one in by_set.values()]))
        report.bar(f"{pair}: mean cost over shelfmatch-cnn's", cost, COST)


def main() -> int:
    """The command line; see the first lines."""
    parser = reporting.argument_parser(__doc__)
    known_print.add_stock(parser)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, metavar="FIRST+SECOND")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="some of the sets")
    arguments = known_print.parsed(parser)
    report = reporting.Report.start("both")
    results: dict[str, dict[str, Any]] = {pair: {} for pair in arguments.pairs}
    with reporting.work_folder(arguments.work) as work, remembered(work / "encoders.sqlite"):
        making = known_print.sets_of(arguments.stock, work)
        for kind in arguments.sets:
            shop = making[kind]() if kind in making else goods.SHOPS[kind](work)
            alone: dict[str, float] = {}
            for pair in arguments.pairs:
                results[pair][kind] = compared(pair, shop, work, alone)
                print(kind, pair, {key: round(value, 4) for key, value in results[pair][kind].items()}, flush=True)
    report.results = results
    for pair, by_set in results.items():
        reporting.print_table(
            pair, ("set", "first alone", "second alone", "both", "second asked", "cost"),
            [(kind, *(f"{100 * one[key]:.1f} %" for key in ("first", "second", "both", "asked")), f"{one['cost']:.2f}")
             for kind, one in by_set.items()],
        )  # fmt: skip
    hold_against_bars(report)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
