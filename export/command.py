"""`shelfmatch export`: from the command line's words to an export, and its outcome in print."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from ..edge.errors import ShelfmatchError
from ..edge.progress import Progress
from ..edge.terminal import complain, print_json, progress_bar
from .errors import GateNotMet
from .onnx2tf import set_up
from .pipeline import ExportSettings, export_model
from .preprocessing import Overrides
from .source_options import SourceOptions

_DONE, _NO, _WRONG = 0, 1, 2


def _bar(description: str) -> Progress:
    return progress_bar(description, "step")


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 exported, 1 the gate is not met. Wrong input is raised as a ShelfmatchError."""
    overrides = Overrides(
        options.size,
        options.mean,
        options.std,
        not options.normalized,
        options.resize,
        options.crop_fraction,
        options.color_order,
    )
    checkpoint = Path(options.checkpoint) if options.checkpoint is not None else None
    settings = ExportSettings(
        calibration=options.calibration,
        to=options.to,
        recipes=options.recipe,
        gate_points=options.gate,
        gate_queries=options.gate_queries,
        dimension=options.dim,
        name=options.name,
        layers=not options.no_layers,
        keep_float=tuple(options.keep_float),
        source=SourceOptions(checkpoint, options.pool, options.output, overrides),
    )
    try:
        report = export_model(options.model, options.output_folder, settings, progress=_bar)
    except GateNotMet as error:
        complain(str(error))
        if options.json:
            print_json({"ok": False, "error": {"type": "GateNotMet", "message": str(error)}})
        return _NO
    if options.json:
        print_json({"ok": True, "folder": options.output_folder, **report.to_dict()})
    else:
        print(report.table())
        print(f"report: {Path(options.output_folder) / 'report.html'}")
    return _DONE


def set_up_onnx2tf() -> int:
    """`shelfmatch export --setup-onnx2tf`: the exit code."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # options are still being parsed: nobody else did
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        command = set_up(lambda line: print(line, file=sys.stderr, flush=True))
    except ShelfmatchError as error:
        complain(str(error))
        return _WRONG
    print(f"onnx2tf: {command}")
    return _DONE
