"""TFLite files of less precision, by ai-edge-quantizer."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import tflite_graph, tflite_rounding
from .errors import ExportError
from .rounding import Rounded
from .tools import need, quiet


class TfliteBench:
    """A float .tflite file and what its variants are made with. Ranges are calibrated once."""

    def __init__(self, model: bytes, calibration: NDArray[np.float32], *, takes_normalized: bool = False) -> None:
        self.model = model
        self.calibration = calibration
        self.takes_normalized = takes_normalized
        self.transformer = tflite_graph.is_transformer(model)
        self.layers = tflite_graph.layers(model)
        self._softmaxes = tflite_graph.softmaxes(model)
        self._ranges: Any = None
        self._rounding: dict[str, Rounded] | None = None

    def close(self) -> None:
        """Nothing on disk."""

    def fp32(self) -> bytes:
        """As it is, with uint8 pixels."""
        return self._finished(self.model)

    def fp16(self) -> bytes:
        """Weights of half the size, computed in float32."""
        quantizer, qtyping, _ = self._tools("fp16")
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        with quiet("ai-edge-quantizer's conversion to fp16"):
            tool = quantizer.Quantizer(self.model)
            for operation in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE"):
                tool.update_quantization_recipe(
                    ".*", qtyping.TFLOperationName(operation), config, quantizer.AlgorithmName.FLOAT_CASTING
                )
            return self._finished(self._made(tool, None))

    def static(self, keep_float: Collection[str] = (), only: Collection[str] | None = None) -> bytes:
        """Weights int8 per channel, activations int8 with ranges of the calibration photos. Both sets hold layer names."""
        quantizer, _, recipe = self._tools("int8-static")
        with quiet("ai-edge-quantizer's static quantization"):
            if self._ranges is None or self._rounding is None:
                self._ranges = self._calibrated(recipe.static_wi8_ai8())
                self._rounding = tflite_rounding.rounding(self.model, self.calibration)
            # A softmax in int8 has steps of a 256th, and ARM's kernels round it otherwise than x86's: in float both give the same.
            floats = [*self._floats(keep_float, only), *self._softmaxes]
            model = tflite_rounding.with_rounding(
                self.model, {name: found for name, found in self._rounding.items() if name not in floats}
            )
            tool = self._chosen(quantizer, model, recipe.static_wi8_ai8(), floats)
            self._leave_output_exact(tool, recipe.dynamic_wi8_afp32()[0], floats)
            made = self._made(tool, self._ranges)
            # Of a file that takes normalized floats, the layer that would come off is the network's own.
            return self._finished(made if self.takes_normalized else tflite_graph.without_normalization(made))

    def dynamic(self, keep_float: Collection[str] = (), only: Collection[str] | None = None) -> bytes:
        """Weights int8 per channel, activations quantized as they come."""
        quantizer, _, recipe = self._tools("int8-dynamic")
        with quiet("ai-edge-quantizer's dynamic quantization"):
            floats = self._floats(keep_float, only)
            tool = self._chosen(quantizer, self.model, recipe.dynamic_wi8_afp32(), floats)
            return self._finished(self._made(tool, None))

    def _calibrated(self, rules: list[Any]) -> Any:
        """Each tensor's smallest and largest value over the photos.

        The quantizer's own habit, a moving average of them, cuts off what the unusual photos need: the first encoder's lowest
        cosine was 0.935 with it.
        """
        calibrator = need("ai_edge_quantizer.calibrator", "calibrating a .tflite file")
        manager = need("ai_edge_quantizer.recipe_manager", "calibrating a .tflite file").RecipeManager()
        manager.load_quantization_recipe(rules)
        tool = calibrator.Calibrator(
            self.model, num_threads=1, mode=calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
            qsv_update_func=_widened,
        )  # fmt: skip
        (signature, name), *_ = self._signatures()
        tool.calibrate({signature: [{name: photo[np.newaxis]} for photo in self.calibration]}, manager)
        return tool.get_model_qsvs()

    def _floats(self, keep_float: Collection[str], only: Collection[str] | None) -> list[str]:
        """The operators, by output, that aren't quantized: all but those of the layers `only`, or of those kept in float."""
        layers = [name for name in self.layers if (only is not None and name not in only) or name in keep_float]
        return [member for layer in layers for member in self.layers[layer]]

    def _leave_output_exact(self, tool: Any, dynamic: dict[str, Any], floats: Collection[str]) -> None:
        """Let a last matrix product give floats: one scale for all numbers of an embedding was a third of what int8 cost.

        Its weights have one scale: tflite-runtime 2.14 computes such a product of a float and an int8 matrix, and silently
        something else where each channel has its own.
        """
        qtyping = need("ai_edge_quantizer.qtyping", "the recipe int8-static")
        last = tflite_graph.last_operator(self.model)
        if last is None or last[0] != "FULLY_CONNECTED" or last[1] in floats:
            return
        settings = dynamic["op_config"]
        weights = {**settings["weight_tensor_config"], "granularity": qtyping.QuantGranularity.TENSORWISE}
        config = qtyping.OpQuantizationConfig.from_dict({**settings, "weight_tensor_config": weights})
        product, output = qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.OUTPUT
        tool.update_quantization_recipe(f"^{re.escape(last[1])};?$", product, config, dynamic["algorithm_key"])
        tool.update_quantization_recipe(".*", output, algorithm_key="no_quantize")

    def _chosen(self, quantizer: Any, model: bytes, rules: list[Any], floats: list[str]) -> Any:
        """A quantizer of all operators but these."""
        tool = quantizer.Quantizer(model, rules)
        # A scope is an operator's output names, each with a semicolon; many names go into few expressions.
        for start in range(0, len(floats), 100):
            part = "|".join(re.escape(name) for name in floats[start : start + 100])
            tool.update_quantization_recipe(f"^(?:{part});?$", "*", algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE)
        return tool

    def _made(self, tool: Any, ranges: Any) -> bytes:
        made = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model
        if made is None:
            raise ExportError("ai-edge-quantizer made no file")
        return bytes(made)

    def _finished(self, model: bytes) -> bytes:
        return model if self.takes_normalized else tflite_graph.with_uint8_input(model)

    def _signatures(self) -> list[tuple[str, str]]:
        from ai_edge_litert.interpreter import Interpreter

        listed = Interpreter(model_content=self.model).get_signature_list()
        return [(key, tensors["inputs"][0]) for key, tensors in listed.items()]

    def _tools(self, step: str) -> tuple[Any, Any, Any]:
        with quiet("importing ai-edge-quantizer"):
            quantizer = need("ai_edge_quantizer.quantizer", f"the recipe {step}")
            return (
                quantizer,
                need("ai_edge_quantizer.qtyping", f"the recipe {step}"),
                need("ai_edge_quantizer.recipe", f"the recipe {step}"),
            )


def _widened(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A range that holds both."""
    if not known:
        return new
    return {**new, "min": np.minimum(known["min"], new["min"]), "max": np.maximum(known["max"], new["max"])}
