"""The pass over a photo's cells: candidates of the first search compared with it part by part, their scores fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..encoders.encoder import Vector
from ..scoring.evidence import Evidence
from ..scoring.fusion import Allowed
from ..scoring.local import DEPTH, Cells, Local, fused, logits_of, said_of

if TYPE_CHECKING:
    from .snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class LocalMatching:
    """A bundle's local matching, loaded: its record, and the references' cells."""

    record: Local
    cells: Cells


def local_rank(
    snapshot: Snapshot, embedding: Vector, tap: NDArray[Any] | None, count: int, allowed: Allowed
) -> Evidence:
    """What speaks for the `count` best products by fused scores, for a photo's plain embedding and its tap of the same run; by
    the first search's scores alone in a bundle without local matching."""
    gallery, local, head = snapshot.gallery, snapshot.local, snapshot.encoder.local
    found = gallery.evidence(gallery.adapted(embedding), max(DEPTH, count), allowed)
    if local is None or head is None or tap is None:
        return found.cut(count)
    products = [product for product, _ in found.ranked[:DEPTH]]
    logits = logits_of(head, local.cells, embedding, head.cells(tap), products)
    said = said_of(logits)
    return Evidence(fused(found.ranked, said, local.record.weight)[:count], found.plain, said)
