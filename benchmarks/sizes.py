"""What a build of many one-picture products takes: memory at its peak, and processor time a product.

    python benchmarks/sizes.py --products 5000 --json sizes.json
    nice python benchmarks/sizes.py --products 5000 50000

Each product has one picture, a drawn package on a plain ground, 400 pixels wide: the time depends on how many pixels it has and
that it is a packshot, not on what is on it. `shelfmatch build` runs with its defaults in a process of its own; of that process come
the highest resident memory and the time on all cores (user and system), which other programs' work lengthens less than the clock's.
--side 64 draws small pictures: compare before you trust it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reporting
from PIL import Image

MOST_MB = 200.0
MOST_MS = 20.0


def draw_shop(folder: Path, products: int, side: int) -> Path:
    """A folder for each product with one JPEG in it, made once."""
    done = folder / ".whole"
    if done.exists():
        return folder
    for number in range(products):
        place = folder / f"P{number:06d}" / "1.jpg"
        if place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        package(number, side).save(place, quality=90)
    done.touch()
    return folder


def package(number: int, side: int) -> Image.Image:
    """A package with blocks of colour on a plain ground."""
    random = np.random.default_rng(number)
    blocks = random.integers(0, 256, (random.integers(2, 7), random.integers(2, 5), 3)).astype(np.uint8)
    wide, high = (round(side * share) for share in random.uniform(0.45, 0.85, 2))
    picture = Image.new("RGB", (side, side), (246, 246, 246))
    drawn = Image.fromarray(blocks).resize((wide, high), Image.Resampling.NEAREST)
    picture.paste(drawn, ((side - wide) // 2, (side - high) // 2))
    return picture


def built(source: Path, bundle: Path, options: Sequence[str]) -> dict[str, float]:
    """Build in a process of its own; its seconds by the clock and on the cores, and its highest memory in MB."""
    command = [sys.executable, "-m", "shelfmatch.edge.cli", "build", str(source), "-o", str(bundle), "--json", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = "" if process.stderr is None else process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the build failed: {errors.strip()}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, getrusage(2)
    return {
        "seconds": time.perf_counter() - start,
        "processor_s": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss * unit / 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=[5000], metavar="N")
    parser.add_argument("--side", type=int, default=400, metavar="PIXELS")
    parser.add_argument("--options", default="", help="of shelfmatch build, between quotes: '--adapt off'")
    options: argparse.Namespace = parser.parse_args(arguments)
    report = reporting.Report.start("sizes", products=options.products, side=options.side, options=options.options)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rows: list[tuple[Any, ...]] = []
    with reporting.work_folder(options.work) as work:
        for products in sorted(options.products):
            source = draw_shop(work / f"shop-{products}-{options.side}", products, options.side)
            found = built(source, work / f"{products}.bundle", options.options.split())
            each = 1000 * found["processor_s"] / products
            report.results[str(products)] = {**found, "processor_ms_each": each}
            rows.append((f"{products:,}", f"{found['memory_mb']:.0f}", f"{each:.1f}", f"{found['seconds']:.0f}"))
            print("  ".join(rows[-1]), flush=True)
            report.bar(f"{products:,} products: memory, MB", found["memory_mb"], MOST_MB)
            report.bar(f"{products:,} products: processor time, ms each", each, MOST_MS)
    first = next(iter(report.results.values()))["processor_ms_each"]
    for products, found in list(report.results.items())[1:]:
        report.bar(f"{products} products: ms each over the smaller shop's", found["processor_ms_each"] / first, 1.0)
    reporting.print_table("One-picture products", ("products", "memory MB", "ms each", "seconds"), rows)
    return report.finish(options)


if __name__ == "__main__":
    sys.exit(main())
