"""Products found before they are named: whole phone photos, what that costs, a dense shelf, and hostile photos.

    python benchmarks/scenes.py --parts phone open small cost dense hostile

phone: photos with exactly one product as they came, asked whole, located, and cut by hand (polygons); recall@1 of the classes that
trained nothing. open: six draws with a quarter of the products left out of the shop; false accepts at the rate asked for, with and
without locating. small: photos so small that they may be cut to their product already (`SMALL` of edge/matching/locate.py), crops
and whole phone photos in that size: recall@1, and false accepts with a quarter left out. cost: processor time of a sure photo and
of one that needs locating, in turns; calls into the detector's room on sure photos. dense: a rendered shelf of 200 facings at 12
megapixels, found and named. hostile: 1x1, 30,000x1, black, noise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import goods
import numpy as np
import reporting
from encoders import file_of
from PIL import Image
from real_goods import catalogue_csv

PARTS = ("phone", "open", "small", "cost", "dense", "hostile")
RATE = 0.05
FACINGS = (9, 18)
"""Rows and about columns of the dense shelf: some 200 facings."""
DENSE = (4000, 3000)

CHILD = """
import json, sys, time
from shelfmatch.edge import Matcher
bundle, photo, detector, workers = sys.argv[1:]
with Matcher.open(bundle, detector=detector or None) as matcher:
    found = []
    for _ in range(4):
        start, cpu = time.perf_counter(), time.process_time()
        scene = matcher.match_scene(photo, workers=int(workers))
        found.append((time.perf_counter() - start, time.process_time() - cpu, dict(scene.latency_ms)))
with open("/proc/self/status") as status:  # ru_maxrss would be that of whoever started this
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
products = [(list(one.box), one.candidates[0].sku if one.candidates else None, one.sku) for one in scene.products]
print(json.dumps({"runs": found, "peak_mb": peak, "products": products}))
"""


def by_hand(work: Path) -> dict[str, tuple[float, float, float, float]]:
    """Photo → the polygon's box, of photos with exactly one product."""
    root = goods.shops.grocery_root().parent / "phone"
    found = {}
    for record in json.loads((root / "photos.json").read_text(encoding="utf-8")):
        if len(record["products"]) == 1:
            xs, ys = zip(*record["products"][0]["polygon"], strict=True)
            found[Path(record["photo"]).stem] = (min(xs), min(ys), max(xs), max(ys))
    return found


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union."""
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def built(shop: goods.Shop, name: str, work: Path, options: Any) -> Path:
    """The shop's bundle, made once in a work folder."""
    from shelfmatch.edge import build_bundle

    bundle = work / f"{name}.bundle"
    if not bundle.exists():
        folder = work / f"catalogue-{name}"
        folder.mkdir(exist_ok=True)
        build_bundle(catalogue_csv(shop, folder), bundle, encoder=file_of(options.encoder, work), false_accept=RATE)
    return bundle


def opened(bundle: Path, options: Any, **settings: Any) -> Any:
    from shelfmatch.edge import Matcher

    return Matcher.open(bundle, detector=options.detector, **settings)


