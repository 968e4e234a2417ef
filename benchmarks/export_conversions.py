"""Networks that nobody here has trained, to fp32 files of both formats: the least cosine to the framework's own, or why not.

    python benchmarks/export_conversions.py --json export_conversions.json
    python benchmarks/export_conversions.py --only resnet18 levit_128s

No hub can be reached where this runs: weights are random, batch norms fitted to photos, and what is tested is the conversion of
the graph. Each network in a process of its own; one that is refused says why (a float file whose least cosine is below .9999
always is). Where the model's own resize filter is not the device's, the export wants the geometry said, and it is: pixels are
benchmarks/processors.py's matter. Photos: the first 64 of the Grocery Store Dataset's val photos. Needs shelfmatch[export].
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import shops
from benchmarks.export_matrix import fit_norms, write_csv
from benchmarks.reporting import Report, argument_parser, print_table, work_folder
from shelfmatch.export.tools import versions

if TYPE_CHECKING:
    from shelfmatch.export.preprocessing import Resize

TIMM = (
    "resnet18", "mobileone_s0", "levit_128s", "convnext_atto", "ghostnetv3_100", "fastvit_t8", "edgenext_xx_small",
    "efficientformerv2_s0", "tiny_vit_5m_224", "eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224",
)  # fmt: skip
TORCHVISION = ("torchvision-mobilenet_v3_small",)
# fmt: off
_SMALL: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "hf-resnet": ("ResNetModel", {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}),
    "hf-levit": ("LevitModel", {"hidden_sizes": [128, 256, 384], "num_attention_heads": [4, 6, 8]}),
    "hf-dinov2-registers": ("Dinov2WithRegistersModel", {**_SMALL, "image_size": 224, "patch_size": 14}),
    "hf-clip": ("CLIPVisionModelWithProjection", {**_SMALL, "patch_size": 32, "projection_dim": 128}),
    "hf-siglip": ("SiglipVisionModel", {**_SMALL, "image_size": 224, "patch_size": 32}),
    "hf-convnextv2": ("ConvNextV2Model", {"hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2]}),
    "hf-efficientnet": ("EfficientNetModel", {
        "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224,
    }),
    "hf-mobilevitv2": ("MobileViTV2Model", {"width_multiplier": 0.5}),
}
# fmt: on
NETWORKS = (*TIMM, *TORCHVISION, *TRANSFORMERS)
PHOTOS = 64
MIN_COSINE = 0.99999
BARS = {"onnx": 0.95, "tflite": 0.85}
HEADER = ("network", "format", "MB", "least cosine", "largest difference", "seconds", "refused because")


def prepared(name: str, work: Path) -> tuple[Any, dict[str, Any]]:
    """What to export, and the settings of its source."""
    import torch

    torch.manual_seed(0)
    if name in TRANSFORMERS:
        return f"hf:{_transformers(name, work / name)}", {}
    if name in TORCHVISION:
        from shelfmatch.export.tools import need_torchvision

        net = _woken(need_torchvision().models.get_model(name.partition("-")[2], weights=None))
        _fit_plain(net, work)
        torch.save(net.state_dict(), work / f"{name}.pth")
        return f"torchvision:{name.partition('-')[2]}", {"checkpoint": work / f"{name}.pth"}
    import safetensors.torch

    from shelfmatch.export.tools import need_timm

    net = _woken(need_timm().create_model(name, pretrained=False))
    fit_norms(net, work / "photos.csv")
    weights = work / f"{name}.safetensors"
    safetensors.torch.save_file({key: value.contiguous() for key, value in net.state_dict().items()}, weights)
    return f"timm:{name}", {"checkpoint": weights}


def _woken(net: Any) -> Any:
    """The same network, none of whose parts begins as nothing: a residual branch times zero, a layer scale of 1e-6, and the bias
    that nothing has moved would be folded away, and what is in them wouldn't be tested."""
    import torch

    with torch.no_grad():
        for name, values in net.named_parameters():
            if values.ndim == 1 and float(values.abs().max()) < 1e-3:
                values.uniform_(*((-0.1, 0.1) if name.endswith("bias") else (0.5, 1.0)))
    return net


def _fit_plain(net: Any, work: Path) -> None:
    net.pretrained_cfg = {
        "input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "crop_pct": 0.875,
        "interpolation": "bilinear",
    }  # fmt: skip
    fit_norms(net, work / "photos.csv")


