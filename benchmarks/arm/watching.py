"""Instructions of a shelf camera's frames on an emulated Cortex-A53, and how many frames a minute that makes.

    python benchmarks/arm/watching.py FOLDER      # FOLDER: the emulation, see emulation.py; made where it isn't there

A shelf of 60 slots, frames of 1280x960 as JPEG, through the same watcher as `shelfmatch shelf watch`, one thread. Counts repeat to
0.03 % and don't depend on how busy the machine is; they are not time, since caches and memory aren't modelled. Frames a minute are
counts over a rate: a Raspberry Pi Zero 2 W runs its Cortex-A53 at 1 GHz (its product brief), and the core issues up to two
instructions a cycle in order (Arm's Cortex-A53 Technical Reference Manual, 2.1). We take one a cycle, and half of one for code
that waits for memory; neither was measured on a board.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

if TYPE_CHECKING:
    import emulation as emulated
    import reporting

DECODE, CALM, CHANGED, FIRST = 1, 2, 3, 4
"""The marks: a frame's JPEG, a frame in which nothing changed, one with six changed slots, and the watcher's first."""
CALM_FRAMES: Final = 16
"""Every 16th takes slow light in: the mean is over all of them."""
A53_PER_SECOND: Final = {"one instruction a cycle": 1.0e9, "half of one": 0.5e9}


def inside(plan_path: str, bundle: str, frames: list[str]) -> None:
    """What runs in the emulation: the first frames are calm, the others have six changed slots."""
    from stages import mark

    from shelfmatch.edge import Matcher
    from shelfmatch.edge.camera.frame import Frame
    from shelfmatch.edge.shelf.planogram import read_planogram
    from shelfmatch.edge.shelf.teach import photos_of, read_photo
    from shelfmatch.edge.shelf.watcher import ShelfWatcher

    plan = read_planogram(Path(plan_path))
    calm, changed = frames[: len(frames) // 2], frames[len(frames) // 2 :]
    shown = [*(calm[number % len(calm)] for number in range(1 + CALM_FRAMES)), *changed[:2]]
    with Matcher.open(bundle, threads=1, sessions=1, resizer="pillow", follow=False) as matcher:
        watcher = ShelfWatcher(plan, matcher.snapshot, *photos_of(plan))
        looked = []
        for number, path in enumerate(shown):
            mark(0)
            pixels = read_photo(path)
            mark(DECODE)
            watcher.see(Frame(pixels, 1.0 + 60 * number, number))
            mark(FIRST if number == 0 else CALM if number <= CALM_FRAMES else CHANGED)
            looked.append(watcher.looked)
    print(f"looked {looked[CALM_FRAMES]} {looked[-1]} {len(watcher.cells.cells)}")


def frame_costs(emulation: emulated.Emulation, work: Path) -> dict[str, Any]:
    """Million instructions of a frame of each kind, decoded and seen. Raises SystemExit where the emulation fails."""
    import parts

    folder, plan, bundle = parts.make_shelf(work)
    frames = [str(path) for path in sorted((folder / "frames").iterdir())[: parts.CALM + parts.CHANGED]]
    command = emulation.command(
        "cortex-a53", str(HERE / "watching.py"), "--inside", str(plan), str(bundle), *frames, count=True
    )
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the emulation ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return costs_of(done.stdout, done.stderr)


def costs_of(output: str, counted: str) -> dict[str, Any]:
    """What a run printed, as one record: million instructions, facings that were encoded, and frames a minute."""
    marks: dict[int, list[int]] = {}
    for line in counted.splitlines():
        if line.startswith("ICOUNT "):
            mark, count = (int(word) for word in line.split()[1:])
            marks.setdefault(mark, []).append(count)
    calm_looks, changed_looks, facings = (int(word) for word in output.split()[-3:])
    decode, calm, changed = (sum(marks[mark]) / len(marks[mark]) / 1e6 for mark in (DECODE, CALM, CHANGED))
    whole = {"unchanged": decode + calm, "six changed": decode + changed}
    return {
        "million_instructions": {"decode": decode, "unchanged": calm, "six changed": changed},
        "encoded": {"unchanged": calm_looks, "six changed": changed_looks},
        "facings": facings,
        "frames_a_minute": {
            kind: {name: 60 * rate / (count * 1e6) for name, rate in A53_PER_SECOND.items()}
            for kind, count in whole.items()
        },
    }


def read(costs: dict[str, Any], report: reporting.Report) -> None:
    """Print them, and keep them."""
    import reporting

    rows = []
    for kind, minutes in costs["frames_a_minute"].items():
        count = costs["million_instructions"]["decode"] + costs["million_instructions"][kind]
        rows.append((kind, f"{count:.0f}", costs["encoded"][kind], *(f"{value:.0f}" for value in minutes.values())))
    header = ("frame", "million instructions", "facings encoded", *(f"a minute, {name}" for name in A53_PER_SECOND))
    reporting.print_table("A frame of 1280x960 on a Cortex-A53 at 1 GHz, one thread", header, rows)
    report.results["frames"] = costs


def main() -> int:
    """The command line; see the first lines."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3], sys.argv[4:])
        return 0
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    import reporting
    from emulation import set_up

    emulation = set_up(Path(sys.argv[1]))
    report = reporting.Report.start("frames")
    with tempfile.TemporaryDirectory(prefix="shelfmatch-arm-") as work:
        read(frame_costs(emulation, Path(work)), report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
