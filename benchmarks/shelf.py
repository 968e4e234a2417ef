"""Shelf cameras: false and missed events, what a frame costs, memory over days, empty places, and plans that are proposed.

    python benchmarks/shelf.py --parts events --life shelf_life:life --seeds 1 2 3 4 5
    python benchmarks/shelf.py --parts calm cost memory gaps propose --json shelf.json

`--life MODULE:FUNCTION` takes another generator of `shelf_truth.Life`. Thresholds were tuned on `shelf_life` with seeds 1 to 5, so
figures on it are no bar's; those of another generator are. "gaps" needs ../shared/data/gaps (measure-only). Costs are processor
time of one thread, interleaved with what they are compared with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import reporting
from reporting import Bar, Report
from shelf_score import Score, Scorer, table
from shelf_truth import Life

from shelfmatch.edge import Matcher, build_bundle
from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.shelf.planogram import planogram_of
from shelfmatch.edge.shelf.watcher import AFTER_FRAMES, ShelfWatcher

TIMES: list[float] = []
"""Processor seconds of each frame that was watched."""
PARTS = ("events", "calm", "cost", "memory", "gaps", "propose")


def bundle_of(life: Life, folder: Path) -> Path:
    """The life's shop, built once a folder."""
    path = folder / "shop.bundle"
    if not path.exists():
        life.catalogue(folder / "catalogue")
        build_bundle(folder / "catalogue", path)
    return path


def watched(life: Life, matcher: Matcher, most: int = 0) -> Score:
    """A life through a watcher."""
    watcher = ShelfWatcher(planogram_of(life.plan), matcher.snapshot, life.full, life.empty)
    scorer = Scorer()
    names = [slot.id for slot in watcher.plan.slots]
    for number, (frame, truth) in enumerate(life.frames()):
        start = time.process_time()
        found = watcher.see(frame)
        TIMES.append(time.process_time() - start)
        scorer.add(truth, found, {name: view.state for name, view in zip(names, watcher.views, strict=True)})
        if most and number + 1 >= most:
            break
    return scorer.score()


def lives(options: argparse.Namespace, **settings: Any) -> Any:
    """One life a seed, with its matcher."""
    module, _, function = options.life.partition(":")
    make = getattr(importlib.import_module(module), function)
    for seed in options.seeds:
        life = make(seed=seed, **settings)
        folder = Path(options.work) / f"{module}-{seed}-{settings.get('slots', 40)}"
        folder.mkdir(parents=True, exist_ok=True)
        with Matcher.open(bundle_of(life, folder), sessions=1) as matcher:
            yield seed, life, matcher


def events(report: Report, options: argparse.Namespace) -> None:
    """Days with sales, refills and mistakes."""
    scores, whole = {}, Score()
    settings = {"hours": options.hours, "slots": 40, "events": round(300 * options.hours / 24)}
    for seed, life, matcher in lives(options, **settings):
        scores[f"seed {seed}"] = one = watched(life, matcher)
        print(table({f"seed {seed}": one}), flush=True)
        if options.wrong:
            print("\n".join(one.wrong))
        whole.add(one)
    print(table({**scores, "all": whole}))
    delay = float(np.median(whole.delays)) if whole.delays else float("nan")
    report.results["events"] = {"life": options.life, **settings, "true": whole.true, "right": whole.right, "false": whole.false,
                                "precision": whole.precision, "recall": whole.recall, "median_delay_frames": delay,
                                "seeds": {name: [one.precision, one.recall] for name, one in scores.items()}}  # fmt: skip
    _states(report, whole)
    report.bars += [
        Bar("event precision", whole.precision, 0.97, at_least=True),
        Bar("event recall", whole.recall, 0.95, at_least=True),
        Bar("median delay, frames", delay, AFTER_FRAMES + 1),
    ]


