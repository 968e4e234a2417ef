"""Look-again on five sets of ruined photos, false accepts with products left out, and decisions over several frames.

    python benchmarks/lookagain.py
    python benchmarks/lookagain.py --encoders v1 v2 --draws 4 --json lookagain.json
    python benchmarks/lookagain.py --parts limits

Catalogue: the train photos of the Grocery Store Dataset; queries: its val photos, each ruined with a seed of its own. Recall@1 is
over the best candidate before rejection. False accepts: 16 of the 81 products are left out of the shop, their val photos asked.
What look-again does was chosen on train photos (catalogue: the first seven eighths of each product's, queries: the rest), its
weights on val.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reporting
import shops
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SETS = ("dark", "noisy", "blurred", "jpeg", "rotated")
BAR_WON_BACK, BAR_CLEAN_POINTS, BAR_CLEAN_LATENCY = 0.30, 0.2, 1.03
LEFT_OUT = 16

Pixels = NDArray[np.uint8]


def ruined(pixels: Pixels, how: str, seed: int) -> Pixels:
    """A photo as a bad camera would have it: (H, W, 3) uint8, another each seed. Blur is in pixels of a photo 348 wide."""
    random = np.random.default_rng([seed, len(how)])
    if how == "dark":  # little light, and the sensor's own noise
        return _rounded(pixels * random.uniform(0.15, 0.25) + random.normal(0, 4, pixels.shape))
    if how == "noisy":
        return _rounded(pixels + random.normal(0, random.uniform(25, 40), pixels.shape))
    if how == "blurred":
        return _blurred(pixels, random.uniform(3, 5))
    if how == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=10)
        return np.asarray(Image.open(buffer).convert("RGB"))
    if how == "rotated":
        return np.ascontiguousarray(np.rot90(pixels, 1 if random.random() < 0.5 else 3))
    return pixels


def _rounded(values: NDArray[Any]) -> Pixels:
    pixels: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return pixels


def _blurred(pixels: Pixels, sigma_px: float) -> Pixels:
    radius = sigma_px * max(pixels.shape[:2]) / 348
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def decoded(photos: Sequence[shops.GroceryPhoto]) -> list[Pixels]:
    """The photos' pixels."""
    return [np.asarray(Image.open(photo.path).convert("RGB")) for photo in photos]


def recall(bundle: Path, photos: Sequence[shops.GroceryPhoto], pixels: list[Pixels], how: str) -> dict[str, Any]:
    """Recall@1 and correct accepts of one set, without and with look-again."""
    from shelfmatch.edge import Matcher, MatchResult

    queries = [ruined(picture, how, seed) for seed, picture in enumerate(pixels)]
    wanted = [f"{photo.label:03d}" for photo in photos]
    found: dict[str, Any] = {}
    for name, again in (("once", False), ("again", True)):
        with Matcher.open(bundle, look_again=again) as matcher:
            start = time.perf_counter()
            answers = [a for a in matcher.match_many(queries) if isinstance(a, MatchResult)]
            seconds = time.perf_counter() - start
        found[name] = {
            "recall_at_1": float(np.mean([a.candidates[0].sku == sku for a, sku in zip(answers, wanted, strict=True)])),
            "correct_accepts": float(np.mean([a.sku == sku for a, sku in zip(answers, wanted, strict=True)])),
            "accepts": float(np.mean([a.sku is not None for a in answers])),
            "ms_per_photo": 1e3 * seconds / len(answers),
        }
    return found


def false_accepts(shop: Callable[[set[int]], Path], how: Sequence[str], draws: int) -> dict[str, dict[str, float]]:
    """Rates of unknown products accepted, by set, without and with look-again, over shops with 16 products left out."""
    from shelfmatch.edge import Matcher

    val = shops.grocery_photos("val")
    counts: dict[str, dict[str, list[bool]]] = {name: {"once": [], "again": []} for name in how}
    labels = sorted({photo.label for photo in shops.grocery_photos("train")})
    for draw in range(draws):
        out = {int(label) for label in np.random.default_rng(draw).choice(labels, LEFT_OUT, replace=False)}
        unknown = [(seed, photo) for seed, photo in enumerate(val) if photo.label in out]
        pixels = decoded([photo for _, photo in unknown])
        with Matcher.open(shop(out)) as matcher:
            for name in how:
                for (seed, _), picture in zip(unknown, pixels, strict=True):
                    answer = matcher.match(ruined(picture, name, seed))
                    counts[name]["again"].append(answer.sku is not None)
                    # Accepted at once, or after the second look?
                    counts[name]["once"].append(answer.sku is not None and answer.look_again is None)
    return {name: {look: float(np.mean(values)) for look, values in both.items()} for name, both in counts.items()}


