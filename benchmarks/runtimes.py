"""One embedding through LiteRT, ONNX Runtime and tflite-runtime: how far apart are they?

    python benchmarks/runtimes.py
    python benchmarks/runtimes.py --encoders v1 v2 --photos 96 --json runtimes.json

Three processes, three environments: LiteRT in the running interpreter; ONNX Runtime with the file that tf2onnx makes
of the same .tflite; tflite-runtime under numpy 1. First our encoder end to end, from the photo file, with each
environment's own Pillow and numpy; then the bare networks on the same pixels. Cosines over grocery photos. The bar is
on the lowest of V1's; V2 stands beside it to show how much the runtimes' own rounding moves an int8 network, whoever
calls them.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import peers
import reporting
import shops
from numpy.typing import NDArray
from PIL import Image

BAR = 0.998
OPSET = "13"
"""The first with per-channel DequantizeLinear, which int8 convolutions need."""

RUNTIMES: dict[str, tuple[str | None, str, str]] = {
    "LiteRT": (None, "litert", "litert"),
    "ONNX Runtime": ("convert", "onnx", "onnxruntime"),
    "tflite-runtime": ("tflite", "tflite-runtime", "tflite-runtime"),
}
"""Name → environment, our name for the runtime, the bare worker's name for it."""


def convert_to_onnx(model: Path, destination: Path) -> Path:
    """The same network as ONNX, through tf2onnx in the environment "convert"."""
    if not destination.exists():
        partial = destination.with_suffix(".partial.onnx")
        command = ["-m", "tf2onnx.convert", "--tflite", str(model), "--output", str(partial), "--opset", OPSET]
        done = subprocess.run([str(peers.environment("convert")), *command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"tf2onnx can't convert {model.name}: {done.stderr.strip().splitlines()[-1]}")
        partial.replace(destination)
    return destination


def write_onnx_card(model: Path, converted: Path) -> Path:
    """The .tflite file's own card for its ONNX twin, whose integers have no scale and zero point to explain them."""
    from shelfmatch.edge.encoders.registry import find_encoder

    script = (
        "import onnxruntime, sys; session = onnxruntime.InferenceSession(sys.argv[1]); "
        "print(session.get_inputs()[0].name, session.get_outputs()[0].name, sep='\\n')"
    )
    command = [str(peers.environment("convert")), "-c", script, str(converted)]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    card, _ = find_encoder(model)
    data = converted.read_bytes()
    twin = dataclasses.replace(
        card,
        file=converted.name,
        format="onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        input_name=names[0],
        output_name=names[1],
    )
    target = converted.with_suffix(".json")
    target.write_text(json.dumps(twin.to_dict()), encoding="utf-8")
    return target


@contextmanager
def our_package(work: Path) -> Iterator[Path]:
    """A folder with nothing but shelfmatch in it, for environments that have neither it nor usearch."""
    import shelfmatch.edge
    import shelfmatch.models

    root = work / "package"
    (root / "shelfmatch").mkdir(parents=True, exist_ok=True)
    for package in (shelfmatch.edge, shelfmatch.models):
        link = root / "shelfmatch" / package.__name__.rpartition(".")[2]
        link.unlink(missing_ok=True)
        link.symlink_to(Path(next(iter(package.__path__))).absolute(), target_is_directory=True)
    yield root


def embeddings(worker: peers.Worker, operation: str, paths: list[Path]) -> NDArray[np.float64]:
    """(N, D): what a worker makes of each file."""
    return np.array([worker.ask(operation, path=str(path), embedding=True)["embedding"] for path in paths])


def stored_pixels(photos: list[shops.GroceryPhoto], work: Path) -> list[Path]:
    """Photos as every bare network gets them: decoded whole, 224×224, bilinear."""
    paths = []
    for number, photo in enumerate(photos):
        path = work / f"pixels-{number:03d}.npy"
        with Image.open(photo.path) as image:
            np.save(path, np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)))
        paths.append(path)
    return paths


def run_encoder(name: str, photos: list[shops.GroceryPhoto], work: Path, report: reporting.Report) -> None:
    """Both tables of one encoder."""
    model = shops.model_file(shops.V1) if name == "v1" else shops.cut_v2(work)
    converted = convert_to_onnx(model, work / f"{name}.onnx")
    card = write_onnx_card(model, converted)
    zero_point = json.loads(card.read_text(encoding="utf-8"))["output_quantization"]["zero_point"]
    pixels = stored_pixels(photos, work)
    files = [photo.path for photo in photos]
    found: dict[str, dict[str, NDArray[np.float64]]] = {"ours": {}, "bare": {}}
    with our_package(work) as package:
        for runtime, (peer, our_name, bare_name) in RUNTIMES.items():
            is_onnx = our_name == "onnx"
            encoder = card if is_onnx else model
            path = package if peer else None
            with peers.Worker(peer, "shelfmatch_encoder.py", our_name, encoder, package_path=path) as worker:
                found["ours"][runtime] = embeddings(worker, "photo", files)
            with peers.Worker(peer, "bare_embedder.py", bare_name, converted if is_onnx else model) as worker:
                found["bare"][runtime] = embeddings(worker, "pixels", pixels) - zero_point
    rows: list[tuple[object, ...]] = []
    results: dict[str, list[float]] = {}
    for kind, by_runtime in found.items():
        for runtime in list(RUNTIMES)[1:]:
            values = reporting.cosines(by_runtime["LiteRT"], by_runtime[runtime])
            results[f"{kind}, {runtime}"] = values.tolist()
            bar = f"≥ {BAR}" if name == "v1" else ""
            rows.append((f"{kind}: LiteRT and {runtime}", f"{np.median(values):.6f}", f"{values.min():.6f}", bar))
            if kind == "ours" and name == "v1":
                report.bar(f"{name}: lowest cosine of LiteRT and {runtime}", values.min(), BAR, at_least=True)
    across = reporting.cosines(found["ours"]["LiteRT"], found["bare"]["LiteRT"])
    results["ours and bare, LiteRT"] = across.tolist()
    rows.append(
        ("our preprocessing against full decode + bilinear", f"{np.median(across):.6f}", f"{across.min():.6f}", "")
    )
    reporting.print_table(f"{name.upper()}: cosine over {len(photos)} photos", ("", "median", "min", "bar"), rows)
    report.results[name] = results


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=("v1", "v2"), default=["v1", "v2"])
    parser.add_argument("--photos", type=int, default=48, metavar="N")
    peers.add_arguments(parser)
    arguments: argparse.Namespace = parser.parse_args()
    peers.use(arguments.envs)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    report = reporting.Report.start("runtimes", photos=arguments.photos)
    photos = shops.spread(shops.grocery_photos("val"), arguments.photos)
    with reporting.work_folder(arguments.work) as work:
        for name in arguments.encoders:
            run_encoder(name, photos, work, report)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
