"""Weights in half precision, small enough to commit: what a training can go on from, on another machine, too."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from shelfmatch.edge.files import write_atomic

LARGEST: Final = 6e4
"""Numbers beyond it stay as they are: half precision ends at 65,504."""


def write(weights: dict[str, Tensor], path: Path) -> None:
    """An .npz of the weights, without the norms' counts of batches."""
    halves = {
        name: value.half() if value.is_floating_point() and value.abs().max() < LARGEST else value
        for name, value in weights.items()
        if "num_batches" not in name
    }
    written = io.BytesIO()
    np.savez_compressed(written, **{name: value.cpu().numpy() for name, value in halves.items()})
    write_atomic(path, written.getvalue())


def fill(module: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Give a module all of its weights; the norms' counts of batches, which nothing reads, may be missing. Raises ValueError for
    weights of another one; `name` is the file's."""
    try:
        found = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # of another shape
        raise ValueError(f"{name} is of another network: {str(error).splitlines()[-1].strip()}") from error
    wrong = [key for key in (*found.missing_keys, *found.unexpected_keys) if "num_batches" not in key]
    if wrong:
        raise ValueError(f"{name} is of another network: the weights {wrong[0]} are missing in one of them")


def read(path: Path) -> dict[str, Tensor]:
    """What `write` wrote, in single precision."""
    with np.load(path) as found:
        return {name: torch.from_numpy(np.asarray(value)).float() for name, value in found.items()}
