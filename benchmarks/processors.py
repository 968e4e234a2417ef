"""Models' own preprocessing against the device's: fifty configurations of Hugging Face and timm, ten photos each.

    python benchmarks/processors.py --data FOLDER --markdown benchmarks/results/processors.md

The configurations are those of models on the hub, written down here, since no hub is asked; timm's come with timm. Each is read
as `shelfmatch export` reads it. Then the same photos go through the model's own processor and through the device's resize and
normalization, and pixels are compared in standard deviations (mean of the absolute differences). A configuration is met within
0.1 for each of the ten photos, or refused; what is neither is apart silently. Needs shelfmatch[export].
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.resize import fit
from shelfmatch.export.errors import ExportError
from shelfmatch.export.preprocessing import Preprocessing, from_timm
from shelfmatch.export.processors import asked, check, timm_processor, transformers_processor
from shelfmatch.export.tools import need_timm, need_transformers, quiet, versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import shops
from benchmarks.reporting import Report, argument_parser, markdown_table, print_table, work_folder

PHOTOS = 10
MOST = 0.1

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
TOP = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163]}


def old(kind: str, size: int, **more: Any) -> dict[str, Any]:
    """A configuration of the years before `size` had names."""
    return {"feature_extractor_type": f"{kind}FeatureExtractor", "size": size, **more}


def new(kind: str, **more: Any) -> dict[str, Any]:
    """One of today."""
    return {"image_processor_type": f"{kind}ImageProcessor", **more}


def square(side: int) -> dict[str, int]:
    """Both sides."""
    return {"height": side, "width": side}


HUGGING_FACE: dict[str, dict[str, Any]] = {
    "vit-base-patch16-224": old("ViT", 224, resample=2, **HALF),
    "vit-base-patch16-384": old("ViT", 384, resample=2, **HALF),
    "vit-large, of today": new("ViT", size=square(224), resample=2, **HALF),
    "deit-tiny-patch16-224": old("DeiT", 256, crop_size=224, do_center_crop=True, resample=3, **IMAGENET),
    "beit-base-patch16-224": old("Beit", 224, crop_size=224, do_center_crop=False, resample=2, **HALF),
    "data2vec-vision-base": old("Beit", 224, crop_size=224, do_center_crop=False, resample=2, **HALF),
    "swin-tiny-patch4": old("ViT", 224, resample=3, **IMAGENET),
    "swinv2-tiny-window8-256": old("ViT", 256, resample=3, **IMAGENET),
    "dinat-mini": old("ViT", 224, resample=3, **IMAGENET),
    "convnext-tiny-224": old("ConvNext", 224, crop_pct=0.875, resample=3, **IMAGENET),
    "convnext without crop_pct": new("ConvNext", size={"shortest_edge": 224}, resample=3, **IMAGENET),
    "convnext-base-384": old("ConvNext", 384, crop_pct=0.875, resample=3, **IMAGENET),
    "convnextv2-atto": new("ConvNext", size={"shortest_edge": 224}, crop_pct=0.875, resample=3, **IMAGENET),
    "resnet-50": old("ConvNext", 224, crop_pct=0.875, resample=3, **IMAGENET),
    "regnet-y-040": old("ConvNext", 224, crop_pct=0.875, resample=3, **IMAGENET),
    "cvt-13": old("ConvNext", 224, crop_pct=0.875, resample=3, **IMAGENET),
    "mobilenet_v1_1.0_224": new("MobileNetV1", size={"shortest_edge": 256}, crop_size=square(224), resample=2, **HALF),
    "mobilenet_v2_1.0_224": new("MobileNetV2", size={"shortest_edge": 256}, crop_size=square(224), resample=2, **HALF),
    "mobilevit-small": old("MobileViT", 288, crop_size=256, do_center_crop=True, do_flip_channel_order=True, resample=2),
    "mobilevitv2-1.0": new("MobileViT", size={"shortest_edge": 288}, crop_size=square(256), do_flip_channel_order=True),
    "efficientnet-b0": new("EfficientNet", size=square(224), include_top=True, resample=0, **TOP),
    "efficientnet, bicubic": new("EfficientNet", size=square(224), include_top=True, resample=3, **TOP),
    "efficientnet, no top": new("EfficientNet", size=square(240), include_top=False, resample=2, **TOP),
    "levit-128S": old("Levit", 224, do_center_crop=True, resample=3, **IMAGENET),
    "poolformer_s12": old("PoolFormer", 224, crop_pct=0.9, crop_size=224, resample=3, **IMAGENET),
    "dinov2-small": new("Bit", size={"shortest_edge": 256}, crop_size=square(224), resample=3, **IMAGENET),
    "bit-50": new("Bit", size={"shortest_edge": 448}, crop_size=square(448), resample=2, **HALF),
    "focalnet-tiny": new("Bit", size={"shortest_edge": 256}, crop_size=square(224), resample=3, **IMAGENET),
    "clip-vit-base-patch32": old("CLIP", 224, crop_size=224, do_center_crop=True, resample=3, **OPENAI),
    "clip-vit-large-patch14-336": old("CLIP", 336, crop_size=336, do_center_crop=True, resample=3, **OPENAI),
    "clip, height and width": new("CLIP", size=square(256), crop_size=square(224), resample=3, **OPENAI),
    "siglip-base-patch16-224": new("Siglip", size=square(224), resample=3, **HALF),
    "siglip-so400m-384": new("Siglip", size=square(384), resample=3, **HALF),
    "flava-full": new("Flava", size=square(224), crop_size=square(224), resample=3, **OPENAI),
    "blip-itm-base": new("Blip", size=square(384), resample=3, **OPENAI),
    "chinese-clip-vit-base": new("ChineseCLIP", size={"shortest_edge": 224}, crop_size=square(224), resample=3, **OPENAI),
    "owlvit-base-patch32": new("OwlViT", size=square(768), crop_size=square(768), do_center_crop=False, **OPENAI),
    "perceiver, vision": new("Perceiver", size=square(224), crop_size=square(256), resample=3, **IMAGENET),
    "pvt-tiny-224": new("Pvt", size=square(224), resample=2, **IMAGENET),
    "segformer-b0": new("Segformer", size=square(512), resample=2, **IMAGENET),
    "shortest edge alone": new("CLIP", size={"shortest_edge": 224}, do_center_crop=False, resample=3, **OPENAI),
}  # fmt: skip

TIMM = (
    "resnet18.a1_in1k", "mobilenetv3_small_100.lamb_in1k", "efficientnet_b0.ra_in1k", "tf_efficientnet_lite0.in1k",
    "convnext_atto.d2_in1k", "convnext_tiny.fb_in22k_ft_in1k_384", "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "deit_tiny_patch16_224.fb_in1k", "swin_tiny_patch4_window7_224.ms_in1k", "eva02_tiny_patch14_336.mim_in22k_ft_in1k",
    "levit_128s.fb_dist_in1k", "mobileone_s0.apple_in1k", "ghostnetv3_100.in1k", "tiny_vit_5m_224.dist_in22k_ft_in1k",
    "vit_small_patch14_dinov2.lvd142m", "vit_base_patch16_siglip_224.webli",
)  # fmt: skip


def photos_of(data: Path) -> list[Path]:
    """Ten of the Grocery Store Dataset's validation photos, evenly spread."""
    rows = [line.split(",")[0].strip() for line in (data / "val.txt").read_text().splitlines() if line.strip()]
    return [data / rows[round(place)] for place in np.linspace(0, len(rows) - 1, PHOTOS)]


