"""Turn the weights that training leaves into the embedded encoders: int8 TFLite and ONNX, their cards, the fp32 source.

    python models/export_encoders.py cnn --grocery DATASET --weights OUT/shelfmatch-cnn-state.pt --out models
    python models/export_encoders.py cnn --grocery DATASET --out models

Without `--weights` the int8 files are made again from the fp32 ONNX file in `--out`; with it, which may be such a file, too, the
float network's maps are brought to one range first. Needs the `export` extra. Ranges are measured on photos that may train: of
groceries, catalogue pictures, boxes and phone photos (`phone` and `boxes` lie beside DATASET). A file that finds less than the
float network does, val photos among all train photos, by more than `--gate` points is refused. The CNN's files have a second
output, the map that local matching reads (`tap`).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
from shelfmatch.models import halves, pictures, real, tap
from shelfmatch.models.networks import EQUALIZED, MEAN, NETWORKS, STD, equalized, from_onnx, fused

NAMES: Final = {"cnn": "shelfmatch-cnn", "vit": "shelfmatch-vit", "nano": "shelfmatch-nano"}
PROVENANCE: Final = (
    "trained by models/joint.py on the Grocery Store Dataset's train photos and catalogue pictures (MIT), phone photos of "
    "groceries (josh-rdc, MIT), medicine boxes (Kabul University, CC BY 4.0) and packages printed with Debian's typefaces and "
    "word lists (models/shelfmatch-cnn.md), begun with Coral's MobileNetV2 and distilled from MobileNetV1 and V2 (Apache-2.0)"
)
TEACHING: Final = {
    "shelfmatch-cnn": "; then taught what shelfmatch-cnn, -vit and -nano see together (models/distill.py, models/last_layer.py)",
    "shelfmatch-vit": "; then taught what shelfmatch-cnn, -vit and -nano see together (models/distill.py)",
    "shelfmatch-nano": "; then taught what shelfmatch-cnn, -vit and -nano see together (models/distill.py)",
}
"""How the weights that are shipped went on from there, as their cards tell it: another run changes it here, too."""
KEPT_IN_FLOAT: Final[dict[str, tuple[str, ...]]] = {"shelfmatch-vit.onnx": ("embed/gemm1",)}
"""Layers, by file, that lose too much in int8: without the ViT's last product its two runtimes are further apart than 0.9993."""
CALIBRATED_ON: Final = {"grocery": 32, "box": 32, "phone": 32, "iconic": 32}
"""How many pictures of each kind the ranges are measured on. With 64 groceries alone the CNN's LiteRT file had a mean cosine to its
source of .9976 on boxes left out and .9970 on phone crops left out; with these, .9988 and .9978."""
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


def calibration_pixels(
    grocery: Path, name: str, kinds: Mapping[str, int] = MappingProxyType(CALIBRATED_ON)
) -> NDArray[np.uint8]:
    """(N, side, side, 3) photos that ranges are measured on, so many of each kind."""
    side, squares = NETWORKS[name].SIDE, list[NDArray[np.uint8]]()
    for kind, count in kinds.items():
        found = pictures_of(kind, grocery)
        chosen = np.linspace(0, len(found) - 1, count).astype(int)
        squares += [pictures.to_square(real.padded(found[row]()), side) for row in chosen]
    return np.stack(squares)


