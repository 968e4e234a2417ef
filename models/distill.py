"""Teach an encoder what several encoders see together: the others' strengths at the cost of one.

    python models/distill.py shelfmatch-cnn --stock STOCK --real REAL.npz --weights models --out OUT --seconds 2400

Needs the `train` extra. STOCK is what `printer/gather.py` collects, REAL.npz what `real.py` packs. The teachers are the fp32 files
in `--weights` and those of `--also`, the student goes on from its own one. On every picture of `joint`'s batches the student is to
give the embedding that the teachers give together (Beyer et al. 2022, arXiv:2106.05237: the same picture for both, hard pictures,
long), and the same neighbours among the batch (Fang et al. 2021, arXiv:2101.04731). No label is asked for.

On a CPU one process photographs, one asks the teachers, and one learns from the latest lessons, each several times: on two cores
of an AMD EPYC with bfloat16 the CNN learns from some 300 pictures a second so, 50 of them new.

In the last part of the time, `--round-from`, the student computes as its int8 file will (`rounding`).

The norms stay folded, and the last layer begins as the one that comes nearest to what is asked for. Up to the map that local
matching reads the CNN stays as it is: its local head fits what comes of this, and a step costs little. With `--whole` only the
stem and three blocks stay, and the local head has to be trained again. The learning rate follows the clock; every `--keep` seconds
OUT gets the state, from which the same command goes on. OUT/NAME-distilled.pt is exported, or what `last_layer.py` makes of it.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.models.ahead import Ahead
from shelfmatch.models.joint import add_batch_options, batches, parsed, share_of_peak
from shelfmatch.models.last_layer import fit, pooled
from shelfmatch.models.losses import apart
from shelfmatch.models.mixer import Mixer
from shelfmatch.models.networks import EMBEDDING_DIM, INPUT_SIDE, NETWORKS, ShelfCNN, from_onnx
from shelfmatch.models.rounding import round_in
from shelfmatch.models.together import (
    Teacher,
    TeacherError,
    Together,
    add_teacher_options,
    halves,
    sized,
    tail,
    teachers_of,
    together_of,
    trunk,
)

KEPT: Final = 100
"""Batches of which one is drawn; a new one takes the oldest one's place. As pictures, with `--whole`, they take 7 MB for each
picture of a batch."""
BEHIND: Final = 10
"""How much politer (`nice`) the processes are that make lessons, so that learning goes first."""
FIRST: Final = 10
"""Batches from which the common space is found."""
TEMPERATURE: Final = 0.05
PEAK: Final = 4e-4
MEAN_DECAY: Final = 0.995


def neighbours(found: Tensor, wanted: Tensor) -> Tensor:
    """How far the likeness of each picture to the others of its batch is from what it should be; embeddings (N, D), (N, E)."""
    itself = torch.eye(len(found), dtype=torch.bool, device=found.device)
    ours, theirs = (
        (unit @ unit.T / TEMPERATURE).masked_fill(itself, -1e4)
        for unit in (functional.normalize(x, dim=1) for x in (found, wanted))
    )
    return functional.kl_div(ours.log_softmax(dim=1), theirs.log_softmax(dim=1), reduction="batchmean", log_target=True)


class Distilled:
    """The student: its folded network, optimizer and running mean."""

    def __init__(
        self, name: str, weights: Path, device: torch.device, whole: bool = False, teachers: Sequence[Teacher] = ()
    ) -> None:
        self.name, self.device, self.whole = name, device, whole
        self.net: Any = from_onnx(name, weights / f"{name}-fp32.onnx").to(device)
        self.reads_map = type(self.net) is ShelfCNN and not whole
        self.steps, self.spent, self.rounds = 0, 0.0, False
        self.teachers = {
            f"{one.file.stem} {one.share:g}": hashlib.sha256(one.file.read_bytes()).hexdigest() for one in teachers
        }

    def unchanged(self) -> list[nn.Module]:
        """What stays as it is: all up to the map of local matching where it reads that, else the stem and three blocks."""
        return [self.net.stem, *self.net.blocks[: self.net.TAP if self.reads_map else 3]]

    def tap(self, pixels: Tensor) -> Tensor | None:
        """The CNN's map where it stays as it is."""
        if not self.reads_map:
            return None
        with torch.no_grad(), halves(self.device):
            return trunk(self.net, pixels)

    def ready(self) -> None:
        """The optimizer and the mean, once the weights are there."""
        self.net = self.net.to(memory_format=torch.channels_last)
        for part in self.unchanged():
            part.requires_grad_(False)
        groups = []
        for decays in (True, False):
            chosen = [p for p in self.net.parameters() if p.requires_grad and (p.ndim > 1) == decays]
            groups.append({"params": chosen, "weight_decay": 0.01 if decays else 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=1e-5)
        self.mean = {key: value.detach().clone() for key, value in self.net.state_dict().items()}

    def round(self) -> None:
        """From now on what learns computes as the int8 file will."""
        left = {id(part) for part in self.unchanged()}
        blocks = [*self.net.blocks, *self.net.children()]
        round_in(part for part in blocks if part is not self.net.blocks and id(part) not in left)
        self.rounds = True

    def learn(self, inputs: Tensor, wanted: Tensor, rate: float) -> dict[str, float]:
        """One step; maps or pictures 0 to 255, and what their embeddings should be, (N, 256)."""
        with halves(self.device):
            found = (tail(self.net, inputs) if self.reads_map else self.net(sized(inputs, self.net))).float()
        losses = {"apart": 4.0 * apart(found, wanted), "neighbours": neighbours(found, wanted)}
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        (losses["apart"] + losses["neighbours"]).backward()
        nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.steps += 1
        decay = min(MEAN_DECAY, self.steps / (self.steps + 20))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                self.mean[key].lerp_(value, 1 - decay)
        return {key: float(value.detach()) for key, value in losses.items()}

    def state_in(self, folder: Path) -> Path:
        """Where a run keeps its state."""
        return folder / f"{self.name}-distill-state.pt"

    def keep(self, folder: Path, directions: Tensor) -> None:
        """Write the state, and the mean for `export_encoders`, each beside and then over the one before."""
        state = {
            "whole": self.whole, "teachers": self.teachers,
            "now": self.net.state_dict(), "mean": self.mean, "optimizer": self.optimizer.state_dict(),
            "steps": self.steps, "spent": self.spent, "directions": directions,
        }  # fmt: skip
        mean = {"folded": self.mean, "whole": self.whole}
        for name, content in ((self.state_in(folder).name, state), (f"{self.name}-distilled.pt", mean)):
            torch.save(content, folder / f"{name}.tmp")
            (folder / f"{name}.tmp").replace(folder / name)

    def resume(self, path: Path) -> Tensor:
        """Go on from what was kept; the common space. Raises ValueError for a run with other teachers or of other blocks."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["teachers"] != self.teachers or state["whole"] != self.whole:
            what = "with --whole" if state["whole"] else "without --whole"
            other = "with other teachers' files" if state["teachers"] != self.teachers else what
            raise ValueError(f"{path} was left by a run {other}; go on with what it had, or name another --out")
        self.net.load_state_dict(state["now"])
        self.ready()
        self.mean = state["mean"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.spent = state["steps"], state["spent"]
        directions: Tensor = state["directions"]
        return directions


class Fresh:
    """Lessons as they come: what the student reads of a batch, and what its embeddings should be."""

    def __init__(self, source: Mixer | Ahead, teachers: Together, student: Distilled) -> None:
        self.source, self.teachers, self.student = source, teachers, student

    def batch(self) -> tuple[Tensor, Tensor]:
        """The CNN's maps (N, 96, 10, 10) or pictures (N, 3, side, side), 0 to 255; embeddings (N, 256)."""
        pixels = self.source.batch().pixels
        tap = self.student.tap(pixels)
        return pixels if tap is None else tap, self.teachers.reduced(self.teachers.whole(pixels, tap))

    def close(self) -> None:
        """Nothing to end."""


class Lessons:
    """The latest lessons of another process, of which one is drawn. Make it while torch has one thread: it forks."""

    def __init__(self, fresh: Fresh, source: Ahead, seed: int) -> None:
        self._source = source
        context = multiprocessing.get_context("fork")
        count = fresh.source.portions.pictures
        maps = fresh.student.reads_map
        shape = (count, 96, 10, 10) if maps else (count, 3, INPUT_SIDE, INPUT_SIDE)
        kind: Any = np.float16 if maps else np.uint8
        size, numbers = int(np.prod(shape)) * np.dtype(kind).itemsize, 4 * count * EMBEDDING_DIM
        memory = mmap.mmap(-1, KEPT * (size + numbers))
        self._inputs = np.frombuffer(memory, kind, KEPT * int(np.prod(shape))).reshape(KEPT, *shape)
        self._wanted = np.frombuffer(memory, np.float32, KEPT * count * EMBEDDING_DIM, offset=KEPT * size)
        self._wanted = self._wanted.reshape(KEPT, count, EMBEDDING_DIM)
        self._made, self._lock = context.Value("q", 0), context.Lock()
        self._rng = np.random.default_rng(seed)
        self.process = context.Process(target=self._teach, args=(fresh,), daemon=True)
        self.process.start()
        mixing = source.process.pid or 0
        os.setpriority(os.PRIO_PROCESS, mixing, min(19, os.getpriority(os.PRIO_PROCESS, mixing) + BEHIND))

    def _teach(self, fresh: Fresh) -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        os.nice(BEHIND)
        parent = os.getppid()
        while os.getppid() == parent:
            inputs, wanted = fresh.batch()
            place = self._made.value % KEPT
            with self._lock:
                self._inputs[place] = inputs.float().numpy()
                self._wanted[place] = wanted.numpy()
            self._made.value += 1

    def batch(self) -> tuple[Tensor, Tensor]:
        """One of the latest lessons. Raises RuntimeError where the other process has ended."""
        self._check()
        while not self._made.value:
            time.sleep(0.2)
            self._check()
        place = int(self._rng.integers(0, min(self._made.value, KEPT)))
        while not self._lock.acquire(timeout=5):  # who was killed while writing keeps it
            self._check()
        inputs, wanted = self._inputs[place].astype(np.float32), self._wanted[place].copy()
        self._lock.release()
        return torch.from_numpy(inputs), torch.from_numpy(wanted)

    def _check(self) -> None:
        self._source.check()
        if not self.process.is_alive():
            raise RuntimeError("the process that asks the teachers has ended; its error stands above")

    def close(self) -> None:
        """End the other process."""
        self.process.terminate()
        self.process.join()


def train(student: Distilled, lessons: Fresh | Lessons, directions: Tensor, options: argparse.Namespace) -> None:
    """Until the time is up."""
    lessons.batch()  # the first one may take a while, which isn't learning
    last = said = kept = time.monotonic()
    log: dict[str, list[float]] = {}
    while (progress := student.spent / options.seconds) < 1:
        if not student.rounds and progress >= options.round_from:
            student.round()
            print(f"{student.spent:.0f} s: rounded to int8 from here on", flush=True)
        inputs, wanted = lessons.batch()
        told = student.learn(inputs, wanted, PEAK * options.rate * share_of_peak(progress))
        now = time.monotonic()
        student.spent += now - last
        last = now
        for key, value in told.items():
            log.setdefault(key, []).append(value)
        if now - said > options.say:
            means = " ".join(f"{key} {np.mean(values):.4f}" for key, values in log.items())
            print(f"{student.spent:.0f} s, step {student.steps}, {len(inputs)} pictures each: {means}", flush=True)
            said, log = now, {}
        if now - kept > options.keep:
            kept = now
            student.keep(options.out, directions)
    student.keep(options.out, directions)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Teach an encoder what several see together.")
    parser.add_argument("network", choices=list(NETWORKS))
    add_batch_options(parser)
    add_teacher_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=2400, help="of all runs together")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="the CNN's blocks before the map of local matching learn, too; needs 2 GB more at 304 pictures a batch",
    )
    parser.add_argument("--rate", type=float, default=1.0, help="peak learning rate, as a share of the usual")
    parser.add_argument(
        "--round-from",
        type=float,
        default=0.7,
        metavar="SHARE",
        help="of the time, from which int8 is in the loop; 1: never",
    )
    parser.add_argument("--keep", type=float, default=100, help="seconds between kept states")
    parser.add_argument("--say", type=float, default=30, help="seconds between lines about it")
    options = parsed(parser)
    try:
        teachers = teachers_of(options)
    except (FileNotFoundError, TeacherError) as error:
        parser.error(str(error))
    if options.whole and options.network != "shelfmatch-cnn":
        parser.error(f"--whole is of the CNN alone, {options.network} learns with all blocks but the first in any case")
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    source = batches(options, device)[0]
    torch.set_num_threads(1)
    try:
        teach(source, teachers, device, options)
    except TeacherError as error:
        parser.error(str(error))
    finally:
        source.close()


