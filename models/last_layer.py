"""Fit the last layer of an encoder to what several see together in real photos: three minutes, and no other weight changes.

    python models/last_layer.py shelfmatch-cnn OUT/shelfmatch-cnn-distilled.pt --real REAL.npz --weights models --out FITTED.pt

Needs the `train` extra. REAL.npz is what `real.py` packs; the teachers are the fp32 files in `--weights` and those of
`--also`. What `distill.py` leaves had its last layer from batches that are printed packages and hard views for the most part.
This one is the layer whose embeddings come nearest, by least squares, to what the teachers see together in the real photos that may
train: each as it is, and as a hand-held camera sees it. Like `distill.py` it needs no label.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shelfmatch.models import real
from shelfmatch.models.ahead import keep_memory
from shelfmatch.models.export_encoders import learned_whole, weights_of
from shelfmatch.models.networks import INPUT_SIDE, NETWORKS
from shelfmatch.models.pictures import to_square
from shelfmatch.models.together import TeacherError, Together, add_teacher_options, sized, teachers_of, together_of

RIDGE: Final = 1e-3
"""What is added to the squares of what the layer reads, as a share of their mean."""
LENGTH: Final = 16.0
"""Of the embeddings: at unit length the weights are so small that each step of training shakes them."""
BATCH: Final = 200


def photos(path: Path, seed: int = 0) -> NDArray[np.uint8]:
    """(2 N, 3, INPUT_SIDE, INPUT_SIDE): the real photos that may train, but backgrounds; each as it is, and as
    `photo_view`. Raises ValueError where there is none."""
    from shelfmatch.edge.imaging.views import photo_view

    rng = np.random.default_rng(seed)
    squares = []
    for picture, _ in real.read(path):
        if picture.kind != "ground":
            seen = Image.fromarray(photo_view(np.asarray(picture.image), int(rng.integers(1 << 30))))
            squares += [to_square(real.padded(image), INPUT_SIDE) for image in (picture.image, seen)]
    if not squares:
        raise ValueError(f"{path} holds no photos of products; expected what real.py packs")
    return np.ascontiguousarray(np.stack(squares).transpose(0, 3, 1, 2))


def pooled(net: Any, pixels: Tensor) -> Tensor:
    """What the last layer reads of pictures 0 to 255, (N, 512), in float: rounded to bfloat16 they cost the fit points."""
    seen: list[Tensor] = []
    handle = net.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            net(sized(pixels, net))
    finally:
        handle.remove()
    return seen[0]


def fit(layer: nn.Linear, read: Tensor, wanted: Tensor) -> float:
    """Give the layer the weights that come nearest to `wanted` (N, 256) from `read` (N, 512): ridge regression; the mean cosine."""
    rows = torch.cat([read, torch.ones(len(read), 1, device=read.device)], dim=1).double()
    square = rows.T @ rows
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=rows.dtype, device=rows.device)
    found = torch.linalg.solve(square + ridge, rows.T @ (LENGTH * wanted).double()).float()
    with torch.no_grad():
        layer.weight.copy_(found[:-1].T)
        layer.bias.copy_(found[-1])
        return float(nn.functional.cosine_similarity(layer(read), wanted).mean())


def fit_on(net: Any, teachers: Together, pictures: NDArray[np.uint8]) -> tuple[float, float]:
    """Fit a network's last layer to teachers in pictures (N, 3, side, side); the share that the common space holds, the mean
    cosine."""
    net.eval()
    batches = [torch.from_numpy(pictures[start : start + BATCH]).float() for start in range(0, len(pictures), BATCH)]
    seen = torch.cat([teachers.whole(batch) for batch in batches])
    held = teachers.find_space(seen)
    return held, fit(net.embed, torch.cat([pooled(net, batch) for batch in batches]), teachers.reduced(seen))


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Fit the last layer of an encoder to what several see together.")
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("state", type=Path, help="what distill.py left: OUT/NAME-distilled.pt")
    parser.add_argument("--real", type=Path, required=True)
    add_teacher_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for needed, what in ((options.state, "what distill.py leaves"), (options.real, "what real.py packs")):
        if not needed.is_file():
            parser.error(f"{needed} is not there; expected {what} (models/README.md)")
    if not options.out.parent.is_dir():
        parser.error(f"{options.out.parent} is not there; expected a folder for {options.out.name}")
    keep_memory()
    torch.set_num_threads(1)
    try:
        teachers = together_of(teachers_of(options), torch.device("cpu"), exact=True)
    except (FileNotFoundError, TeacherError) as error:
        parser.error(str(error))
    try:
        net = weights_of(options.network, options.state).to(memory_format=torch.channels_last)
        whole = learned_whole(options.state)
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError):
        parser.error(f"{options.state} has no weights of {options.network}; expected what distill.py leaves for it")
    try:
        pictures = photos(options.real)
    except (ValueError, LookupError, EOFError, pickle.UnpicklingError):
        parser.error(f"{options.real} holds no photos of products; expected what real.py packs")
    held, near = fit_on(net, teachers, pictures)
    print(f"{100 * held:.1f} % of the teachers' in {net.embed.out_features} directions; mean cosine {near:.4f}")
    beside = options.out.with_name(f"{options.out.name}.tmp")
    torch.save({"folded": net.state_dict(), "whole": whole}, beside)
    beside.replace(options.out)


if __name__ == "__main__":
    main()
