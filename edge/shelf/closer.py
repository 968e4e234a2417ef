"""A closer look at what a facing shows that nothing taught explains: the product's own box instead of the facing's.

A misplaced product seldom has the size of the one that the slot was taught with: in the facing's cut, a cup has half a wall above
it, and a wide box loses its sides. So the detector looks at the facing and what is around it, and the product that it finds there
is named as `match` names a photo.

`benchmarks/shelf_closer.py` counts what that is good for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ..detection.detection import Detection, grown
from ..detection.on_demand import DetectorOnDemand
from ..detection.overlap import areas, iou, shared
from ..errors import DetectorError, RuntimeUnavailable
from ..imaging.image import Limits, Pixels
from ..matching.locate import named

if TYPE_CHECKING:
    from ..matching.snapshot import Snapshot

logger = logging.getLogger(__name__)

SURE: Final = 0.95
"""Confidence from which on a name counts. On eighteen shelves of `shelf_life` as few are wrong with .95 as with .97, known products
left unknown and strange ones named together; with .9 a third more."""
_AROUND: Final = 0.6
"""Of a facing's sides, how far around it the detector looks: it knows products by what is beside them."""
_FLOOR: Final = 0.15
"""Detection scores from which on a box is taken. Something is there in any case; the question is where it ends."""
_INSIDE, _ALIKE = 0.6, 0.25
"""Share of a box that must lie in the facing, and overlap (intersection over union) of both: else it is a neighbour."""
_STANDS: Final = 0.15
"""Of a facing's height, how far above or below its lower edge a product's box may end: it stands on the board, as the one that was
taught. Boxes of 275 products ended -.10 to .09 from it; somebody's coat goes on below it."""
_BORDER: Final = 0.03
"""Of the box's sides, left around it: boxes are a little off."""


@dataclass(frozen=True, slots=True)
class Name:
    """What a closer look calls a product: the SKU that it is most like, "" where the shop has none, and whether that is sure."""

    sku: str
    is_sure: bool


class CloserLook:
    """Names what stands in a facing, by its own box. The detector is loaded when it is first needed; `is_there`: whether there is
    one."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._detector = DetectorOnDemand()
        self.is_there = self._detector.is_there()

    def __call__(self, pixels: Pixels, corners: NDArray[np.float64]) -> Name | None:
        """What stands in a facing of a frame, (H, W, 3) RGB, with its corners (4, 2) in pixels; None where the detector sees
        nothing there that has a product's bounds. A detector that can't be opened is said once, and the watch goes on without."""
        low, high = corners.min(axis=0), corners.max(axis=0)
        part, low, high = _around(pixels, low, high)
        box = self._box(part, low, high)
        if box is None:
            return None
        # Two candidates, as `match` asks for: how sure the first is also follows from its lead over the second.
        found = named(self._snapshot, _cut(part, box), Limits(), 2, None, None)
        if found is None or not found[1]:
            return Name("", is_sure=False)
        return Name(found[1][0].sku, is_sure=found[1][0].confidence >= SURE)

    def _box(self, part: Pixels, low: NDArray[Any], high: NDArray[Any]) -> Detection | None:
        """The box that is most likely what stands between two corners."""
        try:
            found = self._detector.get().detect(part, floor=_FLOOR, tiles="off")
        except (DetectorError, RuntimeUnavailable) as error:
            logger.warning("products of another size than their slot's aren't named: %s", error)
            self.is_there = False
            return None
        if not found:
            return None
        boxes = np.array([one.box for one in found], np.float32)
        facing = np.concatenate([low, high]).astype(np.float32)
        alike = iou(facing, boxes)
        stands = np.abs(boxes[:, 3] - high[1]) < _STANDS * (high[1] - low[1])
        fits = stands & (shared(facing, boxes) > _INSIDE * areas(boxes)) & (alike > _ALIKE)
        value = np.where(fits, alike * np.array([one.score for one in found]), 0.0)
        best = int(value.argmax())
        return found[best] if value[best] > 0 else None


def _around(pixels: Pixels, low: NDArray[Any], high: NDArray[Any]) -> tuple[Pixels, NDArray[Any], NDArray[Any]]:
    """A facing with what is around it, and its corners in that."""
    size = np.array([pixels.shape[1], pixels.shape[0]])
    reach = _AROUND * (high - low)
    first = np.clip(np.floor(low - reach), 0, size - 1).astype(int)
    last = np.clip(np.ceil(high + reach), first + 1, size).astype(int)
    return np.ascontiguousarray(pixels[first[1] : last[1], first[0] : last[0]]), low - first, high - first


def _cut(part: Pixels, found: Detection) -> Pixels:
    height, width = part.shape[:2]
    left, top, right, bottom = (round(edge) for edge in grown(found.box, _BORDER, (width, height)))
    return part[top : max(bottom, top + 1), left : max(right, left + 1)]
