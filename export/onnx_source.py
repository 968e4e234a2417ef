"""A ready .onnx file as the export takes it: whole, in float32, of a recent opset, for inference, of one fixed size."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from . import onnx_graph
from .errors import SourceError
from .tools import need, quiet

_OPSET = 17
"""Quantization by channel needs 13; 17 is the first with LayerNormalization, and what version converters are tested with."""


def ready(path: Path, data: bytes, size: tuple[int, int] | None) -> tuple[bytes, tuple[str, ...]]:
    """The file made ready, and what is to be said of it. `size`: the height and width to fix where they are free.

    Raises SourceError for what can't be made so.
    """
    onnx = need("onnx", "reading an .onnx file")
    with quiet(f"loading {path.name}"):
        try:
            model = onnx.load_model_from_string(data)
        except Exception as error:
            raise SourceError(f"onnx can't load the encoder {path.name}: is it a whole .onnx file?") from error
    changed = _with_its_weights(onnx, path, model)
    notes: list[str] = []
    if onnx_graph.is_quantized_graph(model.graph):
        return (model.SerializeToString() if changed else data), ()
    with quiet(f"reading {path.name}"):
        trained = _for_inference(onnx, model)
        if trained:
            notes.append(
                f"{path.name} had {trained} batch normalizations or dropouts in training mode; they were set to inference"
            )
        halved = _in_float32(onnx, model)
        sized = _of_one_size(path, model, size)
    before = model.SerializeToString() if not trained else b""
    model, raised = _of_recent_opset(onnx, path, model)
    if raised and before:
        _check_the_same(path, before, model.SerializeToString())
    if not (changed or trained or halved or sized or raised):
        return data, ()
    return model.SerializeToString(), tuple(notes)


def _with_its_weights(onnx: Any, path: Path, model: Any) -> bool:
    """Weights that lie in files beside it come inside: a device file is one file."""
    constants = [entry.t for node in model.graph.node if node.op_type == "Constant" for entry in node.attribute]
    split = [tensor for tensor in (*model.graph.initializer, *constants) if tensor.data_location == 1]
    if not split:
        return False
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        beside = next((entry.value for entry in split[0].external_data if entry.key == "location"), "another file")
        raise SourceError(
            f"{path.name} keeps its weights in {beside}, which can't be read; put it beside {path.name}"
        ) from error
    return True


def _for_inference(onnx: Any, model: Any) -> int:
    """Batch normalizations that take the mean of the photo before them, and dropouts: as for inference. How many there were."""
    found = 0
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) < 2
    }
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            mode = [entry for entry in node.attribute if entry.name == "training_mode"]
            if (mode and mode[0].i) or len(node.output) > 1:
                found += 1
                for entry in mode:
                    node.attribute.remove(entry)
                node.output[:] = [name for name in node.output if name in read][:1] or node.output[:1]
        elif node.op_type == "Dropout" and len(node.input) > 2 and bool(np.any(constants.get(node.input[2], False))):
            found += 1
            del node.input[1:]
    return found


_HALF, _FLOAT = 10, 1
"""TensorProto.FLOAT16 and FLOAT."""


def _in_float32(onnx: Any, model: Any) -> bool:
    """Weights, values and casts of 16 bits become 32: what is measured is the network, not its rounding."""
    found = False
    graph = model.graph

    def widened(tensor: Any) -> None:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    for tensor in graph.initializer:
        if tensor.data_type == _HALF:
            found = True
            widened(tensor)
    for entry in (*graph.input, *graph.output, *graph.value_info):
        if entry.type.tensor_type.elem_type == _HALF:
            found = True
            entry.type.tensor_type.elem_type = _FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type in ("Cast", "EyeLike", "RandomNormal") and attribute.name in ("to", "dtype"):
                found = found or attribute.i == _HALF
                attribute.i = _FLOAT if attribute.i == _HALF else attribute.i
            elif attribute.HasField("t") and attribute.t.data_type == _HALF:
                found = True
                widened(attribute.t)
    return found


def _of_one_size(path: Path, model: Any, size: tuple[int, int] | None) -> bool:
    """A free height and width take the size that was said, a fixed batch becomes free."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        return False  # what isn't one photo is refused with its shape
    sides = inputs[0].type.tensor_type.shape.dim
    changed = False
    places = (1, 2) if sides[3].dim_value == 3 else (2, 3)
    free = [place for place in places if not sides[place].dim_value]
    if free and size is None:
        raise SourceError(
            f"{path.name} takes photos of any size; expected one input of RGB photos of a fixed size: say it, --size 224"
        )
    if free and size is not None:
        for place, side in zip(places, size, strict=True):
            sides[place].Clear()
            sides[place].dim_value = side
        changed = True
    batch = sides[0].dim_value
    if changed or batch > 1:
        del model.graph.value_info[:]
    if batch > 1:
        before = model.SerializeToString()
        for entry in (inputs[0], *model.graph.output):
            dims = entry.type.tensor_type.shape.dim
            if dims:
                dims[0].Clear()
                dims[0].dim_param = "batch"
        _free_reshapes(model, batch)
        _check_photos_alone(path, before, model.SerializeToString(), batch)
        changed = True
    return changed


