"""Every bar of "right answers" in one table: what was measured, what it should be, and what hasn't been measured yet.

    python benchmarks/right_answers.py --json benchmarks/results/right_answers.json --markdown docs/benchmarks/right_answers.md
    python benchmarks/right_answers.py --parts small calibrate --draws 2 --shops 3 --json FOUND.json

The default counts are those of the bars: some hours on two cores. Smaller ones are told in the last column. A part that is run
again replaces its rows in --json (with --kinds only those of the kinds); the others stay, so that the table can be made part by
part.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).resolve().parent / "arm"))

import barcodes
import goods
import nothing
import numpy as np
import reporting
import right_shops
import small_shops
from encoders import file_of
from real_goods import catalogue_csv
from remembered import remembered
from right_table import HEADER, PARTS, Row, right_answers_table, shown

KINDS: Final = ("rendered", "grozi", "grocery", "phone")
RECALL: Final = {
    "grozi": 0.95,
    "phone": 0.70,
    "fridge": 0.95,
    "rendered": 0.94,
    "grocery": 0.80,
    "grocery-iconic": 0.76,
}
ACCEPTS: Final = {"rendered": 0.88, "grozi": 0.82, "grocery": 0.55, "phone": 0.45}
AUROC: Final = {"rendered": 0.97, "grozi": 0.95, "grocery": 0.88, "phone": 0.78}
PICTURES: Final = {"grocery": (1, 2, 4, 0)}
CALIBRATED: Final = {"grocery": (1, 2, 4)}
"""Catalogue pictures a product, 0 for all: other shops have what they have."""


def recall(work: Path, options: Any) -> list[Row]:
    """Closed shops."""
    rows = []
    for kind in options.kinds or RECALL:
        shop = _cut(goods.SHOPS[kind](work), options)
        found = _found(shop, options.encoder, work)
        rows.append(Row("recall", f"{kind}: recall@1", found, RECALL[kind], True, _size(shop)))
        if kind == "grozi" and options.rival:
            rival = _found(shop, options.rival, work)
            rows.append(
                Row("recall", f"grozi: above {options.rival} by", found - rival, 0.0, True, f"{rival:.1%} by it")
            )
    return rows


def _found(shop: goods.Shop, encoder: str, work: Path) -> float:
    bundle = work / "right" / "closed.bundle"
    right_shops.built(shop, file_of(encoder, work), bundle)
    return right_shops.asked(shop, bundle).figures(0.05)["recall_at_1"]


def rates(work: Path, options: Any) -> list[Row]:
    """Draws with a quarter of the products left out, at each rate."""
    rows, errors = [], {}
    for kind in options.kinds or KINDS:
        for pictures in options.pictures or PICTURES.get(kind, (0,)):
            made = _rate_rows(kind, pictures, work, options)
            rows += made[0]
            errors[f"{kind}{f' {pictures}' if pictures else ''}"] = made[1]
    for name, (error, count) in errors.items():
        rows.append(
            Row(
                "rates",
                f"{name}: calibration error (3 of the 4 kinds)",
                error,
                0.05,
                False,
                f"{count} known queries",
                "",
            )
        )
    return rows


def _rate_rows(kind: str, pictures: int, work: Path, options: Any) -> tuple[list[Row], tuple[float, int]]:
    random = np.random.default_rng([options.seed, pictures])
    shop = right_shops.with_pictures(_cut(goods.SHOPS[kind](work), options), pictures, random)
    found = [
        right_shops.at_rates(drawn, file_of(options.encoder, work), work / "right" / "draw.bundle", options.rates)
        for drawn in right_shops.draws(shop, options.draws, options.seed)
    ]
    of, rows = f"{len(found)} draws, {_size(shop)}", []
    for rate in options.rates:
        each = [one[rate].figures(rate) for one in found]
        mean = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        name = f"{shop.kind}, asked for {rate:.0%}"
        rows += [
            Row("rates", f"{name}: false accepts off by", abs(mean["false_accepts"] - rate), 0.02, False,
                f"{mean['false_accepts']:.1%} measured; {of}"),
            Row("rates", f"{name}: worst draw, times the rate", max(one["false_accepts"] for one in each) / rate, 3, False, of, ""),
            Row("rates", f"{name}: right accepts over the oracle's",
                mean["right_accepts"] / max(1e-9, mean["oracle_right_accepts"]), 0.9, True,
                f"{mean['right_accepts']:.1%} of {mean['oracle_right_accepts']:.1%}; {of}", ""),
        ]  # fmt: skip
        if rate == 0.05 and not pictures:
            rows += [Row("rates", f"{name}: right accepts", mean["right_accepts"], ACCEPTS[kind], True, of),
                     Row("rates", f"{name}: AUROC", mean["auroc"], AUROC[kind], True, of, "")]  # fmt: skip
    return rows, right_shops.calibration_error([one[options.rates[0]] for one in found])


def small(work: Path, options: Any) -> list[Row]:
    """Shops of 2 to 10 products, asked for 5 %, with unknown queries from the same shelf."""
    rows, rate = [], 0.05
    for kind in options.kinds or ("grocery", "phone", "rendered"):
        whole, every = goods.SHOPS[kind](work), []
        for size in options.sizes:
            random = np.random.default_rng([options.seed, size])
            found = []
            for _ in range(options.shops):
                shop = small_shops.drawn(whole, size, random, options.queries)
                if all(sku in shop.skus for _, sku in shop.queries) or len(shop.queries) <= 5:
                    continue
                bundle = work / "right" / "small.bundle"
                right_shops.built(shop, file_of(options.encoder, work), bundle, false_accept=rate)
                found.append(right_shops.asked(shop, bundle).figures(rate))
            accepts = [one["false_accepts"] for one in found]
            every += accepts
            of = f"{len(found)} shops, right accepts {np.mean([one['right_accepts'] for one in found]):.1%}"
            rows.append(
                Row("small", f"{kind}, {size} products: false accepts", float(np.mean(accepts)), 0.08, False, of)
            )
        of = f"{len(every)} shops of {', '.join(map(str, options.sizes))} products"
        rows.append(Row("small", f"{kind}: false accepts in the mean", float(np.mean(every)), 0.08, False, of))
        rows.append(Row("small", f"{kind}: the worst shop", max(every), 0.2, False, of))
    return rows


def empty(work: Path, options: Any) -> list[Row]:
    """Photos of nothing."""
    from shelfmatch.edge import Matcher, MatchResult

    photos, made, rows = nothing.nothing(work, options.photos), nothing.made_shops(work), []
    for name in options.encoders:
        accepted: Counter[str] = Counter()
        for where, shop in list(made.items())[: options.shops]:
            bundle = work / "right" / "nothing.bundle"
            right_shops.built(shop, file_of(name, work), bundle)
            with Matcher.open(bundle) as matcher:
                for (kind, path), one in zip(photos, matcher.match_many([path for _, path in photos]), strict=True):
                    if isinstance(one, MatchResult) and one.decision == "match":
                        accepted[kind] += 1
                        print(f"  {name}, {where}: {kind} {path.name} is {one.sku}, {one.confidence:.2f}", flush=True)
            print(f"  {name}, {where}: {accepted.total()} so far", flush=True)
        told = ", ".join(f"{count} {kind}" for kind, count in accepted.items())
        of = f"{len(photos)} photos in each of {min(options.shops, len(made))} shops{': ' * bool(told)}{told}"
        rows.append(Row("nothing", f"{name}: photos of nothing accepted", accepted.total(), 0, False, of, ""))
    return rows


def local(work: Path, options: Any) -> list[Row]:
    """Small shops as they are built against the same without local matching and adapter: recall@1 of the worst and in the mean."""
    rows = []
    for kind in options.kinds or ("grocery", "phone", "rendered"):
        whole, gains = goods.SHOPS[kind](work), []
        random = np.random.default_rng([options.seed, 10])
        for _ in range(options.shops):
            shop = small_shops.drawn(whole, 10, random, options.queries)
            shop = right_shops.part_of(shop, 0, 0, random)
            plain, tuned = (
                _recall_of(shop, options.encoder, work, **settings)
                for settings in ({"adapt": "off", "local": "off"}, {})
            )
            noise = float(np.sqrt(2 * max(plain * (1 - plain), 0.02) / max(1, len(shop.queries))))
            gains.append((tuned - plain, tuned - plain + noise))
        of = f"{len(gains)} shops of 10 products"
        rows += [
            Row(
                "local",
                f"{kind}: gained by local matching and adapter",
                float(np.mean([one[0] for one in gains])),
                0,
                True,
                of,
            ),
            Row("local", f"{kind}: the worst shop, noise granted", min(one[1] for one in gains), -0.02, True, of),
        ]
    return rows


def _recall_of(shop: goods.Shop, encoder: str, work: Path, **settings: Any) -> float:
    bundle = work / "right" / "small.bundle"
    right_shops.built(shop, file_of(encoder, work), bundle, **settings)
    known = [one for one in shop.queries if one[1] in shop.skus]
    return right_shops.asked(goods.Shop(shop.kind, shop.catalogue, tuple(known)), bundle).figures(0.05)["recall_at_1"]


def calibrate(work: Path, options: Any) -> list[Row]:
    """Twenty photos of the shop's camera, unlabelled and labelled: what they win of the other queries' right accepts at 5 %."""
    rows = []
    for kind in options.kinds or ("grozi", "phone", "grocery", "rendered"):
        for pictures in options.pictures or CALIBRATED.get(kind, (0,)):
            random = np.random.default_rng([options.seed, 20, pictures])
            shop = right_shops.with_pictures(_cut(goods.SHOPS[kind](work), options), pictures, random)
            shop = right_shops.darkened(shop, work) if kind == "rendered" else shop
            found = [
                _calibrated(drawn, work, options.encoder, random)
                for drawn in right_shops.draws(shop, options.draws, options.seed)
            ]
            for name, after in (("", 1), (", labelled", 2)):
                before, gained = np.array([one[0] for one in found]), np.array([one[after] for one in found])
                gains = gained[:, 0] - before[:, 0]
                of = f"{len(found)} draws; false accepts {before[:, 1].mean():.1%} before, {gained[:, 1].mean():.1%} after"
                rows += [
                    Row("calibrate", f"{shop.kind}{name}: right accepts up by", float(gains.mean()), 0.05, True, of),
                    Row("calibrate", f"{shop.kind}{name}: the worst draw", float(gains.min()), -0.01, True, of),
                ]
    return rows


def _calibrated(shop: goods.Shop, work: Path, encoder: str, random: np.random.Generator) -> list[tuple[float, float]]:
    """Right and false accepts at 5 %: before, with twenty unlabelled photos, with the same photos labelled."""
    from shelfmatch.edge import calibrate_bundle

    rate, folder = 0.05, work / "right"
    places = random.permutation(len(shop.queries))
    own = [shop.queries[place] for place in places if shop.queries[place][1] in shop.skus][:20]
    rest = goods.Shop(shop.kind, shop.catalogue, tuple(one for one in shop.queries if one not in own))
    bundle, kept = folder / "camera.bundle", folder / "camera-before.bundle"
    right_shops.built(rest, file_of(encoder, work), kept, false_accept=rate)
    labels = catalogue_csv(goods.Shop(shop.kind, tuple(own), ()), folder)
    found = []
    for photos in (None, [path for path, _ in own], labels):
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(kept, bundle)
        if photos is not None and not calibrate_bundle(bundle, photos).changed:
            found.append(found[0])
            continue
        figures = right_shops.asked(rest, bundle).figures(rate)
        found.append((figures["right_accepts"], figures["false_accepts"]))
    return found


def codes(work: Path, options: Any) -> list[Row]:
    """Packages with a readable bar code, and others."""
    found, of = barcodes.measured(work, options.encoder, options.codes), f"{options.codes} photos of each kind"
    sure = (found["settled"] + found["accepted by their look"]) / options.codes
    return [
        Row("barcodes", "settled, or accepted and right", sure, 0.8, True, of),
        Row("barcodes", "wrong", found["wrong"], 0, False, of, ""),
        Row("barcodes", "false by a bar code", found["false by bar code"], 0, False, of, ""),
    ]


def cost(work: Path, options: Any) -> list[Row]:
    """Of local matching: bytes a reference, and how many queries it looks at."""
    from shelfmatch.edge import Bundle

    rows = []
    for kind in options.kinds or ("grozi", "rendered"):
        shop = _cut(goods.SHOPS[kind](work), options)
        bundle = work / "right" / "cost.bundle"
        right_shops.built(shop, file_of(options.encoder, work), bundle, local="on")
        opened = Bundle.open(bundle)
        size = opened.file("cells").stat().st_size / max(1, len(shop.catalogue))
        rows.append(Row("cost", f"{kind}: bytes a reference for local matching", size, 4096, False, _size(shop), ""))
        rows += _instructions(kind, shop, bundle, work)
    return rows


def _instructions(kind: str, shop: goods.Shop, bundle: Path, work: Path) -> list[Row]:
    """On an emulated Cortex-A76 of six photos each: what local matching takes of the encoder's, where it looks, and in the mean of
    the shop's queries. None where nothing can be emulated."""
    from check import Shop, run_stages, stages_command
    from emulation import set_up, unavailable

    from shelfmatch.edge import Matcher, MatchResult

    if (reason := unavailable()) is not None:
        print(f"  no instructions are counted: {reason}", flush=True)
        return []
    photos = []
    for number, place in enumerate(np.linspace(0, len(shop.queries) - 1, 6).astype(int)):
        photos.append(work / f"local-{number}{shop.queries[place][0].suffix}")
        photos[-1].write_bytes(shop.queries[place][0].read_bytes())
    _, counts = run_stages(stages_command(set_up(work / "arm"), "cortex-a76", Shop(kind, bundle), photos))
    share = counts["local"] / counts["encode"]
    with Matcher.open(bundle, look_again=False, locate="off") as matcher:
        answers = [
            one for one in matcher.match_many([path for path, _ in shop.queries]) if isinstance(one, MatchResult)
        ]
    looked = float(np.mean([one.before_local is not None for one in answers]))
    of = f"{counts['local'] / 1e6:.1f} of {counts['encode'] / 1e6:.1f} million instructions, Cortex-A76"
    return [
        Row("cost", f"{kind}: a look of local matching, of the encoder's instructions", share, 0.3, False, of),
        Row(
            "cost",
            f"{kind}: in the mean over queries",
            share * looked,
            0.1,
            False,
            f"{looked:.0%} of {len(answers)} looked at",
        ),
    ]


