"""The command line. Results go to stdout; one line on stderr when something is wrong, never a traceback."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .._version import __version__
from ..doctor import diagnosis as doctor
from ..errors import BundleDamaged, ImageError, ShelfmatchError
from ..files import check_can_write
from ..terminal import (
    DONE,
    INTERRUPTED,
    NO,
    WRONG_INPUT,
    complain,
    print_json,
    progress_bar,
    quiet_native,
    ready_streams,
    titled,
)
from . import bench as _bench_arguments
from . import encoders as _encoders_command
from . import match as _match_command
from . import search as _cli_around
from .export import add_export_arguments

if TYPE_CHECKING:
    from ..build.report import BuildReport
    from ..bundle.manifest import BranchRecord
    from ..matching.matcher import Matcher
    from ..matching.results import MatchResult
    from ..progress import Progress


class _Parser(argparse.ArgumentParser):
    """argparse, with its complaint on one line. `mixed`: options may stand before and between what has no name, of which there
    may be none."""

    mixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.mixed:
            return super().parse_known_args(args, namespace)
        self.mixed = False  # parse_known_intermixed_args comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.mixed = True

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 the answer is no, 2 wrong input or usage, 130 interrupted.

    SIGTERM raises SystemExit(143) from then on.
    """
    ready_streams()
    options = _parser().parse_args(arguments)
    _tidy_on_sigterm()
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ShelfmatchError as error:
        complain(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `shelfmatch match … | head` is no mistake
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        complain(f"{error.filename or 'a file'} can't be used: {error.strerror or error}")
    except Exception as error:
        if type(error).__module__ != "sqlite3":  # not imported by every command
            raise
        complain(f"the catalogue's file can't be used: {error}; is the disk full?")
    except KeyboardInterrupt:
        complain("interrupted; nothing is half-written, run the same command again to go on")
        return INTERRUPTED
    return WRONG_INPUT


def _tidy_on_sigterm() -> None:
    """What is temporary goes and processes that were started end, as after an interrupt."""
    # Only the main thread may, and who ignores or handles it has reasons.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="shelfmatch", description="Visual product search that runs on the device.")
    parser.add_argument("--version", action="version", version=f"shelfmatch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Any, summary: str, *, mixed: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run)
        sub.mixed = mixed
        sub.add_argument("--json", action="store_true", help="print JSON instead of text for people")
        return sub

    demo = command("demo", _demo, "make a small rendered shop, match unseen photos, write a page with the pictures")
    demo.add_argument("--out", default="demo", metavar="DIR", help="where to write (default: demo)")
    demo.add_argument("--seed", type=_seed, default=0, metavar="N", help="another shop, 0 to 499 (default: 0)")

    build = command("build", _build, "catalogue → bundle")
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
    build.add_argument("--runtime", default="auto", choices=("auto", "litert", "onnx", "tflite-runtime"))
    build.add_argument("--index", default="auto", choices=("auto", "exact", "hnsw"))
    build.add_argument("--vectors", default="i8", choices=("i8", "f16", "f32"))
    build.add_argument(
        "--adapt", default="auto", choices=("auto", "on", "off"), help="tune the embedding to this shop (default: auto)"
    )
    build.add_argument(
        "--max-references",
        type=_positive,
        default=0,
        metavar="N",
        help="keep at most N photos a product (default: all)",
    )
    build.add_argument("--false-accept", type=_rate, default=0.05, metavar="RATE", help="default: 0.05")
    build.add_argument("--resizer", default="auto", choices=("auto", "pillow", "opencv"))
    build.add_argument("--workers", type=_whole, default=0, metavar="N", help="threads (default: one a core)")
    build.add_argument("--report", metavar="OUT.html", help="write a page about the build")

    match = command("match", _match, "photos → products")
    match.add_argument("bundle", metavar="SHOP.bundle")
    match.add_argument("images", metavar="IMAGE", nargs="+")
    match.add_argument(
        "--top-k", type=_positive, default=None, metavar="N", help="list the N best products (default: 5 in JSON)"
    )
    _cli_around.add_where(match)
    _cli_around.add_labels(match)
    match.add_argument("--workers", type=_whole, default=0, metavar="N", help="threads (default: one a core)")
    _match_command.add_options(match)

    add = command("add", _add, "add photos to a bundle, in place")
    add.add_argument("bundle", metavar="SHOP.bundle")
    add.add_argument("source", metavar="SOURCE", help="as for build")
    add.add_argument("--replace", action="store_true", help="the source's products lose the photos they had")
    add.add_argument("--workers", type=_whole, default=0, metavar="N", help="threads (default: one a core)")

    remove = command("remove", _remove, "remove products from a bundle, in place")
    remove.add_argument("bundle", metavar="SHOP.bundle")
    remove.add_argument("skus", metavar="SKU", nargs="+")

    info = command("info", _info, "what is inside a bundle")
    info.add_argument("bundle", metavar="SHOP.bundle")
    info.add_argument("--products", action="store_true", help="list the products")

    verify = command("verify", _verify, "check that every byte of a bundle is as built")
    verify.add_argument("bundle", metavar="SHOP.bundle")

    evaluate = command("eval", _eval, "measure recall and unknowns on labelled photos")
    evaluate.add_argument("bundle", metavar="SHOP.bundle")
    evaluate.add_argument(
        "queries", metavar="QUERIES.csv", help="header image,sku; empty sku: a product the shop doesn't sell"
    )
    _cli_around.add_eval_options(evaluate)
    evaluate.add_argument("--workers", type=_whole, default=0, metavar="N", help="threads (default: one a core)")

    _cli_around.register(command, _positive)
    _bench_arguments.register(command, _positive)
    doctor.register(command)
    encoders = command("encoders", _encoders_command.run, "the known encoders; encoders pull NAME fetches one")
    _encoders_command.add_arguments(encoders)

    add_export_arguments(command("export", _export, "trained encoder → device files that still find the same products"))
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a whole number")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > 499:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a whole number from 0 to 499")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a number between 0 and 1, like 0.05")
    return rate


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a whole number from 1")
    return int(text)


def _open_matcher(path: str, workers: int = 0, *, look_again: bool = True) -> Matcher:
    from .. import Matcher  # not from .matcher: the package imports it without the garbage collector

    with quiet_native():
        return Matcher.open(path, sessions=workers or None, follow=False, look_again=look_again)


def _catalogue(run: Callable[[Progress], BuildReport]) -> BuildReport:
    """Build or add with a bar, and without what native libraries say until the first photo and its threads begin."""
    bar = progress_bar("catalogue")
    with contextlib.ExitStack() as hush:
        hush.enter_context(quiet_native())

        def begin(stream: Any, total: int) -> Any:
            hush.close()
            return bar(stream, total)

        return run(begin)


def _demo(options: argparse.Namespace) -> int:
    from ..demo import run_demo
    from ..encoders.encoder import DEFAULT_ENCODER, Encoder

    with quiet_native():  # LiteRT announces its delegate once a process: here, before the bars
        Encoder.load(DEFAULT_ENCODER).prepare()
    result = run_demo(Path(options.out), seed=options.seed, progress=progress_bar)
    if options.json:
        print_json(result.to_dict())
    else:
        print(result.table())
    return DONE


def _build(options: argparse.Namespace) -> int:
    from ..build.build import build_bundle
    from ..device import encoder_for_builds
    from ..encoders.encoder import encoder_names

    if options.report is not None:
        check_can_write(options.report)
    encoder = options.encoder or encoder_for_builds()
    with contextlib.ExitStack() as stack:
        if options.output is not None and len(encoder_names(encoder)) == 1:
            from shelfmatch.export import cut_if_inner  # only here: the device never needs it

            with quiet_native():
                encoder, options.output = stack.enter_context(cut_if_inner(encoder, options.output))
        report = _catalogue(
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
                progress=progress,
            )
        )
    if options.report is not None:
        from ..pages.html import write_build_page

        write_build_page(Path(options.report), report, options.output_bundle)
    return _print_report(options, report, f"built {options.output_bundle}")


