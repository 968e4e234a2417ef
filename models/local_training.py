"""Teach the local head the maps of an encoder whose weights are settled: projection and head learn, the encoder stays.

    python models/local_training.py --real REAL.npz --faces FACES --work WORK --out HEAD.pt
    python models/local_training.py --begin HEAD.pt --steps 3000 --real REAL.npz --faces FACES --work WORK --out NEXT.pt

Needs the `train` extra. REAL.npz is what `real.py` packs, FACES what `detection/faces.py` makes, the encoder the fp32 file in
`--weights`. For a CPU: the maps of some 28,000 pictures are computed once and kept in WORK. Pairs are printed packages, those of
the renderer, and boxes, each with hard views of it, and groceries and phone photos of one class; wrong references are those that
the encoder finds most alike, variants of the same family among them. It wants variety: many rounds over few pictures do harm.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shelfmatch.models import local, real
from shelfmatch.models.detection import faces
from shelfmatch.models.measure_local import read_head, taps
from shelfmatch.models.networks import from_onnx
from shelfmatch.models.pictures import to_square
from shelfmatch.models.printer import views
from shelfmatch.models.printer.package import CANVAS

ENCODER: Final = "shelfmatch-cnn"
SIDE: Final = 152
SEED: Final = 18
BATCH: Final = 16
PEAK: Final = 1.5e-3
PRINTED, RENDERED, RENDERED_SHOP = 2880, 1800, 517
"""How many products of each; the renderer's shop isn't one that is measured on."""
HARD_VIEWS: Final = 3
MOST_A_CLASS: Final = 24
TURNS: Final = ("printed", "rendered", "box", "grocery", "printed", "box", "rendered", "phone")

Pixels = NDArray[np.uint8]
Named = tuple[str, bool, Pixels]
"""Product, whether it is a reference, and its picture as the encoder sees it."""


def hard_copy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A picture as it might be met: turned, cut, from afar, dark, noisy."""
    if rng.random() < 0.5:
        image = image.rotate(
            rng.choice([rng.normal(0, 12), rng.uniform(-180, 180)]),
            Image.Resampling.BILINEAR,
            expand=True,
            fillcolor=real.GREY,
        )
    if rng.random() < 0.6:
        x, y = (rng.uniform(0, 0.25) * length for length in image.size)
        image = image.crop(
            (int(x), int(y), int(image.width * rng.uniform(0.75, 1)), int(image.height * rng.uniform(0.75, 1)))
        )
    share = rng.uniform(0.3, 1)
    image = image.resize(
        (max(24, int(image.width * share)), max(24, int(image.height * share))), Image.Resampling.BILINEAR
    )
    light = rng.uniform(0.2, 0.6) if rng.random() < 0.25 else rng.uniform(0.75, 1.25)
    pixels = np.asarray(image, np.float32) * light * np.exp(rng.normal(0, 0.07, 3)) + rng.normal(
        0, rng.uniform(0, 12), (image.height, image.width, 1)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _square(image: Image.Image) -> Pixels:
    return to_square(real.padded(image), SIDE)


def _boxes(path: Path) -> Iterator[Named]:
    rng = np.random.default_rng(SEED)
    for picture, _ in real.read(path):
        if picture.kind == "box":
            yield str(picture.label), True, _square(picture.image)
            for _ in range(HARD_VIEWS):
                yield str(picture.label), False, _square(hard_copy(picture.image, rng))


def _groceries(path: Path) -> Iterator[Named]:
    pictures = [picture for picture, _ in real.read(path) if picture.kind in ("grocery", "iconic")]
    count: dict[int, int] = {}
    for place in np.random.default_rng(SEED).permutation(len(pictures)).tolist():
        picture = pictures[place]
        number = count[picture.label] = count.get(picture.label, 0) + 1
        if picture.kind == "iconic" or number <= MOST_A_CLASS:
            yield str(picture.label), picture.kind == "iconic" or number <= 4, _square(picture.image)


def _phone(path: Path) -> Iterator[Named]:
    rng = np.random.default_rng(SEED)
    count: dict[int, int] = {}
    for picture, _ in real.read(path):
        if picture.kind == "phone":
            number = count[picture.label] = count.get(picture.label, 0) + 1
            yield str(picture.label), number % 5 == 0, _square(picture.image)
            if number % 5:
                yield str(picture.label), False, _square(hard_copy(picture.image, rng))


def _rendered() -> Iterator[Named]:
    from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view

    for number, product in enumerate(make_shop(RENDERED, RENDERED_SHOP)):
        yield product.sku, True, _square(render_plain(product, 300))
        for view in range(HARD_VIEWS):
            difficulty = random.Random(number * 9 + view).uniform(0.3, 1)
            yield product.sku, False, _square(render_view(product, view, (400, 400), difficulty))


def _straight(pictures: Pixels) -> Tensor:
    """Faces as they are kept, colours times coverage, as (N, 4, h, w) prints, whose colours are whole."""
    found = np.array(pictures)
    found[..., :3] = (found[..., :3] * (255 / np.maximum(found[..., 3:].astype(np.float32), 1))).clip(0, 255)
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def _printed(folder: Path, path: Path) -> Iterator[Named]:
    """Printed packages: a plain view, and hard ones. Made at the encoder's size: the printer's own takes four times as long."""
    printed = faces.read(folder, "train")
    shown = [np.asarray(picture.image.resize((224, 224))) for picture, _ in real.read(path) if picture.kind == "ground"]
    grounds = torch.from_numpy(np.stack(shown[:120])).permute(0, 3, 1, 2).contiguous()
    torch.manual_seed(SEED)
    for start in range(0, PRINTED, 24):
        part = slice(start, min(start + 24, PRINTED))
        size = torch.from_numpy(np.array(printed.sizes[part])).float() / CANVAS
        kind = torch.from_numpy(np.array(printed.kinds[part])).long()
        prints = views.Prints(
            _straight(printed.front[part]), _straight(printed.other[part]), size[:, :2], size[:, 2:], kind
        )
        for view in range(1 + HARD_VIEWS):
            hard = torch.rand(len(prints)) * 0.7 + 0.3 if view else torch.full((len(prints),), 0.1)
            found = (
                views.photograph(prints, hard, SIDE, grounds, prints, oversampling=1)
                .permute(0, 2, 3, 1)
                .to(torch.uint8)
                .numpy()
            )
            for number, picture in enumerate(found):
                yield str(start + number), view == 0, picture


class Shop:
    """The references and queries of one kind: `similar` (Q, R) cosines, `same` (Q, R), `usable` queries, and all pictures' maps."""

    def __init__(self, data: Any) -> None:
        names, refs = data["names"], data["refs"]
        self.maps, unit = torch.from_numpy(data["maps"]), torch.from_numpy(data["unit"])
        self.refs, self.queries = np.flatnonzero(refs), np.flatnonzero(~refs)
        self.similar = unit[self.queries] @ unit[self.refs].T
        self.same = torch.from_numpy(names[self.queries][:, None] == names[self.refs][None])
        self.usable = torch.nonzero(self.same.any(dim=1)).flatten()


def shops(options: argparse.Namespace) -> dict[str, Shop]:
    """Each kind's shop; maps are made once."""
    makers: dict[str, Callable[[], Iterator[Named]]] = {
        "printed": lambda: _printed(options.faces, options.real),
        "rendered": _rendered,
        "box": lambda: _boxes(options.real),
        "grocery": lambda: _groceries(options.real),
        "phone": lambda: _phone(options.real),
    }
    options.work.mkdir(parents=True, exist_ok=True)
    net = from_onnx(ENCODER, options.weights / f"{ENCODER}-fp32.onnx").eval().to(memory_format=torch.channels_last)
    for kind, maker in makers.items():
        file = options.work / f"{kind}.npz"
        if not file.is_file():
            names, refs, squares = zip(*maker(), strict=True)
            unit, maps = taps(net, np.stack(squares))
            np.savez(file, names=np.array(names), refs=np.array(refs), unit=unit.numpy(), maps=maps.numpy())
            print(f"{kind}: {len(names)} pictures, {sum(refs)} of them references", flush=True)
    return {kind: Shop(np.load(options.work / f"{kind}.npz")) for kind in makers}


def whitened(cells: local.Cells, every: dict[str, Shop]) -> None:
    """The projection begins as the 32 directions in which maps differ most, each as strong as the others."""
    found = [
        shop.maps[::23].float().flatten(2).transpose(1, 2).reshape(-1, local.TAP_CHANNELS)[::7]
        for shop in every.values()
    ]
    rows = torch.cat(found)
    values, vectors = torch.linalg.eigh(torch.cov(rows.T))
    top = vectors[:, -local.CELL_NUMBERS :] * (values[-local.CELL_NUMBERS :] + 1e-3).rsqrt()
    with torch.no_grad():
        cells.project.weight.copy_(top.T[:, :, None, None])
        cells.project.bias.copy_(-(rows.mean(dim=0) @ top))


def train(every: dict[str, Shop], cells: local.Cells, head: local.LocalHead, steps: int) -> None:
    """One cycle of AdamW over pairs of all kinds in turn."""
    parameters = [*cells.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    told: dict[str, list[float]] = {}
    for step in range(steps):
        kind = TURNS[step % len(TURNS)]
        shop = every[kind]
        rows = shop.usable[torch.randint(len(shop.usable), (BATCH,))]
        similar = shop.similar[rows]
        choose = _few_candidates if kind == "phone" else local.candidates
        chosen = choose(similar, shop.same[rows])
        used = chosen.unique()
        place = torch.zeros(similar.shape[1], dtype=torch.long)
        place[used] = torch.arange(len(used))
        queries = local.described(cells(shop.maps[shop.queries[rows.numpy()]].float()))
        references = local.described(cells(shop.maps[shop.refs[used.numpy()]].float()))
        loss, right = local.local_loss(head, queries, references, place[chosen], similar[:, used])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        told.setdefault(kind, []).append(float(right))
        if step % 250 == 249:
            print(step + 1, {key: round(float(np.mean(found[-60:])), 3) for key, found in told.items()}, flush=True)


def _few_candidates(similar: Tensor, same: Tensor) -> Tensor:
    """`local.candidates` for shops of few products: five others at random from the nearer half."""
    own = torch.where(same, torch.rand_like(similar), -1.0).argmax(dim=1, keepdim=True)
    others = similar.masked_fill(same, -9.0) + 0.3 * torch.rand_like(similar)
    return torch.cat([own, others.topk(5, dim=1).indices], dim=1)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train the local head on a settled encoder.")
    parser.add_argument("--weights", type=Path, default=Path("models"), help="the folder with the encoder's fp32 file")
    parser.add_argument("--begin", type=Path, help="a head to begin with; else it begins from nothing")
    for name in ("real", "faces", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = shops(options)
    torch.manual_seed(SEED)
    if options.begin is None:
        cells, head = local.Cells(), local.LocalHead()
        whitened(cells, every)
    else:
        cells, head = read_head(options.begin)
    train(every, cells.train(), head.train(), options.steps)
    torch.save({"mean": {"cells": cells.state_dict(), "head": head.state_dict()}}, options.out)


if __name__ == "__main__":
    main()
