"""Reference photos: checked, written beside the plan, and read again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import ImageError, ShelfError
from ..files import MADE_BY, check_can_write, shown_name, write_together
from ..imaging.decode import decode
from ..imaging.image import Pixels, upright
from . import compare
from .align import ENOUGH, IDENTITY, Aligner, displacement
from .camera_state import DARK_LEVEL, MOST_SHIFT
from .planogram import Photo, Planogram, scaled

T = TypeVar("T")
_MOST_FRAMES: Final = 9
"""That are averaged: the noise is a third then, and more take memory."""
_LEAST_EDGES: Final = 0.02
"""Mean gradient over the mean level: a fogged lens or a bare wall has less, any shelf five times as much."""


def read_photo(path: str | Path) -> Pixels:
    """A photo, upright, (H, W, 3) uint8 RGB. Raises ImageError."""
    return np.asarray(upright(decode(path)).convert("RGB"))


def picked(photos: Sequence[T]) -> list[T]:
    """Of many frames the nine that are averaged, evenly spread from the first to the last: somebody who stood there for a part of
    the time is on as small a part of them."""
    places = np.linspace(0, len(photos) - 1, min(_MOST_FRAMES, len(photos)))
    return [photos[round(place)] for place in places.tolist()]


def averaged(photos: Sequence[Pixels]) -> Pixels:
    """Several frames of a shelf as one with less noise, whoever walked by in fewer than half of them left out: the median of up to
    nine, see `picked`. Raises ShelfError for none, or frames of several sizes."""
    if not photos:
        raise ShelfError("no photo arrived; expected one or more frames of the shelf")
    sizes = {one.shape for one in photos}
    if len(sizes) > 1:
        listed = " and ".join(f"{shape[1]}x{shape[0]}" for shape in sorted(sizes)[:2])
        raise ShelfError(f"photos of {listed} pixels arrived; expected frames of one camera with one setting")
    if len(photos) == 1:
        return photos[0]
    middle: Pixels = np.median(np.stack(picked(photos)), axis=0).astype(np.uint8)
    return middle


def photo_paths(path: Path) -> tuple[Path, Path]:
    """Where the photos of the full and of the empty shelf go that belong to the plan at `path`. Raises ShelfError where the plan
    couldn't name them: JSON is UTF-8."""
    if shown_name(path.name) != path.name:
        raise ShelfError(
            f"{shown_name(str(path))} arrived as the plan; expected a name in UTF-8, for the plan names its photos after itself"
        )
    return path.with_name(f"{path.stem}.full.png"), path.with_name(f"{path.stem}.empty.png")


def check_photo_paths(plan: Planogram, path: Path, full: Sequence[str], empty: Sequence[str]) -> None:
    """Before the photos `full` and `empty` of a plan at `path` are read and averaged: whether what is made of them can be written
    and destroys nothing. A file that isn't this plan's, and that shelfmatch didn't write, is somebody's own. Raises ShelfError,
    OSError."""
    named = ("", "") if plan.photo is None else (plan.photo.full, plan.photo.empty)
    for target, name, photos in zip(photo_paths(path), named, (full, empty), strict=True):
        if not photos or (len(photos) == 1 and is_in_place(photos[0], target)):
            continue
        check_can_write(target)
        if target.exists() and target.name != name and not _is_ours(target):
            raise ShelfError(f"{target} is there already and is no photo of this plan; rename it, or remove it")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MADE_BY in file.read(256)


def is_in_place(photo: str | Path | None, target: Path) -> bool:
    """Whether a photo lies where the plan's photo goes: it is taken as it is, and not written anew."""
    return photo is not None and target.exists() and Path(photo).exists() and target.samefile(photo)


def taught(
    plan: Planogram,
    path: Path,
    full: Pixels,
    empty: Pixels | None,
    *,
    files: tuple[str | Path | None, str | Path | None] = (None, None),
    keeps_empty: bool = True,
) -> Planogram:
    """Write the photos beside the plan at `path`, and the plan that names them, all or none; the plan. Without `empty` that of an
    earlier time stays the plan's, unless not `keeps_empty`. `files`: those that have just the pixels of `full` and `empty`; one
    that lies in its place already stays as it is.

    Raises ShelfError for photos that can't serve: dark, without edges, of another shape than the plan, or an empty shelf that isn't
    the same view. Nothing is written then.
    """
    _check(full, "the photo of the full shelf")
    height, width = full.shape[:2]
    plan = scaled(plan, width, height)
    kept = plan.photo.empty if plan.photo is not None and empty is None and keeps_empty else ""
    if empty is not None:
        if empty.shape != full.shape:
            raise ShelfError(
                f"the photo of the empty shelf has {empty.shape[1]}x{empty.shape[0]} pixels, that of the full one {width}x{height}"
                "; take both with the same camera and settings"
            )
        _check(empty, "the photo of the empty shelf")
        if views_of(full, empty) == "other":
            raise ShelfError(
                "the photos of the full and the empty shelf show other views; take both without moving the camera"
            )
    elif kept:
        _check_kept(full, plan.folder / kept)
    targets = photo_paths(path)
    names = targets[0].name, kept if empty is None else targets[1].name
    plan = replace(plan, photo=Photo(width, height, *names), folder=path.parent)
    document = plan.to_json(str(path))
    photos = [
        (target, _png(pixels))
        for target, pixels, file in zip(targets, (full, empty), files, strict=True)
        if pixels is not None and not is_in_place(file, target)
    ]
    write_together([*photos, (path, document)])
    return plan


