"""Ready .onnx and .tflite files as source encoders: cut at the pooled feature, normalized inside, held by their own runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..edge.encoders.card import EncoderCard, Format
from ..edge.encoders.infer_card import tflite_normalization
from ..edge.encoders.registry import card_beside
from ..edge.encoders.runtimes import choose_runtime, open_session
from ..edge.encoders.session import Session, TensorInfo, shape_for_a_photo
from ..edge.files import sha256_of
from ..edge.imaging.image import Pixels
from . import onnx_graph, tflite_graph
from .cutting import cut_at_feature
from .device_files import card_for, encoder_for
from .encoders import Projection, SourceEncoder, Vectors
from .errors import ExportError, SourceError
from .onnx2tf import onnx_to_tflite, write_onnx
from .onnx_source import ready, with_pooled_tokens
from .preprocessing import Overrides, Preprocessing, from_card, triple
from .source_options import SourceOptions, refuse
from .tools import quiet


def onnx_file(path: Path, options: SourceOptions) -> SourceEncoder:
    """A ready .onnx file, of normalized float photos or of uint8 pixels that it casts.

    Raises SourceError where it is no encoder of photos, or doesn't say how it wants them.
    """
    output, overrides = options.output, options.preprocessing
    data, said = ready(path, _read(path, "onnx"), overrides.size)
    if options.pool != "auto":
        with quiet(f"pooling {path.name}"):
            data = with_pooled_tokens(data, options.pool, output) or _refuse_pool(path, data, options)
            output = None
    with quiet(f"loading {path.name}"):
        session = open_session(choose_runtime("onnx"), data, threads=1)
    layout, size, dtype = _image_input(path, session)
    card = _card_of(path)
    found = from_card(card) if card else None
    with quiet(f"reading {path.name}"):
        if onnx_graph.is_quantized(data):
            raise SourceError(f"{path.name} is quantized already; expected the float network it was made from")
    if dtype != "float32":
        core = onnx_graph.with_float_input(data) if dtype == "uint8" else None
        if core is None:
            raise SourceError(f"{path.name} takes {dtype} pixels; expected the float network it was made from")
        data, found = core, _of_pixels(path, found, size, overrides)
    preprocessing = _sized(overrides, found, size, path.name)
    with tempfile.TemporaryDirectory(prefix="shelfmatch-cut-") as folder:
        data, notes = cut_at_feature(path, data, output, _outputs_of(session), Path(folder))
    float_model = onnx_graph.named_nodes(onnx_graph.with_normalization(onnx_graph.tidy(data), preprocessing, layout))
    embed, dimension = _reference(path, float_model, "onnx", layout, preprocessing, in_the_graph=True)
    return SourceEncoder(
        name=path.stem,
        preprocessing=preprocessing,
        dimension=dimension,
        embed=embed,
        writers={
            "onnx": partial(write_onnx, float_model, dimension),
            "tflite": partial(onnx_to_tflite, float_model, dimension, layout),
        },
        provenance=card.provenance if card else f"the ONNX file {path.name}",
        license=card.license if card else "",
        details={"output": output},
        notes=(*said, *notes, *_assumed(path, preprocessing, card, overrides)),
    )


def tflite_file(path: Path, output: str | None, overrides: Overrides) -> SourceEncoder:
    """A ready .tflite file: a float one to quantize, or one that is quantized already and only gets its card and report."""
    data = _read(path, "tflite")
    with quiet(f"loading {path.name}"):
        session = open_session(choose_runtime("tflite"), data, threads=1)
    with quiet(f"reading {path.name}"):
        if not tflite_graph.is_quantized(data):
            data = tflite_graph.with_own_names(tflite_graph.in_float32(data))
    layout, size, dtype = _image_input(path, session)
    card = _card_of(path)
    with tempfile.TemporaryDirectory(prefix="shelfmatch-cut-") as folder:
        data, notes = cut_at_feature(path, data, output, _outputs_of(session), Path(folder))
    to_onnx = (
        "no well-kept converter from TFLite exists that works beside the others; --to tflite, or export the network it was made "
        "from"
    )
    common: dict[str, Any] = {
        "name": path.stem,
        "provenance": card.provenance if card else f"the TFLite file {path.name}",
        "license": card.license if card else "",
        "details": {"output": output},
    }
    found = from_card(card) if card else None
    core: bytes | None = None
    with quiet(f"reading {path.name}"):
        if not tflite_graph.is_quantized(data):
            core = data if dtype == "float32" else tflite_graph.with_float_input(data) if dtype == "uint8" else None
    if core is not None and dtype == "uint8":
        found = _of_pixels(path, found, size, overrides)
    elif dtype == "float32":
        found = found or _from_metadata(path.read_bytes(), size)
    elif found is None and overrides.mean is None:
        found = Preprocessing(size[1], size[0], None, None, read_from="the file's own input")
    preprocessing = _sized(overrides, found, size, path.name)
    common["notes"] = (*notes, *_assumed(path, preprocessing, card, overrides))
    if core is not None:
        float_model = tflite_graph.with_signature(core)
        embed, dimension = _reference(path, float_model, "tflite", layout, preprocessing)
        return SourceEncoder(
            preprocessing=preprocessing, dimension=dimension, embed=embed,
            writers={"tflite": partial(_write_tflite, float_model)}, refused={"onnx": to_onnx},
            takes_normalized=preprocessing.mean is not None, **common,
        )  # fmt: skip

    def finished(embed: Callable[[Pixels], Vectors], dimension: int) -> SourceEncoder:
        return SourceEncoder(
            preprocessing=preprocessing, dimension=dimension, embed=embed, writers={}, finished={"tflite": data},
            refused={"onnx": to_onnx}, takes_normalized=preprocessing.mean is not None, **common,
        )  # fmt: skip

    # Its card says how pixels become what it takes, by the scale of its input where that is quantized.
    card = card_for(data, path.name, "tflite", finished(lambda pixels: np.empty((0, 0), np.float32), 0), "as it is")
    encoder = encoder_for(data, card)
    return finished(
        lambda pixels: np.stack([encoder.embed_pixels(one) for one in pixels]), _vector_of(path, card.dimension)
    )


def _read(path: Path, file_format: Format) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}; expected a .{file_format} file") from error
    if not data:
        raise SourceError(f"{path} is empty; expected a .{file_format} file")
    return data


def _image_input(path: Path, session: Session) -> tuple[str, tuple[int, int], str]:
    """(layout, (height, width), dtype) of the only input."""
    described = ", ".join(f"{info.dtype} {list(info.shape)}" for info in session.inputs) or "nothing"
    if len(session.inputs) == 1 and len(session.inputs[0].shape) == 4:
        batch, first, second, third = session.inputs[0].shape
        dtype = session.inputs[0].dtype
        if batch in (1, -1) and dtype in ("float32", "uint8", "int8"):
            if third == 3 and min(first, second) > 0:
                return "NHWC", (first, second), dtype
            if first == 3 and min(second, third) > 0:
                return "NCHW", (second, third), dtype
    raise SourceError(
        f"{path.name} takes {described}; expected one input of RGB photos of a fixed size, [1, H, W, 3] or [1, 3, H, W]"
    )


def _card_of(path: Path) -> EncoderCard | None:
    """The card beside a file, None where there is none. Raises SourceError for one of another file: what it says of photos may be
    of another network, too."""
    beside = card_beside(path)
    if beside is None:
        return None
    card, card_path = beside
    digest = sha256_of(path)
    if digest != card.sha256:
        raise SourceError(
            f"{path.name} has sha256 {digest[:12]}…, its card {card_path.name} says {card.sha256[:12]}…; they don't belong "
            "together: delete the card and say how photos are prepared, or write the file's sha256 into it where it still holds"
        )
    return card


def _refuse_pool(path: Path, data: bytes, options: SourceOptions) -> Any:
    """Raises SourceError for a pooling that finds no tokens: of several outputs it isn't known which are meant."""
    outputs = onnx_graph.parse(data).graph.output
    if options.output is None and len(outputs) > 1:
        sides = [[side.dim_value or side.dim_param for side in one.type.tensor_type.shape.dim] for one in outputs]
        named = ", ".join(f"{one.name} {shape}" for one, shape in zip(outputs, sides, strict=True))
        raise SourceError(
            f"--pool {options.pool} arrived with {path.name}, which has {len(outputs)} outputs ({named}); say which are the "
            "tokens, --output NAME"
        )
    return refuse(path.name, options, "pool")


