"""ONNX files of less precision, by onnxruntime.quantization."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import onnx_graph, onnx_rounding
from .errors import ExportError
from .rounding import Rounded
from .tools import need, quiet


class OnnxBench:
    """A float .onnx file (input: float32 pixels) and what its variants are made with. Ranges are calibrated once."""

    def __init__(self, model: bytes, calibration: Callable[[str], NDArray[np.float32]]) -> None:
        self.model = onnx_graph.named_nodes(model)
        self.input_name, layout = onnx_graph.pixel_input(self.model)
        self.calibration = calibration(layout)
        self.transformer = onnx_graph.is_transformer(model)
        self.layers = onnx_graph.layers(self.model)
        self._folder = tempfile.TemporaryDirectory(prefix="shelfmatch-quantize-")
        self._ranges = Path(self._folder.name) / "ranges.json"
        self._rounding: dict[str, Rounded] | None = None

    def close(self) -> None:
        """Remove the calibrated ranges."""
        self._folder.cleanup()

    def fp32(self) -> bytes:
        """As it is, with uint8 pixels."""
        return onnx_graph.with_uint8_input(self.model)

    def fp16(self) -> bytes:
        """Half the size; a CPU computes most of it in float32 all the same."""
        need("onnxruntime", "the recipe fp16")
        with quiet("onnxruntime's conversion to fp16"):
            from onnxruntime.transformers.float16 import convert_float_to_float16

            converted = convert_float_to_float16(onnx_graph.parse(self.fp32()), keep_io_types=True)
            data: bytes = converted.SerializeToString(deterministic=True)
        return data

    def static(self, keep_float: Collection[str] = (), only: Collection[str] | None = None) -> bytes:
        """Weights int8 per channel, activations uint8 with ranges of the calibration photos. Both sets hold layer names."""
        onnx, quantization = self._tools("int8-static")
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        if self._rounding is None:
            with quiet("measuring what rounding costs"):
                self._rounding = onnx_rounding.rounding(self.model, self.calibration)
        chosen = {*self._rounding} if only is None else {*self._nodes(only)}
        chosen -= {*self._nodes(keep_float)}
        rounding = {name: found for name, found in self._rounding.items() if name in chosen}
        model = onnx_rounding.with_rounding(self.model, rounding)
        with quiet("onnxruntime's static quantization"):
            quantization.quantize_static(
                onnx.load_model_from_string(model),
                str(self._target),
                calibration_data_reader=None
                if self._ranges.exists()
                else _reader(quantization, self.input_name, self.calibration),
                quant_format=quantization.QuantFormat.QDQ,
                # Sorted: the order decides the order of nodes in the file, and a set's differs from run to run.
                op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
                per_channel=True,
                reduce_range=True,  # where no other range is said
                extra_options={"TensorQuantOverrides": onnx_rounding.ranges(model, rounding)},
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_quantize=self._nodes(only) if only is not None else None,
                # A photo has one range for three colours: normalized per colour, it is better left in float.
                nodes_to_exclude=[*self._nodes(keep_float), "normalize_mul", "normalize_add"],
                calibration_cache_path=self._ranges,
            )
        return self._finished(only is None)

    def dynamic(self, keep_float: Collection[str] = (), only: Collection[str] | None = None) -> bytes:
        """Weights of matrix products int8 per channel, their activations quantized as they come."""
        onnx, quantization = self._tools("int8-dynamic")
        with quiet("onnxruntime's dynamic quantization"):
            quantization.quantize_dynamic(
                onnx.load_model_from_string(self.model),
                str(self._target),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=True,  # see `rounding`: older x86 processors saturate
                weight_type=quantization.QuantType.QInt8,
                nodes_to_quantize=self._nodes(only) if only is not None else None,
                nodes_to_exclude=self._nodes(keep_float),
            )
        return self._finished(only is None)

    @property
    def _target(self) -> Path:
        return Path(self._folder.name) / "quantized.onnx"

    def _finished(self, whole: bool) -> bytes:
        model = onnx_graph.stripped(onnx_graph.with_exact_output(self._target.read_bytes()))
        self._target.unlink()
        if whole and not onnx_graph.is_quantized(model):
            raise ExportError(
                "the network has no layer that this recipe quantizes: int8-dynamic in ONNX is for matrix products, and this "
                "network's weights are in convolutions; --recipe int8-static"
            )
        return onnx_graph.with_uint8_input(model)

    def _nodes(self, layers: Collection[str]) -> list[str]:
        return [node for layer in self.layers if layer in layers for node in self.layers[layer]]

    def _tools(self, recipe: str) -> tuple[Any, Any]:
        return need("onnx", f"the recipe {recipe}"), need("onnxruntime.quantization", f"the recipe {recipe}")


def _reader(quantization: Any, name: str, photos: NDArray[np.float32]) -> Any:
    """Photos one by one, as the calibrator wants them. Its base class is onnxruntime's, so the class is made here."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            self._left: Iterator[dict[str, Any]] = iter({name: row[np.newaxis]} for row in photos)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    return Reader()


def calibration_input(pixels: NDArray[np.uint8], layout: str) -> NDArray[np.float32]:
    """Photos as the float network takes them, each with a black and a white corner.

    The corners make the input's range 0 to 255 in every sample, so that its scale is 1 and pixels go in as they are.
    """
    photos = pixels.astype(np.float32)
    photos[:, 0, 0], photos[:, -1, -1] = 0, 255
    return np.ascontiguousarray(photos if layout == "NHWC" else photos.transpose(0, 3, 1, 2))