def photos_of(plan: Planogram) -> tuple[Pixels, Pixels | None]:
    """The taught photos of the full and the empty shelf. Raises ShelfError where there is none, or it isn't the plan's."""
    photo = plan.photo
    if photo is None or not photo.full:
        raise ShelfError(
            "the plan has no photo of the full shelf yet; shelfmatch shelf teach PLAN --full PHOTO takes it in"
        )
    found: list[Pixels | None] = []
    for name in (photo.full, photo.empty):
        if not name:
            found.append(None)
            continue
        try:
            pixels = read_photo(plan.folder / name)
        except ImageError as error:
            raise ShelfError(
                f"the plan's photo can't be used: {error}; teach it again (shelfmatch shelf teach)"
            ) from error
        if pixels.shape[:2] != (photo.height, photo.width):
            raise ShelfError(
                f"{plan.folder / name} has {pixels.shape[1]}x{pixels.shape[0]} pixels, the plan says {photo.width}x{photo.height}; "
                "teach it again (shelfmatch shelf teach)"
            )
        found.append(pixels)
    assert found[0] is not None
    return found[0], found[1]


def _grey(pixels: Pixels) -> compare.Floats:
    small = compare.reduced(pixels, compare.factor_of(pixels.shape[1])).astype(np.float32)
    return compare.grey_of(small)


def _check(pixels: Pixels, what: str) -> None:
    from .camera_state import edges_of

    if min(pixels.shape[:2]) < 240:
        raise ShelfError(f"{what} has {pixels.shape[1]}x{pixels.shape[0]} pixels; expected at least 240 on each side")
    grey = _grey(pixels)
    if float(grey.mean()) < DARK_LEVEL:
        raise ShelfError(
            f"{what} is dark (mean grey level {grey.mean():.0f} of 255); take it with the shop's lights on"
        )
    if edges_of(grey) < _LEAST_EDGES:
        raise ShelfError(f"{what} shows nothing with edges; expected a shelf, is the lens covered or out of focus?")


def _check_kept(full: Pixels, path: Path) -> None:
    """Whether the taught photo of the empty shelf still belongs to a new one of the full shelf. Raises ShelfError."""
    problem = ""
    try:
        empty = read_photo(path)
    except ImageError as error:
        problem = f"can't be used: {error}"
    else:
        if empty.shape != full.shape:
            problem = (
                f"has {empty.shape[1]}x{empty.shape[0]} pixels, that of the full one {full.shape[1]}x{full.shape[0]}"
            )
        elif views_of(full, empty) == "other":
            problem = f"({path.name}) shows another view than the new one of the full shelf"
    if problem:
        raise ShelfError(
            f"the taught photo of the empty shelf {problem}; give a new one (--empty), or none (--no-empty)"
        )


def views_of(full: Pixels, empty: Pixels) -> Literal["same", "other", "unsure"]:
    """Whether a full and an empty shelf are one view: "other" where one is found in the other at another place, "unsure" where
    neither is found, as of other zooms, of some other shelves, and of one shelf with thin rails between two photos of which the
    camera was touched. They share the rails and the frame: fewer tiles agree than of two frames of one shelf."""
    height, width = _grey(full).shape
    found = Aligner(_grey(empty)).find(_grey(full), IDENTITY)
    if found.agreement >= ENOUGH / 2 and displacement(found.matrix, width, height) > MOST_SHIFT / 4:
        return "other"
    back = Aligner(_grey(full)).find(_grey(empty), IDENTITY)
    return "same" if found.agreement * back.agreement >= ENOUGH**2 else "unsure"


def _png(pixels: Pixels) -> bytes:
    """A photo's file, which says who wrote it: it may be written anew, others may not."""
    data, made_by = io.BytesIO(), PngImagePlugin.PngInfo()
    made_by.add_text("Software", MADE_BY.decode())
    Image.fromarray(pixels).save(data, "PNG", compress_level=4, pnginfo=made_by)
    return data.getvalue()
