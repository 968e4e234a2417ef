"""Networks that nobody here has seen, in small: exported rightly, refused, or with a word of doubt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch
from torch import Tensor, nn

from shelfmatch.export import ExportSettings, GateNotMet, Overrides, SourceOptions, export_model
from shelfmatch.export.checkpoints import fitting, read_state
from shelfmatch.export.errors import ExportError, SourceError
from shelfmatch.export.keras_source import keras_on_torch
from shelfmatch.export.sources import open_source
from shelfmatch.export.tools import need_timm, need_torchvision, need_transformers, quiet
from shelfmatch.export.torch_modules import nearest_by_index
from tests.conftest import tile_photo, write_tiles
from tests.support.tiny_networks import MEAN, SIDE, STD, WIDTH, TinyCnn

pytestmark = pytest.mark.xdist_group("export")

SAID = SourceOptions(preprocessing=Overrides(size=(SIDE, SIDE), mean=MEAN, std=STD))
PIXELS = np.stack([np.asarray(tile_photo(number, 2, side=SIDE)) for number in range(3)])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("unseen") / "photos", range(8))


def normalized(pixels: Any, mean: Any = MEAN, std: Any = STD) -> Tensor:
    values = (pixels - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(values.astype(np.float32).transpose(0, 3, 1, 2))


class Nearest(TinyCnn):
    """Enlarges its 8x8 map to 19x19 by the nearest neighbour, as GhostNetV3's attention does 3 → 7; `by_operator`: without the
    function that the export knows."""

    def __init__(self, by_operator: bool) -> None:
        super().__init__()
        self.by_operator = by_operator
        self.weights = nn.Parameter(torch.rand(19, 19, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        small = self.middle(self.stem(x))
        if self.by_operator:
            large = torch.ops.aten.upsample_nearest2d.vec(small, [19, 19], None)
        else:
            large = nn.functional.interpolate(small, size=(19, 19), mode="nearest")
        feature: Tensor = (large * self.weights).mean(dim=(2, 3))
        return feature


@pytest.mark.slow
def test_a_float_file_that_is_another_network_is_refused_with_its_operator(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(shop, to=("tflite",), recipes=("fp32",), gate_points=100, layers=False, source=SAID)
    with pytest.raises(GateNotMet, match=r"upsample_nearest2d.* of 1x24x8x8 → 1x24x19x19 otherwise"):
        export_model(Nearest(by_operator=True), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_nearest_neighbour_is_taken_by_its_rows_and_columns(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(shop, to=("tflite",), recipes=("fp32",), layers=False, source=SAID)
    (kept,) = export_model(Nearest(by_operator=False), tmp_path / "out", settings).kept
    assert kept.score is not None and kept.score.cosine_min > 0.99999


@pytest.mark.parametrize("layer", [nn.Upsample(19), nn.Upsample(scale_factor=2), nn.Upsample(19, mode="bilinear")])
def test_layers_that_name_no_argument_are_enlarged_as_ever(layer: nn.Upsample) -> None:
    """As in EfficientFormerV2, whose conversion to TFLite stopped: torch's own layer gives all arguments by place."""
    pixels = normalized(PIXELS)
    expected = layer(pixels)
    with nearest_by_index():
        assert torch.equal(layer(pixels), expected)


def clip(folder: Path, kind: str = "CLIP") -> Any:
    transformers = need_transformers()
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision, text = (
        {**small, "image_size": 32, "patch_size": 8},
        {**small, "vocab_size": 99, "max_position_embeddings": 8},
    )
    with quiet("saving a tiny CLIP"):
        config = getattr(transformers, f"{kind}Config")(vision_config=vision, text_config=text, projection_dim=24)
        net = getattr(transformers, f"{kind}Model")(config).eval()
        net.save_pretrained(folder)
    processor = {
        "image_processor_type": f"{kind}ImageProcessor", "crop_size": 32, "do_center_crop": True,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 32, "width": 32},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return net


HALF = (127.5,) * 3


