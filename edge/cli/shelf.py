"""`shelfmatch shelf …`: plans of shelves, and cameras that watch them; each action has a parser of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ShelfError
from ..terminal import DONE, NO, complain, print_json
from . import shelf_report, shelf_watch
from .options import Command, positive, whole

if TYPE_CHECKING:
    from ..shelf.planogram import Planogram

Action = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
"""Makes an action's parser: `action(name, run, summary)`."""


def register(command: Command) -> None:
    """The command shelf."""
    shelf = command("shelf", lambda options: DONE, "shelf cameras: what is missing, misplaced or running out")
    actions = shelf.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run, command=f"shelf {name}")
        sub.add_argument("--json", action="store_true", help="print JSON instead of text for people")
        return sub

    _register_plans(action)
    shelf_watch.register(action)
    shelf_report.register(action)


def _register_plans(action: Action) -> None:
    propose = action("propose", _propose, "write a first plan from one good photo, by detecting and naming")
    propose.add_argument("photo", metavar="PHOTO", help="a photo of the full shelf, from the camera that will watch it")
    propose.add_argument("--bundle", metavar="SHOP.bundle", required=True, help="whose products they are")
    _add_output(propose)
    init = action("init", _init, "write a plan by hand: rows of slots over a photo, or from a table")
    init.add_argument("--photo", metavar="PHOTO", help="a photo of the full shelf; it is taught, too")
    init.add_argument("--rows", type=positive, default=4, metavar="N", help="boards, from the top (default: 4)")
    init.add_argument("--cols", type=positive, default=8, metavar="N", help="slots on each board (default: 8)")
    init.add_argument(
        "--from", dest="table", metavar="TABLE", help="a CSV with sku and id (or row, column), or a PTS file"
    )
    _add_output(init)
    teach = action("teach", _teach, "take in frames of the full shelf and, if there are any, of the empty one")
    teach.add_argument("plan", metavar="PLAN")
    teach.add_argument("--full", metavar="PHOTO", nargs="+", required=True, help="one or more frames of the full shelf")
    teach.add_argument("--empty", metavar="PHOTO", nargs="+", default=[], help="one or more frames of the empty shelf, from the "
                       "same place: empty slots are told more surely")  # fmt: skip
    teach.add_argument(
        "--no-empty", action="store_true", help="forget the photo of the empty shelf that was taught before"
    )
    edit = action("edit", _edit, "a page in the browser of this device: drag corners, name slots")
    edit.add_argument("plan", metavar="PLAN")
    edit.add_argument("--bundle", metavar="SHOP.bundle", help="offer its SKUs to choose from")
    edit.add_argument("--port", type=whole, default=8091, metavar="N", help="at 127.0.0.1:N (default: 8091)")
    draw = action("draw", _draw, "draw the plan over its photo, or over another one")
    draw.add_argument("plan", metavar="PLAN")
    draw.add_argument(
        "-o", "--output", metavar="OUT.png", required=True, help="the picture to write (.png, .jpg, .webp)"
    )
    draw.add_argument("--photo", metavar="PHOTO", help="another photo of the same view")
    check = action("check", _check, "check a plan and, with a bundle, that the shop has its products")
    check.add_argument("plan", metavar="PLAN")
    check.add_argument("--bundle", metavar="SHOP.bundle", help="the shop that it is for")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="PLAN.json", required=True, help="the plan to write")
    parser.add_argument("--name", metavar="NAME", help="what the shelf is called (default: the file's name)")
    parser.add_argument("--force", action="store_true", help="replace a plan, and its photo, that are there already")


