"""`shelfmatch tune`: another threshold without building again."""

from __future__ import annotations

import argparse

from ..terminal import DONE, print_json
from .options import Command, add_bundle, add_wait, rate


def register(command: Command) -> None:
    """The command tune."""
    tune = command("tune", _run, "another threshold for a bundle, without building it again")
    add_bundle(tune)
    tune.add_argument(
        "--false-accept", type=rate, required=True, metavar="RATE", help="of unknown queries, how many may get a name"
    )
    add_wait(tune)


def _run(options: argparse.Namespace) -> int:
    from ..build.tune import tune_bundle

    report = tune_bundle(options.bundle, options.false_accept, wait_s=options.wait)
    if options.json:
        print_json({"bundle": options.bundle, **report.to_dict()})
        return DONE
    before, after = report.before, report.after
    print(
        f"{options.bundle}: threshold {before.threshold:.3f} → {after.threshold:.3f}, for "
        f"{100 * before.target_false_accept_rate:.3g}% → {100 * after.target_false_accept_rate:.3g}% false accepts"
    )
    if before.correct_accept_rate is not None and after.correct_accept_rate is not None:
        rates = f"{before.correct_accept_rate:.0%} → {after.correct_accept_rate:.0%}"
        print(f"  of the photos that it was fitted on: {rates} accepted and right")
    return DONE
