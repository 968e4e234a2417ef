"""Every product of a scene: found in tiles where they are many and small, cut from all of the photo's pixels, named one by one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from ..catalog.attributes import Where
from ..detection.crops import Photo
from ..detection.detection import Box, Detection, Kind
from ..errors import ImageError, VectorError
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from .pipeline import match
from .results import Candidate, MatchResult
from .rows import rows_of

if TYPE_CHECKING:
    from ..detection.detector import Detector
    from .snapshot import Snapshot


SHELF = 24
"""From so many products on, a scene is a shelf, on which things stand upright: rejected parts are mended, but not turned."""


@dataclass(frozen=True, slots=True)
class SceneProduct:
    """One product of a scene: where it is (`box`: x0, y0, x1, y1 in pixels of the upright photo), how sure the detector is, and
    the answer to it, None where it shows nothing or no shop was asked."""

    box: Box
    detection_score: float
    result: MatchResult | None = None

    @property
    def decision(self) -> Literal["match", "unknown"]:
        """As of a photo that shows it alone."""
        return "unknown" if self.result is None else self.result.decision

    @property
    def sku(self) -> str | None:
        """None for "unknown"."""
        return None if self.result is None else self.result.sku

    @property
    def confidence(self) -> float:
        """That the best candidate is right, 0 to 1."""
        return 0.0 if self.result is None else self.result.confidence

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Best first."""
        return () if self.result is None else self.result.candidates

    def to_dict(self) -> dict[str, Any]:
        """One of "products" in `match --all --json`."""
        record: dict[str, Any] = {
            "box": [round(edge, 1) for edge in self.box],
            "detection_score": round(self.detection_score, 4),
        }
        if self.result is not None:
            answer = self.result.to_dict()
            for key in ("image", "latency_ms"):
                del answer[key]
            record |= answer
        return record


@dataclass(frozen=True, slots=True)
class Scene:
    """The answer to a whole scene. `products`: from left to right in rows from top to bottom; `gaps`: empty places on shelves,
    where they were asked for; `size`: (width, height) of the upright photo; `latency_ms`: stage → ms ("decode", "detect", "match",
    "total")."""

    image: str
    products: tuple[SceneProduct, ...]
    gaps: tuple[Detection, ...] = ()
    size: tuple[int, int] = (0, 0)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    generation: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The document of `match --all --json`."""
        return {
            "image": self.image,
            "size": list(self.size),
            "products": [one.to_dict() for one in self.products],
            "latency_ms": {stage: round(value, 3) for stage, value in self.latency_ms.items()},
        }


def match_scene(
    snapshot: Snapshot | None,
    detector: Detector,
    image: ImageSource,
    *,
    top_k: int = 5,
    where: Where | None = None,
    labels: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    look_again: bool = True,
    kinds: tuple[Kind, ...] = ("product",),
    workers: int = 1,
) -> Scene:
    """Find and name all products of a photo, as `Matcher.match_scene` does; without a snapshot, find them. Raises ImageError,
    CatalogError, DetectorError."""
    start = time.perf_counter()
    photo = Photo(image, limits)
    pixels = photo.pixels
    after_decode = time.perf_counter()
    found = detector.detect(pixels, kinds=kinds)
    after_detect = time.perf_counter()

    boxes = in_rows([detection for detection in found if detection.kind == "product"])
    careful: bool | Literal["upright"] = "upright" if look_again and len(boxes) >= SHELF else look_again

    def one(detection: Detection) -> SceneProduct:
        result = None
        if snapshot is not None:
            try:
                result = match(
                    snapshot,
                    Image.fromarray(photo.part(detection.box)),
                    top_k=top_k,
                    where=where,
                    labels=labels,
                    limits=limits,
                    look_again=careful,
                )
                if result.barcode is not None:
                    place = photo.place_of(detection.box, result.barcode.box)
                    result = replace(result, barcode=replace(result.barcode, box=place))
            except (ImageError, VectorError):  # a part that shows nothing is still there
                result = None
        return SceneProduct(detection.box, detection.score, result)

    products: list[SceneProduct]
    if snapshot is None or workers == 1 or len(boxes) < 2:
        products = [one(detection) for detection in boxes]
    else:
        from ..threads import in_order

        products = list(in_order(one, boxes, workers=workers, ahead=4 * workers))
    end = time.perf_counter()
    stages = {"decode": after_decode - start, "detect": after_detect - after_decode, "match": end - after_detect}
    return Scene(
        source_name(image),
        tuple(products),
        tuple(detection for detection in found if detection.kind == "gap"),
        photo.size,
        {**{stage: seconds * 1e3 for stage, seconds in stages.items()}, "total": (end - start) * 1e3},
        0 if snapshot is None else snapshot.bundle.manifest.generation,
    )


def in_rows(found: Sequence[Detection]) -> list[Detection]:
    """From left to right in rows from top to bottom."""
    return [one for row in rows_of([one.box for one in found]) for one in (found[place] for place in row)]
