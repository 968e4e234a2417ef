"""Local matching: the cells of a query and of a reference, compared by a small network, in numpy.

Beside an encoder's file may lie NAME.local: what turns one of the encoder's inner maps (its "tap") into cells, and the head that
compares two pictures' cells. It is a card in JSON and numbers, some 30 KB; numpy is as fast as a runtime on networks of
this size, and a device needs no more sessions. `models/local_file.py` writes it.

Candidates of a first search compared by local features: Cao, Araujo & Sim 2020, arXiv:2001.05027; Tan, Yuan & Ordonez 2021,
arXiv:2103.12236.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import EncoderError
from ..records import problem_of_choice, read_record

Floats: TypeAlias = NDArray[np.float32]

SUFFIX = ".local"
_MAGIC = b"shelfmatch local matching\n"
_CARD_VERSIONS = (1, 2)
_FEATURES = 9
_KERNEL = 3
_AT_ONCE = 6
"""References that are compared together: one look. Their tables (240 KB) stay in a second cache of 512 KB, as a
Cortex-A53 has it."""
_ONE_THREAD = 1 << 18
"""Multiplications that OpenBLAS leaves to one thread (SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD in its common.h)."""
_LONGEST, _FURTHEST = 3.0, 4.0
"""Where a cell's length and its distance to the fitted place are cut off, as in training."""


