"""The network of "shelfmatch-detect": the CNN encoder's blocks, thinned, then a light pyramid of three levels and a head on each.

Photos (N, 3, S, S), -1 to 1, S a multiple of 32 → for strides 8, 16 and 32 a map (N, 6, S/stride, S/stride): product logit, gap
logit, and the distances from the cell's centre to the left, upper, right and lower edge in strides, before softplus. ReLU6 and
batch norm throughout, as in `networks`; depthwise 5x5 filters in neck and head (Yu et al. 2021, "PicoDet", arXiv:2111.00902).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.models import halves
from shelfmatch.models.networks import MEAN, Unit

SIDE: Final = 320
STRIDES: Final = (8, 16, 32)
STEM: Final = 16
"""Of the CNN's 32 first filters."""
INNER: Final = {1: 32, 3: 64, 4: 64, 5: 64, 6: 96, 7: 96, 8: 96, 10: 128, 11: 112, 12: 112, 13: 160, 14: 192}
"""Block of the CNN and how many of its inner channels are kept, sixteens of them: XNNPACK's int8 kernels compute sixteen at once.
Of the first block only the filter is left (its last layer and the next block's first are one matrix), the second gives what the
third gave, and the blocks 9, 15 and 16 are left out."""
PLAN: Final = {
    1: (16, 24, 2), 3: (24, 32, 2), 4: (32, 32, 1), 5: (32, 32, 1), 6: (32, 64, 2), 7: (64, 64, 1), 8: (64, 64, 1),
    10: (64, 96, 1), 11: (96, 96, 1), 12: (96, 96, 1), 13: (96, 160, 2), 14: (160, 160, 1),
}  # fmt: skip
"""Channels in and out, and stride, of each block, as in MobileNetV2."""
TAPS: Final = (5, 12, 14)
"""The blocks whose outputs have strides 8, 16 and 32."""
WIDTH: Final = 48
SCORES: Final = 2
_RARE: Final = 0.01
"""The score that all cells begin with (Lin et al. 2017, arXiv:1708.02002)."""


class Thin(nn.Module):  # type: ignore[misc,unused-ignore]
    """An inverted residual block with `middle` inner channels."""

    def __init__(self, inside: int, middle: int, outside: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Unit(inside, middle), Unit(middle, middle, 3, stride, groups=middle), Unit(middle, outside, active=False)
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

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, STEM, 3, 2)
        self.spread = Unit(STEM, STEM, 3, groups=STEM)
        self.blocks = nn.ModuleDict({
            str(number): Thin(PLAN[number][0], middle, *PLAN[number][1:]) for number, middle in INNER.items()
        })  # fmt: skip
        self.side = nn.ModuleList(Unit(PLAN[tap][1], WIDTH) for tap in TAPS)
        self.down = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in TAPS[:-1])
        self.up = nn.ModuleList(Separable(WIDTH, WIDTH) for _ in TAPS[:-1])
        self.shrink = nn.ModuleList(Filter(WIDTH, 2) for _ in TAPS[:-1])
        self.heads = nn.ModuleList(Head() for _ in TAPS)

    def frozen(self) -> list[nn.Module]:
        """What stays as the CNN has it: edges and colours. Nearly half of the time goes there."""
        return [self.stem, self.spread, *self.blocks["1"].layers[:2]]

    def early(self, x: Tensor) -> Tensor:
        """The frozen part: (N, 32, S/4, S/4)."""
        for part in self.frozen():
            x = part(x)
        return x

    def levels(self, x: Tensor) -> list[Tensor]:
        """The pyramid's three maps of what `early` gave, (N, WIDTH, S/stride, S/stride)."""
        levels: list[Tensor] = []
        x = self.blocks["1"].layers[2](x)
        for number in list(INNER)[1:]:
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