def _outputs_of(session: Session) -> tuple[TensorInfo, ...]:
    """With the shapes that they have for a photo, also where the file leaves them open."""
    return tuple(replace(info, shape=shape_for_a_photo(session, info)) for info in session.outputs)


def _of_pixels(path: Path, found: Preprocessing | None, size: tuple[int, int], overrides: Overrides) -> Preprocessing:
    """The preprocessing of a float network that takes uint8 pixels. Raises SourceError for a mean that it has already."""
    if overrides.mean is not None or overrides.std is not None:
        raise SourceError(f"{path.name} takes uint8 pixels and normalizes them itself; leave out --mean and --std")
    return found or Preprocessing(size[1], size[0], None, None, read_from="the file's own input")


def _sized(overrides: Overrides, found: Preprocessing | None, size: tuple[int, int], name: str) -> Preprocessing:
    """The preprocessing, at the size that the file has."""
    if found is None and overrides.size is None:
        normalized = not overrides.normalize or (overrides.mean is not None and overrides.std is not None)
        if normalized:
            mean, std = (overrides.mean, overrides.std) if overrides.normalize else (None, None)
            found = Preprocessing(size[1], size[0], mean, std, read_from="the user")
    applied = overrides.apply(found, name)
    if (applied.height, applied.width) != size:
        raise SourceError(
            f"{name} takes {size[0]}x{size[1]} photos and {applied.height}x{applied.width} were asked for; they must agree"
        )
    return applied


