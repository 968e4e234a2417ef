"""What several encoders see together: one embedding whose cosines are the weighted means of theirs."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from shelfmatch.models.networks import EMBEDDING_DIM, NETWORKS, ShelfCNN, from_onnx, normalized
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
        self._goes_on = next((net for net in self.nets if type(net) is ShelfCNN), None)

    def whole(self, pixels: Tensor, tap: Tensor | None = None) -> Tensor:
        """(N, 256 for each teacher), of unit length, of pictures 0 to 255; `tap`: the map of the first CNN among them, where
        somebody has it."""
        parts = []
        with torch.no_grad(), contextlib.nullcontext() if self.exact else halves(self.device):
            for net, share in zip(self.nets, self.shares, strict=True):
                shared = tap is not None and net is self._goes_on
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


class Teacher(NamedTuple):
    """An encoder's fp32 file, the network that it is of, and what it counts."""

    network: str
    file: Path
    share: float


def add_teacher_options(parser: argparse.ArgumentParser) -> None:
    """Where the teachers lie; see `teachers_of`."""
    parser.add_argument("--weights", type=Path, required=True, help="the folder with the fp32 files of all encoders")
    parser.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("FILE", "SHARE"),
        help="a further teacher: an encoder's fp32 file of before, called by its network first, like "
        "shelfmatch-nano-8aa7a0b.onnx, and what it counts (SHARES in together.py has the others')",
    )


def teachers_of(options: argparse.Namespace) -> list[Teacher]:
    """The fp32 files of `SHARES`, and those of `--also`. Raises FileNotFoundError with one that is missing, TeacherError with a
    name or a share that is none."""
    found = [Teacher(name, options.weights / f"{name}-fp32.onnx", share) for name, share in SHARES.items()]
    for file, share in options.also:
        network = next((name for name in NETWORKS if Path(file).name.startswith(name)), None)
        if network is None:
            raise TeacherError(
                f"--also has {file}; expected a file called by its network, {', '.join(NETWORKS)}, first"
            )
        try:
            found.append(Teacher(network, Path(file), float(share)))
        except ValueError as error:
            raise TeacherError(f"--also has the share {share!r}; expected a number, like 0.7") from error
    for teacher in found:
        if not teacher.file.is_file():
            raise FileNotFoundError(
                f"{teacher.file.parent} has no {teacher.file.name}; expected the fp32 files of all teachers"
            )
        if not 0 < teacher.share < math.inf:
            raise TeacherError(f"--also has the share {teacher.share:g}; expected one above 0, like 0.7")
    return found


def together_of(teachers: Sequence[Teacher], device: torch.device, exact: bool = False) -> Together:
    """The encoders as one. Raises TeacherError with a file of something else."""
    nets = []
    for teacher in teachers:
        try:
            nets.append(from_onnx(teacher.network, teacher.file))
        except ValueError as error:  # names the file, not where it lies
            raise TeacherError(f"{teacher.file.parent}: {error}") from error
    return Together(nets, [teacher.share for teacher in teachers], device, exact)
