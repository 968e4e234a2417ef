"""Commands that make, change and show a bundle: build, add, remove, info, verify."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleDamaged
from ..files import check_can_write
from ..terminal import DONE, NO, complain, print_json, progress_bar, quiet_native
from .options import RESIZER_CHOICES, RUNTIME_CHOICES, Command, add_bundle, add_workers, positive, rate

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
    add_workers(add)

    remove = command("remove", _remove, "remove products from a bundle, in place")
    add_bundle(remove)
    remove.add_argument("skus", metavar="SKU", nargs="+")

    info = command("info", _info, "what is inside a bundle")
    add_bundle(info)
    info.add_argument("--products", action="store_true", help="list the products")

    add_bundle(command("verify", _verify, "check that every byte of a bundle is as built"))


def _add_build_options(build: argparse.ArgumentParser) -> None:
    build.add_argument(
        "source", metavar="SOURCE", help="folder of folders named by SKU, or CSV with the header image,sku"
    )
    build.add_argument("-o", "--output-bundle", required=True, metavar="SHOP.bundle", help="the bundle to write")
    build.add_argument(
        "--encoder",
        metavar="NAME|FILE|CARD[,…]",
        help="default: the embedded one; see shelfmatch encoders; of two, the second looks where the first isn't sure",
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


def _with_bar(run: Callable[[Progress], BuildReport]) -> BuildReport:
    """Build or add with a bar, and without what native libraries say until the first photo and its threads begin."""
    bar = progress_bar("catalogue")
    with contextlib.ExitStack() as hush:
        hush.enter_context(quiet_native())

        def begin(stream: Any, total: int) -> Any:
            hush.close()
            return bar(stream, total)

        return run(begin)


def _build(options: argparse.Namespace) -> int:
    from ..build.build import build_bundle
    from ..device import encoder_for_builds
    from ..encoders.registry import encoder_names

    if options.report is not None:
        check_can_write(options.report)
    encoder = options.encoder or encoder_for_builds()
    with contextlib.ExitStack() as stack:
        if options.output is not None and len(encoder_names(encoder)) == 1:
            from shelfmatch.export import cut_if_inner  # only here: the device never needs it

            with quiet_native():
                encoder, options.output = stack.enter_context(cut_if_inner(encoder, options.output))
        report = _with_bar(
            lambda progress: build_bundle(
                options.source,
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
            )
        )
    if options.report is not None:
        from ..pages.build_page import write_build_page

        write_build_page(Path(options.report), report, options.output_bundle)
    return _print_report(options, report, f"built {options.output_bundle}")


def _add(options: argparse.Namespace) -> int:
    from ..build.change import add_to_bundle

    report = _with_bar(
        lambda progress: add_to_bundle(
            options.bundle, options.source, replace=options.replace, workers=options.workers, progress=progress
        )
    )
    return _print_report(options, report, f"changed {options.bundle}")


def _remove(options: argparse.Namespace) -> int:
    from ..build.change import remove_from_bundle

    return _print_report(options, remove_from_bundle(options.bundle, options.skus), f"changed {options.bundle}")


def _print_report(options: argparse.Namespace, report: BuildReport, headline: str) -> int:
    if options.json:
        print_json(report.to_dict())
    else:
        print("\n".join(_report_lines(report, headline)))
    return DONE


def _report_lines(report: BuildReport, headline: str) -> list[str]:
    """The report for people."""
    lines = [
        f"{headline}: {report.products:,} products, {report.size_bytes / 1e6:.1f} MB"
        + (f", {report.references:,} of {report.photos:,} photos added" if report.photos else "")
        + (f", {report.removed:,} removed" if report.removed else "")
        + f" in {report.seconds:.1f} s"
    ]
    for title, rows in (("unreadable", report.unreadable), ("duplicate", report.duplicates)):
        for label, reason in rows[:20]:
            lines.append(f"  {title}: {label}: {reason}" if label not in reason else f"  {title}: {reason}")
        if len(rows) > 20:
            lines.append(f"  … and {len(rows) - 20} more; --json lists all")
    if report.ignored:
        lines.append(f"  not photos: {len(report.ignored)} files, for example {report.ignored[0]}")
    if report.without_photos:
        lines.append(f"  left out for want of a readable photo: {', '.join(report.without_photos[:10])}")
    if report.pruned is not None:
        lines.append(
            f"  {report.pruned.removed:,} photos left out that add little: of those, {report.pruned.recall_before:.1%} find "
            f"their product among all photos, {report.pruned.recall_after:.1%} among those kept"
        )
    if report.adaptation is not None:
        lines.append(f"  adapter: {report.adaptation.sentence()}")
    if report.cascade is not None:
        lines.append(f"  {report.cascade.sentence()}")
    if report.local is not None:
        lines.append(f"  {report.local.sentence()}")
    elif report.local_reason:
        lines.append(f"  no local matching: {report.local_reason}")
    if report.decision is not None:
        lines.append(f"  {describe_decision(report.decision.to_dict())}")
    return lines


def describe_decision(decision: dict[str, Any]) -> str:
    """The decision's record as a sentence."""
    target = f"{100 * decision['target_false_accept_rate']:.3g}% false accepts"
    if decision["method"] == "default":
        return f"threshold: a default, since the shop is too small to calibrate (target {target})"
    how = {
        "held-out": "holding out groups of like photos",
        "leave-one-out": "leaving photos out",
        "synthetic-views": "synthetic views",
    }[decision["method"]]
    return (
        f"threshold {decision['threshold']:.3f} for {target}, from {how}: "
        f"{decision['correct_accept_rate']:.0%} of the shop's own photos accepted and right"
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
    _print_manifest(options.bundle, manifest)
    for product in products:
        shown = {key: value for key, value in product.items() if value and key != "attributes"}
        print("  " + ", ".join(f"{key} {value}" if key != "sku" else str(value) for key, value in shown.items()))
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
    index = manifest.index
    return {
        "bundle": bundle,
        "generation": manifest.generation,
        "created_by": manifest.created_by,
        "products": manifest.products,
        "references": index.references,
        "index": {"kind": index.kind, "dtype": index.dtype, "dimension": index.dimension},
        "resizer": manifest.resizer,
        "decision": manifest.final_decision.to_dict(),
        "adaptation": manifest.adaptation.to_dict(),
        "encoder": manifest.encoder.to_dict(),
        "files": {role: {"name": entry.name, "size_bytes": entry.size_bytes} for role, entry in manifest.files.items()},
        **{key: value for key, value in manifest.to_dict().items() if key in ("second", "local")},
    }


def _print_manifest(bundle: str, manifest: Manifest) -> None:
    from ..bundle.manifest import role_of

    references = manifest.index.references
    print(f"{bundle}: {manifest.products:,} products, {references:,} references, generation {manifest.generation}")
    for number, branch in enumerate(manifest.branches):
        print(_branch_lines(branch, manifest.files[role_of("vectors", number)].size_bytes))
    if manifest.cascade is not None:
        print(f"  {manifest.cascade.sentence()}")
    local = manifest.branches[0].local
    if local is not None:
        print(f"  {local.sentence()}")
    decision = manifest.final_decision
    print(f"  {describe_decision(decision.to_dict())}")
    print(reliability_lines(decision.reliability), end="")


def _branch_lines(branch: BranchRecord, size_bytes: int) -> str:
    """An encoder and what its embeddings are compared with, `size_bytes` of vectors, for people."""
    card, index = branch.encoder, branch.index
    return (
        f"  encoder  {card.name}, {card.width}x{card.height} {card.input_dtype} → {card.dimension}, "
        f"{card.size_bytes / 1e6:.1f} MB\n"
        f"  index    {index.kind}, {index.dtype}, {size_bytes / 1e6:.1f} MB\n"
        f"  adapter  {branch.adaptation.sentence()}"
    )


def _verify(options: argparse.Namespace) -> int:
    from ..bundle.bundle import Bundle

    try:
        bundle = Bundle.open(options.bundle)
        while (problems := bundle.verify()) and bundle.was_replaced():
            bundle = Bundle.open(options.bundle)
    except BundleDamaged as error:
        problems = [str(error)]
    if options.json:
        print_json({"bundle": options.bundle, "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            complain(problem)
        if not problems:
            print(f"{options.bundle}: every byte is as built")
    return NO if problems else DONE
