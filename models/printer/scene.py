"""What is around a product in a photograph: grounds, hands, shadows, light on film and paper. Batches (N, C, side,
side), 0 to 1."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_SHADOW_CELLS: Final = 38
"""A side of the map that shadows are blurred in."""


def patches(n: int, channels: int, side: int, cells: int, like: Tensor, mode: str = "bicubic") -> Tensor:
    """(n, channels, side, side): random numbers 0 to 1 on a coarse grid, drawn large."""
    coarse = torch.rand(n, channels, cells, cells, device=like.device)
    if mode == "nearest":
        return functional.interpolate(coarse, (side, side), mode=mode)
    spread = _spread(cells, side, like.device)
    return (spread @ coarse @ spread.T).clamp_(0, 1)


@lru_cache(maxsize=32)
def _spread(cells: int, side: int, device: torch.device) -> Tensor:
    """(side, cells): bicubic interpolation along one axis. Once down and once across it is the same as both at once."""
    columns = torch.eye(cells, device=device)[None, None]
    return functional.interpolate(columns, (side, cells), mode="bicubic", align_corners=False)[0, 0]


def _cut(grounds: Tensor, n: int, side: int, like: Tensor) -> Tensor:
    """Random parts of random pictures (G, 3, t, t) uint8."""
    pick = torch.randint(len(grounds), (n,), device=like.device)
    scale = torch.rand(n, 1, 1, device=like.device) * 0.6 + 0.35
    theta = (
        torch.eye(2, 3, device=like.device)
        * scale
        * torch.where(torch.rand(n, 1, 1, device=like.device) < 0.5, -1.0, 1.0)
    )
    theta[:, 1, 1] = scale[:, 0, 0]
    theta[:, :, 2] = (torch.rand(n, 2, device=like.device) * 2 - 1) * (1 - scale[:, 0])
    grid = functional.affine_grid(theta, [n, 3, side, side], align_corners=False)
    return functional.grid_sample(grounds[pick].float() / 255, grid, padding_mode="reflection", align_corners=False)


def ground(n: int, side: int, hard: Tensor, grounds: Tensor) -> Tensor:
    """Where things stand: white or plain for a catalogue's picture, in rooms, shops and on clutter for the harder ones."""
    draw = torch.rand(n, device=hard.device)
    white = 1 - torch.rand(n, 1, 1, 1, device=hard.device) ** 4 * 0.3
    plain = torch.rand(n, 3, 1, 1, device=hard.device)
    grey = plain.mean(dim=1, keepdim=True)
    plain = grey + (plain - grey) * torch.rand(n, 1, 1, 1, device=hard.device) * 0.8
    clean = (draw < 0.75 - 0.6 * hard)[:, None, None, None]
    image = torch.where(clean, white.expand(-1, 3, -1, -1), plain).repeat(1, 1, side, side)
    soft = (draw > 0.92 - 0.25 * hard).nonzero()[:, 0]
    mottled = (patches(len(soft), 3, side, 3, hard) - 0.5) * torch.rand(len(soft), 1, 1, 1, device=hard.device)
    image[soft] = plain[soft] + mottled
    rough = (draw < 0.12 * hard).nonzero()[:, 0]
    if len(rough):
        clutter = patches(len(rough), 3, side, 9, hard, "nearest") * patches(len(rough), 1, side, 24, hard, "nearest")
        image[rough] = clutter
    image = image.mean(dim=1, keepdim=True) * 0.4 + image * 0.6
    real = ((draw > 0.1 * hard) & (draw < 0.7 * hard)).nonzero()[:, 0]
    if len(real):
        image[real] = _cut(grounds, len(real), side, hard)
    return image.clamp_(0, 1)


def shadowed(image: Tensor, cover: Tensor, hard: Tensor) -> Tensor:
    """The ground darkened near the product."""
    n, side = len(image), image.shape[-1]
    low = functional.interpolate(cover, (_SHADOW_CELLS, _SHADOW_CELLS), mode="area")
    soft = functional.avg_pool2d(functional.avg_pool2d(low, 5, 1, 2), 5, 1, 2)
    soft = torch.roll(soft, (2, int(torch.randint(-2, 3, ()))), dims=(2, 3))
    soft = functional.interpolate(soft, (side, side), mode="bilinear", align_corners=False)
    return image * (1 - soft * (torch.rand(n, device=hard.device) * 0.7 * (0.3 + 0.7 * hard))[:, None, None, None])


