"""Float .tflite files with weights in whole int8 steps, see `rounding`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rounding import Layer, Rounded
from .tflite_graph import operator_name, pack, parse, real_values, schema


def rounding(model: bytes, photos: NDArray[np.float32]) -> dict[str, Rounded]:
    """By the name of an operator's output, its weight rounded for what it gets of `photos` (N, ...), see `rounding.Layer`.

    Operators whose weights aren't constant floats, or are shared, and dilated ones are left to the quantizer.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    parsed = parse(model)
    graph = parsed.subgraphs[0]
    layers = {index: layer for index, op in enumerate(graph.operators) if (layer := _layer(parsed, op)) is not None}
    # A delegate would compute whole chains without showing what is between.
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    for photo in photos:
        interpreter.set_tensor(int(graph.inputs[0]), photo[np.newaxis])
        interpreter.invoke()
        for index, layer in layers.items():
            layer.see(interpreter.get_tensor(int(graph.operators[index].inputs[0])))
    return {
        graph.tensors[int(graph.operators[index].outputs[0])].name.decode(): layer.rounded()
        for index, layer in layers.items()
    }


def _layer(model: Any, operator: Any) -> Layer | None:
    """What `rounding` works on, where the operator is one."""
    classes = schema()
    graph = model.subgraphs[0]
    name = operator_name(model, operator)
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return None
    tensor = graph.tensors[int(operator.inputs[1])]
    data = model.buffers[tensor.buffer].data
    uses = sum(int(operator.inputs[1]) in other.inputs for other in graph.operators)
    if tensor.type != classes.TensorType.FLOAT32 or data is None or not len(data) or uses > 1:
        return None
    weight = real_values(model, tensor)
    has_bias = len(operator.inputs) > 2 and int(operator.inputs[2]) >= 0
    bias = real_values(model, graph.tensors[int(operator.inputs[2])]) if has_bias else None
    if name == "FULLY_CONNECTED":
        # A last one gives floats, and has one scale, see `tflite_recipes`.
        last = int(operator.outputs[0]) in graph.outputs
        return Layer(weight[:, np.newaxis, np.newaxis, :], bias=bias, one_scale=last)
    options = operator.builtinOptions
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return None
    entry = graph.tensors[int(operator.inputs[0])].shape
    groups = int(entry[3]) // int(weight.shape[3])
    if name == "DEPTHWISE_CONV_2D":
        if weight.shape[3] != entry[3]:
            return None
        weight, groups = weight.transpose(3, 1, 2, 0), int(entry[3])
    strides = (int(options.strideH), int(options.strideW))
    padding = ((0, 0), (0, 0))
    if options.padding == classes.Padding.SAME:
        over = [
            max((-(-int(size) // stride) - 1) * stride + kernel - int(size), 0)
            for size, stride, kernel in zip(entry[1:3], strides, weight.shape[1:3], strict=True)
        ]
        padding = ((over[0] // 2, over[0] - over[0] // 2), (over[1] // 2, over[1] - over[1] // 2))
    return Layer(weight, groups, strides, padding, bias)


def with_rounding(model: bytes, found: dict[str, Rounded]) -> bytes:
    """The float file with these weights, and their biases changed."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    for operator in graph.operators:
        name = graph.tensors[int(operator.outputs[0])].name.decode()
        if name not in found:
            continue
        weight, correction, _ = found[name]
        if operator_name(parsed, operator) == "DEPTHWISE_CONV_2D":
            weight = weight.transpose(3, 1, 2, 0)
        _store(parsed, operator, 1, weight)
        if len(operator.inputs) > 2 and int(operator.inputs[2]) >= 0:
            bias = graph.tensors[int(operator.inputs[2])]
            _store(parsed, operator, 2, real_values(parsed, bias) + correction)
    return pack(parsed)


def _store(model: Any, operator: Any, place: int, values: NDArray[np.float32]) -> None:
    """Give the operator's input at `place` other values: in a tensor and a buffer of its own where it shared one.

    Keras' converter writes one bias, of zeros, for all layers of a size.
    """
    graph = model.subgraphs[0]
    index = int(operator.inputs[place])
    if sum(int(given) == index for other in graph.operators for given in other.inputs) > 1:
        graph.tensors.append(copy.deepcopy(graph.tensors[index]))
        index = len(graph.tensors) - 1
        graph.tensors[index].name += f"+{index}".encode()
        operator.inputs = np.array(operator.inputs, np.int32)
        operator.inputs[place] = index
    tensor = graph.tensors[index]
    if sum(other.buffer == tensor.buffer for other in graph.tensors) > 1:
        model.buffers.append(schema().BufferT())
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
