"""A card for a bare encoder file, where the file alone makes it certain; otherwise the card to write."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CardRequired, EncoderError
from .card import CARD_VERSION, EncoderCard, Quantization
from .class_scores import ending_of
from .runtimes import choose_runtime, open_session
from .session import Session, TensorInfo, shape_for_a_photo


def inspect_encoder(path: Path, output: str | None = None) -> EncoderCard:
    """Read a card off a .tflite or .onnx file.

    Certain are: one image input of fixed size; uint8 (pixels as they are), int8 (pixels minus 128), or float32 with
    normalization in TFLite metadata; one output that is a vector. `output` names the one to use where there are several,
    or confirms one that looks like class scores. Raises CardRequired with the card to complete, EncoderError for files
    that can't be encoders.
    """
    model = path.read_bytes()
    file_format = "onnx" if path.suffix == ".onnx" else "tflite"
    session = open_session(choose_runtime("onnx" if file_format == "onnx" else "tflite"), model, threads=1)
    tensor, layout, (height, width) = image_input(path, session)
    embedding, dimension = _embedding_output(path, session, output)
    if output is None:
        _refuse_class_scores(path, model, embedding, dimension)
    card: dict[str, Any] = {
        "name": path.stem,
        "file": path.name,
        "sha256": hashlib.sha256(model).hexdigest(),
        "size_bytes": len(model),
        "format": file_format,
        "width": width,
        "height": height,
        "input_name": tensor.name,
        "input_dtype": tensor.dtype,
        "layout": layout,
        "output_name": embedding.name,
        "output_dtype": embedding.dtype,
        "dimension": dimension,
        "input_quantization": _as_dict(tensor.quantization),
        "output_quantization": _as_dict(embedding.quantization),
        "provenance": "inspected",
    }
    unsaid = []
    if embedding.dtype in ("uint8", "int8") and embedding.quantization is None:
        card["output_quantization"] = {"scale": 1.0, "zero_point": 0}
        unsaid.append(f"output_quantization ({embedding.name} is {embedding.dtype} without scale and zero point)")
    if tensor.dtype == "float32":
        normalization = tflite_normalization(model) if file_format == "tflite" else None
        card["mean"], card["std"] = normalization or ([127.5] * 3, [127.5] * 3)
        if normalization is None:
            unsaid.append(
                'mean and std (its float32 input doesn\'t say how pixels are normalized; "in the graph" if there)'
            )
    if unsaid:
        raise CardRequired(
            f"encoder {path.name} needs a card: write {path.with_suffix('.json')} with the right {' and '.join(unsaid)}, "
            f"for example {json.dumps({'card_version': CARD_VERSION, **card})}"
        )
    return EncoderCard.from_dict(card)


def with_output(card: EncoderCard, path: Path, output: str | None = None) -> EncoderCard:
    """A card of `path` for another of its outputs, None for the only one: name, dtype, dimension and quantization as the file has
    them; what becomes of a photo before is the card's to say. Raises EncoderError."""
    session = open_session(choose_runtime(card.format), path.read_bytes(), threads=1)
    embedding, dimension = _embedding_output(path, session, output)
    changed = {
        "output_name": embedding.name,
        "output_dtype": embedding.dtype,
        "dimension": dimension,
        "output_quantization": _as_dict(embedding.quantization),
    }
    return EncoderCard.from_dict({**card.to_dict(), **changed})


def _as_dict(quantization: Quantization | None) -> dict[str, Any] | None:
    return None if quantization is None else {"scale": quantization.scale, "zero_point": quantization.zero_point}


def image_input(path: Path, session: Session, what: str = "encoder") -> tuple[TensorInfo, str, tuple[int, int]]:
    """The only input of a network that takes pictures of one size, its layout and that size (height, width). Raises EncoderError;
    `what` its message calls the file."""
    described = ", ".join(f"{info.dtype} {list(info.shape)}" for info in session.inputs) or "none"
    if len(session.inputs) == 1 and len(session.inputs[0].shape) == 4:
        tensor = session.inputs[0]
        batch, first, second, third = tensor.shape
        if batch in (1, -1) and third == 3 and min(first, second) > 0:
            return tensor, "NHWC", (first, second)
        if batch in (1, -1) and first == 3 and min(second, third) > 0:
            return tensor, "NCHW", (second, third)
    raise EncoderError(
        f"{what} {path.name} takes {described}; expected one image input of fixed size, [1, H, W, 3] or [1, 3, H, W]"
    )


