"""ONNX Runtime, set up for small boards: no spinning threads, no chatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..errors import EncoderError
from ..memory_short import is_short, out_of_memory
from .onnx_wire import refuse_weights_elsewhere
from .session import TensorInfo

if TYPE_CHECKING:
    from .runtimes import Runtime

_DTYPES = {"tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(float)": "float32"}
_FATAL_ONLY = 4
"""Errors come as exceptions; the log would repeat them on stderr."""


class OrtSession:
    """One inference session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_tensor_info(node) for node in session.get_inputs())
        self.outputs = tuple(_tensor_info(node) for node in session.get_outputs())

    def run(self, value: NDArray[Any], output_name: str) -> NDArray[Any]:
        """See Session.run."""
        return self.run_for(value, (output_name,))[0]

    def run_for(self, value: NDArray[Any], output_names: Sequence[str]) -> list[NDArray[Any]]:
        """See Session.run_for."""
        try:
            result: list[NDArray[Any]] = self._session.run(list(output_names), {self.inputs[0].name: value})
        except Exception as error:  # onnxruntime's classes share no base but Exception
            if is_short(error):
                raise out_of_memory("the encoder was run") from error
            raise EncoderError(f"onnx can't run the network: {' '.join(str(error).split())[:200]}") from error
        return result


def _tensor_info(node: Any) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorInfo(node.name, shape, _DTYPES.get(node.type, node.type))


def open_ort(runtime: Runtime, model: bytes, threads: int) -> OrtSession:
    """A CPU session on the model's bytes. Raises EncoderError where they aren't all of the network."""
    import onnxruntime

    refuse_weights_elsewhere(model, "the .onnx file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    # Spinning threads starve the neighbours on a small board and win nothing between photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        # It makes int8 of the layers that a file of mixed precision keeps in float because int8 hurts them.
        disabled_optimizers=["WeightBiasQuantization"],
        enable_fallback=0,  # falling back would try the same again, and say so on stdout
    )
    return OrtSession(session)
