"""Cut a network at an inner tensor: the classifier comes off, its pooled feature becomes the output."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..edge.encoders.class_scores import CLASS_COUNTS, ending_of
from ..edge.encoders.infer_card import with_output
from ..edge.encoders.onnx_wire import refuse_weights_elsewhere
from ..edge.encoders.registry import card_beside, known_encoders
from ..edge.encoders.session import TensorInfo
from ..edge.errors import CardRequired, EncoderError, RuntimeUnavailable, ShelfmatchError
from ..edge.files import sha256_of, write_atomic
from .errors import SourceError
from .tools import quiet


@dataclass(frozen=True, slots=True)
class InnerTensor:
    """A tensor that could be an embedding: one vector a photo, computed before the output."""

    index: int
    name: str
    shape: tuple[int, ...]


def cut(model: str | os.PathLike[str], output: str, destination: str | os.PathLike[str]) -> Path:
    """Write `model` cut at the tensor called `output` (its name, or its number in a .tflite file) to `destination`.

    What comes after the tensor is removed, weights included. Raises EncoderError if there is no such tensor; the message
    lists the tensors that look like pooled features.
    """
    source, target = Path(model), Path(destination)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise EncoderError(
            f"encoder {source} can't be read: {error.strerror}; expected a .tflite or .onnx file"
        ) from error
    with _damage_as_encoder_error(source):
        result = _cut_onnx(source, data, output) if source.suffix == ".onnx" else _cut_tflite(source, data, output)
    write_atomic(target, result)
    return target


@contextmanager
def cut_if_inner(encoder: str | os.PathLike[str], output: str) -> Iterator[tuple[Path | str, str | None]]:
    """The encoder and output to use for `--output`: the file itself where `output` is one of its outputs, else a cut copy
    that is gone when the block ends, with the card that lies beside the file."""
    path = Path(encoder)
    if str(encoder) in known_encoders() or path.suffix not in (".tflite", ".onnx"):
        raise EncoderError(f"--output goes with a .tflite or .onnx file; {encoder} has a card that names its output")
    if path.is_file() and output in _output_names(path):
        yield path, output
        return
    with tempfile.TemporaryDirectory(prefix="shelfmatch-cut-") as folder:
        try:
            copy = cut(path, output, Path(folder) / path.name)
            _copy_card(path, copy)
            yield copy, None
        except CardRequired as error:  # it names a place that is gone when this ends
            raise CardRequired(
                f"encoder {path.name} doesn't say how its photos are normalized, nor does a card beside it; make files that say "
                f"it: shelfmatch export {path} --output {output} --mean R,G,B --std R,G,B"
            ) from error


def _copy_card(path: Path, copy: Path) -> None:
    """What the card beside a file says of photos holds of its cut copy, too; of the output, the copy itself."""
    beside = card_beside(path)
    if beside is None:
        return
    card, card_path = beside
    digest = sha256_of(path)
    if digest != card.sha256:
        raise EncoderError(
            f"encoder {path.name} has sha256 {digest[:12]}…, its card says {card.sha256[:12]}…; they don't belong together"
        )
    size = copy.stat().st_size
    record = replace(with_output(card, copy), file=copy.name, sha256=sha256_of(copy), size_bytes=size).to_dict()
    if "resize" not in json.loads(card_path.read_bytes()):
        del record["resize"]  # build then tries which one suits the photos
    Path(f"{copy}.json").write_text(json.dumps(record), encoding="utf-8")


def inner_tensors(model: str | os.PathLike[str]) -> list[InnerTensor]:
    """The tensors of a .tflite file that are one vector a photo, in the order they are computed."""
    path = Path(model)
    with _damage_as_encoder_error(path):
        return _vectors(_parse_tflite(path, path.read_bytes()).subgraphs[0])


def cut_at_feature(
    path: Path, data: bytes, output: str | None, outputs_of_file: Sequence[TensorInfo], folder: Path
) -> tuple[bytes, tuple[str, ...]]:
    """The network `data` of the file up to its embedding: the named tensor, the only output, or what a classifier reads; and what
    is to be said of it. `folder`: for what is cut."""
    outputs = {info.name: info for info in outputs_of_file}
    if not outputs_of_file:
        raise SourceError(f"{path.name} has no output; expected one vector a photo, export it anew from its source")
    if output is None and len(outputs_of_file) > 1:
        named = ", ".join(f"{info.name} {list(info.shape)}" for info in outputs_of_file)
        raise SourceError(
            f"{path.name} has {len(outputs_of_file)} outputs ({named}); say which is the embedding, --output NAME"
        )
    if output is not None and output in outputs and len(outputs) == 1:
        return data, ()
    whole = folder / f"whole{path.suffix}"
    whole.write_bytes(data)
    wanted = output
    notes: tuple[str, ...] = ()
    if wanted is None:
        (only,) = outputs_of_file
        wanted, notes = _feature_of(path, whole, data, only)
    if wanted is None:
        return data, notes
    with quiet(f"cutting {path.name}"):
        return cut(whole, wanted, folder / path.name).read_bytes(), notes


def _feature_of(path: Path, whole: Path, data: bytes, only: TensorInfo) -> tuple[str | None, tuple[str, ...]]:
    """The tensor to cut the file at, None where its output is the embedding; and what is to be said of it."""
    sizes = [n for n in only.shape if n > 1]
    ending = ending_of(data, "onnx" if path.suffix == ".onnx" else "tflite", only.name)
    why = ending.class_scores(sizes[0]) if len(sizes) == 1 else f"{list(only.shape)}, no vector"
    if not why:
        if ending.feature is None or ending.width <= sizes[0]:
            return None, ()
        return None, (
            f"{only.name} of {path.name} is a linear layer's output, {sizes[0]} numbers of {ending.width}, and was taken for the "
            f"embedding; if these are class scores, --output {ending.feature}",
        )
    found = ending.feature if len(sizes) == 1 else None
    if found is None and path.suffix == ".tflite":
        with quiet(f"reading {path.name}"):
            found = _vector_before(whole, int(np.prod(sizes)), only)
    if found is None:
        tokens = (
            " or --pool cls or avg where these are tokens," if len(only.shape) == 3 and path.suffix == ".onnx" else ""
        )
        raise SourceError(
            f"{path.name} gives {[*only.shape]}, and no pooled feature was found before it; say which tensor is the "
            f"embedding,{tokens} --output NAME"
        )
    return found, (
        f"{only.name} of {path.name} was taken for class scores ({why}) and cut off; --output {only.name} keeps it",
    )


def _vector_before(whole: Path, classes: int, output: TensorInfo) -> str | None:
    """The last inner vector of a .tflite classifier that is no score of its classes, by number."""
    vectors = [t for t in inner_tensors(whole) if int(np.prod(t.shape)) not in {*CLASS_COUNTS, classes}]
    return str(vectors[-1].index) if vectors and len(output.shape) <= 4 else None


def _vectors(graph: Any) -> list[InnerTensor]:
    found = []
    for operator in graph.operators:
        for index in operator.outputs:
            shape = graph.tensors[index].shape
            if shape is not None and len(shape) in (2, 4) and shape[0] == 1 and np.prod(shape) == np.max(shape) >= 16:
                found.append(InnerTensor(int(index), _name(graph.tensors[index]), tuple(int(n) for n in shape)))
    return found


def _name(tensor: Any) -> str:
    return (tensor.name or b"").decode(errors="replace")


@contextmanager
def _damage_as_encoder_error(path: Path) -> Iterator[None]:
    """A damaged flatbuffer or protobuf raises whatever its offsets lead to."""
    try:
        yield
    except ShelfmatchError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EncoderError(f"encoder {path} is damaged: {reason}; download or convert it again") from error


def _output_names(path: Path) -> set[str]:
    from ..edge.encoders.runtimes import choose_runtime, open_session

    session = open_session(choose_runtime("onnx" if path.suffix == ".onnx" else "tflite"), path.read_bytes(), threads=1)
    return {info.name for info in session.outputs}


def _parse_tflite(path: Path, data: bytes) -> Any:
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise RuntimeUnavailable(
            "cutting a .tflite file needs LiteRT's schema; pip install 'shelfmatch[litert]'"
        ) from error
    if data[4:8] != b"TFL3":
        raise EncoderError(f"encoder {path} is not a .tflite file (it lacks the identifier TFL3)")
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))


def _cut_tflite(path: Path, data: bytes, output: str) -> bytes:
    import flatbuffers

    model = _parse_tflite(path, data)
    graph = model.subgraphs[0]
    names = {_name(tensor): index for index, tensor in enumerate(graph.tensors)}
    index = int(output) if output.isdecimal() else names.get(output, -1)
    producers = {int(out): place for place, op in enumerate(graph.operators) for out in op.outputs}
    if index not in producers:
        listed = ", ".join(f"{t.index} ({t.name!r} {list(t.shape)})" for t in _vectors(graph)[-4:])
        raise EncoderError(
            f"encoder {path.name} computes no tensor {output!r}; pooled features it has: {listed or 'none'}"
        )
    needed, wanted = set(), [index]
    while wanted:
        place = producers.get(wanted.pop())
        if place is not None and place not in needed:
            needed.add(place)
            wanted += [int(i) for i in graph.operators[place].inputs]
    graph.operators = [op for place, op in enumerate(graph.operators) if place in needed]
    graph.outputs = np.array([index], np.int32)
    used = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)} | {int(i) for i in graph.inputs}
    kept_buffers = {graph.tensors[i].buffer for i in used if i >= 0} | {0}
    # Signatures describe the old output; of the metadata, what is said of the input is still true.
    model.signatureDefs = None
    said = [entry for entry in model.metadata or () if entry.name == b"TFLITE_METADATA"]
    model.metadata = said or None
    kept_buffers |= {entry.buffer for entry in said}
    for number, buffer in enumerate(model.buffers):
        if number not in kept_buffers:
            buffer.data = None
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _cut_onnx(path: Path, data: bytes, output: str) -> bytes:
    try:
        import onnx
        from onnx.utils import Extractor
    except ImportError as error:
        raise RuntimeUnavailable(
            "cutting an .onnx file needs the onnx package; pip install 'shelfmatch[export]'"
        ) from error
    refuse_weights_elsewhere(data, f"encoder {path.name}")
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    tensors = [name for node in model.graph.node for name in node.output]
    if output not in tensors:
        raise EncoderError(f"encoder {path.name} computes no tensor {output!r}; the last ones are {tensors[-4:]}")
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [node.name for node in model.graph.input if node.name not in weights]
    extracted: bytes = Extractor(model).extract_model(inputs, [output]).SerializeToString()
    return extracted