def phone(work: Path, options: Any) -> dict[str, Any]:
    """Recall@1 of whole photos of classes that trained nothing: as they came, located, cut by hand."""
    from shelfmatch.edge.detection.crops import Photo
    from shelfmatch.edge.imaging.image import DEFAULT_LIMITS
    from shelfmatch.models.real import PHONE_OUT

    shop, boxes = goods.phone_whole(work), by_hand(work)
    queries = [(path, sku) for path, sku in shop.queries if sku in PHONE_OUT][:: options.every]
    right: dict[str, list[bool]] = {mode: [] for mode in ("whole", "auto", "always", "by hand")}
    accepted: dict[str, list[bool]] = {mode: [] for mode in right}
    found: list[float] = []
    with opened(built(shop, "phone", work, options), options) as matcher:
        for path, sku in queries:
            cut = Image.fromarray(Photo(path, DEFAULT_LIMITS).part(boxes[path.stem]))
            answers = {
                "whole": matcher.match(path, locate="off"),
                "auto": matcher.match(path, locate="auto"),
                "always": matcher.match(path, locate="always"),
                "by hand": matcher.match(cut, locate="off"),
            }
            for mode, answer in answers.items():
                right[mode].append(bool(answer.candidates) and answer.candidates[0].sku == sku)
                accepted[mode].append(answer.sku == sku)
            located = answers["auto"].located
            if located is not None:
                found.append(overlap(located.box, boxes[path.stem]))
    recall = {mode: float(np.mean(values)) for mode, values in right.items()}
    return {
        "queries": len(queries),
        "recall_at_1": recall,
        "right_accepts": {mode: float(np.mean(values)) for mode, values in accepted.items()},
        "of_by_hand": {mode: recall[mode] / recall["by hand"] for mode in ("whole", "auto", "always")},
        "located": len(found),
        "located_iou_above_half": float(np.mean([one > 0.5 for one in found])) if found else 0.0,
    }


def open_set(work: Path, options: Any) -> dict[str, Any]:
    """False and right accepts of whole photos where a quarter of the products isn't sold."""
    from shelfmatch.models.real import PHONE_OUT

    shop = goods.phone_whole(work)
    queries = [(path, sku) for path, sku in shop.queries if sku in PHONE_OUT][:: options.every]
    return _open(shop, "phone", queries, work, options)


def _open(
    shop: goods.Shop, name: str, queries: Sequence[tuple[Any, str]], work: Path, options: Any
) -> dict[str, dict[str, float]]:
    """By mode, what is accepted of these queries over draws of a quarter of the shop's products that are left out."""
    counts = {mode: np.zeros(4, int) for mode in ("off", "auto", "always")}
    for number, gone in enumerate(goods.quarters(shop, options.draws)):
        draw = shop.without(gone)
        sold = set(draw.skus)
        with opened(built(draw, f"{name}-{number}", work, options), options) as matcher:
            for mode in counts:
                answers = [(sku, matcher.match(photo, locate=mode).sku) for photo, sku in queries]
                counts[mode] += np.array(
                    [
                        sum(answer is not None for sku, answer in answers if sku not in sold),
                        sum(sku not in sold for sku, _ in answers),
                        sum(answer == sku for sku, answer in answers if sku in sold),
                        sum(sku in sold for sku, _ in answers),
                    ]
                )
    return {
        mode: {"false_accepts": float(a / b), "unknown": int(b), "right_accepts": float(c / d), "known": int(d)}
        for mode, (a, b, c, d) in counts.items()
    }


def small(work: Path, options: Any) -> dict[str, Any]:
    """Recall@1 of small photos by mode, and false and right accepts where a quarter of the products isn't sold."""
    from shelfmatch.edge.matching.locate import SMALL

    found: dict[str, Any] = {}
    for shop in (
        goods.grozi(work),
        goods.phone(work),
        goods.fridge(work),
        goods.grocery_iconic(work),
        goods.phone_whole(work),
    ):
        name = shop.kind.replace(" ", "-")
        with opened(built(shop, name, work, options), options, look_again=False) as matcher:
            card = matcher.encoder.card
            side = int(SMALL * max(card.width, card.height))
            queries = [(shrunk(path, side), sku) for path, sku in shop.queries[:: options.every] if sku in shop.skus]
            right = {
                mode: float(np.mean([first(matcher.match(photo, locate=mode)) == sku for photo, sku in queries]))
                for mode in ("off", "auto", "always")
            }
        found[shop.kind] = {"queries": len(queries), "recall_at_1": right}
        if shop.kind in ("grozi", "phone whole"):
            found[shop.kind]["open"] = _open(shop, name, queries, work, options)
    return found


