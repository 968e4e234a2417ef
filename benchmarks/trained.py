"""Trained float networks where no hub can be reached: a quantized .tflite dequantized into PyTorch modules of its kind.

The numbers are those that were trained, rounded to 8 bits a channel: real weights, real ranges, real features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TRANSPOSED = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
"""TFLite keeps OHWI and 1HWO, PyTorch OIHW."""


def convolutions(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(weight, bias) of the convolutions of a .tflite file in the order they are computed, in PyTorch's layout."""
    from shelfmatch.export import tflite_graph

    model = tflite_graph.parse(path.read_bytes())
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        name = tflite_graph.operator_name(model, operator)
        if name in _TRANSPOSED:
            weight, bias = (_real(model, graph.tensors[int(index)]) for index in operator.inputs[1:3])
            found.append((np.ascontiguousarray(weight.transpose(_TRANSPOSED[name])), bias))
    return found


def _real(model: Any, tensor: Any) -> NDArray[np.float32]:
    """A constant tensor's stored numbers as real ones."""
    stored = {0: np.float32, 2: np.int32, 3: np.uint8, 9: np.int8}[tensor.type]
    values = (
        np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(stored).reshape(tensor.shape).astype(np.float64)
    )
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return values.astype(np.float32)
    scale, zero = np.asarray(quantization.scale), np.asarray(quantization.zeroPoint)
    shape = [1] * values.ndim
    if len(scale) > 1:
        shape[int(quantization.quantizedDimension)] = len(scale)
    return ((values - zero.reshape(shape)) * scale.reshape(shape)).astype(np.float32)


def load_folded(net: Any, weights: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> None:
    """Put convolutions into a network of the same kind, whose batch norms become their biases."""
    import torch

    modules = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.BatchNorm2d)]
    left = list(weights)
    with torch.no_grad():
        for place, module in enumerate(modules):
            if not isinstance(module, torch.nn.Conv2d):
                continue
            weight, bias = left.pop(0)
            if tuple(module.weight.shape) != weight.shape:
                raise ValueError(f"a convolution of {weight.shape} arrived; expected {tuple(module.weight.shape)}")
            module.weight.copy_(torch.from_numpy(weight))
            if module.bias is not None:
                module.bias.copy_(torch.from_numpy(bias))
                continue
            norm = modules[place + 1]
            norm.weight.fill_(1.0)
            norm.bias.copy_(torch.from_numpy(bias))
            norm.running_mean.fill_(0.0)
            norm.running_var.fill_(1.0 - norm.eps)


def mobilenet_v2(path: Path) -> Any:
    """Coral's trained MobileNetV2 as timm's mobilenetv2_100 with TensorFlow's padding and its mean and std of 127.5."""
    from shelfmatch.export.tools import need_timm

    net = need_timm().create_model("mobilenetv2_100", pretrained=False, num_classes=0, pad_type="same")
    load_folded(net, convolutions(path))
    net.pretrained_cfg = {**net.pretrained_cfg, "mean": (0.5,) * 3, "std": (0.5,) * 3, "license": "apache-2.0"}
    return net.eval()


def first_cnn(path: Path) -> Any:
    """The project's first encoder as the module it was trained as."""
    from shelfmatch.models.first_net import FirstNet

    net = FirstNet()
    load_folded(net, convolutions(path))
    return net.eval()
