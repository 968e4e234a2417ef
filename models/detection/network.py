"""The network of "shelfmatch-detect": the CNN encoder's blocks, thinned, then a light pyramid of three levels and a head on each.

Photos (N, 3, S, S), -1 to 1, S a multiple of 32 → for strides 8, 16 and 32 a map (N, 6, S/stride, S/stride): product logit, gap
logit, and the distances from the cell's centre to the left, upper, right and lower edge in strides, before softplus. ReLU6 and
batch norm throughout, as in `networks`; depthwise 5x5 filters in neck and head (Yu et al. 2021, "PicoDet", arXiv:2111.00902).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.models.networks import MEAN, InvertedResidual, Unit

SIDE: Final = 320
STRIDES: Final = (8, 16, 32)
INNER: Final = {
    0: 16,
    1: 40,
    2: 48,
    3: 72,
    4: 72,
    5: 72,
    6: 96,
    7: 112,
    8: 112,
    10: 144,
    11: 144,
    12: 144,
    13: 192,
    14: 224,
}
"""Block of the CNN and how many of its inner channels are kept; the others (9, 15, 16) are left out."""
PLAN: Final = {
    0: (32, 16, 1), 1: (16, 24, 2), 2: (24, 24, 1), 3: (24, 32, 2), 4: (32, 32, 1), 5: (32, 32, 1), 6: (32, 64, 2), 7: (64, 64, 1),
    8: (64, 64, 1), 10: (64, 96, 1), 11: (96, 96, 1), 12: (96, 96, 1), 13: (96, 160, 2), 14: (160, 160, 1),
}  # fmt: skip
"""Channels in and out, and stride, of each block, as in MobileNetV2."""
TAPS: Final = (5, 12, 14)
"""The blocks whose outputs have strides 8, 16 and 32."""
FROZEN: Final = (0, 1)
"""Blocks, after the stem, that stay as they are: edges and colours."""
WIDTH: Final = 48
SCORES: Final = 2
_RARE: Final = 0.01
"""The score that all cells begin with (Lin et al. 2017, arXiv:1708.02002)."""


class Thin(nn.Module):  # type: ignore[misc,unused-ignore]
    """An inverted residual block with `middle` inner channels."""

    def __init__(self, inside: int, middle: int, outside: int, stride: int, widen: bool) -> None:
        super().__init__()
        first = [Unit(inside, middle)] if widen else []
        self.layers = nn.Sequential(
            *first, Unit(middle, middle, 3, stride, groups=middle), Unit(middle, outside, active=False)
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Separable(nn.Module):  # type: ignore[misc,unused-ignore]
    """Depthwise 5x5, then 1x1."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.filter = Filter(inside, stride)
        self.mix = Unit(inside, outside)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.mix(self.filter(x))
        return found


class Filter(nn.Module):  # type: ignore[misc,unused-ignore]
    """A depthwise 5x5 convolution with norm and ReLU6; `conv` and `norm` as in `Unit`, so that `fused` folds it alike."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 5, stride, 2, groups=channels, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(self.norm(self.conv(x)))


class Head(nn.Module):  # type: ignore[misc,unused-ignore]
    """Scores and distances of one level."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Separable(WIDTH, WIDTH)
        self.box = Separable(WIDTH, WIDTH)
        self.score = Separable(WIDTH, WIDTH)
        self.scores = nn.Conv2d(WIDTH, SCORES, 1)
        self.distances = nn.Conv2d(WIDTH, 4, 1)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.constant_(self.scores.bias, -math.log((1 - _RARE) / _RARE))
        nn.init.normal_(self.distances.weight, std=0.01)
        nn.init.constant_(self.distances.bias, 2.0)

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores' logits (N, 2, h, w) and distances (N, 4, h, w)."""
        x = self.shared(x)
        return self.scores(self.score(x)), self.distances(self.box(x))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.apart(x), dim=1)


