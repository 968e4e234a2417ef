"""`shelfmatch count`: what stands on a shelf: facings of each product, its share, rows, empty places."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from ..terminal import DONE, NO, WRONG_INPUT, amount, complain, print_json, quiet_native, shown, titled
from .options import Command, add_detector, add_where, add_workers

if TYPE_CHECKING:
    from ..matching.facings import ShelfCount


def register(command: Command) -> None:
    """The command count."""
    count = command("count", _run, "count a shelf: facings of each product, its share, rows, empty places")
    count.add_argument(
        "images", metavar="PHOTO", nargs="+", help="photos, and folders: all photos in and below them, sorted"
    )
    count.add_argument("--bundle", metavar="SHOP.bundle", help="name the products (without: only where they are)")
    add_where(count)
    add_detector(count)
    count.add_argument("--no-gaps", action="store_true", help="don't look for empty places")
    count.add_argument("--picture", metavar="OUT.png", help="write the photo with boxes and names (one photo)")
    count.add_argument("--csv", metavar="OUT.csv", help="write a line for each product and each empty place")
    add_workers(count)


def _run(options: argparse.Namespace) -> int:
    from ..catalog.photo_folder import expanded
    from ..catalog.where_texts import where_of
    from ..matching.facings import count_facings, write_counts
    from .match import open_matcher

    where = where_of(options.where)
    _check_options(options)
    images = expanded(options.images)
    counts: list[ShelfCount] = []
    failed = False
    opened: Any = nullcontext(None)
    detector: Any = options.detector
    workers = options.workers or os.cpu_count() or 1
    if options.bundle is not None:
        opened = open_matcher(options.bundle, workers, detector=options.detector)
        detector = None
    with opened as matcher:
        if matcher is None:
            from ..detection.detector import Detector
            from ..detection.on_demand import DetectorOnDemand

            with quiet_native():
                detector = DetectorOnDemand(detector, {"sessions": workers}).get()
            assert isinstance(detector, Detector)
        else:
            matcher.catalog.check_values(where)
        for image in images:
            try:
                with quiet_native():  # the matcher's own detector is loaded with the first photo
                    count = count_facings(
                        image, matcher=matcher, detector=detector, where=where, gaps=not options.no_gaps
                    )
            except ImageError as error:
                failed = True
                _print_problem(image, error, json=options.json)
                continue
            counts.append(count)
            if options.json:
                print_json(count.to_dict())
            else:
                _print_count(count, named=matcher is not None)
    if options.picture is not None and counts:
        from ..files import write_atomic
        from ..matching.explanation_card import encoded

        path = Path(options.picture)
        write_atomic(path, encoded(counts[0].picture(images[0]), path))
    if options.csv is not None:
        write_counts(counts, Path(options.csv))
    if failed:
        return WRONG_INPUT
    return DONE if any(count.scene.products or count.scene.gaps for count in counts) else NO


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what doesn't go together, or would destroy something, before anything is loaded."""
    from ..files import check_output

    if options.where and options.bundle is None:
        raise ImageError("--where arrived without --bundle; it chooses among a shop's products")
    if options.picture is not None:
        from ..matching.explanation_card import check_ending

        if len(options.images) != 1 or Path(options.images[0]).is_dir():
            raise ImageError(
                f"--picture arrived with {len(options.images)} photos or a folder; expected one photo, draw them one by one"
            )
        check_ending(Path(options.picture))
        check_output(options.picture, "picture", options.images)
    if options.csv is not None:
        check_output(options.csv, "table", options.images)
        if options.picture is not None and Path(options.csv).resolve() == Path(options.picture).resolve():
            raise ImageError(
                f"--csv and --picture arrived with {options.csv}; expected two names, each is a file of its own"
            )


def _print_problem(image: str, error: ImageError, *, json: bool) -> None:
    if json:
        print_json({"image": image, "error": {"type": "ImageError", "message": str(error)}})
    else:
        complain(str(error))


def _print_count(count: ShelfCount, *, named: bool) -> None:
    """For people: one line a photo, and one a product."""
    scene = count.scene
    gaps = f", {amount(len(scene.gaps), 'empty place')}" if scene.gaps else ""
    rows = f" in {amount(count.rows, 'row')}" if count.rows else ""
    facings = amount(len(scene.products), "facing")
    print(f"{shown(scene.image)}: {facings}{rows}{gaps}, {scene.latency_ms['total']:.0f} ms", flush=True)
    if named:
        for one in count.facings:
            title = "unknown" if one.sku is None else titled(one.sku, one.name)
            print(f"  {one.count:4}  {one.share:4.0%} of facings, {one.share_of_width:4.0%} of width  {title}")
