"""Turn the trained local head into files: `matching/shelfmatch-local-cells` and `…-head`, ONNX and TFLite, with one card.

    python models/export_local.py --weights ENCODER.pt --head STATE.pt --grocery DATASET --out models

Run it after the CNN's device files are in `--out`: the card says how each of them gives its tap. Both networks stay
in float: together
they have 60 KB, and int8 would not make them faster at this size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from shelfmatch.models import local, tap
from shelfmatch.models.export_encoders import calibration_pixels, weights_of
from shelfmatch.models.measure_local import read_head
from shelfmatch.models.networks import EQUALIZED, equalized

NAME: Final = "shelfmatch-local"
FOLDER: Final = "matching"
"""Apart from the encoders: their folder is read for cards of encoders."""
_OPSET: Final = 18


class CellsFile(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """The tap in real numbers (1, 10, 10, 96) → cells (1, 100, 33): unit vectors and lengths."""

    def __init__(self, cells: local.Cells) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            cells.project.weight.detach().view(local.CELL_NUMBERS, local.TAP_CHANNELS).T.contiguous()
        )
        self.bias = nn.Parameter(cells.project.bias.detach().clone())

    def forward(self, values: Tensor) -> Tensor:
        flat = values.reshape(-1, local.CELLS, local.TAP_CHANNELS) @ self.weight + self.bias
        length = (flat * flat).sum(dim=2, keepdim=True).add(1e-6).sqrt()
        return torch.cat([flat / length, length], dim=2)


def examples() -> dict[str, tuple[Tensor, ...]]:
    """Inputs of the two files."""
    generator = torch.Generator().manual_seed(18)
    described = local.described(torch.randn(2, local.CELL_NUMBERS, local.GRID, local.GRID, generator=generator))
    taps = torch.randn(1, local.GRID, local.GRID, local.TAP_CHANNELS, generator=generator)
    return {"cells": (taps,), "head": (described[:1], described[1:], torch.tensor([[0.7]]))}


INPUTS: Final = {"cells": ["tap"], "head": ["query", "reference", "cosine"]}
OUTPUTS: Final = {"cells": "cells", "head": "logit"}


def write(what: str, net: nn.Module, out: Path) -> dict[str, dict[str, Any]]:
    """Both formats of one network; name, size and sha256 of each."""
    import litert_torch

    example = examples()[what]
    onnx_file, tflite_file = (out / f"{NAME}-{what}.{suffix}" for suffix in ("onnx", "tflite"))
    torch.onnx.export(
        net, example, str(onnx_file), dynamo=False, opset_version=_OPSET, input_names=INPUTS[what], output_names=[OUTPUTS[what]],
        dynamic_axes={name: {0: "batch"} for name in (*INPUTS[what], OUTPUTS[what])},
    )  # fmt: skip
    litert_torch.convert(net, example).export(str(tflite_file))
    return {
        path.suffix[1:]: {
            "file": path.name,
            "size_bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in (onnx_file, tflite_file)
    }


def card(files: dict[str, Any], golden: dict[str, Any], out: Path) -> dict[str, Any]:
    """What a reader of the files needs."""
    encoders = {}
    for suffix in ("tflite", "onnx"):
        model = (out / f"{tap.ENCODER}.{suffix}").read_bytes()
        found = tap.read(model, suffix)
        encoders[f"{tap.ENCODER}.{suffix}"] = {
            "sha256": tap.digest(model), "tap": found.name, "scale": found.scale, "zero_point": found.zero_point,
            "layout": "NHWC" if found.channels_last else "NCHW",
        }  # fmt: skip
    return {
        "card_version": 1, "name": NAME, "license": "Apache-2.0", "grid": local.GRID, "tap_channels": local.TAP_CHANNELS,
        "cell_numbers": local.CELL_NUMBERS, "files": files, "encoders": encoders, "golden": golden,
        "provenance": "trained by models/joint.py with the encoders, on what their cards name",
    }  # fmt: skip


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Export the local head.")
    parser.add_argument(
        "--weights", type=Path, required=True, help="the weights that the CNN's device files are made of"
    )
    parser.add_argument("--head", type=Path, required=True, help="the state with projection and head")
    parser.add_argument("--grocery", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    net = weights_of(tap.ENCODER, options.weights)
    net.cells, head = read_head(options.head)
    # The device files' maps are scaled channel by channel; the projection has to be with them.
    even = equalized(net, calibration_pixels(options.grocery, tap.ENCODER), EQUALIZED[tap.ENCODER])
    parts: dict[str, nn.Module] = {"cells": CellsFile(even.cells).eval(), "head": head.eval()}
    folder: Path = options.out / FOLDER
    folder.mkdir(exist_ok=True)
    files = {what: write(what, part, folder) for what, part in parts.items()}
    with torch.no_grad():
        seen = {what: part(*examples()[what]).numpy() for what, part in parts.items()}
    golden = {
        "inputs": "export_local.examples()",
        "cells_first": [round(float(value), 6) for value in seen["cells"][0, 0, :4]],
        "cells_lengths_mean": round(float(np.mean(seen["cells"][0, :, -1])), 6),
        "logit": round(float(seen["head"][0, 0]), 5),
    }
    (folder / f"{NAME}.json").write_text(json.dumps(card(files, golden, options.out), indent=2) + "\n")
    print(json.dumps({"files": files, "golden": golden}, indent=1))


if __name__ == "__main__":
    main()
