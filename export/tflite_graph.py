"""TFLite graphs as bytes: short names, a uint8 input, and the split into layers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tools import need

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def schema() -> Any:
    """LiteRT's flatbuffer classes."""
    return need("ai_edge_litert.schema_py_generated", "changing a .tflite file")


def parse(model: bytes) -> Any:
    """The file as mutable objects. The quantizer appends its buffers behind the flatbuffer; they come inside."""
    classes = schema()
    parsed = classes.ModelT.InitFromObj(classes.Model.GetRootAsModel(model, 0))
    for buffer in parsed.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return parsed


def pack(model: Any) -> bytes:
    """A .tflite file of the objects.

    Equal vectors are written once (a tenth of an int8 file is zero points that are all zero), and the tensors' data lie at
    multiples of 16 bytes, as the schema asks: runtimes read them in place.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__(1 << 20)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Any) -> int:
            data = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
            key = (x.dtype.str, data)
            if key not in self._written:
                self.StartVector(x.itemsize, x.size, 16 if x.dtype == np.uint8 else x.dtype.alignment)
                self.head -= len(data)
                self.Bytes[self.head : self.head + len(data)] = data
                self.vectorNumElems = x.size
                self._written[key] = self.EndVector()
            return self._written[key]

    builder = Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    """The operator's name in the schema, like CONV_2D."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _builtin_names().get(number, f"OPERATOR_{number}")


def _builtin_names() -> dict[int, str]:
    return {number: name for name, number in vars(schema().BuiltinOperator).items() if isinstance(number, int)}


def renamed_tensors(model: bytes) -> bytes:
    """Short names that are each tensor's own: the input is "pixels", the output "embedding".

    The converter's names hold the whole module path, once for every operation that was fused: tens of kilobytes, and
    the quantizer chooses layers by them.
    """
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    made = {int(out): number for number, op in enumerate(graph.operators) for out in op.outputs}
    seen: set[str] = set()
    for index, tensor in enumerate(graph.tensors):
        path = _module_path((tensor.name or b"").decode(errors="replace"))
        kind = f"{made[index]:04d}" if index in made else f"w{index:04d}"
        name = f"{kind}/{path}" if path else kind
        while name in seen:
            name += "+"
        seen.add(name)
        tensor.name = name.encode()
    graph.tensors[int(graph.inputs[0])].name = b"pixels"
    graph.tensors[int(graph.outputs[0])].name = b"embedding"
    return pack(parsed)


def with_own_names(model: bytes) -> bytes:
    """The same file where each tensor has a name of its own; others, which may have none or one for several, get their number
    added. The quantizer and the rounding know layers by them."""
    parsed = parse(model)
    tensors = parsed.subgraphs[0].tensors
    names = Counter(tensor.name or b"" for tensor in tensors)
    if not names[b""] and len(names) == len(tensors):
        return model
    for index, tensor in enumerate(tensors):
        name = tensor.name or b""
        if not name or names[name] > 1:
            tensor.name = name + f"#{index}".encode()
    return pack(parsed)


def _module_path(name: str) -> str:
    """'…Sequential_blocks/…Block_0/torch.nn.modules.conv.Conv2d_conv_dw;;…' → 'blocks.0.conv_dw'."""
    parts = []
    for part in name.split(";")[-2 if name.endswith(";") else 0].split("/"):
        last = part.rpartition(".")[2]
        _, _, attribute = last.partition("_")
        if attribute and attribute not in ("net", "m"):
            parts.append(attribute)
    return ".".join(parts)[:64]


def input_layout(model: bytes) -> str:
    """NHWC, or NCHW where the only input, a photo, has its colours first."""
    graph = parse(model).subgraphs[0]
    return "NHWC" if int(graph.tensors[int(graph.inputs[0])].shape[3]) == 3 else "NCHW"


def with_uint8_input(model: bytes) -> bytes:
    """A graph whose float or int8 pixels are taken as uint8: one CAST, or one QUANTIZE that shifts by 128, in front."""
    classes = schema()
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    inside = int(graph.inputs[0])
    old = graph.tensors[inside]
    kinds = classes.TensorType
    if old.type == kinds.UINT8:
        return model
    builtin, options = (
        (classes.BuiltinOperator.CAST, (classes.BuiltinOptions.CastOptions, classes.CastOptionsT()))
        if old.type == kinds.FLOAT32
        else (classes.BuiltinOperator.QUANTIZE, (classes.BuiltinOptions.QuantizeOptions, classes.QuantizeOptionsT()))
    )
    if old.type == kinds.FLOAT32:
        options[1].inDataType, options[1].outDataType = kinds.UINT8, kinds.FLOAT32
    entry = classes.TensorT()
    entry.name, entry.shape, entry.type, entry.buffer = b"pixels", old.shape, kinds.UINT8, 0
    entry.shapeSignature, entry.isVariable, entry.hasRank = old.shapeSignature, False, old.hasRank
    entry.quantization = classes.QuantizationParametersT()
    entry.quantization.scale, entry.quantization.zeroPoint = np.array([1.0], np.float32), np.array([0], np.int64)
    if old.type == kinds.INT8 and int(old.quantization.zeroPoint[0]) != -128:
        # The pixels' scale does what normalization did (`without_normalization`); it must be the same on both sides.
        entry.quantization.scale = old.quantization.scale
        entry.quantization.zeroPoint = np.asarray(old.quantization.zeroPoint, np.int64) + 128
    old.name = b"pixels_inside"
    graph.tensors.append(entry)
    new = len(graph.tensors) - 1
    operator = classes.OperatorT()
    operator.opcodeIndex = _opcode(parsed, builtin)
    operator.inputs, operator.outputs = np.array([new], np.int32), np.array([inside], np.int32)
    operator.builtinOptionsType, operator.builtinOptions = options
    graph.operators.insert(0, operator)
    _enter_at(parsed, inside, new)
    return pack(parsed)