def _embedding_output(path: Path, session: Session, wanted: str | None) -> tuple[TensorInfo, int]:
    described = ", ".join(f"{info.name} {info.dtype} {list(info.shape)}" for info in session.outputs)
    outputs = {info.name: info for info in session.outputs}
    if wanted is not None:
        if wanted not in outputs:
            raise EncoderError(
                f"encoder {path.name} has no output {wanted!r}; it has {described}. "
                f"An inner tensor becomes the output through shelfmatch.export.cut"
            )
        output = outputs[wanted]
    elif len(outputs) == 1:
        output = session.outputs[0]
    else:
        raise EncoderError(
            f"encoder {path.name} has {len(outputs)} outputs ({described}); choose one with --output NAME"
        )
    shape = shape_for_a_photo(session, output)
    sizes = [n for n in shape if n > 1]
    if len(sizes) != 1:
        given = "" if shape == output.shape else f" and gives {list(shape)}, which"
        raise EncoderError(
            f"encoder {path.name}: output {described}{given} is not one vector a photo; cut it at a pooled feature"
        )
    dimension = int(np.prod(sizes))
    if output.dtype not in ("uint8", "int8", "float32"):
        raise EncoderError(f"encoder {path.name}: output {described}; expected uint8, int8 or float32")
    return output, dimension


def _refuse_class_scores(path: Path, model: bytes, output: TensorInfo, dimension: int) -> None:
    ending = ending_of(model, "onnx" if path.suffix == ".onnx" else "tflite", output.name)
    why = ending.class_scores(dimension)
    if why:
        feature = ending.feature or "NAME"
        raise EncoderError(
            f"encoder {path.name} looks like a classifier ({output.name}: {why}); cut it at its pooled feature with "
            f"--output {feature}, or confirm with --output {output.name}"
        )


def tflite_normalization(model: bytes) -> tuple[list[float], list[float]] | None:
    """Mean and std from TFLite metadata (https://ai.google.dev/edge/litert/models/metadata), None where there are none.

    Field numbers are those of metadata_schema.fbs: ModelMetadata.subgraph_metadata is 3, SubGraphMetadata.
    input_tensor_metadata 2, TensorMetadata.process_units 4, ProcessUnit.options_type 0 and options 1 (its union's member 1
    is NormalizationOptions), NormalizationOptions.mean 0 and std 1.
    """
    try:
        buffer = _metadata_buffer(model)
        return None if buffer is None else _normalization_in(buffer)
    except Exception:  # metadata that is damaged, which raises whatever its offsets lead to, says nothing
        return None


def _normalization_in(buffer: bytes) -> tuple[list[float], list[float]] | None:
    import flatbuffers
    from flatbuffers.table import Table

    def field(table: Any, number: int) -> int:
        return int(table.Offset(4 + 2 * number))

    def tables(table: Any, number: int) -> list[Any]:
        offset = field(table, number)
        if not offset:
            return []
        start = table.Vector(offset)
        return [Table(buffer, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(offset))]

    def floats(table: Any, number: int) -> list[float]:
        offset = field(table, number)
        if not offset:
            return []
        count, start = table.VectorLen(offset), table.Vector(offset)
        return [float(v) for v in np.frombuffer(buffer, "<f4", count, start)]

    root = Table(buffer, flatbuffers.encode.Get(flatbuffers.packer.uoffset, buffer, 0))
    for subgraph in tables(root, 3)[:1]:
        for tensor in tables(subgraph, 2)[:1]:
            for unit in tables(tensor, 4):
                kind, options = field(unit, 0), field(unit, 1)
                if not kind or not options or buffer[unit.Pos + kind] != 1:
                    continue
                union = Table(buffer, 0)
                unit.Union(union, options)
                mean, std = floats(union, 0), floats(union, 1)
                if len(mean) in (1, 3) and len(std) == len(mean):
                    return (mean * 3, std * 3) if len(mean) == 1 else (mean, std)
    return None


def _metadata_buffer(model: bytes) -> bytes | None:
    """The TFLITE_METADATA buffer of a .tflite file."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:  # tflite-runtime has no schema; its users write a card
        return None
    parsed = schema.Model.GetRootAsModel(model, 0)
    for index in range(parsed.MetadataLength()):
        metadata = parsed.Metadata(index)
        if metadata.Name() == b"TFLITE_METADATA":
            data = parsed.Buffers(metadata.Buffer()).DataAsNumpy()
            return bytes(data) if isinstance(data, np.ndarray) else None
    return None
