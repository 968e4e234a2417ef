"""Turn what training leaves into "shelfmatch-detect": int8 TFLite and ONNX, their cards, the weights they are made from.

    python models/export_detector.py --faces FACES --data DATA --weights OUT/detector-state.pt --out models
    python models/export_detector.py --faces FACES --data DATA --out models

Without `--weights` the files are made again from `shelfmatch-detect.npz` in `--out`. Needs the `export` extra. Ranges are measured
on scenes of real cut-outs and photos that trained, which follow from DATA alone. A file is refused whose average precision (AP50,
of products or of empty places, on scenes of new designs) is more than `--gate` points below the float network's. FACES is what
`detection/faces.py` makes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from shelfmatch.edge.detection.card import DetectorCard, OutputCard
from shelfmatch.edge.detection.detection import Kind
from shelfmatch.edge.detection.detector import Detector
from shelfmatch.edge.encoders.card import Format, Quantization
from shelfmatch.edge.encoders.runtimes import choose_runtime, open_session
from shelfmatch.edge.synthetic.products import make_shop, render_plain
from shelfmatch.export.onnx_graph import tidy
from shelfmatch.export.onnx_recipes import OnnxBench, calibration_input
from shelfmatch.export.tflite_graph import pack, parse, renamed_tensors
from shelfmatch.export.tflite_recipes import TfliteBench
from shelfmatch.export.tools import quiet
from shelfmatch.models import halves
from shelfmatch.models.detection.floor import chosen_floor
from shelfmatch.models.detection.network import SIDE, STRIDES, Device, mean_of, ready, weights_of
from shelfmatch.models.detection.precision import Found, average_precision
from shelfmatch.models.detection.scenes import Source, source, source_of_photos
from shelfmatch.models.tap import digest

NAME: Final = "shelfmatch-detect"
CLASSES: Final[tuple[Kind, ...]] = ("product", "gap")
OUTPUTS: Final = (*(f"scores{stride}" for stride in STRIDES), *(f"distances{stride}" for stride in STRIDES))
CALIBRATED_ON: Final = 96
CUT_OUTS: Final = 160
GATED_ON: Final = {"shelf": 48, "held": 24, "heap": 24}
"""Scenes of new designs, by kind."""
FEW_FALSE: Final = 0.35
"""The score from which on what is found sets the size of tiles, while the floor is being chosen."""
OVERLAP: Final = 0.55
PROVENANCE: Final = (
    "trained by models/train_detector.py on rendered scenes of packages printed with Debian's typefaces and word lists "
    "(models/printer/SOURCES.md), medicine boxes (universe.roboflow.com kabul-university-evptq/drug-name-detection v2, CC BY 4.0), "
    "phone photos of groceries (josh-rdc, MIT), catalogue pictures of the Grocery Store Dataset (MIT) and photos of a fridge "
    "(Azure, MIT); begun with shelfmatch-cnn; int8-static, by models/export_detector.py"
)
_PACKAGES: Final = (
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


def calibration_pixels(data: Path) -> NDArray[np.uint8]:
    """Scenes (N, SIDE, SIDE, 3) as training had them, of the photos that may train."""
    parts, rng = source_of_photos(data, CUT_OUTS), np.random.default_rng(240)
    return np.stack([parts.scene(rng, SIDE).pixels for _ in range(CALIBRATED_ON)])


def _named_outputs(model: bytes) -> bytes:
    """The outputs' tensors called as in `OUTPUTS`, told apart by their shapes."""
    parsed = parse(renamed_tensors(model))
    graph = parsed.subgraphs[0]
    for index in graph.outputs:
        _, rows, _, channels = (int(side) for side in graph.tensors[int(index)].shape)
        kind = "scores" if channels == len(CLASSES) else "distances"
        graph.tensors[int(index)].name = f"{kind}{SIDE // rows}".encode()
    return pack(parsed)


