"""Real networks small enough to run in microseconds, written with the formats' own builders."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

SIDE, CELLS = 32, 4
DIMENSION = CELLS * CELLS * 3
"""The tiny encoders average 8x8 cells of a 32x32 picture: 4x4 cells of 3 colours, 48 numbers."""


def average_tflite(*, extra_output: bool = False, dtype: str = "uint8") -> bytes:
    """A .tflite file: [1, 32, 32, 3] pixels in, AVERAGE_POOL_2D, RESHAPE to [1, 48]. `extra_output` gives the pooled cells too."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kind = {"uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32}[dtype]

    def tensor(name: str, shape: list[int], buffer: int, tensor_type: int) -> Any:
        result = schema.TensorT()
        result.name, result.shape, result.buffer, result.type = name, shape, buffer, tensor_type
        if tensor_type == schema.TensorType.UINT8:
            result.quantization = schema.QuantizationParametersT()
            result.quantization.scale, result.quantization.zeroPoint = [1.0], [0]
        return result

    def buffer(data: bytes | None = None) -> Any:
        result = schema.BufferT()
        result.data = None if data is None else np.frombuffer(data, np.uint8)
        return result

    def operator(code: int, inputs: list[int], outputs: list[int], options_type: int, options: Any) -> Any:
        result = schema.OperatorT()
        result.opcodeIndex, result.inputs, result.outputs = code, inputs, outputs
        result.builtinOptionsType, result.builtinOptions = options_type, options
        return result

    def code(builtin: int) -> Any:
        result = schema.OperatorCodeT()
        result.builtinCode = result.deprecatedBuiltinCode = builtin
        result.version = 1
        return result

    pool = schema.Pool2DOptionsT()
    pool.padding = schema.Padding.VALID
    pool.strideH = pool.strideW = pool.filterHeight = pool.filterWidth = SIDE // CELLS
    pool.fusedActivationFunction = schema.ActivationFunctionType.NONE
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [1, DIMENSION]

    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("pixels", [1, SIDE, SIDE, 3], 1, kind),
        tensor("cells", [1, CELLS, CELLS, 3], 2, kind),
        tensor("shape", [2], 3, schema.TensorType.INT32),
        tensor("embedding", [1, DIMENSION], 4, kind),
    ]
    graph.inputs, graph.outputs = [0], [3, 1] if extra_output else [3]
    graph.operators = [
        operator(0, [0], [1], schema.BuiltinOptions.Pool2DOptions, pool),
        operator(1, [1, 2], [3], schema.BuiltinOptions.ReshapeOptions, reshape),
    ]
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes = [code(schema.BuiltinOperator.AVERAGE_POOL_2D), code(schema.BuiltinOperator.RESHAPE)]
    shape = np.array([1, DIMENSION], "<i4").tobytes()
    model.buffers = [buffer(), buffer(), buffer(), buffer(shape), buffer()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def average_onnx(*, dtype: str = "uint8") -> bytes:
    """The same network as .onnx: [1, 32, 32, 3] pixels in, float32 [1, 48] out."""
    import onnx
    from onnx import TensorProto, helper

    kind = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}[dtype]
    cell = SIDE // CELLS
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("Transpose", ["pooled"], ["cells"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["cells"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "average",
        [helper.make_tensor_value_info("pixels", kind, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, DIMENSION])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()
