"""What one frame of several says: of the whole frame, or of a product that was found on one and is followed over the next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from ..catalog.attributes import Where
from ..errors import VectorError
from ..imaging.image import ImageSource, Limits, source_name
from ..scoring.evidence import Evidence
from ..scoring.fusion import DEPTH
from .local_pass import local_rank
from .opinions import shows_nothing
from .passes import allowed_each, rank

if TYPE_CHECKING:
    from ..detection.crops import Photo
    from ..detection.detection import Box
    from ..encoders.encoder import Vector
    from .finder import Locator
    from .following import Follower
    from .snapshot import Snapshot

_PATIENCE = 3
"""So many frames in a row must be unsure, once one was sure as a whole, before a product is looked for: the answer rests on whole
frames then, and a part's embedding is another. So many pass, too, after a look that found nothing better."""
_DOUBTS = 9
"""So many frames in a row of a part that is followed may leave the shop unsure, or a third as many show no goods."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame says: its vector in the index's space (D,) and what it says of the best products, by which snapshot of the
    bundle; `blank`: it shows no goods."""

    vector: Vector
    evidence: Evidence
    snapshot: Snapshot
    blank: bool = False


class Observer:
    """One tracker's frames; see `tracking.track`."""

    def __init__(
        self,
        snapshot_of: Callable[[], Snapshot],
        *,
        top_k: int,
        where: Where | None,
        limits: Limits,
        locate: Locator | None,
    ) -> None:
        self._snapshot_of = snapshot_of
        self._count = max(DEPTH, top_k)
        self._where, self._limits, self._locate = where, limits, locate
        self._follower: Follower | None = None
        self.forget()

    def forget(self) -> None:
        """The next frame begins another product."""
        self._unsure, self._was_sure, self._doubts = 0, False, 0
        if self._follower is not None:
            self._follower.stop()

    def observe(self, image: ImageSource) -> Frame:
        """One frame. Raises ImageError, VectorError, DetectorError."""
        snapshot = self._snapshot_of()
        if self._locate is None:
            return self._look(snapshot, image)
        photo = None
        if self._follower is not None and self._follower.box is not None:
            photo = self._photo(image)
            box = self._follower.follow(photo.pixels)
            if box is not None and (part := self._followed(snapshot, photo, box)) is not None:
                return part
        if self._locate.mode == "auto":
            seen = self._look(snapshot, image)
            sure = not seen.blank and snapshot.accepts(snapshot.candidates(seen.evidence.cut(2)))
            self._was_sure |= sure
            self._unsure = 0 if sure else self._unsure + 1
            patience = _PATIENCE if self._was_sure else 1
            if sure or self._unsure < patience or not self._locate.wants(sure):
                return seen
        else:
            seen = self._look(snapshot, image)
        return self._found(snapshot, photo or self._photo(image), seen) or seen

    def _followed(self, snapshot: Snapshot, photo: Photo, box: Box) -> Frame | None:
        """What the part that is followed says; None, and it isn't followed any more, where it showed no goods for some frames, or
        nothing that the shop is sure of for more of them: the product may have left it."""
        assert self._follower is not None
        part = None
        with contextlib.suppress(VectorError):
            part = self._look(snapshot, _cut(photo, box))
        if part is None or part.blank:
            self._doubts += _DOUBTS // _PATIENCE
        elif snapshot.accepts(snapshot.candidates(part.evidence.cut(2))):
            self._doubts = 0
        else:
            self._doubts += 1
        if part is not None and self._doubts < _DOUBTS:
            return part
        if self._doubts >= _DOUBTS:
            self._doubts = 0
            self._follower.stop()
        return None

    def _found(self, snapshot: Snapshot, photo: Photo, seen: Frame) -> Frame | None:
        """What the most product-like part of a frame says, which is followed from now on; None where there is none, or where it
        shows nothing or is less sure than the whole frame (`seen`), which stands for some frames then."""
        from ..detection.prominence import most_product_like
        from ..imaging.image import Decoded
        from .following import Follower

        assert self._locate is not None
        # From the card's own floor on: what is followed decides over many frames.
        found = self._locate.detector.get().detect_once(Decoded(photo.pixels))
        chosen = most_product_like(found, photo.size)
        self._unsure = -_PATIENCE
        if not chosen:
            return None
        try:
            part = self._look(snapshot, _cut(photo, chosen[0].box))
        except VectorError:  # a lamp, a blank sheet: the whole frame says what it says
            return None
        if _surest(snapshot, part) <= _surest(snapshot, seen):
            return None
        self._follower = self._follower or Follower()
        self._follower.start(photo.pixels, chosen[0].box)
        self._unsure = self._doubts = 0
        return part

    def _photo(self, image: ImageSource) -> Photo:
        from ..detection.crops import Photo

        return Photo(image, self._limits)

    def _look(self, snapshot: Snapshot, image: ImageSource) -> Frame:
        embeddings = [branch.encoder.embed_timed(image, self._limits) for branch in snapshot.branches]
        if shows_nothing(embeddings[0]):
            raise VectorError(f"{source_name(image)} shows nothing: it is as good as one flat colour")
        blank = snapshot.is_blank(embeddings[0].vector)
        if snapshot.local is not None:
            seen = embeddings[0]
            fused = local_rank(snapshot, seen.vector, seen.tap, self._count, snapshot.allowed(self._where))
            return Frame(snapshot.gallery.adapted(seen.vector), fused, snapshot, blank)
        vectors = [
            branch.gallery.adapted(one.vector) for branch, one in zip(snapshot.branches, embeddings, strict=True)
        ]
        found = rank(snapshot, vectors, self._count, allowed_each(snapshot, self._where))
        return Frame(vectors[0], found, snapshot, blank)


def _cut(photo: Photo, box: Box) -> Image.Image:
    return Image.fromarray(photo.part(box))


def _surest(snapshot: Snapshot, frame: Frame) -> float:
    """The confidence of a frame's best candidate, less than any of a frame that shows no goods."""
    if frame.blank:
        return -1.0
    found = snapshot.candidates(frame.evidence.cut(2))
    return found[0].confidence if found else -1.0
