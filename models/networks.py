"""The two networks behind the embedded encoders: "shelfmatch-cnn" and "shelfmatch-vit".

Both take photos (N, 3, 152, 152) with values -1 to 1 and give embeddings (N, 256), not normalized. Both begin as MobileNetV2
(Sandler et al. 2018, arXiv:1801.04381) with trained weights (`pretrained`); the transformer puts attention in the place of its
last stages. ReLU6 and batch norm throughout, no squeeze-excitation, no layer norm: all of it folds into int8 kernels.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIDE: Final = 152
"""160 would cost the CNN 26 million instructions on a Cortex-A76, where this costs 24."""
EMBEDDING_DIM: Final = 256
STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNetV2 1.0: expansion, channels, blocks, first stride."""
STEM_CHANNELS: Final = 32
HEAD_CHANNELS: Final = 512
VIT_STEM_STAGES: Final = 5
"""The transformer keeps the stages down to a sixteenth of the photo's side: 10x10 tokens of 96 channels."""

MEAN: Final = 127.5
STD: Final = 127.5
"""Pixels 0 to 255 become -1 to 1, as MobileNetV2 was trained."""


def normalized(pixels: Tensor) -> Tensor:
    """0 to 255 → -1 to 1. Device files have it in front of the network."""
    return (pixels.float() - MEAN) / STD


