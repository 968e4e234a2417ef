"""`shelfmatch eval`: recall, false accepts and confidence on labelled photos."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CatalogError
from ..files import check_output
from ..terminal import DONE, WRONG_INPUT, complain, print_json, progress_bar
from .match import open_matcher
from .options import Command, add_bundle, add_columns, add_locate, add_workers, attribute_names
from .sources import listed

if TYPE_CHECKING:
    from ..matching.matcher import Matcher


def register(command: Command) -> None:
    """The command eval."""
    evaluate = command("eval", _run, "measure recall and unknowns on labelled photos")
    add_bundle(evaluate)
    evaluate.add_argument(
        "queries",
        metavar="QUERIES",
        help="CSV with the header image,sku (empty sku: a product that is not in the catalogue), or a folder of folders named by "
        "SKU, or unknown",
    )
    evaluate.add_argument(
        "--by", type=attribute_names, default=(), metavar="KEY,…", help="rates by these attributes' values, too"
    )
    evaluate.add_argument(
        "--report", metavar="OUT.html", help="write a page with plots and the pictures that went wrong"
    )
    evaluate.add_argument(
        "--photos",
        metavar="SOURCE",
        help="the folder or CSV that the bundle was built from: the page then shows its photos beside the queries",
    )
    add_columns(evaluate)
    add_locate(evaluate)
    add_workers(evaluate)


def _run(options: argparse.Namespace) -> int:
    if options.report is not None:
        check_output(options.report, "page", [options.queries, *([options.photos] if options.photos else [])])
    with open_matcher(options.bundle, options.workers, locate=options.locate, detector=options.detector) as matcher:
        return _evaluate(options, matcher)


def _evaluate(options: argparse.Namespace, matcher: Matcher) -> int:
    from ..catalog.columns import columns_of
    from ..evaluation.evaluate import evaluate

    if options.photos and not options.report:
        raise CatalogError("--photos came without --report; it is for the pictures on that page, name the page as well")
    result = evaluate(
        matcher,
        options.queries,
        by=options.by,
        columns=None if options.columns is None else columns_of(options.columns),
        workers=options.workers,
        progress=progress_bar("eval", lines=not options.json),
    )
    if options.json:
        print_json(result.to_dict())
    else:
        print("\n".join([result.table(), *listed("note", (finding.message for finding in result.findings))]))
    if options.report:
        from ..pages.eval_page import write_eval_page

        bar: Any = progress_bar("pictures", "cell")
        write_eval_page(Path(options.report), result, matcher, photos=options.photos, progress=bar)
    for label, problem in result.unreadable:
        complain(f"{label}: {problem}" if label not in problem else problem)
    return WRONG_INPUT if result.unreadable else DONE
