"""Whether a build's forecast holds: the share of other people's photos accepted and right lies in the range that `build` gives.

    python benchmarks/forecasts.py --draws 2 --json forecasts.json
    python benchmarks/forecasts.py --encoders shelfmatch-nano shelfmatch-vit --shops grozi phone fridge --draws 6 --seed 7
    python benchmarks/forecasts.py --random 40 --seed 1 --encoders shelfmatch-cnn shelfmatch-nano shelfmatch-vit

Shops of real goods (see goods.py), each with all its products and, `--draws` times, without a quarter of them; the grocery photos
also with 2 and with 5 photos a product, spread over the visits. A bundle is built as `shelfmatch build` does without options,
and asked for photos that had no part in it: of those that show a product of the shop, the share that is accepted and right.
No forecast is an honest answer, too, and counts neither way; where there is one it must hold 9 times of 10. `--random`: shops drawn
at random instead (see drawn_shops.py), each with one of the encoders.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn_shops
import goods
import numpy as np
import reporting
from encoders import file_of
from real_goods import catalogue_csv

COLUMNS = ("shop", "encoder", "products", "photos each", "held out", "range", "measured", "in it")
BAR = 0.9


def few_of_each(most: int) -> Callable[[Path], goods.Shop]:
    """The grocery shop with so many photos of each product."""

    def shop(work: Path) -> goods.Shop:
        whole = goods.grocery(work)
        photos: dict[str, list[goods.Labelled]] = defaultdict(list)
        for one in whole.catalogue:
            photos[one[1]].append(one)
        kept = [one for own in photos.values() for one in own[:: max(1, len(own) // most)][:most]]
        return replace(whole, kind=f"grocery, {most} each", catalogue=tuple(kept))

    return shop


SHOPS = {**goods.SHOPS, "grocery-2": few_of_each(2), "grocery-5": few_of_each(5)}
DEFAULT_SHOPS = ("grozi", "phone", "phone-whole", "fridge", "grocery-iconic", "grocery-2", "grocery-5", "grocery")


def promised_and_found(shop: goods.Shop, encoder: Path, work: Path) -> dict[str, Any]:
    """Build the shop with the defaults; its forecast, and what its queries come to."""
    from shelfmatch.edge import Matcher, MatchResult, build_bundle

    bundle = work / "shop.bundle"
    report = build_bundle(catalogue_csv(shop, work), bundle, encoder=encoder)
    sold = set(shop.skus)
    asked = [(path, sku) for path, sku in shop.queries if sku in sold]
    with Matcher.open(bundle) as matcher:
        answers = list(matcher.match_many([path for path, _ in asked], top_k=2))
    right = sum(isinstance(one, MatchResult) and one.sku == sku for one, (_, sku) in zip(answers, asked, strict=True))
    decision, expected = report.decision, report.forecast
    return {
        "products": report.products,
        "photos": report.total_references,
        "method": None if decision is None else decision.method,
        "held_out": None if decision is None else decision.known,
        "held_out_rate": None if decision is None else decision.correct_accept_rate,
        "low": None if expected is None else expected.low,
        "high": None if expected is None else expected.high,
        "measured": right / len(asked),
        "queries": len(asked),
    }


def is_held(found: dict[str, Any]) -> bool | None:
    """Whether what was measured lies in the range; None without one."""
    return None if found["low"] is None else bool(found["low"] <= found["measured"] <= found["high"])


def _row(shop: str, name: str, found: dict[str, Any]) -> tuple[str, ...]:
    held = is_held(found)
    rate = "–" if found["held_out_rate"] is None else f"{found['held_out_rate']:.0%} ({found['method']})"
    said = "none" if held is None else f"{found['low']:.0%} to {found['high']:.0%}"
    return (
        shop,
        name,
        f"{found['products']}",
        f"{found['photos'] / found['products']:.1f}",
        rate,
        said,
        f"{found['measured']:.0%}",
        "–" if held is None else "yes" if held else "NO",
    )


def _whole_and_less(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, str, goods.Shop]]:
    """(kind, encoder, shop): the whole shops, and those without a quarter."""
    for kind in options.shops:
        whole = SHOPS[kind](work)
        shops = [whole, *(whole.without(gone) for gone in goods.quarters(whole, options.draws, options.seed))]
        yield from ((kind, name, shop) for name in options.encoders for shop in shops)


def _random(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, str, goods.Shop]]:
    """(kind, encoder, shop), drawn: the kinds and the encoders in turns."""
    for number in range(options.random):
        kind = options.kinds[number % len(options.kinds)]
        name = options.encoders[number // len(options.kinds) % len(options.encoders)]
        yield kind, name, drawn_shops.draw(kind, work, np.random.default_rng([options.seed, number]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", default=["shelfmatch-cnn"], help="names, v1, v2, files or cards")
    parser.add_argument("--shops", nargs="+", default=list(DEFAULT_SHOPS), choices=list(SHOPS))
    parser.add_argument("--draws", type=int, default=2, help="times without a quarter of the products (default: 2)")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="so many shops drawn at random instead")
    parser.add_argument("--kinds", nargs="+", default=list(drawn_shops.KINDS), choices=list(drawn_shops.KINDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    settings = ("encoders", "random", "kinds", "seed") if options.random else ("encoders", "shops", "draws", "seed")
    report = reporting.Report.start("forecasts", **{name: getattr(options, name) for name in settings})
    rows, held = [], []
    with reporting.work_folder(options.work) as work:
        for kind, name, shop in (_random if options.random else _whole_and_less)(options, work):
            found = promised_and_found(shop, file_of(name, work), work)
            report.results.setdefault(kind, {}).setdefault(name, []).append(found)
            rows.append(_row(kind, name, found))
            held.append(is_held(found))
            print("  ".join(rows[-1]), flush=True)
    reporting.print_table("Forecast and measured: accepted and right, of photos of the shop's products", COLUMNS, rows)
    given = [one for one in held if one is not None]
    if given:
        print(f"\n  {sum(given)} of {len(given)} in the range; {len(held) - len(given)} builds gave none")
        report.bar("measured figures in the range given", sum(given) / len(given), BAR, at_least=True)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
