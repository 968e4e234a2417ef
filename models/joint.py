"""Train all encoders and the local head at once, on printed packages and real photos; on a GPU in minutes, on a CPU slowly.

    python models/joint.py --stock STOCK --real REAL.npz --weights models --out OUT --seconds 540

Needs the `train` extra. STOCK is what `printer/gather.py` collects, REAL.npz what `real.py` packs. The encoders go on
from the fp32 ONNX
files in `--weights` (the smallest from the CNN's), or from the states that an earlier run left in OUT. The learning
rate follows the
clock: a rise, then a cosine to nothing at the end of `--seconds`. Every `--keep` seconds the states are written.

Every batch holds printed products, several variants of each family among them, boxes, groceries and phone photos,
each product once as
a catalogue shows it and once as it is met. All are pulled together or apart by product (supervised contrast), the real classes have
proxies (CosFace), and what Coral's MobileNetV1 and V2 see in the unchanged photos stays readable. The smallest
imitates the CNN, too.
The weights kept are running means.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.models import local, real
from shelfmatch.models.losses import CosFace, apart, supervised_contrast
from shelfmatch.models.mixer import BOX_LABELS, PHONE_LABELS, PROXIES, Batch, Mixer, Portions, Reals
from shelfmatch.models.networks import EMBEDDING_DIM, NETWORKS, Unit, from_onnx, normalized
from shelfmatch.models.norms import restore_norms
from shelfmatch.models.printer.press import Press
from shelfmatch.models.printer.stock import Stock

SEED: Final = 21
BEGIN_WITH: Final = {
    "shelfmatch-cnn": "shelfmatch-cnn",
    "shelfmatch-vit": "shelfmatch-vit",
    "shelfmatch-nano": "shelfmatch-cnn",
}
PEAK_RATES: Final = {"shelfmatch-cnn": 8e-4, "shelfmatch-vit": 8e-4, "shelfmatch-nano": 1.2e-3}
TEACHER_DIM: Final = 192
MEAN_DECAY: Final = 0.995


class Student:
    """One encoder in training: its network, heads, optimizer and running mean."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.net: Any = NETWORKS[name]().to(device)
        self.classes = CosFace(PROXIES, EMBEDDING_DIM, scale=20.0, margin=0.15).to(device)
        self.teacher = nn.Linear(EMBEDDING_DIM, TEACHER_DIM).to(device)
        self.imitates = nn.Linear(EMBEDDING_DIM, EMBEDDING_DIM).to(device)
        self.cells, self.head = local.Cells().to(device), local.LocalHead().to(device)
        self.looks_closer = name == "shelfmatch-cnn"
        self.done = 0

    def parts(self) -> dict[str, nn.Module]:
        """All that is trained, by name."""
        found = {"net": self.net, "classes": self.classes, "teacher": self.teacher, "imitates": self.imitates}
        return found | ({"cells": self.cells, "head": self.head} if self.looks_closer else {})

    def begin(self, folder: Path, pictures: Tensor) -> None:
        """Weights of the folded file it goes on from; the norms get the statistics of `pictures` (N, 3, side, side), 0 to 255."""
        source = BEGIN_WITH[self.name]
        folded = from_onnx(source, folder / f"{source}-fp32.onnx").to(self.device)
        with torch.no_grad():
            _take(self.net, folded, self._sized(pictures))

    def ready(self) -> None:
        """Make the optimizer and the running mean, once the weights are there."""
        self.net = self.net.to(memory_format=torch.channels_last)
        self.mean = {
            part: {key: value.detach().clone() for key, value in module.state_dict().items()}
            for part, module in self.parts().items()
        }
        groups = []
        for part, module in self.parts().items():
            rate = PEAK_RATES[self.name] if part == "net" else 3e-3
            for decays in (True, False):
                chosen = [p for p in module.parameters() if (p.ndim > 1) == decays]
                groups.append({"params": chosen, "weight_decay": 0.03 if decays else 0.0, "peak": rate})
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=1e-4, foreach=True)

    def _sized(self, pixels: Tensor) -> Tensor:
        side = type(self.net).SIDE
        if side == pixels.shape[-1]:
            return pixels
        return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embeddings (N, 256) and, where it looks closer, the tapped map; of pictures 0 to 255."""
        ready = normalized(self._sized(pixels)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            if self.looks_closer:
                embeddings, tap = self.net.mapped(ready)
                return embeddings.float(), tap.float()
            return self.net(ready).float(), None

    def learn(
        self, batch: Batch, reals: Reals, imitate: Tensor | None, share: float, portions: Portions
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One optimizer step at a share of the peak rate; losses and figures, and the embeddings."""
        embeddings, tap = self.see(batch.pixels)
        losses, told = self._losses(batch, embeddings, reals)
        if imitate is not None:
            losses["imitation"] = 4.0 * apart(self.imitates(embeddings), imitate)
        if tap is not None:
            losses["local"], told["local@1"] = self._local(batch, embeddings, tap, portions)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * max(share, 0.003)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(
            [p for module in self.parts().values() for p in module.parameters()], 5.0, foreach=True
        )
        self.optimizer.step()
        self.done += 1
        self._follow()
        return {key: value.detach() for key, value in (losses | told).items()}, embeddings.detach()

    def _losses(self, batch: Batch, embeddings: Tensor, reals: Reals) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        half, count = len(embeddings) // 2, len(batch.rows) // 2
        named = torch.cat([torch.arange(half - count, half), torch.arange(2 * half - count, 2 * half)]).to(
            embeddings.device
        )
        labels = batch.labels[named]
        classed = labels < BOX_LABELS
        proxies = torch.where(labels >= PHONE_LABELS, labels - PHONE_LABELS + 90, labels).clamp(max=PROXIES - 1)
        weight = classed.float()
        by_class = self.classes.each(embeddings[named], proxies)
        losses = {
            "contrast": supervised_contrast(embeddings, batch.labels, temperature=0.07),
            "class": 0.5 * (by_class * weight).sum() / weight.sum().clamp(min=1),
            "teacher": 5.0 * apart(self.teacher(embeddings[named]), reals.features[batch.rows]),
        }
        unit = functional.normalize(embeddings.detach(), dim=1)
        right = batch.labels[(unit[half:] @ unit[:half].T).argmax(dim=1)] == batch.labels[half:]
        return losses, {
            "printed@1": right[: half - count].float().mean(),
            "real@1": right[half - count :].float().mean(),
        }

    def _local(self, batch: Batch, embeddings: Tensor, tap: Tensor, portions: Portions) -> tuple[Tensor, Tensor]:
        half = len(embeddings) // 2
        gentle = tap.detach() + 0.3 * (tap - tap.detach())
        described = local.described(self.cells(gentle))
        unit = functional.normalize(embeddings.detach(), dim=1)
        queries = torch.randperm(half, device=unit.device)[: portions.local]
        similar = unit[half:][queries] @ unit[:half].T
        same = batch.labels[half:][queries][:, None] == batch.labels[None, :half]
        chosen = local.candidates(similar, same)
        return local.local_loss(self.head, described[half:][queries], described[:half], chosen, similar)

    def _follow(self) -> None:
        decay = min(MEAN_DECAY, self.done / (self.done + 20))
        with torch.no_grad():
            for part, module in self.parts().items():
                pairs = [
                    (self.mean[part][key], value)
                    for key, value in module.state_dict().items()
                    if value.is_floating_point()
                ]
                torch._foreach_lerp_([mean for mean, _ in pairs], [value for _, value in pairs], 1 - decay)

    def keep(self, folder: Path) -> None:
        """Write the weights and their running means, as half-precision numbers where they are means."""
        half = {
            part: {k: v.half() if v.is_floating_point() else v for k, v in mean.items()}
            for part, mean in self.mean.items()
        }
        state = {
            "done": self.done,
            "mean": half,
            "now": {part: module.state_dict() for part, module in self.parts().items()},
        }
        temporary = folder / f"{self.name}-state.tmp"
        torch.save(state, temporary)
        temporary.replace(folder / f"{self.name}-state.pt")

    def resume(self, path: Path) -> None:
        """Weights that an earlier run kept; its optimizer begins anew."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        for part, module in self.parts().items():
            module.load_state_dict(state["now"][part])


def _take(net: Any, folded: Any, pictures: Tensor) -> None:
    """Fill what `net` has in common with a folded network, front to back, and restore its norms."""

    def units(of: Any) -> list[Any]:
        return [
            m
            for part in ("stem", "blocks", "transformer", "head")
            if hasattr(of, part)
            for m in getattr(of, part).modules()
            if isinstance(m, Unit)
        ]

    taken = set()
    for unit, their in zip(units(net), units(folded), strict=False):
        if unit.conv.weight.shape != their.conv.weight.shape:
            break
        unit.conv.weight.copy_(their.conv.weight)
        unit.norm.weight.fill_(1.0)
        unit.norm.bias.copy_(their.conv.bias)
        taken.add(unit)
    if len(taken) == len(units(net)):
        net.embed.load_state_dict(folded.embed.state_dict())
    restore_norms(net, taken, pictures)


def share_of_peak(progress: float) -> float:
    """The learning rate's share of its peak at a share of the time: a short rise, a cosine to nothing."""
    return progress / 0.05 if progress < 0.05 else 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.05) / 0.95)))


