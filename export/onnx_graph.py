"""ONNX graphs as bytes: tidied, fed with uint8 pixels, normalized, projected, cut, and split into layers."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .encoders import Projection
from .preprocessing import Preprocessing
from .tools import need, quiet

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def parse(model: bytes) -> Any:
    """A ModelProto."""
    return need("onnx", "reading an .onnx file").load_model_from_string(model)


def tidy(model: bytes) -> bytes:
    """Fold, fuse and clean a float graph: onnxslim, then ONNX Runtime's basic optimizations, which hold on every machine.

    They fuse batch norm into convolutions and take away the transposes of channels-last networks. What is left of the
    machine that made it (stack traces, doc strings) goes.
    """
    onnxslim = need("onnxslim", "tidying an .onnx file")
    onnxruntime = need("onnxruntime", "tidying an .onnx file")
    onnx = need("onnx", "tidying an .onnx file")
    with quiet("tidying the ONNX graph"), tempfile.TemporaryDirectory(prefix="shelfmatch-onnx-") as folder:
        slim = onnxslim.slim(_named_by_module(parse(model)))
        target = Path(folder) / "tidy.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(slim.SerializeToString(), options, providers=["CPUExecutionProvider"])
        result = onnx.load_model(target)
        used = {node.domain for node in result.graph.node} | {""}
        opsets = [entry for entry in result.opset_import if entry.domain in used]
        del result.opset_import[:]
        result.opset_import.extend(opsets)
        _strip(result)
        data: bytes = result.SerializeToString(deterministic=True)
    return data


def _named_by_module(model: Any) -> Any:
    """Nodes named by the PyTorch module they came from, which the exporter writes beside them: reports speak of layers."""
    counts: dict[str, int] = {}
    for node in model.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        parts = re.findall(r"'([^']*)'", scopes)
        scope = (parts[-2] if len(parts) > 1 else "").removeprefix("net.")
        if scope:
            counts[scope] = counts.get(scope, 0) + 1
            node.name = f"{scope}/{node.op_type.lower()}{counts[scope]}"
    return model


def _strip(model: Any) -> None:
    model.doc_string = ""
    model.producer_name, model.producer_version = "shelfmatch", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    for entry in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]


def with_output_name(model: bytes, wanted: str) -> bytes:
    """A graph whose only output is called so; a value inside of that name gets another one."""
    graph_model = parse(model)
    graph = graph_model.graph
    (last,) = graph.output
    if last.name == wanted:
        return model
    renamed = {wanted: f"{wanted}_inside", last.name: wanted}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for entry in (*graph.initializer, *graph.value_info, *graph.output):
        entry.name = renamed.get(entry.name, entry.name)
    data: bytes = graph_model.SerializeToString()
    return data


def with_uint8_input(model: bytes) -> bytes:
    """A float graph that takes its pixels as uint8.

    Where the pixels are quantized first thing with scale 1 and zero point 0 (int8 files), that node goes too: pixels are
    then stored as they came. Elsewhere a Cast stands in front.
    """
    onnx = need("onnx", "giving an .onnx file its uint8 input")
    graph_model = parse(model)
    graph = graph_model.graph
    entry = graph.input[0]
    if entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
        return model
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = [node for node in graph.node if entry.name in node.input]
    inside = f"{entry.name}_float"
    if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" and _is_identity(readers[0], constants):
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == readers[0].output[0]:
                    node.input[place] = entry.name
        graph.node.remove(readers[0])
    else:
        for node in readers:
            for place, name in enumerate(node.input):
                if name == entry.name:
                    node.input[place] = inside
        cast = onnx.helper.make_node("Cast", [entry.name], [inside], name="pixels_to_float", to=onnx.TensorProto.FLOAT)
        graph.node.insert(0, cast)
    entry.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def with_float_input(model: bytes) -> bytes | None:
    """The float graph behind a file that casts its uint8 pixels first thing, as `with_uint8_input` leaves it.

    None where the file is quantized, or uses its pixels otherwise.
    """
    onnx = need("onnx", "reading an .onnx file")
    graph_model = parse(model)
    graph = graph_model.graph
    entry = graph.input[0]
    readers = [node for node in graph.node if entry.name in node.input]
    if is_quantized(model) or len(readers) != 1 or readers[0].op_type != "Cast":
        return None
    (cast,) = readers
    to = onnx.helper.get_node_attr_value(cast, "to")
    if to != onnx.TensorProto.FLOAT or cast.output[0] in {output.name for output in graph.output}:
        return None
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == cast.output[0]:
                node.input[place] = entry.name
    graph.node.remove(cast)
    entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def _is_identity(node: Any, constants: dict[str, Any]) -> bool:
    scale, zero_point = constants.get(node.input[1]), constants.get(node.input[2])
    return (
        scale is not None
        and zero_point is not None
        and zero_point.dtype == np.uint8
        and float(scale.reshape(())) == 1.0
        and int(zero_point.reshape(())) == 0
    )


def with_normalization(model: bytes, preprocessing: Preprocessing, layout: str) -> bytes:
    """A graph that takes normalized photos → one that takes RGB pixels, 0.0 to 255.0."""
    onnx = need("onnx", "putting normalization into an .onnx file")
    graph_model = parse(model)
    graph = graph_model.graph
    entry = graph.input[0]
    mean, std = preprocessing.graph_normalization
    if mean is None or std is None:
        return model
    inside = f"{entry.name}_normalized"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == entry.name:
                node.input[place] = inside
    scale = 1 / np.array(std, np.float64)
    # The quantizer calls a tensor's scale NAME_scale: these are named otherwise.
    values = {"weight": scale, "bias": -np.array(mean) * scale}
    for name, value in values.items():
        wide = (3, 1, 1, 1) if layout == "NCHW" and name == "weight" else (3,)
        tensor = onnx.numpy_helper.from_array(value.astype(np.float32).reshape(wide), f"normalize_{name}")
        graph.initializer.append(tensor)
    make, scaled = onnx.helper.make_node, f"{inside}_scaled"
    if layout == "NCHW":  # as torch_modules.Device does it: one rounding in an int8 file
        names = [entry.name, "normalize_weight", "normalize_bias"]
        nodes = [make("Conv", names, [inside], name="normalize", group=3, kernel_shape=[1, 1])]
    else:
        nodes = [
            make("Mul", [entry.name, "normalize_weight"], [scaled], name="normalize_mul"),
            make("Add", [scaled, "normalize_bias"], [inside], name="normalize_add"),
        ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def with_projection(model: bytes, projection: Projection, dimension: int) -> bytes:
    """A graph with a last linear layer behind its only output."""
    onnx = need("onnx", "putting a projection into an .onnx file")
    graph_model = parse(model)
    graph = graph_model.graph
    (last,) = graph.output
    taken = {name for node in graph.node for name in (node.name, *node.output)}
    taken |= {entry.name for entry in (*graph.initializer, *graph.input)}
    mark = ""
    while any(name.startswith(f"projection{mark}_") or name == f"projected{mark}" for name in taken):
        mark += "_again"  # a file that an export with --dim made
    name, projected = f"projection{mark}", f"projected{mark}"
    weight = onnx.numpy_helper.from_array(np.ascontiguousarray(projection.weight), f"{name}_weight")
    bias = onnx.numpy_helper.from_array(projection.bias, f"{name}_bias")
    shape = onnx.numpy_helper.from_array(np.array([-1, dimension], np.int64), f"{name}_shape")
    graph.initializer.extend([weight, bias, shape])
    make = onnx.helper.make_node
    inputs = [f"{name}_in", weight.name, bias.name]
    graph.node.append(make("Reshape", [last.name, shape.name], inputs[:1], name=f"{name}_reshape"))
    graph.node.append(make("Gemm", inputs, [projected], name=f"{name}_product", transB=1))
    graph.output.remove(last)
    graph.output.append(
        onnx.helper.make_tensor_value_info(projected, onnx.TensorProto.FLOAT, [None, len(projection.bias)])
    )
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def is_quantized(model: bytes) -> bool:
    """Whether a node of the graph works on quantized numbers."""
    return is_quantized_graph(parse(model).graph)


def is_quantized_graph(graph: Any) -> bool:
    """The same of a GraphProto."""
    return any(part in node.op_type for node in graph.node for part in ("Quantize", "Integer", "QLinear"))


def is_transformer(model: bytes) -> bool:
    """Whether most weights are in matrix products between which there is attention: such a network takes dynamic int8."""
    graph = parse(model).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    share = {"Conv": 0, "MatMul": 0}
    attention = False
    for node in graph.node:
        weights = sum(sizes.get(name, 0) for name in node.input)
        attention = attention or node.op_type == "Softmax"
        if node.op_type in ("Conv", "ConvTranspose"):
            share["Conv"] += weights
        elif node.op_type in ("MatMul", "Gemm"):
            share["MatMul"] += weights
    return attention and share["MatMul"] > share["Conv"]


def layers(model: bytes) -> dict[str, tuple[str, ...]]:
    """The network's layers: each weighted node with the nodes that follow it up to the next one, as node names.

    Attention's products of two activations belong to the layer before them. Nodes without a name can't be told to a
    quantizer; `named_nodes` gives each one.
    """
    graph = parse(model).graph
    constants = {tensor.name for tensor in graph.initializer}
    groups: dict[str, list[str]] = {}
    current = ""
    for node in graph.node:
        if node.op_type in _WEIGHTED and any(name in constants for name in node.input):
            current = node.name
        groups.setdefault(current or node.name, []).append(node.name)
        current = current or node.name
    return {name: tuple(members) for name, members in groups.items()}


def named_nodes(model: bytes) -> bytes:
    """Give every node a name of its own, in graph order."""
    graph_model = parse(model)
    seen: set[str] = set()
    for number, node in enumerate(graph_model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type.lower()}_{number}"
        seen.add(node.name)
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def with_fixed_batch(model: bytes) -> bytes:
    """A graph of one photo at a time: converters handle it better, and what they make runs twice as fast."""
    graph_model = parse(model)
    for entry in (*graph_model.graph.input, *graph_model.graph.output):
        first = entry.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_value = 1
    del graph_model.graph.value_info[:]
    data: bytes = need("onnx", "fixing a batch").shape_inference.infer_shapes(graph_model).SerializeToString()
    return data


def stripped(model: bytes) -> bytes:
    """A graph without what tells of the machine or the run that made it, and with equal constants written once.

    A quantized file has scales, zero points and biases for each channel of each layer, and most zero points are equal;
    names of tensors are a twentieth of a small one.
    """
    graph_model = parse(model)
    _strip(graph_model)
    del graph_model.graph.value_info[:]
    _share_constants(graph_model.graph)
    _shorten_names(graph_model.graph)
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def with_exact_output(model: bytes) -> bytes:
    """A quantized graph whose last matrix product gives its floats without rounding them to 8 bits once more."""
    graph_model = parse(model)
    graph = graph_model.graph
    made = {name: node for node in graph.node for name in node.output}
    real = made.get(graph.output[0].name)
    rounded = made.get(real.input[0]) if real is not None and real.op_type == "DequantizeLinear" else None
    product = made.get(rounded.input[0]) if rounded is not None and rounded.op_type == "QuantizeLinear" else None
    if real is None or rounded is None or product is None or product.op_type not in ("Gemm", "MatMul"):
        return model
    product.output[0] = graph.output[0].name
    graph.node.remove(real)
    graph.node.remove(rounded)
    data: bytes = graph_model.SerializeToString(deterministic=True)
    return data


def pixel_input(model: bytes) -> tuple[str, str]:
    """The input's name, and NHWC or NCHW by where the three colours are."""
    entry = parse(model).graph.input[0]
    last = entry.type.tensor_type.shape.dim[3].dim_value
    return str(entry.name), "NHWC" if last == 3 else "NCHW"


def _share_constants(graph: Any) -> None:
    outputs = {entry.name for entry in graph.output}
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        nameless = type(tensor)()
        nameless.CopyFrom(tensor)
        nameless.ClearField("name")
        key = nameless.SerializeToString(deterministic=True)
        if tensor.name in outputs or first.setdefault(key, tensor.name) == tensor.name:
            kept.append(tensor)
        else:
            same[tensor.name] = first[key]
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in same:
                node.input[place] = same[name]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _shorten_names(graph: Any) -> None:
    """Tensors between the input and the output by number; nodes keep their names, by which people speak of layers."""
    outside = {entry.name for entry in (*graph.input, *graph.output)} | {""}
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return  # a subgraph sees the names around it
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in outside else short.setdefault(name, f"t{len(short)}")

    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed(name) for name in names]
