"""A model's own preprocessing is asked, not guessed: image processors of transformers and timm's transforms, made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")
pytest.importorskip("transformers", reason="pip install 'shelfmatch[export]'")

from shelfmatch.export.errors import SourceError
from shelfmatch.export.preprocessing import Preprocessing, from_timm
from shelfmatch.export.processors import (
    MAX_DIFFERENCE,
    asked,
    check,
    difference,
    timm_processor,
    transformers_processor,
)
from shelfmatch.export.tools import need_timm, need_transformers, quiet

pytestmark = pytest.mark.xdist_group("export")

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
TOP_STD = 0.47853944 * 0.47853944 * 255

Case = tuple[dict[str, Any], tuple[int, str, float, str]]
CASES: dict[str, Case] = {
    "EfficientNet normalizes twice": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 64, "width": 64}, "include_top": True,
         "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163]},
        (64, "squash", 1.0, "RGB"),
    ),
    "LeViT resizes to 256/224 first": (
        {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}, "crop_size": 224},
        (224, "crop", 0.875, "RGB"),
    ),
    "PoolFormer has crop_pct and a centre crop": (
        {"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 224}, "crop_size": 224,
         "crop_pct": 0.9, "do_center_crop": True},
        (224, "crop", 224 / 248, "RGB"),
    ),
    "ConvNeXt without crop_pct": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, **IMAGENET},
        (224, "crop", 0.875, "RGB"),
    ),
    "ConvNeXt from 384": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, **IMAGENET},
        (384, "squash", 1.0, "RGB"),
    ),
    "an old ViT with a whole number": (
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, **HALF}, (224, "squash", 1.0, "RGB"),
    ),
    "an old DeiT": (
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224, "do_center_crop": True, **IMAGENET},
        (224, "squash-crop", 0.875, "RGB"),
    ),
    "FLAVA": ({"image_processor_type": "FlavaImageProcessor"}, (224, "squash", 1.0, "RGB")),
    "CLIP with a whole number": (
        {"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": 224, "do_center_crop": True},
        (224, "crop", 1.0, "RGB"),
    ),
    "CLIP with height and width and a centre crop": (
        {"image_processor_type": "CLIPImageProcessor", "size": {"height": 256, "width": 256}, "crop_size": 224,
         "do_center_crop": True},
        (224, "squash-crop", 0.875, "RGB"),
    ),
    "MobileViT wants BGR": (
        {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 288}, "crop_size": 256},
        (256, "crop", 256 / 288, "BGR"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten photos of several shapes, smooth as photos of things are at this size."""
    folder = tmp_path_factory.mktemp("processors")
    rng = np.random.default_rng(0)
    for number in range(10):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        size = ((640, 480), (480, 640), (500, 500), (900, 400))[number % 4]
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def made(config: dict[str, Any], folder: Path) -> Any:
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    with quiet("making an image processor"):
        own = transformers_processor(need_transformers(), str(folder))
    assert own is not None
    return own


@pytest.mark.parametrize("case", CASES)
def test_an_image_processor_is_asked(case: str, photos: list[Path], tmp_path: Path) -> None:
    config, wanted = CASES[case]
    own = made(config, tmp_path)
    found = asked(own, "it")
    assert (found.height, found.resize, found.crop_fraction, found.color_order) == (
        *wanted[:2], pytest.approx(wanted[2], abs=1e-6), wanted[3]
    )  # fmt: skip
    assert check(own, found, photos) < MAX_DIFFERENCE / 2
    if case.startswith("EfficientNet"):
        assert found.std is not None and found.std[0] == pytest.approx(TOP_STD, abs=1e-3)
    if case == "FLAVA":
        assert found.mean is not None and found.mean[0] == pytest.approx(0.48145466 * 255, abs=1e-3)


def test_a_shape_that_changes_with_the_photo_is_refused(tmp_path: Path) -> None:
    own = made(
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 96}, "do_center_crop": False}, tmp_path
    )
    with pytest.raises(SourceError, match="gives photos of different shapes"):
        asked(own, "it")


TIMM = {"input_size": (3, 96, 96), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "crop_pct": 0.875}


@pytest.mark.parametrize(
    ("mode", "share", "resize"),
    [
        ("center", 0.875, "crop"), ("squash", 1.0, "squash"), ("squash", 0.95, "squash-crop"), ("squash", 0.8, "squash-crop"),
        ("border", 1.0, "pad"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_timms_transform_gives_the_same_pixels(
    mode: str, share: float, resize: str, filter: str, photos: list[Path]
) -> None:
    need_timm()
    config = {**TIMM, "crop_mode": mode, "interpolation": filter, "crop_pct": share}
    assert from_timm(config).resize == resize
    own = timm_processor(config)
    assert own is not None
    assert check(own, from_timm(config), photos) < MAX_DIFFERENCE


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"std": (60.0, 58.0, 20.0)}, "mean, std or the order of colours"),
        ({"resize": "squash", "crop_fraction": 1.0}, "another part of the photo"),
        ({"color_order": "BGR"}, "mean, std or the order of colours"),
    ],
)
def test_a_difference_is_refused_and_named(changed: dict[str, Any], said: str, photos: list[Path]) -> None:
    from dataclasses import replace

    need_timm()
    own = timm_processor(TIMM)
    right = from_timm(TIMM)
    assert own is not None and check(own, right, photos) < MAX_DIFFERENCE
    with pytest.raises(SourceError, match=said):
        check(own, replace(right, **changed), photos)


def test_a_filter_alone_is_named(photos: list[Path]) -> None:
    """Noise at the size of a pixel, which the nearest neighbour keeps and a filter takes away."""
    prepared = Preprocessing(32, 32, (127.5,) * 3, (60.0,) * 3)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8))

    def own(photo: Image.Image) -> Any:
        small = np.asarray(photo.resize((32, 32), Image.Resampling.NEAREST))
        return prepared.normalized(small).transpose(2, 0, 1)

    noise.save(photos[0].parent / "noise.png")
    with pytest.raises(SourceError, match="another filter"):
        check(own, prepared, [photos[0].parent / "noise.png"])
    assert difference(own, prepared, Image.new("RGB", (50, 40), (3, 90, 200))) < 1e-6
