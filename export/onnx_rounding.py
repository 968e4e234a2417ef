"""Float .onnx files with weights in whole int8 steps, see `rounding`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .onnx_graph import parse
from .rounding import Layer, Rounded
from .tools import need


def rounding(model: bytes, photos: NDArray[np.float32]) -> dict[str, Rounded]:
    """By node name, its weight rounded for what it gets of `photos` (N, ...), see `rounding.Layer`.

    Nodes whose weights aren't constants, or are shared, and dilated ones are left to the quantizer.
    """
    onnx = need("onnx", "rounding an .onnx file's weights")
    onnxruntime = need("onnxruntime", "rounding an .onnx file's weights")
    graph_model = parse(model)
    graph = graph_model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    layers = {name: layer for name, node in nodes.items() if (layer := _layer(node, graph, constants)) is not None}
    outputs = {entry.name for entry in graph.output}
    seen = sorted({nodes[name].input[0] for name in layers} - {entry.name for entry in graph.input})
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in seen if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # As calibration does it: a fused chain doesn't show what is between.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    for photo in photos:
        found = dict(zip(seen, session.run(seen, {entry: photo[np.newaxis]}), strict=True)) if seen else {}
        found[entry] = photo[np.newaxis]
        for name, layer in layers.items():
            inputs = found[nodes[name].input[0]]
            layer.see(inputs.transpose(0, 2, 3, 1) if nodes[name].op_type == "Conv" else inputs)
    return {name: layer.rounded() for name, layer in layers.items()}


def _layer(node: Any, graph: Any, constants: dict[str, Any]) -> Layer | None:
    """What `rounding` works on, where the node is one."""
    onnx = need("onnx", "rounding an .onnx file's weights")
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
        return None
    weight = onnx.numpy_helper.to_array(constants[node.input[1]])
    uses = sum(node.input[1] in other.input for other in graph.node)
    if weight.dtype != np.float32 or uses > 1:
        return None
    bias = (
        onnx.numpy_helper.to_array(constants[node.input[2]]) if node.input[2:] and node.input[2] in constants else None
    )
    said = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Conv":
        plain = said.get("auto_pad", b"NOTSET") == b"NOTSET" and set(said.get("dilations", [1])) == {1}
        if weight.ndim != 4 or not plain:
            return None
        top, left, bottom, right = said.get("pads", [0, 0, 0, 0])
        strides = tuple(said.get("strides", [1, 1]))
        padding = ((top, bottom), (left, right))
        # Kernels for filters of one channel add up in 32 bits.
        in_pairs = weight.shape[1] > 1
        return Layer(weight.transpose(0, 2, 3, 1), said.get("group", 1), strides, padding, bias, in_pairs=in_pairs)
    scaled = (said.get("alpha", 1.0), said.get("beta", 1.0), said.get("transA", 0)) != (1.0, 1.0, 0)
    if weight.ndim != 2 or scaled:
        return None
    return Layer(
        (weight if said.get("transB", 0) else weight.T)[:, np.newaxis, np.newaxis, :], bias=bias, in_pairs=True
    )


def ranges(model: bytes, found: dict[str, Rounded]) -> dict[str, list[dict[str, Any]]]:
    """By name of a weight, for each of its channels the range that its steps span, as onnxruntime.quantization's
    TensorQuantOverrides; weights without it are stored in 7 bits (`reduce_range`)."""
    said = {}
    for node in parse(model).graph.node:
        if node.name not in found or not found[node.name].step.all():
            continue
        by_row = node.op_type == "Conv" or any(entry.name == "transB" and entry.i for entry in node.attribute)
        spans = (127 * found[node.name].step).tolist()
        said[node.input[1]] = [
            {"axis": 0 if by_row else 1, "reduce_range": False, "rmin": np.float32(-span), "rmax": np.float32(span)}
            for span in spans
        ]
    return said


def with_rounding(model: bytes, found: dict[str, Rounded]) -> bytes:
    """The float file with these weights, and their biases changed."""
    onnx = need("onnx", "rounding an .onnx file's weights")
    graph_model = parse(model)
    graph = graph_model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.name not in found:
            continue
        weight, correction, _ = found[node.name]
        if node.op_type == "Conv":
            weight = weight.transpose(0, 3, 1, 2)
        else:
            weight = weight[:, 0, 0]
            if not any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
                weight = weight.T
        _store(constants[node.input[1]], weight)
        if len(node.input) > 2 and node.input[2] in constants:
            bias = onnx.numpy_helper.to_array(constants[node.input[2]])
            # A constant may be the bias of several nodes.
            changed = type(constants[node.input[2]])(name=f"{node.name}_bias_rounded")
            _store(changed, (bias + correction).astype(np.float32))
            graph.initializer.append(changed)
            node.input[2] = changed.name
    used = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def _store(tensor: Any, values: NDArray[np.float32]) -> None:
    numpy_helper = need("onnx", "rounding an .onnx file's weights").numpy_helper
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
