"""LiteRT and its predecessor tflite-runtime: the same Interpreter from two packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EncoderError
from ..memory_short import is_short, out_of_memory
from .card import Quantization
from .session import TensorInfo

if TYPE_CHECKING:
    from .runtimes import Runtime


class LiteRtSession:
    """One interpreter. The model's bytes stay referenced: the interpreter reads them in place."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_tensor_info(detail) for detail in inputs)
        self.outputs = tuple(_tensor_info(detail) for detail in outputs)
        self._input_index = inputs[0]["index"] if inputs else -1
        self._output_index = {detail["name"]: detail["index"] for detail in outputs}

    def run(self, value: NDArray[Any], output_name: str) -> NDArray[Any]:
        """See Session.run."""
        return self.run_for(value, (output_name,))[0]

    def run_for(self, value: NDArray[Any], output_names: Sequence[str]) -> list[NDArray[Any]]:
        """See Session.run_for."""
        try:
            self._interpreter.set_tensor(self._input_index, value)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(self._output_index[name]) for name in output_names]
        except (RuntimeError, ValueError) as error:
            if is_short(error):
                raise out_of_memory("the encoder was run") from error
            raise EncoderError(f"the network can't be run: {' '.join(str(error).split())[:200]}") from error


def _tensor_info(detail: Any) -> TensorInfo:
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    scales, zero_points = detail["quantization_parameters"]["scales"], detail["quantization_parameters"]["zero_points"]
    quantization = Quantization(float(scales[0]), int(zero_points[0])) if len(scales) == 1 else None
    return TensorInfo(detail["name"], tuple(int(n) for n in shape), np.dtype(detail["dtype"]).name, quantization)


def open_litert(runtime: Runtime, model: bytes, threads: int) -> LiteRtSession:
    """An interpreter on the model's bytes, XNNPACK included where the package has it."""
    if runtime.name == "litert":
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter
    interpreter = Interpreter(model_content=model, num_threads=threads)
    if runtime.name == "tflite-runtime":
        _refuse_what_comes_out_wrong(interpreter)
    return LiteRtSession(interpreter)


def _refuse_what_comes_out_wrong(interpreter: Any) -> None:
    """Raise EncoderError for products of floats and an int8 matrix of a scale a channel, as int8-dynamic files have.

    tflite-runtime 2.14, the last one, silently computes something else (cosine 0.00 to 0.39 to the right embedding).
    """
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    for operator in interpreter._get_ops_details():
        if operator["op_name"] != "FULLY_CONNECTED":
            continue
        values, weights = (tensors[index] for index in operator["inputs"][:2])
        scales = weights["quantization_parameters"]["scales"]
        if values["dtype"] is np.float32 and weights["dtype"] is np.int8 and len(scales) > 1:
            raise EncoderError(
                "tflite-runtime computes this encoder wrong: its int8 weights have a scale for each channel beside float "
                "activations (int8-dynamic); pip install 'shelfmatch[litert]', or export it with --recipe int8-static or fp16"
            )