def _assumed(
    path: Path, preprocessing: Preprocessing, card: EncoderCard | None, overrides: Overrides
) -> tuple[str, ...]:
    """What a bare file doesn't say, and nobody else did."""
    if card is not None or overrides.resize is not None:
        return ()
    return (
        f"{path.name} doesn't say how photos become {preprocessing.width}x{preprocessing.height}: "
        f"{preprocessing.resize} was assumed; if its training cut out the centre, --resize crop --crop-fraction F",
    )


def _from_metadata(data: bytes, size: tuple[int, int]) -> Preprocessing | None:
    """What the file's own metadata say of normalization, also where its output is a classifier's."""
    found = tflite_normalization(data)
    if found is None:
        return None
    return Preprocessing(size[1], size[0], triple(found[0]), triple(found[1]), read_from="the file's metadata")


def _reference(
    path: Path,
    model: bytes,
    file_format: Format,
    layout: str,
    preprocessing: Preprocessing,
    *,
    in_the_graph: bool = False,
) -> tuple[Callable[[Pixels], Vectors], int]:
    """What the float file itself says of pixels, through its own runtime, and the embedding's dimension. `in_the_graph`: the file
    normalizes."""
    with quiet(f"running {path.name}"):
        session = open_session(choose_runtime(file_format), model, threads=1)

        def embed(pixels: Pixels) -> Vectors:
            rows = []
            for one in pixels:
                value = preprocessing.normalized(one)
                if in_the_graph:
                    value = preprocessing.ordered(one).astype(np.float32)
                value = value if layout == "NHWC" else value.transpose(2, 0, 1)
                row = session.run(np.ascontiguousarray(value)[np.newaxis], session.outputs[0].name)
                rows.append(row.reshape(-1).astype(np.float32))
            return np.stack(rows)

        grey = np.full((1, preprocessing.height, preprocessing.width, 3), 128, np.uint8)
        dimension = int(embed(grey).shape[1])
    return embed, _vector_of(path, dimension)


def _vector_of(path: Path, dimension: int) -> int:
    if dimension > 65536:
        raise SourceError(
            f"{path.name} gives {dimension:,} numbers a photo, a feature map and no vector; say which tensor, --output NAME"
        )
    return dimension


def _write_tflite(model: bytes, path: Path, projection: Projection | None) -> None:
    if projection is not None:
        raise ExportError("--dim goes with networks that are converted; a ready .tflite file keeps its dimension")
    path.write_bytes(model)
