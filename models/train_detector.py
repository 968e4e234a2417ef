"""Train "shelfmatch-detect" on a CPU: products and empty places, on rendered scenes without end and on real ones.

    python models/detection/faces.py STOCK DATA FACES
    python models/train_detector.py --faces FACES --data DATA --weights models --out OUT --seconds 4200

Needs the `train` extra. STOCK is what `printer/gather.py` collects, FACES what `detection/faces.py` makes of it and of DATA. The
backbone begins as the CNN encoder's, thinned. The learning rate follows the clock: a rise, then a cosine to nothing at the end of
`--seconds`. Every `--keep` seconds OUT gets the whole state, from which the same command goes on; `models/export_detector.py` makes
the device files of it. One process renders scenes beside the one that learns.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from shelfmatch.models.ahead import keep_memory
from shelfmatch.models.detection.feed import Feed
from shelfmatch.models.detection.losses import loss
from shelfmatch.models.detection.network import SIDE, Detector, begin, folded_backbone, weights_of
from shelfmatch.models.networks import from_onnx, normalized

SEED: Final = 24
BATCH: Final = 16
PEAK_FRESH: Final = 3e-3
PEAK_TRAINED: Final = 5e-4
SMALLER: Final = 256
"""The side that most of the training sees, parts of scenes and scenes made smaller; at the end they are whole."""
WHOLE_FROM: Final = 0.75
"""The share of the time after which they are."""
MEAN_DECAY: Final = 0.998
STATE: Final = "detector-state.pt"


class Training:
    """Network, running mean, optimizer, and what was done."""

    def __init__(self) -> None:
        torch.manual_seed(SEED)
        self.net: Any = Detector()
        self.steps, self.pictures, self.spent = 0, 0, 0.0
        self.mean: dict[str, Tensor] = {}

    def begin(self, weights: Path, sample: Tensor) -> None:
        """The thinned CNN encoder; `sample` (N, 3, S, S), 0 to 255."""
        self.net.eval()
        encoder = from_onnx("shelfmatch-cnn", weights / "shelfmatch-cnn-fp32.onnx")
        begin(self.net, lambda number: encoder.blocks[number], encoder.stem, normalized(sample))
        folded_backbone(self.net)

    def adopt(self, path: Path) -> None:
        """Weights that `export_detector` kept, or another run's state."""
        folded_backbone(self.net)
        self.net.load_state_dict(weights_of(path), strict=False)

    def ready(self) -> None:
        """The optimizer and the mean, once the weights are there."""
        # Channels last: a step takes half the time on a CPU.
        self.net.to(memory_format=torch.channels_last)
        self.frozen = self.net.frozen()
        for part in self.frozen:
            part.requires_grad_(False)
        groups = []
        for trained in (True, False):
            for decays in (True, False):
                chosen = [
                    parameter
                    for name, parameter in self.net.named_parameters()
                    if parameter.requires_grad
                    and name.startswith("blocks") == trained
                    and (parameter.ndim > 1) == decays
                ]
                peak = PEAK_TRAINED if trained else PEAK_FRESH
                groups.append({"params": chosen, "weight_decay": 0.03 if decays else 0.0, "peak": peak})
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4)
        self.mean = self.mean or {key: value.detach().clone() for key, value in self.net.state_dict().items()}

    def learn(self, pixels: Tensor, targets: list[Any], share: float) -> dict[str, float]:
        """One step at a share of the peak rates; pictures (N, 3, S, S), 0 to 255."""
        self.net.train()
        for part in self.frozen:
            part.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * max(share, 0.004)
        with torch.no_grad():
            early = self.net.early(normalized(pixels).contiguous(memory_format=torch.channels_last))
        found, told = loss(self.net.late(early), targets, pixels.shape[-1])
        self.optimizer.zero_grad(set_to_none=True)
        found.backward()
        nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.requires_grad], 10.0)
        self.optimizer.step()
        self.steps += 1
        self.pictures += len(pixels)
        decay = min(MEAN_DECAY, self.steps / (self.steps + 20))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                if value.is_floating_point():
                    self.mean[key].lerp_(value, 1 - decay)
        return told

    def keep(self, folder: Path) -> None:
        """Write everything beside, then over what was kept before."""
        state = {
            "net": self.net.state_dict(), "mean": self.mean, "optimizer": self.optimizer.state_dict(),
            "steps": self.steps, "pictures": self.pictures, "spent": self.spent,
        }  # fmt: skip
        temporary = folder / f"{STATE}.tmp"
        torch.save(state, temporary)
        temporary.replace(folder / STATE)

    def resume(self, path: Path) -> None:
        """Go on from what was kept."""
        state = torch.load(path, weights_only=True)
        folded_backbone(self.net)
        self.net.load_state_dict(state["net"])
        self.mean = state["mean"]
        self.ready()
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.pictures, self.spent = state["steps"], state["pictures"], state["spent"]


def share_of_peak(progress: float) -> float:
    """The learning rate's share of its peak at a share of the time."""
    return progress / 0.03 if progress < 0.03 else 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.03) / 0.97)))


def train(training: Training, feed: Feed, out: Path, options: argparse.Namespace) -> None:
    """Until the time is up."""
    rng = np.random.default_rng((SEED, training.steps))
    last = said = kept = time.monotonic()
    began = training.steps
    log: dict[str, list[float]] = {}
    while (progress := training.spent / options.seconds) < 1:
        pixels, targets = feed.batch(rng, BATCH, SIDE if progress > WHOLE_FROM else SMALLER)
        # The optimizer's estimates are of nothing yet where it begins or has begun again.
        warm = min(1.0, (training.steps - began + 1) / 30)
        told = training.learn(pixels, targets, warm * share_of_peak(progress))
        now = time.monotonic()
        training.spent += now - last
        last = now
        for key, value in told.items():
            log.setdefault(key, []).append(value)
        if now - said > 30:
            means = " ".join(f"{key} {np.mean(values):.3f}" for key, values in log.items())
            print(f"{training.spent:.0f} s, step {training.steps}, {feed.made} scenes: {means}", flush=True)
            said, log = now, {}
        if now - kept > options.keep:
            kept = now
            training.keep(out)
    training.keep(out)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Train shelfmatch's product detector.")
    parser.add_argument("--faces", type=Path, required=True, help="what detection/faces.py made")
    parser.add_argument("--data", type=Path, required=True, help="the folder with phone and fridge")
    parser.add_argument("--weights", type=Path, required=True, help="the folder with shelfmatch-cnn-fp32.onnx")
    parser.add_argument(
        "--begin", type=Path, help="weights to begin with: shelfmatch-detect.npz, or another run's state"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4200, help="of all runs together")
    parser.add_argument("--keep", type=float, default=90, help="seconds between kept states")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    training = Training()
    kept = options.out / STATE
    if kept.is_file():
        training.resume(kept)
    feed = Feed(options.faces, options.data, SIDE, SEED + training.steps)
    keep_memory()
    torch.set_num_threads(options.threads)
    if not kept.is_file():
        if options.begin is not None:
            training.adopt(options.begin)
        else:
            training.begin(options.weights, feed.batch(np.random.default_rng(0), 24, SIDE)[0])
        training.ready()
    train(training, feed, options.out, options)
    feed.close()
    record = {
        "torch": torch.__version__, "seconds": round(training.spent), "steps": training.steps, "pictures": training.pictures,
        "scenes": feed.made, "threads": options.threads, "seed": SEED,
    }  # fmt: skip
    (options.out / "detector-provenance.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