class Detector(nn.Module):  # type: ignore[misc,unused-ignore]
    """Backbone, pyramid down and up (Liu et al. 2018, "PANet", arXiv:1803.01534), heads."""

    def __init__(self, stem: int = INNER[0]) -> None:
        super().__init__()
        self.stem = Unit(3, stem, 3, 2)
        self.blocks = nn.ModuleDict({
            str(number): Thin(stem if number == 0 else PLAN[number][0], middle, *PLAN[number][1:], number > 0)
            for number, middle in INNER.items()
        })  # fmt: skip
        self.side = nn.ModuleList(Unit(PLAN[tap][1], WIDTH) for tap in TAPS)
        self.down = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in TAPS[:-1])
        self.up = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in TAPS[:-1])
        self.shrink = nn.ModuleList(Filter(WIDTH, 2) for _ in TAPS[:-1])
        self.heads = nn.ModuleList(Head() for _ in TAPS)

    def early(self, x: Tensor) -> Tensor:
        """The frozen part: (N, 24, S/4, S/4)."""
        x = self.stem(x)
        for number in FROZEN:
            x = self.blocks[str(number)](x)
        return x

    def levels(self, x: Tensor) -> list[Tensor]:
        """The pyramid's three maps of what `early` gave, (N, WIDTH, S/stride, S/stride)."""
        levels: list[Tensor] = []
        for number in INNER:
            if number not in FROZEN:
                x = self.blocks[str(number)](x)
                if number in TAPS:
                    levels.append(self.side[len(levels)](x))
        for level in (1, 0):
            above = functional.interpolate(levels[level + 1], scale_factor=2, mode="nearest")
            levels[level] = self.down[level](levels[level] + above)
        for level in (1, 2):
            levels[level] = self.up[level - 1](levels[level] + self.shrink[level - 1](levels[level - 1]))
        return levels

    def late(self, x: Tensor) -> list[Tensor]:
        """The heads' maps of what `early` gave."""
        return [head(level) for head, level in zip(self.heads, self.levels(x), strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.late(self.early(x))


def begin(net: Any, folded: Any, pictures: Tensor) -> None:
    """Fill the backbone with the folded CNN encoder's blocks, thinned: of each block the inner channels that its output needs most
    are kept, and the last layer is fitted again to give what it gave (least squares; He et al. 2017, arXiv:1707.06168).

    `pictures` (N, 3, S, S), -1 to 1. The layers' norms are filled so that the network computes this.
    """
    with torch.no_grad():
        stem = folded.stem.conv
        kept = _needed(folded.blocks[0], functional.relu6(_run(folded.stem, pictures)), INNER[0], widen=False)
        _fill(net.stem, stem.weight[kept], stem.bias[kept], pictures)
        theirs, ours = folded.stem(pictures), net.stem(pictures)
        for number in INNER:
            block, thin = folded.blocks[number], net.blocks[str(number)]
            wanted = block(theirs)
            chosen = kept if number == 0 else _needed(block, theirs, INNER[number], widen=True)
            _thinned(block, thin, chosen, ours, wanted)
            theirs, ours = wanted, thin(ours)


def _fold(modules: Any) -> None:
    for module in modules:
        if isinstance(module, (Unit, Filter)) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()


def folded_backbone(net: Any) -> None:
    """Fold the backbone's norms into its convolutions, in place: it is trained without them, which takes half the time."""
    net.eval()
    for part in (net.stem, net.blocks):
        _fold(part.modules())


def weights_of(path: Path) -> dict[str, Tensor]:
    """The running mean of the weights: of a state that `train_detector` kept, or of the file that `source` wrote."""
    if path.suffix == ".npz":
        return {name: torch.from_numpy(np.asarray(value)).float() for name, value in np.load(path).items()}
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["mean"]
    return state


def write_source(weights: dict[str, Tensor], path: Path) -> None:
    """The weights in half precision: what training can begin with and device files are made from."""
    halves = {name: value.half() if value.abs().max() < 6e4 else value for name, value in weights.items()}
    np.savez_compressed(path, **{name: value.numpy() for name, value in halves.items() if "num_batches" not in name})


def ready(weights: dict[str, Tensor]) -> Any:
    """The network for use, all norms folded."""
    net: Any = Detector()
    folded_backbone(net)
    net.load_state_dict(weights, strict=False)
    _fold(net.modules())
    return net.eval()


class Device(nn.Module):  # type: ignore[misc,unused-ignore]
    """RGB pixels 0.0 to 255.0, NHWC or NCHW → six maps, channels last: the logits of each level, then the distances."""

    def __init__(self, net: Any, nhwc_input: bool) -> None:
        super().__init__()
        self.net, self.nhwc_input = net, nhwc_input
        self.register_buffer("scale", torch.full((3, 1, 1, 1), 1 / MEAN))
        self.register_buffer("shift", torch.full((3,), -1.0))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = pixels.permute(0, 3, 1, 2) if self.nhwc_input else pixels
        # A 1x1 depthwise convolution, as in the encoders' files: their tools take it away again.
        levels = self.net.levels(self.net.early(functional.conv2d(x, self.scale, self.shift, groups=3)))
        both = [head.apart(level) for head, level in zip(self.net.heads, levels, strict=True)]
        return [part[which].permute(0, 2, 3, 1) for which in (0, 1) for part in both]


def _run(unit: Any, x: Tensor) -> Tensor:
    found: Tensor = unit(x)
    return found


def _needed(block: InvertedResidual, x: Tensor, count: int, widen: bool) -> Tensor:
    """The `count` inner channels with the greatest part in the block's output."""
    inner = x
    for layer in block.layers[:-1]:
        inner = layer(inner)
    weight = block.layers[-1].conv.weight.flatten(1)
    part = inner.transpose(0, 1).flatten(1).std(dim=1) * weight.norm(dim=0)
    return part.topk(count).indices.sort().values


def _fill(unit: Unit, weight: Tensor, bias: Tensor, x: Tensor) -> None:
    """Folded weights into a unit with a norm, whose statistics become those of `x`."""
    unit.conv.weight.copy_(weight)
    before = unit.norm
    unit.norm = nn.Identity()
    active, unit.active = unit.active, False
    y = unit(x)
    unit.norm, unit.active = before, active
    mean, variance = y.mean(dim=(0, 2, 3)), y.var(dim=(0, 2, 3)).clamp(min=1e-4)
    unit.norm.running_mean.copy_(mean)
    unit.norm.running_var.copy_(variance)
    unit.norm.weight.copy_((variance + unit.norm.eps).sqrt())
    unit.norm.bias.copy_(mean + bias)


def _thinned(block: InvertedResidual, thin: Thin, chosen: Tensor, x: Tensor, wanted: Tensor) -> None:
    """Fill one block; its last layer is the one that comes nearest to `wanted` from `x`."""
    inner = x
    for layer, ours in zip(block.layers[:-1], thin.layers[:-1], strict=True):
        _fill(ours, layer.conv.weight[chosen], layer.conv.bias[chosen], inner)
        ours.eval()
        inner = ours(inner)
    target = wanted - x if thin.residual else wanted
    rows = inner.transpose(0, 1).flatten(1).T.double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    goal = target.transpose(0, 1).flatten(1).T.double()
    square = rows.T @ rows
    ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(square), dtype=rows.dtype)
    found = torch.linalg.solve(square + ridge, rows.T @ goal).float()
    _fill(thin.layers[-1], found[:-1].T[:, :, None, None], found[-1], inner)
    thin.layers[-1].eval()
    error = float((thin(x) - wanted).square().mean() / wanted.var())
    print(f"block {thin.layers[-1].conv.weight.shape[1]} inner channels, {error:.3f} of the variance lost", flush=True)
