"""Empty places on photos of real shelves (measure-only data), each beside a full place of the same size on the same photo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.metrics import auroc
from shelfmatch.edge.shelf.bare import bareness, roughness
from shelfmatch.edge.shelf.teach import read_photo

Box = tuple[float, float, float, float]


def places(folder: Path) -> Iterator[tuple[Pixels, list[Box], list[Box]]]:
    """(photo, empty places, full places): for each empty one the nearest place beside it that no box touches."""
    for record in json.loads((folder / "photos.json").read_text()):
        pixels = read_photo(folder / record["photo"])
        gaps = [tuple(box) for box in record["gaps"]]
        full = [place for box in gaps if (place := _beside(box, gaps, pixels.shape[1])) is not None]
        yield pixels, gaps, full


def _beside(box: Box, gaps: list[Box], width: int) -> Box | None:
    wide = box[2] - box[0]
    for steps in (1.3, -1.3, 2.3, -2.3, 3.3, -3.3):
        x0 = box[0] + steps * wide
        place = (x0, box[1], x0 + wide, box[3])
        if x0 >= 0 and place[2] <= width and not any(_touch(place, gap) for gap in gaps):
            return place
    return None


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def gap_scores(folder: Path) -> tuple[float, int]:
    """(ROC AUC of bareness, number of empty places)."""
    empty: list[float] = []
    full: list[float] = []
    for pixels, gaps, others in places(folder):
        whole = roughness(pixels)
        for boxes, scores in ((gaps, empty), (others, full)):
            scores += [bareness(pixels, box, whole) for box in boxes]
    return auroc(empty, full) or float("nan"), len(empty)
