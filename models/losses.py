"""What is minimized: products apart, the pictures of one product together, the teachers' features kept."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class CosFace(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """A proxy for each class and a margin on the cosine to the right one (Wang et al. 2018, arXiv:1801.09414)."""

    def __init__(self, classes: int, dimension: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dimension) * 0.05)
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.each(embeddings, labels).mean()

    def each(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of each picture, (N,)."""
        cosine = functional.normalize(embeddings, dim=1) @ functional.normalize(self.weight, dim=1).T
        cosine = cosine - self.margin * functional.one_hot(labels, len(self.weight))
        return functional.cross_entropy(cosine * self.scale, labels, label_smoothing=0.05, reduction="none")


def supervised_contrast(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Every picture picks out the others of its product (Khosla et al. 2020, arXiv:2004.11362, the sum outside the log)."""
    unit = functional.normalize(embeddings, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -1e4)
    logs = logits - logits.logsumexp(dim=1, keepdim=True)
    same = (labels[:, None] == labels[None]) & ~itself
    some = same.any(dim=1)
    means = (logs * same).sum(dim=1)[some] / same.sum(dim=1)[some]
    return -means.mean()


def apart(embeddings: Tensor, targets: Tensor) -> Tensor:
    """How far embeddings (N, D) are from theirs (N, D): 1 - cosine, in the mean."""
    return (1 - functional.cosine_similarity(embeddings, targets, dim=1)).mean()


def reduced(features: NDArray[Any], dimension: int) -> Tensor:
    """Teachers' features (N, F) on their leading principal components, of unit norm; each component divided by the fourth root
    of its variance, so that large directions don't drown the others."""
    values = torch.from_numpy(features.astype("float32"))
    values = values - values.mean(dim=0)
    variances, directions = torch.linalg.eigh(values.T @ values / len(values))
    variances, directions = variances[-dimension:].flip(0), directions[:, -dimension:].flip(1)
    return functional.normalize(values @ (directions * variances.clamp(min=1e-12) ** -0.25), dim=1)
