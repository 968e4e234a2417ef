"""Turn the weights that training leaves into the embedded encoders: int8 TFLite and ONNX, their cards, the fp32 source.

    python models/export_encoders.py cnn --grocery DATASET --weights OUT/shelfmatch-cnn-state.pt --out models
    python models/export_encoders.py cnn --grocery DATASET --out models

Without `--weights` the int8 files are made again from the fp32 ONNX file in `--out`. Needs the `export` extra. Ranges are
measured on train photos; what int8 costs is told as the cosine to the float embedding on every fourth val photo, and measured as
recall by `benchmarks/encoders.py`. The CNN's files have a second output, the map that local matching reads (`tap`).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shelfmatch.edge import Encoder
from shelfmatch.edge.encoders.card import Format
from shelfmatch.export import Overrides, SourceOptions
from shelfmatch.export.device_files import card_for
from shelfmatch.export.onnx_recipes import OnnxBench, calibration_input
from shelfmatch.export.photos import CALIBRATION_PHOTOS, Photos, read_photos
from shelfmatch.export.recipes import Bench, make_int8
from shelfmatch.export.sources import open_source
from shelfmatch.export.tflite_recipes import TfliteBench
from shelfmatch.models import pictures, tap
from shelfmatch.models.networks import EQUALIZED, MEAN, NETWORKS, STD, equalized, from_onnx, fused

NAMES: Final = {"cnn": "shelfmatch-cnn", "vit": "shelfmatch-vit", "nano": "shelfmatch-nano"}
PROVENANCE: Final = (
    "trained by models/joint.py on the Grocery Store Dataset's train photos and catalogue pictures (MIT), phone photos of "
    "groceries (josh-rdc, MIT), medicine boxes (Kabul University, CC BY 4.0) and packages printed with Debian's typefaces and "
    "word lists (models/shelfmatch-cnn.md), begun with Coral's MobileNetV2 and distilled from MobileNetV1 and V2 (Apache-2.0)"
)
KEPT_IN_FLOAT: Final[dict[str, tuple[str, ...]]] = {}
"""Layers of the LiteRT file, by encoder, that lose too much in int8."""
GEOMETRY: Final = "pad"
"""How the loader brings a photo to the square."""
_PACKAGES: Final = (
    "shelfmatch",
    "numpy",
    "torch",
    "onnx",
    "onnxscript",
    "onnxslim",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
)


def preprocessing(name: str) -> Overrides:
    """What the encoder expects of a photo."""
    side = NETWORKS[name].SIDE
    return Overrides(size=(side, side), mean=(MEAN,) * 3, std=(STD,) * 3, resize=GEOMETRY)


def write_csv(path: Path, grocery: Path, split: str) -> Path:
    """A catalogue or query file of the dataset's photos, products named by their number."""
    files, labels = pictures.read_split(grocery, f"{split}.txt")
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "sku"])
        rows.writerows([file.resolve(), label] for file, label in zip(files, labels, strict=True))
    return path


def calibration(grocery: Path, name: str) -> Photos:
    """The train photos that ranges are measured on; `spread(CALIBRATION_PHOTOS)` of them are used."""
    with tempfile.TemporaryDirectory() as work:
        train = write_csv(Path(work) / "train.csv", grocery, "train")
        return read_photos(train, preprocessing(name).apply(None, "the encoder"), lambda stream, total: stream)


def calibration_pixels(grocery: Path, name: str) -> Any:
    """(N, side, side, 3) uint8."""
    return calibration(grocery, name).spread(CALIBRATION_PHOTOS)


@contextlib.contextmanager
def bench_of(name: str, net: Any, file_format: Format, pixels: Any) -> Iterator[tuple[Any, Bench]]:
    """The network as the exporter's source, and what its files of one format are made with."""
    source = open_source(net, SourceOptions(preprocessing=preprocessing(name)))
    with tempfile.TemporaryDirectory() as work:
        core = Path(work) / f"core.{file_format}"
        source.writer(file_format)(core, None)
        bench: Any
        if file_format == "onnx":
            bench = OnnxBench(core.read_bytes(), lambda layout: calibration_input(pixels, layout))
        else:
            bench = TfliteBench(core.read_bytes(), calibration_input(pixels, "NHWC"))
        with contextlib.closing(bench):
            yield source, bench


def int8(name: str, bench: Bench, file_format: Format, keep_float: tuple[str, ...]) -> bytes:
    """The device file's bytes: int8, the CNN's with its tap."""
    made = make_int8(bench, keep_float=keep_float)
    return tap.with_tap(made, file_format) if name == tap.ENCODER else made