def core(net: Any, file_format: Format) -> bytes:
    """The float file, float pixels in."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "core"
        if file_format == "onnx":
            with quiet("PyTorch's ONNX export"):
                program = torch.onnx.export(
                    Device(net, nhwc_input=False).eval(), (torch.zeros(1, 3, SIDE, SIDE),), dynamo=True, verbose=False,
                    input_names=["pixels"], output_names=list(OUTPUTS), opset_version=18,
                )  # fmt: skip
            assert program is not None
            return tidy(program.model_proto.SerializeToString())
        with quiet("importing litert-torch"):
            import litert_torch
        with quiet("litert-torch's conversion"):
            litert_torch.convert(Device(net, nhwc_input=True).eval(), (torch.zeros(1, SIDE, SIDE, 3),)).export(
                str(path)
            )
        return _named_outputs(path.read_bytes())


@contextlib.contextmanager
def bench_of(net: Any, file_format: Format, pixels: NDArray[np.uint8]) -> Iterator[Any]:
    """What the files of one format are made with."""
    model = core(net, file_format)
    bench: Any
    if file_format == "onnx":
        bench = OnnxBench(model, lambda layout: calibration_input(pixels, layout))
    else:
        bench = TfliteBench(model, calibration_input(pixels, "NHWC"))
    with contextlib.closing(bench):
        yield bench


def card_of(model: bytes, file_format: Format, floor: float) -> DetectorCard:
    """The card of a file, its tensors read off it; `floor`: the score from which on a find counts."""
    session = open_session(choose_runtime(file_format, "auto"), model, 1)
    named = {tensor.name: tensor for tensor in session.outputs}
    entry = session.inputs[0]
    outputs = []
    for name in OUTPUTS:
        tensor = named[name]
        stored = tensor.quantization if tensor.dtype != "float32" else None
        scale = None if stored is None else Quantization(stored.scale, stored.zero_point)
        dtype: Any = tensor.dtype
        outputs.append(OutputCard(name, dtype, scale))
    return DetectorCard(
        name=NAME, file=f"{NAME}.{file_format}", sha256=digest(model), size_bytes=len(model), format=file_format,
        width=SIDE, height=SIDE, input_name=entry.name, input_dtype="uint8",
        layout="NHWC" if file_format == "tflite" else "NCHW", outputs=tuple(outputs), head="shelfmatch", classes=CLASSES,
        products=("product",), gaps=("gap",), strides=STRIDES, distances="softplus", scores="logit", floor=floor, overlap=OVERLAP,
        mean=None, std=None, padding=(128, 128, 128), provenance=PROVENANCE, license="Apache-2.0",
    )  # fmt: skip


def make_again(file_format: Format, folder: Path, pixels: NDArray[np.uint8]) -> bytes:
    """The int8 file out of `shelfmatch-detect.npz` in `folder`."""
    with bench_of(ready(weights_of(folder / f"{NAME}.npz")), file_format, pixels) as bench:
        model: bytes = bench.static()
        return model


def precision(detector: Detector, parts: Source) -> dict[str, float]:
    """AP50 in points, of products and of empty places, on the gate's scenes."""
    found: dict[Kind, list[Found]] = {"product": [], "gap": []}
    for kind, count in GATED_ON.items():
        rng = np.random.default_rng(241)
        for _ in range(count):
            scene = parts.scene(rng, SIDE, kind)
            seen = detector.detect(scene.pixels, kinds=CLASSES, floor=0.03, tiles="off")
            for number, name in enumerate(CLASSES):
                own = [one for one in seen if one.kind == name]
                if name == "product" or kind == "shelf":
                    found[name].append(
                        Found(
                            np.array([one.box for one in own], np.float32).reshape(-1, 4),
                            np.array([one.score for one in own], np.float32),
                            scene.boxes[scene.kinds == number],
                            scene.boxes[scene.kinds < 0],
                        )
                    )
    return {name: 100 * average_precision(photos, 0.5) for name, photos in found.items()}


def golden(detector: Detector) -> list[dict[str, Any]]:
    """What it finds on `golden_picture`, for others to compare with: boxes to a pixel, scores to a hundredth."""
    return [
        {"kind": one.kind, "box": [round(side) for side in one.box], "score": round(one.score, 2)}
        for one in detector.detect(golden_picture(), kinds=CLASSES)
    ]