def apart(own: Any, preprocessing: Preprocessing, path: Path) -> float:
    """Of one photo, written down once more: the device's pixels, normalized in float64, against the processor's."""
    photo = Image.open(path).convert("RGB")
    pixels = fit(decode(photo, preprocessing), preprocessing).astype(np.float64)
    ours = (pixels - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    if preprocessing.color_order == "BGR":
        ours = ours[..., ::-1]
    theirs = own(photo).astype(np.float64).transpose(1, 2, 0)
    return float(np.abs(ours - theirs).mean()) if ours.shape == theirs.shape else float("inf")


def measured(name: str, own: Any, read: Any, photos: Sequence[Path]) -> tuple[tuple[str, ...], bool]:
    """A row, and whether the configuration is apart without having been refused."""
    try:
        with quiet(f"reading {name}"):
            found = read()
            check(own, found, photos)
    except ExportError as error:
        return (name, "", "refused", "", str(error)), False
    differences = [apart(own, found, path) for path in photos]
    geometry = f"{found.height}x{found.width} {found.resize} {found.crop_fraction:.4g} {found.color_order}"
    row = (name, geometry, f"{max(differences):.3f}", f"{np.mean(differences):.3f}", "")
    return row, max(differences) > MOST


HEADER = ("configuration", "read as", "worst photo", "mean", "refused because")


def main() -> int:
    """The command line; see the first lines."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, help="the Grocery Store Dataset (default: where other benchmarks look)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    options: argparse.Namespace = parser.parse_args()
    photos = photos_of(options.data or shops.grocery_root())
    outcome = Report.start("processors", photos=len(photos))
    rows, silent = [], 0
    transformers, timm = need_transformers(), need_timm()
    with work_folder(options.work) as work:
        for name, config in HUGGING_FACE.items():
            (work / "preprocessor_config.json").write_text(json.dumps(config))
            with quiet(f"making {name}"):
                own = transformers_processor(transformers, str(work))
            if own is None:
                rows.append((name, "", "refused", "", "transformers knows no such processor"))
                continue
            row, is_apart = measured(name, own, lambda own=own: asked(own, "its image processor"), photos)
            rows.append(row)
            silent += is_apart
            print(name, flush=True)
    for name in TIMM:
        config = timm.get_pretrained_cfg(name).to_dict()
        row, is_apart = measured(
            f"timm {name}", timm_processor(config), lambda config=config: from_timm(config), photos
        )
        rows.append(row)
        silent += is_apart
        print(name, flush=True)
    refused = sum(row[2] == "refused" for row in rows)
    outcome.results = {"rows": [list(row) for row in rows], "refused": refused}
    outcome.bar("configurations", len(rows), 50, at_least=True)
    outcome.bar("apart without a word", silent, 0)
    print_table("Processors", HEADER, rows)
    if options.markdown is not None:
        packages = ", ".join(
            f"{name} {version}" for name, version in versions().items() if name in ("timm", "transformers")
        )
        page = (
            f"# Processors\n\nPrinted by `python benchmarks/processors.py`, which says what is compared. {packages}; {len(photos)} "
            f"photos of the Grocery Store Dataset. {len(rows)} configurations, {refused} refused, {silent} apart silently.\n\n"
        )
        options.markdown.write_text(page + markdown_table(HEADER, rows) + "\n", encoding="utf-8")
    return outcome.finish(options)


if __name__ == "__main__":
    sys.exit(main())