def make_again(name: str, file_format: Format, folder: Path, grocery: Path) -> bytes:
    """The int8 file out of the fp32 ONNX file in `folder`, by the recipe that lies beside it."""
    recipe = json.loads((folder / f"{name}.{file_format}.recipe.json").read_text())
    net = from_onnx(name, folder / f"{name}-fp32.onnx")
    with bench_of(name, net, file_format, calibration_pixels(grocery, name)) as (_, bench):
        return int8(name, bench, file_format, tuple(recipe["kept_in_float"]))


def install(name: str, net: Any, grocery: Path, out: Path, source_too: bool) -> None:
    """Write NAME.tflite and NAME.onnx with cards and recipes, and where `source_too` NAME-fp32.onnx."""
    photos = calibration(grocery, name)
    pixels = photos.spread(CALIBRATION_PHOTOS)
    for file_format in ("onnx", "tflite"):
        kept = KEPT_IN_FLOAT.get(name, ()) if file_format == "tflite" else ()
        with bench_of(name, net, file_format, pixels) as (source, bench):
            if source_too and file_format == "onnx":
                (out / f"{name}-fp32.onnx").write_bytes(bench.fp32())
            recipe = "int8-dynamic" if bench.transformer else "int8-static"
            plain = make_int8(bench, keep_float=kept)
            target = out / f"{name}.{file_format}"
            card = card_for(plain, target.name, file_format, source, recipe)
            model = tap.with_tap(plain, file_format) if name == tap.ENCODER else plain
        target.write_bytes(model)
        card = replace(
            card, name=name, sha256=tap.digest(model), size_bytes=len(model), license="Apache-2.0",
            provenance=f"{PROVENANCE}; {recipe}, by models/export_encoders.py",
        )  # fmt: skip
        (out / f"{target.name}.json").write_text(json.dumps(card.to_dict(), indent=2) + "\n")
        record = {
            "recipe": recipe,
            "kept_in_float": list(kept),
            "calibration": {"photos_sha256": photos.sha256, "used": len(pixels)},
            "versions": {package: version(package) for package in _PACKAGES},
        }
        (out / f"{target.name}.recipe.json").write_text(json.dumps(record, indent=2) + "\n")
        seen = cosines(Encoder(card, model, threads=1, resizer="pillow"), net, grocery)
        print(
            f"{target.name}: {recipe}, {len(model):,} bytes, cosine to float {seen.mean():.4f}, least {seen.min():.4f}",
            flush=True,
        )


def cosines(encoder: Encoder, net: Any, grocery: Path) -> NDArray[np.float32]:
    """Cosines between the device file's embeddings and the float network's, on every fourth val photo."""
    import torch

    from shelfmatch.models.networks import normalized

    photos = pictures.read_split(grocery, "val.txt")[0][::4]
    squares = np.stack([pictures.to_square(photo, encoder.card.width) for photo in photos])
    with torch.no_grad():
        exact = net(normalized(torch.from_numpy(np.ascontiguousarray(squares.transpose(0, 3, 1, 2))))).numpy()
    found = np.stack([np.asarray(encoder.embed_pixels(square)).ravel() for square in squares])
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (exact, found)]
    result: NDArray[np.float32] = (unit[0] * unit[1]).sum(axis=1)
    return result


def weights_of(name: str, path: Path) -> Any:
    """The folded network with the weights of a state that `joint` kept (their running mean), that `blend` made, or a
    plain state_dict."""
    import torch

    state = torch.load(path, weights_only=True, map_location="cpu")
    if "folded" in state:
        net = fused(NETWORKS[name]())
        net.load_state_dict(state["folded"])
        return net
    state = state["mean"]["net"] if "mean" in state else state
    net = NETWORKS[name]()
    net.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return fused(net)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Export shelfmatch's embedded encoders.")
    parser.add_argument("network", choices=sorted(NAMES))
    parser.add_argument("--grocery", type=Path, required=True, help="the Grocery Store Dataset's folder")
    parser.add_argument("--weights", type=Path, help="what training left; without it, the fp32 ONNX file in --out")
    parser.add_argument("--out", type=Path, required=True, help="where the files and cards go")
    options = parser.parse_args()
    name = NAMES[options.network]
    source = options.weights or options.out / f"{name}-fp32.onnx"
    for needed in (source, options.grocery / "train.txt"):
        if not needed.is_file():
            parser.error(f"{needed} is not there; expected a file")
    try:
        if options.weights is None:
            net = from_onnx(name, source)
        else:
            net = weights_of(name, source)
            net = equalized(net, calibration_pixels(options.grocery, name), EQUALIZED[name])
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        parser.error(f"{source} is not of {name}: {(str(error).splitlines() or [type(error).__name__])[-1].strip()}")
    install(name, net, options.grocery, options.out, source_too=options.weights is not None)


if __name__ == "__main__":
    main()
