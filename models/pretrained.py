"""Weights to begin with: the trained MobileNetV2 of Coral's test data, read back from its int8 TFLite file, or an encoder of ours.

`tf2_mobilenet_v2_1.0_224_ptq.tflite` (Apache-2.0, ImageNet) holds each convolution with its batch norm folded in, and so do the
fp32 files of our encoders. Here the norms are put back with the statistics that the training pictures give, so that the network
computes what the file computes and can be trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from shelfmatch.export import tflite_graph
from shelfmatch.models.networks import Unit
from shelfmatch.models.norms import restore_norms, run

FILE: Final = "tf2_mobilenet_v2_1.0_224_ptq.tflite"
_TRANSPOSED: Final = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
"""TFLite keeps OHWI and 1HWO, PyTorch OIHW."""


def read_convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Weights (out, in / groups, kernel, kernel) and biases (out,) of a .tflite file's convolutions, in the order they run."""
    model = tflite_graph.parse(path.read_bytes())
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        name = tflite_graph.operator_name(model, operator)
        if name in _TRANSPOSED:
            weight, bias = (
                tflite_graph.real_values(model, graph.tensors[int(index)]) for index in operator.inputs[1:3]
            )
            kernel = np.ascontiguousarray(weight.transpose(_TRANSPOSED[name]))
            found.append((torch.from_numpy(kernel), torch.from_numpy(bias)))
    return found


def _important(weights: Tensor, following: Tensor, count: int) -> Tensor:
    """The `count` of the head's channels that the classifier listens to most, in order."""
    return (following.flatten(1).norm(dim=0) * weights.flatten(1).norm(dim=1)).topk(count).indices.sort().values


def begin_with(net: Any, path: Path, pictures: Tensor) -> None:
    """Fill the stem, the blocks and, where there is one to fill, the head of `net` with the file's weights.

    `pictures`: (N, 3, side, side) with values 0 to 255, for the statistics; a few hundred will do. The embedding layer becomes
    the projection on the leading principal components of what it sees.
    """
    with torch.no_grad():
        _fill(net, path, pictures)


def go_on_with(net: Any, folded: Any, pictures: Tensor) -> None:
    """Fill all of `net` with the weights of `folded`, the same network with its norms folded (`networks.from_onnx`); `pictures` as
    for `begin_with`."""
    with torch.no_grad():
        theirs = [module for module in folded.modules() if isinstance(module, Unit)]
        units = [module for module in net.modules() if isinstance(module, Unit)]
        for unit, their in zip(units, theirs, strict=True):
            unit.conv.weight.copy_(their.conv.weight)
            unit.norm.weight.fill_(1.0)
            unit.norm.bias.copy_(their.conv.bias)
        net.embed.load_state_dict(folded.embed.state_dict())
        restore_norms(net, set(units), pictures)


def _fill(net: Any, path: Path, pictures: Tensor) -> None:
    convolutions = read_convolutions(path)
    units = [module for part in (net.stem, net.blocks) for module in part.modules() if isinstance(module, Unit)]
    if not hasattr(net, "transformer"):
        units.append(net.head)
        *rest, (weight, bias), (classifier, _) = convolutions
        kept = _important(weight, classifier, net.head.conv.out_channels)
        convolutions = [*rest, (weight[kept], bias[kept])]
    for unit, (weight, bias) in zip(units, convolutions, strict=False):
        if unit.conv.weight.shape != weight.shape:
            raise ValueError(
                f"{path.name} has a layer {tuple(weight.shape)}, the network {tuple(unit.conv.weight.shape)}"
            )
        unit.conv.weight.copy_(weight)
        unit.norm.weight.fill_(1.0)
        unit.norm.bias.copy_(bias)
    restore_norms(net, set(units), pictures)
    if not hasattr(net, "transformer"):
        _project(net, pictures)


def _project(net: Any, pictures: Tensor) -> None:
    seen: list[Tensor] = []
    handle = net.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    run(net, pictures)
    handle.remove()
    values = torch.cat(seen)
    mean = values.mean(dim=0)
    _, _, directions = torch.linalg.svd(values - mean, full_matrices=False)
    directions = directions[: net.embed.out_features]
    net.embed.weight[: len(directions)].copy_(directions)
    net.embed.bias.copy_(-(net.embed.weight @ mean))
