"""`shelfmatch export`: its options alone; the export itself is loaded when it is run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from .options import Command, number, positive


def register(command: Command) -> None:
    """The command export; `shelfmatch.export.command` reads these options."""
    parser = command("export", _run, "trained encoder → device files that still find the same products")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="timm:NAME, torchvision:NAME, hf:FOLDER|ID, or a .onnx, .tflite, .keras, .h5 or TorchScript file of a trained encoder",
    )
    parser.add_argument(
        "--setup-onnx2tf", action=_SetUp, help="make the environment that turns .onnx into .tflite, and end"
    )
    parser.add_argument("-o", "--output-folder", required=True, metavar="DIR", help="where the files and the report go")
    parser.add_argument(
        "--calibration", required=True, metavar="SOURCE",
        help="photos of the shop: folder of folders named by SKU, or CSV with the header image,sku",
    )  # fmt: skip
    parser.add_argument("--to", type=_names, default=("onnx", "tflite"), metavar="FORMATS", help="default: onnx,tflite")
    parser.add_argument(
        "--recipe", type=_names, default=("auto",), metavar="RECIPES",
        help="auto, or some of fp32, fp16, int8-static, int8-dynamic, mixed (default: auto, the fastest that passes the gate)",
    )  # fmt: skip
    parser.add_argument(
        "--gate", type=number, default=0.5, metavar="POINTS", help="how far recall@1 may fall, of 100 (default: 0.5)"
    )
    parser.add_argument(
        "--gate-queries",
        metavar="QUERIES.csv",
        help="ask these against the calibration photos (default: leave one out)",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="weights: .pth, .pt or .safetensors")
    parser.add_argument(
        "--pool", default="auto", choices=("auto", "avg", "gem", "cls"), help="default: the model's own"
    )
    parser.add_argument("--output", metavar="NAME", help="the tensor, module or layer that is the embedding")
    parser.add_argument(
        "--dim", type=positive, metavar="D", help="project to D numbers, by PCA of the calibration photos"
    )
    parser.add_argument(
        "--keep-float",
        action="append",
        default=[],
        metavar="LAYER",
        help="leave it in float, named as in the report; again for more",
    )
    parser.add_argument("--name", metavar="NAME", help="begin file names so (default: the model's name)")
    photos = parser.add_argument_group(
        "preprocessing", "read from the model's own configuration; say it where that is missing"
    )
    photos.add_argument("--size", type=_size, metavar="H[xW]", help="input size in pixels")
    photos.add_argument("--mean", type=_triple, metavar="R,G,B", help="in units of 0 to 255")
    photos.add_argument("--std", type=_triple, metavar="R,G,B", help="in units of 0 to 255")
    photos.add_argument("--normalized", action="store_true", help="the network normalizes its pixels, 0 to 255, itself")
    photos.add_argument("--resize", choices=("squash", "crop", "squash-crop", "pad"))
    photos.add_argument("--color-order", choices=("RGB", "BGR"), help="which colour the network takes first")
    photos.add_argument("--crop-fraction", type=number, metavar="F", help="how much of the centre is kept")
    parser.add_argument(
        "--no-layers",
        action="store_true",
        help="don't measure what each layer loses, which takes about a minute a format",
    )


class _SetUp(argparse.Action):
    """`--setup-onnx2tf`, which asks for nothing else, as --version does."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> NoReturn:
        from shelfmatch.export.command import set_up_onnx2tf  # only here: the device never needs it

        parser.exit(set_up_onnx2tf())


def _run(options: argparse.Namespace) -> int:
    from shelfmatch.export.command import run  # only here: the device never needs it

    return run(options)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if not (1 <= len(sides) <= 2 and all(side.isdecimal() for side in sides)):
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected a size like 224, or height x width like 192x256")
    return int(sides[0]), int(sides[-1])


def _triple(text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} arrived, expected one number or three, like 123.7,116.3,103.5")
    return values[0], values[1], values[2]
