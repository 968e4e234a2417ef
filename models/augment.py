"""Batches as a kiosk's and a shelf camera's photos come out: framing, light, colour, blur, noise, coarse JPEG-like detail.

Everything takes and gives torch tensors and draws from torch's random generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from shelfmatch.models.networks import INPUT_SIDE


@dataclass(frozen=True)
class Framing:
    """How a picture is cut. `smallest` and `largest`: the share of its side that the frame covers (above 1 the picture gets
    smaller in the frame); `turn`: standard deviation of the rotation in radians."""

    smallest: float
    largest: float
    turn: float


def grids(n: int, framing: Framing, flips: Tensor | None = None) -> Tensor:
    """`n` random affine sampling grids (n, INPUT_SIDE, INPUT_SIDE, 2); where `flips` (n,) is true, half are mirrored."""
    scale = torch.empty(n).uniform_(framing.smallest, framing.largest)
    stretch = torch.exp(torch.randn(n) * 0.08)
    angle = torch.randn(n).clamp(-2, 2) * framing.turn
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    mirror = mirror.where(flips, torch.ones(n)) if flips is not None else torch.ones(n)
    room = (1.05 - scale).abs().clamp(min=0.03)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = torch.cos(angle) * scale * stretch * mirror, -torch.sin(angle) * scale
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle) * scale * mirror, torch.cos(angle) * scale / stretch
    theta[:, :, 2] = (torch.rand(n, 2) * 2 - 1) * room[:, None]
    return functional.affine_grid(theta, [n, 3, INPUT_SIDE, INPUT_SIDE], align_corners=False)


def framed(pictures: Tensor, framing: Framing, flips: Tensor | None = None) -> Tensor:
    """uint8 (N, 3, side, side) → float (N, 3, INPUT_SIDE, INPUT_SIDE), 0 to 1; what lies outside is mirrored in."""
    x = pictures.float() / 255
    # Sampling takes single points: a picture more than half again as large would alias.
    if x.shape[-1] > 1.45 * INPUT_SIDE * framing.largest:
        x = functional.interpolate(x, scale_factor=0.5, mode="area")
    return functional.grid_sample(x, grids(len(x), framing, flips), padding_mode="reflection", align_corners=False)


def pasted(pictures: Tensor, masks: Tensor, grounds: Tensor, framing: Framing, flips: Tensor, copies: int) -> Tensor:
    """Cut-out products (N, 3, side, side) with masks (N, 1, side, side), both uint8, set before `grounds` (N, 3,
    INPUT_SIDE, INPUT_SIDE), 0 to 1, a little softened at the edge; several `copies` make a heap. `flips` as for `grids`."""
    layers = torch.cat([pictures, masks], dim=1).float() / 255
    scene = grounds
    for _ in range(copies):
        grid = grids(len(layers), framing, flips)
        placed = functional.grid_sample(layers, grid, padding_mode="zeros", align_corners=False)
        mask = functional.avg_pool2d(placed[:, 3:], 3, 1, 1, count_include_pad=False)
        scene = scene * (1 - mask) + placed[:, :3] * mask
    return scene


def _coarse(x: Tensor) -> Tensor:
    """As a product far away, or a strongly compressed photo, is seen."""
    low = functional.interpolate(x, scale_factor=0.4, mode="bilinear", antialias=True, align_corners=False)
    return functional.interpolate(low, x.shape[-2:], mode="bilinear", align_corners=False)


def as_photographed(x: Tensor, strength: float = 1.0) -> Tensor:
    """(N, 3, side, side), 0 to 1 → the same, 0 to 255 in whole numbers, as a camera in a shop gives it."""
    n, side = len(x), x.shape[-1]

    def spread(*shape: int, by: float) -> Tensor:
        return torch.exp(torch.randn(*shape) * by * strength)

    def sometimes(chance: float, change: Callable[[Tensor], Tensor]) -> None:
        chosen = torch.nonzero(torch.rand(n) < chance).flatten()
        if len(chosen):
            x[chosen] = change(x[chosen])

    sometimes(0.25, lambda some: functional.avg_pool2d(some, 3, 1, 1, count_include_pad=False))
    # Shake of the hand, along or across.
    sometimes(0.06 * strength, lambda some: functional.avg_pool2d(some, (1, 7), 1, (0, 3), count_include_pad=False))
    sometimes(0.06 * strength, lambda some: functional.avg_pool2d(some, (7, 1), 1, (3, 0), count_include_pad=False))
    sometimes(0.15 * strength, _coarse)
    x = x.clamp(1e-3, 1) ** spread(n, 1, 1, 1, by=0.25)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * spread(n, 1, 1, 1, by=0.25)
    middle = x.mean(dim=(2, 3), keepdim=True)
    x = middle + (x - middle) * spread(n, 1, 1, 1, by=0.2)
    x = x * spread(n, 3, 1, 1, by=0.07) * spread(n, 1, 1, 1, by=0.2)
    ramp = torch.linspace(-1, 1, side)
    slope = torch.randn(n, 1, 1, 1) * ramp.view(1, 1, 1, -1) + torch.randn(n, 1, 1, 1) * ramp.view(1, 1, -1, 1)
    x = x * (1 + 0.12 * strength * slope)
    x = x + torch.randn_like(x) * torch.rand(n, 1, 1, 1) * 0.05 * strength
    return (x.clamp(0, 1) * 255).round()
