"""Commands that make, change and show a bundle: build, add, remove, info, verify."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleDamaged
from ..files import check_output
from ..terminal import DONE, NO, complain, print_json, progress_bar, quiet_native, size_text
from .options import RESIZER_CHOICES, RUNTIME_CHOICES, Command, add_bundle, add_wait, add_workers, positive, rate
from .plain_words import plain_lines
from .sources import add_source_options, check, labels_said, listed, said, source_lines, source_of

if TYPE_CHECKING:
    from ..build.report import BuildReport
    from ..bundle.manifest import BranchRecord, Manifest
    from ..catalog.catalog import Catalog
    from ..progress import Progress


def register(command: Command) -> None:
    """The commands of this module."""
    _add_build_options(command("build", _build, "catalogue → bundle"))

    add = command("add", _add, "add photos to a bundle, in place")
    add_bundle(add)
    add.add_argument("source", metavar="SOURCE", help="as for build")
    add.add_argument("--replace", action="store_true", help="the source's products lose the photos they had")
    add_source_options(add)
    add_workers(add)
    add_wait(add)

    remove = command("remove", _remove, "remove products from a bundle, in place")
    add_bundle(remove)
    remove.add_argument("skus", metavar="SKU", nargs="+")
    add_wait(remove)

    info = command("info", _info, "what is inside a bundle")
    add_bundle(info)
    info.add_argument("--products", action="store_true", help="list the products")
    info.add_argument(
        "--verbose", action="store_true", help="encoder, index, adapter, threshold, and how true the confidence is"
    )

    add_bundle(command("verify", _verify, "check that every byte of a bundle is as built"))


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
    build.add_argument("--false-accept", type=rate, default=0.05, metavar="RATE", help="default: 0.05")
    build.add_argument("--resizer", default="auto", choices=RESIZER_CHOICES)
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
                progress=progress,
            ),
            lines=not options.json,
        )
    if options.report is not None:
        from ..pages.build_page import write_build_page

        write_build_page(Path(options.report), report, options.output_bundle)
    return _print_report(options, report, f"built {options.output_bundle}", options.output_bundle)


def _add(options: argparse.Namespace) -> int:
    from ..build.change import add_to_bundle

    source = source_of(options)
    report = _with_bar(
        lambda progress: add_to_bundle(
            options.bundle,
            source,
            replace=options.replace,
            workers=options.workers,
            progress=progress,
            wait_s=options.wait,
        ),
        lines=not options.json,
    )
    return _print_report(options, report, f"changed {options.bundle}", options.bundle)


def _remove(options: argparse.Namespace) -> int:
    from ..build.change import remove_from_bundle

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
    lines = [
        f"{headline}: {report.products:,} products, {size_text(report.size_bytes)}"
        + (f", {report.references:,} of {report.photos:,} photos added" if report.photos else "")
        + (f", {report.removed:,} removed" if report.removed else "")
        + f" in {report.seconds:.1f} s"
    ]
    known = labels_said(report.findings)
    lines += listed("unreadable", (said(label, reason) for label, reason in report.unreadable))
    lines += listed("duplicate", (said(label, reason) for label, reason in report.duplicates if label not in known))
    lines += source_lines(report.left_out, report.findings)
    if report.ignored:
        lines.append(f"  not photos: {len(report.ignored)} files, for example {report.ignored[0]}")
    if report.without_photos:
        lines.append(f"  left out for want of a readable photo: {', '.join(report.without_photos[:10])}")
    if report.pruned is not None:
        lines.append(
            f"  {report.pruned.removed:,} photos left out that add little: of those, {report.pruned.recall_before:.1%} find "
            f"their product among all photos, {report.pruned.recall_after:.1%} among those kept"
        )
    if report.decision is not None:
        advise = bundle if headline.startswith("built") else None
        plain = plain_lines(report.decision, report.products, report.total_references, advise)
        lines += [f"  {line}" for line in plain]
    if report.outgrown is not None and report.outgrown.state == "yes":
        lines.append(f"  {report.outgrown.sentence()}")
    return lines


def describe_decision(decision: dict[str, Any]) -> str:
    """The decision's record as a sentence."""
    target = f"{100 * decision['target_false_accept_rate']:.3g}% false accepts"
    if decision["method"] == "default":
        return f"threshold: a default, since the shop is too small to calibrate (target {target})"
    measured = decision["correct_accept_rate"]
    if decision["method"] == "prior" or measured is None:
        return f"threshold {decision['threshold']:.3f} for {target}, as other shops taught: this one has too little to hold out"
    how = {
        "held-out": "holding out groups of like photos",
        "leave-one-out": "leaving photos out",
        "synthetic-views": "synthetic views",
    }[decision["method"]]
    return (
        f"threshold {decision['threshold']:.3f} for {target}, from {how}: "
        f"{measured:.0%} of {'the views' if decision['method'] == 'synthetic-views' else 'those photos'} "
        "accepted and right"
    )


def reliability_lines(curve: Sequence[Sequence[float]]) -> str:
    """The reliability curve for a terminal: at each confidence, the share of held-out photos that was right."""
    rows = [f"    at {mean:4.0%} sure  {'█' * round(20 * share):<20}  {share:4.0%} right of {count:,}\n"
            for mean, share, count in curve]  # fmt: skip
    return "".join(rows)


