"""Local matching at match time: the references' cells on disk, and their logits weighed into the first search's scores.

`fitting.local_fit` chooses on held-out photos how much they weigh and below which confidence they are asked for. A reference takes
some 3.6 KB; the file is mapped into memory, and only what belongs to candidates is read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.ids import PHOTO_BITS
from ..errors import BundleDamaged, BundleError
from ..records import read_record
from .adapter import Floats
from .decision import Confidences, Decision
from .fusion import Ranked

if TYPE_CHECKING:
    from ..encoders.local import LocalHead

LOOKS = 5
"""References that are compared part by part: `FIRST` of the first product, its most alike, and one of each that follows. Each takes
about a twentieth of what the encoder does (benchmarks/right_answers.py --parts cost)."""
DEPTH = LOOKS
"""Products of the first search that may be among them."""
FIRST = 2
SOFTNESS = 2.0
"""What a logit is divided by before it is squashed: at twice as much it is as good as certain."""
_HEADER = struct.Struct("<8sIIIII4x")
_MAGIC = b"SHELFCEL"
_FILE_VERSION = 1
_STEPS = 127.0
_UNREAD = "the manifest's local matching is not one this version reads"


@dataclass(frozen=True, slots=True)
class Local:
    """A bundle's local matching: `decision` on fused scores, (1 - `weight`) * score + `weight` * the squashed logit; below a
    confidence of `sure_from` of the first search's own decision it is asked for.

    On held-out photos: recall@1 and AUROC without and with it, and the share of photos that went through it, of products
    in the catalogue (`asked_known`) and of others.
    """

    decision: Decision
    weight: float
    sure_from: float
    recall_without: float
    recall_with: float
    auroc_without: float
    auroc_with: float
    asked_known: float
    asked_unknown: float

    def is_sure(self, confidence: float) -> bool:
        """Whether the first search's answer stands."""
        return confidence >= self.sure_from

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        record = {**asdict(self), "decision": self.decision.to_dict()}
        if self.decision.confidences is not None:
            record["confidences"] = self.decision.confidences.to_dict()
        return record

    @classmethod
    def from_dict(cls, record: object) -> Local:
        """From the manifest. Raises BundleError."""
        try:
            given: Any = record
            decision = Decision.from_dict(given["decision"])
            if "confidences" in given:
                decision = replace(decision, confidences=Confidences.from_dict(given["confidences"]))
            values = {**{key: value for key, value in given.items() if key != "confidences"}, "decision": decision}
            made = read_record(cls, values, _UNREAD, BundleError, "build the bundle again")
            if not (0 < made.weight <= 1 and made.sure_from >= 0):
                raise ValueError(f"weight {made.weight}, sure from {made.sure_from}")
        except (TypeError, ValueError, KeyError) as error:
            raise BundleError(f"{_UNREAD}: {error}; build the bundle again") from error
        return made

    def sentence(self) -> str:
        """For people: when it runs, and what it brings."""
        return (
            f"local matching where the first search is less than {min(self.sure_from, 1.0):.0%} sure: on {self.asked_known:.0%} of "
            f"held-out photos, {self.asked_unknown:.0%} of unknown queries; held-out recall@1 {self.recall_without:.1%} without, "
            f"{self.recall_with:.1%} with"
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """What is kept of N references, or made of N pictures: `ids` (N,) uint32 ascending, `embeddings` (N, D) int8 with a scale each,
    (N,) float32, and the cells' unit `vectors` (N, C, n) int8 in steps of 1/127 and `lengths` (N, C) float16."""

    ids: NDArray[np.uint32]
    scales: Floats
    embeddings: NDArray[np.int8]
    vectors: NDArray[np.int8]
    lengths: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls, ids: NDArray[np.uint32], embeddings: Floats, vectors: NDArray[np.int8], lengths: NDArray[np.float16]
    ) -> Cells:
        """From unit embeddings (N, D) float32 and cells, in any order."""
        order: Any = np.argsort(ids)
        if (order[1:] > order[:-1]).all():
            order = slice(None)  # as they come most often: no copy
        embeddings = embeddings[order]
        scales = (np.abs(embeddings).max(axis=1, initial=1e-9) / np.float32(_STEPS)).astype(np.float32)
        quantized = np.rint(embeddings / scales[:, np.newaxis]).astype(np.int8)
        return cls(ids[order].astype(np.uint32), scales, quantized, vectors[order], lengths[order])

    def without(self, ids: NDArray[np.uint32]) -> Cells:
        """Those of the other references."""
        return self._taken(~np.isin(self.ids, ids))

    def joined(self, other: Cells) -> Cells:
        """Both, in the order of their ids."""
        both = Cells(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__slots__))
        return both._taken(np.argsort(both.ids))

    def _taken(self, rows: NDArray[Any]) -> Cells:
        return Cells(*(getattr(self, name)[rows] for name in self.__slots__))

    def save(self, path: Path) -> None:
        """As a bundle keeps them."""
        count, dimension = self.embeddings.shape
        with path.open("wb") as file:
            file.write(_HEADER.pack(_MAGIC, _FILE_VERSION, count, dimension, *self.vectors.shape[1:]))
            for name in self.__slots__:
                array = getattr(self, name)
                file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)

    @classmethod
    def load(cls, path: Path) -> Cells:
        """What `save` wrote, mapped into memory. Raises BundleDamaged."""
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
        magic, version, count, dimension, cells, numbers = (
            _HEADER.unpack(header) if len(header) == _HEADER.size else (b"", 0, 0, 0, 0, 0)
        )
        shapes: tuple[tuple[str, tuple[int, ...]], ...] = (
            ("<u4", (count,)),
            ("<f4", (count,)),
            ("i1", (count, dimension)),
            ("i1", (count, cells, numbers)),
            ("<f2", (count, cells)),
        )
        sizes = [np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in shapes]
        if magic != _MAGIC or version != _FILE_VERSION or path.stat().st_size != _HEADER.size + sum(sizes):
            raise BundleDamaged(
                f"{path} is damaged: it doesn't hold the cells it should; copy or build the bundle again"
            )
        whole = np.memmap(path, np.uint8, mode="r") if count else np.frombuffer(header, np.uint8)
        parts, start = [], _HEADER.size
        for (dtype, shape), size in zip(shapes, sizes, strict=True):
            parts.append(whole[start : start + size].view(np.ndarray).view(dtype).reshape(shape))
            start += size
        return cls(*parts)

    def nearest(self, embedding: Floats, products: Sequence[int]) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
        """The rows of the references of each product that are to be looked at, the most alike first, with their cosines to the
        (D,) embedding, and the place in `products` that each belongs to."""
        rows: list[int] = []
        cosines: list[float] = []
        owners: list[int] = []
        for place, product in enumerate(products):
            # In the ids' own type: of another one numpy makes a copy of them all first, 0.6 ms for a million.
            ends = np.array([product << PHOTO_BITS, (product + 1) << PHOTO_BITS], np.uint32)
            first, last = np.searchsorted(self.ids, ends)
            # Not a matrix product: with more than 36 references OpenBLAS would start threads.
            own = self.embeddings[first:last].astype(np.float32)
            found = np.einsum("rd,d->r", own, embedding) * self.scales[first:last]
            best = np.argsort(-found)[: FIRST if place == 0 else 1][: LOOKS - len(rows)]
            rows += (first + best).tolist()
            cosines += found[best].tolist()
            owners += [place] * len(best)
        return np.array(rows, np.intp), np.array(cosines, np.float32), np.array(owners, np.intp)