def test_clips_embedding_is_what_it_compares_images_by(tmp_path: Path) -> None:
    """`image_embeds`, projected."""
    net = clip(tmp_path / "clip")
    with torch.no_grad():
        expected = net.visual_projection(net.vision_model(normalized(PIXELS, HALF, HALF)).pooler_output).numpy()
    for output in (None, "visual_projection"):
        source = open_source(f"hf:{tmp_path / 'clip'}", SourceOptions(output=output))
        assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("named", [True, False])
def test_clips_vision_model_alone_keeps_its_projection(named: bool, tmp_path: Path) -> None:
    """AutoModel leaves it out: where config.json names another class, too, and that is said."""
    whole = clip(tmp_path / "clip")
    transformers = need_transformers()
    with quiet("saving the half that sees"):
        net = transformers.CLIPVisionModelWithProjection(whole.config.vision_config).eval()
        net.save_pretrained(tmp_path / "vision")
    shutil.copy(tmp_path / "clip" / "preprocessor_config.json", tmp_path / "vision")
    with torch.no_grad():
        expected = net(pixel_values=normalized(PIXELS, HALF, HALF)).image_embeds.numpy()
    if not named:
        written = tmp_path / "vision" / "config.json"
        written.write_text(written.read_text().replace("CLIPVisionModelWithProjection", "CLIPVisionModel"))
    source = open_source(f"hf:{tmp_path / 'vision'}", SourceOptions())
    if named:
        assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4) and source.notes == ()
        checkpoint = tmp_path / "vision" / "model.safetensors"
        again = open_source(f"hf:{tmp_path / 'vision'}", SourceOptions(checkpoint=checkpoint))
        assert again.embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    else:
        assert source.dimension == 32 and "visual_projection, which CLIPVisionModel leaves out" in source.notes[0]


def without(folder: Path, part: str) -> None:
    """A saved model that lost the weights with this in their names."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in state.items() if part not in key}
    assert len(kept) < len(state)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_folder_that_lost_weights_is_refused(tmp_path: Path) -> None:
    """transformers fills the gaps with random numbers. Of what sees nothing, none are missed."""
    net = clip(tmp_path / "clip")
    with torch.no_grad():
        expected = net.visual_projection(net.vision_model(normalized(PIXELS, HALF, HALF)).pooler_output).numpy()
    without(tmp_path / "clip", "text_model")
    assert open_source(f"hf:{tmp_path / 'clip'}", SourceOptions()).embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    without(tmp_path / "clip", "vision_model.encoder.layers.0.mlp")
    with pytest.raises(
        SourceError, match=r"lacks 4 of the weights of CLIPModel, for example vision_model\..*mlp.*--checkpoint"
    ):
        open_source(f"hf:{tmp_path / 'clip'}", SourceOptions())


def test_a_classifiers_folder_has_no_pooler_to_miss(tmp_path: Path) -> None:
    """And its pooler of random numbers can't be asked for."""
    transformers = need_transformers()
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with quiet("saving a tiny ViT"):
        config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=7, **shape)
        net = transformers.ViTForImageClassification(config).eval()
        net.save_pretrained(tmp_path / "vit")
    said = Overrides(size=(32, 32), mean=MEAN, std=STD)
    with torch.no_grad():
        expected = net.vit(normalized(PIXELS)).last_hidden_state[:, 0].numpy()
    found = open_source(f"hf:{tmp_path / 'vit'}", SourceOptions(preprocessing=said)).embed(PIXELS)
    assert found == pytest.approx(expected, abs=1e-4)
    with pytest.raises(SourceError, match=r"--output 'pooler\.dense' is no module"):
        open_source(f"hf:{tmp_path / 'vit'}", SourceOptions(output="pooler.dense", preprocessing=said))


@pytest.mark.slow
def test_clip_to_onnx(shop: Path, tmp_path: Path) -> None:
    """PyTorch's exporter recursed without end over an output of the name "embedding"."""
    clip(tmp_path / "clip")
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32",), layers=False)
    (kept,) = export_model(f"hf:{tmp_path / 'clip'}", tmp_path / "out", settings).kept
    assert kept.score is not None and kept.score.cosine_min > 0.99999


