"""How like its taught photo the right product is behind a cart's wire, and a strange one in its place (`shelf/judge.py`, `BEHIND`).

    python benchmarks/shelf_wire.py --seeds 201 202 205 207 208 210 211 213

Shelves of `shelf_life`, of 12 and 24 slots: each once with strange products in all facings, and three times behind wire. Counted
are facings that the cut doesn't name (unknown, or undecided after two looks) and in which the closer look finds a product without
being sure of it; "named so": where it calls that the slot's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import reporting
from PIL import Image
from reporting import Report
from shelf import bundle_of
from shelf_life import ShelfLife, behind_wire, seen
from shelf_life import life as make

from shelfmatch.edge import Matcher
from shelfmatch.edge.shelf.align import IDENTITY
from shelfmatch.edge.shelf.closer import CloserLook
from shelfmatch.edge.shelf.compare import factor_of
from shelfmatch.edge.shelf.crops import corners_in, cuts
from shelfmatch.edge.shelf.judge import BEHIND
from shelfmatch.edge.shelf.planogram import planogram_of
from shelfmatch.edge.shelf.watcher import ShelfWatcher

WIRES = 3
Cosines = dict[tuple[str, bool], list[float]]


def pictures(life: ShelfLife, rng: np.random.Generator) -> list[tuple[str, Image.Image]]:
    """The shelf with strange products, and behind wire."""
    full, strange = life._bay(), life._bay()
    for one in life.places:
        for facing in range(one.facings):
            strange.put(one.id, facing, [life.unknown[int(rng.integers(len(life.unknown)))]])
    wired = [("behind wire", behind_wire(full.picture, rng)) for _ in range(WIRES)]
    return [("strange", strange.picture), *wired]


def looks(seed: int, folder: Path) -> Cosines:
    """Cosines to the right product: (what is there, whether the closer look names it) → one each facing."""
    life = make(seed=seed, hours=0.5, slots=12 if seed % 3 == 0 else 24, events=0, calm=True)
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    found: Cosines = {}
    with Matcher.open(bundle_of(life, folder), sessions=1) as matcher:
        watcher = ShelfWatcher(planogram_of(life.plan), matcher.snapshot, life.full, life.empty)
        closer, factor = CloserLook(matcher.snapshot), factor_of(life.bay.size[0])
        for kind, picture in pictures(life, rng):
            pixels = seen(picture, rng)
            for number, cell in enumerate(watcher.cells.cells):
                looked = watcher.judge.look(cuts(pixels, IDENTITY, [cell.quad], factor))
                label = watcher.judge.label(number, looked * 2)
                if label is not None and label.kind != "unknown":
                    continue
                name = closer(pixels, corners_in(IDENTITY, cell.quad, factor))
                if name is None or name.is_sure:
                    continue
                is_so = name.sku in watcher.plan.slots[cell.slot].skus
                found.setdefault((kind, is_so), []).append(watcher.judge.likeness(number, looked))
    return found


def main() -> int:
    """Count, and say."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[201, 202, 205, 207, 208, 210, 211, 213])
    options = parser.parse_args()
    report = Report.start("shelf-wire", seeds=options.seeds, at_least=BEHIND)
    counted: Cosines = {}
    with reporting.work_folder(options.work) as work:
        for seed in options.seeds:
            for key, cosines in looks(seed, work / f"shelf_life-{seed}").items():
                counted.setdefault(key, []).extend(cosines)
            print(f"seed {seed}: {sum(map(len, counted.values()))} facings", flush=True)
    rows: list[tuple[Any, ...]] = []
    for kind in ("behind wire", "strange"):
        named, others = (np.array(counted.get((kind, is_so), [])) for is_so in (True, False))
        for words, cosines in (("named so", named), ("all", np.concatenate([named, others]))):
            if not len(cosines):  # a few seeds may have none
                continue
            parts = [round(float(part), 2) for part in np.quantile(cosines, [0.05, 0.25, 0.5, 0.75, 0.95])]
            rows.append((kind, words, len(cosines), *parts, f"{100 * np.mean(cosines >= BEHIND):.0f} %"))
    header = ("in the slot", "closer look", "facings", "5 %", "25 %", "median", "75 %", "95 %", f"at least {BEHIND}")
    reporting.print_table("Cosine to the right product's taught photo", header, rows)
    report.results = {"rows": [dict(zip(header, row, strict=True)) for row in rows]}
    return report.finish(options)


if __name__ == "__main__":
    raise SystemExit(main())
