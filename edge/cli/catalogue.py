"""Commands that make and change a bundle: build, add, remove."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.listing import few
from ..errors import CatalogError
from ..files import check_output
from ..terminal import DONE, amount, print_json, progress_bar, quiet_native, size_text
from .options import (
    RESIZER_CHOICES,
    RUNTIME_CHOICES,
    Command,
    Once,
    add_bundle,
    add_cut,
    add_wait,
    add_workers,
    positive,
    rate,
)
from .plain_words import plain_lines
from .sources import add_source_options, check, labels_said, listed, said, source_lines, source_of

if TYPE_CHECKING:
    from ..build.report import BuildReport
    from ..progress import Progress


def register(command: Command) -> None:
    """The commands of this module."""
    _add_build_options(command("build", _build, "catalogue → bundle"))

    add = command("add", _add, "add photos to a bundle, in place")
    add_bundle(add)
    add.set_defaults(usage_error=add.error)
    add.add_argument("source", metavar="SOURCE", nargs="?", help="as for build; none is needed with --refit")
    add.add_argument("--replace", action="store_true", help="the source's products lose the photos they had")
    add.add_argument(
        "--refit",
        action="store_true",
        help="fit the bundle again to all it has then, without the photos; it must have been built with --keep-embeddings",
    )
    add_source_options(add)
    add_cut(add)
    add_workers(add)
    add_wait(add)

    remove = command("remove", _remove, "remove products from a bundle, in place")
    add_bundle(remove)
    remove.add_argument("skus", metavar="SKU", nargs="+")
    remove.add_argument(
        "--photo",
        dest="photos",
        action="append",
        default=[],
        metavar="PHOTO",
        help="only this photo of the product, by number or name as shelfmatch photos lists them; repeatable",
    )
    add_wait(remove)


def _add_build_options(build: argparse.ArgumentParser) -> None:
    build.set_defaults(usage_error=build.error)
    build.add_argument(
        "source",
        metavar="SOURCE",
        help="folders named by SKU, in folders of categories or not, or a CSV with the header image,sku",
    )
    build.add_argument("-o", "--output-bundle", metavar="SHOP.bundle", help="the bundle to write")
    build.add_argument(
        "--check", action="store_true", help="say what SOURCE holds and how to fix what fails; build nothing"
    )
    add_source_options(build)
    build.add_argument(
        "--encoder",
        action=Once,
        metavar="NAME|FILE|CARD[,…]",
        help="default: the embedded one; see shelfmatch encoders; of two, the second runs where the first isn't sure",
    )
    build.add_argument(
        "--output", metavar="NAME", help="tensor to use as embedding; an inner one cuts the network there"
    )
    build.add_argument("--runtime", default="auto", choices=RUNTIME_CHOICES)
    build.add_argument("--index", default="auto", choices=("auto", "exact", "hnsw"))
    build.add_argument("--vectors", default="i8", choices=("i8", "f16", "f32"))
    build.add_argument(
        "--adapt", default="auto", choices=("auto", "on", "off"), help="tune the embedding to this shop (default: auto)"
    )
    build.add_argument(
        "--local",
        default="auto",
        choices=("auto", "on", "off"),
        help="compare photos with candidates part by part where the first search isn't sure (default: auto, where it helps)",
    )
    build.add_argument(
        "--max-references",
        type=positive,
        default=0,
        metavar="N",
        help="keep at most N photos a product (default: all)",
    )
    build.add_argument(
        "--keep-embeddings",
        action="store_true",
        help="keep what add --refit needs when the shop has grown (4 to 50 KB a photo)",
    )
    build.add_argument("--false-accept", type=rate, default=0.05, metavar="RATE", help="default: 0.05")
    build.add_argument("--resizer", default="auto", choices=RESIZER_CHOICES)
    add_cut(build)
    add_workers(build)
    build.add_argument("--report", metavar="OUT.html", help="write a page about the build")


def _with_bar(run: Callable[[Progress], BuildReport], *, lines: bool) -> BuildReport:
    """Build or add with a bar, and without what native libraries say until the first photo and its threads begin. `lines`: a
    line now and then in a pipe."""
    with contextlib.ExitStack() as hush:
        bar = progress_bar("catalogue", lines=lines, begin=hush.close)  # before stderr is exchanged
        hush.enter_context(quiet_native())
        return run(bar)


def _build(options: argparse.Namespace) -> int:
    from ..build.build import build_bundle
    from ..device import encoder_for_builds
    from ..encoders.registry import encoder_names

    if options.check:
        return check(options)
    if options.output_bundle is None:
        options.usage_error("the following arguments are required: -o/--output-bundle")
    if options.report is not None:
        check_output(options.report, "page", [options.source, *(options.encoder or "").split(",")])
    source = source_of(options)
    encoder = options.encoder or encoder_for_builds()
    with contextlib.ExitStack() as stack:
        if options.output is not None and len(encoder_names(encoder)) == 1:
            from shelfmatch.export import cut_if_inner  # only here: the device never needs it

            with quiet_native():
                encoder, options.output = stack.enter_context(cut_if_inner(encoder, options.output))
        report = _with_bar(
            lambda progress: build_bundle(
                source,
                options.output_bundle,
                encoder=encoder,
                output=options.output,
                runtime=options.runtime,
                index=options.index,
                vectors=options.vectors,
                adapt=options.adapt,
                max_references=options.max_references,
                false_accept=options.false_accept,
                workers=options.workers,
                resizer=options.resizer,
                local=options.local,
                keep_embeddings=options.keep_embeddings,
                locate=options.locate,
                detector=options.detector,
                progress=progress,
            ),
            lines=not options.json,
        )
    if options.report is not None:
        from ..pages.build_page import write_build_page

        write_build_page(Path(options.report), report, options.output_bundle)
    return _print_report(options, report, f"built {options.output_bundle}", options.output_bundle)


def _add(options: argparse.Namespace) -> int:
    from ..build.change import add_to_bundle, refit_bundle

    if options.source is None:
        if not options.refit:
            options.usage_error("the following arguments are required: SOURCE, or --refit")
        report = _with_bar(
            lambda progress: refit_bundle(options.bundle, progress=progress, wait_s=options.wait),
            lines=not options.json,
        )
        return _print_report(options, report, f"fitted {options.bundle} again", options.bundle)
    source = source_of(options)
    report = _with_bar(
        lambda progress: add_to_bundle(
            options.bundle,
            source,
            replace=options.replace,
            refit=options.refit,
            workers=options.workers,
            locate=options.locate,
            detector=options.detector,
            progress=progress,
            wait_s=options.wait,
        ),
        lines=not options.json,
    )
    return _print_report(options, report, f"changed {options.bundle}", options.bundle)


def _remove(options: argparse.Namespace) -> int:
    from ..build.change import remove_from_bundle, remove_photos_from_bundle

    if options.photos:
        if len(options.skus) > 1:
            raise CatalogError(
                f"--photo arrived with {len(options.skus)} SKUs; expected one, photos are numbered by product"
            )
        report = remove_photos_from_bundle(options.bundle, options.skus[0], options.photos, wait_s=options.wait)
    else:
        report = remove_from_bundle(options.bundle, options.skus, wait_s=options.wait)
    return _print_report(options, report, f"changed {options.bundle}", options.bundle)


def _print_report(options: argparse.Namespace, report: BuildReport, headline: str, bundle: str) -> int:
    if options.json:
        print_json(report.to_dict())
    else:
        print("\n".join(_report_lines(report, headline, bundle)))
    return DONE


def _report_lines(report: BuildReport, headline: str, bundle: str) -> list[str]:
    """The report for people."""
    if headline.startswith("changed") and not (report.changes or report.references or report.removed):
        headline = f"{bundle} has all of it already; nothing was changed"
    lines = [
        f"{headline}: {amount(report.products, 'product')}, {size_text(report.size_bytes)}"
        + (f", {report.references:,} of {amount(report.photos, 'photo')} added" if report.photos else "")
        + (f", {report.removed:,} removed" if report.removed else "")
        + f" in {report.seconds:.1f} s"
    ]
    new = [change.sku for change in report.changes if change.change == "new"]
    if new:
        lines.append(f"  new: {few(new, 10)}")
    lines += listed("changed", (change.sentence() for change in report.changes if change.change != "new"))
    known = labels_said(report.findings)
    if report.cut:
        lines.append(f"  cut to their product: {amount(len(report.cut), 'photo')}: {few(report.cut, 10)}")
    lines += listed("unreadable", (said(label, reason) for label, reason in report.unreadable))
    lines += listed("duplicate", (said(label, reason) for label, reason in report.duplicates if label not in known))
    lines += source_lines(report.left_out, report.findings)
    if report.ignored:
        lines.append(f"  not photos: {amount(len(report.ignored), 'file')}, for example {report.ignored[0]}")
    if report.without_photos:
        lines.append(f"  left out for want of a readable photo: {few(report.without_photos, 10)}")
    if report.not_replaced:
        lines.append(
            f"  keep the photos they had, none of their new ones can be used: {few(report.not_replaced, 10)}; "
            "to take a product away: shelfmatch remove"
        )
    if report.pruned is not None:
        lines.append(
            f"  {amount(report.pruned.removed, 'photo')} left out that add little: of those, {report.pruned.recall_before:.1%} "
            f"find their product among all photos, {report.pruned.recall_after:.1%} among those kept"
        )
    if report.decision is not None:
        advise = bundle if headline.startswith("built") else None
        alone = report.cascade is None
        plain = plain_lines(report.decision, report.products, report.total_references, advise, can_calibrate=alone)
        lines += [f"  {line}" for line in plain]
    if report.outgrown is not None and report.outgrown.state == "yes":
        lines.append(f"  {report.outgrown.sentence()}")
    return lines