def begin(net: Any, block: Any, stem: Unit, pictures: Tensor) -> None:
    """Fill the backbone with the folded CNN encoder's `stem` and blocks (`block(number)`), thinned.

    Of each block the inner channels are kept that its output needs most, and the last layer is fitted again to give what it gave
    (least squares; He et al. 2017, arXiv:1707.06168).

    `pictures` (N, 3, S, S), -1 to 1. The layers' norms are filled so that the network computes this.
    """
    net.eval()
    with torch.no_grad():
        theirs = stem(pictures)
        spread, project = block(0).layers
        kept = _needed(spread(theirs), project.conv.weight, STEM)
        _fill(net.stem, stem.conv.weight[kept], stem.conv.bias[kept], pictures)
        ours = net.stem(pictures)
        _fill(net.spread, spread.conv.weight[kept], spread.conv.bias[kept], ours)
        ours, theirs = net.spread(ours), block(0)(theirs)
        widen, across, narrow = block(1).layers
        chosen = _needed(across(widen(theirs)), narrow.conv.weight, INNER[1])
        first, second, last = net.blocks["1"].layers
        _fill(first, *_fitted(ours, widen.conv(theirs)[:, chosen]), ours)
        ours = first(ours)
        _fill(second, across.conv.weight[chosen], across.conv.bias[chosen], ours)
        ours, theirs = second(ours), block(2)(block(1)(theirs))
        _fill(last, *_fitted(ours, theirs), ours)
        ours = last(ours)
        _say(1, ours, theirs)
        for number in list(INNER)[1:]:
            wanted, thin = block(number)(theirs), net.blocks[str(number)]
            _thinned(block(number), thin, ours, wanted)
            theirs, ours = wanted, thin(ours)
            _say(number, ours, wanted)


def _say(number: int, ours: Tensor, wanted: Tensor) -> None:
    lost = float((ours - wanted).square().mean() / wanted.var())
    print(f"block {number}: {lost:.3f} of the variance lost", flush=True)


def _needed(inner: Tensor, weight: Tensor, count: int) -> Tensor:
    """The `count` of the channels with the greatest part in what `weight` makes of them."""
    part = inner.transpose(0, 1).flatten(1).std(dim=1) * weight.flatten(1).norm(dim=0)
    return part.topk(count).indices.sort().values


def _fitted(x: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """The 1x1 layer that makes of maps `x` what is nearest to `goal`: weight and bias."""
    rows = x.transpose(0, 1).flatten(1).T.double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    square = rows.T @ rows
    ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(square), dtype=rows.dtype)
    found = torch.linalg.solve(square + ridge, rows.T @ goal.transpose(0, 1).flatten(1).T.double()).float()
    return found[:-1].T[:, :, None, None], found[-1]


def _fill(unit: Unit, weight: Tensor, bias: Tensor, x: Tensor) -> None:
    """Folded weights into a unit with a norm, whose statistics become those of `x`."""
    unit.conv.weight.copy_(weight)
    before, active = unit.norm, unit.active
    unit.norm, unit.active = nn.Identity(), False
    y = unit(x)
    unit.norm, unit.active = before, active
    mean, variance = y.mean(dim=(0, 2, 3)), y.var(dim=(0, 2, 3)).clamp(min=1e-4)
    unit.norm.running_mean.copy_(mean)
    unit.norm.running_var.copy_(variance)
    unit.norm.weight.copy_((variance + unit.norm.eps).sqrt())
    unit.norm.bias.copy_(mean + bias)


def _thinned(block: Any, thin: Thin, x: Tensor, wanted: Tensor) -> None:
    """Fill one block; its last layer is the one that comes nearest to `wanted` from `x`."""
    widen, across, narrow = block.layers
    # What the block itself would see of these maps tells which of its channels matter.
    chosen = _needed(across(widen(x)), narrow.conv.weight, thin.layers[1].conv.weight.shape[0])
    inner = x
    for layer, ours in zip((widen, across), thin.layers[:2], strict=True):
        _fill(ours, layer.conv.weight[chosen], layer.conv.bias[chosen], inner)
        inner = ours(inner)
    _fill(thin.layers[2], *_fitted(inner, wanted - x if thin.residual else wanted), inner)


def _fold(modules: Any) -> None:
    for module in modules:
        if isinstance(module, (Unit, Filter)) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()


def folded_backbone(net: Any) -> None:
    """Fold the backbone's norms into its convolutions, in place: it is trained without them, which takes half the time."""
    net.eval()
    for part in (net.stem, net.spread, net.blocks):
        _fold(part.modules())


def weights_of(path: Path) -> dict[str, Tensor]:
    """The running mean of the weights: of a state that `train_detector` kept, or of the file that `halves` wrote."""
    if path.suffix == ".npz":
        return halves.read(path)
    state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["mean"]
    return state


def mean_of(runs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several runs' weights; runs that went on from one lie in one valley (Wortsman et al. 2022, arXiv:2203.05482)."""
    return {
        name: torch.stack([run[name] for run in runs]).mean(dim=0) if value.is_floating_point() else value
        for name, value in runs[0].items()
    }


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
