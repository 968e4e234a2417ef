"""Turn the weights that training leaves into the embedded encoders: int8 TFLite and ONNX, their cards, the fp32 source.

    python models/export_encoders.py cnn --grocery DATASET --weights OUT/shelfmatch-cnn-state.pt --out models
    python models/export_encoders.py cnn --grocery DATASET --out models

Without `--weights` the int8 files are made again from the fp32 ONNX file in `--out`. Needs the `export` extra. Ranges are
measured on train photos; a file that finds less than the float network does, val photos among all train photos, by more than
`--gate` points is refused. The CNN's files have a second output, the map that local matching reads (`tap`).
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
from shelfmatch.export.gate import Gate
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
KEPT_IN_FLOAT: Final[dict[str, tuple[str, ...]]] = {"shelfmatch-vit.onnx": ("embed/gemm1",)}
"""Layers, by file, that lose too much in int8: without the ViT's last product its two runtimes are further apart than 0.9993."""
FORMATS: Final[tuple[Format, ...]] = ("onnx", "tflite")
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


def photos_of(grocery: Path, name: str, split: str) -> Photos:
    """The photos of a split, prepared for the encoder."""
    with tempfile.TemporaryDirectory() as work:
        listed = write_csv(Path(work) / f"{split}.csv", grocery, split)
        return read_photos(listed, preprocessing(name).apply(None, "the encoder"), lambda stream, total: stream)


def calibration_pixels(grocery: Path, name: str) -> Any:
    """(N, side, side, 3) uint8."""
    return photos_of(grocery, name, "train").spread(CALIBRATION_PHOTOS)


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


def install(name: str, net: Any, grocery: Path, out: Path, *, source_too: bool, gate_points: float) -> bool:
    """Write NAME.tflite and NAME.onnx with cards and recipes, and where `source_too` NAME-fp32.onnx. Whether both passed the gate:
    a file that didn't is told and not written."""
    photos, queries = photos_of(grocery, name, "train"), photos_of(grocery, name, "val")
    gate = Gate(photos, queries, embedded(net, photos.pixels), embedded(net, queries.pixels))
    pixels = photos.spread(CALIBRATION_PHOTOS)
    passed = True
    for file_format in FORMATS:
        target = out / f"{name}.{file_format}"
        kept = KEPT_IN_FLOAT.get(target.name, ())
        with bench_of(name, net, file_format, pixels) as (source, bench):
            recipe = "int8-dynamic" if bench.transformer else "int8-static"
            plain = make_int8(bench, keep_float=kept)
            card = card_for(plain, target.name, file_format, source, recipe)
            model = tap.with_tap(plain, file_format) if name == tap.ENCODER else plain
            float_file = bench.fp32() if source_too and file_format == "onnx" else None
        card = replace(
            card, name=name, sha256=tap.digest(model), size_bytes=len(model), license="Apache-2.0",
            provenance=f"{PROVENANCE}; {recipe}, by models/export_encoders.py",
        )  # fmt: skip
        score = gate.score(Encoder(card, model, threads=1, resizer="pillow"))
        print(
            f"{target.name}: {recipe}, {len(model):,} bytes, recall@1 {100 * score.recall_at_1:.1f} % "
            f"({-score.recall_loss_points:+.2f} points), overlap {score.overlap_at_5:.3f}, cosine {score.cosine_mean:.4f}, "
            f"least {score.cosine_min:.4f}",
            flush=True,
        )
        if shortfall := score.shortfall(gate_points):
            print(f"{target.name} refused: {shortfall}", flush=True)
            passed = False
            continue
        record = {
            "recipe": recipe,
            "kept_in_float": list(kept),
            "calibration": {"photos_sha256": photos.sha256, "used": len(pixels)},
            "versions": {package: version(package) for package in _PACKAGES},
        }
        if float_file is not None:
            (out / f"{name}-fp32.onnx").write_bytes(float_file)
        target.write_bytes(model)
        (out / f"{target.name}.json").write_text(json.dumps(card.to_dict(), indent=2) + "\n")
        (out / f"{target.name}.recipe.json").write_text(json.dumps(record, indent=2) + "\n")
    return passed


def embedded(net: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The float network's embeddings of photos (N, side, side, 3), (N, D)."""
    import torch

    from shelfmatch.models.networks import normalized

    batches = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).split(32)
    with torch.no_grad():
        return np.concatenate([net(normalized(batch)).numpy() for batch in batches])


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
    parser.add_argument(
        "--gate", type=float, default=0.5, metavar="POINTS", help="how much recall@1 int8 may cost (default: 0.5)"
    )
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
    again = options.weights is not None
    if not install(name, net, options.grocery, options.out, source_too=again, gate_points=options.gate):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
