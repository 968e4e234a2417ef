"""Is a network's output an embedding, or the scores of classes? One rule for `build`, which takes a ready file, and for `export`.

Class scores say which of somebody else's classes a photo looks like, and find a shop's products far worse than the feature that
they are computed from (965 kinds of birds as an embedding: 9.9 % of the photos found their product, their feature 30.2 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .onnx_wire import fields, varint

if TYPE_CHECKING:
    from .card import Format

CLASS_COUNTS = frozenset({1000, 1001, 21841, 21843})
"""ImageNet's class counts, with and without a background class."""
_STEP = 16
"""Embeddings are made in multiples of this, or so nearly always that others are taken for counts of classes."""
_SAYS_EMBEDDING = ("embed", "feature", "project")

_PASSES_ON = frozenset(
    (
        "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Sigmoid", "QuantizeLinear",
        "DequantizeLinear", "RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE", "LOGISTIC", "CAST",
    )
)  # fmt: skip
"""What may come after a classifier's product and changes no order of its scores."""
_SOFTMAX = frozenset(("Softmax", "LogSoftmax", "SOFTMAX", "LOG_SOFTMAX"))
_SUMS = frozenset(("Add", "ADD"))
"""Of a bias, where the other side is a constant."""
_PRODUCTS = frozenset(
    ("Gemm", "MatMul", "Conv", "QLinearMatMul", "QGemm", "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a network ends. `feature` is what its last linear layer reads, by name (.onnx) or number (.tflite), and `width` how many
    numbers that is; None and 0 where the output is not a linear layer's. `softmax`: it ends in one."""

    name: str
    softmax: bool = False
    feature: str | None = None
    width: int = 0

    def class_scores(self, dimension: int) -> str:
        """Why an output of `dimension` numbers is class scores, "" where it isn't."""
        if self.softmax:
            return f"{dimension} numbers behind a softmax"
        return why_class_scores(dimension, linear=self.feature is not None, name=self.name)


def why_class_scores(dimension: int, *, linear: bool, name: str = "") -> str:
    """Why `dimension` numbers are class scores, "" where they aren't: a count of classes that is known, or a linear layer's count
    that no embedding has. `name`: the output's; one that says it is an embedding is believed."""
    if dimension in CLASS_COUNTS:
        return f"{dimension} outputs, as ImageNet has classes"
    said = any(word in name.lower() for word in _SAYS_EMBEDDING)
    if linear and not said and (dimension < _STEP or dimension % _STEP):
        return f"a last linear layer with {dimension} outputs, no multiple of {_STEP}"
    return ""


@dataclass(frozen=True, slots=True)
class _Operator:
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    """Tensors by name, or by number as text; `constants` with their shapes."""

    operators: list[_Operator]
    outputs: dict[str, str]
    constants: dict[str, tuple[int, ...]]


def ending_of(model: bytes, file_format: Format, output: str) -> Ending:
    """How the network of a file ends at the output called `output`. What can't be read says nothing of it."""
    try:
        graph = _onnx_graph(model) if file_format == "onnx" else _tflite_graph(model)
        return Ending(output) if graph is None else _walked(graph, output)
    except Exception:  # a damaged file raises whatever its offsets lead to; its runtime has a word for it
        return Ending(output)


def _walked(graph: _Graph, output: str) -> Ending:
    made = {name: operator for operator in graph.operators for name in operator.outputs}
    softmax = False
    at = graph.outputs.get(output, output)
    while at in made:
        operator = made[at]
        computed = [name for name in operator.inputs if name in made and not _is_constant(name, graph, made)]
        if operator.kind in _PRODUCTS and len(operator.inputs) > 1:
            constants = [shape for name in operator.inputs[1:] if len(shape := _constant_shape(name, graph, made)) > 1]
            if not constants or operator.kind == "DEPTHWISE_CONV_2D":
                break
            sides = [side for side in constants[0] if side > 1] or [1]
            outside = _outputs_of(operator.kind, constants[0])
            inside = 1
            for side in sides:
                inside *= side
            return Ending(output, softmax, operator.inputs[0], max(1, inside // max(1, outside)))
        softmax = softmax or operator.kind in _SOFTMAX
        passes = operator.kind in _PASSES_ON or operator.kind in _SOFTMAX
        if not computed or not (passes or (operator.kind in _SUMS and len(computed) == 1)):
            break
        at = computed[0]
    return Ending(output, softmax)


def _outputs_of(kind: str, shape: tuple[int, ...]) -> int:
    """How many outputs a weight of this shape has. Of a Gemm's two sides it isn't known which; the smaller serves as well."""
    return shape[0] if kind in ("Conv", "FULLY_CONNECTED", "CONV_2D") else min(shape) if kind == "Gemm" else shape[-1]


def _is_constant(name: str, graph: _Graph, made: dict[str, _Operator]) -> bool:
    return bool(_constant_shape(name, graph, made)) or (name in made and made[name].kind == "Constant")


def _constant_shape(name: str, graph: _Graph, made: dict[str, _Operator]) -> tuple[int, ...]:
    """The shape of a constant, also behind the operators that decompress it; () of what is computed, or is one number."""
    while name not in graph.constants:
        operator = made.get(name)
        if operator is None or operator.kind not in ("DequantizeLinear", "DEQUANTIZE", "Cast", "Identity", "Transpose"):
            return ()
        name = operator.inputs[0]
    return graph.constants[name]


def _tflite_graph(model: bytes) -> _Graph | None:
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:  # tflite-runtime has no schema: counts that are known say it
        return None
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    parsed = schema.Model.GetRootAsModel(model, 0)
    graph: Any = parsed.Subgraphs(0)
    constants, operators = {}, []
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = parsed.Buffers(tensor.Buffer())
        if buffer.DataLength() or buffer.Offset() > 1:
            constants[str(index)] = tuple(int(tensor.Shape(side)) for side in range(tensor.ShapeLength()))
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = parsed.OperatorCodes(operator.OpcodeIndex())
        kind = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")
        inputs = tuple(str(operator.Inputs(place)) for place in range(operator.InputsLength()))
        outputs = tuple(str(operator.Outputs(place)) for place in range(operator.OutputsLength()))
        operators.append(_Operator(kind, inputs, outputs))
    numbers = [int(graph.Outputs(place)) for place in range(graph.OutputsLength())]
    named = {(graph.Tensors(number).Name() or b"").decode(errors="replace"): str(number) for number in numbers}
    return _Graph(operators, named, constants)


def _onnx_graph(model: bytes) -> _Graph:
    """As far as this question needs it.

    Field numbers are those of onnx.proto: ModelProto.graph is 7; GraphProto.node 1, initializer 5; NodeProto.input 1, output 2,
    op_type 4, attribute 5; AttributeProto.t 5; TensorProto.dims 1 and name 8.
    """
    operators, constants = [], {}
    whole = memoryview(model)
    for number, part in (field for _, body in fields(whole, 7) for field in fields(body, 1, 5)):
        if number == 5:
            name, shape = _tensor(part)
            constants[name] = shape
            continue
        texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
        for inner, text in fields(part, 1, 2, 4):
            texts[inner].append(bytes(text).decode(errors="replace"))
        operators.append(_Operator(texts[4][0] if texts[4] else "", tuple(texts[1]), tuple(texts[2])))
        if operators[-1].kind == "Constant":
            for _, attribute in fields(part, 5):
                for _, tensor in fields(attribute, 5):
                    constants[texts[2][0]] = _tensor(tensor)[1]
    return _Graph(operators, {}, constants)


def _tensor(data: memoryview) -> tuple[str, tuple[int, ...]]:
    name, shape = "", []
    for number, value in fields(data, 1, 8):
        if number == 8:
            name = bytes(value).decode(errors="replace")
        elif isinstance(value, int):
            shape.append(value)
        else:  # packed
            at = 0
            while at < len(value):
                side, at = varint(value, at)
                shape.append(side)
    return name, tuple(shape)
