"""Local matching: a small network that looks at the cells of a query and of one candidate reference and says whether
they are one product.

The encoder's map before its last stride (`ShelfCNN.TAP`: 10x10 cells) is projected to 32 numbers a cell (`Cells`, a
1x1 convolution that is
the encoder file's second output). What is kept of a picture is (100, 33): each cell's unit vector, and its length.
`LocalHead` takes
two of these and the cosine of the two embeddings and gives a logit. Some 0.7 million products a candidate.

The idea is the field's: candidates of a global search are looked at again with local features (Cao, Araujo & Sim
2020, arXiv:2001.05027;
Tan, Yuan & Ordonez 2021, arXiv:2103.12236); here with a dense correlation and a fitted affine map in the place of RANSAC.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

TAP_CHANNELS: Final = 96
CELL_NUMBERS: Final = 32
GRID: Final = 10
CELLS: Final = GRID * GRID
CHANNELS: Final = 16
KERNELS: Final = (3, 3, 1)
"""Of the convolutions; the last is small for its cost."""
_FEATURES: Final = 9


class Cells(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """The encoder's map (N, 96, 10, 10) → (N, 32, 10, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(TAP_CHANNELS, CELL_NUMBERS, 1)
        nn.init.orthogonal_(self.project.weight.view(CELL_NUMBERS, TAP_CHANNELS))
        with torch.no_grad():
            self.project.bias.zero_()

    def forward(self, tap: Tensor) -> Tensor:
        found: Tensor = self.project(tap)
        return found


def described(cells: Tensor) -> Tensor:
    """(N, 32, 10, 10) → (N, 100, 33): unit vectors and, last, lengths; row by row from the upper left."""
    flat = cells.flatten(2).transpose(1, 2)
    length = flat.square().sum(dim=2, keepdim=True).add(1e-6).sqrt()
    return torch.cat([flat / length, length], dim=2)


def _grid() -> Tensor:
    line = torch.linspace(-1, 1, GRID)
    ys, xs = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([xs, ys, torch.ones_like(xs)], dim=-1).reshape(1, CELLS, 3)


def _solved(normal: Tensor, right: Tensor) -> Tensor:
    """Solutions (N, 3, 2) of symmetric (N, 3, 3) systems, by cofactors: no solver is needed on the device."""
    a, b, c = normal[:, 0:1, 0:1], normal[:, 0:1, 1:2], normal[:, 0:1, 2:3]
    d, e, f = normal[:, 1:2, 1:2], normal[:, 1:2, 2:3], normal[:, 2:3, 2:3]
    c00, c01, c02 = d * f - e * e, c * e - b * f, b * e - c * d
    c11, c12, c22 = a * f - c * c, b * c - a * e, a * d - b * b
    det = a * c00 + b * c01 + c * c02
    rows = [torch.cat(row, dim=2) for row in ((c00, c01, c02), (c01, c11, c12), (c02, c12, c22))]
    return torch.cat(rows, dim=1) @ right / det


class LocalHead(nn.Module):  # type: ignore[misc,unused-ignore]
    """Query and reference (N, 100, 33) as `described` gives them, cosine (N, 1) of their embeddings → logit (N, 1)."""

    grid: Tensor
    small: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(12.0))
        self.weight, self.scale = nn.Parameter(torch.tensor(8.0)), nn.Parameter(torch.tensor(0.2))
        self.register_buffer("grid", _grid(), persistent=False)
        self.register_buffer("small", 1e-2 * torch.eye(3).view(1, 3, 3), persistent=False)
        layers: list[nn.Module] = []
        for inside, kernel in zip((_FEATURES, CHANNELS, CHANNELS), KERNELS, strict=True):
            layers += [nn.Conv2d(inside, CHANNELS, kernel, padding=kernel // 2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.attend = nn.Conv2d(CHANNELS, 1, 1)
        self.last = nn.Sequential(nn.Linear(2 * CHANNELS + 4, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, 1))

    def forward(self, query: Tensor, reference: Tensor, cosine: Tensor) -> Tensor:
        q, r = query[:, :, :CELL_NUMBERS], reference[:, :, :CELL_NUMBERS]
        q_length, r_length = query[:, :, CELL_NUMBERS:] * self.scale, reference[:, :, CELL_NUMBERS:] * self.scale
        cosines = r @ q.transpose(1, 2)
        best = cosines.amax(dim=2, keepdim=True)
        # In place of a softmax: ten thousand exponentials are dear for numpy on ARM.
        place = (1 + self.sharpness * (cosines - best) / 4).clamp(min=0).pow(4)
        place = place / place.sum(dim=2, keepdim=True)
        agrees = place @ cosines.amax(dim=1, keepdim=True).transpose(1, 2)
        peak = place.amax(dim=2, keepdim=True)
        spread = (place * place).sum(dim=2, keepdim=True)
        expected = place @ self.grid[:, :, :2]
        weight = (peak * r_length.clamp(0.0, 3.0)).clamp(min=1e-3)
        weighted = (self.grid * weight).transpose(1, 2)
        affine = _solved(weighted @ self.grid.expand(len(q), -1, -1) + self.small, weighted @ expected)
        residual = (self.grid @ affine - expected).square().sum(dim=2, keepdim=True).clamp(max=4.0)
        seen = place @ q_length
        maps = torch.cat([best, spread, residual, r_length, agrees, best * r_length, seen, peak, q_length], dim=2)
        found = self.convolutions(maps.transpose(1, 2).reshape(-1, _FEATURES, GRID, GRID))
        attention = self.attend(found).flatten(2).softmax(dim=2)
        found = found.flatten(2)
        total = r_length.sum(dim=1).clamp(min=1e-3)
        whole = [
            cosine,
            (best * r_length).sum(dim=1) / total,
            residual.mean(dim=1),
            (residual * r_length).sum(dim=1) / total,
        ]
        pooled = torch.cat([(found * attention).sum(dim=2), found.mean(dim=2), *whole], dim=1)
        logit: Tensor = self.last(pooled) + self.weight * cosine
        return logit


def candidates(similar: Tensor, same: Tensor) -> Tensor:
    """(Q, 6) columns of (Q, R) similarities: one reference of the same product (`same`), three of the eight most
    similar others, two of
    the next twenty-four."""
    own = torch.where(same, torch.rand_like(similar), -1.0).argmax(dim=1, keepdim=True)
    near = similar.masked_fill(same, -9.0).topk(32, dim=1).indices
    first = torch.rand(len(similar), 8, device=similar.device).argsort(dim=1)[:, :3]
    later = torch.rand(len(similar), 24, device=similar.device).argsort(dim=1)[:, :2] + 8
    return torch.cat([own, near.gather(1, torch.cat([first, later], dim=1))], dim=1)


def local_loss(
    head: LocalHead, query: Tensor, references: Tensor, chosen: Tensor, similar: Tensor
) -> tuple[Tensor, Tensor]:
    """Which of six, and yes or no for each; and the share of queries (Q,) whose own reference has the highest logit."""
    count = chosen.shape[1]
    repeated = query[:, None].expand(-1, count, -1, -1).reshape(-1, CELLS, CELL_NUMBERS + 1)
    cosines = similar.gather(1, chosen)
    logits = head(repeated, references[chosen.flatten()], cosines.reshape(-1, 1)).view(-1, count)
    truth = torch.zeros_like(logits)
    truth[:, 0] = 1
    which = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
    whether = functional.binary_cross_entropy_with_logits(
        logits, truth, pos_weight=torch.tensor(2.0, device=logits.device)
    )
    return which + whether, (logits.argmax(dim=1) == 0).float().mean()
