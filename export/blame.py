"""Which operator a converter gets wrong: each kind alone, on the values that a photo gives it, by PyTorch and by the runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..edge.encoders.card import Format
from ..edge.imaging.image import Pixels
from .tools import need, quiet

_TRIED = 24
"""Each is a conversion of its own, of about a second."""
_OFTEN = (
    "upsample",
    "interpolate",
    "grid_sampl",
    "pool",
    "pad",
    "roll",
    "index",
    "unfold",
    "as_strided",
    "gelu",
    "softmax",
)
_NEVER = (
    "conv",
    "linear",
    "batch_norm",
    "add",
    "mul",
    "relu",
    "view",
    "reshape",
    "permute",
    "transpose",
    "cat",
    "getitem",
)
"""Tried last: a converter that got these wrong would convert nothing."""
_WRONG = 1e-3
"""Relative to the largest value."""


def faulty_operator(device: Any, file_format: Format, pixels: Pixels) -> str:
    """In words, with its shapes; "" where each operator alone is right. `device` takes (1, H, W, 3) float pixels; `pixels` is one
    photo, (H, W, 3)."""
    torch = need("torch", "looking for the operator")
    photo = torch.from_numpy(np.ascontiguousarray(pixels)[np.newaxis].astype(np.float32))
    with quiet("looking for the operator"), torch.no_grad():
        calls = _calls(torch, device, photo)
    for target, arguments, names in calls[:_TRIED]:
        try:
            with quiet("converting an operator"):
                wrong = _is_wrong(torch, file_format, target, arguments, names)
        except Exception:  # one that can't be converted alone is not what was converted wrongly
            continue
        if wrong is not None:
            inside = " and ".join("x".join(map(str, one.shape)) for one in arguments if torch.is_tensor(one))
            return f"{target.__name__ if hasattr(target, '__name__') else target} of {inside} → {wrong}"
    return ""


def _calls(torch: Any, device: Any, photo: Any) -> list[tuple[Any, Sequence[Any], dict[str, Any]]]:
    """Each kind of operator call once, with its arguments: likely culprits first."""
    program = torch.export.export(device.eval(), (photo,))
    found: dict[str, tuple[Any, Sequence[Any], dict[str, Any]]] = {}

    class Listener(torch.fx.Interpreter):  # type: ignore[misc,name-defined,unused-ignore]
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            shapes = [tuple(one.shape) if torch.is_tensor(one) else repr(one) for one in args]
            if any(torch.is_tensor(one) for one in args):
                found.setdefault(f"{target} {shapes} {kwargs}", (target, args, kwargs))
            return super().call_function(target, args, kwargs)

    Listener(program.module()).run(photo)

    def rank(call: tuple[Any, Sequence[Any], dict[str, Any]]) -> int:
        name = str(call[0])
        return 0 if any(part in name for part in _OFTEN) else 2 if any(part in name for part in _NEVER) else 1

    return sorted(found.values(), key=rank)


def _is_wrong(
    torch: Any, file_format: Format, target: Any, arguments: Sequence[Any], names: dict[str, Any]
) -> str | None:
    """The shape of the result, where the runtime gives other numbers than PyTorch; None where it gives the same."""
    places = [place for place, one in enumerate(arguments) if torch.is_tensor(one)]

    class Alone(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def forward(self, *tensors: Any) -> Any:
            full = list(arguments)
            for place, tensor in zip(places, tensors, strict=True):
                full[place] = tensor
            return target(*full, **names)

    inputs = tuple(arguments[place].detach().clone() for place in places)
    expected = Alone()(*inputs)
    if not torch.is_tensor(expected) or not expected.is_floating_point():
        return None
    made = _computed(torch, file_format, Alone().eval(), inputs).reshape(tuple(expected.shape))
    difference = float(np.abs(made - expected.detach().numpy()).max())
    shape = "x".join(map(str, expected.shape))
    return shape if difference > _WRONG * max(1e-6, float(expected.abs().max())) else None


def _computed(torch: Any, file_format: Format, module: Any, inputs: tuple[Any, ...]) -> NDArray[np.float32]:
    values = [one.numpy() for one in inputs]
    if file_format == "onnx":
        onnxruntime = need("onnxruntime", "looking for the operator")
        program = torch.onnx.export(module, inputs, dynamo=True, opset_version=20, verbose=False)
        session = onnxruntime.InferenceSession(
            program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        entries = [entry.name for entry in session.get_inputs()]
        return np.asarray(session.run(None, dict(zip(entries, values, strict=True)))[0], np.float32)
    litert_torch = need("litert_torch", "looking for the operator")
    interpreter_of = need("ai_edge_litert.interpreter", "looking for the operator").Interpreter
    with tempfile.TemporaryDirectory(prefix="shelfmatch-operator-") as folder:
        path = Path(folder) / "operator.tflite"
        litert_torch.convert(module, inputs).export(str(path))
        interpreter = interpreter_of(model_content=path.read_bytes())
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), np.float32)