def described(cells: tuple[Floats, Floats]) -> NDArray[np.uint8]:
    """A picture's cells as they are kept: (bytes,) uint8, the unit vectors in int8 and then the lengths in float16."""
    vectors = np.rint(cells[0] * np.float32(_STEPS)).astype(np.int8)
    return np.concatenate([vectors.reshape(-1).view(np.uint8), cells[1].astype("<f2").view(np.uint8)])


def undescribed(rows: NDArray[np.uint8], numbers: int) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """(N, bytes) rows of `described`, with so many numbers a cell, as vectors (N, C, n) and lengths (N, C)."""
    count = rows.shape[1] // (numbers + 2)
    vectors = np.ascontiguousarray(rows[:, : count * numbers]).view(np.int8).reshape(len(rows), count, numbers)
    return vectors, np.ascontiguousarray(rows[:, count * numbers :]).view("<f2").reshape(len(rows), count)


def restored(vectors: NDArray[np.int8], lengths: NDArray[np.float16]) -> tuple[Floats, Floats]:
    """Kept cells as numbers again."""
    return vectors * np.float32(1 / _STEPS), lengths.astype(np.float32)


def logits_of(
    head: LocalHead, kept: Cells, embedding: Floats, cells: tuple[Floats, Floats], products: Sequence[int]
) -> dict[int, float]:
    """Product → the highest logit among its references that are looked at, for a query's plain embedding (D,) and its cells."""
    rows, cosines, owners = kept.nearest(embedding, products)
    found: dict[int, float] = {}
    if len(rows):
        logits = head.logits(cells, restored(kept.vectors[rows], kept.lengths[rows]), cosines)
        for owner, logit in zip(owners.tolist(), logits.tolist(), strict=True):
            product = products[owner]
            found[product] = max(found.get(product, -np.inf), logit)
    return found


def squashed(logits: NDArray[np.float32]) -> Any:
    """Logits as scores from 0 to 1."""
    return 1 / (1 + np.exp(-np.clip(logits, -10 * SOFTNESS, 10 * SOFTNESS) / SOFTNESS))


def said_of(logits: Mapping[int, float]) -> dict[int, float]:
    """`squashed`, of each product: for the few of one photo, for which numpy takes ten times as long."""
    most = 10 * SOFTNESS
    return {product: 1 / (1 + math.exp(-max(-most, min(most, one)) / SOFTNESS)) for product, one in logits.items()}


def fused(ranked: Ranked, said: Mapping[int, float], weight: float) -> Ranked:
    """(product id, fused score), best first; products that weren't looked at count with the lowest of what was `said_of` those that
    were."""
    lowest = min(said.values(), default=0.5)
    scores = [(product, (1 - weight) * score + weight * said.get(product, lowest)) for product, score in ranked]
    return sorted(scores, key=lambda item: (-item[1], item[0]))
