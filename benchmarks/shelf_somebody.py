"""What tells that somebody stands before a facing (`shelf/somebody.py`), on shelves of `shelf_life` with carts of wire.

    python benchmarks/shelf_somebody.py --seeds 81 82 83 84

Looks at facings whose rail is clear enough not to hide them, and that would be another product or unknown now: at how many does
what differs go on beyond the facing, is a rail beside it covered, did another slot beside it turn at the same time, and how
many are kept back in all? Where somebody covers a quarter of the slot they should be, where nobody does they shouldn't.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import reporting
from reporting import Report
from shelf import bundle_of
from shelf_life import life as make

from shelfmatch.edge import Matcher
from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.shelf.judge import ENOUGH_LOOKS
from shelfmatch.edge.shelf.planogram import planogram_of
from shelfmatch.edge.shelf.somebody import BEYOND
from shelfmatch.edge.shelf.watcher import ShelfWatcher

HOURS, EVENTS = 6, 300
TOLD = ("beyond", "rails beside", "one of many", "kept back")
SAYS = {"unknown": "unknown", "other": "a product's name"}


class Noting(ShelfWatcher):
    """A watcher that notes what tells of somebody: (slot, what the cut says, beyond, rails, one of many, kept back)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.noted: list[tuple[str, str, bool, bool, bool, bool]] = []

    def _settles(self, number: int, frame: Frame) -> bool:
        state, before = self.states[number], self._somebody
        label = self.judge.label(number, state.looks) if len(state.looks) >= 2 else None
        if label is not None and label != state.label and label.kind in SAYS:
            beyond = self.cells.beyond(number, before.differs) > BEYOND
            back = before.may_hide(number, label.kind, stays=len(state.looks) >= ENOUGH_LOOKS)
            slot = self.plan.slots[self.cells.cells[number].slot].id
            rails = not before.rails_are_clear(number)
            self.noted.append((slot, SAYS[label.kind], beyond, rails, before.is_one_of_many(number), back))
        return super()._settles(number, frame)


def looks(seed: int, folder: Path) -> Counter[tuple[str, str, str]]:
    """Counts of one shelf: (whether somebody is there, what the cut says, what was counted)."""
    life = make(seed=seed, hours=HOURS, slots=40, events=EVENTS, carts=True)
    folder.mkdir(parents=True, exist_ok=True)
    found: Counter[tuple[str, str, str]] = Counter()
    with Matcher.open(bundle_of(life, folder), sessions=1) as matcher:
        watcher = Noting(planogram_of(life.plan), matcher.snapshot, life.full, life.empty)
        for frame, truth in life.frames():
            watcher.noted.clear()
            watcher.see(frame)
            for slot, says, *told in watcher.noted:
                key = "somebody" if slot in truth.hidden else "nobody", says
                found[*key, "looks"] += 1
                for name, is_so in zip(TOLD, told, strict=True):
                    found[*key, name] += is_so
    return found


def main() -> int:
    """Count, and say."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(81, 85)))
    options = parser.parse_args()
    report = Report.start("shelf-somebody", seeds=options.seeds, hours=HOURS, events=EVENTS)
    counts: Counter[tuple[str, str, str]] = Counter()
    with reporting.work_folder(options.work) as work:
        for seed in options.seeds:
            counts += looks(seed, work / f"shelf_life-{seed}-40")
            print(f"seed {seed}: {sum(n for key, n in counts.items() if key[2] == 'looks')} looks", flush=True)
    keys = sorted({key[:2] for key in counts}, reverse=True)
    header = ("before the slot", "the cut says", "looks", *TOLD)
    rows = [(*key, *(counts[*key, name] for name in header[2:])) for key in keys]
    reporting.print_table("What tells of somebody", header, rows)
    report.results = {"rows": [dict(zip(header, row, strict=True)) for row in rows]}
    return report.finish(options)


if __name__ == "__main__":
    raise SystemExit(main())
