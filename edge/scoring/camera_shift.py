"""What photos of the shop's own camera have changed in a bundle, kept beside what the shop was fitted to.

`evaluation.camera` measures it. Photos of the catalogue go on being compared from where the catalogue's pictures lie, and a bundle
that is fitted again keeps what it knows of the camera.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..metrics import logits
from ..records import read_record
from .adapter import Adapter
from .decision import LEVELS, Confidences, Decision

Floats64 = NDArray[np.float64]

MOST_COUNTED: Final = 1_000
"""Photos by which one that comes again is known: 11 KB of a manifest."""
FINGERPRINT_BYTES: Final = 8

_UNREAD = "the manifest's record of the camera is not one this version reads"
_AGAIN = "build the bundle again"


@dataclass(frozen=True, slots=True)
class CameraShift:
    """What so many `photos` of the camera came to, in one calibration or several.

    `threshold`: log odds by which unknown queries of this camera are surer than the catalogue let expect. `confidence`: log odds
    by which all answers are. `catalogue_mean`: where the adapter's queries were centred before they were on the camera's photos,
    (D,) float32 numbers, little-endian, in base64; None: they still are. `counted`: the `fingerprint`s of the last MOST_COUNTED
    photos with their labels, in base64: one that comes again says nothing new.
    """

    photos: int
    threshold: float
    confidence: float
    catalogue_mean: str | None = None
    counted: str = ""

    def joined(
        self,
        photos: Sequence[bytes],
        threshold: float,
        confidence: float,
        recentred: Adapter | None = None,
    ) -> CameraShift:
        """With what one more calibration came to, of photos with these fingerprints; `recentred`: the adapter as it was, where that
        has moved."""
        mean = self.catalogue_mean
        if recentred is not None and mean is None:
            mean = base64.b64encode(recentred.mean.astype("<f4").tobytes()).decode()
        kept = b"".join([base64.b64decode(self.counted), *photos])[-MOST_COUNTED * FINGERPRINT_BYTES :]
        return CameraShift(
            self.photos + len(photos),
            self.threshold + threshold,
            self.confidence + confidence,
            mean,
            base64.b64encode(kept).decode(),
        )

    def counted_before(self) -> frozenset[bytes]:
        """The fingerprints of the photos in it."""
        kept = base64.b64decode(self.counted)
        starts = range(0, len(kept), FINGERPRINT_BYTES)
        return frozenset(kept[start : start + FINGERPRINT_BYTES] for start in starts)

    def catalogue_adapter(self, adapter: Adapter) -> Adapter:
        """The adapter as photos of the catalogue go through it."""
        return adapter if self.catalogue_mean is None else replace(adapter, mean=self._mean(self.catalogue_mean))

    def refitted(self, before: Adapter | None, adapter: Adapter | None) -> tuple[CameraShift, Adapter | None]:
        """The record and an adapter that was fitted anew to the catalogue, which has the camera as far to one side as `before`."""
        if self.catalogue_mean is None or before is None or adapter is None:
            return replace(self, catalogue_mean=None), adapter
        moved = replace(adapter, mean=adapter.mean + before.mean - self._mean(self.catalogue_mean)).as_stored()
        alone = replace(self, catalogue_mean=None)
        return alone.joined((), 0.0, 0.0, adapter), moved

    def decided(self, decision: Decision) -> Decision:
        """A decision that was fitted to the catalogue, as this camera asks for it."""
        return with_confidence(with_threshold(decision, self.threshold), self.confidence)

    def sentence(self) -> str:
        """For people: what was changed, and by how many photos."""
        parts = [] if self.catalogue_mean is None else ["queries centred on them"]
        parts += [f"threshold {self.threshold:+.2f} log odds"] if self.threshold else []
        parts += [f"confidences {self.confidence:+.2f} log odds"] if self.confidence else []
        return f"calibrated with {self.photos:,} photos of the shop's camera: {', '.join(parts) or 'nothing to change'}"

    def to_record(self) -> dict[str, Any]:
        """For JSON: photos, threshold and confidence in log odds, and whether queries are centred on the photos."""
        return {
            "photos": self.photos,
            "threshold": round(self.threshold, 6),
            "confidence": round(self.confidence, 6),
            "recentred": self.catalogue_mean is not None,
        }

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: object, dimension: int) -> CameraShift:
        """From the manifest, for an encoder of D components. Raises BundleError."""
        made = read_record(cls, record, _UNREAD, BundleError, _AGAIN)
        try:
            found = 0 if made.catalogue_mean is None else len(base64.b64decode(made.catalogue_mean, validate=True))
            base64.b64decode(made.counted, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise BundleError(f"{_UNREAD}: {error}; {_AGAIN}") from error
        if found not in (0, 4 * dimension) or not (math.isfinite(made.threshold) and math.isfinite(made.confidence)):
            raise BundleError(f"{_UNREAD}: {found} bytes for {dimension} numbers; {_AGAIN}")
        return made

    @staticmethod
    def _mean(text: str) -> NDArray[np.float32]:
        return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def fingerprint(vector: NDArray[np.float32], product: int | None) -> bytes:
    """Of a photo's embedding (D,) and what it was said to show: the same photo with a label says more than without."""
    return hashlib.blake2b(vector.tobytes() + repr(product).encode(), digest_size=FINGERPRINT_BYTES).digest()


def with_threshold(decision: Decision, shift: float) -> Decision:
    """The decision whose unknown queries come to so much more, in log odds; the formula stays."""
    if not shift:
        return decision
    table = decision.confidences
    threshold = float(chances(logits(np.array(decision.threshold)) + shift))
    if table is None:
        return replace(decision, threshold=threshold)
    accepted = (1 - float(np.interp(threshold, table.right, LEVELS))) * table.right_share if table.right else 0.0
    return replace(
        decision,
        threshold=threshold,
        correct_accept_rate=accepted,
        confidences=replace(table, unknown=_moved(table.unknown, shift)),
    )


def with_confidence(decision: Decision, offset: float) -> Decision:
    """The decision whose probabilities are so much higher, in log odds; it accepts the same photos."""
    if not offset:
        return decision
    table: Confidences | None = decision.confidences
    if table is not None:
        table = replace(table, unknown=_moved(table.unknown, offset), right=_moved(table.right, offset))
    return replace(
        decision,
        intercept=decision.intercept + offset,
        threshold=float(chances(logits(np.array(decision.threshold)) + offset)),
        confidences=table,
        reliability=(),
    )


def _moved(values: tuple[float, ...], shift: float) -> tuple[float, ...]:
    return tuple(float(f"{value:.7g}") for value in chances(logits(np.array(values)) + shift)) if values else ()


def chances(logits: Floats64) -> Floats64:
    """Probabilities of log odds."""
    result: Floats64 = 1 / (1 + np.exp(-logits))
    return result
