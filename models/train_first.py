"""Train "shelfmatch-first-cnn", the embedded encoder until a better one lands: half an hour on one CPU core.

    python models/train_first.py --grocery DATASET --teachers FOLDER --work FOLDER --minutes 20

Needs shelfmatch, its `litert` extra and PyTorch 2.13. What it makes is kept in `--work` and used again: the pictures, the
teachers' features, the weights after every epoch. `models/export_first.py` turns the weights into the device file.

What it learns from, in every batch: rendered products as instances to tell apart (plain picture and hard views, by contrast
within the batch: van den Oord et al. 2018, and a proxy for each), the grocery dataset's train photos and iconic pictures by
label (cosine softmax; iconic pictures are pasted before photos), and the features of two trained MobileNets on the unchanged
picture (cosine, through a projection that is thrown away).
The dataset's val photos and the 16 products of HELD_OUT are never trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.edge import Encoder, rendered
from shelfmatch.export import cut
from shelfmatch.models.first_net import EMBEDDING_DIM, INPUT_SIDE, FirstNet

Pixels = NDArray[np.uint8]

SEED: Final = 2026
SIDE: Final = 144
"""Training pictures are larger than the input, so that crops have room to move."""
PRODUCTS, VIEWS, TEST_PRODUCTS = 1600, 3, 300
TRAIN_SHOP, TEST_SHOP = 900, 901
BATCH_RENDERED, BATCH_PHOTOS, BATCH_ICONIC = 48, 36, 12
TEMPERATURE: Final = 0.1
TEACHERS: Final = {
    "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite": None,
    "tf2_mobilenet_v2_1.0_224_ptq.tflite": "172",
}
TEACHER_DIM: Final = 128
# numpy.random.default_rng(2024).choice(81, 16, replace=False), sorted: Avocado, Banana, Mango, Honeydew-Melon, Watermelon,
# Nectarine, Conference, Kaiser, Oatly-Oat-Milk, Yoggi-Vanilla-Yoghurt, Ginger, Brown-Cap-Mushroom, Solid-Potato, Beef-Tomato,
# Regular-Tomato, Zucchini.
HELD_OUT: Final = (5, 6, 10, 13, 14, 15, 21, 22, 45, 58, 65, 67, 74, 77, 78, 80)


def to_square(image: Image.Image, side: int) -> Pixels:
    """The centre square at `side` pixels: the card's "crop"."""
    image = image.convert("RGB")
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def read_split(grocery: Path, name: str) -> tuple[list[Path], NDArray[np.int64]]:
    """Files and fine labels of train.txt or val.txt."""
    rows = [line.split(",") for line in (grocery / name).read_text().splitlines() if line.strip()]
    return [grocery / row[0].strip() for row in rows], np.array([int(row[1]) for row in rows])


