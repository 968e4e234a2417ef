"""Peak memory of a fresh process that opens a shop and matches photos; runs inside the emulated machine.

    python3 peak.py SHOP.bundle PHOTO…

Prints one JSON object. VmHWM is the kernel's own peak of resident pages, those of mapped files included.
"""

from __future__ import annotations

import json
import sys

from resident import machine_mb, peak_mb

from shelfmatch.edge import Matcher


def main() -> int:
    bundle, *photos = sys.argv[1:]
    before = machine_mb()
    with Matcher.open(bundle, threads=1, sessions=1) as matcher:
        opened = peak_mb("self")
        answers = [matcher.match(photo).candidates[0].sku for photo in photos]
        found = {
            "encoder": matcher.encoder.card.name,
            "products": matcher.bundle.manifest.products,
            "references": len(matcher.index),
        }
    print(json.dumps({**before, **found, "answers": answers, "opened_mb": opened, "peak_mb": peak_mb("self")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