def golden_picture() -> NDArray[np.uint8]:
    """Four rendered packages side by side, (480, 640, 3)."""
    shown = [np.asarray(render_plain(product, 280).convert("RGB")) for product in make_shop(4, 11)]
    picture = np.full((480, 640, 3), 90, np.uint8)
    for number, (row, column) in enumerate(((10, 20), (10, 340), (190, 20), (190, 340))):
        small = shown[number][::2, ::2]
        picture[row : row + small.shape[0], column : column + small.shape[1]] = small
    return picture


def install(
    net: Any, faces: Path, data: Path, out: Path, gate: float, formats: Sequence[Format] = ("tflite", "onnx")
) -> bool:
    """Write the files with cards and recipes. Whether all passed the gate: what didn't is told and not written."""
    pixels = calibration_pixels(data)
    new = source(faces, data, "new")
    passed, floor = True, 0.0
    for file_format in formats:
        with bench_of(net, file_format, pixels) as bench:
            exact, model = bench.fp32(), bench.static()
        scores = {
            kind: precision(Detector(card_of(each, file_format, FEW_FALSE), each), new)
            for kind, each in (("float", exact), ("int8", model))
        }
        lost = {name: scores["float"][name] - scores["int8"][name] for name in CLASSES}
        told = ", ".join(f"{name} {scores['int8'][name]:.1f} ({-lost[name]:+.2f} points)" for name in CLASSES)
        print(f"{NAME}.{file_format}: {len(model):,} bytes, AP50 {told}", flush=True)
        worst = max(lost, key=lambda name: lost[name])
        if lost[worst] > gate:
            print(
                f"{NAME}.{file_format} refused: int8 costs {lost[worst]:.2f} points of {worst}, more than {gate}",
                flush=True,
            )
            passed = False
            continue
        if not floor:  # one for both formats
            floor = chosen_floor(Detector(card_of(model, file_format, FEW_FALSE), model), source(faces, data, "train"))
            print(f"finds count from a score of {floor} on", flush=True)
        card = card_of(model, file_format, floor)
        record = {
            "recipe": "int8-static", "kept_in_float": [], "ap50": scores, "golden": golden(Detector(card, model)),
            "calibration": {"scenes_sha256": digest(pixels.tobytes()), "used": len(pixels)},
            "versions": {package: version(package) for package in _PACKAGES},
        }  # fmt: skip
        (out / card.file).write_bytes(model)
        (out / f"{card.file}.json").write_text(json.dumps(card.to_dict(), indent=2) + "\n")
        (out / f"{card.file}.recipe.json").write_text(json.dumps(record, indent=2) + "\n")
    return passed


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description="Export shelfmatch's product detector.")
    parser.add_argument("--faces", type=Path, required=True, help="what detection/faces.py made")
    parser.add_argument("--data", type=Path, required=True, help="the folder with phone and fridge")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        help="what training left, of several runs that went on from one the mean; "
        "without it, shelfmatch-detect.npz in --out",
    )
    parser.add_argument("--out", type=Path, required=True, help="where the files and cards go")
    parser.add_argument(
        "--gate", type=float, default=0.5, metavar="POINTS", help="how much AP50 int8 may cost (default: 0.5)"
    )
    parser.add_argument("--formats", nargs="+", default=["tflite", "onnx"], choices=["tflite", "onnx"])
    options = parser.parse_args()
    kept = options.out / f"{NAME}.npz"
    for needed in (*(options.weights or [kept]), options.faces / "new-front.npy"):
        if not needed.is_file():
            parser.error(f"{needed} is not there; expected a file")
    if options.weights:
        options.out.mkdir(parents=True, exist_ok=True)
        halves.write(mean_of([weights_of(path) for path in options.weights]), kept)
    if not install(ready(weights_of(kept)), options.faces, options.data, options.out, options.gate, options.formats):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
