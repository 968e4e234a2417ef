"""Trained networks in small: PyTorch modules that export in seconds, and what is wrong with some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SIDE = 32
WIDTH = 24
MEAN, STD = (123.0, 117.0, 104.0), (58.0, 57.0, 57.5)


class TinyCnn(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """(N, 3, 32, 32) → (N, 24), by three convolutions and their average; `classes` puts a classifier behind."""

    def __init__(self, seed: int = 0, classes: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.middle = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.ReLU6(), nn.Conv2d(16, WIDTH, 1))
        self.head = nn.Linear(WIDTH, classes) if classes else nn.Identity()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        feature = self.middle(self.stem(x)).mean(dim=(2, 3))
        result: Tensor = self.head(feature)
        return result


class Fragile(nn.Module):  # type: ignore[misc,unused-ignore]
    """A network that int8 breaks in one known layer: `spread` gives one channel a range that leaves the others no steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(3, 16, 5, 4, 2)
        self.spread = nn.Conv2d(16, 16, 1, bias=True)
        self.gather = nn.Conv2d(16, 16, 1, bias=False)
        with torch.no_grad():
            self.spread.weight.copy_(torch.eye(16)[:, :, None, None])
            self.spread.bias.zero_()
            self.spread.bias[0] = 1000.0
            self.gather.weight.copy_(torch.eye(16)[:, :, None, None])
            self.gather.weight[0] = 0.0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        feature: Tensor = self.gather(self.spread(self.stem(x)))
        return nn.functional.avg_pool2d(feature, 2).flatten(1)


class TwoOutputs(TinyCnn):
    """Gives its feature twice."""

    def forward(self, x: Tensor) -> Any:
        feature = super().forward(x)
        return feature, feature


class NoVector(TinyCnn):
    """Gives one number a pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x).flatten(2)


def write_onnx(net: nn.Module, path: Path, outputs: tuple[str, ...] = ("embedding",), *, dynamic: str = "") -> Path:
    """A network as people have it: an .onnx file of normalized floats. `dynamic`: "batch", or "size" for free sides."""
    from shelfmatch.export.tools import quiet

    shapes: Any = None
    if dynamic:
        batch = {0: torch.export.Dim("batch")}
        sides = {2: torch.export.Dim("high", min=8, max=512), 3: torch.export.Dim("wide", min=8, max=512)}
        shapes = ({**batch, **(sides if dynamic == "size" else {})},)
    with quiet("writing a tiny .onnx file"):
        program = torch.onnx.export(
            net, (torch.zeros(2 if dynamic else 1, 3, SIDE, SIDE),), dynamo=True, opset_version=20, dynamic_shapes=shapes,
            input_names=["input"], output_names=list(outputs), verbose=False,
        )  # fmt: skip
        path.write_bytes(program.model_proto.SerializeToString())
    return path


def write_tflite(net: nn.Module, path: Path) -> Path:
    """A network as people have it: a float .tflite file, NHWC."""
    from shelfmatch.export.tools import need, quiet

    with quiet("writing a tiny .tflite file"):
        litert_torch = need("litert_torch", "a test")
        converted = litert_torch.convert(
            litert_torch.to_channel_last_io(net, args=[0]), (torch.zeros(1, SIDE, SIDE, 3),)
        )
        converted.export(str(path))
    return path
