"""Photo → where products and empty places are: a detector file, its card, and what its outputs mean."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..encoders.feed import PixelFeed, checked_input, same_quantization
from ..encoders.runtimes import choose_runtime, open_session
from ..encoders.session import Session, SessionPool
from ..errors import DetectorError, ImageError
from ..imaging.image import Decoded, Pixels
from ..imaging.resize import fit, placed, resizer_in_use
from .card import DetectorCard
from .detection import Detection, Kind
from .failures import as_detector_error
from .heads import check_shapes, decoded
from .overlap import Boxes, surest

MOST = 1000
"""Boxes that one look at a photo may give."""
_KINDS: tuple[Kind, ...] = ("product", "gap")
PRODUCTS: tuple[Kind, ...] = ("product",)


class Detector:
    """Finds products, and empty places where its network knows them. Safe to share between threads; see `Encoder`.

    Raises DetectorError if the file is not the card's, RuntimeUnavailable if nothing here runs it.
    """

    def __init__(
        self,
        card: DetectorCard,
        model: bytes,
        *,
        threads: int = 1,
        sessions: int = 1,
        runtime: str = "auto",
        resizer: str = "auto",
    ) -> None:
        arguments.count("threads", threads, error=DetectorError)
        arguments.count("sessions", sessions, error=DetectorError)
        digest = hashlib.sha256(model).hexdigest()
        if digest != card.sha256:
            raise DetectorError(
                f"detector {card.file} has sha256 {digest[:12]}…, its card says {card.sha256[:12]}…; they don't belong together"
            )
        self.card = card
        self.sessions = sessions
        self.resizer = resizer_in_use(resizer)
        self._shapes: tuple[tuple[int, ...], ...] | None = None
        with as_detector_error(card.file):
            self.runtime = chosen = choose_runtime(card.format, runtime)
            self._pool = SessionPool(lambda: _checked_session(open_session(chosen, model, threads), card), sessions)
        self._feed = PixelFeed(card)
        self._columns = {kind: _columns_of(card, kind) for kind in _KINDS}

    @classmethod
    def open(cls, source: str | os.PathLike[str] = "shelfmatch-detect", **settings: Any) -> Detector:
        """By name, by file (.tflite, .onnx) or by card (.json). `settings`: `threads` per interpreter (1), `sessions`, how many
        there may be (1), `runtime` and `resizer` ("auto").

        A bare file gets its card from the file of the same name ending in .json, or by what its outputs look like, where that is
        certain. Raises DetectorError: no such detector, or one whose outputs mean nothing here, with what it has.
        """
        from .registry import find_detector

        card, path = find_detector(source, runtime=str(settings.get("runtime", "auto")))
        detector = cls(card, path.read_bytes(), **settings)
        detector.prepare()
        return detector

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What this network can find: "product", "gap"."""
        return kinds_of(self.card)

    def prepare(self) -> None:
        """Open the first session now rather than with the first photo."""
        with as_detector_error(self.card.file), self._pool.borrow():
            pass

    def detect(
        self,
        pixels: Pixels,
        *,
        kinds: Collection[Kind] = PRODUCTS,
        floor: float | None = None,
        tiles: Literal["auto", "off"] = "auto",
    ) -> tuple[Detection, ...]:
        """Find things on a photo, (H, W, 3) uint8 RGB: best first, each once.

        `kinds`: of which kinds; `floor`: scores from which on (default: the card's); `tiles` "auto" also looks at parts of a photo
        of many small things, "off" looks once, at the whole. Raises ImageError for another array, DetectorError for what is no
        kind, floor or way to look.
        """
        _check(pixels, kinds, floor)
        if tiles not in ("auto", "off"):  # a misspelled "auto" would look once, and miss half of a shelf
            raise DetectorError(f"tiles is {tiles!r}; expected auto or off")
        if tiles == "auto":
            from .tiles import detect_in_tiles

            return detect_in_tiles(self, pixels, tuple(kinds), floor)
        return self.detect_once(Decoded(pixels), kinds=kinds, floor=floor)

    def detect_once(
        self, photo: Decoded, *, kinds: Collection[Kind] = PRODUCTS, floor: float | None = None
    ) -> tuple[Detection, ...]:
        """One look at a decoded photo; boxes in pixels of the upright photo as it was decoded."""
        with as_detector_error(self.card.file):
            value = self._feed.tensor(fit(photo, self.card, self.resizer, coarsely=True))
            boxes, scores = decoded(self.card, self._run(value))
        size = photo.upright_size
        boxes = self._in_photo(boxes, size)
        least = self.card.floor if floor is None else floor
        found: list[Detection] = []
        for kind in _KINDS:
            if kind in kinds and self._columns[kind]:
                own = scores[:, self._columns[kind]].max(axis=1) if len(scores) else np.empty(0, np.float32)
                found += _kept(boxes, own, kind, least, self.card.overlap)
        return tuple(sorted(found, key=lambda one: -one.score))

    def _run(self, value: NDArray[Any]) -> list[NDArray[np.float32]]:
        """The outputs of a run in the card's order, as real numbers. Raises DetectorError where the card's head gives others."""
        with self._pool.borrow() as session:
            raw = session.run_for(value, [one.name for one in self.card.outputs])
        shapes = tuple(tensor.shape for tensor in raw)
        if shapes != self._shapes:  # the first run; later ones where a network gives as many rows as it finds
            check_shapes(self.card, shapes)
            self._shapes = shapes
        result = []
        for tensor, card in zip(raw, self.card.outputs, strict=True):
            real = tensor.astype(np.float32, copy=False)
            if card.quantization is not None:
                real = (real - np.float32(card.quantization.zero_point)) * np.float32(card.quantization.scale)
            result.append(real)
        return result

    def _in_photo(self, boxes: Boxes, size: tuple[int, int]) -> Boxes:
        """From pixels of the input to pixels of a photo of (width, height), cut at its edges."""
        left, top, wide, high = placed(size, self.card)
        scale = np.array([size[0] / wide, size[1] / high] * 2, np.float32)
        moved = (boxes - np.array([left, top] * 2, np.float32)) * scale
        result: Boxes = np.clip(moved, 0, np.array(size * 2, np.float32))
        return result


