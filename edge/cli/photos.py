"""`shelfmatch photos`: one product's photos, listed and shown. No network is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CatalogError
from ..terminal import DONE, print_json, shown
from .options import Command, add_bundle

if TYPE_CHECKING:
    pass


def register(command: Command) -> None:
    """The command photos."""
    photos = command("photos", _run, "one product's photos: their numbers, names, and how alike they are")
    add_bundle(photos)
    photos.add_argument("sku", metavar="SKU")
    photos.add_argument("--show", metavar="OUT.png", help="write a picture of them all, with their numbers")
    photos.add_argument(
        "--photos", metavar="SOURCE", help="with --show: what the bundle was built from; bundles hold no pictures"
    )


def _run(options: argparse.Namespace) -> int:
    from ..bundle.bundle import read_whole
    from ..matching.photos import photos_of, save_sheet
    from .search import catalog_and_index

    _check_options(options)
    catalog, index = read_whole(options.bundle, catalog_and_index)
    found = photos_of(index, catalog, options.sku)
    shown_photos = None
    if options.show is not None:
        shown_photos = save_sheet(catalog, options.sku, found, options.photos, options.show)
    if options.json:
        print_json({"sku": options.sku, "photos": [photo.to_dict() for photo in found], "shown": shown_photos})
        return DONE
    for photo in found:
        alike = "" if photo.alike is None else f"  {photo.alike:.2f} like the others"
        print(f"{photo.number:4}  {shown(photo.photo)}{alike}")
    if shown_photos is not None and shown_photos < len(found):
        print(f"{len(found) - shown_photos} of {len(found)} are not in {options.photos}, or were changed since")
    return DONE


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what doesn't go together, or would destroy something. Raises CatalogError, ImageError, OSError."""
    if (options.show is None) != (options.photos is None):
        given, missing = ("--show", "--photos SOURCE") if options.photos is None else ("--photos", "--show OUT.png")
        raise CatalogError(f"{given} arrived alone; expected it with {missing}, bundles hold no pictures")
    if options.show is None:
        return
    from ..files import check_output
    from ..matching.explanation_card import check_ending

    check_ending(Path(options.show))
    check_output(options.show, "picture", [options.photos])
