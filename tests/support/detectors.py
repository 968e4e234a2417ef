"""Detectors of constant answers: the smallest real files whose outputs have the shapes that people's detectors give."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfmatch.edge import Detector, DetectorCard
from tests.support.tiny_models import _operator, _packed, _reshape, _tensor

Arrays = Mapping[str, NDArray[Any]]


def constant_onnx(
    outputs: Arrays, size: tuple[int, int] = (64, 64), *, dtype: str = "float32", layout: str = "NCHW"
) -> bytes:
    """An .onnx file that takes a picture (height, width) and gives these outputs whatever it shows."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}[dtype]
    shape = [1, *size, 3] if layout == "NHWC" else [1, 3, *size]
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nothing"]),
    ]
    parts, infos = [], []
    for name, value in outputs.items():
        parts.append(numpy_helper.from_array(value.astype(np.float32), f"{name}.value"))
        nodes.append(helper.make_node("Add", [f"{name}.value", "nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape)))
    graph = helper.make_graph(nodes, "constant", [helper.make_tensor_value_info("images", kind, shape)], infos, parts)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def constant_tflite(outputs: Arrays, size: tuple[int, int] = (64, 64), *, dtype: str = "uint8") -> bytes:
    """The same as a .tflite file: each output is a RESHAPE of a constant."""
    from ai_edge_litert import schema_py_generated as schema

    tensors, operators, data, ends = [_tensor("images", [1, *size, 3], 1, dtype)], [], {}, []
    for name, value in outputs.items():
        shape, first = list(value.shape), len(tensors)
        tensors += [
            _tensor(f"{name}.value", [value.size], first + 1, "float32"),
            _tensor(f"{name}.shape", [len(shape)], first + 2, "int32"),
            _tensor(name, shape, first + 3, "float32"),
        ]
        data[first + 1] = value.astype("<f4").tobytes()
        data[first + 2] = np.array(shape, "<i4").tobytes()
        operators.append(
            _operator(0, [first, first + 1], [first + 2], schema.BuiltinOptions.ReshapeOptions, _reshape(shape))
        )
        ends.append(first + 2)
    return _packed(tensors, ends, operators, [schema.BuiltinOperator.RESHAPE], data)


def own_card(model: bytes, outputs: Arrays, **changes: Any) -> DetectorCard:
    """A card of our own head for a file of `constant_onnx`, 64x64 pixels."""
    record: dict[str, Any] = {
        "name": "tiny", "file": "tiny.onnx", "sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model),
        "format": "onnx", "width": 64, "height": 64, "input_name": "images", "input_dtype": "float32", "layout": "NCHW",
        "outputs": [{"name": name, "dtype": "float32"} for name in outputs], "head": "shelfmatch",
        "classes": ["product", "gap"], "strides": [8, 16], "license": "none", "provenance": "made by a test",
    }  # fmt: skip
    return DetectorCard.from_dict({**record, **changes})


def cells(
    found: Mapping[tuple[int, int], tuple[float, float, tuple[float, float, float, float]]],
    side: int = 64,
    stride: int = 8,
) -> NDArray[np.float32]:
    """Cells of our own head, (1, rows, columns, 6): (row, column) → product and gap logit, distances in strides."""
    grid = np.zeros((1, side // stride, side // stride, 6), np.float32)
    grid[..., :2] = -8
    for (row, column), (product, gap, distances) in found.items():
        grid[0, row, column] = (product, gap, *distances)
    return grid


def own_detector(found: Mapping[Any, Any], **changes: Any) -> Detector:
    """A detector of 64x64 pixels that finds these cells of stride 8, and nothing at stride 16."""
    outputs = {"near": cells(found), "far": cells({}, stride=16)}
    model = constant_onnx(outputs)
    return Detector(own_card(model, outputs, **changes), model)
