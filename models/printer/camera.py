"""What a cheap camera makes of a scene: light and its colour, dark, blur, few pixels, noise, JPEG. Batches (N, 3,
side, side), 0 to 1."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""The JPEG standard's table K.1 (ITU-T T.81)."""


def _some(n: int, share: float, like: Tensor) -> Tensor:
    """Places of a share of the batch, at random, at least one; always as many."""
    return torch.randperm(n, device=like.device)[: max(1, round(n * share))]


def exposed(x: Tensor, hard: Tensor) -> Tensor:
    """Exposure, gamma, contrast, saturation, white balance, a slope of light; now and then nearly dark."""
    n, side, level = len(x), x.shape[-1], hard[:, None, None, None]

    def spread(channels: int, by: float) -> Tensor:
        return torch.exp(torch.randn(n, channels, 1, 1, device=x.device).clamp(-2, 2) * by * (0.25 + 0.75 * level))

    x = x.clamp(1e-3, 1) ** spread(1, 0.28)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * spread(1, 0.28)
    middle = x.mean(dim=(2, 3), keepdim=True)
    x = middle + (x - middle) * spread(1, 0.22)
    x = x * spread(3, 0.09) * spread(1, 0.22)
    line = torch.linspace(-1, 1, side, device=x.device)
    tilt = torch.randn(n, 2, 1, 1, device=x.device)
    x = x * (1 + 0.16 * level * (tilt[:, :1] * line.view(1, 1, 1, -1) + tilt[:, 1:] * line.view(1, 1, -1, 1)))
    dark = torch.rand(n, 1, 1, 1, device=x.device) < 0.22 * level
    return torch.where(dark, x * (torch.rand(n, 1, 1, 1, device=x.device) * 0.4 + 0.13), x)


def blurred(x: Tensor) -> Tensor:
    """A part out of focus, a part shaken along some direction."""
    n = len(x)
    for size, share in ((3, 0.22), (5, 0.12), (7, 0.04)):
        some = _some(n, share, x)
        x = x.index_copy(0, some, functional.avg_pool2d(x[some], size, 1, size // 2, count_include_pad=False))
    for _ in range(3):
        some = _some(n, 0.04, x)
        angle, length = float(torch.rand(())) * math.pi, int(torch.randint(3, 8, ()))
        shaken = x[some]
        moved = [
            torch.roll(shaken, (round(step * math.sin(angle)), round(step * math.cos(angle))), dims=(2, 3))
            for step in range(-(length // 2), length // 2 + 1)
        ]
        x = x.index_copy(0, some, torch.stack(moved).mean(dim=0))
    return x


def coarse(x: Tensor) -> Tensor:
    """A part seen from far away: 40 to 110 pixels, drawn larger."""
    n, side = len(x), x.shape[-1]
    for share, pixels in ((0.06, 44), (0.08, 62), (0.08, 84), (0.08, 108)):
        some = _some(n, share, x)
        small = functional.interpolate(x[some], (pixels, pixels), mode="bilinear", antialias=True, align_corners=False)
        x = x.index_copy(0, some, functional.interpolate(small, (side, side), mode="bilinear", align_corners=False))
    return x


def _cosines(device: torch.device) -> Tensor:
    k, i = torch.arange(8.0).view(8, 1), torch.arange(8.0).view(1, 8)
    matrix = torch.cos((2 * i + 1) * k * math.pi / 16) * 0.5
    matrix[0] = math.sqrt(1 / 8)
    return matrix.to(device)


def compressed(x: Tensor, quality: Tensor) -> Tensor:
    """JPEG at a quality (N,) 1 to 100: blocks of eight in brightness and colour, coefficients rounded."""
    n, _, side, _ = x.shape
    matrix = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], device=x.device)
    values = torch.einsum("ij,njhw->nihw", matrix, x * 255)
    blocks = values.view(n, 3, side // 8, 8, side // 8, 8)
    dct = _cosines(x.device)
    found = torch.einsum(
        "ki,ncaibj,lj->ncakbl",
        dct,
        blocks - 128.0 * torch.tensor([1.0, 0, 0], device=x.device).view(1, 3, 1, 1, 1, 1),
        dct,
    )
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).view(n, 1, 1, 1, 1, 1)
    steps = (torch.tensor(LUMINANCE, device=x.device).view(1, 1, 1, 8, 1, 8) * scale).clamp(min=1)
    steps = steps * torch.tensor([1.0, 1.5, 1.5], device=x.device).view(1, 3, 1, 1, 1, 1)
    found = (found / steps).round() * steps
    back = torch.einsum("ki,ncakbl,lj->ncaibj", dct, found, dct).reshape(n, 3, side, side)
    back = torch.einsum(
        "ij,njhw->nihw",
        torch.linalg.inv(matrix.cpu()).to(x.device),
        back + 128.0 * torch.tensor([1.0, 0, 0], device=x.device).view(1, 3, 1, 1),
    )
    return back / 255


def developed(x: Tensor, hard: Tensor) -> Tensor:
    """All of it, in the order in which a camera does it; `hard` (N,) 0 to 1 is how bad the light and the camera are."""
    n, level = len(x), hard[:, None, None, None]
    sharp = x
    x = coarse(blurred(x))
    x = sharp + (x - sharp) * (level > 0.15).float()
    x = exposed(x, hard)
    noise = torch.rand(n, 1, 1, 1, device=x.device) ** 2 * 0.11 * level
    x = (x + torch.randn_like(x) * noise * (0.4 + 0.6 * x.clamp(0, 1).sqrt())).clamp(0, 1)
    brighten = torch.rand(n, 1, 1, 1, device=x.device) < 0.3  # the camera's own gain, noise and all
    gain = (0.45 / x.mean(dim=(1, 2, 3), keepdim=True).clamp(min=0.05)).clamp(1, 4)
    x = torch.where(brighten, (x * gain).clamp(0, 1), x)
    return compressed(x, 96 - 70 * torch.rand(n, device=x.device) * hard).clamp(0, 1)
