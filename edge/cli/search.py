"""The command line around a match: similar products, search by words, filters, labels, and the evaluation."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CatalogError
from ..terminal import DONE, WRONG_INPUT, complain, print_json, progress_bar, titled

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..matching.matcher import Matcher
    from ..matching.similar import Neighbour


def register(command: Callable[..., argparse.ArgumentParser], positive: Callable[[str], int]) -> None:
    """The commands of this module."""
    similar = command("similar", _similar, "other products like this one")
    similar.add_argument("bundle", metavar="SHOP.bundle")
    similar.add_argument("sku", metavar="SKU")
    similar.add_argument("--top-k", type=positive, default=5, metavar="N", help="so many (default: 5)")
    add_where(similar)

    find = command("find", _find, "search the catalogue by words, or by how they begin")
    find.add_argument("bundle", metavar="SHOP.bundle")
    find.add_argument("words", metavar="WORDS", nargs="+", help="all must be in SKU, name or attributes")
    find.add_argument("--limit", type=positive, default=10, metavar="N", help="the N best (default: 10)")


def add_where(parser: argparse.ArgumentParser) -> None:
    """--where, for whatever looks for products."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only such products; repeatable: several values of one key mean either, several keys mean all",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """--labels, for what looks at photos."""
    parser.add_argument(
        "--labels",
        type=_names,
        default=(),
        metavar="KEY,…",
        help="also name these attributes (category, brand, …), voted by the nearest products",
    )


def add_eval_options(parser: argparse.ArgumentParser) -> None:
    """What eval can tell beyond its totals."""
    parser.add_argument("--by", type=_names, default=(), metavar="KEY,…", help="rates by these attributes' values, too")
    parser.add_argument("--report", metavar="OUT.html", help="write a page with plots and the pictures that went wrong")
    parser.add_argument(
        "--photos",
        metavar="SOURCE",
        help="the folder or CSV that the bundle was built from: the page then shows its photos beside the queries",
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected names of attributes, like category,brand")
    return names


def where_of(texts: Iterable[str]) -> dict[str, list[str]]:
    """--where options as a filter. Raises CatalogError."""
    where: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CatalogError(f"--where {text!r} arrived; expected KEY=VALUE, like category=tea")
        where.setdefault(key, []).append(value)
    return where


def _similar(options: argparse.Namespace) -> int:
    """From vectors and catalogue alone: no network is loaded."""
    from ..bundle.bundle import Bundle, read_whole
    from ..index.vector_index import VectorIndex
    from ..matching.similar import similar

    def read(bundle: Bundle) -> tuple[Catalog, VectorIndex]:
        index = VectorIndex.load(bundle.file("vectors"), sha256=bundle.entry("vectors").sha256)
        return _catalog(bundle.check("catalog")), index

    catalog, index = read_whole(options.bundle, read)
    where = where_of(options.where)
    allowed = catalog.passing(index.ids, where) if where else None
    found = similar(index, catalog, options.sku, options.top_k, allowed)
    if options.json:
        print_json({"sku": options.sku, "similar": [neighbour.to_dict() for neighbour in found]})
        return DONE
    for place, neighbour in enumerate(found, start=1):
        print(f"{place}. {titled(neighbour.sku, neighbour.name)}  score {neighbour.score:.3f}")
    if not found:
        print(f"no other product {'passes the filter' if options.where else 'is in the shop'}")
    return DONE


def _find(options: argparse.Namespace) -> int:
    """From the catalogue alone."""
    from ..bundle.bundle import read_whole
    from ..matching.similar import find

    catalog = read_whole(options.bundle, lambda bundle: _catalog(bundle.check("catalog")))
    words = " ".join(options.words)
    found = find(catalog, words, options.limit)
    if options.json:
        print_json({"words": words, "products": [neighbour.to_dict() for neighbour in found]})
        return DONE
    _print_products(found)
    if not found:
        print(f"no product has all of: {words}")
    return DONE


def _catalog(path: Path) -> Catalog:
    from ..catalog.catalog import Catalog

    return Catalog(path)


def _print_products(found: Sequence[Neighbour]) -> None:
    for neighbour in found:
        details = ", ".join(f"{key} {value}" for key, value in neighbour.product.attributes.items() if value)
        print(titled(neighbour.sku, neighbour.name) + (f"  ({details})" if details else ""))


def run_eval(options: argparse.Namespace, matcher: Matcher) -> int:
    """The command eval, with its bundle open."""
    from ..evaluation.evaluate import evaluate

    if options.photos and not options.report:
        raise CatalogError("--photos came without --report; it is for the pictures on that page, name the page as well")
    result = evaluate(matcher, options.queries, by=options.by, workers=options.workers, progress=progress_bar("eval"))
    if options.json:
        print_json(result.to_dict())
    else:
        print(result.table())
    if options.report:
        from ..pages.eval_page import write_eval_page

        bar: Any = progress_bar("pictures", "cell")
        write_eval_page(Path(options.report), result, matcher, photos=options.photos, progress=bar)
    for label, problem in result.unreadable:
        complain(f"{label}: {problem}" if label not in problem else problem)
    return WRONG_INPUT if result.unreadable else DONE
