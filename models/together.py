"""What several encoders see together: one embedding whose cosines are the weighted means of theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from shelfmatch.models.networks import EMBEDDING_DIM, ShelfCNN, from_onnx, normalized
from shelfmatch.models.student import quick_halves

SHARES: Final = {"shelfmatch-cnn": 1.0, "shelfmatch-vit": 1.0, "shelfmatch-nano": 0.4}
"""What each teacher counts in a cosine of all of them. Of nine mixes these were the best in the mean over phone crops, boxes, and
grocery val photos among train photos and catalogue pictures (`measure.py`); no query of these trained."""


class TeacherError(ValueError):
    """A teacher's file is no ONNX file, or of another network."""


class Together:
    """Several encoders as one: cosines of its embeddings are the weighted means of theirs; `exact`: never in bfloat16."""

    def __init__(self, nets: Sequence[Any], shares: Sequence[float], device: torch.device, exact: bool = False) -> None:
        self.nets = [net.to(device).to(memory_format=torch.channels_last).eval() for net in nets]
        self.shares, self.device, self.exact = [share / sum(shares) for share in shares], device, exact
        self.directions: Tensor | None = None

    def whole(self, pixels: Tensor, tap: Tensor | None = None) -> Tensor:
        """(N, 256 for each teacher), of unit length, of pictures 0 to 255; `tap` is the CNN's map, where somebody has it."""
        parts = []
        with torch.no_grad(), contextlib.nullcontext() if self.exact else halves(self.device):
            for net, share in zip(self.nets, self.shares, strict=True):
                shared = tap is not None and type(net) is ShelfCNN
                found = tail(net, tap) if shared else net(sized(pixels, net))
                parts.append(functional.normalize(found.float(), dim=1) * share**0.5)
        return torch.cat(parts, dim=1)

    def find_space(self, seen: Tensor) -> float:
        """Keep the EMBEDDING_DIM directions that hold most of embeddings (N, D); the share they hold."""
        strength, directions = torch.linalg.eigh(seen.T @ seen)  # least first
        self.directions = directions[:, -EMBEDDING_DIM:].contiguous()
        return float(strength[-EMBEDDING_DIM:].sum() / strength.sum())

    def reduced(self, whole: Tensor) -> Tensor:
        """(N, EMBEDDING_DIM): what `whole` gave, in the common space."""
        assert self.directions is not None
        return whole @ self.directions


def halves(device: torch.device) -> torch.autocast:
    """bfloat16 where it is quick."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=quick_halves(device))


def sized(pixels: Tensor, net: Any) -> Tensor:
    """Pictures 0 to 255 as a network takes them."""
    side = type(net).SIDE
    if side != pixels.shape[-1]:
        pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return normalized(pixels).contiguous(memory_format=torch.channels_last)


def trunk(net: Any, pixels: Tensor) -> Tensor:
    """The CNN's map that local matching reads, of pictures 0 to 255."""
    found: Tensor = net.blocks[: net.TAP](net.stem(sized(pixels, net)))
    return found


def tail(net: Any, tap: Any) -> Tensor:
    """The CNN's embeddings of that map."""
    found: Tensor = net.embed(net.head(net.blocks[net.TAP :](tap)).mean(dim=(2, 3)))
    return found


def teacher_files(folder: Path) -> dict[str, Path]:
    """The fp32 files of `SHARES`. Raises FileNotFoundError with one that is missing."""
    files = {name: folder / f"{name}-fp32.onnx" for name in SHARES}
    for file in files.values():
        if not file.is_file():
            raise FileNotFoundError(f"{folder} has no {file.name}; expected the fp32 files of all teachers")
    return files


def teachers_in(folder: Path, device: torch.device, exact: bool = False) -> Together:
    """The encoders of `SHARES` as one. Raises FileNotFoundError with a file that is missing, TeacherError with another."""
    try:
        nets = [from_onnx(name, file) for name, file in teacher_files(folder).items()]
    except ValueError as error:  # names the file, not where it lies
        raise TeacherError(f"{folder}: {error}") from error
    return Together(nets, list(SHARES.values()), device, exact)
