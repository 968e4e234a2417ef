"""One round of a benchmark, in a process of its own that has done nothing else: started by `runner`.

It reads its task as JSON from stdin and writes one line of JSON to stdout. What it imports is what `shelfmatch match` imports
and little more, since its start and its memory are what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

_CODE = "import time; begun = time.perf_counter(); from shelfmatch.edge.bench.worker import main; main(begun)"
COMMAND = (sys.executable, "-P", "-c", _CODE)
"""-P: a numpy.py in the current folder is not imported."""


def main(begun: float) -> None:
    """Do the task on stdin; `begun`: when the interpreter was up (perf_counter). Exits with 0 also when it can't be done: the
    line then has an "error"."""
    task = json.loads(sys.stdin.buffer.read())
    # stdout is for the one line; runtimes that greet there greet stderr.
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from ..errors import ShelfmatchError

    try:
        record = run_round(task, begun)
    except ShelfmatchError as error:
        record = {"error": str(error)}
    line.write(json.dumps(record) + "\n")
    line.close()


def run_round(task: dict[str, Any], begun: float) -> dict[str, Any]:
    """Cold start, memory, and the slices of the task."""
    from ..matching.matcher import Matcher

    imported = time.perf_counter()
    photos = _photos(task)
    before_load = time.perf_counter()
    with Matcher.open(task["bundle"], follow=False, **task["settings"]) as matcher:
        loaded = time.perf_counter()
        matcher.match(photos[0])
        answered, cpu = time.perf_counter(), time.process_time()
        from ..machine import process
        from . import scenarios
        from .yardstick import make_yardstick

        record: dict[str, Any] = {
            "clock_s": {
                "begun": begun,
                "imported": imported - begun,
                "load": loaded - before_load,
                "first_match": answered - loaded,
                "answered": answered,
                "cpu": cpu,
            },
            "memory": {"started": process.memory_bytes()},
            "runtime": matcher.encoder.runtime.name,
            "resizer": matcher.encoder.resizer,
            "slices": [],
        }
        scenarios.warm_up(matcher, photos, task["warm_up_s"])
        record["memory"]["warm"] = process.memory_bytes()
        before = process.memory_bytes()["resident"]
        yardstick = make_yardstick()
        after = process.memory_bytes()["resident"]
        own = max(0, after - before) if before is not None and after is not None else 0
        if task["bare_s"]:
            record["bare"] = scenarios.bare_encode(matcher, photos, task["bare_s"])
        for wanted in task["slices"]:
            record["slices"].append(_slice(matcher, photos, wanted, yardstick))
            record["memory"][wanted["scenario"]] = process.memory_bytes(less=own)
            if wanted["scenario"] == "single-stream" and task["idle_s"]:
                record["idle"] = process.idle_for(task["idle_s"])
    return record


def _slice(matcher: Any, photos: list[Any], wanted: dict[str, Any], yardstick: Any) -> dict[str, Any]:
    from . import scenarios

    load = wanted["seconds"], wanted["samples"], yardstick
    if wanted["scenario"] == "offline":
        return scenarios.offline(matcher, photos, *load, workers=wanted["workers"])
    if wanted["scenario"] == "steady-rate":
        return scenarios.steady_rate(matcher, photos, *load, fps=wanted["fps"])
    return scenarios.single_stream(matcher, photos, *load)


def _photos(task: dict[str, Any]) -> list[Any]:
    """Paths, or frames of a camera as (H, W, 3) uint8 RGB arrays from a .npy file."""
    if task["frames"] is None:
        return list(task["photos"])
    import numpy as np

    return list(np.load(task["frames"]))
