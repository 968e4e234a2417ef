"""What tells a photo of nothing from a photo of a shop's goods: a direction in the encoder's embedding.

A bare shelf, a wall, a covered lens or a hand without a product has an embedding, too, and each shop a product nearest to it. A
threshold can't keep them all out: in a shop of few products they come as near as hard photos of goods. What they have in common
tells them. `fitting.blank_fit` finds the direction; the device multiplies once.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..records import read_record
from .adapter import Floats

_UNREAD = "the manifest's rule for photos of nothing is not one this version reads"


@dataclass(frozen=True, slots=True)
class BlankRule:
    """A photo of plain embedding x shows nothing where direction · x > `offset`. `direction`: (D,) float16 numbers, little-endian,
    in base64."""

    direction: str
    offset: float

    @classmethod
    def of(cls, direction: Floats, offset: float) -> BlankRule:
        """As a manifest keeps it."""
        return cls(base64.b64encode(direction.astype("<f2").tobytes()).decode(), float(f"{offset:.6g}"))

    def numbers(self) -> NDArray[np.float32]:
        """(D,) the direction."""
        return np.frombuffer(base64.b64decode(self.direction), "<f2").astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: object, dimension: int) -> BlankRule:
        """From the manifest, for an encoder of D components. Raises BundleError."""
        made = read_record(cls, record, _UNREAD, BundleError, "build the bundle again")
        try:
            found = len(base64.b64decode(made.direction, validate=True))
        except (binascii.Error, ValueError) as error:
            raise BundleError(f"{_UNREAD}: {error}; build the bundle again") from error
        if found != 2 * dimension or not math.isfinite(made.offset):
            raise BundleError(f"{_UNREAD}: {found} bytes for {dimension} numbers; build the bundle again")
        return made


class Blanks:
    """A rule, loaded: what a matcher asks of each photo. Safe to share between threads."""

    def __init__(self, rule: BlankRule) -> None:
        self._direction, self._offset = rule.numbers(), rule.offset

    def has(self, embedding: Floats) -> bool:
        """Whether a photo of this (D,) plain embedding shows nothing."""
        return float(embedding.dot(self._direction)) > self._offset
