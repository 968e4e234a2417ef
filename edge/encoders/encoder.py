"""Photo → unit vector: an encoder file, its card, and the preprocessing that belongs to it."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..errors import EncoderError, VectorError
from ..imaging.decode import decode
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, Pixels
from ..imaging.resize import Resizer, fit, inside, resizer_in_use
from .card import EncoderCard
from .feed import PixelFeed, checked_input, same_quantization
from .onnx_wire import refuse_weights_elsewhere
from .runtimes import choose_runtime, open_session
from .session import Session, SessionPool, shape_for_a_photo

if TYPE_CHECKING:  # a photo that nobody compares by its cells doesn't pay for it
    from .local import LocalHead

Vector: TypeAlias = NDArray[np.float32]
_BATCH = 16
"""Pictures a run: more is no faster on two cores, and a batch of inner layers must fit a small board's memory."""


_SPREAD_STEP = 4
"""Every fourth pixel each way tells a flat photo as well as all do."""
_NEARLY_FLAT = 4.0
"""Grey levels of green's spread, below which the other channels are asked, too: red on black or on blue has none in green. Half of
theirs counts, since a sensor's noise is larger in them."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """One photo's embedding, (D,) float32 of unit norm, and what its stages took in milliseconds. `spread`: by how many grey
    levels what the network saw of the photo differs from one flat colour (standard deviation of the green channel; where that is
    nearly flat, of red or blue if half of theirs is more).
    `tap`: the map that local matching reads, as the file stores it; None where the encoder has no local head."""

    vector: Vector
    decode_ms: float
    preprocess_ms: float
    encode_ms: float
    spread: float
    tap: NDArray[Any] | None = None

    @property
    def latency_ms(self) -> dict[str, float]:
        """Stage → ms, as answers tell it."""
        return {"decode": self.decode_ms, "preprocess": self.preprocess_ms, "encode": self.encode_ms}


class Encoder:
    """Turns photos into unit vectors. Safe to share between threads: each call borrows an interpreter of the pool.

    `threads` is per interpreter, `sessions` how many interpreters there may be. Raises EncoderError if the file is not the
    card's, RuntimeUnavailable if nothing here runs it.

    `local`: the head that compares its cells, see `local`; with one, each run gives the map that it reads as well.
    """

    def __init__(
        self,
        card: EncoderCard,
        model: bytes,
        *,
        threads: int = 1,
        sessions: int = 1,
        runtime: str = "auto",
        resizer: str = "auto",
        local: LocalHead | None = None,
    ) -> None:
        arguments.count("threads", threads, error=EncoderError)
        arguments.count("sessions", sessions, error=EncoderError)
        digest = hashlib.sha256(model).hexdigest()
        if digest != card.sha256:
            raise EncoderError(
                f"encoder {card.file} has sha256 {digest[:12]}…, its card says {card.sha256[:12]}…; they don't belong together"
            )
        if card.format == "onnx":  # its hash says nothing of a second file; here rather than with the first photo
            refuse_weights_elsewhere(model, f"encoder {card.file}")
        self.card = card
        self.model = model
        self.local = local
        self.resizer: Resizer = resizer_in_use(resizer)
        self.runtime = chosen = choose_runtime(card.format, runtime)
        self._feed = PixelFeed(card)
        # Not self.runtime: in a circle, the model and its interpreters would stay until the garbage collector comes by.
        self._pool = SessionPool(lambda: _checked_session(open_session(chosen, model, threads), card, local), sessions)

    @classmethod
    def load(cls, source: str | os.PathLike[str], **settings: Any) -> Encoder:
        """By name ("shelfmatch-cnn"), by file (.tflite, .onnx) or by card (.json). `settings` as for the class.

        A bare file gets its card from the file of the same name ending in .json, or by inspection where that is certain;
        otherwise CardRequired shows the card to write.
        """
        from .registry import find_encoder  # a bundle brings its card: a match needs no look-up

        card, path = find_encoder(source, runtime=str(settings.get("runtime", "auto")))
        return cls(card, path.read_bytes(), **settings)

    def prepare(self) -> None:
        """Open the first session now rather than with the first photo."""
        with self._pool.borrow():
            pass

    def warm_up(self) -> None:
        """Open a session and run it once on grey, so that the first photo doesn't pay for it."""
        self.embed_pixels(np.full((self.card.height, self.card.width, 3), 128, np.uint8), check=False)

    def rest(self) -> None:
        """Close the sessions that nobody uses, and give back their memory; the next photo opens one."""
        self._pool.close_free()

    def embed(self, *sources: ImageSource, limits: Limits = DEFAULT_LIMITS) -> Vector:
        """Photos as (N, D) float32 unit vectors. Raises ImageError for the first that can't be read."""
        rows = [self.embed_timed(source, limits).vector for source in sources]
        return np.stack(rows) if rows else np.empty((0, self.card.dimension), np.float32)

    def embed_timed(self, source: ImageSource, limits: Limits = DEFAULT_LIMITS) -> Embedding:
        """One photo, stage by stage."""
        start = time.perf_counter()
        decoded = decode(source, self.card, limits)
        after_decode = time.perf_counter()
        pixels = fit(decoded, self.card, self.resizer)
        value = self._feed.tensor(pixels)
        spread = _spread_of(inside(pixels, decoded.upright_size, self.card))
        after_fit = time.perf_counter()
        vector, tap = self._run(value, check=True)
        end = time.perf_counter()
        return Embedding(
            vector, (after_decode - start) * 1e3, (after_fit - after_decode) * 1e3, (end - after_fit) * 1e3, spread, tap
        )

    def embed_pixels(self, pixels: Pixels, *, check: bool = True) -> Vector:
        """(H, W, 3) uint8 RGB of exactly the card's size as a (D,) float32 unit vector.

        Raises VectorError when the network's output has no direction (all zero, NaN or infinite).
        """
        return self._run(self._feed.tensor(pixels), check=check)[0]

    def embed_with_tap(self, pixels: Pixels) -> tuple[Vector, NDArray[Any] | None]:
        """As `embed_pixels`, and of the same run the map that local matching reads; None without a local head."""
        return self._run(self._feed.tensor(pixels), check=True)

    def _run(self, value: NDArray[Any], *, check: bool) -> tuple[Vector, NDArray[Any] | None]:
        """The network's input tensor as a unit vector, and the tap where there is a local head."""
        tap = None
        with self._pool.borrow() as session:
            if self.local is None:
                raw = session.run(value, self.card.output_name)
            else:
                raw, tap = session.run_for(value, (self.card.output_name, self.local.card.tap))
        vector: Vector = raw.reshape(-1).astype(np.float32, copy=False)
        if vector.size != self.card.dimension:
            raise self._wrong_size(raw.shape, 1)
        quantization = self.card.output_quantization
        if quantization is not None:
            vector = (vector - np.float32(quantization.zero_point)) * np.float32(quantization.scale)
        norm = math.sqrt(vector.dot(vector))
        if 0 < norm < math.inf:
            return vector / np.float32(norm), tap
        if check:
            raise VectorError(
                f"encoder {self.card.name} gave an embedding of norm {norm} for this photo; it says nothing"
            )
        return vector, tap

    def embed_batch(self, pictures: Sequence[Pixels]) -> Vector:
        """Pictures as for `embed_pixels`, as (N, D) float32: unit vectors, zeros where the network's output has no direction.

        In one run where the network's batch size is free (.onnx), else one by one: LiteRT gains nothing from batches.
        """
        card = self.card
        with self._pool.borrow() as session:
            # LiteRT says -1 of a free batch, too, and takes one picture all the same.
            step = _BATCH if card.format == "onnx" and session.inputs[0].shape[0] == -1 else 1
            parts = [
                session.run(
                    np.concatenate([self._feed.tensor(p) for p in pictures[first : first + step]]), card.output_name
                )
                for first in range(0, len(pictures), step)
            ]
            if sum(part.size for part in parts) != len(pictures) * card.dimension:
                raise self._wrong_size(parts[0].shape, min(step, len(pictures)))
        rows = (
            np.concatenate([part.reshape(-1, card.dimension) for part in parts])
            if parts
            else np.empty((0, card.dimension))
        )
        vectors = rows.astype(np.float32)
        if card.output_quantization is not None:
            vectors = (vectors - np.float32(card.output_quantization.zero_point)) * np.float32(
                card.output_quantization.scale
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        sound = (norms > 0) & np.isfinite(norms)
        return np.where(sound, vectors / np.where(sound, norms, 1), 0).astype(np.float32)

    def _wrong_size(self, shape: tuple[int, ...], photos: int) -> EncoderError:
        return EncoderError(
            f"encoder {self.card.file} gave {list(shape)} for {photos} of the photos; its card says {self.card.dimension} elements "
            "each: export it anew"
        )


def _checked_session(session: Session, card: EncoderCard, local: LocalHead | None = None) -> Session:
    """Hold the loaded file against its card and its local head. Raises EncoderError that names the first difference."""
    if local is not None:
        _check_tap(session, card, local)
    tensor = checked_input(session, card, f"encoder {card.file}")
    for output in session.outputs:
        if output.name == card.output_name:
            break
    else:
        names = ", ".join(info.name for info in session.outputs)
        raise EncoderError(f"encoder {card.file} has no output {card.output_name!r}; it has {names}")
    shape = shape_for_a_photo(session, output)
    elements = int(np.prod([n for n in shape if n > 0]))
    if elements != card.dimension or output.dtype != card.output_dtype:
        raise EncoderError(
            f"encoder {card.file} gives {output.dtype} {list(shape)}; "
            f"its card says {card.output_dtype} with {card.dimension} elements"
        )
    for name, info, said in (
        ("input", tensor, card.input_quantization),
        ("output", output, card.output_quantization),
    ):
        found_in_file = info.quantization
        if found_in_file is not None and said is not None and not same_quantization(found_in_file, said):
            raise EncoderError(
                f"encoder {card.file} has {name} scale {found_in_file.scale!r} and zero point {found_in_file.zero_point}; "
                f"its card says {said.scale!r} and {said.zero_point}"
            )
    return session


def _check_tap(session: Session, card: EncoderCard, local: LocalHead) -> None:
    wanted = local.card
    for info in session.outputs:
        elements = int(np.prod([n for n in info.shape if n > 0]))
        if info.name == wanted.tap and elements == wanted.cells * wanted.tap_channels:
            return
    found = ", ".join(f"{info.name} {list(info.shape)}" for info in session.outputs)
    raise EncoderError(
        f"encoder {card.file} gives {found}; its local matching expects an output {wanted.tap!r} of "
        f"{wanted.grid}x{wanted.grid}x{wanted.tap_channels}; export both again, or build with --local off"
    )


def renamed(card: EncoderCard, file: str) -> EncoderCard:
    """The same card for a copy of the file under another name."""
    return replace(card, file=file)


def _spread_of(seen: Pixels) -> float:
    """See `Embedding.spread`; of most photos one channel of three says it."""
    some = seen[::_SPREAD_STEP, ::_SPREAD_STEP]
    green = float(some[:, :, 1].std())
    return green if green >= _NEARLY_FLAT else max(green, float(some[:, :, ::2].std(axis=(0, 1)).max()) / 2)
