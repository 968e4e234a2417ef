"""The map that local matching reads, as a second output of the CNN's device files, and what the int8 numbers in it stand for.

Nothing is computed for it: the sum before the last stride is there anyway, in int8, and is made an output under the name "tap". A
runtime copies it out only when it is asked for.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import numpy as np

from shelfmatch.edge.encoders.card import Format
from shelfmatch.export import tflite_graph
from shelfmatch.models.local import GRID, TAP_CHANNELS

ENCODER: Final = "shelfmatch-cnn"
NAME: Final = "tap"
_PLACES: Final = GRID * GRID * TAP_CHANNELS


class Tap(NamedTuple):
    """The tensor's name; a number n in it stands for scale * (n - zero_point). `channels_last`: (1, 10, 10, 96), else
    (1, 96, 10, 10)."""

    name: str
    scale: float
    zero_point: int
    channels_last: bool


def digest(model: bytes) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(model).hexdigest()


def with_tap(model: bytes, file_format: Format) -> bytes:
    """The same device file with the tap as a second output. Raises ValueError where there is no such map."""
    return _onnx_with_tap(model) if file_format == "onnx" else _tflite_with_tap(model)


def _tflite_with_tap(model: bytes) -> bytes:
    parsed = tflite_graph.parse(model)
    graph = parsed.subgraphs[0]
    sums = [
        int(operator.outputs[0])
        for operator in graph.operators
        if tflite_graph.operator_name(parsed, operator) == "ADD"
        and int(np.prod(graph.tensors[int(operator.outputs[0])].shape)) == _PLACES
    ]
    if not sums:
        raise ValueError(f"the file has no sum of {GRID}x{GRID}x{TAP_CHANNELS} numbers; expected the CNN's device file")
    graph.tensors[sums[-1]].name = NAME.encode()
    graph.outputs = np.array([int(graph.outputs[0]), sums[-1]], np.int32)
    for signature in parsed.signatureDefs or []:
        entry = type(signature.outputs[0])()
        entry.name, entry.tensorIndex = NAME.encode(), sums[-1]
        signature.outputs = [*signature.outputs, entry]
    return tflite_graph.pack(parsed)


def _onnx_with_tap(model: bytes) -> bytes:
    import onnx
    from onnx import TensorProto, helper, shape_inference

    parsed = onnx.load_from_string(model)
    graph = parsed.graph
    inferred = shape_inference.infer_shapes(parsed).graph.value_info
    shapes = {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim] for info in inferred}
    readers = {name: node for node in graph.node for name in node.input}
    sums = [
        node
        for node in graph.node
        if node.op_type == "Add" and shapes.get(node.output[0], [0])[1:] == [TAP_CHANNELS, GRID, GRID]
    ]
    quantize = readers.get(sums[-1].output[0]) if sums else None
    if quantize is None or quantize.op_type != "QuantizeLinear":
        raise ValueError(
            f"the file has no quantized sum of {TAP_CHANNELS}x{GRID}x{GRID} numbers; expected the CNN's device file"
        )
    old = quantize.output[0]
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = NAME
    zero = next(entry for entry in graph.initializer if entry.name == quantize.input[2])
    kind = TensorProto.INT8 if zero.data_type == TensorProto.INT8 else TensorProto.UINT8
    graph.output.append(helper.make_tensor_value_info(NAME, kind, ["batch", TAP_CHANNELS, GRID, GRID]))
    found: bytes = parsed.SerializeToString()
    return found


def read(model: bytes, file_format: Format) -> Tap:
    """What a device file says of its tap."""
    if file_format == "tflite":
        parsed = tflite_graph.parse(model)
        tensor = next(tensor for tensor in parsed.subgraphs[0].tensors if tensor.name == NAME.encode())
        return Tap(NAME, float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]), True)
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    node = next(node for node in graph.node if NAME in node.output)
    values = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    return Tap(NAME, float(values[node.input[1]]), int(values[node.input[2]]), False)
