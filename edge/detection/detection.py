"""One thing found on a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["product", "gap"]
Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright photo."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A product, or an empty place on a shelf ("gap"). `box`: x0, y0, x1, y1 in pixels of the upright photo; `score`: how sure the
    detector is, 0 to 1."""

    box: Box
    score: float
    kind: Kind

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) in pixels."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"box": [round(edge, 1) for edge in self.box], "score": round(self.score, 4), "kind": self.kind}


def grown(box: Box, share: float, size: tuple[int, int]) -> Box:
    """A box with `share` of its sides more around it, inside a photo of (width, height)."""
    across, down = (box[2] - box[0]) * share, (box[3] - box[1]) * share
    return (
        max(0.0, box[0] - across),
        max(0.0, box[1] - down),
        min(float(size[0]), box[2] + across),
        min(float(size[1]), box[3] + down),
    )