def teach(source: Mixer | Ahead, files: Sequence[Teacher], device: torch.device, options: argparse.Namespace) -> None:
    """The whole run: student and lessons."""
    teachers = together_of(files, device)
    student = Distilled(options.network, options.weights, device, options.whole, files)
    if student.state_in(options.out).is_file():
        teachers.directions = student.resume(student.state_in(options.out))
    else:
        begin(student, teachers, source)
    assert teachers.directions is not None
    fresh = Fresh(source, teachers, student)
    lessons = Lessons(fresh, source, options.seed) if isinstance(source, Ahead) else fresh
    torch.set_num_threads(options.threads)
    try:
        train(student, lessons, teachers.directions, options)
    finally:
        lessons.close()


def begin(student: Distilled, teachers: Together, source: Any) -> None:
    """The common space, and the student's last layer for it."""
    first = [source.batch().pixels for _ in range(FIRST)]
    seen = torch.cat([teachers.whole(pixels) for pixels in first])
    held = teachers.find_space(seen)
    wanted, read = teachers.reduced(seen), torch.cat([pooled(student.net, pixels) for pixels in first])
    fit(student.net.embed, read, wanted)
    print(f"{len(seen)} pictures, {100 * held:.1f} % of the teachers' in {EMBEDDING_DIM} directions", flush=True)
    student.ready()


if __name__ == "__main__":
    main()
