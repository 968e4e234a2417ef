"""Photos a second that build_bundle catalogues, with one worker and with two.

    python benchmarks/cataloguing.py
    python benchmarks/cataloguing.py --photos 600 --repetitions 5 --encoder v2 --json cataloguing.json

Each build runs in a fresh process and into a fresh bundle, so nothing is left of the one before; the clock runs
around build_bundle, from the CSV to the finished bundle. One and two workers take turns. "bare network" is the
machine's own limit at that moment: the same network and nothing else, in one process and in two at once; where that
stays under 1.85, no program reaches it here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from statistics import median

import peers
import reporting
import shops

BAR = 1.85
SPINS = 200

BUILD = """\
import json, sys, time
from shelfmatch.edge import build_bundle
source, bundle, encoder, workers = sys.argv[1:]
start = time.perf_counter()
report = build_bundle(source, bundle, encoder=encoder, workers=int(workers), adapt="off")
print(json.dumps({"seconds": time.perf_counter() - start, "references": report.references}))
"""


def build_seconds(source: Path, encoder: Path, workers: int, work: Path) -> float:
    """One whole build in a process of its own."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        bundle = Path(folder) / "shop.bundle"
        command = [sys.executable, "-c", BUILD, str(source), str(bundle), str(encoder), str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"the build failed: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    return float(found["seconds"])


def bare_speedup(encoder: Path, size: int = 224) -> float:
    """Runs a second of the bare network in two processes at once, over those in one alone."""
    with (
        peers.Worker(None, "bare_embedder.py", "litert", encoder) as first,
        peers.Worker(None, "bare_embedder.py", "litert", encoder) as second,
    ):
        for worker in (first, second):
            worker.ask("spin", count=20, size=size)
        alone = first.ask("spin", count=SPINS, size=size)["ms"]
        first.send("spin", count=SPINS, size=size)
        second.send("spin", count=SPINS, size=size)
        together = max(first.receive()["ms"], second.receive()["ms"])
    return 2 * float(alone) / float(together)


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--photos", type=int, default=600, metavar="N")
    parser.add_argument("--repetitions", type=int, default=4, metavar="N")
    parser.add_argument("--encoder", choices=("v1", "v2"), default="v1")
    arguments: argparse.Namespace = parser.parse_args()
    report = reporting.Report.start(
        "cataloguing", photos=arguments.photos, repetitions=arguments.repetitions, encoder=arguments.encoder
    )
    random = Random(0)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    speedups = []
    with reporting.work_folder(arguments.work) as work:
        encoder = shops.model_file(shops.V1) if arguments.encoder == "v1" else shops.cut_v2(work)
        source = shops.write_csv(work / "catalogue.csv", shops.spread(shops.grocery_photos("train"), arguments.photos))
        build_seconds(source, encoder, 2, work)  # off the clock: photos and code come into the page cache
        for _ in range(arguments.repetitions):
            speedups.append(bare_speedup(encoder))
            for workers in random.sample(list(seconds), len(seconds)):
                seconds[workers].append(build_seconds(source, encoder, workers, work))
    ratio = reporting.ratio_of_medians(seconds[1], seconds[2])
    rows = [(f"{workers} at work", *figures(taken, arguments.photos)) for workers, taken in seconds.items()]
    title = f"{arguments.photos} photos, {arguments.encoder.upper()}, medians of {arguments.repetitions} builds"
    reporting.print_table(title, ("", "photos / s", "seconds", "fastest"), rows)
    bare = f"{median(speedups):.2f} ({min(speedups):.2f}–{max(speedups):.2f})"
    print(f"\n  two workers / one: {ratio}; bare network, two processes / one: {bare}")
    report.bar("two workers / one worker", ratio.value, BAR, at_least=True)
    report.results = {
        "one_worker_s": seconds[1],
        "two_workers_s": seconds[2],
        "ratio": [ratio.value, ratio.low, ratio.high],
        "bare_network_speedup": speedups,
    }
    return report.finish(arguments)


def figures(taken: list[float], photos: int) -> tuple[str, str, str]:
    """Photos a second and seconds, as they stand in the table."""
    return f"{photos / median(taken):.0f}", f"{median(taken):.2f}", f"{min(taken):.2f}"


if __name__ == "__main__":
    sys.exit(main())