@pytest.mark.slow
def test_siglip_to_onnx(shop: Path, tmp_path: Path) -> None:
    with quiet("saving a tiny SigLIP"):
        net = clip(tmp_path / "siglip", "Siglip")
    with torch.no_grad():
        expected = net.vision_model(normalized(PIXELS, HALF, HALF)).pooler_output.numpy()
    assert open_source(f"hf:{tmp_path / 'siglip'}", SourceOptions()).embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32",), layers=False)
    (kept,) = export_model(f"hf:{tmp_path / 'siglip'}", tmp_path / "out", settings).kept
    assert kept.score is not None and kept.score.cosine_min > 0.99999


def test_position_embeddings_of_another_size(tmp_path: Path) -> None:
    """As each framework resizes them itself."""
    net = clip(tmp_path / "clip")
    larger = np.stack([np.asarray(tile_photo(number, 2, side=48)) for number in range(2)])
    said = Overrides(size=(48, 48))
    with torch.no_grad():
        result = net.vision_model(normalized(larger, HALF, HALF), interpolate_pos_encoding=True)
        expected = net.visual_projection(result.pooler_output).numpy()
    found = open_source(f"hf:{tmp_path / 'clip'}", SourceOptions(preprocessing=said)).embed(larger)
    assert found == pytest.approx(expected, abs=1e-4)
    with quiet("making a tiny transformer"):
        vit = need_timm().create_model("test_vit", pretrained=False).eval()
        torch.save(vit.state_dict(), tmp_path / "vit.pth")
        side = vit.pretrained_cfg["input_size"][1] - 32
        vit.set_input_size(img_size=(side, side))
        vit.reset_classifier(0)
    smaller = np.stack([np.asarray(tile_photo(number, 2, side=side)) for number in range(2)])
    options = SourceOptions(checkpoint=tmp_path / "vit.pth", preprocessing=Overrides(size=(side, side)))
    made = open_source("timm:test_vit", options)
    with torch.no_grad():
        expected = vit(normalized(smaller, made.preprocessing.mean, made.preprocessing.std)).numpy()
    assert made.embed(smaller) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.encoder.", "net.backbone.", "module._orig_mod.model."])
def test_prefixes_of_checkpoints(prefix: str) -> None:
    own = TinyCnn().state_dict()
    state = {f"{prefix}{key}": value for key, value in own.items()} | {"head.weight": torch.zeros(3)}
    found = fitting(state, own)
    assert {key for key in found if key in own} == set(own)
    inside = {f"backbone.{key}": value for key, value in own.items()}
    assert set(fitting(own, inside)) == set(inside)


def test_names_of_both_sides_are_shown(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    options = SourceOptions(checkpoint=tmp_path / "other.pth", preprocessing=SAID.preprocessing)
    with pytest.raises(SourceError, match=r"for example stem\.0\.weight, and has features\.0\.weight instead"):
        open_source(TinyCnn(), options)


def test_the_average_of_the_weights_is_taken_as_timm_does(tmp_path: Path) -> None:
    raw, average = TinyCnn(seed=1).state_dict(), TinyCnn(seed=2).state_dict()
    torch.save({"state_dict": raw, "state_dict_ema": average, "epoch": 3}, tmp_path / "both.pth")
    from timm.models import load_state_dict

    with quiet("asking timm"):
        expected = load_state_dict(str(tmp_path / "both.pth"))
    found = read_state(tmp_path / "both.pth")
    assert set(found) == set(expected) and all(torch.equal(found[key], expected[key]) for key in expected)
    assert torch.equal(found["stem.0.weight"], average["stem.0.weight"])


def test_a_checkpoint_of_a_student_and_its_teacher_is_refused(tmp_path: Path) -> None:
    student, teacher = TinyCnn(seed=1).state_dict(), TinyCnn(seed=2).state_dict()
    options = SourceOptions(checkpoint=tmp_path / "both.pth", preprocessing=SAID.preprocessing)

    def opened(*named: tuple[str, Any]) -> Any:
        torch.save(
            {f"{prefix}{key}": value for prefix, one in named for key, value in one.items()}, tmp_path / "both.pth"
        )
        return open_source(TinyCnn(), options).embed(PIXELS)

    with pytest.raises(
        SourceError, match=r"holds the network twice, under 'student\.net\.' and 'teacher\.net\.'; expected"
    ):
        opened(("student.net.", student), ("teacher.net.", teacher))
    # The network's own names mean it, and the same numbers under two names are one network.
    alone = opened(("", student))
    assert opened(("", student), ("teacher.", teacher)) == pytest.approx(alone)
    assert opened(("net.", student), ("encoder.net.", student)) == pytest.approx(alone)


@pytest.mark.parametrize(("numbers", "said"), [(32, True), (81, False)])
def test_a_last_layer_that_a_checkpoint_has_more_is_said(numbers: int, said: bool, tmp_path: Path) -> None:
    torch.save(TinyCnn(classes=numbers).state_dict(), tmp_path / "net.pth")
    options = SourceOptions(checkpoint=tmp_path / "net.pth", preprocessing=SAID.preprocessing)
    notes = open_source(TinyCnn(), options).notes
    assert any("net.pth has head.weight, 32 numbers of 24, which the network lacks" in note for note in notes) == said


def test_a_teachers_layers_are_no_last_layer_that_was_left_out(tmp_path: Path) -> None:
    """The network has them itself; the note said that it lacks teacher.head.weight."""
    net = TinyCnn(classes=32)
    state = {f"{prefix}{key}": value for prefix in ("", "teacher.") for key, value in net.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    options = SourceOptions(checkpoint=tmp_path / "net.pth", preprocessing=SAID.preprocessing)
    assert not [note for note in open_source(net, options).notes if "left out" in note]


def test_a_last_layer_of_timms_networks_is_cut_and_said() -> None:
    timm = need_timm()
    with quiet("making a tiny network"):
        net = timm.create_model("test_vit", num_classes=32).eval()
    source = open_source(net, SourceOptions())
    assert source.dimension == 64
    assert any("head of visiontransformer was taken for class scores (32 numbers)" in note for note in source.notes)
    with torch.no_grad():
        photos = normalized(
            PIXELS.repeat(5, axis=1).repeat(5, axis=2), source.preprocessing.mean, source.preprocessing.std
        )
        expected = net(photos).numpy()
    kept = open_source(net, SourceOptions(output="head"))
    assert kept.embed(PIXELS.repeat(5, axis=1).repeat(5, axis=2)) == pytest.approx(expected, abs=1e-4)


def test_a_torchscript_module_goes_by_its_file() -> None:
    with quiet("making TorchScript"):
        traced = torch.jit.trace(TinyCnn(), torch.zeros(1, 3, SIDE, SIDE))
    with pytest.raises(SourceError, match=r"a TorchScript module arrived .*; expected .* net\.save\('net\.pt'\)"):
        open_source(traced, SAID)


def test_names_that_older_transformers_wrote(tmp_path: Path) -> None:
    """transformers knows how they are called today."""
    transformers = need_transformers()
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with quiet("saving a tiny ViT"):
        net = transformers.ViTForImageClassification(
            transformers.ViTConfig(image_size=32, patch_size=8, **shape)
        ).eval()
        transformers.ViTModel(net.config).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}})
    )
    with quiet("saving it as a classifier"):
        net.save_pretrained(tmp_path / "classifier")  # by the older names, without the pooler
    checkpoint = tmp_path / "classifier" / "model.safetensors"
    assert not any(key in net.state_dict() for key in read_state(checkpoint) if "layer.0" in key)
    with torch.no_grad():
        expected = net.vit(normalized(PIXELS, HALF, HALF)).last_hidden_state[:, 0].numpy()
    found = open_source(f"hf:{tmp_path / 'vit'}", SourceOptions(checkpoint=checkpoint)).embed(PIXELS)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("units", "dimension", "said"), [(6, 16, "taken for class scores"), (16, 16, "taken for the embedding")]
)
def test_a_dense_layer_without_a_softmax(units: int, dimension: int, said: str, tmp_path: Path) -> None:
    keras = keras_on_torch()
    layers = keras.layers
    with quiet("saving a Keras model"):
        wide = [layers.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(16 if units == 6 else 32, 3, 2)]
        model = keras.Sequential([*wide, layers.GlobalAveragePooling2D(name="pool"), layers.Dense(units, name="last")])
        model.save(tmp_path / "net.keras")
    source = open_source(str(tmp_path / "net.keras"), SourceOptions())
    assert source.dimension == dimension and any(said in note for note in source.notes)
    if units == 6:
        assert open_source(str(tmp_path / "net.keras"), SourceOptions(output="last")).dimension == 6


def test_a_keras_block_called_as_an_application_is_none(tmp_path: Path) -> None:
    """Its photos were prepared as its own training did it, which nobody has said."""
    keras = keras_on_torch()
    layers = keras.layers
    with quiet("saving a Keras model"):
        photo = layers.Input((32, 32, 3))
        stem = layers.Conv2D(8, 3, 2)(photo)
        both = layers.Concatenate(name="inception_3a")([layers.Conv2D(8, 1)(stem), layers.Conv2D(8, 1)(stem)])
        keras.Model(photo, layers.GlobalAveragePooling2D()(both)).save(tmp_path / "net.keras")
        inner = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
        keras.Sequential([layers.Input((32, 32, 3)), inner]).save(tmp_path / "nested.keras")
    with pytest.raises(SourceError, match=r"doesn't say how its photos were prepared"):
        open_source(str(tmp_path / "net.keras"), SourceOptions())
    assert open_source(str(tmp_path / "nested.keras"), SourceOptions()).preprocessing.mean == (127.5,) * 3


def test_a_keras_file_of_the_older_format(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    keras = keras_on_torch()
    layers = keras.layers
    with quiet("saving a Keras model"):
        keras.Sequential(
            [
                layers.Input((32, 32, 3)),
                layers.Rescaling(1 / 255),
                layers.Conv2D(16, 3, 2),
                layers.GlobalAveragePooling2D(),
            ]
        ).save(tmp_path / "net.h5")
    assert open_source(str(tmp_path / "net.h5"), SourceOptions()).dimension == 16


def test_a_modules_class_scores_are_cut_and_said() -> None:
    with torch.no_grad():
        expected = TinyCnn()(normalized(PIXELS)).numpy()
    source = open_source(TinyCnn(classes=7), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    assert (
        "head of tinycnn was taken for class scores" in source.notes[0] and "--output head keeps it" in source.notes[0]
    )
    kept = SourceOptions(output="head", preprocessing=SAID.preprocessing)
    assert open_source(TinyCnn(classes=7), kept).dimension == 7
    assert open_source(TinyCnn(classes=16), SAID).dimension == 16 and WIDTH > 16


class EndsInScores(TinyCnn):
    """Its classes' scores, as the function of this name gives them."""

    def __init__(self, classes: int, function: str) -> None:
        super().__init__(classes=classes)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        result: Tensor = torch.sigmoid(scores) if self.function == "sigmoid" else nn.functional.softmax(scores, dim=1)
        return result


ENDS: dict[str, tuple[Any, str]] = {
    "a softmax layer": (lambda: nn.Sequential(TinyCnn(classes=32), nn.Softmax(1)), "32 numbers behind a softmax"),
    "the logarithm": (lambda: nn.Sequential(TinyCnn(classes=7), nn.LogSoftmax(1)), "7 numbers behind a softmax"),
    "a sigmoid layer": (lambda: nn.Sequential(TinyCnn(classes=7), nn.Sigmoid()), "last linear layer with 7 outputs"),
    "a dropout before": (lambda: nn.Sequential(TinyCnn(classes=7), nn.Dropout(), nn.Softmax(1)), "behind a softmax"),
    "the function softmax": (lambda: EndsInScores(7, "softmax"), "7 numbers behind a softmax"),
    "the function sigmoid": (lambda: EndsInScores(7, "sigmoid"), "last linear layer with 7 outputs"),
}


@pytest.mark.parametrize("case", ENDS)
def test_scores_behind_a_softmax_or_sigmoid_are_cut_and_said(case: str) -> None:
    """They were taken for the embedding."""
    make, said = ENDS[case]
    with torch.no_grad():
        expected = TinyCnn()(normalized(PIXELS)).numpy()
    source = open_source(make(), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    assert said in source.notes[0] and "head of " in source.notes[0]
    assert source.provenance in ("the PyTorch module Sequential", "the PyTorch module EndsInScores")


def test_a_network_cut_before_its_softmax_is_exported(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(shop, to=("onnx", "tflite"), recipes=("fp32",), layers=False, source=SAID)
    made = export_model(nn.Sequential(TinyCnn(classes=7), nn.Softmax(1)), tmp_path / "out", settings).kept
    assert all(kept.score is not None and kept.score.cosine_min > 0.99999 for kept in made) and len(made) == 2


@pytest.mark.slow
def test_branches_of_timms_networks_are_joined(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with quiet("making a MobileOne"):
        net = need_timm().create_model("mobileone_s0", pretrained=False).eval()
    before = sum(value.numel() for value in net.state_dict().values())
    source = open_source(net, SourceOptions(preprocessing=Overrides(size=(64, 64))))
    pixels = np.stack([np.asarray(tile_photo(1, 1, side=64))])
    net.reset_classifier(0)
    with torch.no_grad():
        expected = net(normalized(pixels, source.preprocessing.mean, source.preprocessing.std)).numpy()
    assert source.embed(pixels) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    source.writer("onnx")(tmp_path / "net.onnx", None)
    assert (tmp_path / "net.onnx").stat().st_size < 0.6 * 4 * before


def test_int8_dynamic_of_convolutions_says_so_and_keeps_what_passed(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp16", "int8-dynamic"), layers=False, source=SAID)
    report = export_model(TinyCnn(), tmp_path / "out", settings)
    assert [attempt.recipe for attempt in report.kept] == ["fp16"]
    (failed,) = [attempt for attempt in report.attempts if attempt.verdict == "failed"]
    assert failed.recipe == "int8-dynamic" and "weights are in convolutions; --recipe int8-static" in failed.reason
    alone = ExportSettings(shop, to=("onnx",), recipes=("int8-dynamic",), layers=False, source=SAID)
    with pytest.raises(ExportError, match="weights are in convolutions"):
        export_model(TinyCnn(), tmp_path / "alone", alone)
    assert not (tmp_path / "alone").exists()


@pytest.mark.slow
def test_a_torchvision_network_with_its_own_number_of_classes(tmp_path: Path) -> None:
    models = need_torchvision().models
    with quiet("making a MobileNetV3"):
        net = models.mobilenet_v3_small(weights=None, num_classes=11).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    source = open_source("torchvision:mobilenet_v3_small", SourceOptions(checkpoint=tmp_path / "net.pth"))
    assert (source.preprocessing.height, source.preprocessing.resize, source.preprocessing.crop_fraction) == (
        224,
        "crop",
        0.875,
    )
    net.classifier[3] = nn.Identity()
    pixels = np.stack([np.asarray(tile_photo(1, 1, side=224))])
    with torch.no_grad():
        expected = net(normalized(pixels, source.preprocessing.mean, source.preprocessing.std)).numpy()
    assert source.embed(pixels) == pytest.approx(expected, abs=1e-4)


def test_a_torchscript_file_and_weights_alone(tmp_path: Path) -> None:
    net = TinyCnn()
    with quiet("writing TorchScript"):
        torch.jit.trace(net, torch.zeros(1, 3, SIDE, SIDE)).save(str(tmp_path / "net.pt"))
    source = open_source(str(tmp_path / "net.pt"), SAID)
    with torch.no_grad():
        assert source.embed(PIXELS) == pytest.approx(net(normalized(PIXELS)).numpy(), abs=1e-4)
    with pytest.raises(SourceError, match="say it: --size 224"):
        open_source(str(tmp_path / "net.pt"), SourceOptions())
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(SourceError, match=r"weights without their network; .* timm:NAME --checkpoint"):
        open_source(str(tmp_path / "weights.pth"), SAID)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(SourceError, match="is a SavedModel, which TensorFlow alone reads"):
        open_source(str(tmp_path / "saved"), SAID)
