"""`shelfmatch doctor`: its argument and its answer; the checks are loaded when it is run."""

from __future__ import annotations

import argparse
from typing import Any

from ..terminal import DONE, NO, print_json, progress_bar
from .options import Command


def register(command: Command) -> None:
    """The command doctor."""
    doctor = command("doctor", _run, "whether this machine can do the main job, with which runtime, and what to mend")
    doctor.add_argument("--folder", default=".", metavar="DIR", help="where bundles will be written (default: here)")


def _run(options: argparse.Namespace) -> int:
    from ..doctor.diagnosis import examine

    bar: Any = progress_bar("doctor", "check")
    diagnosis = examine(options.folder, progress=bar)
    if options.json:
        print_json(diagnosis.to_dict())
    else:
        print(diagnosis.table())
    return DONE if diagnosis.can_run else NO