def _add(options: argparse.Namespace) -> int:
    from ..build.change import add_to_bundle

    report = _catalogue(
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
        return DONE
    print(
        f"{headline}: {report.products:,} products, {report.size_bytes / 1e6:.1f} MB"
        + (f", {report.references:,} of {report.photos:,} photos added" if report.photos else "")
        + (f", {report.removed:,} removed" if report.removed else "")
        + f" in {report.seconds:.1f} s"
    )
    for title, rows in (("unreadable", report.unreadable), ("duplicate", report.duplicates)):
        for label, reason in rows[:20]:
            print(f"  {title}: {label}: {reason}" if label not in reason else f"  {title}: {reason}")
        if len(rows) > 20:
            print(f"  … and {len(rows) - 20} more; --json lists all")
    if report.ignored:
        print(f"  not photos: {len(report.ignored)} files, for example {report.ignored[0]}")
    if report.without_photos:
        print(f"  left out for want of a readable photo: {', '.join(report.without_photos[:10])}")
    if report.pruned is not None:
        print(
            f"  {report.pruned.removed:,} photos left out that add little: of those, {report.pruned.recall_before:.1%} find "
            f"their product among all photos, {report.pruned.recall_after:.1%} among those kept"
        )
    if report.adaptation is not None:
        print(f"  adapter: {report.adaptation.sentence()}")
    if report.cascade is not None:
        print(f"  {report.cascade.sentence()}")
    if report.decision is not None:
        print(f"  {describe_decision(report.decision.to_dict())}")
    return DONE


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


def _match(options: argparse.Namespace) -> int:
    where = _cli_around.where_of(options.where)
    workers = options.workers or min(os.cpu_count() or 1, len(options.images))
    failed = False
    _match_command.check_options(options)
    with _open_matcher(options.bundle, workers, look_again=not options.no_look_again) as matcher:
        if options.frames:
            return DONE if _match_command.match_frames(matcher, options, where) else WRONG_INPUT
        if options.explain is not None:
            answers = iter([_match_command.match_explained(matcher, options, where)])
        else:
            answers = matcher.match_many(
                options.images, top_k=options.top_k or 5, where=where, labels=options.labels, workers=workers
            )
        for image, answer in zip(options.images, answers, strict=True):
            if isinstance(answer, ImageError):
                failed = True
                if options.json:
                    print_json({"image": image, "error": {"type": "ImageError", "message": str(answer)}})
                else:
                    complain(str(answer))
            elif options.json:
                print_json(answer.to_dict())
            else:
                _print_match(answer, options.top_k)
    return WRONG_INPUT if failed else DONE


def _print_match(answer: MatchResult, top_k: int | None) -> None:
    total = f"{answer.latency_ms['total']:.0f} ms{_match_command.second_look_told(answer)}"
    best = answer.candidates[0] if answer.candidates else None
    if best is None:
        print(f"{answer.image}: unknown (the shop has no such products), {total}")
    elif answer.sku is not None:
        print(f"{answer.image}: {titled(best.sku, best.name)}, {best.confidence:.0%} sure, {total}")
    else:
        print(f"{answer.image}: unknown (nearest: {titled(best.sku, best.name)}, {best.confidence:.0%} sure), {total}")
    for attribute, label in answer.labels.items():
        print(f"  {attribute}: " + ("unknown" if label is None else f"{label.value}, {label.confidence:.0%} sure"))
    for place, candidate in enumerate(answer.candidates[: top_k or 0], start=1):
        print(
            f"  {place}. {titled(candidate.sku, candidate.name)}  score {candidate.score:.3f}  {candidate.confidence:.0%}"
        )


def _info(options: argparse.Namespace) -> int:
    from ..bundle.bundle import Bundle, read_whole
    from ..catalog.catalog import Catalog

    def read(bundle: Bundle) -> tuple[Bundle, Catalog | None]:
        return bundle, Catalog(bundle.check("catalog")) if options.products else None

    bundle, catalog = read_whole(options.bundle, read)
    manifest = bundle.manifest
    record: dict[str, Any] = {
        "bundle": options.bundle,
        "generation": manifest.generation,
        "created_by": manifest.created_by,
        "products": manifest.products,
        "references": manifest.index.references,
        "index": {"kind": manifest.index.kind, "dtype": manifest.index.dtype, "dimension": manifest.index.dimension},
        "resizer": manifest.resizer,
        "decision": manifest.decision.to_dict(),
        "adaptation": manifest.adaptation.to_dict(),
        "encoder": manifest.encoder.to_dict(),
        "files": {role: {"name": e.name, "size_bytes": e.size_bytes} for role, e in manifest.files.items()},
        **{key: value for key, value in manifest.to_dict().items() if key == "second"},
    }
    products = []
    if catalog is not None:
        for product_id, product in catalog.products():
            row: dict[str, Any] = {"sku": product.sku, "name": product.name, **product.attributes}
            row["photos"] = len(catalog.references(product_id))
            if product.attributes:  # also by themselves, as candidates have them: a column may be called photos
                row["attributes"] = dict(product.attributes)
            products.append(row)
        catalog.close()
        record["product_list"] = products
    if options.json:
        print_json(record)
        return DONE
    from ..bundle.manifest import role_of

    references = manifest.index.references
    print(f"{options.bundle}: {manifest.products:,} products, {references:,} references, version {manifest.generation}")
    for number, branch in enumerate(manifest.branches):
        print(_branch_lines(branch, manifest.files[role_of("vectors", number)].size_bytes))
    if manifest.cascade is not None:
        print(f"  {manifest.cascade.sentence()}")
    print(f"  {describe_decision(manifest.decision.to_dict())}")
    print(reliability_lines(manifest.decision.reliability), end="")
    for product_record in products:
        print(
            "  "
            + ", ".join(
                f"{key} {value}" if key != "sku" else str(value)
                for key, value in product_record.items()
                if value and key != "attributes"
            )
        )
    return DONE


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


def _eval(options: argparse.Namespace) -> int:
    if options.report is not None:
        check_can_write(options.report)
    with _open_matcher(options.bundle, options.workers) as matcher:
        return _cli_around.run_eval(options, matcher)


def _export(options: argparse.Namespace) -> int:
    from shelfmatch.export.command import run  # only here: the device never needs it

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
