"""Reference photos: checked, written beside the plan, and read again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from ..errors import ImageError, ShelfError
from ..files import write_atomic
from ..imaging.decode import decode
from ..imaging.image import Pixels, upright
from . import compare
from .align import ENOUGH, IDENTITY, Aligner, displacement
from .camera_state import DARK_LEVEL, MOST_SHIFT
from .planogram import Photo, Planogram, scaled

_LEAST_EDGES: Final = 0.02
"""Mean gradient over the mean level: a fogged lens or a bare wall has less, any shelf five times as much."""


def read_photo(path: str | Path) -> Pixels:
    """A photo, upright, (H, W, 3) uint8 RGB. Raises ImageError."""
    return np.asarray(upright(decode(path)).convert("RGB"))


def averaged(photos: Sequence[Pixels]) -> Pixels:
    """Several frames of a shelf as one with less noise, whoever walked by in fewer than half of them left out: the median of up to
    nine. Raises ShelfError for none, or frames of several sizes."""
    if not photos:
        raise ShelfError("no photo arrived; expected one or more frames of the shelf")
    sizes = {one.shape for one in photos}
    if len(sizes) > 1:
        listed = " and ".join(f"{shape[1]}x{shape[0]}" for shape in sorted(sizes)[:2])
        raise ShelfError(f"photos of {listed} pixels arrived; expected frames of one camera with one setting")
    if len(photos) == 1:
        return photos[0]
    picks = photos[:: max(1, len(photos) // 9)][:9]
    middle: Pixels = np.median(np.stack(picks), axis=0).astype(np.uint8)
    return middle


def taught(plan: Planogram, path: Path, full: Pixels, empty: Pixels | None) -> Planogram:
    """Write the photos beside the plan at `path`, then the plan that names them; the plan. Raises ShelfError for photos that can't
    serve: dark, without edges, of another shape than the plan, or an empty shelf that isn't the same view."""
    _check(full, "the photo of the full shelf")
    height, width = full.shape[:2]
    plan = scaled(plan, width, height)
    if empty is not None:
        if empty.shape != full.shape:
            raise ShelfError(
                f"the photo of the empty shelf has {empty.shape[1]}x{empty.shape[0]} pixels, that of the full one {width}x{height}"
                "; take both with the same camera and settings"
            )
        _check(empty, "the photo of the empty shelf")
        _check_same_view(full, empty)
    names = {"full": f"{path.stem}.full.png", "empty": "" if empty is None else f"{path.stem}.empty.png"}
    for name, pixels in ((names["full"], full), (names["empty"], empty)):
        if name and pixels is not None:
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG", compress_level=4)
            write_atomic(path.parent / name, data.getvalue())
    before = plan.photo
    if not names["empty"] and before is not None and before.empty and (before.width, before.height) == (width, height):
        names["empty"] = before.empty
    plan = replace(plan, photo=Photo(width, height, names["full"], names["empty"]), folder=path.parent)
    plan.save(path)
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


def _check_same_view(full: Pixels, empty: Pixels) -> None:
    found = Aligner(_grey(empty)).find(_grey(full), IDENTITY)
    height, width = _grey(full).shape
    # Of a full shelf, an empty one shares the rails and the frame: fewer tiles than two frames of one shelf do.
    if found.agreement >= ENOUGH / 2 and displacement(found.matrix, width, height) > MOST_SHIFT / 4:
        raise ShelfError(
            "the photos of the full and the empty shelf show other views; take both without moving the camera"
        )
