"""What encoders make of goods that trained none of them: GroZi's frames, phone crops, boxes, new print, and variants of a product.

    python benchmarks/known_print.py --stock STOCK
    python benchmarks/known_print.py --stock STOCK --encoders shelfmatch-cnn v1 --sets grozi boxes

Everything goes through build_bundle and Matcher, without local matching unless --local asks for it. STOCK is what
`models/printer/gather.py` makes of typefaces that trained nothing (or SHELFMATCH_STOCK says where it is); the printed sets need
it. Encoders: the embedded ones in LiteRT, as .onnx in ONNX Runtime and as -fp32, the source they were quantized from, and Coral's
MobileNets. "tuned": with the shop adapter. Over all sets together int8 is held against its source, and one runtime against the
other.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import goods
import numpy as np
import printed_shops
import reporting
from encoders import NAMES, OURS, VARIANTS, file_of, recall
from real_goods import catalogue_csv
from remembered import remembered

SETS: Final = ("grozi", "phone-out", "boxes", "printed", "variants")
TUNED: Final = ("grozi", "phone-out")
"""Sets whose products have several photos, from which the adapter is fitted."""
LIMITS: Final = {
    "shelfmatch-cnn": {"grozi, tuned": 0.92, "phone-out": 0.72, "printed": 0.88, "variants": 0.75},
    "shelfmatch-vit": {"grozi, tuned": 0.90, "phone-out": 0.70, "printed": 0.86, "variants": 0.75},
    "shelfmatch-nano": {"grozi, tuned": 0.86, "phone-out": 0.62, "printed": 0.75, "variants": 0.60},
}
ABOVE_V1: Final = {
    "shelfmatch-cnn": {"grozi, tuned": 0.08, "boxes": 0.15, "variants": 0.30},
    "shelfmatch-vit": {"boxes": 0.10},
    "shelfmatch-nano": {"boxes": 0.0},
}
"""The bars of the encoders' issue, from 0 to 1."""
INT8_LOSS, COSINE = 0.005, 0.999


def sets_of(stock: Path | None, work: Path) -> dict[str, Callable[[], goods.Shop]]:
    """The shops by name; each is made when it is wanted."""
    found: dict[str, Callable[[], goods.Shop]] = {
        "grozi": lambda: goods.grozi(work),
        "phone-out": lambda: printed_shops.phone_out(work),
        "boxes": lambda: printed_shops.boxes(work),
    }
    if stock is not None:
        found["printed"] = lambda: printed_shops.new_designs(stock, work)
        found["variants"] = lambda: printed_shops.families(stock, work)
    return found


def measured(name: str, sets: dict[str, goods.Shop], work: Path, local: bool) -> dict[str, np.ndarray[Any, Any]]:
    """By set, and tuned: (N,) whether the first candidate is right; `local`: with local matching."""
    found = {}
    for kind, shop in sets.items():
        folder = work / "bundles" / kind
        folder.mkdir(parents=True, exist_ok=True)
        asked = (file_of(name, work), catalogue_csv(shop, folder), shop.queries, folder)
        found[kind], _ = recall(*asked, local=local)
        if kind in TUNED:
            found[f"{kind}, tuned"], _ = recall(*asked, adapt="auto", local=local)
    return found


def alike(first: str, second: str, sets: dict[str, goods.Shop], work: Path) -> float:
    """The mean cosine of two files' embeddings of the same queries, fifty of each set."""
    from shelfmatch.edge import Encoder

    one, other = (Encoder.load(file_of(name, work), threads=1) for name in (first, second))
    photos = [path for shop in sets.values() for path, _ in shop.queries[:50]]
    return float(reporting.cosines(one.embed(*photos), other.embed(*photos)).mean())


def hold_against_bars(report: reporting.Report, right: dict[str, dict[str, Any]]) -> None:
    """The issue's numbers; over all sets together, what int8 and the other runtime lose."""
    shares = {name: {kind: float(one.mean()) for kind, one in row.items()} for name, row in right.items()}
    for name, limits in LIMITS.items():
        for kind, limit in limits.items():
            if kind in shares.get(name, {}):
                report.bar(f"{name}, {kind}", shares[name][kind], limit, at_least=True)
        for kind, more in ABOVE_V1[name].items():
            if kind in shares.get(name, {}) and kind in shares.get("v1", {}):
                report.bar(
                    f"{name}, {kind}, above MobileNetV1", shares[name][kind] - shares["v1"][kind], more, at_least=True
                )
    for name in OURS:
        every = {one: np.concatenate(list(right[one].values())).mean() for one in _files(name) if one in right}
        if source := every.pop(f"{name}-fp32", None):
            for one, share in every.items():
                report.bar(f"{one}, points lost by int8", float(source - share), INT8_LOSS)
        if len(every) == 2:
            report.bar(f"{name}, runtimes apart", abs(float(every[name] - every[f"{name}.onnx"])), INT8_LOSS)


def _files(name: str) -> tuple[str, str, str]:
    return name, f"{name}.onnx", f"{name}-fp32"


def add_stock(parser: argparse.ArgumentParser) -> None:
    """The option that the printed sets need."""
    known = os.environ.get("SHELFMATCH_STOCK")
    parser.add_argument(
        "--stock", type=Path, metavar="DIR", default=Path(known) if known else None, help="typefaces that are new"
    )


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, `stock` and `sets` among them, which fit together."""
    arguments = parser.parse_args()
    if arguments.stock is None and {"printed", "variants"} & set(arguments.sets):
        parser.error("printed and variants need --stock, which is missing; name it, or --sets without them")
    return arguments


def main() -> int:
    """The command line; see the first lines."""
    parser = reporting.argument_parser(__doc__)
    add_stock(parser)
    parser.add_argument("--encoders", nargs="+", choices=(*NAMES, *VARIANTS), default=[*NAMES, *VARIANTS])
    parser.add_argument("--local", action="store_true", help="with local matching, as `match` answers")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="some of the sets")
    arguments = parsed(parser)
    report = reporting.Report.start("known_print")
    with reporting.work_folder(arguments.work) as work:
        making = sets_of(arguments.stock, work)
        sets = {name: making[name]() for name in arguments.sets}
        right: dict[str, dict[str, Any]] = {}
        for name in arguments.encoders:
            with remembered(work / "encoders.sqlite"):
                right[name] = measured(name, sets, work, arguments.local)
            print(name, {kind: round(float(one.mean()), 4) for kind, one in right[name].items()}, flush=True)
        cosines = {
            other: alike(f"{name}-fp32", other, sets, work)
            for name in OURS
            for other in (name, f"{name}.onnx")
            if {f"{name}-fp32", other} <= set(arguments.encoders)
        }
    report.results = {
        "recall": {name: {kind: float(one.mean()) for kind, one in row.items()} for name, row in right.items()},
        "queries": {kind: len(one) for kind, one in next(iter(right.values())).items()},
        "cosine to the source": cosines,
    }
    kinds = list(next(iter(right.values())))
    reporting.print_table(
        "The first candidate is right", ("encoder", *kinds),
        [(name, *(f"{100 * row[kind].mean():.1f} %" for kind in kinds)) for name, row in right.items()],
    )  # fmt: skip
    hold_against_bars(report, right)
    for other, cosine in cosines.items():
        report.bar(f"{other}, cosine to the source", cosine, COSINE, at_least=True)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
