"""Training with the rounding of int8 files in the loop, so that the weights settle where rounding costs little.

Weights are rounded per output channel and activations per tensor, as static int8 does it (Jacob et al. 2018, arXiv:1712.05877);
gradients pass as if there were no rounding (Bengio et al. 2013, the straight-through estimator). Batch norm scales whole
channels, so rounding before it is folded and after it is the same for weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from shelfmatch.models.networks import InvertedResidual, Unit

_MOMENTUM: Final = 0.05
"""How fast the ranges follow the batches."""


class Rounding:
    """Rounds what the modules of `net` give, from now on; `weights()` does the same to its weights for a while."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.ranges: dict[str, Tensor] = {}
        """By module name: lowest and highest value, (2,)."""
        for name, module in net.named_modules():
            added = isinstance(module, InvertedResidual) and module.residual
            if isinstance(module, (Unit, nn.Linear)) or added:
                module.register_forward_hook(partial(self._round, name))

    def _round(self, name: str, module: Any, inputs: Any, output: Tensor) -> Tensor:
        seen = torch.stack(output.detach().float().aminmax())
        if name in self.ranges:
            seen = self.ranges[name].lerp(seen, _MOMENTUM)
        # Zero must be a whole number of steps: padding is zero.
        low, high = seen[0].clamp(max=0.0), seen[1].clamp(min=1e-4)
        self.ranges[name] = torch.stack([low, high])
        scale = float((high - low) / 255)
        zero_point = round(float(-low) / scale)
        rounded = torch.fake_quantize_per_tensor_affine(output.float(), scale, zero_point, 0, 255)
        return rounded.to(output.dtype)

    @contextlib.contextmanager
    def weights(self) -> Iterator[None]:
        """Within, the weights are rounded; afterwards they are what they were, and keep the gradients."""
        kept = []
        with torch.no_grad():
            for module in self.net.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    weight = module.weight
                    kept.append((weight, weight.detach().clone()))
                    scale = weight.flatten(1).abs().amax(dim=1).clamp(min=1e-8) / 127
                    shape = [-1] + [1] * (weight.ndim - 1)
                    weight.copy_((weight / scale.view(shape)).round() * scale.view(shape))
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, exact in kept:
                    weight.copy_(exact)
