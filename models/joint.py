"""Train encoders and the local head at once, on printed packages and real photos; on a GPU in minutes, on a CPU in hours.

    python models/joint.py --stock STOCK --real REAL.npz --weights models --out OUT --seconds 540
    python models/joint.py … --seconds 5800 --networks shelfmatch-cnn --portions 20 4 44 20 8 48 --frozen 4 --fresh 0.5 \\
        --workers 1 --pool 9216 --rate 0.45

Needs the `train` extra. STOCK is what `printer/gather.py` collects, REAL.npz what `real.py` packs. An encoder goes on from the
state that an earlier run left in OUT, or else from the small file that one left in `--weights` (NAME.npz), or else from the fp32
ONNX file there (the smallest from the CNN's). The learning rate follows the clock: a rise, then a cosine to nothing at the end of
`--seconds`. Every `--keep` seconds the states are written.

Every batch holds printed products, several variants of each family among them, boxes, groceries and phone photos, each product
once as a catalogue shows it and once as it is met. All are pulled together or apart by product (supervised contrast), the real
classes have proxies (CosFace), and what Coral's MobileNetV1 and V2 see in the unchanged photos stays readable. The smallest
imitates the CNN, too, where both are trained. The weights kept are running means.

The second line is for two cores without a GPU: one photographs (`ahead`), one learns, 70 pictures a second on an EPYC with
bfloat16. Batches are smaller there, and the first layers, which cost most, stay as they are.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shelfmatch.models import real
from shelfmatch.models.ahead import Ahead, keep_memory
from shelfmatch.models.mixer import Mixer, Portions, Reals
from shelfmatch.models.printer.press import Press
from shelfmatch.models.printer.stock import Stock
from shelfmatch.models.student import BEGIN_WITH, Student

SEED: Final = 21


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


def train(
    students: Sequence[Student], mixer: Mixer | Ahead, reals: Reals, out: Path, options: argparse.Namespace
) -> None:
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
            told[student.name], seen = student.learn(batch, reals, wanted, share, mixer.portions)
            imitate = seen if student.name == "shelfmatch-cnn" else imitate
            clock.tick(student.name)
        step += 1
        if step in (3, 11, 31) or (now - said > options.say and step % 2):
            said = now
            if step < 100:
                print(
                    clock,
                    f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "",
                    flush=True,
                )
            print(
                f"step {step} {time.monotonic() - began:.0f} s, {mixer.printed} printed, rate {share:.2f}",
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
        student.keep_small(out)
    print(f"{step} steps, {step * len(batch.pixels)} pictures in {time.monotonic() - began:.0f} s", flush=True)


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """What batches are made of, and by how many; see `batches`."""
    parser.add_argument("--stock", type=Path, required=True, help="what printer/gather.py collected")
    parser.add_argument("--real", type=Path, required=True, help="what real.py packed")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--pool", type=int, default=16_384)
    parser.add_argument("--portions", type=int, nargs=6, help="runs, siblings, boxes, grocery, phone, local")
    parser.add_argument(
        "--fresh",
        type=float,
        default=math.inf,
        help="packages printed for each one drawn, beyond those that fill the pool",
    )
    parser.add_argument(
        "--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1),
        help="threads that learn on a CPU (default: all cores but the one that mixes)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=SEED)


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked for; ends the program where something is missing or the pool is too small for a batch."""
    options = parser.parse_args()
    portions = _portions(options)
    if options.pool < portions.siblings * (portions.runs + 1):
        parser.error(
            f"--pool {options.pool} holds less than the printed packages of a batch; expected twenty times as many"
        )
    for needed in (options.stock / "sources.json", options.real):
        if not needed.is_file():
            parser.error(f"{needed} is not there; printer/gather.py and real.py make it (models/README.md)")
    return options


def _portions(options: argparse.Namespace) -> Portions:
    return Portions(*options.portions) if options.portions else Portions()


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train shelfmatch's encoders and local head together.")
    add_batch_options(parser)
    parser.add_argument(
        "--weights", type=Path, required=True, help="the folder with what to go on from: NAME.npz, else NAME-fp32.onnx"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--keep", type=float, default=100, help="seconds between kept states")
    parser.add_argument("--say", type=float, default=20, help="seconds between lines about it")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument(
        "--every", type=int, nargs=3, default=[1, 1, 1], help="each network learns from every so many-th batch"
    )
    parser.add_argument("--sheet", type=Path, help="write a batch as a picture there, to look at")
    parser.add_argument("--networks", nargs="+", default=list(BEGIN_WITH), choices=list(BEGIN_WITH))
    parser.add_argument(
        "--frozen", type=int, default=0, help="first layers that stay: 1 is the stem alone, 4 the stem and three blocks"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="peak learning rate, as a share of the network's own")
    options = parsed(parser)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    mixer, reals, portions = batches(options, device)
    try:
        _learn(mixer, reals, portions, options, device)
    finally:
        mixer.close()


def _learn(
    mixer: Mixer | Ahead, reals: Reals, portions: Portions, options: argparse.Namespace, device: torch.device
) -> None:
    sample = mixer.batch().pixels
    if options.sheet:
        write_sheet(sample, options.sheet)
    students = [Student(name, device, options.frozen) for name in options.networks]
    for student in students:
        kept = options.out / f"{student.name}-state.pt"
        if kept.is_file():
            student.resume(kept)
        else:
            student.begin(options.weights, sample)
        student.ready(portions.pictures, options.rate)
    train(students, mixer, reals, options.out, options)


def batches(options: argparse.Namespace, device: torch.device) -> tuple[Mixer | Ahead, Reals, Portions]:
    """What makes batches, the real pictures in them, and how many there are. A GPU mixes its own; on a CPU another process does."""
    portions = _portions(options)
    photos = [found.image for found, _ in real.read(options.real) if found.kind in ("grocery", "iconic")][::7]

    def press() -> Press:
        make = lambda: Stock(options.stock, photos)  # noqa: E731
        return Press(make, options.workers, options.pool, options.seed * 10_000_000, options.fresh)

    def mixer(press: Press, reals: Reals) -> Mixer:
        press.open(device)
        press.wait(min(options.pool, 24 * portions.runs * portions.siblings // 4))
        return Mixer(press, reals, portions, options.seed)

    if device.type == "cuda":
        begun = press()  # forks, and so goes before the GPU is touched
        reals = Reals(options.real, device)
        portions = portions.within(reals)
        return mixer(begun, reals), reals, portions
    torch.set_num_threads(1)
    keep_memory()
    reals = Reals(options.real, device)
    portions = portions.within(reals)
    ahead = Ahead(lambda: mixer(press(), reals), portions)
    torch.set_num_threads(options.threads)
    return ahead, reals, portions


if __name__ == "__main__":
    main()
