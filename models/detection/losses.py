"""Which cell answers for which box, and how far its answer is off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shelfmatch.models.detection.canvas import UNSURE
from shelfmatch.models.detection.network import SCORES, STRIDES

ANSWERING: Final = 7
"""At most so many cells answer for a box."""
USUAL: Final = 4.5
"""The side, in strides, of the boxes that a level is best at."""
_OCTAVES: Final = 1.4
_BOX_WEIGHT: Final = 2.0


@lru_cache(maxsize=4)
def cells(side: int) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) in pixels and strides (A,) of all cells, level after level, row after row."""
    centres, strides = [], []
    for stride in STRIDES:
        line = (torch.arange(side // stride) + 0.5) * stride
        y, x = torch.meshgrid(line, line, indexing="ij")
        centres.append(torch.stack([x.flatten(), y.flatten()], dim=1))
        strides.append(torch.full((len(line) ** 2,), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def flattened(maps: list[Tensor]) -> Tensor:
    """(N, A, 6) of the network's maps."""
    return torch.cat([found.flatten(2).transpose(1, 2) for found in maps], dim=1)


def boxes_of(answers: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """(…, A, 4) x0, y0, x1, y1 in pixels of answers (…, A, 6)."""
    away = functional.softplus(answers[..., SCORES:]) * strides[:, None]
    return torch.cat([centres - away[..., :2], centres + away[..., 2:]], dim=-1)


def overlaps(a: Tensor, b: Tensor, general: bool = False) -> Tensor:
    """Intersection over union of boxes that broadcast; `general`: GIoU (Rezatofighi et al. 2019, arXiv:1902.09630)."""
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    sizes = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(dim=-1) for x in (a, b)]
    union = sizes[0] + sizes[1] - inner + 1e-6
    if not general:
        return inner / union
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(dim=-1) + 1e-6
    return inner / union - (hull - union) / hull


@dataclass
class Asked:
    """Of one picture: target scores (A, 2), weights of the scores' losses (A, 2), the cells that answer (P,), their boxes (P, 4)
    and how much each counts (P,)."""

    scores: Tensor
    weights: Tensor
    answering: Tensor
    boxes: Tensor
    shares: Tensor


def _candidates(size: Tensor, middle: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Boxes and cells, by number, where the cell's centre lies in the middle of the box or next to it."""
    gts, found, first = [], [], 0
    for stride in STRIDES:
        count = side // stride
        reach = torch.maximum(0.3 * size, torch.tensor(0.75 * stride))
        line = (torch.arange(count) + 0.5) * stride
        columns = (line[None] - middle[:, :1]).abs() < reach[:, :1]
        rows = (line[None] - middle[:, 1:]).abs() < reach[:, 1:]
        box, row, column = torch.nonzero(rows[:, :, None] & columns[:, None, :], as_tuple=True)
        gts.append(box)
        found.append(first + row * count + column)
        first += count * count
    return torch.cat(gts), torch.cat(found)


def assigned(scores: Tensor, found: Tensor, boxes: Tensor, kinds: Tensor, complete: bool, side: int) -> Asked:
    """Task-aligned: cells near a box's centre on levels of its size, those that see it best (Feng et al. 2021, "TOOD",
    arXiv:2108.07755). `scores` (A, 2) 0 to 1 and `found` (A, 4) are what the network says, without gradients."""
    centres, strides = cells(side)
    wanted = torch.zeros_like(scores)
    weights = torch.full_like(scores, 1.0 if complete else 0.0)
    for box in boxes[kinds == UNSURE]:
        inside = ((centres > box[:2]) & (centres < box[2:])).all(dim=1)
        weights[inside] = 0.0
    boxes, kinds = boxes[kinds != UNSURE], kinds[kinds != UNSURE]
    none = Asked(wanted, weights, torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0))
    if not len(boxes):
        return none
    size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    gt, cell = _candidates(size, middle, side)
    away, stride = (centres[cell] - middle[gt]).abs(), strides[cell]
    octave = (size[gt].prod(dim=1).sqrt() / (USUAL * stride)).log2()
    octave = torch.where((stride == STRIDES[0]) & (octave < 0), 0.0, octave)
    octave = torch.where((stride == STRIDES[-1]) & (octave > 0), 0.0, octave)
    near = octave.abs() < _OCTAVES
    pair_overlap = overlaps(found[cell], boxes[gt])
    prior = torch.exp(-octave.square() - 2 * (away / size[gt]).square().sum(dim=1))
    value = (0.05 + scores[cell, kinds[gt]]).sqrt() * (0.1 + pair_overlap) ** 3 * prior * near
    metric, overlap = torch.zeros(2, len(boxes), len(centres)).unbind()
    metric[gt, cell], overlap[gt, cell] = value, pair_overlap
    best = metric.topk(ANSWERING, dim=1)
    chosen = torch.zeros_like(metric).scatter_(1, best.indices, best.values)
    value, owner = chosen.max(dim=0)
    answering = torch.nonzero(value > 0).flatten()
    owner, value = owner[answering], value[answering]
    own = overlap[owner, answering]
    most = torch.zeros(len(boxes)).scatter_reduce(0, owner, value, "amax")
    best_overlap = torch.zeros(len(boxes)).scatter_reduce(0, owner, own, "amax")
    shares = value / most[owner] * best_overlap[owner].clamp(min=0.05)
    wanted[answering, kinds[owner]] = shares
    weights[answering] = 1.0
    return Asked(wanted, weights, answering, boxes[owner], shares)


def loss(maps: list[Tensor], targets: list[tuple[Tensor, Tensor, bool]], side: int) -> tuple[Tensor, dict[str, float]]:
    """Quality focal loss of the scores (Li et al. 2020, arXiv:2006.04388) and GIoU of the boxes; `targets`: boxes (G, 4), kinds
    (G,) and completeness of each picture. Also figures for the log."""
    answers = flattened(maps)
    centres, strides = cells(side)
    found = boxes_of(answers, centres, strides)
    logits = answers[..., :SCORES]
    with torch.no_grad():
        asked = [assigned(logits[row].sigmoid(), found[row], *target, side) for row, target in enumerate(targets)]
    scores, weights = (torch.stack([getattr(one, name) for one in asked]) for name in ("scores", "weights"))
    total = scores.sum().clamp(min=1.0)
    off = (scores - logits.sigmoid()).abs().square()
    by_score = (
        functional.binary_cross_entropy_with_logits(logits, scores, reduction="none") * off * weights
    ).sum() / total
    pairs: list[Any] = [(found[row, one.answering], one.boxes, one.shares) for row, one in enumerate(asked)]
    answered, boxes, shares = (torch.cat(part) for part in zip(*pairs, strict=True))
    by_box = ((1 - overlaps(answered, boxes, general=True)) * shares).sum() / total
    told = {
        "score": float(by_score.detach()),
        "box": float(by_box.detach()),
        "overlap": float(np.mean(overlaps(answered.detach(), boxes).numpy())) if len(boxes) else 0.0,
    }
    return by_score + _BOX_WEIGHT * by_box, told
