"""Small .onnx files as other tools leave them: old, half precise, split in two, of free sides, in training mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, WIDTH = 32, 24


def convolution(
    *,
    opset: int = 17,
    training: bool = False,
    half: bool = False,
    batch: int | str = 1,
    sides: tuple[int | str, int | str] = (SIDE, SIDE),
    classes: int = 0,
    tokens: bool = False,
    rows_a_head: int = 0,
) -> Any:
    """(N, 3, H, W) → (N, 24) by a convolution, a batch normalization and a mean; with `classes` a linear layer behind, with
    `tokens` (N, 64, 24) before the mean, with `rows_a_head`, 12 or -1 for as many as come, attention of two heads between, whose
    reshapes fix the batch. A ModelProto of IR 8."""
    rng = np.random.default_rng(0)
    kind = np.float16 if half else np.float32

    def constant(name: str, values: Any) -> Any:
        return numpy_helper.from_array(np.asarray(values).astype(kind), name)

    constants = [
        constant("weight", rng.normal(0, 0.2, (WIDTH, 3, 4, 4))), constant("scale", rng.uniform(0.5, 2, WIDTH)),
        constant("bias", rng.normal(0, 1, WIDTH)), constant("mean", rng.normal(0, 1, WIDTH)),
        constant("var", rng.uniform(0.5, 3, WIDTH)),
    ]  # fmt: skip
    norm = helper.make_node(
        "BatchNormalization", ["conv", "scale", "bias", "mean", "var"],
        ["norm", "running_mean", "running_var"] if training else ["norm"], **({"training_mode": 1} if training else {}),
    )  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["photo", "weight"], ["conv"], strides=[4, 4]), norm,
        helper.make_node("Relu", ["norm"], ["relu"]),
    ]  # fmt: skip
    if rows_a_head:
        nodes += _attention(constants, int(batch), rows_a_head)
    if tokens:
        constants.append(numpy_helper.from_array(np.array([0, WIDTH, -1], np.int64), "to_tokens"))
        nodes += [
            helper.make_node("Reshape", ["relu", "to_tokens"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["last"], perm=[0, 2, 1]),
        ]
        shape: list[Any] = [batch, (SIDE // 4) ** 2, WIDTH]
    else:
        first = batch if isinstance(batch, int) else 0
        constants.append(numpy_helper.from_array(np.array([first, WIDTH], np.int64), "to_vector"))
        nodes += [
            helper.make_node("GlobalAveragePool", ["attended_map" if rows_a_head else "relu"], ["pool"]),
            helper.make_node("Reshape", ["pool", "to_vector"], ["last" if not classes else "vector"]),
        ]
        shape = [batch, classes or WIDTH]
    if classes:
        constants += [constant("head", rng.normal(0, 1, (classes, WIDTH))), constant("head_bias", np.zeros(classes))]
        nodes.append(helper.make_node("Gemm", ["vector", "head", "head_bias"], ["last"], transB=1))
    number = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "odd", [helper.make_tensor_value_info("photo", number, [batch, 3, *sides])],
        [helper.make_tensor_value_info("last", number, shape)], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def _attention(constants: list[Any], batch: int, rows_a_head: int) -> list[Any]:
    """The map (N, 24, 8, 8) "relu" as (2 N, 12, 64), compared with itself, and the result as a map again."""
    for name, shape in (("heads", (2 * batch, rows_a_head, 64)), ("joined", (batch, WIDTH, SIDE // 4, SIDE // 4))):
        constants.append(numpy_helper.from_array(np.array(shape, np.int64), f"to_{name}"))
    return [
        helper.make_node("Reshape", ["relu", "to_heads"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["heads", "keys"], ["alike"]),
        helper.make_node("Softmax", ["alike"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "heads"], ["attended"]),
        helper.make_node("Reshape", ["attended", "to_joined"], ["attended_map"]),
    ]


def computed(model: Any, photos: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What ONNX Runtime says of (N, 3, H, W)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"photo": photos})[0])


def save(model: Any, path: Any, **settings: Any) -> str:
    """Written, and its name."""
    onnx.save(model, str(path), **settings)
    return str(path)
