"""`shelfmatch bench`: its arguments alone; what it does is loaded when it is run."""

from __future__ import annotations

import argparse

from .options import RESIZER_CHOICES, RUNTIME_CHOICES, Command, names, positive

_USAGE = """shelfmatch bench [TARGET] [options]
       shelfmatch bench compare RESULT RESULT…
       shelfmatch bench check RESULT --against BASELINE"""
_TARGET = """TARGET is a bundle, an encoder's file or card, or the name of one that came along (default: the embedded one). An
encoder is measured in a made-up shop. "compare" tells differences between results from noise; "check" exits 1 if RESULT is slower
than BASELINE. A file called compare is ./compare."""


def register(command: Command) -> None:
    """The command bench."""
    bench = command("bench", _run, "how fast this machine names products; compare such results, find its best settings",
                    mixed=True)  # fmt: skip
    bench.usage, bench.epilog = _USAGE, _TARGET
    bench.add_argument("words", nargs="*", metavar="TARGET", help="see below")
    visible = bench.add_mutually_exclusive_group()
    visible.add_argument("--photos", metavar="FOLDER", help="photos to show it (default: rendered ones)")
    visible.add_argument("--camera", metavar="N|csi|DEVICE", help="frames of this camera instead")
    bench.add_argument(
        "--quick", action="store_true", help="under a minute; otherwise 1,024 samples and 60 s a scenario"
    )
    bench.add_argument(
        "--scenario",
        type=names,
        default=None,
        metavar="NAME,…",
        help="of single-stream, steady-rate, offline (default: all)",
    )
    bench.add_argument(
        "--fps", type=float, default=None, metavar="N", help="frames a second of steady-rate (default: 15)"
    )
    bench.add_argument("--threads", type=positive, default=None, metavar="N", help="threads of the network")
    bench.add_argument("--runtime", default="auto", choices=RUNTIME_CHOICES)
    bench.add_argument("--resizer", default="auto", choices=RESIZER_CHOICES)
    bench.add_argument("--look-again", action="store_true", help="with look-again passes on rejected photos")
    bench.add_argument(
        "--locate",
        choices=("off", "auto", "always"),
        default=None,
        help="with finding the product: where the whole photo isn't sure, or always (default: off)",
    )
    bench.add_argument(
        "--references",
        type=positive,
        default=None,
        metavar="N",
        help="of the made-up shop for an encoder (default: 1000)",
    )
    bench.add_argument(
        "--sweep",
        type=names,
        default=None,
        metavar="AXIS,…",
        help="try all runtime, threads, precision, index; write device.toml",
    )
    bench.add_argument(
        "--memory-limit",
        type=positive,
        default=None,
        metavar="MB",
        help="of a setting that --sweep may choose (default: half)",
    )
    bench.add_argument(
        "--device-file",
        default=None,
        metavar="FILE",
        help="where --sweep writes (default: the user's, which is then in force)",
    )
    bench.add_argument("-o", "--output", default=None, metavar="OUT", help="OUT.json and OUT.html (default: bench)")
    bench.add_argument(
        "--against", default=None, metavar="BASELINE", help="with check: the result to hold RESULT against"
    )


def _run(options: argparse.Namespace) -> int:
    from ..bench.command import run

    return run(options)
