"""Quick figures of encoders on whole, padded pictures: recall@1 by cosine on every set at hand; no bundles, no adapter.

    python models/measure.py DATA FILE-OR-CARD... [--crop] [--sets NAME...] [--together SHARE...]

`--together`: also all of them as one, whose cosines are the weighted means of theirs; what `distill.py` teaches.

For choosing between weights while training; `grozi` and `gaps` are no part of that and run only when they are named.
What is reported is
measured through bundles and the matcher (`benchmarks/encoders.py`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfmatch.models import real
from shelfmatch.models.pictures import HELD_OUT, read_iconic, read_split, to_square

Rows = list[tuple[str, str, Image.Image]]
"""Product, "ref" or "query", picture."""
SETS: Final = ("grocery", "iconic", "phone", "boxes", "fridge")


def grocery(root: Path) -> Rows:
    """Val photos among all train photos."""
    rows: Rows = []
    for split, role in (("train", "ref"), ("val", "query")):
        for path, label in zip(*read_split(root / "grocery", f"{split}.txt"), strict=True):
            rows.append((f"{label:03d}", role, Image.open(path).convert("RGB")))
    return rows


def iconic(root: Path) -> Rows:
    """Val photos among the 81 catalogue pictures."""
    rows: Rows = [
        (f"{label:03d}", "ref", Image.open(path).convert("RGB"))
        for path, label in zip(*read_iconic(root / "grocery"), strict=True)
    ]
    return rows + [row for row in grocery(root) if row[1] == "query"]


def phone(root: Path) -> Rows:
    """Crops of the six classes left out: the first three photos of each, the others."""
    rows, count = [], dict[str, int]()
    for _, sku, crop, _ in sorted(real.phone_crops(root / "phone", out=True, margin=0.06), key=lambda found: found[0]):
        number = count[sku] = count.get(sku, 0) + 1
        rows.append((sku, "ref" if number <= 3 else "query", crop))
    return rows


def fridge(root: Path) -> Rows:
    """Each product's box in the first photo that has it, the other boxes."""
    rows, seen = [], set[str]()
    for photo in json.loads((root / "fridge" / "photos.json").read_text()):
        image = Image.open(root / "fridge" / photo["photo"]).convert("RGB")
        for product in photo["products"]:
            x0, y0, x1, y1 = product["box"]
            px, py = (x1 - x0) * 0.06, (y1 - y0) * 0.06
            crop = image.crop((max(0, int(x0 - px)), max(0, int(y0 - py)), int(x1 + px), int(y1 + py)))
            rows.append((product["sku"], "query" if product["sku"] in seen else "ref", crop))
            seen.add(product["sku"])
    return rows


def grozi(root: Path) -> Rows:
    """Two frames of each product, four others."""
    rows = []
    for folder in sorted((root / "grozi").iterdir()):
        for frame in (0, 11, 4, 5, 6, 7):
            if (folder / f"{frame:02d}.jpg").is_file():
                picture = Image.open(folder / f"{frame:02d}.jpg").convert("RGB")
                rows.append((folder.name, "ref" if frame in (0, 11) else "query", picture))
    return rows


def boxes(root: Path) -> Rows:
    """The boxes left out; queries are hard copies of them: turned, cut, coarse, dark, blurred (`edge.views` and what is here)."""
    from shelfmatch.edge.imaging.views import photo_view

    rows: Rows = []
    for number, path in enumerate(sorted((root / "boxes").glob("*.jpg"))):
        if not real.box_is_out(number):
            continue
        image = Image.open(path).convert("RGB")
        rows.append((path.stem, "ref", image))
        rng = np.random.default_rng(number)
        copy = Image.fromarray(photo_view(np.asarray(image), number * 7))
        if rng.random() < 0.6:
            copy = copy.rotate(rng.uniform(-40, 40), expand=True, fillcolor=real.GREY)
        if rng.random() < 0.5:
            x, y = (rng.uniform(0, 0.25) * length for length in copy.size)
            copy = copy.crop(
                (int(x), int(y), int(copy.width * rng.uniform(0.78, 1)), int(copy.height * rng.uniform(0.78, 1)))
            )
        share = rng.uniform(0.2, 0.7)
        copy = copy.resize((max(24, int(copy.width * share)), max(24, int(copy.height * share))))
        dark = rng.uniform(0.2, 0.6) if rng.random() < 0.4 else 1.0
        noisy = np.asarray(copy, np.float32) * dark + rng.normal(0, rng.uniform(0, 14), (copy.height, copy.width, 1))
        rows.append((path.stem, "query", Image.fromarray(noisy.clip(0, 255).astype(np.uint8))))
    return rows


def rendered(root: Path) -> Rows:
    """500 products of `edge.rendered` that nothing was trained on since: plain picture, hard view."""
    from shelfmatch.edge.synthetic import products as rendering
    from shelfmatch.models.pictures import TEST_DIFFICULTY, TEST_PRODUCTS, TEST_SHOP

    rows: Rows = []
    for product in rendering.make_shop(TEST_PRODUCTS, TEST_SHOP):
        rows.append((product.sku, "ref", rendering.render_plain(product, 480).convert("RGB")))
        rows.append(
            (product.sku, "query", rendering.render_view(product, 0, (640, 480), TEST_DIFFICULTY).convert("RGB"))
        )
    return rows


def saved(folder: Path) -> Rows:
    """Pictures kept in a folder as PRODUCT/ref-*.png and PRODUCT/query-*.png."""
    return [
        (path.parent.name, path.name.split("-")[0], Image.open(path).convert("RGB"))
        for path in sorted(folder.glob("*/*.png"))
    ]


