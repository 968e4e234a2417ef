"""Real networks small enough to run in microseconds, written with the formats' own builders."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

SIDE, CELLS = 32, 4
DIMENSION = CELLS * CELLS * 3
"""The tiny encoders average 8x8 cells of a 32x32 picture: 4x4 cells of 3 colours, 48 numbers."""


def _tensor(name: str, shape: list[int], buffer: int, dtype: str, scale: float = 1.0, zero_point: int = 0) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    result = schema.TensorT()
    result.name, result.shape, result.buffer = name, shape, buffer
    result.type = getattr(schema.TensorType, dtype.upper())
    if dtype in ("uint8", "int8"):
        result.quantization = schema.QuantizationParametersT()
        result.quantization.scale, result.quantization.zeroPoint = [scale], [zero_point]
    return result


def _operator(code: int, inputs: list[int], outputs: list[int], options_type: int, options: Any) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    result = schema.OperatorT()
    result.opcodeIndex, result.inputs, result.outputs = code, inputs, outputs
    result.builtinOptionsType, result.builtinOptions = options_type, options
    return result


def _reshape(new_shape: list[int]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    result = schema.ReshapeOptionsT()
    result.newShape = new_shape
    return result


def _packed(
    tensors: list[Any], outputs: list[int], operators: list[Any], codes: list[int], data: dict[int, bytes]
) -> bytes:
    """A .tflite file; tensor 0 is the input, `data` by buffer number."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def code(builtin: int) -> Any:
        result = schema.OperatorCodeT()
        result.builtinCode = result.deprecatedBuiltinCode = builtin
        result.version = 1
        return result

    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [0], outputs
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code(builtin) for builtin in codes]
    model.buffers = [schema.BufferT() for _ in range(len(tensors) + 1)]
    for number, content in data.items():
        model.buffers[number].data = np.frombuffer(content, np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def average_tflite(*, extra_output: bool = False, dtype: str = "uint8") -> bytes:
    """A .tflite file: [1, 32, 32, 3] pixels in, AVERAGE_POOL_2D, RESHAPE to [1, 48]. `extra_output` gives the pooled cells too."""
    from ai_edge_litert import schema_py_generated as schema

    pool = schema.Pool2DOptionsT()
    pool.padding = schema.Padding.VALID
    pool.strideH = pool.strideW = pool.filterHeight = pool.filterWidth = SIDE // CELLS
    pool.fusedActivationFunction = schema.ActivationFunctionType.NONE
    tensors = [
        _tensor("pixels", [1, SIDE, SIDE, 3], 1, dtype),
        _tensor("cells", [1, CELLS, CELLS, 3], 2, dtype),
        _tensor("shape", [2], 3, "int32"),
        _tensor("embedding", [1, DIMENSION], 4, dtype),
    ]
    operators = [
        _operator(0, [0], [1], schema.BuiltinOptions.Pool2DOptions, pool),
        _operator(1, [1, 2], [3], schema.BuiltinOptions.ReshapeOptions, _reshape([1, DIMENSION])),
    ]
    codes = [schema.BuiltinOperator.AVERAGE_POOL_2D, schema.BuiltinOperator.RESHAPE]
    shape = np.array([1, DIMENSION], "<i4").tobytes()
    return _packed(tensors, [3, 1] if extra_output else [3], operators, codes, {3: shape})


def identity_tflite(
    dtype: str = "uint8", *, scale: float = 1.0, zero_point: int = 0, height: int = 8, width: int = 8, batch: int = 1
) -> bytes:
    """A .tflite file that gives its input back as a vector, stored as it came in."""
    from ai_edge_litert import schema_py_generated as schema

    flat = [batch, height * width * 3]
    tensors = [
        _tensor("pixels", [batch, height, width, 3], 1, dtype, scale, zero_point),
        _tensor("shape", [2], 2, "int32"),
        _tensor("embedding", flat, 3, dtype, scale, zero_point),
    ]
    operators = [_operator(0, [0, 1], [2], schema.BuiltinOptions.ReshapeOptions, _reshape(flat))]
    return _packed(tensors, [2], operators, [schema.BuiltinOperator.RESHAPE], {2: np.array(flat, "<i4").tobytes()})


def with_metadata(model: bytes, metadata: bytes) -> bytes:
    """A .tflite file with a TFLITE_METADATA buffer."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(parsed.buffers)
    buffer.data = np.frombuffer(metadata, np.uint8)
    parsed.metadata = [entry]
    parsed.buffers.append(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(parsed.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def normalization_metadata(mean: list[float], std: list[float], *, kind: int = 1) -> bytes:
    """TFLite metadata that says how the first input is normalized, field by field as metadata_schema.fbs numbers them.

    `kind` is the member of the union ProcessUnitOptions: 1 is NormalizationOptions.
    """
    import flatbuffers

    builder = flatbuffers.Builder(256)

    def floats(values: list[float]) -> Any:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return builder.EndVector()

    def table(fields: int, **offsets: Any) -> Any:
        builder.StartObject(fields)
        for slot, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(int(slot.removeprefix("field_")), offset, 0)
        return builder.EndObject()

    def vector_of(offset: Any) -> Any:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    options = table(2, field_0=floats(mean), field_1=floats(std))
    builder.StartObject(2)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, options, 0)
    unit = builder.EndObject()
    tensor = table(7, field_4=vector_of(unit))
    subgraph = table(10, field_2=vector_of(tensor))
    name = builder.CreateString("normalized")
    builder.Finish(table(8, field_0=name, field_3=vector_of(subgraph)), file_identifier=b"M001")
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


def identity_onnx(*, dtype: str = "float32", layout: str = "NHWC", height: int = 8, width: int = 8) -> bytes:
    """An .onnx file that gives its input back as a vector."""
    import onnx
    from onnx import TensorProto, helper

    kind = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}[dtype]
    shape = [1, height, width, 3] if layout == "NHWC" else [1, 3, height, width]
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["pixels"], ["embedding"])],
        "identity",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("embedding", kind, [1, height * width * 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