def _transformers(name: str, folder: Path) -> Path:
    """As save_pretrained leaves it, with the image processor's configuration that such networks have."""
    from shelfmatch.export.tools import need_transformers

    transformers = need_transformers()
    model, settings = TRANSFORMERS[name]
    kind = getattr(transformers, model)
    net = _woken(kind(kind.config_class(**settings)))
    _fit_transformers(net, folder.parent)
    net.save_pretrained(folder)
    processor = {
        "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "rescale_factor": 1 / 255, "size": {"shortest_edge": 256}, "image_processor_type": "BitImageProcessor",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def _fit_transformers(net: Any, work: Path) -> None:
    """As `fit_norms`, for networks that take their pixels by name."""
    import torch

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net

        def forward(self, pixels: Any) -> Any:
            return self.inner(pixel_values=pixels)

    if any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules()):
        _fit_plain(Named(), work)


def run_one(name: str, work: Path) -> None:
    """One network, in this process: report.json for each format that was kept, problem.txt for one that wasn't."""
    from shelfmatch.edge.errors import ShelfmatchError
    from shelfmatch.export import ExportSettings, SourceOptions, export_model
    from shelfmatch.export.preprocessing import Overrides

    model, source = prepared(name, work)
    for file_format in BARS:
        target = work / name / file_format
        target.parent.mkdir(exist_ok=True)
        settings = ExportSettings(
            work / "photos.csv",
            to=(file_format,),
            recipes=("fp32",),
            gate_points=100,
            name=name,
            layers=False,
            source=SourceOptions(**source),
        )
        try:
            try:
                export_model(model, target, settings)
            except ShelfmatchError as error:
                said = re.search(r"to go on say it: --size (\d+)x(\d+) --resize (\w+)", str(error))
                if said is None:
                    raise
                size, resize = (int(said[1]), int(said[2])), cast("Resize", said[3])
                own = SourceOptions(**source, preprocessing=Overrides(size=size, resize=resize))
                export_model(model, target, replace(settings, source=own))
        except ShelfmatchError as error:
            target.mkdir(parents=True, exist_ok=True)
            (target / "problem.txt").write_text(re.sub(r"\S*/site-packages/", "", str(error).replace(f"{work}/", "")))


def _row(name: str, file_format: str, work: Path, failed: str) -> tuple[str, ...]:
    place = work / name / file_format
    if not (place / "report.json").exists():
        problem = place / "problem.txt"
        return (name, file_format, "–", "–", "–", "–", problem.read_text() if problem.exists() else failed)
    report = json.loads((place / "report.json").read_text())
    exact = next(one for one in report["attempts"] if one["recipe"] == "fp32")
    return (
        name, file_format, f"{exact['size_bytes'] / 1e6:.1f}", f"{exact['cosine_min']:.7f}",
        f"{exact['max_abs_difference']:.1e}", f"{report['seconds']:.0f}", "",
    )  # fmt: skip


def _passes(row: Sequence[str]) -> bool:
    return row[3] != "–" and float(row[3]) >= MIN_COSINE


def main() -> int:
    """The command line; see the first lines."""
    parser = argument_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--one", choices=NETWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.work)
        return 0
    outcome = Report.start("export_conversions", networks=list(options.only), versions=versions())
    rows: list[tuple[str, ...]] = []
    with work_folder(options.work) as work:
        whole = write_csv(shops.grocery_root(), "val.txt", work / "val.csv").read_text().splitlines(keepends=True)
        (work / "photos.csv").write_text("".join(whole[: 1 + PHOTOS]))
        for name in options.only:
            failed = ""
            if not (work / name / "tflite").exists():  # --work keeps what is done
                command = [sys.executable, __file__, "--one", name, "--work", str(work)]
                done = subprocess.run(command, capture_output=True, text=True)
                said = [line for line in done.stderr.strip().splitlines() if "Error" in line] or ["no message"]
                failed = "" if not done.returncode else f"its process ended with {done.returncode}: {said[-1]}"
            for file_format in BARS:
                rows.append(_row(name, file_format, work, failed))
                outcome.results[f"{name} {file_format}"] = dict(zip(HEADER[2:], rows[-1][2:], strict=True))
                print("  ".join(rows[-1]), flush=True)
    print_table("Conversions in fp32", HEADER, rows)
    for file_format, bar in BARS.items():
        own = [row for row in rows if row[1] == file_format]
        outcome.bar(
            f"{file_format}: rows of cosine {MIN_COSINE} and more",
            sum(map(_passes, own)) / len(own),
            bar,
            at_least=True,
        )
    return outcome.finish(options)


if __name__ == "__main__":
    sys.exit(main())