@dataclass(frozen=True, slots=True)
class LocalCard:
    """What a NAME.local is for: the output `tap` of the encoder file with this sha256, a map of `grid` x `grid` cells with
    `tap_channels` numbers each, int8 or uint8 n standing for scale * (n - zero_point). `cell_numbers`: of a projected cell.
    `channels`: of the head's convolutions, of which the last is `last_kernel` x `last_kernel` places. `places`: what chances the
    query's cells have to be a reference's, of x, sharpness times how much less alike than the best they are: exp(x) or, the
    same near 0 and without an exponential, max(0, 1 + x / 4)^4. `golden_logit`: of `golden_pair`, to tell a damaged file or
    machine.
    """

    name: str
    encoder_sha256: str
    tap: str
    scale: float
    zero_point: int
    layout: Literal["NHWC", "NCHW"]
    grid: int
    tap_channels: int
    cell_numbers: int
    channels: int
    golden_logit: float
    provenance: str = ""
    license: str = ""
    places: Literal["exp", "quartic"] = "exp"
    last_kernel: int = _KERNEL

    def __post_init__(self) -> None:
        problem = problem_of_choice("layout", self.layout, ("NHWC", "NCHW"))
        problem = problem or problem_of_choice("places", self.places, ("exp", "quartic"))
        if self.last_kernel not in (1, _KERNEL):
            problem = problem or f"last_kernel is {self.last_kernel!r}; expected 1 or {_KERNEL}"
        for field in ("grid", "tap_channels", "cell_numbers", "channels"):
            if not 1 <= getattr(self, field) <= 4096:
                problem = problem or f"{field} is {getattr(self, field)!r}; expected a whole number from 1 to 4096"
        if not (0 < self.scale < math.inf and math.isfinite(self.golden_logit)):
            problem = problem or f"scale is {self.scale!r}, golden_logit {self.golden_logit!r}; expected finite numbers"
        if problem:
            raise EncoderError(f"local card: {problem}")

    @property
    def cells(self) -> int:
        """How many cells a picture has."""
        return self.grid * self.grid

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays of the file, in its order."""
        wide, pooled = self.channels, 2 * self.channels + 4
        convolutions = {
            f"convolution{number}.{what}": shape
            for number, (inside, kernel) in enumerate(((_FEATURES, _KERNEL), (wide, _KERNEL), (wide, self.last_kernel)))
            for what, shape in (("weight", (kernel * kernel * inside, wide)), ("bias", (wide,)))
        }
        return {
            "project.weight": (self.tap_channels, self.cell_numbers),
            "project.bias": (self.cell_numbers,),
            "factors": (3,),
            **convolutions,
            "attend.weight": (wide,),
            "attend.bias": (1,),
            "last0.weight": (pooled, wide),
            "last0.bias": (wide,),
            "last1.weight": (wide,),
            "last1.bias": (1,),
        }


class LocalHead:
    """Cells of a picture, and the logit that two pictures show one product. Safe to share between threads.

    `arrays`: those of `LocalCard.shapes`, float32; convolutions as (9 * inside, outside), rows by place, then channel;
    "factors": the softmax's sharpness, the weight of the embeddings' cosine, and what lengths are multiplied by.
    """

    def __init__(self, card: LocalCard, arrays: Mapping[str, Floats]) -> None:
        self.card = card
        self._arrays = {name: np.ascontiguousarray(arrays[name], np.float32) for name in card.shapes()}
        line = np.linspace(-1, 1, card.grid, dtype=np.float32)
        ys, xs = np.meshgrid(line, line, indexing="ij")
        self._places: Floats = np.stack([xs, ys, np.ones_like(xs)], axis=-1).reshape(card.cells, 3)
        around = np.arange(card.grid + 2 * (_KERNEL // 2))[: card.grid, np.newaxis] + np.arange(_KERNEL)
        wide = card.grid + 2 * (_KERNEL // 2)
        # (cells * 9): where a cell's neighbours lie in the padded grid.
        self._around = (around[:, np.newaxis, :, np.newaxis] * wide + around[np.newaxis, :, np.newaxis, :]).ravel()

    def to_bytes(self) -> bytes:
        """The file NAME.local."""
        card = json.dumps({"card_version": _CARD_VERSIONS[-1], **asdict(self.card)}).encode() + b"\n"
        return _MAGIC + card + b"".join(array.astype("<f4").tobytes() for array in self._arrays.values())

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> LocalHead:
        """What `to_bytes` wrote. Raises EncoderError."""
        head, _, numbers = data.removeprefix(_MAGIC).partition(b"\n")
        try:
            record = json.loads(head) if data.startswith(_MAGIC) else None
        except ValueError:
            record = None
        if not isinstance(record, dict) or record.pop("card_version", None) not in _CARD_VERSIONS:
            raise EncoderError(f"{where} is no local matching head that this version reads; install shelfmatch again")
        try:
            card = read_record(LocalCard, record, "local card", EncoderError)
        except EncoderError as error:
            raise EncoderError(f"{where}: {error}") from error
        shapes = card.shapes()
        wanted = 4 * sum(math.prod(shape) for shape in shapes.values())
        if len(numbers) != wanted:
            raise EncoderError(f"{where} is damaged: {len(numbers)} bytes of numbers, expected {wanted}; copy it again")
        arrays, start = {}, 0
        for name, shape in shapes.items():
            count = math.prod(shape)
            arrays[name] = np.frombuffer(numbers, "<f4", count, start).reshape(shape)
            start += 4 * count
        return cls(card, arrays)

    def beside(self, **of_the_tap: Any) -> LocalHead:
        """The same head for another file that gives the same map; the card's fields that differ."""
        return LocalHead(replace(self.card, **of_the_tap), self._arrays)

    @property
    def digest(self) -> bytes:
        """Of the whole file: cells of another head are other cells."""
        return hashlib.sha256(self.to_bytes()).digest()

    def cells(self, tap: NDArray[Any]) -> tuple[Floats, Floats]:
        """An encoder's stored map, (1, 10, 10, 96) or (1, 96, 10, 10) by the card → unit vectors (100, 32) and lengths (100,)."""
        card = self.card
        flat = tap.reshape(card.tap_channels, card.cells).T if card.layout == "NCHW" else tap.reshape(card.cells, -1)
        real = (flat.astype(np.float32) - np.float32(card.zero_point)) * np.float32(card.scale)
        found = _multiplied(real[np.newaxis], self._arrays["project.weight"])[0] + self._arrays["project.bias"]
        lengths = np.sqrt(np.einsum("cn,cn->c", found, found) + np.float32(1e-6))
        return found / lengths[:, np.newaxis], lengths

    def logits(self, query: tuple[Floats, Floats], references: tuple[Floats, Floats], cosines: Floats) -> Floats:
        """A query's cells and those of K references, (K, 100, 32) and (K, 100), with the (K,) cosines of the embeddings → (K,)
        logits that they show one product."""
        found = [
            self._logits(query, (references[0][part], references[1][part]), cosines[part])
            for part in (slice(first, first + _AT_ONCE) for first in range(0, len(cosines), _AT_ONCE))
        ]
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _logits(self, query: tuple[Floats, Floats], references: tuple[Floats, Floats], cosines: Floats) -> Floats:
        arrays, places = self._arrays, self._places
        sharpness, weight, scale = arrays["factors"]
        vectors, r_lengths = references[0], references[1] * scale
        q_lengths = query[1] * scale
        alike = _multiplied(vectors, query[0].T)
        best = alike.max(axis=2)
        best_back = alike.max(axis=1)
        place = np.subtract(alike, best[:, :, np.newaxis], out=alike)
        if self.card.places == "exp":
            place *= sharpness
            np.exp(place, out=place)
        else:
            place *= sharpness / 4
            place += np.float32(1)
            np.maximum(place, 0, out=place)
            place *= place
            place *= place
        # One product for all that is looked up at the softly expected place: where it is, how long, whether it agrees; and the sum.
        looked_up = np.ones((len(vectors), self.card.cells, 5), np.float32)
        looked_up[:, :, :2], looked_up[:, :, 2], looked_up[:, :, 3] = places[:, :2], q_lengths, best_back
        found: Any = _multiplied(place, looked_up)
        peak = 1 / found[:, :, 4]
        found = found[:, :, :4] * peak[:, :, np.newaxis]
        expected, seen, agrees = found[:, :, :2], found[:, :, 2], found[:, :, 3]
        spread = np.einsum("krq,krq->kr", place, place) * peak * peak
        sure = np.maximum(peak * np.clip(r_lengths, 0, _LONGEST), 1e-3)
        weighted = (places * sure[:, :, np.newaxis]).transpose(0, 2, 1)
        affine: Any = np.linalg.solve(weighted @ places + 1e-2 * np.eye(3, dtype=np.float32), weighted @ expected)
        residual = np.minimum(((places @ affine - expected) ** 2).sum(axis=2), _FURTHEST)
        own = np.broadcast_to(q_lengths, best.shape)
        maps = np.stack([best, spread, residual, r_lengths, agrees, best * r_lengths, seen, peak, own], axis=2)
        for number in range(3):
            maps = self._convolved(maps, number)
        attention = maps @ arrays["attend.weight"] + arrays["attend.bias"]
        attention = np.exp(attention - attention.max(axis=1, keepdims=True))
        attention /= attention.sum(axis=1, keepdims=True)
        whole = np.maximum(r_lengths.sum(axis=1), 1e-3)
        pooled = np.column_stack([
            np.einsum("krc,kr->kc", maps, attention), maps.mean(axis=1), cosines, (best * r_lengths).sum(axis=1) / whole,
            residual.mean(axis=1), (residual * r_lengths).sum(axis=1) / whole,
        ])  # fmt: skip
        hidden = np.maximum(pooled @ arrays["last0.weight"] + arrays["last0.bias"], 0)
        logits: Floats = hidden @ arrays["last1.weight"] + arrays["last1.bias"] + weight * cosines
        return logits.astype(np.float32)

    def _convolved(self, maps: Floats, number: int) -> Floats:
        """(K, 100, inside) maps through a convolution and a ReLU → (K, 100, outside)."""
        count, inside, grid, edge = len(maps), maps.shape[2], self.card.grid, _KERNEL // 2
        weight = self._arrays[f"convolution{number}.weight"]
        if len(weight) > inside:
            padded = np.zeros((count, grid + 2 * edge, grid + 2 * edge, inside), np.float32)
            padded[:, edge:-edge, edge:-edge] = maps.reshape(count, grid, grid, inside)
            # Taken flat: indexing with the table of two axes costs ten times as much.
            maps = padded.reshape(count, -1, inside).take(self._around, axis=1).reshape(count, self.card.cells, -1)
        found = _multiplied(maps, weight)
        found += self._arrays[f"convolution{number}.bias"]
        result: Floats = np.maximum(found, 0, out=found)
        return result

    def golden_logit(self) -> float:
        """What this machine makes of `golden_pair`."""
        query, reference = golden_pair(self.card)
        return float(
            self.logits(query, (reference[0][np.newaxis], reference[1][np.newaxis]), np.full(1, 0.7, np.float32))[0]
        )


