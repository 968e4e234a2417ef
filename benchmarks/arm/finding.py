"""Instructions of one pass of a detector on an emulated processor, by stage.

    python benchmarks/arm/finding.py FOLDER                 # FOLDER: the emulation, see emulation.py; made where it isn't there
    python benchmarks/arm/finding.py FOLDER DETECTOR.tflite cortex-a72

Counts repeat to 0.03 % and don't depend on how busy the machine is; they are not time, since caches and memory aren't modelled.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

HERE = Path(__file__).resolve().parent
REPEATS: Final = 3


def inside(source: str) -> None:
    """What runs in the emulation: a rendered photo, seen `REPEATS` times."""
    from stages import counted

    from shelfmatch.edge.detection.detector import Detector
    from shelfmatch.edge.imaging.image import Decoded
    from shelfmatch.edge.imaging.resize import fit

    detector = Detector.open(source, threads=1, resizer="pillow", runtime="litert")
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    photo = Decoded(pixels)
    for _ in range(REPEATS):
        value: Any = counted(
            "preprocess", lambda: detector._feed.tensor(fit(photo, detector.card, detector.resizer, coarsely=True))
        )
        counted("encode", lambda value=value: detector._run(value))
        counted("search", lambda: detector.detect_once(photo))


def main() -> int:
    """The command line; see the first lines."""
    if len(sys.argv) > 2 and sys.argv[1] == "--inside":
        inside(sys.argv[2])
        return 0
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    from emulation import set_up

    emulation = set_up(Path(sys.argv[1]))
    detector = sys.argv[2] if len(sys.argv) > 2 else "shelfmatch-detect"
    processor = sys.argv[3] if len(sys.argv) > 3 else "cortex-a76"
    command = emulation.command(processor, str(Path(__file__)), "--inside", detector, count=True)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    marks: dict[int, int] = {}
    for line in done.stderr.splitlines():
        if line.startswith("ICOUNT "):
            mark, count = (int(word) for word in line.split()[1:])
            marks[mark] = count
    if done.returncode or not marks:
        print(f"the emulation ended with {done.returncode}: {done.stderr.strip()[-600:]}", file=sys.stderr)
        return 1
    resized, network, whole = (marks[mark] for mark in (2, 3, 4))
    told = {"preprocess": resized, "network": network, "boxes": whole - resized - network}
    print(
        f"{processor}, {detector}: million instructions: "
        + ", ".join(f"{key} {value / 1e6:.2f}" for key, value in told.items())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