def with_float_input(model: bytes) -> bytes | None:
    """The float graph behind a file that casts its uint8 pixels first thing, as `with_uint8_input` leaves it.

    None where the file is quantized or has weights of 16 bits, or uses its pixels otherwise.
    """
    kinds = schema().TensorType
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    outside = int(graph.inputs[0])
    readers = [operator for operator in graph.operators if outside in operator.inputs]
    smaller = is_quantized(model) or any(operator_name(parsed, op) == "DEQUANTIZE" for op in graph.operators)
    if smaller or len(readers) != 1 or operator_name(parsed, readers[0]) != "CAST":
        return None
    inside = int(readers[0].outputs[0])
    if graph.tensors[inside].type != kinds.FLOAT32 or inside in graph.outputs:
        return None
    graph.operators.remove(readers[0])
    graph.tensors[inside].name = b"pixels"
    _enter_at(parsed, outside, inside)
    _remove_tensor(parsed, outside)
    return pack(parsed)


def in_float32(model: bytes) -> bytes:
    """A file whose weights have 16 bits, each widened by a DEQUANTIZE of its own → one with weights of 32."""
    half = schema().TensorType.FLOAT16
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    kept = []
    for operator in graph.operators:
        source = graph.tensors[int(operator.inputs[0])] if len(operator.inputs) else None
        data = None if source is None else parsed.buffers[source.buffer].data
        if operator_name(parsed, operator) != "DEQUANTIZE" or source is None or source.type != half or data is None:
            kept.append(operator)
            continue
        wide = np.asarray(data, np.uint8).view(np.float16).astype(np.float32)
        buffer = schema().BufferT()
        buffer.data = wide.view(np.uint8)
        parsed.buffers.append(buffer)
        graph.tensors[int(operator.outputs[0])].buffer = len(parsed.buffers) - 1
        parsed.buffers[source.buffer].data = None
    if len(kept) == len(graph.operators):
        return model
    graph.operators = kept
    return pack(parsed)


def without_normalization(model: bytes) -> bytes:
    """An int8 graph that begins by normalizing all colours alike → one whose pixels have the normalized scale.

    Such a layer, a 1x1 depthwise convolution, writes the bytes that it reads, give or take one: what changes is their scale
    and zero point, and these the next layer knows. It costs 3 % of a small network's instructions. A graph that begins
    otherwise, or normalizes each colour in its own way, comes back as it is.
    """
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    first = graph.operators[0]
    entry = graph.tensors[int(graph.inputs[0])]
    readers = sum(int(graph.inputs[0]) in operator.inputs for operator in graph.operators)
    if operator_name(parsed, first) != "DEPTHWISE_CONV_2D" or readers > 1 or entry.type != schema().TensorType.INT8:
        return model
    weight, bias = (graph.tensors[int(index)] for index in first.inputs[1:3])
    result = graph.tensors[int(first.outputs[0])]
    clipped = first.builtinOptions.fusedActivationFunction != schema().ActivationFunctionType.NONE
    if (
        list(result.shape) != list(entry.shape)
        or list(weight.shape[1:3]) != [1, 1]
        or clipped
        or result.type != entry.type
    ):
        return model
    steps = np.arange(-128, 128)[:, np.newaxis]
    pixels = (steps - entry.quantization.zeroPoint) * entry.quantization.scale
    real = pixels * real_values(parsed, weight).ravel() + real_values(parsed, bias)
    written = np.clip(real / result.quantization.scale + result.quantization.zeroPoint, -128, 127)
    if np.abs(written - steps).max() > 1:
        return model
    graph.operators.remove(first)
    _enter_at(parsed, int(graph.inputs[0]), int(first.outputs[0]))
    return pack(parsed)


