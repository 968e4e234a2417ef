"""Teach the local head the maps of an encoder whose weights are settled: projection and head go on, the encoder stays.

    python models/local_training.py --weights ENCODER.pt --head STATE.pt --real REAL.npz --stock STOCK --work WORK --out HEAD.pt

For a CPU: the maps of a few thousand pictures are computed once and kept in WORK. Pairs are boxes and printed
packages under hard views,
groceries and phone photos of one class; wrong references are those that the encoder finds most alike.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shelfmatch.models import local, real
from shelfmatch.models.measure_local import folded, read_head, taps
from shelfmatch.models.pictures import to_square
from shelfmatch.models.printer import views
from shelfmatch.models.printer.press import print_pages
from shelfmatch.models.printer.stock import Stock

SIDE: Final = 152
COPIES: Final = 2
MOST_BOXES, MOST_A_CLASS, PRINTED = 800, 14, 300
TURNS: Final = ("box", "grocery", "printed", "box", "grocery", "printed", "phone", "box")
SEED: Final = 18


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


def _real_squares(path: Path) -> tuple[list[str], list[str], list[bool], list[NDArray[np.uint8]]]:
    rng = np.random.default_rng(SEED)
    kinds, names, refs, squares = [], [], [], []
    count: dict[str, int] = {}
    for picture, _ in real.read(path):
        kind = "grocery" if picture.kind == "iconic" else picture.kind
        name = f"{kind}{picture.label}"
        number = count[name] = count.get(name, 0) + 1
        boxes = count["boxes"] = count.get("boxes", 0) + (kind == "box")
        if kind == "ground" or (kind == "box" and boxes > MOST_BOXES) or (kind == "grocery" and number > MOST_A_CLASS):
            continue
        shown = [picture.image] + [hard_copy(picture.image, rng) for _ in range(COPIES if kind == "box" else 0)]
        if kind == "phone":
            shown = [picture.image, hard_copy(picture.image, rng)][: 1 + (number % 3 == 0)]
        for place, image in enumerate(shown):
            kinds.append(kind)
            names.append(name)
            refs.append(place == 0 if kind == "box" else (number % 3 == 0 and place == 0) or picture.kind == "iconic")
            squares.append(to_square(real.padded(image), SIDE))
    return kinds, names, refs, squares


def _printed_squares(stock: Path, grounds: Tensor) -> tuple[list[str], list[bool], list[NDArray[np.uint8]]]:
    torch.manual_seed(SEED)
    names, refs, squares = [], [], []
    pages = print_pages(Stock(stock), 700_000_000, 1)
    for _ in range(PRINTED // 12):
        made = list(itertools.islice(pages, 12))
        pictures = [
            torch.from_numpy(np.stack([getattr(one, side) for one in made])).permute(0, 3, 1, 2)
            for side in ("front", "other")
        ]
        numbers = [torch.tensor([getattr(one, part) for one in made]) for part in ("size", "other_size", "kind")]
        prints = views.Prints(*pictures, *numbers)
        for hard in (torch.full((12,), 0.1), torch.rand(12) * 0.7 + 0.3):
            found = views.photograph(prints, hard, SIDE, grounds, prints).permute(0, 2, 3, 1).to(torch.uint8).numpy()
            names += [f"printed{one.family}-{one.variant}" for one in made]
            refs += [bool(hard[0] == 0.1)] * len(made)
            squares += list(found)
    return names, refs, squares


def squares(options: argparse.Namespace) -> dict[str, Any]:
    """Kinds, names, whether a reference, and pictures (N, side, side, 3), made once."""
    file = options.work / "squares.npz"
    if not file.is_file():
        kinds, names, refs, shown = _real_squares(options.real)
        grounds = [np.asarray(p.image.resize((224, 224))) for p, _ in real.read(options.real) if p.kind == "ground"][
            :60
        ]
        more = _printed_squares(options.stock, torch.from_numpy(np.stack(grounds)).permute(0, 3, 1, 2))
        options.work.mkdir(parents=True, exist_ok=True)
        np.savez(
            file, kinds=[*kinds, *["printed"] * len(more[0])], names=[*names, *more[0]], refs=[*refs, *more[1]],
            squares=np.stack([*shown, *more[2]])
        )  # fmt: skip
    return dict(np.load(file))


def prepared(options: argparse.Namespace) -> dict[str, Any]:
    """Embeddings and maps of all pictures."""
    data = squares(options)
    unit, maps = taps(folded(options.weights), data.pop("squares"))
    return data | {"unit": unit, "maps": maps}


class Shop:
    """The references and queries of one kind."""

    def __init__(self, data: dict[str, Any], kind: str) -> None:
        at = data["kinds"] == kind
        self.refs, self.queries = (np.flatnonzero(at & wanted) for wanted in (data["refs"], ~data["refs"]))
        self.similar = data["unit"][self.queries] @ data["unit"][self.refs].T
        names = data["names"]
        self.same = torch.from_numpy(names[self.queries][:, None] == names[self.refs][None])
        self.usable = torch.nonzero(self.same.any(dim=1)).flatten()


def train(data: dict[str, Any], cells: local.Cells, head: local.LocalHead, steps: int, batch: int = 16) -> None:
    """One cycle of AdamW over pairs of all kinds in turn."""
    shops = {kind: Shop(data, kind) for kind in dict.fromkeys(TURNS)}
    parameters = [*cells.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.2e-3, total_steps=steps)
    told: dict[str, list[float]] = {}
    for step in range(steps):
        kind = TURNS[step % len(TURNS)]
        shop = shops[kind]
        rows = shop.usable[torch.randint(len(shop.usable), (batch,))]
        similar = shop.similar[rows]
        few = similar.shape[1] < 40 or kind == "phone"
        chosen = _few_candidates(similar, shop.same[rows]) if few else local.candidates(similar, shop.same[rows])
        used = chosen.unique()
        place = torch.zeros(similar.shape[1], dtype=torch.long)
        place[used] = torch.arange(len(used))
        queries = local.described(cells(data["maps"][shop.queries[rows.numpy()]].float()))
        references = local.described(cells(data["maps"][shop.refs[used.numpy()]].float()))
        loss, right = local.local_loss(head, queries, references, place[chosen], similar[:, used])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        told.setdefault(kind, []).append(float(right))
        if step % 100 == 99:
            print(step + 1, {key: round(float(np.mean(found[-40:])), 3) for key, found in told.items()}, flush=True)


def _few_candidates(similar: Tensor, same: Tensor) -> Tensor:
    """`local.candidates` for shops of few products: five others at random from the nearer half."""
    own = torch.where(same, torch.rand_like(similar), -1.0).argmax(dim=1, keepdim=True)
    others = similar.masked_fill(same, -9.0) + 0.3 * torch.rand_like(similar)
    return torch.cat([own, others.topk(5, dim=1).indices], dim=1)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train the local head on a settled encoder.")
    for name in ("weights", "head", "real", "stock", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--only-pictures", action="store_true", help="make the pictures and stop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only_pictures:
        squares(options)
        return
    data = prepared(options)
    torch.manual_seed(SEED)
    cells, head = read_head(options.head)
    train(data, cells.train(), head.train(), options.steps)
    torch.save({"mean": {"cells": cells.state_dict(), "head": head.state_dict()}}, options.out)


if __name__ == "__main__":
    main()
