"""Every network of the export's table through `shelfmatch.export`: parity in float, and what `auto` makes of it in int8.

    python benchmarks/export_matrix.py --data FOLDER --models FOLDER --markdown benchmarks/results/export_matrix.md

`--data`: the Grocery Store Dataset; `--models`: Coral's trained MobileNets. Each network runs in a process of its own. No hub
can be reached where this runs, so most networks have random weights (batch norms fitted to photos): the graph is what is
tested, and what int8 costs them says little. Trained are: Coral's MobileNetV2, dequantized from its int8 file
(benchmarks/trained.py), and the project's own two. Needs shelfmatch[export].
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shelfmatch.export.tools import versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import shops
from benchmarks.reporting import Report, argument_parser, machine, markdown_table, print_table, work_folder

REPOSITORY = Path(__file__).resolve().parents[1]

TIMM = (
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv4_conv_small", "efficientnet_lite0", "repvit_m0_9",
    "vit_tiny_patch16_224", "deit_tiny_patch16_224", "mobilevit_xxs",
)  # fmt: skip
DINO = "dinov2-small"
KERAS = "keras-mobilenetv2-gap"
CORAL = "coral-mobilenetv2"
OURS = ("shelfmatch-cnn", "shelfmatch-vit")
NETWORKS = (*TIMM, DINO, KERAS, CORAL, *OURS)
TRAINED = (CORAL, *OURS)

MAX_DIFFERENCE, MIN_COSINE = 1e-4, 0.99999
MAX_LOSS_POINTS, MAX_SIZE, MAX_LATENCY = 0.5, 0.30, 0.75
TRANSFORMERS = ("shelfmatch-vit",)
"""Of the trained ones; MAX_LATENCY is asked of CNNs only: a transformer's softmax and sums gain nothing from int8."""


def write_csv(grocery: Path, split: str, target: Path, every: int = 1) -> Path:
    """A split as image,sku."""
    rows = [line.split(",") for line in (grocery / split).read_text().splitlines() if line.strip()][::every]
    with target.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "sku"), *((grocery / r[0].strip(), r[1].strip()) for r in rows)])
    return target


def fit_norms(net: Any, photos: Path) -> None:
    """Batch norms of random weights from photos: without, activations vanish or explode and say nothing."""
    import torch

    from shelfmatch.export.photos import read_photos
    from shelfmatch.export.preprocessing import from_timm

    preprocessing = from_timm(net.pretrained_cfg)
    pixels = preprocessing.normalized(
        read_photos(photos, preprocessing, lambda stream, total: stream).spread(64).copy()
    )
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    net.train()
    with torch.no_grad():
        for start in range(0, len(pixels), 16):
            net(torch.from_numpy(pixels[start : start + 16]).permute(0, 3, 1, 2))
    net.eval()