def real_values(model: Any, tensor: Any) -> NDArray[np.float32]:
    """A constant tensor's stored numbers as real ones, in its shape."""
    kinds = schema().TensorType
    stored = {kinds.FLOAT32: np.float32, kinds.INT32: np.int32, kinds.UINT8: np.uint8, kinds.INT8: np.int8}
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    values = data.view(stored[tensor.type]).reshape(tensor.shape).astype(np.float64)
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return np.asarray(values, np.float32)
    scale, zero = np.asarray(quantization.scale), np.asarray(quantization.zeroPoint)
    shape = [1] * values.ndim
    if len(scale) > 1:
        shape[int(quantization.quantizedDimension)] = len(scale)
    return np.asarray((values - zero.reshape(shape)) * scale.reshape(shape), np.float32)


def _enter_at(model: Any, old: int, new: int) -> None:
    """Make tensor `new` the graph's input in the place of `old`."""
    model.subgraphs[0].inputs = np.array([new], np.int32)
    for signature in model.signatureDefs if model.signatureDefs is not None else []:
        for mapped in signature.inputs:
            if mapped.tensorIndex == old:
                mapped.tensorIndex = new


def _remove_tensor(model: Any, gone: int) -> None:
    """Take out a tensor that nothing uses; those behind it get other numbers."""
    graph = model.subgraphs[0]
    del graph.tensors[gone]

    def moved(indices: Any) -> NDArray[np.int32]:
        found = np.asarray(() if indices is None else indices, np.int32)
        return found - (found > gone)

    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for operator in graph.operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
    for signature in model.signatureDefs if model.signatureDefs is not None else []:
        for mapped in (*signature.inputs, *signature.outputs):
            mapped.tensorIndex -= mapped.tensorIndex > gone


def _opcode(model: Any, builtin: int) -> int:
    """The index of an operator code, added where the file doesn't have it."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def with_signature(model: bytes) -> bytes:
    """A file with a signature, by which the quantizer calibrates; older converters wrote none."""
    parsed = parse(model)
    if parsed.signatureDefs is not None and len(parsed.signatureDefs):
        return model
    classes = schema()
    graph = parsed.subgraphs[0]

    def mapping(name: bytes, index: int) -> Any:
        entry = classes.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        return entry

    signature = classes.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs = [mapping(b"pixels", int(graph.inputs[0]))]
    signature.outputs = [mapping(b"embedding", int(graph.outputs[0]))]
    parsed.signatureDefs = [signature]
    return pack(parsed)


def is_transformer(model: bytes) -> bool:
    """Whether most weights are in matrix products between which there is attention: such a network takes dynamic int8."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    share = {"conv": 0, "dense": 0}
    attention = False
    for op in graph.operators:
        name = operator_name(parsed, op)
        attention = attention or name == "SOFTMAX"
        if name in WEIGHTED:
            weight = graph.tensors[int(op.inputs[1])]
            share["dense" if name == "FULLY_CONNECTED" else "conv"] += int(np.prod(weight.shape))
    return attention and share["dense"] > share["conv"]


def last_operator(model: bytes) -> tuple[str, str] | None:
    """The name of the operator that gives the graph's output, and its output's; None where the output is an input."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    made = [operator for operator in graph.operators if int(graph.outputs[0]) in operator.outputs]
    return (operator_name(parsed, made[0]), graph.tensors[int(graph.outputs[0])].name.decode()) if made else None


_AFTER_PRODUCTS = ("SOFTMAX", "LOG_SOFTMAX", "RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE", "ADD")
"""What may come after a classifier's product. ADD: of its bias."""


def last_product_input(model: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Number and shape of the tensor that the last weighted operator before the output reads; None where there is none."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    made = {int(index): operator for operator in graph.operators for index in operator.outputs}
    at = int(graph.outputs[0])
    while at in made:
        name, inputs = operator_name(parsed, made[at]), [int(index) for index in made[at].inputs]
        if name in WEIGHTED:
            return inputs[0], tuple(int(side) for side in graph.tensors[inputs[0]].shape)
        if name not in _AFTER_PRODUCTS:
            return None
        at = next((index for index in inputs if index in made), -1)
    return None


def layers(model: bytes) -> dict[str, tuple[str, ...]]:
    """The network's layers: each weighted operator with those that follow it up to the next one, as output tensor names."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    groups: dict[str, list[str]] = {}
    current = ""
    for op in graph.operators:
        name = graph.tensors[int(op.outputs[0])].name.decode(errors="replace")
        if not current or operator_name(parsed, op) in WEIGHTED:
            current = name
        groups.setdefault(current, []).append(name)
    return {name: tuple(members) for name, members in groups.items()}


def softmaxes(model: bytes) -> tuple[str, ...]:
    """The output tensors of all softmaxes."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    return tuple(
        graph.tensors[int(op.outputs[0])].name.decode(errors="replace")
        for op in graph.operators
        if operator_name(parsed, op) == "SOFTMAX"
    )


def is_quantized(model: bytes) -> bool:
    """Whether some weight of the file is stored in 8 bits already."""
    parsed = parse(model)
    graph = parsed.subgraphs[0]
    small = (schema().TensorType.INT8, schema().TensorType.UINT8)
    return any(
        graph.tensors[int(op.inputs[1])].type in small
        for op in graph.operators
        if operator_name(parsed, op) in WEIGHTED
    )
