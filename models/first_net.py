"""The network behind "shelfmatch-first-cnn": an inverted-residual CNN of under a million parameters for 96x96 photos.

ReLU6 and batch norm throughout, no squeeze-excitation, no hard-swish: all of it quantizes to int8 and has fast int8 kernels
(Sandler et al. 2018, "MobileNetV2").
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

INPUT_SIDE: Final = 96
EMBEDDING_DIM: Final = 256
_STAGES: Final = (
    (1, 16, 1, 1, 3),
    (4, 24, 2, 2, 3),
    (4, 32, 3, 2, 3),
    (4, 64, 3, 2, 3),
    (4, 96, 2, 1, 3),
    (5, 160, 2, 2, 3),
)
"""Expansion, channels, blocks, first stride, kernel."""
_HEAD: Final = 512


def _unit(inside: int, outside: int, kernel: int, stride: int, groups: int = 1, active: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if active else nn.Sequential(*layers)


class Block(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """An inverted residual: widen, filter each channel, project back; added to its input where the shapes agree."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        middle = inside * expansion
        widen = [] if expansion == 1 else [_unit(inside, middle, 1, 1)]
        self.layers = nn.Sequential(
            *widen, _unit(middle, middle, kernel, stride, groups=middle), _unit(middle, outside, 1, 1, active=False)
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class FirstNet(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """Photos (N, 3, 96, 96) with values 0 to 255 → embeddings (N, 256), not normalized."""

    def __init__(self) -> None:
        super().__init__()
        inside = 16
        self.stem = _unit(3, inside, 3, 2)
        blocks: list[nn.Module] = []
        for expansion, channels, count, stride, kernel in _STAGES:
            for number in range(count):
                blocks.append(Block(inside, channels, expansion, stride if number == 0 else 1, kernel))
                inside = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = _unit(inside, _HEAD, 1, 1)
        self.embed = nn.Conv2d(_HEAD, EMBEDDING_DIM, 1)

    def forward(self, x: Tensor) -> Tensor:
        # 0..255 to -2..2, exact in the first layer of an int8 file.
        x = self.head(self.blocks(self.stem(x * (1 / 63.75) - 2.0)))
        embedding: Tensor = self.embed(x.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return embedding
