"""Train the embedded encoders, "shelfmatch-cnn" and "shelfmatch-vit", on a CPU.

    python models/train.py cnn --grocery DATASET --teachers FOLDER --work FOLDER
    python models/train.py vit --grocery DATASET --teachers FOLDER --work FOLDER
    python models/train.py vit --grocery DATASET --teachers FOLDER --work OTHER --pair FOLDER

Needs the `train` extra. What it makes is kept in `--work` and used again: pictures, the teachers' features, and after every
epoch the whole state of the run, from which the same command goes on. `models/export_encoders.py` makes the device files.

Both networks begin with the weights of a MobileNetV2 trained on ImageNet. Every batch holds rendered products as instances to
tell apart (plain picture and a hard view of each, siblings together), the grocery dataset's train photos, and its catalogue
pictures, plain and set before photos; all are pulled together or apart by product (supervised contrast, CosFace proxies for
the grocery products), and the features of two trained MobileNets on the unchanged pictures are kept (cosine, through a
projection that is thrown away). The dataset's val photos and the 16 products of `pictures.HELD_OUT` are never trained on.
The weights kept are a running mean of the last ones.

With `--pair`, a folder with the fp32 files of both encoders, the transformer goes on from its own, imitates what both see
together (see `Pair`), and keeps the features of a third network, EfficientNet-Lite2, as well.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from shelfmatch.edge.imaging.views import packshot_mask
from shelfmatch.edge.synthetic.products import make_shop
from shelfmatch.models import pictures as data
from shelfmatch.models import pretrained
from shelfmatch.models.augment import Framing, as_photographed, framed, pasted
from shelfmatch.models.losses import CosFace, apart, reduced, supervised_contrast
from shelfmatch.models.networks import EMBEDDING_DIM, NETWORKS, from_onnx, normalized
from shelfmatch.models.pair import PAIR, Pair, embed, mixed_precision, precision, tensor_of

SEED: Final = 2026
LOSSES: Final = ("class", "contrast", "teacher", "imitation")
"""What the log tells of, in the order of `Training.losses`; there is no last one without a pair."""
STEPS_AN_EPOCH: Final = 62
PAIRED: Final = 14
"""Of a batch: catalogue pictures each with a photo of the same product."""
MEAN_DECAY: Final = 0.993
PHOTO = Framing(0.45, 1.05, turn=0.2)
PLAIN = Framing(0.85, 1.25, turn=0.06)
PASTED = Framing(0.75, 1.7, turn=0.35)
HEAP = Framing(1.3, 2.2, turn=0.6)
VIEW = Framing(0.72, 1.05, turn=0.1)


@dataclass(frozen=True)
class Recipe:
    """What differs between the runs: optimizer steps, the peak learning rate of what begins trained, the weight of the
    teachers' loss beside the two losses by product, and what a batch holds besides `PAIRED`: photos, pairs of rendered pictures.
    `fresh_rate` is the peak rate of the layers that have no trained weights in MobileNetV2, `imitation_weight` that of the loss
    by `Pair`; `teacher_dim` is how many numbers of the teachers' features it is to keep.
    """

    steps: int
    rate: float
    teacher_weight: float
    photos: int
    families: int
    fresh_rate: float = 2e-3
    imitation_weight: float = 0.0
    teacher_dim: int = 192


RECIPES: Final = {
    "cnn": Recipe(2480, 3e-4, 8.0, 32, 17),
    # By the other's recipe and 1,240 steps it finds more of what it was trained on (73 of 100 val photos of those products instead
    # of 68, 62 of 100 rendered products instead of 50), and less of the 16 products that it wasn't (24 of 55 photos instead of 37);
    # at this rate with a teachers' weight of 16, 71 of 100, 58 of 100, and 29 of 55.
    "vit": Recipe(620, 2e-4, 5.0, 26, 20),
}
RECIPES_WITH_A_PAIR: Final = {
    "vit": Recipe(992, 3e-4, 5.0, 26, 20, fresh_rate=6e-4, imitation_weight=20.0, teacher_dim=256),
}
FROZEN_BLOCKS: Final = 3
"""Blocks after the stem that stay as they were trained on ImageNet, norms included: edges and colours."""


class Training:
    """Pictures, network, heads and the loop. `pair`: the folder with the fp32 files of both encoders, to go on from."""

    def __init__(
        self,
        name: str,
        grocery: Path,
        teachers: Path,
        work: Path,
        steps: int | None = None,
        pair: Path | None = None,
    ) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.recipe = (RECIPES if pair is None else RECIPES_WITH_A_PAIR)[name]
        self.name, self.work, self.steps, self.done = name, work, steps or self.recipe.steps, 0
        self._load(grocery, teachers, third_teacher=pair is not None)
        torch.manual_seed(SEED)
        self.net = NETWORKS[f"shelfmatch-{self.name}"]()
        sample = (
            torch.cat(
                [
                    framed(self.photos[::12], PHOTO),
                    framed(self._products(torch.arange(min(200, len(self.rendered))), 1), VIEW),
                ]
            )
            * 255
        )
        self.pair: Pair | None = None
        if pair is None:
            pretrained.begin_with(self.net, teachers / pretrained.FILE, sample)
        else:
            shown = self.rendered[::16].reshape(-1, *self.rendered.shape[2:])
            self.pair = Pair(pair, [*self.sets["train"].without(data.HELD_OUT).pixels, *shown])
            self.pair.begin(self.net, f"shelfmatch-{name}", sample)
        self.net = self.net.to(memory_format=torch.channels_last)
        self.frozen = [self.net.stem, *self.net.blocks[:FROZEN_BLOCKS]]
        for part in self.frozen:
            part.requires_grad_(False)
        self.classes = CosFace(81, EMBEDDING_DIM, scale=20.0, margin=0.1)
        self.projection = nn.Linear(EMBEDDING_DIM, self.recipe.teacher_dim)
        self.mean = {key: value.clone() for key, value in self.net.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=1.0)

    def _load(self, grocery: Path, teachers: Path, third_teacher: bool) -> None:
        self.sets = {split: data.photos(grocery, self.work, split) for split in ("train", "val", "iconic")}
        self.test = data.rendered_test(self.work)
        products = data.rendered_train(self.work)
        photos, iconic = (self.sets[split].without(data.HELD_OUT) for split in ("train", "iconic"))
        flat = products.reshape(-1, *products.shape[2:])
        parts = {"photos": photos.pixels, "iconic": iconic.pixels, "rendered": flat}
        features = np.concatenate(
            [data.teacher_features(key, each, teachers, self.work) for key, each in parts.items()]
        )
        if third_teacher:
            third = np.concatenate([data.lite2_features(key, each, self.work) for key, each in parts.items()])
            features = np.concatenate([features, third], axis=1)
        targets = reduced(features, self.recipe.teacher_dim).split([len(pixels) for pixels in parts.values()])
        self.photo_targets, self.iconic_targets = targets[:2]
        self.rendered_targets = targets[2].view(len(products), -1, self.recipe.teacher_dim)
        self.photos, self.photo_labels = tensor_of(photos.pixels), torch.from_numpy(photos.labels)
        self.iconic, self.iconic_labels = tensor_of(iconic.pixels), torch.from_numpy(iconic.labels)
        self.rendered = products
        # Print is not mirrored in shops; fruit may be.
        self.printed = torch.tensor(["Packages" in path.parts for path in data.read_iconic(grocery)[0]])
        masks = [packshot_mask(picture) for picture in iconic.pixels]
        self.cut_out = torch.tensor([mask is not None for mask in masks])
        whole = np.ones(iconic.pixels.shape[1:3], bool)
        self.masks = tensor_of(np.stack([whole if mask is None else mask for mask in masks])[..., None] * np.uint8(255))
        self.odds = 1 / torch.bincount(self.photo_labels, minlength=81)[self.photo_labels].float().sqrt()
        self.by_class = [torch.nonzero(self.photo_labels == label).flatten() for label in self.iconic_labels]
        seeds = np.array([product.seed // 8 for product in make_shop(len(products), data.TRAIN_SHOP)])
        starts = np.flatnonzero(np.r_[True, seeds[1:] != seeds[:-1]])
        self.families = [torch.arange(a, b) for a, b in zip(starts, [*starts[1:], len(seeds)], strict=True)]

    def _groups(self) -> list[dict[str, Any]]:
        fresh = {
            id(p) for part in ("transformer", "embed") for p in getattr(self.net, part, nn.Identity()).parameters()
        }
        if hasattr(self.net, "transformer"):
            fresh |= {id(p) for p in self.net.head.parameters()}
        free = [p for p in self.net.parameters() if p.requires_grad]
        groups = []
        for weights in (True, False):
            decay = 0.03 if weights else 0.0
            for new in (True, False):
                chosen = [p for p in free if (p.ndim > 1) == weights and (id(p) in fresh) == new]
                rate = self.recipe.fresh_rate if new else self.recipe.rate
                groups.append({"params": chosen, "weight_decay": decay, "peak": rate})
        heads = [*self.classes.parameters(), *self.projection.parameters()]
        groups.append({"params": heads, "weight_decay": 0.0, "peak": 4e-3})
        return [group for group in groups if group["params"]]

    def _catalogue_pictures(self, chosen: Tensor) -> Tensor:
        """(N, 3, INPUT_SIDE, INPUT_SIDE), 0 to 1: plain, set before a photo, or heaped up there."""
        x = framed(self.iconic[chosen], PLAIN)
        draw = torch.rand(len(chosen))
        for kind, framing, copies in (((draw > 0.45) & (draw < 0.75), PASTED, 1), (draw >= 0.75, HEAP, 7)):
            which = torch.nonzero(kind & self.cut_out[chosen]).flatten()
            if len(which):
                pictures, flips = chosen[which], ~self.printed[self.iconic_labels[chosen[which]]]
                before = framed(self.photos[torch.randint(len(self.photos), (len(which),))], PHOTO)
                x[which] = pasted(self.iconic[pictures], self.masks[pictures], before, framing, flips, copies)
        return x

    def _products(self, chosen: Tensor, view: Tensor | int) -> Tensor:
        """Rendered pictures (N, 3, side, side) uint8 of products; view 0 is the plain one."""
        return tensor_of(self.rendered[chosen.numpy(), view if isinstance(view, int) else view.numpy()])

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (N, 3, side, side), 0 to 255; products (N,), those of the grocery dataset below 81; targets (N, T)."""
        iconic = torch.randperm(len(self.iconic))[:PAIRED]
        same = torch.stack([self.by_class[i][torch.randint(len(self.by_class[i]), ())] for i in iconic])
        photo = torch.cat([same, torch.multinomial(self.odds, self.recipe.photos, replacement=True)])
        products: list[Tensor] = []
        while sum(map(len, products)) < self.recipe.families:
            products.append(self.families[int(torch.randint(len(self.families), ()))])
        product = torch.cat(products)[: self.recipe.families]
        view = torch.randint(1, 1 + data.VIEWS, (len(product),))
        catalogue = self._catalogue_pictures(iconic)
        x = torch.cat(
            [
                as_photographed(catalogue, 0.8),
                as_photographed(framed(self.photos[photo], PHOTO, ~self.printed[self.photo_labels[photo]])),
                as_photographed(framed(self._products(product, 0), PLAIN), 0.6),
                as_photographed(framed(self._products(product, view), VIEW), 0.6),
            ]
        )
        labels = torch.cat([self.iconic_labels[iconic], self.photo_labels[photo], 81 + product, 81 + product])
        targets = [self.iconic_targets[iconic], self.photo_targets[photo]]
        targets += [self.rendered_targets[product, 0], self.rendered_targets[product, view]]
        return x, labels, torch.cat(targets)

    def step(self) -> list[float]:
        """One optimizer step; its `LOSSES`."""
        x, labels, targets = self.batch()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * max(self.rate(), 0.002)
        losses = self.losses(x, labels, targets)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.done += 1
        # Early on the mean follows closely; later it spans some hundred steps.
        decay = min(MEAN_DECAY, self.done / (self.done + 20))
        for key, value in self.net.state_dict().items():
            if value.is_floating_point():
                self.mean[key].lerp_(value.float(), 1 - decay)
        return [loss.item() for loss in losses]

    def rate(self) -> float:
        """The learning rate as a share of its peak: a short rise, a cosine to nothing."""
        progress = self.done / self.steps
        return progress / 0.04 if progress < 0.04 else 0.5 * (1 + math.cos(math.pi * (progress - 0.04) / 0.96))

    def losses(self, x: Tensor, labels: Tensor, targets: Tensor) -> list[Tensor]:
        """By class, by contrast, by what the teachers see, by what a pair sees."""
        pixels = normalized(x).contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            embeddings = self.net(pixels)
        embeddings = embeddings.float()
        grocery = labels < 81
        losses = [
            self.classes(embeddings[grocery], labels[grocery]),
            supervised_contrast(embeddings, labels, temperature=0.1),
            self.recipe.teacher_weight * apart(self.projection(embeddings), targets),
        ]
        if self.pair is not None:
            losses.append(self.recipe.imitation_weight * apart(embeddings, self.pair(pixels)))
        return losses

    def train_mode(self) -> None:
        """Everything learns but what is frozen, whose norms keep their statistics."""
        self.net.train()
        for part in self.frozen:
            part.eval()

    def run(self) -> None:
        """Until all steps are done, keeping the state after every epoch."""

        def say(line: str) -> None:
            print(line, flush=True)
            with (self.work / f"{self.name}.log").open("a") as log:
                print(line, file=log)

        if self.done == 0:
            size = sum(p.numel() for p in self.net.parameters()) / 1e6
            say(
                f"{self.name}: torch {torch.__version__}, {torch.get_num_threads()} threads, {precision()}, "
                f"{size:.2f} M parameters, seed {SEED}"
            )
        while self.done < self.steps:
            self.train_mode()
            began = time.monotonic()
            found: list[list[float]] = []
            while not found or (self.done % STEPS_AN_EPOCH and self.done != self.steps):
                found.append(self.step())
            seconds = time.monotonic() - began
            means = zip(LOSSES, np.mean(found, axis=0), strict=False)
            line = f"step {self.done:5d}/{self.steps} " + " ".join(f"{name} {mean:.3f}" for name, mean in means)
            line += f" {seconds / len(found):.2f} s/step"
            if self.done == self.steps:
                line += " " + json.dumps(self.evaluate())
            say(line)
            self.keep()

    def keep(self) -> None:
        """Write the state of the run, and the weights that `export_encoders.py` takes."""
        state = {
            "steps": self.steps,
            "imitates": self.pair is not None,
            "done": self.done,
            "net": self.net.state_dict(),
            "heads": [self.classes.state_dict(), self.projection.state_dict()],
            "mean": self.mean,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        for target, value in ((f"{self.name}-state.pt", state), (f"{self.name}.pt", self.mean)):
            temporary = self.work / f"{target}.tmp"
            torch.save(value, temporary)
            temporary.replace(self.work / target)

    def resume(self) -> None:
        """Go on from the last kept state, if there is one."""
        path = self.work / f"{self.name}-state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if (state["steps"], state["imitates"]) != (self.steps, self.pair is not None):
            kind = "with" if state["imitates"] else "without"
            raise SystemExit(
                f"{path} is of a run of {state['steps']} steps {kind} a pair; expected one of {self.steps} steps "
                f"{'without' if self.pair is None else 'with'} one; delete it to begin again, or take another --work"
            )
        self.done, self.mean = state["done"], state["mean"]
        self.net.load_state_dict(state["net"])
        for head, values in zip((self.classes, self.projection), state["heads"], strict=True):
            head.load_state_dict(values)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])

    def evaluate(self) -> dict[str, float]:
        """Of the mean weights, percent: recall of val photos among all train photos, those of held-out products alone, among
        the 81 catalogue pictures; of hard views of unseen rendered products among their plain pictures."""
        net = NETWORKS[f"shelfmatch-{self.name}"]()
        net.load_state_dict(self.mean)
        net = net.eval().to(memory_format=torch.channels_last)
        vectors = {split: embed(net, found.pixels) for split, found in self.sets.items()}
        labels = {split: found.labels for split, found in self.sets.items()}
        unseen = np.isin(labels["val"], data.HELD_OUT)
        first = labels["train"][(vectors["val"] @ vectors["train"].T).argmax(axis=1)] == labels["val"]
        iconic = labels["iconic"][np.argsort(-(vectors["val"] @ vectors["iconic"].T), axis=1)] == labels["val"][:, None]
        plain, hard = embed(net, self.test[:, 0]), embed(net, self.test[:, 1])
        result = {
            "photos_r1": first.mean(),
            "photos_unseen_r1": first[unseen].mean(),
            "iconic_r1": iconic[:, 0].mean(),
            "iconic_r5": iconic[:, :5].any(axis=1).mean(),
            "iconic_unseen_r1": iconic[unseen, 0].mean(),
            "rendered_r1": ((hard @ plain.T).argmax(axis=1) == np.arange(len(plain))).mean(),
        }
        return {key: round(100 * float(value), 1) for key, value in result.items()}


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train shelfmatch's embedded encoders.")
    parser.add_argument("network", choices=sorted(RECIPES))
    parser.add_argument("--grocery", type=Path, required=True, help="the Grocery Store Dataset's folder")
    parser.add_argument("--teachers", type=Path, required=True, help="the folder with the teachers' .tflite files")
    parser.add_argument("--work", type=Path, required=True, help="where pictures, features and weights are kept")
    parser.add_argument(
        "--pair", type=Path, metavar="FOLDER", help="vit: go on from the fp32 files of both encoders there"
    )
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the recipe's)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.pair and options.network not in RECIPES_WITH_A_PAIR:
        parser.error(f"--pair has a recipe for {', '.join(RECIPES_WITH_A_PAIR)} only, not for {options.network}")
    for name in PAIR if options.pair else ():
        needed = options.pair / f"{name}-fp32.onnx"
        if not needed.is_file():
            parser.error(f"{needed} is not there; expected what export_encoders.py makes of a first run")
        try:  # now, and not after the pictures, which take a quarter of an hour
            from_onnx(name, needed)
        except ValueError as error:
            parser.error(str(error))
    torch.set_num_threads(options.threads)
    training = Training(options.network, options.grocery, options.teachers, options.work, options.steps, options.pair)
    training.resume()
    training.run()


if __name__ == "__main__":
    main()