MEASURE: Final[dict[str, Callable[[Path, Any], list[Row]]]] = {
    "recall": recall, "rates": rates, "small": small, "nothing": empty, "cost": cost, "local": local, "calibrate": calibrate,
    "barcodes": codes,
}  # fmt: skip


def _cut(shop: goods.Shop, options: Any) -> goods.Shop:
    return right_shops.part_of(shop, options.products, options.most_queries, np.random.default_rng(options.seed))


def _size(shop: goods.Shop) -> str:
    return f"{len(shop.skus)} products, {len(shop.queries)} queries"


def merged(before: list[dict[str, Any]], made: list[dict[str, Any]], part: str, *, whole: bool) -> list[dict[str, Any]]:
    """The rows of all parts: those just made in place of the part's (`whole`), or of those that tell of the same; by kind."""
    told = {row["what"] for row in made}
    kept = [row for row in before if row["part"] != part or not (whole or row["what"] in told)]
    order = list(goods.SHOPS)

    def place(row: dict[str, Any]) -> tuple[int, int]:
        kind = row["what"].replace(" iconic", "-iconic").split(":")[0].split(",")[0]
        return list(PARTS).index(row["part"]), order.index(kind) if kind in order else len(order)

    return sorted(kept + made, key=place)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--encoder", default="shelfmatch-cnn")
    parser.add_argument("--rival", default="v1", help="encoder that grozi is compared with (default: v1; none: '')")
    parser.add_argument(
        "--encoders", nargs="+", default=["shelfmatch-cnn", "shelfmatch-vit", "v1"], help="of nothing's shops"
    )
    parser.add_argument("--kinds", nargs="+", choices=list(goods.SHOPS), help="of shops (default: the bars')")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05, 0.01, 0.1])
    parser.add_argument(
        "--pictures", nargs="+", type=int, help="catalogue pictures a product, 0 for all (default: the bars')"
    )
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--shops", type=int, default=20, help="small ones of each size; with nothing at most ten")
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 3, 6, 10])
    parser.add_argument("--queries", type=int, default=60, help="of each kind in small shops, at most")
    parser.add_argument("--products", type=int, default=0, help="of large shops, at most (0: all)")
    parser.add_argument("--most-queries", type=int, default=0, help="of large shops, at most (0: all)")
    parser.add_argument("--photos", type=int, default=200, help="of nothing")
    parser.add_argument("--codes", type=int, default=1000, help="photos with a bar code, and without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table of all parts there")
    options = parser.parse_args(arguments)
    settings = {
        key: value for key, value in vars(options).items() if key not in ("json", "work", "gate", "markdown", "parts")
    }
    report = reporting.Report.start("right_answers")
    before = json.loads(options.json.read_text(encoding="utf-8")) if options.json and options.json.exists() else {}
    report.results = {key: before.get("results", {}).get(key, empty) for key, empty in (("rows", []), ("settings", {}))}
    report.results["versions"] = {name: version(name) for name in ("shelfmatch", "ai-edge-litert", "numpy", "pillow")}
    with reporting.work_folder(options.work) as work, remembered(work / "remembered.sqlite"):
        for part in options.parts:
            found = MEASURE[part](work, options)
            made = [{**asdict(row), "met": row.met} for row in found]
            report.results["rows"] = merged(report.results["rows"], made, part, whole=options.kinds is None)
            report.results["settings"][part] = settings
            reporting.print_table(part, HEADER, [shown(row) for row in made])
    if options.markdown is not None:
        options.markdown.write_text(
            right_answers_table({"machine": report.machine, "results": report.results}) + "\n", encoding="utf-8"
        )
    report.finish(options)
    return 1 if options.gate and any(row["met"] is False for row in report.results["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