def first(answer: Any) -> str | None:
    """The best candidate's SKU."""
    return answer.candidates[0].sku if answer.candidates else None


def shrunk(path: Path, side: int) -> Image.Image:
    """A photo whose longer side has at most so many pixels."""
    with Image.open(path) as image:
        photo = image.convert("RGB")
    photo.thumbnail((side, side))
    return photo


def cost(work: Path, options: Any) -> dict[str, Any]:
    """Processor time in turns, and calls into the detector's room where the whole photo is sure."""
    shop = goods.phone_whole(work)
    bundle = built(shop, "phone", work, options)
    with opened(bundle, options, sessions=1) as matcher:
        answers = [(path, matcher.match(path, locate="off")) for path, _ in shop.queries[:: max(1, options.every)]]
        # One that is named on a look-again pass has its product looked for before that.
        at_once = [path for path, answer in answers if answer.sku is not None and answer.look_again is None]
        sure = [path.read_bytes() for path in at_once[:12]]
        unsure = [path.read_bytes() for path, answer in answers if answer.sku is None][:12]
        matcher.match(unsure[0], locate="always")
        taken: dict[str, list[float]] = {"sure": [], "sure, locate": [], "unsure": [], "unsure, locate": []}
        for _ in range(8):
            for one, other in zip(sure, unsure, strict=False):
                for kind, photo, mode in (
                    ("sure", one, "off"),
                    ("sure, locate", one, "auto"),
                    ("unsure", other, "off"),
                    ("unsure, locate", other, "auto"),
                ):
                    start = time.process_time()
                    matcher.match(photo, locate=mode)
                    taken[kind].append((time.process_time() - start) * 1e3)
    with opened(bundle, options) as fresh:
        calls = _calls(lambda: [fresh.match(photo, locate="auto") for photo in sure])
        blind = _calls(lambda: [fresh.match(photo, locate="off") for photo in sure])
        loaded = fresh._finder.detector.is_loaded
    medians = {kind: float(np.median(values)) for kind, values in taken.items()}
    return {
        "ms": medians,
        "of_a_sure_photo": medians["unsure, locate"] / medians["sure"],
        "of_the_same_photo": medians["unsure, locate"] / medians["unsure"],
        "calls_into_detection": calls["detection"],
        "more_calls_of_a_sure_photo": (calls["all"] - blind["all"]) / len(sure),
        "detector_loaded": loaded,
    }