def _output(options: argparse.Namespace) -> Path:
    """Where the plan goes, and its photo beside it. Raises ShelfError, OSError."""
    from ..files import check_can_write
    from ..shelf.planogram import planogram_of
    from ..shelf.teach import is_in_place, photo_paths

    path = Path(options.output)
    if path.suffix != ".json":
        raise ShelfError(f"{options.output!r} arrived as the plan; expected a name that ends in .json")
    check_can_write(path)
    if path.exists() and not options.force:
        raise ShelfError(f"{path} is there already; name another file, or replace it with --force")
    if any(is_in_place(one, path) for one in (options.photo, getattr(options, "table", None))):
        raise ShelfError(f"{path} arrived as the plan to write and is also an input; name another file")
    photo, _ = photo_paths(path)
    if options.photo is not None and not is_in_place(options.photo, photo):
        check_can_write(photo)
        if photo.exists() and not options.force:
            raise ShelfError(f"{photo} is there already; name another plan, or replace it with --force")
    # Before long work: whether a plan may have these names.
    document = {"photo": {"width": 32, "height": 32, "full": photo.name}, "planogram": {"positions": [{"id": "r1c1"}]}}
    planogram_of({"name": options.name or path.stem, **document}, "--name" if options.name else str(path))
    return path


def _said(plan: Planogram, path: Path, options: argparse.Namespace, **more: Any) -> int:
    """What was written."""
    facings = sum(slot.facings for slot in plan.slots)
    record = {"plan": str(path), "slots": len(plan.slots), "facings": facings, "skus": len(plan.skus), **more}
    if options.json:
        print_json(record)
    else:
        print(f"{path}: {len(plan.slots)} slots with {facings} facings of {len(plan.skus)} products")
    return DONE


def _propose(options: argparse.Namespace) -> int:
    from ..shelf.propose import found_in, proposed
    from ..shelf.teach import read_photo, taught
    from .match import open_matcher

    path = _output(options)
    pixels = read_photo(options.photo)
    with open_matcher(options.bundle) as matcher:
        scene = matcher.match_scene(pixels, top_k=1)
    found = found_in(scene)
    if not found:
        complain("no product was found on the photo; shelfmatch shelf init makes a plan by hand")
        return NO
    names = {one.sku: one.name for product in scene.products for one in product.candidates[:1]}
    size = pixels.shape[1], pixels.shape[0]
    proposal = proposed(options.name or path.stem, size, found, names)
    plan = taught(proposal.plan, path, pixels, None, files=(options.photo, None))
    unnamed = sum(not slot.sku for slot in plan.slots)
    if not options.json:
        if unnamed:
            complain(f"{unnamed} slots have no product yet: name them with shelfmatch shelf edit, or in the file")
        if proposal.unsure:
            complain(
                f"{len(proposal.unsure)} slots have a product that is likely, not sure; look at {', '.join(proposal.unsure)}"
            )
    return _said(plan, path, options, unnamed=unnamed, unsure=list(proposal.unsure))


def _init(options: argparse.Namespace) -> int:
    from ..shelf.tables import grid, read_table
    from ..shelf.teach import read_photo, taught

    path = _output(options)
    if options.photo is None and options.table is None:
        raise ShelfError("neither --photo nor --from arrived; expected a photo of the shelf, a table, or both")
    pixels = None if options.photo is None else read_photo(options.photo)
    if options.table is not None:
        size = None if pixels is None else (pixels.shape[1], pixels.shape[0])
        plan = read_table(Path(options.table), size, options.name or "")
        if pixels is not None:
            plan = _placed(plan, pixels.shape[1], pixels.shape[0])
    else:
        assert pixels is not None
        plan = grid(options.name or path.stem, pixels.shape[1], pixels.shape[0], options.rows, options.cols)
    if pixels is not None:
        plan = taught(plan, path, pixels, None, files=(options.photo, None))
    else:
        plan.save(path)
    return _said(plan, path, options)


