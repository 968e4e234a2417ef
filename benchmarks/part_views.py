"""How many synthetic views a large shop of one picture a product needs: what is found and told from others with fewer of them.

    python benchmarks/part_views.py --views 3000 2400 1800

Rendered products (shop 942, which trained nothing) with one plain picture each; some of them and as many others are asked with hard
views. Behind `_PART_VIEWS` of edge/imaging/views.py, which is set for each build; from 2,500 products on it counts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import reporting

SHOP = 942
HEADER = ("views", "recall@1", "right accepts", "false accepts", "AUROC")


def drawn(work: Path, products: int, queries: int) -> tuple[Path, list[tuple[Path, str]]]:
    """The catalogue's folder, and queries with their SKUs: those of products that it doesn't have come last."""
    from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view

    made = make_shop(products + queries, SHOP)
    catalogue = work / f"part-views-{products}"
    for number, product in enumerate(made[:products]):
        picture = catalogue / f"P{number:05d}" / "1.jpg"
        if not picture.exists():
            picture.parent.mkdir(parents=True, exist_ok=True)
            render_plain(product, 300).save(picture, quality=90)
    known = sorted(np.random.default_rng(1).choice(products, queries, replace=False).tolist())
    asked = []
    for number in (*known, *range(products, products + queries)):
        photo = work / f"part-views-query-{number:05d}.jpg"
        render_view(made[number], 5, (400, 300), 0.7).save(photo, quality=92)
        asked.append((photo, f"P{number:05d}"))
    return catalogue, asked


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--views", type=int, nargs="+", default=[3000, 2400, 1800], metavar="N")
    parser.add_argument("--products", type=int, default=3600, metavar="N")
    parser.add_argument("--queries", type=int, default=300, metavar="N", help="of known products, and of others")
    options = parser.parse_args(arguments)

    from shelfmatch.edge import Matcher, build_bundle
    from shelfmatch.edge.imaging import views
    from shelfmatch.edge.metrics import auroc

    report = reporting.Report.start("part_views", products=options.products, queries=options.queries)
    rows = []
    with reporting.work_folder(options.work) as work:
        catalogue, asked = drawn(work, options.products, options.queries)
        for count in options.views:
            views._PART_VIEWS = count
            bundle = work / f"part-views-{count}.bundle"
            build_bundle(catalogue, bundle)
            with Matcher.open(bundle) as matcher:
                found = [(matcher.match(photo), sku) for photo, sku in asked]
            known, others = found[: options.queries], found[options.queries :]
            figures = (
                float(np.mean([result.candidates[0].sku == sku for result, sku in known])),
                float(np.mean([result.sku == sku for result, sku in known])),
                float(np.mean([result.sku is not None for result, _ in others])),
                auroc([result.confidence for result, _ in known], [result.confidence for result, _ in others]) or 0.0,
            )
            report.results[str(count)] = dict(zip(HEADER[1:], figures, strict=True))
            rows.append((f"{count:,}", *(f"{value:.1%}" for value in figures[:3]), f"{figures[3]:.3f}"))
            print("  ".join(rows[-1]), flush=True)
    reporting.print_table(f"{options.products:,} one-picture products", HEADER, rows)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