def read_iconic(grocery: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """The 81 catalogue pictures and their labels."""
    with (grocery / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [grocery / row["Iconic Image Path (str)"].lstrip("/") for row in rows]
    return paths, np.array([int(row["Class ID (int)"]) for row in rows])


def _square_file(path: Path) -> Pixels:
    return to_square(Image.open(path), SIDE)


def _render_product(product: rendered.Product) -> Pixels:
    """Plain picture and views of rising difficulty, (1 + VIEWS, SIDE, SIDE, 3)."""
    views = [to_square(rendered.render_plain(product, 2 * SIDE), SIDE)]
    for view in range(VIEWS):
        difficulty = 0.2 + 0.75 * ((view + 0.5 + product.seed % 7 / 7) / VIEWS % 1.0)
        views.append(to_square(rendered.render_view(product, view, (256, 192), difficulty), SIDE))
    return np.stack(views)


def _render_test(product: rendered.Product) -> Pixels:
    """What `evaluate` asks: the plain picture and a hard view, (2, SIDE, SIDE, 3)."""
    view = rendered.render_view(product, 0, (640, 480), 0.7)
    return np.stack([to_square(rendered.render_plain(product, 480), SIDE), to_square(view, SIDE)])


def cached(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array from its file, made and written first where there is none."""
    if not path.exists():
        started = time.monotonic()
        array = make()
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, array)
        temporary.replace(path)
        print(f"made {path.name} {array.shape} in {time.monotonic() - started:.0f} s", flush=True)
    result: NDArray[Any] = np.load(path)
    return result


def parallel(function: Callable[[Any], Any], items: Any) -> NDArray[Any]:
    """One result an item, stacked; on all cores."""
    with multiprocessing.get_context("fork").Pool() as pool:
        return np.stack(pool.map(function, list(items), chunksize=8))


def teacher_features(pictures: Pixels, teachers: Path, work: Path) -> NDArray[np.float16]:
    """Both teachers' unit features of each picture side by side, (N, 1024 + 1280)."""
    parts = []
    for name, output in TEACHERS.items():
        file = teachers / name if output is None else cut(teachers / name, output, work / f"teacher-{output}.tflite")
        encoder = Encoder.load(file, resizer="pillow", sessions=2)
        from shelfmatch.edge.threads import in_order

        parts.append(np.stack(list(in_order(lambda picture, e=encoder: e.embed(picture)[0], pictures, 2, ahead=16))))  # type: ignore[misc]
    return np.concatenate(parts, axis=1).astype(np.float16)


def reduced(features: NDArray[np.float16]) -> Tensor:
    """Teachers' features on their leading principal components, half-whitened: large directions don't drown the others."""
    values = torch.from_numpy(features.astype(np.float32))
    values = values - values.mean(dim=0)
    _, singular, directions = torch.linalg.svd(values, full_matrices=False)
    scale = (singular[:TEACHER_DIM] / math.sqrt(len(values))) ** -0.5
    return functional.normalize(values @ directions[:TEACHER_DIM].T * scale, dim=1)


class CosineHead(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """Cosine classifier: a proxy for each class."""

    def __init__(self, classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, EMBEDDING_DIM) * 0.05)
        self.scale = scale

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = functional.normalize(embeddings, dim=1) @ functional.normalize(self.weight, dim=1).T
        return functional.cross_entropy(cosine * self.scale, labels, label_smoothing=0.05)


def contrast(embeddings: Tensor) -> Tensor:
    """The first half are plain pictures, the second the views of the same products: each finds its own (InfoNCE)."""
    plain, views = functional.normalize(embeddings, dim=1).chunk(2)
    cosine = plain @ views.T / TEMPERATURE
    own = torch.arange(len(plain))
    return (functional.cross_entropy(cosine, own) + functional.cross_entropy(cosine.T, own)) / 2


def augment(pictures: Tensor, keep: float, turn: float, flip: bool) -> Tensor:
    """uint8 (N, 3, SIDE, SIDE) → float (N, 3, INPUT_SIDE, INPUT_SIDE), 0 to 255: framing, light, colour, blur, noise.

    `keep`: the smallest share of the side that a crop keeps; `turn`: standard deviation of the rotation in radians.
    """
    n = len(pictures)
    scale = torch.empty(n).uniform_(keep, 1.08)
    stretch = torch.exp(torch.randn(n) * 0.07)
    angle = torch.randn(n).clamp(-2, 2) * turn
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    room = (1.05 - scale).clamp(min=0.03)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = torch.cos(angle) * scale * stretch * mirror, -torch.sin(angle) * scale
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle) * scale * mirror, torch.cos(angle) * scale / stretch
    theta[:, :, 2] = (torch.rand(n, 2) * 2 - 1) * room[:, None]
    grid = functional.affine_grid(theta, [n, 3, INPUT_SIDE, INPUT_SIDE], align_corners=False)
    x = functional.grid_sample(pictures.float() / 255, grid, padding_mode="reflection", align_corners=False)
    blurred = torch.rand(n) < 0.3
    if blurred.any():
        x[blurred] = functional.avg_pool2d(x[blurred], 3, 1, 1, count_include_pad=False)
    x = x.clamp(1e-3, 1) ** torch.exp(torch.randn(n, 1, 1, 1) * 0.25)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * torch.exp(torch.randn(n, 1, 1, 1) * 0.3)
    middle = x.mean(dim=(2, 3), keepdim=True)
    x = middle + (x - middle) * torch.exp(torch.randn(n, 1, 1, 1) * 0.2)
    x = x * torch.exp(torch.randn(n, 3, 1, 1) * 0.08) * torch.exp(torch.randn(n, 1, 1, 1) * 0.2)
    slope = torch.randn(n, 1, 1, 1) * 0.12 * torch.linspace(-1, 1, INPUT_SIDE).view(1, 1, 1, -1)
    slope = slope + torch.randn(n, 1, 1, 1) * 0.12 * torch.linspace(-1, 1, INPUT_SIDE).view(1, 1, -1, 1)
    x = x * (1 + slope) + torch.randn_like(x) * torch.rand(n, 1, 1, 1) * 0.05
    return (x.clamp(0, 1) * 255).round()


def before_photos(iconic: Tensor, photos: Tensor) -> Tensor:
    """Iconic pictures with their white ground replaced by a photo, for half of them."""
    white = (iconic.amin(dim=1, keepdim=True) > 232) & (torch.rand(len(iconic), 1, 1, 1) < 0.6)
    return torch.where(white, photos, iconic)


class Training:
    """Pictures, network, heads and the loop."""

    def __init__(self, grocery: Path, teachers: Path, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.work = work
        self.sets: dict[str, tuple[Pixels, NDArray[np.int64]]] = {}
        for name, (files, labels) in {
            "train": read_split(grocery, "train.txt"),
            "val": read_split(grocery, "val.txt"),
            "iconic": read_iconic(grocery),
        }.items():
            self.sets[name] = cached(work / f"{name}.npy", lambda files=files: parallel(_square_file, files)), labels  # type: ignore[misc]
        shop = rendered.make_shop(PRODUCTS, TRAIN_SHOP)
        products = cached(work / "products.npy", lambda: parallel(_render_product, shop))
        test_shop = rendered.make_shop(TEST_PRODUCTS, TEST_SHOP)
        self.test = cached(work / "test.npy", lambda: parallel(_render_test, test_shop))

        def usable(name: str) -> tuple[Pixels, NDArray[np.int64]]:
            pictures, labels = self.sets[name]
            kept = ~np.isin(labels, HELD_OUT)
            return pictures[kept], labels[kept]

        photos, photo_labels = usable("train")
        iconic, iconic_labels = usable("iconic")
        known = np.concatenate([photos, iconic, products.reshape(-1, SIDE, SIDE, 3)])
        targets = reduced(cached(work / "teachers.npy", lambda: teacher_features(known, teachers, work)))
        self.photos, self.iconic, flat = (
            torch.from_numpy(part).permute(0, 3, 1, 2).contiguous()
            for part in (photos, iconic, products.reshape(-1, SIDE, SIDE, 3))
        )
        self.products = flat.view(PRODUCTS, 1 + VIEWS, 3, SIDE, SIDE)
        self.photo_targets, self.iconic_targets, product_targets = targets.split([len(photos), len(iconic), len(flat)])
        self.product_targets = product_targets.view(PRODUCTS, 1 + VIEWS, TEACHER_DIM)
        self.photo_labels, self.iconic_labels = torch.from_numpy(photo_labels), torch.from_numpy(iconic_labels)
        self.odds = 1 / torch.bincount(self.photo_labels, minlength=81)[self.photo_labels].float().sqrt()
        torch.manual_seed(SEED)
        self.net = FirstNet().to(memory_format=torch.channels_last)
        self.by_product, self.by_label = CosineHead(PRODUCTS, 16.0), CosineHead(81, 12.0)
        self.projection = nn.Linear(EMBEDDING_DIM, TEACHER_DIM)
        heads = [*self.by_product.parameters(), *self.by_label.parameters(), *self.projection.parameters()]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.net.parameters() if p.ndim > 1], "weight_decay": 0.02},
                {"params": [p for p in self.net.parameters() if p.ndim == 1], "weight_decay": 0.0},
                {"params": heads, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs (rendered first), product labels, grocery labels, teachers' features."""
        product = torch.randperm(PRODUCTS)[: BATCH_RENDERED // 2].repeat(2)
        view = torch.cat(
            [torch.zeros(BATCH_RENDERED // 2, dtype=torch.long), torch.randint(1, 1 + VIEWS, (BATCH_RENDERED // 2,))]
        )
        photo = torch.multinomial(self.odds, BATCH_PHOTOS, replacement=True)
        white = torch.randint(len(self.iconic), (BATCH_ICONIC,))
        ground = torch.randint(len(self.photos), (BATCH_ICONIC,))
        inputs = torch.cat(
            [
                augment(self.products[product, view], keep=0.75, turn=0.12, flip=False),
                augment(self.photos[photo], keep=0.5, turn=0.2, flip=True),
                augment(before_photos(self.iconic[white], self.photos[ground]), keep=0.65, turn=0.25, flip=True),
            ]
        )
        targets = torch.cat(
            [self.product_targets[product, view], self.photo_targets[photo], self.iconic_targets[white]]
        )
        return inputs, product, torch.cat([self.photo_labels[photo], self.iconic_labels[white]]), targets

    def step(self, progress: float, peak: float) -> list[float]:
        """One optimizer step; the three losses."""
        inputs, product, label, targets = self.batch()
        rate = progress / 0.05 if progress < 0.05 else 0.5 * (1 + math.cos(math.pi * (progress - 0.05) / 0.95))
        for group in self.optimizer.param_groups:
            group["lr"] = peak * max(rate, 0.003)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeddings = self.net(inputs.contiguous(memory_format=torch.channels_last))
        embeddings = embeddings.float()
        instances = embeddings[: len(product)]
        losses = [
            contrast(instances) + 0.3 * self.by_product.loss(instances, product),
            self.by_label.loss(embeddings[len(product) :], label),
            5 * (1 - functional.cosine_similarity(self.projection(embeddings), targets, dim=1)).mean(),
        ]
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        return [loss.item() for loss in losses]

    def run(self, minutes: float, peak: float) -> None:
        """Train by the clock: warm-up and cosine decay follow it, so that a shorter run is a whole one."""
        started, steps_an_epoch = time.monotonic(), 60
        log = (self.work / "train.log").open("w")

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=log, flush=True)

        parameters = sum(p.numel() for p in self.net.parameters())
        say(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, {parameters / 1e6:.2f} M parameters, seed {SEED}"
        )
        epoch, progress = 0, 0.0
        while progress < 1:
            self.net.train()
            found: list[list[float]] = []
            began = time.monotonic()
            while len(found) < steps_an_epoch and progress < 1:
                found.append(self.step(progress, peak))
                progress = min(1.0, (time.monotonic() - started) / (60 * minutes))
            epoch += 1
            product, label, distilled = np.mean(found, axis=0)
            speed = len(found) * (BATCH_RENDERED + BATCH_PHOTOS + BATCH_ICONIC) / (time.monotonic() - began)
            line = f"epoch {epoch:3d} progress {progress:.3f} product {product:.3f} label {label:.3f} teacher {distilled:.3f}"
            line += f" {speed:.0f} photos/s"
            if epoch % 10 == 0 or progress >= 1:
                line += " " + json.dumps({name: round(value, 3) for name, value in self.evaluate().items()})
            say(line)
            torch.save(self.net.state_dict(), self.work / "first_cnn.tmp")
            (self.work / "first_cnn.tmp").replace(self.work / "first_cnn.pt")

    def embed(self, pictures: Pixels) -> NDArray[np.float32]:
        """(N, D) unit embeddings of pictures of any side."""
        self.net.eval()
        parts = []
        with torch.no_grad():
            for start in range(0, len(pictures), 64):
                batch = torch.from_numpy(pictures[start : start + 64]).permute(0, 3, 1, 2).float()
                batch = functional.interpolate(batch, (INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True)
                parts.append(functional.normalize(self.net(batch), dim=1).numpy())
        return np.concatenate(parts)

    def evaluate(self) -> dict[str, float]:
        """Recall from 0 to 1: val photos against train photos and against iconic pictures, hard rendered views against plain."""
        vectors = {name: self.embed(pictures) for name, (pictures, _) in self.sets.items()}
        labels = {name: found for name, (_, found) in self.sets.items()}
        unseen = np.isin(labels["val"], HELD_OUT)
        first = labels["train"][(vectors["val"] @ vectors["train"].T).argmax(axis=1)] == labels["val"]
        iconic = labels["iconic"][np.argsort(-(vectors["val"] @ vectors["iconic"].T), axis=1)] == labels["val"][:, None]
        plain, hard = self.embed(self.test[:, 0]), self.embed(self.test[:, 1])
        return {
            "photos_r1": float(first.mean()),
            "photos_held_out_r1": float(first[unseen].mean()),
            "iconic_r1": float(iconic[:, 0].mean()),
            "iconic_r5": float(iconic[:, :5].any(axis=1).mean()),
            "rendered_r1": float(((hard @ plain.T).argmax(axis=1) == np.arange(len(plain))).mean()),
        }


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train shelfmatch-first-cnn.")
    parser.add_argument("--grocery", type=Path, required=True, help="the Grocery Store Dataset's folder")
    parser.add_argument("--teachers", type=Path, required=True, help="the folder with the teachers' .tflite files")
    parser.add_argument("--work", type=Path, required=True, help="where pictures, features and weights are kept")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="training time, after the preparation (default: 20)"
    )
    parser.add_argument("--threads", type=int, default=1, help="more than one only on an idle machine (default: 1)")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    Training(options.grocery, options.teachers, options.work).run(options.minutes, options.learning_rate)


if __name__ == "__main__":
    main()