def _kept(boxes: Boxes, scores: NDArray[np.float32], kind: Kind, floor: float, overlap: float) -> list[Detection]:
    """What is sure enough, is no sliver at the photo's edge, and isn't covered by something surer."""
    large = ((boxes[:, 2] - boxes[:, 0]) >= 1) & ((boxes[:, 3] - boxes[:, 1]) >= 1)
    places = np.flatnonzero((scores >= floor) & large & np.isfinite(boxes).all(axis=1))
    if not places.size:
        return []
    stay = places[surest(boxes[places], scores[places], overlap, MOST)]
    return [
        Detection((float(x0), float(y0), float(x1), float(y1)), min(1.0, float(score)), kind)
        for (x0, y0, x1, y1), score in zip(boxes[stay].tolist(), scores[stay].tolist(), strict=True)
    ]


def kinds_of(card: DetectorCard) -> tuple[Kind, ...]:
    """What a detector of this card can find."""
    return tuple(kind for kind in _KINDS if _columns_of(card, kind))


def _columns_of(card: DetectorCard, kind: Kind) -> list[int]:
    """The classes that count as products or as gaps, by number."""
    if kind == "gap":
        return [number for number, name in enumerate(card.classes) if name in card.gaps]
    return [
        number
        for number, name in enumerate(card.classes)
        if (name in card.products if card.products is not None else name not in card.gaps)
    ]


def _check(pixels: Pixels, kinds: Collection[Kind], floor: float | None) -> None:
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or 0 in pixels.shape
    ):
        shape = f"of shape {pixels.shape} and dtype {pixels.dtype}" if isinstance(pixels, np.ndarray) else ""
        raise ImageError(f"{type(pixels).__name__} {shape} arrived; expected (H, W, 3) uint8 RGB")
    if isinstance(kinds, str) or not isinstance(kinds, Collection) or not all(kind in _KINDS for kind in kinds):
        raise DetectorError(f"kinds is {kinds!r}; expected some of {', '.join(_KINDS)}, like ('product',)")
    if floor is not None and not (isinstance(floor, (int, float)) and 0 <= floor <= 1):
        raise DetectorError(f"floor is {floor!r}; expected a score from 0 to 1, like 0.3")


def _checked_session(session: Session, card: DetectorCard) -> Session:
    """Hold the loaded file against its card. Raises DetectorError that names the first difference."""
    tensor = checked_input(session, card, f"detector {card.file}")
    named = {info.name: info for info in session.outputs}
    for output in card.outputs:
        info = named.get(output.name)
        if info is None:
            raise DetectorError(f"detector {card.file} has no output {output.name!r}; it has {', '.join(named)}")
        if info.dtype != output.dtype:
            raise DetectorError(
                f"detector {card.file} gives {info.dtype} as {output.name}; its card says {output.dtype}"
            )
    pairs = [(tensor, card.input_quantization), *((named[one.name], one.quantization) for one in card.outputs)]
    for info, said in pairs:
        if info.quantization is not None and said is not None and not same_quantization(info.quantization, said):
            raise DetectorError(
                f"detector {card.file} has scale {info.quantization.scale!r} and zero point {info.quantization.zero_point} at "
                f"{info.name}; its card says {said.scale!r} and {said.zero_point}"
            )
    return session