@dataclass(frozen=True)
class Shown:
    """A set as encoders see it: names and roles (N,), squares (N, side, side, 3) by side."""

    names: NDArray[np.str_]
    roles: NDArray[np.str_]
    squares: dict[int, NDArray[np.uint8]]


def shown(name: str, make: Callable[[], Rows], sides: Sequence[int], whole: bool, cache: Path | None) -> Shown:
    """Pictures padded to squares (or their centre squares), kept in `cache` for the next time."""
    file = None if cache is None else cache / f"{name}-{'pad' if whole else 'crop'}.npz"
    if file is not None and file.is_file():
        stored: Any = np.load(file)
        if all(str(side) in stored for side in sides):
            return Shown(stored["names"], stored["roles"], {side: stored[str(side)] for side in sides})
    rows = make()
    pictures = [real.padded(image) if whole else image for _, _, image in rows]
    found = Shown(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        {side: np.stack([to_square(picture, side) for picture in pictures]) for side in sides},
    )
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {str(side): found.squares[side] for side in sides}
        np.savez(file, names=found.names, roles=found.roles, **kept)
    return found


def recall(names: NDArray[np.str_], roles: NDArray[np.str_], embeddings: NDArray[np.float32]) -> float:
    """recall@1 by cosine, 0 to 1."""
    refs = roles == "ref"
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    nearest = names[refs][(unit[~refs] @ unit[refs].T).argmax(axis=1)]
    return float((nearest == names[~refs]).mean())


def embedder(file: Path) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.float32]], int]:
    """Squares → embeddings, and the side; of a card, or of weights that `joint` left (their running mean)."""
    if file.suffix in (".pt", ".npz"):
        return _of_state(file)
    from shelfmatch.edge import Encoder

    encoder = Encoder.load(file, resizer="pillow", threads=1)
    return lambda pixels: np.stack(
        [np.asarray(encoder.embed_pixels(picture)).ravel() for picture in pixels]
    ), encoder.card.width


def _of_state(file: Path) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.float32]], int]:
    import torch

    from shelfmatch.models.export_encoders import weights_of
    from shelfmatch.models.networks import NETWORKS, normalized

    name = "-".join(file.stem.split("-")[:2])
    torch.set_num_threads(1)
    net = weights_of(name, file).to(memory_format=torch.channels_last)

    def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        with torch.no_grad():
            for start in range(0, len(pixels), 32):
                part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 32].transpose(0, 3, 1, 2)))
                rows.append(net(normalized(part).contiguous(memory_format=torch.channels_last)).numpy())
        return np.concatenate(rows)

    return embed, NETWORKS[name].SIDE


MAKING: Final[dict[str, Callable[[Path], Rows]]] = {
    "grocery": grocery, "iconic": iconic, "phone": phone, "fridge": fridge, "boxes": boxes, "grozi": grozi, "rendered": rendered,
}  # fmt: skip


def figures(options: argparse.Namespace) -> Iterator[str]:
    """A line for each set and file."""
    opened = [(file, *embedder(file)) for file in options.files]
    sides = sorted({side for _, _, side in opened} | set(options.sides))
    for name in options.sets:
        make = (
            (lambda name=name: MAKING[name](options.data))
            if name in MAKING
            else (lambda name=name: saved(options.folder / name))
        )
        found = shown(name, make, sides, not options.crop, options.cache)
        every = []
        for file, embed, side in opened:
            embeddings = embed(found.squares[side])
            if options.cache is not None:
                np.save(options.cache / f"{name}-{file.stem}-{'crop' if options.crop else 'pad'}.npy", embeddings)
            every.append(embeddings)
            yield _line(name, file.name, found, embeddings)
        if options.together:
            yield _line(name, "together", found, together(every, options.together))


def together(every: Sequence[NDArray[np.float32]], shares: Sequence[float]) -> NDArray[np.float32]:
    """Embeddings (N, D) of several encoders as one, whose cosines are the weighted means of theirs."""
    units = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in every]
    return np.concatenate([unit * np.float32(share**0.5) for unit, share in zip(units, shares, strict=True)], axis=1)


def _line(name: str, file: str, found: Shown, embeddings: NDArray[np.float32]) -> str:
    line = f"{name:9} {file:36} {100 * recall(found.names, found.roles, embeddings):5.1f}"
    if name == "grocery":
        kept = (found.roles == "ref") | np.isin(found.names, [f"{label:03d}" for label in HELD_OUT])
        line += f"  held-out products {100 * recall(found.names[kept], found.roles[kept], embeddings[kept]):5.1f}"
    return line


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Recall of encoders on padded pictures.")
    parser.add_argument("data", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--folder", type=Path, help="where further sets lie, a folder of products each")
    parser.add_argument("--cache", type=Path, help="keep squares and embeddings there")
    parser.add_argument(
        "--sides", type=int, nargs="*", default=[], help="sides to keep squares of besides the files' own"
    )
    parser.add_argument("--together", type=float, nargs="+", metavar="SHARE", help="of each file in all of them as one")
    parser.add_argument("--crop", action="store_true", help="the centre square, as until now")
    options = parser.parse_args()
    if options.together and len(options.together) != len(options.files):
        parser.error(f"{len(options.together)} shares of {len(options.files)} files; expected one for each")
    further = [name for name in options.sets if name not in MAKING]
    if further and options.folder is None:
        parser.error(f"--sets {' '.join(further)} arrived; expected {', '.join(MAKING)}, or --folder, where others lie")
    for line in figures(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
