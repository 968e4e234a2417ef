"""`shelfmatch demo`: the end-to-end demo on a rendered shop, offline."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..terminal import DONE, print_json, progress_bar, quiet_native
from .options import Command, seed


def register(command: Command) -> None:
    """The command demo."""
    demo = command("demo", _run, "make a small rendered shop, match unseen photos, write a page with the pictures")
    demo.add_argument("--out", default="demo", metavar="DIR", help="where to write (default: demo)")
    demo.add_argument("--seed", type=seed, default=0, metavar="N", help="another shop, 0 to 499 (default: 0)")


def _run(options: argparse.Namespace) -> int:
    from ..demo import run_demo
    from ..encoders.encoder import Encoder
    from ..encoders.registry import DEFAULT_ENCODER

    with quiet_native():  # LiteRT announces its delegate once a process: here, before the bars
        Encoder.load(DEFAULT_ENCODER).prepare()
    result = run_demo(
        Path(options.out),
        seed=options.seed,
        progress=lambda description, unit: progress_bar(description, unit, lines=not options.json),
    )
    if options.json:
        print_json(result.to_dict())
    else:
        print(result.table())
    return DONE
