"""Not sure of the whole photo → find what is most like a product → name that part as if it were the photo.

A product held up in a messy room covers a tenth of the frame: the encoder sees the room. Several boxes are several chances to take
an unknown product for one of the shop's, so few are tried, the most product-like first, and a box must be surer than a whole photo
(`ODDS`). benchmarks/scenes.py measures what that finds, and what it does to false accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog.attributes import Where
from ..detection.crops import Photo
from ..detection.detection import Box
from ..detection.prominence import is_filled, most_product_like, scaled
from ..errors import VectorError
from ..imaging.image import ImageSource, Limits, Pixels
from ..scoring.fusion import Allowed
from .look_again import less_sure
from .opinions import second_opinion, shows_nothing
from .results import Candidate

if TYPE_CHECKING:
    from ..encoders.encoder import Vector
    from .finder import Locator
    from .snapshot import Snapshot

MOST_BOXES = 3
"""How many boxes are tried, until one is sure. Of packages held up in rendered rooms (`benchmarks/held_up.py`, six shops of thirty)
two boxes name 82.6 %, three and four 84.6; a third adds no false accept, a fourth .3 in a hundred."""
FLOOR = 0.2
"""Detection scores from which on a box is tried."""
ODDS = 3.0
"""How much surer a box must be than a whole photo: its odds are divided by this before they meet the threshold, for each box is one
more chance to take an unknown product for one of the shop's. Of unknown products that fill their photo, in 35 shops of rendered,
printed and photographed goods, the boxes let 2.7 in a hundred through beside the 8.2 of whole photos with odds of 1.5, and 0.9 with
3; of products held up in a room 62 % of the right answers are accepted with 1.5, 58 % with 3, and 29 % without boxes."""

SMALL = 2.5
"""A photo whose longer side has at most so many times the encoder's side may be cut to its product already: as a whole it loses
next to no detail, and a small part of it shows something else. There no part is looked at where the surest product fills the photo
(`prominence.MOST`), and a part is the answer only if it is accepted (benchmarks/scenes.py --parts small): parts that are merely
surer take right answers from crops, and where none is looked at, whole photos of small cameras lose half of their right answers."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where the product is that an answer names. `box`: x0, y0, x1, y1 in pixels of the upright photo; `detection_score`: how sure
    the detector is that it is a product; `tried`: the place of this box among those
    that were tried, the most product-like first."""

    box: Box
    detection_score: float
    tried: int

    def to_dict(self) -> dict[str, Any]:
        """Under "located" in `match --json`."""
        return {
            "box": [round(edge, 1) for edge in self.box],
            "detection_score": round(self.detection_score, 4),
            "tried": self.tried,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """A located part: its vector in the first branch's gallery, and what it is; `sure`: of the best candidate, before its odds are
    divided."""

    located: Located
    vector: Vector
    candidates: tuple[Candidate, ...]
    sure: float


def locate_pass(
    snapshot: Snapshot,
    locator: Locator,
    image: ImageSource,
    limits: Limits,
    candidates: tuple[Candidate, ...],
    count: int,
    where: Where | None,
    allowed: Allowed,
) -> Part | None:
    """The part of the photo that is named more surely than the whole; None where none is, and where a product fills a photo that
    is small (`SMALL`), unless parts are always looked at. Raises ImageError, DetectorError."""
    detector = locator.detector.get()
    photo, card = Photo(image, limits, detector.card), snapshot.encoder.card
    found = [scaled(one, 1 / photo.scale) for one in detector.detect_once(photo.decoded, floor=FLOOR)]
    small = locator.mode == "auto" and max(photo.size) <= SMALL * max(card.width, card.height)
    if small and is_filled(found, photo.size):
        return None
    chosen = most_product_like(found, photo.size)[:MOST_BOXES]
    photo.prepare([one.box for one in chosen], card)
    best: Part | None = None
    surest = candidates[0].confidence if candidates else -1.0
    for tried, one in enumerate(chosen, start=1):
        part = named(snapshot, photo.part(one.box), limits, count, where, allowed)
        if part is None or not part[1] or part[1][0].confidence <= surest:
            continue
        # The surest is chosen as it is; that there were several chances counts where it is held against the threshold.
        held = tuple(replace(candidate, confidence=less_sure(candidate.confidence, ODDS)) for candidate in part[1])
        if small and not snapshot.accepts(held):
            continue
        surest = part[1][0].confidence
        best = Part(Located(one.box, one.score, tried), part[0], held, surest)
        if snapshot.accepts(held):
            break
    return best


def named(
    snapshot: Snapshot, pixels: Pixels, limits: Limits, count: int, where: Where | None, allowed: Allowed
) -> tuple[Vector, tuple[Candidate, ...]] | None:
    """A part of a photo as if it were the photo: its vector and its candidates; None where it shows nothing."""
    first = snapshot.branches[0]
    part = np.ascontiguousarray(pixels)
    try:
        embedding = first.encoder.embed_timed(part, limits)
    except VectorError:
        return None
    if shows_nothing(embedding):
        return None
    vector = first.gallery.adapted(embedding.vector)
    candidates = snapshot.candidates(first.gallery.evidence(vector, count, allowed), snapshot.first)
    _, candidates = second_opinion(snapshot, part, limits, embedding, vector, allowed, candidates, count, where)
    return vector, candidates