def _info(options: argparse.Namespace) -> int:
    from ..bundle.bundle import Bundle, read_whole
    from ..catalog.catalog import Catalog

    def read(bundle: Bundle) -> tuple[Manifest, list[dict[str, Any]]]:
        if not options.products:
            return bundle.manifest, []
        catalog = Catalog(bundle.check("catalog"))
        try:
            return bundle.manifest, _product_records(catalog)
        finally:
            catalog.close()

    manifest, products = read_whole(options.bundle, read)
    if options.json:
        record = _manifest_record(options.bundle, manifest)
        print_json({**record, "product_list": products} if options.products else record)
        return DONE
    print("\n".join(_info_lines(options.bundle, manifest)))
    if options.verbose:
        _print_details(manifest)
    for product in products:
        visible = {key: value for key, value in product.items() if value and key != "attributes"}
        print("  " + ", ".join(f"{key} {value}" if key != "sku" else str(value) for key, value in visible.items()))
    return DONE


def _product_records(catalog: Catalog) -> list[dict[str, Any]]:
    """A product's row: SKU, name, attributes, and how many photos it has."""
    rows: list[dict[str, Any]] = []
    for product_id, product in catalog.products():
        row: dict[str, Any] = {"sku": product.sku, "name": product.name, **product.attributes}
        row["photos"] = len(catalog.references(product_id))
        if product.attributes:  # also by themselves, as candidates have them: a column may be called photos
            row["attributes"] = dict(product.attributes)
        rows.append(row)
    return rows


def _manifest_record(bundle: str, manifest: Manifest) -> dict[str, Any]:
    """The document of `info --json`, without the products."""
    from ..bundle.growth import growth_of
    from ..scoring.forecast import forecast_record

    index = manifest.index
    return {
        "bundle": bundle,
        "generation": manifest.generation,
        "created_by": manifest.created_by,
        "products": manifest.products,
        "references": index.references,
        "index": {"kind": index.kind, "dtype": index.dtype, "dimension": index.dimension},
        "resizer": manifest.resizer,
        "outgrown": growth_of(manifest).to_dict(),
        "decision": manifest.final_decision.to_dict(),
        "forecast": forecast_record(manifest.final_decision, manifest.products, index.references),
        "adaptation": manifest.adaptation.to_dict(),
        "encoder": manifest.encoder.to_dict(),
        "files": {role: {"name": entry.name, "size_bytes": entry.size_bytes} for role, entry in manifest.files.items()},
        **{key: value for key, value in manifest.to_dict().items() if key in ("second", "local")},
    }


def _info_lines(bundle: str, manifest: Manifest) -> list[str]:
    """What is inside, for a shop."""
    from ..bundle.growth import growth_of

    photos = manifest.index.references
    size = size_text(sum(entry.size_bytes for entry in manifest.files.values()))
    head = f"{bundle}: {manifest.products:,} products, {photos:,} photos, {size}, generation {manifest.generation}"
    said = plain_lines(manifest.final_decision, manifest.products, photos, bundle)
    growth = growth_of(manifest)
    if growth.state == "yes":
        said = [*said, growth.sentence()]
    return [head, *(f"  {line}" for line in said)]


def _print_details(manifest: Manifest) -> None:
    """What `info --verbose` adds: what it was made with, and what was measured."""
    from ..bundle.growth import growth_of
    from ..bundle.manifest import role_of

    for number, branch in enumerate(manifest.branches):
        print(_branch_lines(branch, manifest.files[role_of("vectors", number)].size_bytes))
    if manifest.cascade is not None:
        print(f"  {manifest.cascade.sentence()}")
    local = manifest.branches[0].local
    if local is not None:
        print(f"  {local.sentence()}")
    print(f"  {describe_decision(manifest.final_decision.to_dict())}")
    if manifest.final_decision.reliability:
        kind = "views of photos" if manifest.final_decision.method == "synthetic-views" else "photos"
        print(
            f"  how true the confidence is, by {manifest.final_decision.known:,} queries with {kind} that were held out:"
        )
    print(reliability_lines(manifest.final_decision.reliability), end="")
    growth = growth_of(manifest)
    if growth.state != "yes" and growth.sentence():  # "yes" stands among what every shop should know
        print(f"  {growth.sentence()}")


def _branch_lines(branch: BranchRecord, size_bytes: int) -> str:
    """An encoder and what its embeddings are compared with, `size_bytes` of vectors, for people."""
    card, index = branch.encoder, branch.index
    return (
        f"  encoder  {card.name}, {card.width}x{card.height} {card.input_dtype} → {card.dimension}, "
        f"{size_text(card.size_bytes)}\n"
        f"  index    {index.kind}, {index.dtype}, {size_text(size_bytes)}\n"
        f"  adapter  {branch.adaptation.sentence()}"
    )


def _verify(options: argparse.Namespace) -> int:
    from ..bundle.bundle import Bundle
    from ..bundle.growth import growth_of

    growth = None
    try:
        bundle = Bundle.open(options.bundle)
        while (problems := bundle.verify()) and bundle.was_replaced():
            bundle = Bundle.open(options.bundle)
        growth = growth_of(bundle.manifest)
    except BundleDamaged as error:
        problems = [str(error)]
    if options.json:
        grown = None if growth is None else growth.to_dict()
        print_json({"bundle": options.bundle, "ok": not problems, "problems": problems, "outgrown": grown})
    else:
        for problem in problems:
            complain(problem)
        if not problems:
            print(f"{options.bundle}: every byte is as built")
        if growth is not None and growth.state == "yes":
            print(f"  {growth.sentence()}")
    return NO if problems else DONE