def prepared(name: str, work: Path, options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """What to export, and the settings of its source: as people have it, by name and by file."""
    from benchmarks import trained
    from shelfmatch.export.tools import need_timm

    if name in TIMM:
        import safetensors.torch
        import torch

        torch.manual_seed(0)
        net = need_timm().create_model(name, pretrained=False)
        fit_norms(net, work / "val.csv")
        safetensors.torch.save_file(
            {k: v.contiguous() for k, v in net.state_dict().items()}, work / f"{name}.safetensors"
        )
        return f"timm:{name}", {"checkpoint": work / f"{name}.safetensors"}
    if name == DINO:
        return f"hf:{write_dino(work / name)}", {}
    if name == KERAS:
        return str(write_keras(work / f"{name}.keras", work / "val.csv")), {}
    if name == CORAL:
        return trained.mobilenet_v2(options.models / "tf2_mobilenet_v2_1.0_224_ptq.tflite"), {}
    from shelfmatch.models.export_encoders import PREPROCESSING
    from shelfmatch.models.networks import from_onnx

    # The fp32 files stay out of the package: they lie in the checkout.
    return from_onnx(name, REPOSITORY / "models" / f"{name}-fp32.onnx"), {"preprocessing": PREPROCESSING}


def write_dino(folder: Path) -> Path:
    """DINOv2-small with random weights, as save_pretrained leaves it, with the image processor's configuration of the hub."""
    import torch

    from shelfmatch.export.tools import need_transformers

    transformers = need_transformers()
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**shape)).save_pretrained(folder)
    processor = {
        "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "rescale_factor": 1 / 255, "size": {"shortest_edge": 256},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def write_keras(path: Path, photos: Path) -> Path:
    """Keras MobileNetV2 with global average pooling and random weights, batch norms fitted as by `fit_norms`."""
    from shelfmatch.export.keras_source import keras_on_torch
    from shelfmatch.export.photos import read_photos
    from shelfmatch.export.preprocessing import Preprocessing

    keras = keras_on_torch()
    keras.utils.set_random_seed(0)
    net = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    preprocessing = Preprocessing(224, 224, (127.5,) * 3, (127.5,) * 3)
    pixels = read_photos(photos, preprocessing, lambda stream, total: stream).spread(64).copy()
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the last batch alone
    net(preprocessing.normalized(pixels), training=True)
    net.save(path)
    return path


def run_one(name: str, work: Path, options: argparse.Namespace) -> None:
    """One network, in this process; its report.json stays in the work folder."""
    from shelfmatch.export import ExportSettings, SourceOptions, export_model

    model, source = prepared(name, work, options)
    # Trained networks: the train photos are the shop, the val photos ask. Random ones: val photos, each left out once.
    photos = {"calibration": work / "train.csv", "gate_queries": work / "val.csv"} if name in TRAINED else {}
    settings = ExportSettings(
        **{"calibration": work / "val.csv", **photos}, name=name, layers=False, source=SourceOptions(**source)
    )
    export_model(model, work / name, settings)


def rows_of(name: str, report: dict[str, Any]) -> list[tuple[str, ...]]:
    """A network's lines of the table."""
    rows = []
    for file_format in ("onnx", "tflite"):
        attempts = [attempt for attempt in report["attempts"] if attempt["format"] == file_format]
        exact = next(attempt for attempt in attempts if attempt["recipe"] == "fp32")
        kept = next(attempt for attempt in attempts if attempt["verdict"] == "kept")
        refused = [
            f"{a['recipe']} {a['verdict']}: {a['reason']}" for a in attempts if a["verdict"] in ("refused", "failed")
        ]
        floats = f" ({len(kept['kept_in_float'])} layers in float)" if kept["kept_in_float"] else ""
        rows.append(
            (
                name, file_format, f"{exact['max_abs_difference']:.1e}", f"{exact['cosine_min']:.7f}",
                f"{exact['size_bytes'] / 1e6:.1f}", kept["recipe"] + floats, f"{kept['size_bytes'] / 1e6:.2f}",
                f"{kept['size_bytes'] / exact['size_bytes']:.0%}", f"{100 * report['gate']['source_recall_at_1']:.1f}",
                f"{kept['recall_loss_points']:.2f}", f"{kept['overlap_at_5']:.3f}", f"{kept['cosine_mean']:.5f}",
                f"{kept['latency_ms']:.2f}", f"{kept['fp32_latency_ms']:.2f}", "; ".join(refused),
            )
        )  # fmt: skip
    return rows


HEADER = (
    "network", "format", "fp32 max abs diff", "fp32 min cosine", "fp32 MB", "auto", "MB", "of fp32", "recall@1, %",
    "points lost", "top-5 overlap", "cosine", "ms", "fp32 ms", "refused before",
)  # fmt: skip


def bars(outcome: Report, name: str, report: dict[str, Any]) -> None:
    """The issue's bars on one network."""
    for attempt in report["attempts"]:
        where = f"{name} {attempt['format']}"
        if attempt["recipe"] == "fp32":
            outcome.bar(f"{where} fp32 max abs difference", attempt["max_abs_difference"], MAX_DIFFERENCE)
            outcome.bar(f"{where} fp32 min cosine", attempt["cosine_min"], MIN_COSINE, at_least=True)
            exact_size = attempt["size_bytes"]
        if name in TRAINED and attempt["verdict"] == "kept":
            outcome.bar(f"{where} recall@1 points lost", attempt["recall_loss_points"], MAX_LOSS_POINTS)
            outcome.bar(f"{where} size of fp32", attempt["size_bytes"] / exact_size, MAX_SIZE)
            if name not in TRANSFORMERS:
                outcome.bar(f"{where} latency of fp32", attempt["latency_ms"] / attempt["fp32_latency_ms"], MAX_LATENCY)


def markdown(rows: Sequence[Sequence[str]], outcome: Report, failures: dict[str, str]) -> str:
    """The table as a page of the repository, with the machine and the versions."""
    here = machine()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Export matrix",
        "",
        "Printed by `python benchmarks/export_matrix.py`, which says what the columns are. Weights are random except for "
        f"{', '.join(TRAINED)}: there the graph is tested, and int8's cost says little. Latency: pixels to embedding, one "
        "thread, medians taken in turns in the same run, other programs at work on the machine: trust the ratios.",
        "",
        f"{here['cpu'] or here['architecture']} ({', '.join(here['features'])}), {here['cores']} cores, "
        f"Python {here['python']}; {packages}.",
        "",
        markdown_table(HEADER, rows),
        *(f"\n{name}: {problem}" for name, problem in failures.items()),
        "",
        f"Bars: {sum(bar.met for bar in outcome.bars)} of {len(outcome.bars)} met.",
        *(f"- missed: {bar.what}: {bar.measured:.4g} (bar {bar.limit:g})" for bar in outcome.bars if not bar.met),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """The command line; see the first lines."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, help="the Grocery Store Dataset (default: where other benchmarks look)")
    parser.add_argument("--models", type=Path, help="Coral's trained models (default: where other benchmarks look)")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--one", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data = options.data or shops.grocery_root()
    options.models = options.models or shops.model_file(shops.V2).parent
    if options.one:
        run_one(options.one, options.work, options)
        return 0
    outcome = Report.start("export_matrix", networks=list(options.only))
    rows: list[tuple[str, ...]] = []
    failures: dict[str, str] = {}
    with work_folder(options.work) as work:
        write_csv(options.data, "val.txt", work / "val.csv")
        write_csv(options.data, "train.txt", work / "train.csv", every=3)
        for name in options.only:
            finished = work / name / "report.json"
            if not finished.exists():  # --work keeps what is done
                places = ["--data", str(options.data), "--models", str(options.models), "--work", str(work)]
                done = subprocess.run(
                    [sys.executable, __file__, "--one", name, *places], capture_output=True, text=True
                )
                if done.returncode:
                    failures[name] = (done.stderr.strip().splitlines() or ["no message"])[-1]
                    print(f"{name}: {failures[name]}", flush=True)
                    continue
            report = json.loads(finished.read_text())
            report["model"] = report["model"].replace(f"{work}/", "")  # nothing of this machine
            outcome.results[name] = report
            rows += rows_of(name, report)
            bars(outcome, name, report)
            print(f"{name}: {report['seconds']:.0f} s", flush=True)
    print_table("Export matrix", HEADER, rows)
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(rows, outcome, failures), encoding="utf-8")
    code = outcome.finish(options)
    return 1 if failures else code


if __name__ == "__main__":
    sys.exit(main())
