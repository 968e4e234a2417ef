"""What a closer look at doubtful facings is good for (`shelf/closer.py`), on busy shelves of `shelf_life`.

    python benchmarks/shelf_closer.py --seeds 71 72 73 74 75 76

Each time a facing's cut leaves a doubt, what the cut said and what the closer look said is held against the state of its slot,
where that is misplaced, unknown or empty: of a slot that is low or full it isn't told what this facing shows.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import reporting
from reporting import Bar, Report
from shelf import bundle_of
from shelf_life import life as make
from shelf_truth import SlotTruth

from shelfmatch.edge import Matcher
from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.shelf.judge import Label
from shelfmatch.edge.shelf.planogram import planogram_of
from shelfmatch.edge.shelf.watcher import ShelfWatcher

HOURS, EVENTS = 2, 174
SAYS = {"unknown": "unknown", "empty": "empty", "other": "a product's name", "right": "the right product"}


class Noting(ShelfWatcher):
    """A watcher that notes what closer looks said: (slot, what the cut said, what the closer look said)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.noted: list[tuple[str, Label, Label]] = []

    def _looked_closer(self, number: int, label: Label, frame: Frame) -> Label | None:
        found = super()._looked_closer(number, label, frame)
        if found is not None:
            self.noted.append((self.plan.slots[self.cells.cells[number].slot].id, label, found))
        return found


def is_so(label: Label, truth: SlotTruth) -> bool:
    """Whether a facing of a slot that isn't full was read right."""
    if truth.state == "misplaced":
        return label == Label("other", truth.by)
    return label.kind == ("unknown" if truth.state == "unknown" else "empty")


def looks(seed: int, folder: Path) -> list[tuple[SlotTruth, Label, Label]]:
    """Closer looks of one shelf, with what stands in the slot."""
    life = make(seed=seed, hours=HOURS, slots=40, events=EVENTS)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with Matcher.open(bundle_of(life, folder), sessions=1) as matcher:
        watcher = Noting(planogram_of(life.plan), matcher.snapshot, life.full, life.empty)
        for frame, truth in life.frames():
            watcher.noted.clear()
            watcher.see(frame)
            found += [
                (truth.slots[slot], cut, closer) for slot, cut, closer in watcher.noted if slot not in truth.hidden
            ]
    return [one for one in found if one[0].state in ("misplaced", "unknown", "empty")]


def main() -> int:
    """Count, and say."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(71, 77)))
    options = parser.parse_args()
    report = Report.start("shelf-closer", seeds=options.seeds, hours=HOURS, events=EVENTS)
    counts: Counter[tuple[str, str]] = Counter()
    before: Counter[tuple[str, str]] = Counter()
    after: Counter[tuple[str, str]] = Counter()
    with reporting.work_folder(options.work) as work:
        for seed in options.seeds:
            for truth, cut, closer in looks(seed, work / f"shelf_life-{seed}-40"):
                key = truth.state, SAYS[cut.kind]
                counts[key] += 1
                before[key] += is_so(cut, truth)
                after[key] += is_so(closer, truth)
            print(
                f"seed {seed}: {counts.total()} closer looks, right {before.total()} before, {after.total()} after",
                flush=True,
            )
    rows = [(*key, counts[key], before[key], after[key]) for key in sorted(counts)]
    header = ("in the slot", "the cut says", "closer looks", "right before", "right after")
    reporting.print_table("What closer looks said", header, rows)
    report.results = {"rows": [dict(zip(header, row, strict=True)) for row in rows]}
    report.bars.append(
        Bar(
            "doubtful facings read right, over those before", after.total() / max(1, before.total()), 1.0, at_least=True
        )
    )
    return report.finish(options)


if __name__ == "__main__":
    raise SystemExit(main())