def clean_latency(bundle: Path, pixels: list[Pixels], rounds: int = 5) -> reporting.Ratio:
    """Time of accepted clean photos with look-again over that without, interleaved photo by photo."""
    from shelfmatch.edge import Matcher

    times: dict[bool, list[float]] = {True: [], False: []}
    with Matcher.open(bundle, look_again=True) as again, Matcher.open(bundle, look_again=False) as once:
        accepted = [picture for picture in pixels if once.match(picture).sku is not None]
        for turn in range(rounds):
            for picture in accepted:
                for matcher in (again, once) if turn % 2 else (once, again):
                    start = time.perf_counter()
                    matcher.match(picture)
                    times[matcher is again].append(time.perf_counter() - start)
    return reporting.ratio_of_medians(times[True], times[False])


def limits(bundle: Path, photos: Sequence[shops.GroceryPhoto], pixels: list[Pixels]) -> list[tuple[object, ...]]:
    """Recall after look-again as it gets darker and more blurred: where a photo is beyond use."""
    from shelfmatch.edge import Matcher

    wanted = [f"{photo.label:03d}" for photo in photos]
    rows: list[tuple[object, ...]] = []
    steps: list[tuple[str, float]] = [("times", v) for v in (0.12, 0.08, 0.05, 0.03, 0.02)]
    steps += [("blur, px of 348", v) for v in (4.0, 6.0, 8.0, 10.0, 14.0)]
    with Matcher.open(bundle) as matcher:
        for kind, value in steps:
            right, measured, problems = [], [], []
            for seed, (picture, sku) in enumerate(zip(pixels, wanted, strict=True)):
                noise = np.random.default_rng(seed).normal(0, 4, picture.shape)
                bad = _rounded(picture * value + noise) if kind == "times" else _blurred(picture, value)
                answer = matcher.match(bad)
                right.append(answer.candidates[0].sku == sku)
                if answer.look_again is not None:
                    quality = answer.look_again.quality
                    measured.append(quality.brightness if kind == "times" else quality.blur_px)
                    problems.append(answer.look_again.problem is not None)
            told = f"{np.mean(problems):.0%}" if problems else "–"
            rows.append((f"{kind} {value:g}", f"{np.mean(right):.1%}", f"{np.median(measured or [0]):.1f}", told))
    return rows


def tracked(
    shop: Callable[[set[int]], Path], draws: int, frames: Sequence[int], correlations: Sequence[float]
) -> list[tuple[object, ...]]:
    """Correct and false accepts over several frames, and recall@1. A product's val photos stand for its frames, in random
    order and with repetition where there are fewer: other photos of a product differ more than frames of a camera do."""
    from shelfmatch.edge import Matcher
    from shelfmatch.edge.matching import tracking

    val = shops.grocery_photos("val")
    by_label: dict[int, list[shops.GroceryPhoto]] = {}
    for photo in val:
        by_label.setdefault(photo.label, []).append(photo)
    rows: list[tuple[object, ...]] = []
    labels = sorted({photo.label for photo in shops.grocery_photos("train")})
    counts: dict[tuple[float, int], list[tuple[bool, bool, bool]]] = {}
    for draw in range(draws):
        out = {int(label) for label in np.random.default_rng(draw).choice(labels, LEFT_OUT, replace=False)}
        with Matcher.open(shop(out)) as matcher:
            for label, photos in by_label.items():
                order = np.random.default_rng([draw, label]).permutation(len(photos))
                if len(photos) < max(frames):
                    continue
                tracker = matcher.track()
                for number, place in enumerate(order[: max(frames)], start=1):
                    tracker.add(photos[int(place)].path)
                    if number not in frames:
                        continue
                    for correlation in correlations:
                        tracker.correlation = correlation
                        decision = tracker.decision
                        right = decision.candidates[0].sku == f"{label:03d}"
                        counts.setdefault((correlation, number), []).append(
                            (label in out, decision.sku is not None, right)
                        )
    for (correlation, number), cases in sorted(counts.items()):
        known = [case for case in cases if not case[0]]
        unknown = [case for case in cases if case[0]]
        rows.append(
            (
                f"{correlation:g}" + (" (ours)" if correlation == tracking.CORRELATION else ""),
                number,
                f"{np.mean([right for _, _, right in known]):.1%}",
                f"{np.mean([accepted and right for _, accepted, right in known]):.1%}",
                f"{np.mean([accepted for _, accepted, _ in unknown]):.1%}",
                len(known),
                len(unknown),
            )
        )
    return rows