def _states(report: Report, whole: Score) -> None:
    """Slots of frames: as planned or not, empty or not; and what a frame costs here."""
    found = {"compliance_f1": whole.compliant.f1, "violations_f1": whole.violated.f1, "empty_f1": whole.empty.f1,
             "violations_f1_from_the_first_frame": whole.at_once.f1}  # fmt: skip
    cost = {
        "frames_a_minute": 60 / float(np.mean(TIMES)),
        "peak_resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("  ".join(f"{name} {value:.3f}" for name, value in (found | cost).items()), flush=True)
    report.results["states"] = found
    report.results["here"] = cost
    report.bars += [
        Bar("slots as planned, F1 per slot and frame", whole.compliant.f1, 0.98, at_least=True),
        Bar("slots not as planned, F1 per slot and frame", whole.violated.f1, 0.98, at_least=True),
        Bar("empty slots, F1 per slot and frame", whole.empty.f1, 0.97, at_least=True),
    ]


def calm(report: Report, options: argparse.Namespace) -> None:
    """Frames in which nothing happens on the shelf."""
    each = options.calm_frames // len(options.seeds)
    whole = Score()
    for seed, life, matcher in lives(options, hours=each / 60 * 1.03, uneventful=True):
        one = watched(life, matcher, each)
        print(f"seed {seed}: {one.frames} frames, {one.false} false; camera: {one.camera}", flush=True)
        if options.wrong:
            print("\n".join(one.wrong))
        whole.add(one)
    report.results["calm"] = {
        "life": options.life,
        "frames": whole.frames,
        "false": whole.false,
        "camera": whole.camera,
    }
    report.bars.append(Bar(f"false slot events in {whole.frames} calm frames", whole.false, 0))


def cost(report: Report, options: argparse.Namespace) -> None:
    """Processor time of frames with 60 slots, against encoding 60 facings one by one."""
    from shelf_life import life as make

    life = make(seed=options.seeds[0], hours=1, slots=60, events=60, calm=True)
    folder = Path(options.work) / "cost"
    folder.mkdir(parents=True, exist_ok=True)
    plan = json.loads(json.dumps(dict(life.plan)))
    for position in plan["planogram"]["positions"]:
        position["facings"] = position["minStock"] = 1
    with Matcher.open(bundle_of(life, folder), threads=1, sessions=1) as matcher:
        _costs(report, options, life, planogram_of(plan), matcher)


def _costs(report: Report, options: argparse.Namespace, life: Any, plan: Any, matcher: Matcher) -> None:
    def spoiled(slots: slice) -> np.ndarray:
        """The full shelf with some slots taken by another one's product, all of their facings."""
        bay = life._bay()
        for number, one in list(enumerate(bay.places))[slots]:
            other = bay.places[(number + 7) % len(bay.places)].product
            for facing in range(one.facings):
                bay.put(one.id, facing, [other] * 2)
        return np.asarray(bay.picture)

    rng = np.random.default_rng(0)
    none, every = (spoiled(slots) for slots in (slice(0), slice(None)))
    # Six neighbours after the other in turns: slots differ in width, and wide cuts cost more.
    sixes = [spoiled(slice(first, first + 6)) for first in range(0, len(plan.slots), 6)]
    parts = [np.ascontiguousarray(one) for one in _facings(plan, none)]
    encoder = matcher.snapshot.encoder
    times: dict[str, list[float]] = {
        name: [] for name in ("encode", "none", "six", "six next", "six count", "all", "all next")
    }
    looked: dict[str, list[int]] = {name: [] for name in times}
    for turn in range(options.turns):
        start = time.process_time()
        for part in parts:
            encoder.embed_timed(part)
        times["encode"].append(time.process_time() - start)
        for picture, keys in (
            (none, ("none",)),
            (sixes[turn % len(sixes)], ("six", "six next", "six count")),
            (every, ("all", "all next")),
        ):
            watcher = ShelfWatcher(plan, matcher.snapshot, life.full, life.empty)
            watcher.see(Frame(_noisy(none, rng), 1.0, 0))
            for frame, key in enumerate(keys):
                pixels = _noisy(picture, rng)
                start = time.process_time()
                watcher.see(Frame(pixels, 2.0 + frame, 1 + frame))
                times[key].append(time.process_time() - start)
                looked[key].append(watcher.looked)
    for name, limit in (("none", 0.03), ("six", 0.12), ("all", 0.70)):
        ratio = reporting.ratio_of_medians(times[name], times["encode"])
        spent, encoded = np.median(times[name]) * 1e3, float(np.mean(looked[name]))
        print(f"{name:5} changed: {spent:7.1f} ms, {encoded:.1f} encoded, {ratio} of encoding {len(parts)}")
        report.results[f"cost of a frame, {name} changed"] = {
            "ratio": ratio.value,
            "encoded": encoded,
        }
        report.bars.append(Bar(f"a frame with {name} of 60 slots changed, over encoding 60", ratio.value, limit))
    for name, said in (("all next", "the frame after all changed"), ("six count", "the frame in which six count")):
        ratio = reporting.ratio_of_medians(times[name], times["encode"])
        print(f"{said}: {np.mean(looked[name]):.1f} encoded, {ratio}")
        report.results[f"cost of {said}"] = {"ratio": ratio.value, "encoded": float(np.mean(looked[name]))}


def _facings(plan: Any, pixels: np.ndarray) -> list[np.ndarray]:
    from shelfmatch.edge.shelf.align import IDENTITY
    from shelfmatch.edge.shelf.crops import cuts

    return list(cuts(pixels, IDENTITY, [slot.polygon for slot in plan.slots], 4))


def _noisy(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (pixels * 0.97 + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)


def memory(report: Report, options: argparse.Namespace) -> None:
    """Resident memory over many frames with changes now and then, of few pictures that are drawn beforehand."""
    from shelf_life import life as make

    life = make(seed=options.seeds[0], hours=3, events=120)
    folder = Path(options.work) / f"shelf_life-{options.seeds[0]}-40"
    folder.mkdir(parents=True, exist_ok=True)
    kept = [frame.pixels for number, (frame, _) in enumerate(life.frames()) if number % 9 < 2][:40]
    with Matcher.open(bundle_of(life, folder), sessions=1) as matcher:
        watcher = ShelfWatcher(planogram_of(life.plan), matcher.snapshot, life.full, life.empty)
        began, grown = 0, 0
        for number in range(options.memory_frames):
            picture = kept[number // 25 % len(kept)]
            noise = np.uint8(number % 7)
            watcher.see(Frame(picture ^ (noise & 1), 1e9 + number * 60.0, number))
            if number == 1000:
                began = _resident()
            if number >= 1000 and number % 1000 == 0:
                grown = max(grown, _resident() - began)
                if number % 5000 == 0:
                    print(f"{number} frames: {grown / 2**20:.2f} MB more than after 1000", flush=True)
    report.results["memory"] = {"frames": options.memory_frames, "grown_mb": grown / 2**20}
    report.bars.append(Bar(f"MB grown from frame 1,000 to {options.memory_frames:,}", grown / 2**20, 2))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def gaps(report: Report, options: argparse.Namespace) -> None:
    """Real shelves: each boxed empty place, and as many full places of its size, judged as slots without a taught photo."""
    from shelf_gaps import gap_scores

    auc, count = gap_scores(Path(options.data))
    print(f"{count} empty and as many full places: ROC AUC {auc:.3f}")
    report.results["gaps"] = {"places": count, "roc_auc": auc}
    report.bars.append(Bar("ROC AUC, empty or full on real shelves", auc, 0.85, at_least=True))


def propose(report: Report, options: argparse.Namespace) -> None:
    """Plans from one photo of rendered shelves of 60 products."""
    from shelf_life import life as make

    from shelfmatch.edge.shelf.geometry import box, shared
    from shelfmatch.edge.shelf.propose import found_in, proposed

    found_slots = right = total = 0
    for seed in options.seeds:
        life = make(seed=seed, hours=1, slots=60, events=0, calm=True)
        folder = Path(options.work) / f"shelf_life-{seed}-60"
        folder.mkdir(parents=True, exist_ok=True)
        with Matcher.open(bundle_of(life, folder), sessions=1) as matcher:
            scene = matcher.match_scene(life.full, top_k=1)
        plan = proposed("shelf", (life.full.shape[1], life.full.shape[0]), found_in(scene)).plan
        for place in life.places:
            best = max(plan.slots, key=lambda slot: shared(slot.polygon or box(0, 0, 1, 1), box(*place.box)))
            total += 1
            is_there = shared(best.polygon or box(0, 0, 1, 1), box(*place.box)) >= 0.5
            found_slots += is_there
            right += is_there and best.sku == place.product.sku
        print(f"seed {seed}: {len(plan.slots)} slots proposed for {len(life.places)}", flush=True)
    report.results["propose"] = {"slots": total, "found": found_slots / total, "sku_right": right / total}
    report.bars += [
        Bar("proposed: slots found", found_slots / total, 0.95, at_least=True),
        Bar("proposed: SKUs right", right / total, 0.90, at_least=True),
    ]


def main() -> int:
    """Run the parts."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--life", default="shelf_life:life", metavar="MODULE:FUNCTION")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--calm-frames", type=int, default=10_000)
    parser.add_argument("--memory-frames", type=int, default=50_000)
    parser.add_argument("--turns", type=int, default=20, help="of the costs; every slot changes once in ten")
    parser.add_argument("--wrong", action="store_true", help="list what was false or missed")
    parser.add_argument("--data", default=str(Path(__file__).resolve().parents[2] / "shared" / "data" / "gaps"))
    options = parser.parse_args()
    report = Report.start("shelf", life=options.life, seeds=options.seeds, hours=options.hours)
    with reporting.work_folder(options.work) as work:
        options.work = work
        for part in options.parts:
            globals()[part](report, options)
    return report.finish(options)


if __name__ == "__main__":
    raise SystemExit(main())
