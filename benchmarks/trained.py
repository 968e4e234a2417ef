"""A trained float network where no hub can be reached: Coral's quantized MobileNetV2, dequantized into timm's.

The numbers are those that were trained, rounded to 8 bits a channel: real weights, real ranges, real features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _load_folded(net: Any, weights: list[Any]) -> None:
    """Put convolutions into a network of the same kind, whose batch norms become their biases."""
    import torch

    modules = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.BatchNorm2d)]
    left = list(weights)
    with torch.no_grad():
        for place, module in enumerate(modules):
            if not isinstance(module, torch.nn.Conv2d):
                continue
            weight, bias = left.pop(0)
            if module.weight.shape != weight.shape:
                raise ValueError(
                    f"a convolution of {tuple(weight.shape)} arrived; expected {tuple(module.weight.shape)}"
                )
            module.weight.copy_(weight)
            if module.bias is not None:
                module.bias.copy_(bias)
                continue
            norm = modules[place + 1]
            norm.weight.fill_(1.0)
            norm.bias.copy_(bias)
            norm.running_mean.fill_(0.0)
            norm.running_var.fill_(1.0 - norm.eps)


def mobilenet_v2(path: Path) -> Any:
    """Coral's trained MobileNetV2 as timm's mobilenetv2_100 with TensorFlow's padding and its mean and std of 127.5."""
    from shelfmatch.export.tools import need_timm
    from shelfmatch.models.pretrained import read_convolutions

    net = need_timm().create_model("mobilenetv2_100", pretrained=False, num_classes=0, pad_type="same")
    _load_folded(net, read_convolutions(path))
    net.pretrained_cfg = {**net.pretrained_cfg, "mean": (0.5,) * 3, "std": (0.5,) * 3, "license": "apache-2.0"}
    return net.eval()