def subset_shops(encoder_file: Path, work: Path) -> Callable[[set[int]], Path]:
    """Makes the bundle of the train photos without some products. Each photo is embedded once."""
    from shelfmatch.edge import Encoder
    from shelfmatch.edge.build.build import write_bundle
    from shelfmatch.edge.catalog.product import Product

    encoder = Encoder.load(encoder_file, resizer="pillow")
    train = shops.grocery_photos("train")
    vectors = encoder.embed(*[photo.path for photo in train])

    def shop(out: set[int]) -> Path:
        labels = sorted({photo.label for photo in train} - out)
        rows = [row for row, photo in enumerate(train) if photo.label not in out]
        references = [labels.index(train[row].label) for row in rows]
        products = [Product(f"{label:03d}") for label in labels]
        path = work / f"{encoder_file.stem}-without-{len(out)}.bundle"
        write_bundle(path, encoder, products, references, vectors[rows])
        return path

    return shop


def look_again_part(report: reporting.Report, name: str, encoder_file: Path, work: Path, draws: int) -> None:
    """The five sets' table, false accepts and the price on clean photos, with their bars."""
    shop = subset_shops(encoder_file, work)
    bundle = shop(set())
    photos = shops.grocery_photos("val")
    pixels = decoded(photos)
    latency = clean_latency(bundle, pixels[::3])
    sets = {how: recall(bundle, photos, pixels, how) for how in ("clean", *SETS)}
    accepts = false_accepts(shop, ("clean", *SETS), draws)
    clean = sets["clean"]["once"]["recall_at_1"]
    rows: list[tuple[object, ...]] = []
    shares = []
    for how, both in sets.items():
        before, after = both["once"]["recall_at_1"], both["again"]["recall_at_1"]
        share = (after - before) / (clean - before) if how != "clean" and clean - before >= 0.01 else None
        if share is not None:
            shares.append(share)
        rows.append(
            (
                how,
                f"{before:.1%}",
                f"{after:.1%}",
                "–" if share is None else f"{share:.0%}",
                f"{both['once']['correct_accepts']:.1%} → {both['again']['correct_accepts']:.1%}",
                f"{accepts[how]['once']:.1%} → {accepts[how]['again']:.1%}",
                f"{both['once']['ms_per_photo']:.0f} → {both['again']['ms_per_photo']:.0f}",
            )
        )
    header = ("set", "recall@1", "after look-again", "won back", "correct accepts", "false accepts", "ms a photo")
    reporting.print_table(
        f"{name}: {len(photos)} val photos; false accepts of {LEFT_OUT} products left out, {draws} draws", header, rows
    )
    report.results[name] = {"sets": sets, "false_accepts": accepts, "clean_latency": str(latency)}
    report.bar(f"{name}: share of the lost recall won back", float(np.mean(shares)), BAR_WON_BACK, at_least=True)
    lost = 100 * (clean - sets["clean"]["again"]["recall_at_1"])
    report.bar(f"{name}: points of recall that clean photos lose", lost, BAR_CLEAN_POINTS)
    report.bar(f"{name}: latency of accepted clean photos, ×", latency.value, BAR_CLEAN_LATENCY)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=("v1", "v2"), default=["v2"])
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="shops with products left out")
    parser.add_argument("--parts", nargs="+", choices=("sets", "limits", "frames"), default=["sets", "frames"])
    arguments = parser.parse_args()
    report = reporting.Report.start("lookagain", draws=arguments.draws)
    with reporting.work_folder(arguments.work) as work:
        for name in arguments.encoders:
            encoder_file = shops.model_file(shops.V1) if name == "v1" else shops.cut_v2(work)
            if "sets" in arguments.parts:
                look_again_part(report, name, encoder_file, work, arguments.draws)
            shop = subset_shops(encoder_file, work)
            if "limits" in arguments.parts:
                photos = shops.spread(shops.grocery_photos("val"), 60)
                rows = limits(shop(set()), photos, decoded(photos))
                reporting.print_table(f"{name}: beyond use?", ("ruined by", "recall@1", "measured", "said so"), rows)
            if "frames" in arguments.parts:
                from shelfmatch.edge.matching import tracking

                rows = tracked(shop, arguments.draws, (1, 2, 3, 5), (0.0, 0.5, tracking.CORRELATION, 1.0))
                header = ("correlation", "frames", "recall@1", "correct accepts", "false accepts", "known", "unknown")
                reporting.print_table(f"{name}: several val photos of a product as frames", header, rows)
                report.results[f"{name} frames"] = [dict(zip(header, row, strict=True)) for row in rows]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
