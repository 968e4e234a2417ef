"""Turn the weights that train.py leaves into the embedded encoders: int8 TFLite and ONNX, their cards, the fp32 source.

    python models/export_encoders.py cnn --grocery DATASET --weights WORK/cnn.pt --out models
    python models/export_encoders.py cnn --grocery DATASET --out models

Without `--weights` the int8 files are made again from the fp32 ONNX file in `--out`. Needs the `export` extra. Ranges are
measured on train photos; the gate asks with the val photos among all train photos (`shelfmatch.export`).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import pickle
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from shelfmatch.edge.bundle.manifest import Format
from shelfmatch.edge.encoders.registry import read_card
from shelfmatch.export import ExportReport, ExportSettings, Overrides, SourceOptions, export_model
from shelfmatch.export.onnx_recipes import OnnxBench, calibration_input
from shelfmatch.export.photos import CALIBRATION_PHOTOS, read_photos
from shelfmatch.export.recipes import Bench, make_int8
from shelfmatch.export.sources import open_source
from shelfmatch.export.tflite_recipes import TfliteBench
from shelfmatch.models import pictures
from shelfmatch.models.networks import EQUALIZED, INPUT_SIDE, MEAN, NETWORKS, STD, equalized, from_onnx, fused

NAMES: Final = {"cnn": "shelfmatch-cnn", "vit": "shelfmatch-vit"}
_COMMON = (
    "trained by models/train.py on the Grocery Store Dataset's train photos and catalogue pictures (MIT) and on rendered "
    "products, begun with and distilled from Coral's MobileNetV1 and V2 (Apache-2.0)"
)
PROVENANCE: Final = {
    "shelfmatch-cnn": _COMMON,
    "shelfmatch-vit": f"{_COMMON}, then from EfficientNet-Lite2 (Apache-2.0) and from itself beside shelfmatch-cnn",
}
KEPT_IN_FLOAT: Final = {"shelfmatch-cnn": ("0020/blocks.5.layers.2.conv",)}
"""Wholly in int8 the CNN lost two val photos of 296 in LiteRT. Chosen on val photos among the layers that lose most and compute
little: it costs 0.6 million instructions on a Cortex-A76, where the stem, which the recipe "mixed" takes, costs two (25.5 of the 25
that this encoder may take)."""
PREPROCESSING: Final = Overrides(size=(INPUT_SIDE, INPUT_SIDE), mean=(MEAN,) * 3, std=(STD,) * 3, resize="crop")


def write_csv(path: Path, grocery: Path, split: str) -> Path:
    """A catalogue or query file of the dataset's photos, products named by their number."""
    files, labels = pictures.read_split(grocery, f"{split}.txt")
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "sku"])
        rows.writerows([file.resolve(), label] for file, label in zip(files, labels, strict=True))
    return path


def calibration_pixels(grocery: Path) -> Any:
    """The train photos that ranges are measured on, (N, side, side, 3) uint8."""
    with tempfile.TemporaryDirectory() as work:
        train = write_csv(Path(work) / "train.csv", grocery, "train")
        preprocessing = PREPROCESSING.apply(None, "the encoder")
        return read_photos(train, preprocessing, lambda stream, total: stream).spread(CALIBRATION_PHOTOS)


def export_int8(name: str, net: Any, grocery: Path, target: Path, gate_points: float) -> ExportReport:
    """Both files of a folded network, gated, into `target`."""
    settings = ExportSettings(
        calibration=write_csv(target / "train.csv", grocery, "train"),
        gate_queries=write_csv(target / "val.csv", grocery, "val"),
        recipes=("fp32", "auto"),
        gate_points=gate_points,
        name=name,
        layers=False,
        keep_float=KEPT_IN_FLOAT.get(name, ()),
        source=SourceOptions(preprocessing=PREPROCESSING),
    )
    return export_model(net, target / "exported", settings)


def install(name: str, report: ExportReport, exported: Path, out: Path) -> None:
    """Give the files their names and cards: NAME.tflite, NAME.onnx and, apart from the package, NAME-fp32.onnx."""
    for attempt in report.attempts:
        if attempt.verdict != "kept" or (attempt.recipe == "fp32" and attempt.format == "tflite"):
            continue
        card, file = read_card(exported / f"{attempt.file}.json")
        stem = f"{name}-fp32" if attempt.recipe == "fp32" else name
        target = out / f"{stem}.{attempt.format}"
        shutil.copyfile(file, target)
        if attempt.recipe != "fp32":
            provenance = f"{PROVENANCE[name]}; {attempt.recipe}, by models/export_encoders.py"
            card = replace(card, name=name, file=target.name, provenance=provenance, license="Apache-2.0")
            (out / f"{target.name}.json").write_text(json.dumps(card.to_dict(), indent=2) + "\n")
            recipe = json.loads((exported / f"{attempt.file}.recipe.json").read_text())
            kept = {key: recipe[key] for key in ("recipe", "kept_in_float", "calibration", "versions")}
            (out / f"{target.name}.recipe.json").write_text(json.dumps(kept, indent=2) + "\n")
        assert attempt.score is not None
        print(
            f"{target.name}: {attempt.recipe}, {target.stat().st_size:,} bytes, recall@1 {100 * attempt.score.recall_at_1:.1f} %, "
            f"overlap {attempt.score.overlap_at_5:.3f}, cosine {attempt.score.cosine_mean:.4f} {attempt.reason}"
        )


def make_again(name: str, file_format: Format, folder: Path, grocery: Path) -> bytes:
    """The int8 file out of the fp32 ONNX file in `folder`, by the recipe that lies beside it."""
    recipe = json.loads((folder / f"{name}.{file_format}.recipe.json").read_text())
    source = open_source(from_onnx(name, folder / f"{name}-fp32.onnx"), SourceOptions(preprocessing=PREPROCESSING))
    pixels = calibration_pixels(grocery)
    with tempfile.TemporaryDirectory() as work:
        core = Path(work) / f"core.{file_format}"
        source.writer(file_format)(core, None)
        bench: Bench
        if file_format == "onnx":
            bench = OnnxBench(core.read_bytes(), lambda layout: calibration_input(pixels, layout))
        else:
            bench = TfliteBench(core.read_bytes(), calibration_input(pixels, "NHWC"))
        with contextlib.closing(bench):
            return make_int8(bench, keep_float=recipe["kept_in_float"])


def main() -> None:
    """The command line; see the first lines."""
    import torch

    parser = argparse.ArgumentParser(description="Export shelfmatch's embedded encoders.")
    parser.add_argument("network", choices=sorted(NAMES))
    parser.add_argument("--grocery", type=Path, required=True, help="the Grocery Store Dataset's folder")
    parser.add_argument("--weights", type=Path, help="what train.py left; without it, the fp32 ONNX file in --out")
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
            net = NETWORKS[name]()
            net.load_state_dict(torch.load(source, weights_only=True))
            net = equalized(fused(net), calibration_pixels(options.grocery), EQUALIZED[name])
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        parser.error(f"{source} is not of {name}: {(str(error).splitlines() or [type(error).__name__])[-1].strip()}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        report = export_int8(name, net, options.grocery, work, options.gate)
        for attempt in report.attempts:
            if attempt.verdict in ("refused", "failed"):
                print(f"{attempt.format} {attempt.recipe} {attempt.verdict}: {attempt.reason}")
        install(name, report, work / "exported", options.out)


if __name__ == "__main__":
    main()