def _calls(run: Any) -> dict[str, int]:
    """How many functions of ours were called, and how many of the detector's room."""
    counts = {"all": 0, "detection": 0}

    def seen(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and f"{os.sep}edge{os.sep}" in frame.f_code.co_filename:
            counts["all"] += 1
            counts["detection"] += f"{os.sep}detection{os.sep}" in frame.f_code.co_filename

    run()  # what is loaded once isn't counted
    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(None)
    return counts


def dense(work: Path, options: Any) -> dict[str, Any]:
    """A shelf found and named by a process of its own: time, memory, and how much of it is right."""
    from shelfmatch.edge.synthetic.products import make_shop, render_plain
    from shelfmatch.edge.synthetic.shelf import render_shelf

    products = make_shop(40, 77)
    folder = work / "dense-products"
    for product in products:
        path = folder / product.sku / "plain.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            render_plain(product, 300).save(path)
    shop = goods.Shop("dense", tuple((path, path.parent.name) for path in sorted(folder.glob("*/*.png"))), ())
    bundle = built(shop, "dense", work, options)
    stood = render_shelf(products, *FACINGS, DENSE, seed=5, empty=0.04)
    photo = work / "dense.jpg"
    stood.picture.save(photo, quality=90)
    command = [sys.executable, "-c", CHILD, str(bundle), str(photo), options.detector or "", str(options.workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    boxes = [box for box, _, _ in found["products"]]
    hits = rights = named = 0
    for box, sku in stood.facings:
        place, best = max(
            ((number, overlap(box, other)) for number, other in enumerate(boxes)),
            key=lambda one: one[1],
            default=(0, 0),
        )
        if best > 0.5:
            hits += 1
            rights += found["products"][place][1] == sku
            named += found["products"][place][2] == sku
    walls = [wall for wall, _, _ in found["runs"][1:]]
    return {
        "facings": len(stood.facings),
        "reported": len(boxes),
        "found": hits / len(stood.facings),
        "recall_at_1_of_found": rights / max(hits, 1),
        "named_right": named / len(stood.facings),
        "seconds": min(walls),
        "processor_seconds": min(cpu for _, cpu, _ in found["runs"][1:]),
        "first_seconds": found["runs"][0][0],
        "stages_ms": found["runs"][-1][2],
        "peak_mb": found["peak_mb"],
    }


def strange() -> Iterator[tuple[str, Any]]:
    """Hostile photos by name."""
    random = np.random.default_rng(0)
    yield "1x1", np.zeros((1, 1, 3), np.uint8)
    yield "30,000x1", np.full((1, 30_000, 3), 90, np.uint8)
    yield "1x30,000", random.integers(0, 256, (30_000, 1, 3)).astype(np.uint8)
    yield "black", np.zeros((3000, 4000, 3), np.uint8)
    yield "white", np.full((3000, 4000, 3), 255, np.uint8)
    yield "noise", random.integers(0, 256, (3000, 4000, 3)).astype(np.uint8)
    yield "grid", np.kron(random.integers(0, 256, (75, 100, 3)), np.ones((40, 40, 1))).astype(np.uint8)


def hostile(work: Path, options: Any) -> dict[str, Any]:
    """Scenes of photos that are none: how many products each has, and no crash."""
    shop = goods.phone_whole(work)
    with opened(built(shop, "phone", work, options), options) as matcher:
        return {name: len(matcher.match_scene(photo).products) for name, photo in strange()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoder", default="shelfmatch-cnn")
    parser.add_argument("--detector", default=None, help="a detector's file or card (default: shelfmatch-detect)")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--every", type=int, default=1, help="ask each so many-th photo")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    report = reporting.Report.start("scenes", encoder=options.encoder, detector=options.detector, every=options.every)
    run = {"phone": phone, "open": open_set, "small": small, "cost": cost, "dense": dense, "hostile": hostile}
    with reporting.work_folder(options.work) as work:
        for part in options.parts:
            report.results[part] = run[part](work, options)
            print(part, json.dumps(report.results[part], indent=1), flush=True)
    _hold(report)
    return report.finish(options)


def _hold(report: reporting.Report) -> None:
    found = report.results
    if "phone" in found:
        what = "phone, whole: recall@1 located, of cut by hand"
        report.bar(what, found["phone"]["of_by_hand"]["auto"], 0.9, at_least=True)
    if "open" in found:
        report.bar("false accepts of whole photos, located", found["open"]["auto"]["false_accepts"], RATE)
    if "cost" in found:
        report.bar("calls into the detector's room of sure photos", found["cost"]["calls_into_detection"], 0)
        report.bar("more calls of ours, a sure photo", found["cost"]["more_calls_of_a_sure_photo"], 0)
        report.bar("a photo that needs locating, of a sure one's time", found["cost"]["of_a_sure_photo"], 2.5)
        report.bar("… of its own time without locating", found["cost"]["of_the_same_photo"], 2.5)
    if "dense" in found:
        report.bar("dense shelf: facings found", found["dense"]["found"], 0.85, at_least=True)
        report.bar("dense shelf: s", found["dense"]["seconds"], 1.5)
        report.bar("dense shelf: peak MB", found["dense"]["peak_mb"], 200)
    if "hostile" in found:
        report.bar("hostile photos that were scenes", len(found["hostile"]), 7, at_least=True)


if __name__ == "__main__":
    sys.exit(main())
