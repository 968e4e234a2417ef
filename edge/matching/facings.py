"""A shelf counted: facings of each product, its share of the shelf, rows, and empty places."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import arguments
from ..catalog.attributes import Where
from ..detection.detection import Box
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits
from .finder import Finder
from .rows import rows_of
from .scene import Scene, match_scene

if TYPE_CHECKING:
    from PIL import Image

    from ..detection.detector import Detector
    from .matcher import Matcher

COLUMNS = ("image", "kind", "row", "place", "x0", "y0", "x1", "y1", "score", "sku", "name", "confidence", "decision")


@dataclass(frozen=True, slots=True)
class Facings:
    """One product's part of a shelf, or that of all unknown ones (`sku` None). `share`: of the shelf's facings, `share_of_width`:
    of the width that all facings take, both 0 to 1."""

    sku: str | None
    name: str
    count: int
    share: float
    share_of_width: float

    def to_dict(self) -> dict[str, Any]:
        """One of "facings" in `count --json`."""
        return {
            "sku": self.sku,
            "name": self.name,
            "facings": self.count,
            "share": round(self.share, 4),
            "share_of_width": round(self.share_of_width, 4),
        }


@dataclass(frozen=True, slots=True)
class ShelfCount:
    """What stands on a shelf. `scene`: each product with its box and answer; `row_of`: the row (from 1, top to bottom) of each of
    its products, `gap_rows` of each of its gaps; `facings`: by product, the most first, unknown ones last; empty without a shop."""

    scene: Scene
    row_of: tuple[int, ...]
    gap_rows: tuple[int, ...]
    facings: tuple[Facings, ...]

    @property
    def rows(self) -> int:
        """How many rows were found."""
        return max((*self.row_of, *self.gap_rows), default=0)

    def to_dict(self) -> dict[str, Any]:
        """The document of `count --json`."""
        record = self.scene.to_dict()
        record["products"] = [{**one, "row": row} for one, row in zip(record["products"], self.row_of, strict=True)]
        record["gaps"] = [
            {"box": one.to_dict()["box"], "score": round(one.score, 4), "row": row}
            for one, row in zip(self.scene.gaps, self.gap_rows, strict=True)
        ]
        record["rows"] = self._rows()
        record["facings"] = [one.to_dict() for one in self.facings]
        return record

    def _rows(self) -> list[dict[str, Any]]:
        found = []
        for number in range(1, self.rows + 1):
            products = [one.box for one, row in zip(self.scene.products, self.row_of, strict=True) if row == number]
            gaps = [one.box for one, row in zip(self.scene.gaps, self.gap_rows, strict=True) if row == number]
            box = _around([*products, *gaps])
            found.append(
                {"row": number, "products": len(products), "gaps": len(gaps), "box": [round(e, 1) for e in box]}
            )
        return found

    def lines(self) -> list[tuple[Any, ...]]:
        """A row for each product and gap, as `COLUMNS` names them."""
        found: list[tuple[Any, ...]] = []
        places = self._places()
        for number, (one, row) in enumerate(zip(self.scene.products, self.row_of, strict=True)):
            name = one.candidates[0].name if one.sku is not None else ""
            sure = f"{one.confidence:.4f}" if one.result is not None else ""
            decision = one.decision if one.result is not None else ""
            found.append(
                (self.scene.image, "product", row, places[number], *_edges(one.box), f"{one.detection_score:.4f}", one.sku or "",
                 name, sure, decision)
            )  # fmt: skip
        for gap, row in zip(self.scene.gaps, self.gap_rows, strict=True):
            found.append((self.scene.image, "gap", row, "", *_edges(gap.box), f"{gap.score:.4f}", "", "", "", ""))
        return found

    def _places(self) -> list[int]:
        """Each product's place in its row, 1 for the left one: the scene's own order follows rows that are level."""
        found = [0] * len(self.scene.products)
        counts: dict[int, int] = {}
        for number in sorted(range(len(found)), key=lambda number: self.scene.products[number].box[0]):
            row = self.row_of[number]
            found[number] = counts[row] = counts.get(row, 0) + 1
        return found

    def picture(self, image: ImageSource, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
        """The photo with boxes and names, RGB; `limits`: those that it was counted with. Raises ImageError."""
        from .scene_picture import draw_scene

        return draw_scene(self.scene, image, limits)


def count_facings(
    image: ImageSource,
    *,
    matcher: Matcher | None = None,
    detector: str | os.PathLike[str] | Detector | None = None,
    where: Where | None = None,
    gaps: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> ShelfCount:
    """Count a shelf's facings: with a `matcher` by product, without one only where products are.

    `detector`: a name, file, card or `Detector` (default: the matcher's, or the package's own); `gaps`: look for empty places, too,
    where the detector knows them; `limits`: without a matcher, which has its own. Raises ImageError, DetectorError, CatalogError;
    BundleError for what is no open matcher.
    """
    arguments.limits(limits)
    if matcher is not None:
        arguments.matcher(matcher)
        return counted(matcher.match_scene(image, where=where, gaps=gaps, detector=detector))
    finder = Finder.of("auto", detector, os.cpu_count() or 1)
    kinds: Any = ("product", "gap") if gaps else ("product",)
    opened = finder.detector.get()
    scene = match_scene(None, opened, image, where=where, kinds=kinds, limits=limits, workers=opened.sessions)
    return counted(scene)


def counted(scene: Scene) -> ShelfCount:
    """A scene's facings, rows and gaps."""
    boxes: list[Box] = [*(one.box for one in scene.products), *(one.box for one in scene.gaps)]
    row_of = [0] * len(boxes)
    for number, row in enumerate(rows_of(boxes), start=1):
        for place in row:
            row_of[place] = number
    products = len(scene.products)
    return ShelfCount(scene, tuple(row_of[:products]), tuple(row_of[products:]), _facings(scene))


def _facings(scene: Scene) -> tuple[Facings, ...]:
    """By product, the most first, and unknown ones last; nothing where no shop was asked."""
    answers = [one for one in scene.products if one.result is not None]
    whole = sum(one.box[2] - one.box[0] for one in answers)
    by_sku: dict[str | None, list[Any]] = {}
    for one in answers:
        by_sku.setdefault(one.sku, []).append(one)
    found = [
        Facings(
            sku,
            own[0].candidates[0].name if sku is not None else "",
            len(own),
            len(own) / len(answers),
            sum(one.box[2] - one.box[0] for one in own) / max(whole, 1e-9),
        )
        for sku, own in by_sku.items()
    ]
    return tuple(sorted(found, key=lambda one: (one.sku is None, -one.count, one.sku or "")))


def write_counts(counts: Iterable[ShelfCount], path: Path) -> None:
    """A CSV of all products and gaps, in one rename. Raises OSError."""
    from ..files import write_atomic
    from ..sheets import sheet

    write_atomic(path, sheet(COLUMNS, [line for count in counts for line in count.lines()]))


def _edges(box: Box) -> tuple[str, ...]:
    return tuple(f"{edge:.1f}" for edge in box)


def _around(boxes: Sequence[Box]) -> Box:
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )
