"""Where encoders come from: names, folders and files, and what their own configurations say of photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch

from shelfmatch.edge import Encoder
from shelfmatch.export import ExportSettings, Overrides, SourceOptions, export_model
from shelfmatch.export.errors import ExportError
from shelfmatch.export.keras_source import keras_on_torch
from shelfmatch.export.preprocessing import from_image_processor, from_timm
from shelfmatch.export.sources import open_source
from shelfmatch.export.tools import need_timm, need_transformers, quiet
from tests.conftest import tile_photo, write_tiles

pytestmark = pytest.mark.xdist_group("export")

CLIP = {
    "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True, "do_rescale": True,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5], "rescale_factor": 1 / 255, "size": {"shortest_edge": 256},
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("sources") / "photos", range(8))


def grey_levels(side: int) -> np.ndarray[Any, Any]:
    return np.asarray(tile_photo(4, 4, side=side))[np.newaxis]


def test_timms_configuration() -> None:
    config = {"input_size": (3, 192, 256), "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.4), "crop_pct": 0.9}
    found = from_timm({**config, "crop_mode": "center"})
    assert (found.height, found.width, found.resize, found.crop_fraction) == (192, 256, "crop", 192 / 213)
    assert found.mean == pytest.approx((127.5, 102, 76.5)) and found.std == pytest.approx((25.5, 51, 102))
    squashed = from_timm({**config, "crop_mode": "squash"})
    assert (squashed.resize, squashed.crop_fraction) == ("squash-crop", 192 / 213)
    whole = from_timm({**config, "crop_mode": "squash", "crop_pct": 1.0})
    assert (whole.resize, whole.crop_fraction) == ("squash", 1.0)
    with pytest.raises(ExportError, match="RGB"):
        from_timm({**config, "input_size": (1, 28, 28)})


def test_hugging_faces_configuration() -> None:
    found = from_image_processor(CLIP)
    assert (found.height, found.resize, found.crop_fraction) == (224, "crop", 224 / 256)
    assert found.mean == pytest.approx((127.5, 102, 76.5)) and found.std == pytest.approx((51, 63.75, 127.5))
    squashed = from_image_processor(
        {"size": {"height": 384, "width": 128}, "do_normalize": False, "rescale_factor": 1 / 255}
    )
    assert (squashed.height, squashed.width, squashed.resize) == (384, 128, "squash")
    assert squashed.mean == (0, 0, 0) and squashed.std == pytest.approx((255, 255, 255))
    raw = from_image_processor({"size": 96, "do_normalize": False, "do_rescale": False})
    assert raw.mean is None and raw.width == 96
    with pytest.raises(ExportError, match="expected shortest_edge, or height and width"):
        from_image_processor({"size": {"longest": 3}})


@pytest.mark.parametrize("pool", ["auto", "avg", "cls"])
def test_a_timm_transformer(pool: str, tmp_path: Path) -> None:
    with quiet("making a tiny transformer"):
        net = need_timm().create_model("test_vit", pretrained=False).eval()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    made = open_source("timm:test_vit", SourceOptions(checkpoint=tmp_path / "weights.pth", pool=pool))
    side = made.preprocessing.width
    assert made.preprocessing.read_from == "timm's pretrained_cfg" and "weights.pth" in made.provenance
    value = torch.from_numpy(grey_levels(side).astype(np.float32)) - torch.tensor(made.preprocessing.mean)
    value = (value / torch.tensor(made.preprocessing.std)).permute(0, 3, 1, 2)
    with torch.no_grad():
        tokens = net.forward_features(value)
        expected = {"cls": tokens[:, 0], "avg": tokens[:, net.num_prefix_tokens :].mean(dim=1)}
        expected["auto"] = net.forward_head(tokens, pre_logits=True)
    assert np.allclose(made.embed(grey_levels(side)), expected[pool].numpy(), atol=1e-4)


def test_gem_is_for_feature_maps(tmp_path: Path) -> None:
    with quiet("making a tiny transformer"):
        net = need_timm().create_model("test_vit", pretrained=False)
    with pytest.raises(ExportError, match="expected auto, avg or cls"):
        open_source(net, SourceOptions(pool="gem"))


def test_a_hugging_face_folder(shop: Path, tmp_path: Path) -> None:
    """DINOv2 in small: its position embeddings are of a larger photo than its image processor cuts out."""
    transformers = need_transformers()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 98, "patch_size": 14}
    net = transformers.Dinov2Model(transformers.Dinov2Config(**shape)).eval()
    with quiet("saving a tiny DINOv2"):
        net.save_pretrained(tmp_path / "dino")
    processor = {**CLIP, "crop_size": {"height": 56, "width": 56}, "size": {"shortest_edge": 64}}
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(processor))
    made = open_source(f"hf:{tmp_path / 'dino'}", SourceOptions())
    value = torch.from_numpy(grey_levels(56).astype(np.float32)) - torch.tensor(made.preprocessing.mean)
    value = (value / torch.tensor(made.preprocessing.std)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net(pixel_values=value).pooler_output.numpy()
    assert np.allclose(made.embed(grey_levels(56)), expected, atol=1e-4)
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32", "int8-dynamic"), gate_points=5.0, layers=False)
    report = export_model(f"hf:{tmp_path / 'dino'}", tmp_path / "out", settings)
    scores = [attempt.score for attempt in report.kept]
    assert scores[0] is not None and scores[0].cosine_min > 0.99999 and scores[0].max_abs_difference < 1e-4
    assert scores[1] is not None and scores[1].cosine_min > 0.98
    assert str(tmp_path) not in json.dumps(report.to_dict()["attempts"]) + str(report.source)


def test_a_keras_file(shop: Path, tmp_path: Path) -> None:
    """A classifier that rescales its pixels itself: the softmax layer comes off, the graph keeps its Rescaling."""
    keras = keras_on_torch()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((32, 32, 3)), layers.Rescaling(1 / 127.5, offset=-1), layers.Conv2D(16, 3, 2, padding="same"),
            layers.BatchNormalization(), layers.ReLU(6.0), layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(10, activation="softmax"),
        ]
    )  # fmt: skip
    with quiet("saving a Keras model"):
        model.save(tmp_path / "net.keras")
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32",))
    report = export_model(str(tmp_path / "net.keras"), tmp_path / "out", settings)
    pixels = grey_levels(32)
    with torch.no_grad(), quiet("asking Keras"):
        feature = keras.Model(model.inputs, model.get_layer("pool").output)(
            torch.tensor(pixels).float(), training=False
        )
    expected = feature.detach().numpy()[0]
    expected /= np.linalg.norm(expected)
    for attempt in report.kept:
        encoder = Encoder.load(tmp_path / "out" / attempt.file, resizer="pillow")
        assert encoder.card.dimension == 16 and encoder.card.mean is None
        assert np.abs(encoder.embed_pixels(pixels[0]) - expected).max() < 1e-5
    assert report.source["preprocessing"]["read_from"] == "the model's own Rescaling layer"


@pytest.mark.slow
def test_keras_applications_bring_their_preprocessing(tmp_path: Path) -> None:
    keras = keras_on_torch()
    with quiet("saving a Keras model"):
        shape = {"include_top": False, "pooling": "avg", "alpha": 0.35, "input_shape": (32, 32, 3)}
        keras.applications.MobileNetV2(weights=None, **shape).save(tmp_path / "net.keras")
    made = open_source(str(tmp_path / "net.keras"), SourceOptions())
    assert made.preprocessing.mean == made.preprocessing.std == (127.5, 127.5, 127.5) and made.dimension == 1280
    with pytest.raises(ExportError, match="has no layer 'top'"):
        open_source(str(tmp_path / "net.keras"), SourceOptions(output="top"))


def test_the_user_has_the_last_word() -> None:
    with quiet("making a tiny transformer"):
        net = need_timm().create_model("test_vit", pretrained=False)
    said = Overrides(mean=(1, 2, 3), std=(4, 5, 6), resize="squash-crop", crop_fraction=0.5)
    found = open_source(net, SourceOptions(preprocessing=said)).preprocessing
    assert (found.mean, found.std, found.resize, found.crop_fraction) == ((1, 2, 3), (4, 5, 6), "squash-crop", 0.5)
    assert found.read_from == "timm's pretrained_cfg, changed by the user"


def test_a_rule_that_cuts_nothing_off_has_no_part_to_keep() -> None:
    cut = from_image_processor(CLIP)
    assert cut.crop_fraction < 1 and Overrides(resize="crop").apply(cut, "it").crop_fraction == cut.crop_fraction
    assert Overrides(resize="squash").apply(cut, "it").crop_fraction == 1.0
    with pytest.raises(ExportError, match=r"--crop-fraction 0\.5 arrived with --resize pad, which cuts nothing off"):
        Overrides(resize="pad", crop_fraction=0.5).apply(cut, "it")
