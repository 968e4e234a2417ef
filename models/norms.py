"""Batch norms put back where a file holds them folded into its convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shelfmatch.models.networks import normalized


def restore_norms(net: Any, units: set[Any], pictures: Tensor) -> None:
    """Give the norms of `units`, filled with folded weights, the statistics that `pictures` (N, 3, side, side), 0 to
    255, leave in them,
    such that the network computes the same."""
    sums: dict[Any, list[Tensor]] = {}

    def record(unit: Any, inputs: tuple[Tensor], _: Tensor) -> None:
        x = inputs[0].transpose(0, 1).flatten(1).double()
        sums.setdefault(unit, []).append(torch.stack([x.mean(dim=1), x.square().mean(dim=1)]))

    handles = [unit.norm.register_forward_hook(lambda n, i, o, unit=unit: record(unit, i, o)) for unit in units]
    net.eval()
    run(net, pictures)
    for handle in handles:
        handle.remove()
    for unit, found in sums.items():
        mean, square = torch.stack(found).mean(dim=0)
        variance = (square - mean.square()).clamp(min=1e-4)
        norm: nn.BatchNorm2d = unit.norm
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        # The layer was w * x + b: (w * x - mean) / deviation * deviation + (mean + b) is the same.
        norm.bias.add_(mean.float())
        norm.weight.copy_((variance + norm.eps).sqrt())


def run(net: Any, pictures: Tensor) -> None:
    """All pictures through the network, some at a time."""
    for batch in pictures.split(32):
        net(normalized(batch))
