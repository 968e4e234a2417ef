"""The recipes: what becomes of a float file. A new one is one row of `RECIPES` and one function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..edge.progress import Progress
from .errors import ExportError
from .gate import NoDirection

MIXED_SHARE = 0.5
"""More layers in float than this, and the file is hardly smaller or faster than a float one."""
PROBE_PHOTOS = 8


class Bench(Protocol):
    """A float file of one format on the bench: `onnx_recipes.OnnxBench`, `tflite_recipes.TfliteBench`."""

    transformer: bool
    layers: dict[str, tuple[str, ...]]

    def fp32(self) -> bytes: ...
    def fp16(self) -> bytes: ...
    def static(self, keep_float: Collection[str] = ..., only: Collection[str] | None = ...) -> bytes: ...
    def dynamic(self, keep_float: Collection[str] = ..., only: Collection[str] | None = ...) -> bytes: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that a recipe made. `kept_in_float`: layers that mixed precision left alone."""

    model: bytes
    kept_in_float: tuple[str, ...] = ()
    base: str = ""


LayerLosses = Callable[[], Mapping[str, float]]
"""What quantizing each layer alone costs, as 1 - cosine; measured when first asked for."""

Maker = Callable[[Bench, LayerLosses, tuple[str, ...]], Iterator[Candidate]]
"""The bench, what layers lose, and the layers that are to stay in float."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A row of the table. `make` gives candidates from fastest to safest; the first that passes the gate is taken."""

    name: str
    summary: str
    make: Maker


def _fp32(bench: Bench, losses: LayerLosses, keep: tuple[str, ...]) -> Iterator[Candidate]:
    yield Candidate(bench.fp32())


def _fp16(bench: Bench, losses: LayerLosses, keep: tuple[str, ...]) -> Iterator[Candidate]:
    yield Candidate(bench.fp16())


def _static(bench: Bench, losses: LayerLosses, keep: tuple[str, ...]) -> Iterator[Candidate]:
    yield Candidate(bench.static(keep), keep)


def _dynamic(bench: Bench, losses: LayerLosses, keep: tuple[str, ...]) -> Iterator[Candidate]:
    yield Candidate(bench.dynamic(keep), keep)


def _mixed(bench: Bench, losses: LayerLosses, keep: tuple[str, ...]) -> Iterator[Candidate]:
    """The network's usual int8 recipe with the layers that lose most kept in float: one, two, four … up to half of them."""
    ranked = sorted(losses().items(), key=lambda item: -item[1])
    hurting = [name for name, loss in ranked if loss > 0 and name not in keep]
    most = int(len(bench.layers) * MIXED_SHARE)
    counts = [1 << power for power in range(16) if 1 << power < most]
    for count in [*counts, most]:
        if count < 1 or (count > len(hurting) and count > 1):
            return
        kept = (*keep, *hurting[:count])
        yield Candidate(make_int8(bench, keep_float=kept), kept, int8_of(bench))


def int8_of(bench: Bench) -> str:
    """The int8 recipe that a network of this kind takes: CNNs static, transformers dynamic (shared measurements)."""
    return "int8-dynamic" if bench.transformer else "int8-static"


def make_int8(bench: Bench, *, keep_float: Sequence[str] = (), only: Sequence[str] | None = None) -> bytes:
    """A file by that recipe."""
    make = bench.dynamic if bench.transformer else bench.static
    return make(keep_float, only)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", "float, as trained", _fp32),
        Recipe("fp16", "weights of half the size; no faster on a CPU", _fp16),
        Recipe("int8-static", "int8 weights per channel, int8 activations: CNNs", _static),
        Recipe("int8-dynamic", "int8 weights, activations quantized as they come: transformers", _dynamic),
        Recipe("mixed", "int8, with the layers that lose most kept in float", _mixed),
    )
}


def automatic(bench: Bench) -> tuple[str, ...]:
    """What `auto` tries, from fastest to safest. fp16 is no faster than fp32 on a CPU and is left to be asked for."""
    return (int8_of(bench), "mixed", "fp32")


def check_recipes(names: Sequence[str]) -> tuple[str, ...]:
    """The recipes asked for. Raises ExportError that lists them all."""
    unknown = [name for name in names if name not in RECIPES and name != "auto"]
    if unknown or not names:
        raise ExportError(
            f"unknown recipe {unknown[0] if unknown else ''!r}; expected auto, or some of {', '.join(RECIPES)}"
        )
    return tuple(dict.fromkeys(names))


def layer_losses(bench: Bench, embed: Callable[[bytes], NDArray[np.float32]], progress: Progress) -> dict[str, float]:
    """What quantizing each layer alone costs: 1 - mean cosine to the float file, over a few photos.

    `embed` runs a file on the probe photos, (P, D) unit vectors. Layers that the recipe doesn't quantize cost nothing.
    """
    exact_model = bench.fp32()
    exact = embed(exact_model).astype(np.float64)
    losses = {}
    for name in progress(list(bench.layers), len(bench.layers)):
        model = make_int8(bench, only=(name,))
        if len(model) == len(exact_model):
            losses[name] = 0.0
            continue
        try:
            losses[name] = max(0.0, 1.0 - float((exact * embed(model)).sum(axis=1).mean()))
        except NoDirection:
            losses[name] = 1.0
    return losses
