"""What local matching adds: recall, AUROC and right accepts with and without the head, on the squares that
`measure.py --cache` keeps.

    python models/measure_local.py CACHE WEIGHTS HEAD SET...

WEIGHTS: what `measure.py` takes as `.pt` or `.npz`. HEAD: a state of `joint`, or of `local_training`. Thresholds are the best
on these scores (as in
the trial this follows): it tells scores apart, not what a shop will reach.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shelfmatch.models import local
from shelfmatch.models.export_encoders import weights_of
from shelfmatch.models.networks import normalized
from shelfmatch.models.tap import ENCODER

DEPTH: Final = 20
"""References of the first search that are looked at again."""
MOST: Final = 240
"""Queries of a set, evenly spread."""
DRAWS: Final = 6


def read_head(file: Path) -> tuple[local.Cells, local.LocalHead]:
    """Projection and head, by their running means."""
    state = torch.load(file, weights_only=True, map_location="cpu")["mean"]
    cells, head = local.Cells(), local.LocalHead()
    for module, part in ((cells, "cells"), (head, "head")):
        module.load_state_dict({k: v.float() for k, v in state[part].items()})
    return cells.eval(), head.eval()


def taps(net: Any, squares: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Unit embeddings (N, 256) and maps (N, 96, 10, 10) in half precision."""
    found = []
    with torch.no_grad():
        for start in range(0, len(squares), 16):
            batch = torch.from_numpy(np.ascontiguousarray(squares[start : start + 16].transpose(0, 3, 1, 2)))
            embedding, tap = net.mapped(normalized(batch).contiguous(memory_format=torch.channels_last))
            found.append((functional.normalize(embedding, dim=1), tap.half()))
    return torch.cat([pair[0] for pair in found]), torch.cat([pair[1] for pair in found])


def scores(
    cells: local.Cells, head: local.LocalHead, seen: tuple[Tensor, Tensor], refs: NDArray[np.bool_]
) -> tuple[Tensor, Tensor]:
    """(Q, R) cosines, and logits of the DEPTH nearest, -99 for the others."""
    unit, maps = seen
    at = torch.from_numpy(refs)
    cosines = unit[~at] @ unit[at].T
    logits = torch.full_like(cosines, -99.0)
    with torch.no_grad():
        described = torch.cat([local.described(cells(part.float())) for part in maps.split(64)])
        queries, references = described[~at], described[at]
        for row in range(len(queries)):
            near = cosines[row].topk(min(DEPTH, cosines.shape[1])).indices
            logits[row, near] = head(
                queries[row].expand(len(near), -1, -1), references[near], cosines[row, near, None]
            )[:, 0]
    return cosines, logits


def auroc(known: NDArray[np.float64], unknown: NDArray[np.float64]) -> float:
    """The chance that a known query scores above an unknown one."""
    ranks = np.argsort(np.argsort(np.concatenate([known, unknown]))) + 1
    return float((ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2) / len(known) / len(unknown))


def told(names: NDArray[np.str_], refs: NDArray[np.bool_], found: Tensor) -> str:
    """recall@1; AUROC and right accepts at 5 % of unknown ones let through, a quarter of the products left out, mean of draws."""
    products = sorted(set(names[refs]))
    column = np.array([products.index(name) for name in names[refs]])
    truth = np.array([products.index(name) if name in products else -1 for name in names[~refs]])
    best = np.full((len(truth), len(products)), -99.0)
    for place, product in enumerate(column):
        best[:, product] = np.maximum(best[:, product], found[:, place].numpy())
    figures = []
    for draw in range(DRAWS):
        out = random.Random(draw).sample(range(len(products)), max(1, len(products) // 4))
        left = best.copy()
        left[:, out] = -99.0
        unknown = np.isin(truth, out)
        if unknown.all() or not unknown.any():
            continue
        top, right = left.max(axis=1), left.argmax(axis=1) == truth
        accepted = (top > np.quantile(top[unknown], 0.95)) & right
        figures.append((auroc(top[~unknown], top[unknown]), accepted[~unknown].mean()))
    rates = np.mean(figures, axis=0) if figures else (np.nan, np.nan)
    return f"recall@1 {100 * (best.argmax(axis=1) == truth).mean():5.1f} AUROC {rates[0]:.3f} right at 5 % {100 * rates[1]:4.1f}"


def main() -> None:
    """The command line; see the first lines."""
    torch.set_num_threads(1)
    cache, weights, head_file = (Path(argument) for argument in sys.argv[1:4])
    net, (cells, head) = weights_of(ENCODER, weights).to(memory_format=torch.channels_last), read_head(head_file)
    for name in sys.argv[4:]:
        stored: Any = np.load(cache / f"{name}-pad.npz")
        refs = stored["roles"] == "ref"
        queries = np.flatnonzero(~refs)
        kept = np.sort(np.concatenate([np.flatnonzero(refs), queries[:: max(1, len(queries) // MOST)]]))
        seen = taps(net, stored["152"][kept])
        cosines, logits = scores(cells, head, seen, refs[kept])
        print(f"{name:9} global {told(stored['names'][kept], refs[kept], cosines)}", flush=True)
        print(f"{'':9} local  {told(stored['names'][kept], refs[kept], logits)}", flush=True)


if __name__ == "__main__":
    main()