def shine(colours: Tensor, hard: Tensor) -> Tensor:
    """Uneven light, and glare as film, foil and varnish have it."""
    n, side = len(colours), colours.shape[-1]
    level = hard[:, None, None, None]
    light = 1 + (patches(n, 1, side, 3, hard) - 0.5) * 0.8 * level
    blots = (patches(n, 1, side, 6, hard) - 0.78).clamp(min=0) * 5
    streak = (patches(n, 1, side, 2, hard) - 0.5).abs()
    streak = torch.exp(-((streak / 0.03) ** 2)) * 0.7
    glossy = torch.rand(n, 1, 1, 1, device=hard.device) < 0.35 * level
    some = torch.rand(n, 1, 1, 1, device=hard.device) < 0.5
    glare = torch.where(some, blots, streak) * glossy * torch.rand(n, 1, 1, 1, device=hard.device)
    return (colours * light + glare).clamp(0, 1)


def skins(n: int, like: Tensor) -> Tensor:
    """(n, 3, 1, 1) colours of hands, gloves now and then."""
    dark, pale = (torch.tensor(rgb, device=like.device) / 255 for rgb in ((78.0, 48, 36), (240.0, 200, 172)))
    skin = dark + (pale - dark) * torch.rand(n, 1, device=like.device)
    glove = torch.rand(n, 3, device=like.device)
    return torch.where(torch.rand(n, 1, device=like.device) < 0.08, glove, skin)[:, :, None, None]


def _capsules(side: int, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
    """(N, 1, side, side): 1 on the axis of a thick line from `start` to `end` (N, 2), 0 at its edge and beyond."""
    line = (torch.arange(side, device=start.device) + 0.5) * 2 / side - 1
    y, x = line.view(1, -1, 1), line.view(1, 1, -1)
    dx, dy = (end - start).unbind(dim=1)
    px, py = x - start[:, 0, None, None], y - start[:, 1, None, None]
    along = ((px * dx[:, None, None] + py * dy[:, None, None]) / (dx**2 + dy**2 + 1e-6)[:, None, None]).clamp(0, 1)
    away = ((px - along * dx[:, None, None]) ** 2 + (py - along * dy[:, None, None]) ** 2).sqrt()
    return (1 - away / radius[:, None, None]).clamp(0, 1)[:, None]


def _drawn(image: Tensor, depth: Tensor, skin: Tensor, chosen: Tensor | None = None) -> Tensor:
    shade = 0.55 + 0.5 * depth.sqrt()
    cover = (depth * 12).clamp(0, 1)
    if chosen is not None:
        cover = cover * chosen[:, None, None, None]
    return image + (skin * shade - image) * cover


def palm(image: Tensor, skin: Tensor) -> Tensor:
    """A hand behind the product, from below or a side."""
    n = len(image)
    angle = torch.rand(n, device=image.device) * 3.6 - 0.2
    start = torch.stack([angle.cos(), angle.sin()], dim=1) * 1.5
    end = (torch.rand(n, 2, device=image.device) - 0.5) * 0.8
    width = torch.rand(n, device=image.device) * 0.35 + 0.35
    return _drawn(image, _capsules(image.shape[-1], start, end, width), skin * 0.85)


def fingers(image: Tensor, skin: Tensor) -> Tensor:
    """One to four fingertips over the product's edge."""
    n = len(image)
    left = torch.where(torch.rand(n, device=image.device) < 0.5, -1.0, 1.0)
    upright = torch.rand(n, device=image.device) < 0.35
    base = torch.rand(n, device=image.device) * 1.2 - 0.5
    radius = torch.rand(n, device=image.device) * 0.06 + 0.07
    reach = torch.rand(n, device=image.device) * 0.55
    count = torch.randint(1, 5, (n,), device=image.device)
    for number in range(4):
        y = base + number * radius * 2.05
        tip = left * (1.0 - reach * (1 - 0.12 * abs(number - 1)) - 0.1)
        start, end = (
            torch.stack([left * 1.2, y], dim=1),
            torch.stack([tip, y + (torch.rand_like(y) - 0.5) * 0.1], dim=1),
        )
        start, end = (torch.where(upright[:, None], point.flip(1), point) for point in (start, end))
        image = _drawn(image, _capsules(image.shape[-1], start, end, radius), skin, count > number)
    return image