def write_sheet(pixels: Tensor, path: Path) -> None:
    """A batch as one picture: below each reference its query."""
    half = len(pixels) // 2
    kept = half // 24 * 24
    tiles = torch.stack(
        [pixels[:kept].view(-1, 24, *pixels.shape[1:]), pixels[half : half + kept].view(-1, 24, *pixels.shape[1:])],
        dim=1,
    )
    rows = tiles.flatten(0, 1).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    Image.fromarray(rows.to(torch.uint8).cpu().numpy()).save(path)


class Clock:
    """Milliseconds that parts of the first steps take, measured by waiting for the device; it waits no longer after them."""

    def __init__(self, steps: int) -> None:
        self.left, self.spent, self.last = steps, {}, 0.0  # type: ignore[var-annotated]

    def tick(self, part: str) -> None:
        """What has passed since the last tick goes to `part`."""
        if self.left <= 0:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.monotonic()
        if part:
            self.spent.setdefault(part, []).append(1e3 * (now - self.last))
        else:
            self.left -= 1
        self.last = now

    def __str__(self) -> str:
        return ", ".join(f"{part} {np.median(spent):.0f} ms" for part, spent in self.spent.items())


def train(students: Sequence[Student], mixer: Mixer, out: Path, options: argparse.Namespace) -> None:
    """Until the time is up, or the steps are done."""
    seconds, most_steps = options.seconds, options.steps
    began = kept = said = time.monotonic()
    step, clock = 0, Clock(40)
    while step < most_steps and (now := time.monotonic()) - began < seconds:
        clock.tick("")
        batch = mixer.batch()
        clock.tick("mixing")
        share = share_of_peak(max((now - began) / seconds, step / most_steps))
        imitate: Tensor | None = None
        told: dict[str, dict[str, Tensor]] = {}
        for student, every in zip(students, options.every, strict=False):
            if step % every:
                continue
            wanted = imitate if student.name == "shelfmatch-nano" else None
            told[student.name], seen = student.learn(batch, mixer.reals, wanted, share, mixer.portions)
            imitate = seen if student.name == "shelfmatch-cnn" else imitate
            clock.tick(student.name)
        step += 1
        if step in (3, 11, 31) or (now - said > 20 and step % 2):
            said = now
            if step < 100:
                print(
                    clock,
                    f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "",
                    flush=True,
                )
            print(
                f"step {step} {time.monotonic() - began:.0f} s, {mixer.press.printed} printed, rate {share:.2f}",
                flush=True,
            )
            for name, figures in told.items():
                print("  ", name, " ".join(f"{key} {value.item():.3f}" for key, value in figures.items()), flush=True)
        if now - kept > options.keep:
            kept = now
            for student in students:
                student.keep(out)
    for student in students:
        student.keep(out)
    print(f"{step} steps, {step * len(batch.pixels)} pictures in {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train shelfmatch's encoders and local head together.")
    parser.add_argument("--stock", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="the folder with the fp32 ONNX files to go on from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--keep", type=float, default=100, help="seconds between kept states")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--pool", type=int, default=16_384)
    parser.add_argument(
        "--every", type=int, nargs=3, default=[1, 1, 1], help="each network learns from every so many-th batch"
    )
    parser.add_argument("--sheet", type=Path, help="write a batch as a picture there, to look at")
    parser.add_argument("--networks", nargs="+", default=list(BEGIN_WITH), choices=list(BEGIN_WITH))
    parser.add_argument("--portions", type=int, nargs=6, help="runs, siblings, boxes, grocery, phone, local")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    photos = [found.image for found, _ in real.read(options.real) if found.kind in ("grocery", "iconic")][::7]
    press = Press(lambda: Stock(options.stock, photos), options.workers, options.pool, options.seed * 10_000_000)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    press.open(device)
    portions = Portions(*options.portions) if options.portions else Portions()
    mixer = Mixer(press, Reals(options.real, device), portions, options.seed)
    press.wait(min(options.pool, 24 * portions.runs * portions.siblings // 4))
    sample = mixer.batch().pixels
    if options.sheet:
        write_sheet(sample, options.sheet)
    students = [Student(name, device) for name in options.networks]
    for student in students:
        kept = options.out / f"{student.name}-state.pt"
        if kept.is_file():
            student.resume(kept)
        else:
            student.begin(options.weights, sample)
        student.ready()
        student.net.train()
    train(students, mixer, options.out, options)
    press.close()


if __name__ == "__main__":
    main()