def _multiplied(left: Floats, right: Floats) -> Floats:
    """(K, M, N) @ (N, P) or (K, N, P), in products so small that OpenBLAS doesn't start its threads: beside the network's own they
    would wait for each other, for hundreds of milliseconds on a busy machine."""
    count, high, inner = left.shape
    parts = 1
    while high // parts * inner * right.shape[-1] > _ONE_THREAD and high % (2 * parts) == 0:
        parts *= 2
    if right.ndim == 3:
        right = right[:, np.newaxis]
    found: Floats = left.reshape(count, parts, high // parts, inner) @ right
    return found.reshape(count, high, -1)


def golden_pair(card: LocalCard) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Cells of a made-up query and reference, in whole numbers first: the same on every machine."""

    def made(step: int) -> tuple[Floats, Floats]:
        numbers = np.arange(card.cells * card.cell_numbers, dtype=np.int64)
        vectors = ((numbers * numbers * step // 7 + 13 * numbers) % 101 - 50).astype(np.float32) / 50 + np.float32(0.01)
        rows = vectors.reshape(card.cells, card.cell_numbers)
        lengths = np.sqrt(np.einsum("cn,cn->c", rows, rows))
        return rows / lengths[:, np.newaxis], lengths

    return made(3), made(5)


def local_file(model: Path) -> Path:
    """Where an encoder file's head is: beside it."""
    return model.with_name(model.name + SUFFIX)


def find_local(model: Path, sha256: str) -> LocalHead | None:
    """The head beside an encoder file, None where there is none. Raises EncoderError if it belongs to another file."""
    path = local_file(model)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EncoderError(f"{path} can't be read: {error}") from error
    head = LocalHead.from_bytes(data, str(path))
    if head.card.encoder_sha256 != sha256:
        raise EncoderError(
            f"{path} belongs to the encoder {head.card.encoder_sha256[:12]}…, the file beside it is {sha256[:12]}…; "
            "export both again, or delete it"
        )
    return head