class Unit(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """Convolution, batch norm and, where `active`, ReLU6.

    With stride 2 an even side is padded right and below only, as TensorFlow's SAME does: the trained weights expect it.
    """

    def __init__(
        self, inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.halves = stride == 2
        padding = 0 if self.halves else kernel // 2
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outside, eps=1e-5, momentum=0.05)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        if self.halves:
            before = x.shape[-1] % 2
            x = functional.pad(x, (before, 1, before, 1))
        x = self.norm(self.conv(x))
        return functional.relu6(x) if self.active else x


class InvertedResidual(nn.Module):  # type: ignore[misc,unused-ignore]
    """Widen, filter each channel, project back; added to its input where the shapes agree."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        middle = inside * expansion
        widen = [] if expansion == 1 else [Unit(inside, middle)]
        self.layers = nn.Sequential(
            *widen, Unit(middle, middle, 3, stride, groups=middle), Unit(middle, outside, active=False)
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _stages(count: int) -> tuple[nn.Sequential, int]:
    """The first `count` stages and the channels they end with."""
    blocks: list[nn.Module] = []
    inside = STEM_CHANNELS
    for expansion, channels, repeats, stride in STAGES[:count]:
        for number in range(repeats):
            blocks.append(InvertedResidual(inside, channels, expansion, stride if number == 0 else 1))
            inside = channels
    return nn.Sequential(*blocks), inside


class Stream(NamedTuple):
    """A residual map: the convolutions whose outputs are added up in it, and those that read it. Nothing else touches it."""

    writers: list[nn.Conv2d]
    readers: list[nn.Conv2d]


def _block_streams(blocks: nn.Sequential) -> list[Stream]:
    """The map of each run of blocks that add to one; what reads the last one isn't known here."""
    found: list[Stream] = []
    for block in blocks:
        if found:
            found[-1].readers.append(block.layers[0].conv)
        if not block.residual:
            found.append(Stream([], []))
        found[-1].writers.append(block.layers[-1].conv)
    return found


class ShelfCNN(nn.Module):  # type: ignore[misc,unused-ignore]
    """MobileNetV2 with a narrower head: its last 1x1 layer has 512 channels of 1,280, then a linear layer to 256."""

    SIDE: int = INPUT_SIDE
    STAGE_COUNT: int = len(STAGES)
    TAP: Final = 13
    """Blocks to the map that local matching reads: the sum before the last stride, a sixteenth of the side, 96 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, STEM_CHANNELS, 3, 2)
        self.blocks, inside = _stages(self.STAGE_COUNT)
        self.head = Unit(inside, HEAD_CHANNELS)
        self.embed = nn.Linear(HEAD_CHANNELS, EMBEDDING_DIM)

    def streams(self) -> list[Stream]:
        """Its residual maps, first to last. `cells`, where it is there, is local matching's projection (`local.Cells`)."""
        found = _block_streams(self.blocks)
        found[-1].readers.append(self.head.conv)
        if hasattr(self, "cells"):
            last = self.blocks[self.TAP - 1].layers[-1].conv
            next(stream for stream in found if last in stream.writers).readers.append(self.cells.project)
        return found

    def mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding, and the map that local matching reads, (N, 96, 10, 10)."""
        tap = self.blocks[: self.TAP](self.stem(x))
        x = self.head(self.blocks[self.TAP :](tap))
        return self.embed(x.mean(dim=(2, 3))), tap

    def forward(self, x: Tensor) -> Tensor:
        return self.mapped(x)[0]


class ShelfNano(ShelfCNN):
    """The same without the last stage, on 112 pixels: half the work."""

    SIDE = 112
    STAGE_COUNT = len(STAGES) - 1


class Attention(nn.Module):  # type: ignore[misc,unused-ignore]
    """Multi-head attention over the places of a map, batch norm in the place of layer norm (Graham et al. 2021, "LeViT")."""

    def __init__(self, channels: int, heads: int, key: int) -> None:
        super().__init__()
        self.heads, self.key, self.value = heads, key, channels // heads
        self.queries = Unit(channels, heads * key, active=False)
        self.keys = Unit(channels, heads * key, active=False)
        self.values = Unit(channels, channels, active=False)
        self.project = Unit(channels, channels, active=False)
        # Names for two maps that no layer writes: training rounds them there (`rounding`).
        self.likeness, self.shares = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        places = height * width
        queries = self.queries(x).reshape(n, self.heads, self.key, places)
        keys = self.keys(x).reshape(n, self.heads, self.key, places)
        values = self.values(x).reshape(n, self.heads, self.value, places)
        likeness = self.likeness((queries.transpose(2, 3) * self.key**-0.5) @ keys)
        mixed = values @ self.shares(likeness.softmax(dim=-1)).transpose(2, 3)
        # LeViT has its activation before the projection.
        return self.project(functional.relu6(mixed.reshape(n, channels, height, width)))


class TransformerBlock(nn.Module):  # type: ignore[misc,unused-ignore]
    """Attention and a two-layer perceptron at every place, each added to its input."""

    def __init__(self, channels: int, heads: int, key: int, expansion: int = 2) -> None:
        super().__init__()
        self.attention = Attention(channels, heads, key)
        self.perceptron = nn.Sequential(
            Unit(channels, channels * expansion), Unit(channels * expansion, channels, active=False)
        )
        for last in (self.attention.project, self.perceptron[1]):
            nn.init.constant_(last.norm.weight, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.perceptron(x)


class Places(nn.Module):  # type: ignore[misc,unused-ignore]
    """Tells attention where it is: a depthwise convolution added to the map (Chu et al. 2021, arXiv:2102.10882)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filter = Unit(channels, channels, 3, groups=channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.filter(x)


class ShelfViT(nn.Module):  # type: ignore[misc,unused-ignore]
    """A convolutional stem (MobileNetV2's first five stages), then attention over 10x10 and 5x5 tokens."""

    SIDE: int = INPUT_SIDE

    TOKENS: Final = ((128, 4, 32, 2), (224, 7, 32, 3))
    """Channels, heads, key dimension, blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, STEM_CHANNELS, 3, 2)
        self.blocks, inside = _stages(VIT_STEM_STAGES)
        layers: list[nn.Module] = []
        for channels, heads, key, repeats in self.TOKENS:
            if layers:
                layers.append(Unit(inside, inside, 3, 2, groups=inside, active=False))
            layers += [Unit(inside, channels, active=False), Places(channels)]
            layers += [TransformerBlock(channels, heads, key) for _ in range(repeats)]
            inside = channels
        self.transformer = nn.Sequential(*layers)
        self.head = Unit(inside, HEAD_CHANNELS)
        self.embed = nn.Linear(HEAD_CHANNELS, EMBEDDING_DIM)

    def streams(self) -> list[Stream]:
        """Its residual maps, first to last."""
        found = _block_streams(self.blocks)
        for layer in self.transformer:
            if isinstance(layer, Unit):
                found[-1].readers.append(layer.conv)
                found.append(Stream([layer.conv], []))
                continue
            here = found[-1]
            if isinstance(layer, Places):
                here.readers.append(layer.filter.conv)
                here.writers.append(layer.filter.conv)
            else:
                attention, perceptron = layer.attention, layer.perceptron
                here.readers.extend(unit.conv for unit in (attention.queries, attention.keys, attention.values))
                here.writers.append(attention.project.conv)
                here.readers.append(perceptron[0].conv)
                here.writers.append(perceptron[1].conv)
        found[-1].readers.append(self.head.conv)
        return found

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.transformer(self.blocks(self.stem(x))))
        embedding: Tensor = self.embed(x.mean(dim=(2, 3)))
        return embedding


def fused(net: Any) -> Any:
    """A copy for use, each batch norm folded into its convolution."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, Unit) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return net


EQUALIZED: Final = {"shelfmatch-cnn": 0.75, "shelfmatch-vit": 0.25, "shelfmatch-nano": 0.75}
"""Of 0, 0.5, 0.75 and 1 the power with which int8 embeddings of val photos were nearest to float ones, in both runtimes. The ViT,
which learned with int8 in the loop, is as near with each of them and with 0.25 (.9997 and .9995); its power is the one with which
both files pass the gate. With the others one of them or both find two or three of 296 photos fewer than float."""


def equalized(net: Any, pixels: NDArray[np.uint8], power: float, keep_tap: bool = False) -> Any:
    """A folded network that computes the same, its residual maps' channels scaled towards one range.

    A map has one scale in an int8 file, and its largest channel sets it. Nothing but sums lies between the convolutions that
    write a map and those that read it, so each channel can be divided by a factor there and multiplied by it here (as Nagel et
    al. 2019, arXiv:1906.04721, do across ReLU): its range in photos (N, side, side, 3), to `power` (see `EQUALIZED`). `keep_tap`
    leaves the CNN's map that local matching reads as it is, since a head was trained on it.
    """
    net = copy.deepcopy(net)
    streams = net.streams()
    if keep_tap:
        tapped = net.blocks[net.TAP - 1].layers[-1].conv
        streams = [stream for stream in streams if tapped not in stream.writers]
    ranges = [torch.zeros(1) for _ in streams]

    def widen(number: int, values: Tensor) -> None:
        ranges[number] = torch.maximum(ranges[number], values.abs().amax(dim=(0, 2, 3)))

    hooks = [
        reader.register_forward_pre_hook(lambda _module, inputs, number=number: widen(number, inputs[0]))
        for number, stream in enumerate(streams)
        for reader in stream.readers
    ]
    with torch.no_grad():
        for batch in torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).split(16):
            net(normalized(batch))
        for stream, found in zip(streams, ranges, strict=True):
            wide = found.clamp(min=float(found.max()) / 100)
            factors = ((wide / wide.log().mean().exp()) ** power)[:, None, None, None]
            for writer in stream.writers:
                writer.weight /= factors
                writer.bias /= factors.flatten()
            for reader in stream.readers:
                # A depthwise convolution has the channel it reads where others have the one they write.
                reader.weight *= factors if reader.groups > 1 else factors.transpose(0, 1)
    for hook in hooks:
        hook.remove()
    return net


def from_onnx(name: str, path: Path) -> Any:
    """The folded network "shelfmatch-cnn" or "shelfmatch-vit" with the weights of its fp32 ONNX file.

    Raises ValueError where the file is of another network, or none.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    net = fused(NETWORKS[name]())
    try:
        tensors = {found.name: found for found in onnx.load(str(path)).graph.initializer}
    except DecodeError as error:
        raise ValueError(f"{path.name} is no ONNX file; expected the fp32 file of {name}") from error
    state = {}
    for key, value in net.state_dict().items():
        if f"net.{key}" not in tensors:
            raise ValueError(f"{path.name} has no weights {key}; expected the fp32 file of {name}")
        found = torch.from_numpy(numpy_helper.to_array(tensors[f"net.{key}"]).copy())
        if found.shape != value.shape:
            raise ValueError(f"{path.name}: {key} is {tuple(found.shape)}, the network's {tuple(value.shape)}")
        state[key] = found
    net.load_state_dict(state)
    return net


NETWORKS: Final[dict[str, type[Any]]] = {
    "shelfmatch-cnn": ShelfCNN,
    "shelfmatch-vit": ShelfViT,
    "shelfmatch-nano": ShelfNano,
}