def pixels_of_recipe(grocery: Path, name: str, recipe: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The photos that a file's ranges were measured on: of groceries alone, where its recipe names no kinds. Raises ValueError
    where they are others by now."""
    calibration = recipe["calibration"]
    if "kinds" not in calibration:
        return photos_of(grocery, name, "train").spread(CALIBRATION_PHOTOS)
    pixels = calibration_pixels(grocery, name, calibration["kinds"])
    if hashlib.sha256(pixels.tobytes()).hexdigest() != calibration["pixels_sha256"]:
        raise ValueError(f"the photos of {name}'s ranges are others than those in its recipe: the data changed")
    return pixels


def pictures_of(kind: str, grocery: Path) -> list[Callable[[], Image.Image]]:
    """What opens the pictures of a kind that may train."""

    def opened(path: Path) -> Callable[[], Image.Image]:
        return lambda: Image.open(path).convert("RGB")

    if kind in ("grocery", "iconic"):
        read = pictures.read_iconic if kind == "iconic" else partial(pictures.read_split, name="train.txt")
        paths, labels = read(grocery)
        return [opened(path) for path, label in zip(paths, labels, strict=True) if label not in pictures.HELD_OUT]
    if kind == "box":
        paths = sorted((grocery.parent / "boxes").glob("*.jpg"))
        return [opened(path) for number, path in enumerate(paths) if not real.box_is_out(number)]
    crops = real.phone_crops(grocery.parent / "phone", out=False, margin=0.06)
    return [partial(Image.Image.copy, crop) for _, _, crop, _ in crops]


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
    pixels = pixels_of_recipe(grocery, name, recipe)
    with bench_of(name, net, file_format, pixels) as (_, bench):
        return int8(name, bench, file_format, tuple(recipe["kept_in_float"]))


def install(name: str, net: Any, grocery: Path, out: Path, *, source_too: bool, gate_points: float) -> bool:
    """Write NAME.tflite and NAME.onnx with cards and recipes, and where `source_too` NAME-fp32.onnx. Whether both passed the gate:
    a file that didn't is told and not written."""
    photos, queries = photos_of(grocery, name, "train"), photos_of(grocery, name, "val")
    gate = Gate(photos, queries, embedded(net, photos.pixels), embedded(net, queries.pixels))
    pixels = calibration_pixels(grocery, name)
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
            provenance=f"{PROVENANCE}{TEACHING.get(name, '')}; {recipe}, by models/export_encoders.py",
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
            "calibration": {
                "kinds": CALIBRATED_ON,
                "used": len(pixels),
                "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
            },
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
    """The folded network with the weights of a state that `joint` kept (their running mean), of its small file (.npz), of a
    file of `blend`, or of a plain state_dict."""
    import torch

    if path.suffix != ".npz":
        state = torch.load(path, weights_only=True, map_location="cpu")
        if "folded" in state:
            net = fused(NETWORKS[name]())
            halves.fill(net, state["folded"], path.name)
            return net
    net = NETWORKS[name]()
    halves.fill(net, unfolded(path), path.name)
    return fused(net)


def learned_whole(path: Path) -> bool:
    """Whether the CNN's map of local matching may have changed: only `distill` without `--whole` says that it hasn't."""
    import torch

    return path.suffix != ".pt" or bool(torch.load(path, weights_only=True, map_location="cpu").get("whole", True))


def unfolded(path: Path) -> dict[str, Any]:
    """A network's weights with its norms, as training left them: of a state, of the small file, or of a plain state_dict."""
    import torch

    if path.suffix == ".npz":
        found = halves.read(path)
        return {key.removeprefix("net."): value for key, value in found.items() if key.startswith("net.")}
    state = torch.load(path, weights_only=True, map_location="cpu")
    state = state["mean"]["net"] if "mean" in state else state
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Export shelfmatch's embedded encoders.")
    parser.add_argument("network", choices=sorted(NAMES))
    parser.add_argument(
        "--grocery", type=Path, required=True, help="the Grocery Store Dataset's folder, with phone and boxes beside it"
    )
    parser.add_argument("--weights", type=Path, help="what training left; without it, the fp32 ONNX file in --out")
    parser.add_argument("--out", type=Path, required=True, help="where the files and cards go")
    parser.add_argument(
        "--gate", type=float, default=0.5, metavar="POINTS", help="how much recall@1 int8 may cost (default: 0.5)"
    )
    parser.add_argument(
        "--keep-tap",
        action="store_true",
        help="leave the CNN's map of local matching as it is, for weights of distill.py: the local head fits it as before",
    )
    options = parser.parse_args()
    if options.keep_tap and options.network != "cnn":
        parser.error(f"--keep-tap is of the CNN alone, {options.network} has no map of local matching")
    name = NAMES[options.network]
    source = options.weights or options.out / f"{name}-fp32.onnx"
    beside = options.grocery.parent
    if not source.is_file():
        parser.error(f"{source} is not there; expected a file")
    for needed in (options.grocery / "train.txt", beside / "phone" / "photos.json", beside / "boxes"):
        if not needed.exists():
            parser.error(f"{needed} is not there; --grocery needs it, and phone and boxes beside it (models/README.md)")
    try:
        if options.keep_tap and source.suffix != ".onnx" and learned_whole(source):
            parser.error(
                f"{source} isn't what distill.py leaves without --whole: its map of local matching may have changed, "
                "so leave --keep-tap out"
            )
        net = from_onnx(name, source) if source.suffix == ".onnx" else weights_of(name, source)
        if options.weights is not None:
            pixels = calibration_pixels(options.grocery, name)
            net = equalized(net, pixels, EQUALIZED[name], keep_tap=options.keep_tap)
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        # Of text torch says a KeyError with a number alone.
        words = [] if isinstance(error, KeyError) else str(error).splitlines()
        parser.error(
            f"{source} is not of {name}: {(words or [f'no file of weights ({type(error).__name__})'])[-1].strip()}"
        )
    again = options.weights is not None
    if not install(name, net, options.grocery, options.out, source_too=again, gate_points=options.gate):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
