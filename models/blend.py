"""Weights between two training states of one network: what fine-tuning gains on new goods without losing what the first state knew.

    python models/blend.py NAME FIRST-fp32.onnx SECOND REAL.npz OUT.pt SHARE...

SECOND: what `joint` leaves, NAME-state.pt or NAME.npz.

Weights between a network and its fine-tuned self are often better than either (Wortsman et al. 2022,
arXiv:2109.01903), once the norms
have the statistics of what the new weights give (Jordan et al. 2023, arXiv:2211.08403): without that they lose on every set.
OUT.pt gets the share in its name, OUT-50.pt for 0.5.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from shelfmatch.models import real
from shelfmatch.models.export_encoders import unfolded
from shelfmatch.models.networks import NETWORKS, from_onnx, fused, normalized
from shelfmatch.models.pictures import to_square
from shelfmatch.models.pretrained import go_on_with

SAMPLE: Final = 384
"""Pictures that the norms' statistics are taken from."""


def sample(path: Path, side: int) -> Tensor:
    """(SAMPLE, 3, side, side), 0 to 255: real photos that may train, of all kinds, padded."""
    found = [picture for picture, _ in real.read(path) if picture.kind != "ground"]
    rows = np.random.default_rng(9).choice(len(found), SAMPLE, replace=False)
    squares = np.stack([to_square(real.padded(found[row].image), side) for row in rows])
    return torch.from_numpy(np.ascontiguousarray(squares.transpose(0, 3, 1, 2))).float()


def blended(first: dict[str, Tensor], second: dict[str, Tensor], net: Any, share: float, pictures: Tensor) -> Any:
    """`net` with 1 - `share` of the first state and `share` of the second, its norms measured again, folded."""
    net.load_state_dict({k: v.lerp(second[k].float(), share) if v.is_floating_point() else v for k, v in first.items()})
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    net.train()
    with torch.no_grad():
        for batch in pictures.split(64):
            net(normalized(batch).contiguous(memory_format=torch.channels_last))
    return fused(net)


def main() -> None:
    """The command line; see the first lines."""
    torch.set_num_threads(1)
    name, onnx_file, state, path, out = sys.argv[1], *map(Path, sys.argv[2:6])
    pictures = sample(path, NETWORKS[name].SIDE)
    old = NETWORKS[name]()
    go_on_with(old, from_onnx(name, onnx_file), pictures)
    mean = old.state_dict() | unfolded(state)
    for share in map(float, sys.argv[6:]):
        net = NETWORKS[name]().to(memory_format=torch.channels_last)
        found = blended(old.state_dict(), mean, net, share, pictures)
        torch.save({"folded": found.state_dict()}, out.with_name(f"{out.stem}-{round(100 * share)}.pt"))


if __name__ == "__main__":
    main()