def _free_reshapes(model: Any, batch: int) -> None:
    """Reshapes that name the batch that the file was made with, or a multiple of it: -1 finds it, 0 keeps what comes."""
    onnx = need("onnx", "reading an .onnx file")
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in shapes]
    tensors += [
        entry.t
        for node in model.graph.node
        if node.op_type == "Constant" and node.output[0] in shapes
        for entry in node.attribute
    ]
    for tensor in tensors:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.size < 2 or values[0] < 1 or values[0] % batch:
            continue
        if (values[1:] > 0).all():
            values[0] = -1
        elif values[0] == batch:
            values[0] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _check_photos_alone(path: Path, before: bytes, after: bytes, batch: int) -> None:
    """Raises SourceError where a photo alone gives other numbers than it gave among the `batch` that the file was made for: what
    the graph says of its batch in other places than its reshapes stays."""
    alone: list[list[Any]] = []
    with quiet(f"running {path.name} on {batch} photos"):
        session, photos = _session_and_photos(before)
        together = [np.asarray(one, np.float64).reshape(-1) for one in _computed(session, photos)]
    with contextlib.suppress(Exception), quiet(f"running {path.name} on one photo"):
        session, _ = _session_and_photos(after)
        alone = [_computed(session, photo[np.newaxis]) for photo in photos]
    rows = [
        np.concatenate([np.asarray(one, np.float64).reshape(-1) for one in ones]) for ones in zip(*alone, strict=True)
    ]
    if len(rows) != len(together) or any(_differ(old, new) for old, new in zip(together, rows, strict=True)):
        raise SourceError(f"{path.name} fixes its batch of {batch} inside; export it anew with a free batch or 1")


def _session_and_photos(model: bytes) -> tuple[Any, Any]:
    """A file loaded, and random photos of the shape that it takes, one where its batch is free."""
    onnxruntime = need("onnxruntime", "reading an .onnx file")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [side if isinstance(side, int) else 1 for side in entry.shape]
    floats = entry.type == "tensor(float)"
    photos = np.random.default_rng(0).uniform(0, 2 if floats else 256, shape)
    return session, photos.astype(np.float32 if floats else np.uint8)


def _computed(session: Any, photos: Any) -> list[Any]:
    found: list[Any] = session.run(None, {session.get_inputs()[0].name: photos})
    return found


def _differ(old: Any, new: Any) -> bool:
    """Whether two results are of two networks, and not of one that rounds."""
    return bool(
        old.shape != new.shape or np.abs(old - new).max(initial=0) > 1e-3 * max(1e-6, np.abs(old).max(initial=0))
    )


def _check_the_same(path: Path, before: bytes, after: bytes) -> None:
    """Raises SourceError where a graph of another opset gives other numbers: converters of versions have errors of their own."""
    results: list[Any] = []
    with quiet(f"comparing {path.name} with itself in opset {_OPSET}"):
        for model in (before, after):
            session, photos = _session_and_photos(model)
            results.append([np.asarray(one, np.float64) for one in _computed(session, photos)])
    for old, new in zip(*results, strict=True):
        if _differ(old, new):
            raise SourceError(
                f"{path.name} gives other numbers when brought to opset {_OPSET}; export it anew from its source, with opset "
                f"{_OPSET} or later"
            )


def _of_recent_opset(onnx: Any, path: Path, model: Any) -> tuple[Any, bool]:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), _OPSET)
    if version >= _OPSET:
        return model, False
    with quiet(f"bringing {path.name} from opset {version} to {_OPSET}"):
        return onnx.version_converter.convert_version(model, _OPSET), True


def with_pooled_tokens(model: bytes, how: str, output: str | None) -> bytes | None:
    """A graph whose tokens (N, T, C) are pooled: "cls" takes the first, "avg" the mean of all. None where the output,
    or the only one, is no tokens, or another pooling is asked for."""
    onnx = need("onnx", "pooling an .onnx file")
    graph_model = onnx_graph.parse(model)
    graph = graph_model.graph
    entries = [entry for entry in graph.output if output in (None, entry.name)]
    if len(entries) != 1 or how not in ("cls", "avg") or len(entries[0].type.tensor_type.shape.dim) != 3:
        return None
    (tokens,) = entries
    opset = next(entry.version for entry in graph_model.opset_import if entry.domain in ("", "ai.onnx"))
    name, width = f"{tokens.name}_pooled", tokens.type.tensor_type.shape.dim[2].dim_value or None
    if how == "cls":
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.int64), f"{name}_first"))
        node = onnx.helper.make_node("Gather", [tokens.name, f"{name}_first"], [name], name="pool_cls", axis=1)
    elif opset >= 18:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), f"{name}_axis"))
        node = onnx.helper.make_node("ReduceMean", [tokens.name, f"{name}_axis"], [name], name="pool_avg", keepdims=0)
    else:
        node = onnx.helper.make_node("ReduceMean", [tokens.name], [name], name="pool_avg", axes=[1], keepdims=0)
    graph.node.append(node)
    first = tokens.type.tensor_type.shape.dim[0]
    batch = first.dim_value or first.dim_param or None
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(name, tokens.type.tensor_type.elem_type, [batch, width]))
    data: bytes = graph_model.SerializeToString()
    return data
