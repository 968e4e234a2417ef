"""Peak memory of `shelfmatch shelf watch`, and of `shelf propose`; runs inside the emulated machine.

    python3 watched.py PLAN.json FRAMES SHOP.bundle PHOTO

Each command is a process of its own, run to its end; its peak is what the kernel says then (ru_maxrss, the same as VmHWM). Prints
one JSON object. No numpy and no shelfmatch here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from resident import machine_mb

SHELFMATCH = [sys.executable, "-s", "-B", "-m", "shelfmatch.edge.cli", "shelf"]


def measured(*arguments: str) -> dict[str, Any]:
    """A command's peak in MB, its seconds, and the lines of its standard output. Raises SystemExit where it fails."""
    output, errors = Path("/tmp/output"), Path("/tmp/errors")
    begin = time.monotonic()
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen([*SHELFMATCH, *arguments], stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments[0]} ended with {status}: {errors.read_text()[-1500:]}")
    seconds = time.monotonic() - begin
    print(f"{arguments[0]}: {used.ru_maxrss / 1024:.1f} MB, {seconds:.0f} s", flush=True)
    lines = output.read_text(encoding="utf-8").splitlines()
    return {"peak_mb": used.ru_maxrss / 1024, "seconds": seconds, "lines": lines, "said": errors.read_text()[-600:]}


def main() -> int:
    plan, frames, bundle, photo = sys.argv[1:]
    before = machine_mb()
    watch = measured("watch", plan, "--source", frames, "--once", "--bundle", bundle, "--json", "--log", "/tmp/log")
    propose = measured("propose", photo, "--bundle", bundle, "-o", "/tmp/proposed.json", "--json")
    events = [json.loads(line) for line in watch.pop("lines")]
    proposed = json.loads("".join(propose.pop("lines")))["slots"]
    found = {"watch": watch, "events": events, "propose": {**propose, "slots": proposed}}
    print(json.dumps({**before, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
