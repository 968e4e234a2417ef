"""Shops of 2, 3, 6 and 10 products: how many products from the same shelf, which they don't have, get a name all the same.

    python benchmarks/small_shops.py --shops grocery phone rendered --sizes 2 3 6 10 --count 20

Each is a part of a real or rendered shop, drawn with a seed; its queries are all photos of its products, and as many of others.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import goods
import numpy as np
import reporting
from encoders import file_of
from real_goods import answers_of

COLUMNS = ("shop", "products", "shops", "false accepts", "the worst", "right accepts", "oracle", "AUROC")


def drawn(shop: goods.Shop, size: int, random: np.random.Generator, most: int) -> goods.Shop:
    """`size` products with at most three pictures each, and at most so many queries of them and of others."""
    chosen = set(random.choice(shop.skus, min(size, len(shop.skus) - 1), replace=False).tolist())
    catalogue = []
    for sku in sorted(chosen):
        own = [one for one in shop.catalogue if one[1] == sku]
        catalogue += [own[place] for place in sorted(random.permutation(len(own))[:3].tolist())]
    kinds = [[one for one in shop.queries if (one[1] in chosen) == known] for known in (True, False)]
    queries = [one[place] for one in kinds for place in sorted(random.permutation(len(one))[:most].tolist())]
    return dataclasses.replace(shop, catalogue=tuple(catalogue), queries=tuple(queries))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoder", default="shelfmatch-cnn")
    parser.add_argument("--shops", nargs="+", default=["grocery", "phone", "rendered"], choices=list(goods.SHOPS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 3, 6, 10])
    parser.add_argument("--count", type=int, default=20, help="shops of each size")
    parser.add_argument("--queries", type=int, default=60, help="of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.local, options.adapt, options.false_accept, options.no_look_again = "auto", "auto", 0.05, False
    report = reporting.Report.start(
        "small_shops", encoder=options.encoder, shops=options.shops, sizes=options.sizes, count=options.count
    )
    rows, means, worst = [], [], 0.0
    with reporting.work_folder(options.work) as work:
        encoder = file_of(options.encoder, work)
        for kind in options.shops:
            whole = goods.SHOPS[kind](work)
            for size in options.sizes:
                random = np.random.default_rng([options.seed, size])
                found = []
                for _ in range(options.count):
                    shop = drawn(whole, size, random, options.queries)
                    if any(sku not in shop.skus for _, sku in shop.queries) and len(shop.queries) > 5:
                        found.append(answers_of(shop, encoder, work, options)[0].figures(options.false_accept))
                mean = {key: float(np.nanmean([one[key] for one in found])) for key in found[0]}
                highest = max(one["false_accepts"] for one in found)
                report.results.setdefault(kind, {})[str(size)] = {**mean, "worst": highest, "shops": len(found)}
                shares = [f"{mean[key]:.1%}" for key in ("right_accepts", "oracle_right_accepts")]
                row = (
                    kind,
                    size,
                    len(found),
                    f"{mean['false_accepts']:.1%}",
                    f"{highest:.0%}",
                    *shares,
                    f"{mean['auroc']:.3f}",
                )
                rows.append(row)
                print(*rows[-1], flush=True)
                means.append(mean["false_accepts"])
                worst = max(worst, highest)
    reporting.print_table("Asked for 5 % false accepts", COLUMNS, rows)
    report.bar("false accepts in the mean", float(np.mean(means)), 0.08)
    report.bar("false accepts of the worst shop", worst, 0.2)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
