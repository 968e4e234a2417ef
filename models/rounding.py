"""int8 in the loop: a folded network that computes in training as its device file will, so that it learns to bear the rounding.

What a layer reads, what it writes where no activation follows, the weights, and the two maps inside of attention are brought to
the 256 steps of an int8 file and go on as floats (Jacob et al. 2018, arXiv:1712.05877): weights with a scale for each channel that
is written, maps with one for all, from the running mean of their least and largest values. Gradients pass as if nothing were
rounded, but not to what lies outside of the range. It rounds a little more than the file will: what the exporter makes up for in
biases, and by choosing which way a weight is rounded, comes afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.models.networks import Attention, Unit

STEPS: Final = 255
"""Of a map: from the least value to the largest."""
LARGEST: Final = 127
"""Of a weight: exporters use -127 to 127, so that zero is in the middle."""
DECAY: Final = 0.98
"""Of the running ranges: some fifty batches, so that no one odd picture sets them."""


def rounded_weight(weight: Tensor) -> Tensor:
    """Weights (channels written, …) in steps of a 127th of each channel's largest."""
    axes = tuple(range(1, weight.ndim))
    scale = weight.detach().abs().amax(dim=axes, keepdim=True).clamp(min=1e-9) / LARGEST
    return weight + ((weight / scale).round() * scale - weight).detach()


class Range:
    """Rounds one map, and keeps its running range: `ends`, the least value and the largest."""

    def __init__(self) -> None:
        self.ends, self.seen = torch.zeros(2), 0

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            least, largest = torch.aminmax(x.detach())
            # Zero has a step of its own in every file: what is padded is exact.
            now = torch.stack([least.float().clamp(max=0), largest.float().clamp(min=0)])
            self.ends = self.ends.to(x.device).lerp(now, 1 - min(DECAY, self.seen / (self.seen + 1)))
        self.seen += 1
        scale = ((self.ends[1] - self.ends[0]) / STEPS).clamp(min=1e-9)
        zero = (-self.ends[0] / scale).round().int()
        found: Tensor = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, STEPS).to(x.dtype)
        return found


def round_in(parts: Iterable[nn.Module]) -> None:
    """From now on these parts of a folded network round; their weights, and the names of their state, stay as they are."""
    for part in parts:
        for module in part.modules():
            _round_in(module)


def _round_in(module: Any) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.forward = partial(_layer, module, Range())
    writers = [module] if isinstance(module, nn.Linear) or (isinstance(module, Unit) and not module.active) else []
    if isinstance(module, Attention):
        writers = [module.likeness, module.shares]
    for writer in writers:
        written = Range()
        writer.register_forward_hook(lambda _module, _inputs, output, written=written: written(output))


def _layer(module: Any, read: Range, x: Tensor) -> Tensor:
    """A convolution or a product of rounded weights and a rounded map."""
    x, weight = read(x), rounded_weight(module.weight)
    if isinstance(module, nn.Linear):
        return functional.linear(x, weight, module.bias)
    found: Tensor = module._conv_forward(x, weight, module.bias)
    return found
