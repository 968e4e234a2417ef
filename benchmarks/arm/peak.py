"""Peak memory of a fresh process that opens a shop and matches photos; runs inside the emulated machine.

    python3 peak.py SHOP.bundle PHOTO…

Prints one JSON object. VmHWM is the kernel's own peak of resident pages, those of mapped files included.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from shelfmatch.edge import Matcher


def status_mb(path: str, key: str) -> float:
    """A "Key: N kB" line of a file in /proc, in MB of 1,048,576 bytes."""
    found = re.search(rf"^{key}:\s+(\d+) kB", Path(path).read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) / 1024 if found else float("nan")


def main() -> int:
    bundle, *photos = sys.argv[1:]
    free_before = status_mb("/proc/meminfo", "MemAvailable")
    with Matcher.open(bundle, threads=1, sessions=1) as matcher:
        opened = status_mb("/proc/self/status", "VmHWM")
        answers = [matcher.match(photo).candidates[0].sku for photo in photos]
        products, references = matcher.bundle.manifest.products, len(matcher.index)
        encoder = matcher.encoder.card.name
    print(
        json.dumps(
            {
                "machine_mb": status_mb("/proc/meminfo", "MemTotal"),
                "free_before_mb": free_before,
                "encoder": encoder,
                "products": products,
                "references": references,
                "answers": answers,
                "opened_mb": opened,
                "peak_mb": status_mb("/proc/self/status", "VmHWM"),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