def _placed(plan: Planogram, width: int, height: int) -> Planogram:
    """Slots of a table spread over a photo: boards from the top, facings side by side; corners are then dragged into place."""
    from dataclasses import replace

    from ..shelf import geometry
    from ..shelf.planogram import Photo, planogram_of

    if any(slot.polygon is not None for slot in plan.slots):
        return plan
    boards = list(dict.fromkeys((slot.y, slot.fixture) for slot in plan.slots))
    boards.sort(key=lambda board: board[0])
    high, slots = height * 0.96 / len(boards), []
    for number, board in enumerate(boards):
        on = [slot for slot in plan.slots if (slot.y, slot.fixture) == board]
        wide = width * 0.96 / sum(slot.facings for slot in on)
        left, top = width * 0.02, height * 0.02 + number * high
        for slot in on:
            place = geometry.box(
                left + 0.02 * wide, top + 0.05 * high, left + wide * slot.facings - 0.02 * wide, top + 0.85 * high
            )
            slots.append(replace(slot, polygon=place))
            left += wide * slot.facings
    made = replace(plan, slots=tuple(slots), photo=Photo(width, height))
    return planogram_of(made.to_document(), plan.name, plan.folder)


def _teach(options: argparse.Namespace) -> int:
    from ..shelf.planogram import read_planogram
    from ..shelf.teach import averaged, check_photo_paths, photos_of, picked, read_photo, taught, views_of

    if options.empty and options.no_empty:
        raise ShelfError("--empty and --no-empty arrived; expected one of them")
    path = Path(options.plan)
    plan = read_planogram(path)
    check_photo_paths(plan, path, options.full, options.empty)
    # Picked before they are read: all frames of a day don't fit into memory.
    full = averaged([read_photo(photo) for photo in picked(options.full)])
    empty = averaged([read_photo(photo) for photo in picked(options.empty)]) if options.empty else None
    one_full, one_empty = (photos[0] if len(photos) == 1 else None for photos in (options.full, options.empty))
    plan = taught(plan, path, full, empty, files=(one_full, one_empty), keeps_empty=not options.no_empty)
    bare = photos_of(plan)[1]
    if bare is not None and views_of(full, bare) == "unsure":
        complain(
            "the photo of the empty shelf may show another view than that of the full one: look at both (shelf draw)"
        )
    return _said(plan, path, options, full=plan.photo and plan.photo.full, empty=plan.photo and plan.photo.empty)


def _edit(options: argparse.Namespace) -> int:
    from ..shelf.edit_page import PlanEditor, start_editor
    from .live import until_stopped
    from .match import open_matcher

    skus: list[str] = []
    if options.bundle is not None:
        with open_matcher(options.bundle) as matcher:
            skus = [product.sku for _, product in matcher.catalog.products()]
    server = start_editor(PlanEditor(Path(options.plan), skus), options.port)
    complain(f"edit {options.plan} at http://127.0.0.1:{server.server_address[1]}/ and end with Ctrl-C")
    with until_stopped():
        server.serve_forever()
    server.server_close()
    return DONE


def _draw(options: argparse.Namespace) -> int:
    from ..files import check_output, write_atomic
    from ..matching.explanation_card import check_ending, encoded
    from ..shelf.draw import drawn
    from ..shelf.planogram import read_planogram, scaled
    from ..shelf.teach import photos_of, read_photo

    output = Path(options.output)
    check_ending(output)
    plan = read_planogram(Path(options.plan))
    own = () if plan.photo is None else (plan.photo.full, plan.photo.empty)  # shelfmatch wrote these, too
    inputs = [options.plan, *(plan.folder / name for name in own if name), *([options.photo] if options.photo else [])]
    check_output(output, "picture", inputs)
    pixels = photos_of(plan)[0] if options.photo is None else read_photo(options.photo)
    plan = scaled(plan, pixels.shape[1], pixels.shape[0])
    write_atomic(output, encoded(drawn(plan, pixels), output))
    if options.json:
        print_json({"picture": str(output), "slots": len(plan.slots)})
    return DONE


def _check(options: argparse.Namespace) -> int:
    from ..shelf.planogram import check_against, read_planogram

    path = Path(options.plan)
    plan = read_planogram(path)
    if options.bundle is not None:
        from .match import open_matcher

        with open_matcher(options.bundle) as matcher:
            check_against(plan, lambda sku: matcher.catalog.product_id(sku) is not None, options.bundle)
    return _said(plan, path, options, version=1)
