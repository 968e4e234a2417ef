"""`shelfmatch calibrate`: a bundle fitted to photos of the shop's own camera."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..terminal import DONE, WRONG_INPUT, amount, complain, print_json, progress_bar, quiet_native
from .options import Command, add_bundle, add_wait, add_workers

if TYPE_CHECKING:
    from ..evaluation.calibrate import CalibrateReport


def register(command: Command) -> None:
    """The command calibrate."""
    calibrate = command("calibrate", _run, "fit a bundle's decision to photos of the shop's own camera")
    add_bundle(calibrate)
    calibrate.add_argument(
        "photos",
        metavar="PHOTOS",
        help="a folder of photos, unlabelled; or labelled: a CSV with the header image,sku, or a folder of folders named by SKU, "
        "or unknown",
    )
    add_workers(calibrate)
    add_wait(calibrate)


def _run(options: argparse.Namespace) -> int:
    from ..evaluation.calibrate import calibrate_bundle

    with quiet_native():
        report = calibrate_bundle(
            options.bundle,
            options.photos,
            workers=options.workers,
            wait_s=options.wait,
            progress=progress_bar("calibrate", lines=not options.json),
        )
    if options.json:
        print_json({"bundle": options.bundle, **report.to_dict()})
    else:
        print("\n".join(_lines(options.bundle, report)))
    for label, reason in report.left_out:
        complain(f"{label}: {reason}" if label not in reason else reason)
    return WRONG_INPUT if report.left_out else DONE


def _lines(bundle: str, report: CalibrateReport) -> list[str]:
    """The report for people."""
    labelled = f", {report.labelled:,} of them labelled" if report.labelled else ""
    photos = f"{amount(report.photos, 'photo')}{labelled}"
    before, after = report.before.threshold, report.after.threshold
    if not report.changed:
        return [
            f"{bundle} stays as it is: {photos} show nothing to change",
            *(f"  {reason}" for reason in report.reasons),
        ]
    moved = f", threshold {before:.3f} → {after:.3f}" if report.rescaled else ""
    return [f"calibrated {bundle} with {photos}{moved}", *(f"  {reason}" for reason in report.reasons)]
