"""Which tensor of a network is its embedding, and which photos it wants: where a wrong answer would be found out in the shop."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch
from torch import Tensor, nn

from shelfmatch.edge import Encoder
from shelfmatch.edge.encoders.registry import read_card
from shelfmatch.export import ExportSettings, Overrides, SourceOptions, export_model, onnx_graph, photos, tflite_graph
from shelfmatch.export.encoders import fit_projection
from shelfmatch.export.errors import ExportError
from shelfmatch.export.keras_source import keras_on_torch
from shelfmatch.export.onnx_recipes import OnnxBench, calibration_input
from shelfmatch.export.preprocessing import from_image_processor
from shelfmatch.export.sources import open_source
from shelfmatch.export.tools import need_transformers, quiet
from shelfmatch.export.torch_modules import Transformer, pooled
from tests.conftest import tile_photo, write_tiles
from tests.support import tiny_models
from tests.support.tiny_networks import MEAN, SIDE, STD, WIDTH, TinyCnn, write_onnx, write_tflite

pytestmark = pytest.mark.xdist_group("export")

SAID = SourceOptions(preprocessing=Overrides(size=(SIDE, SIDE), mean=MEAN, std=STD))
PIXELS = np.stack([np.asarray(tile_photo(number, 2, side=SIDE)) for number in range(3)])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("features") / "photos", range(8))


class Normed(TinyCnn):
    """A classifier with a LayerNorm behind its pooling, as ConvNeXt has; `softmax` behind the classes."""

    def __init__(self, classes: int, softmax: bool = False) -> None:
        super().__init__(classes=classes)
        self.norm = nn.LayerNorm(WIDTH)
        self.softmax = softmax
        self.eval()

    def feature(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.middle(self.stem(x)).mean(dim=(2, 3)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.feature(x))
        return scores.softmax(dim=1) if self.softmax else scores


def normalized(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(((pixels - np.float32(MEAN)) / np.float32(STD)).astype(np.float32).transpose(0, 3, 1, 2))


def write_old_onnx(net: nn.Module, path: Path) -> Path:
    """By PyTorch's older exporter and an opset in which LayerNorm is written with means."""
    with quiet("writing a tiny .onnx file"):
        torch.onnx.export(net, (torch.zeros(1, 3, SIDE, SIDE),), path, opset_version=13, dynamo=False)
    return path


@pytest.mark.parametrize(("classes", "softmax"), [(1000, False), (1000, True), (5, True)])
def test_a_classifiers_embedding_is_what_its_last_product_reads(classes: int, softmax: bool, tmp_path: Path) -> None:
    """Not the last mean of the graph, which is LayerNorm's: one number a photo."""
    net = Normed(classes, softmax)
    source = open_source(str(write_old_onnx(net, tmp_path / "net.onnx")), SAID)
    with torch.no_grad():
        expected = net.feature(normalized(PIXELS)).numpy()
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)


def test_five_numbers_without_a_softmax_are_class_scores_unless_it_is_said(tmp_path: Path) -> None:
    path = str(write_old_onnx(Normed(5), tmp_path / "net.onnx"))
    found = open_source(path, SAID)
    assert found.dimension == WIDTH and "taken for class scores" in found.notes[0]
    output = found.notes[0].partition(" ")[0]
    assert open_source(path, replace(SAID, output=output)).dimension == 5


def test_a_tflite_classifier_of_a_shops_own_classes(tmp_path: Path) -> None:
    net = Normed(18, softmax=True)
    source = open_source(str(write_tflite(net, tmp_path / "net.tflite")), SAID)
    with torch.no_grad():
        expected = net.feature(normalized(PIXELS)).numpy()
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)


def test_a_classifier_that_takes_pixels_is_cut_with_its_cast(tmp_path: Path) -> None:
    float_file = write_onnx(TinyCnn(classes=1000), tmp_path / "net.onnx").read_bytes()
    (tmp_path / "pixels.onnx").write_bytes(onnx_graph.with_uint8_input(float_file))
    with torch.no_grad():
        expected = TinyCnn()(torch.from_numpy(PIXELS.astype(np.float32).transpose(0, 3, 1, 2))).numpy()
    assert open_source(str(tmp_path / "pixels.onnx"), SourceOptions()).embed(PIXELS) == pytest.approx(
        expected, rel=1e-3
    )


def test_a_file_that_is_quantized_isnt_taken_for_float(shop: Path, tmp_path: Path) -> None:
    core = tmp_path / "core.onnx"
    open_source(TinyCnn(), SAID).writer("onnx")(core, None)
    with contextlib.closing(OnnxBench(core.read_bytes(), lambda layout: calibration_input(PIXELS, layout))) as bench:
        (tmp_path / "int8.onnx").write_bytes(bench.static())
        with pytest.raises(ExportError, match="has no layer that this recipe quantizes"):
            bench.dynamic()
    with pytest.raises(ExportError, match="is quantized already"):
        open_source(str(tmp_path / "int8.onnx"), SourceOptions())


def test_a_quantized_tflite_file_keeps_what_its_card_says(shop: Path, tmp_path: Path) -> None:
    """Its input's scale is of normalized values: pixels less 128 are something else."""
    settings = ExportSettings(
        shop, to=("tflite",), recipes=("int8-static",), gate_points=100, layers=False, source=SAID
    )
    export_model(str(write_tflite(TinyCnn(), tmp_path / "net.tflite")), tmp_path / "once", settings)
    file = tmp_path / "once" / "net-int8-static.tflite"
    card, _ = read_card(Path(f"{file}.json"))
    assert card.mean is not None and card.input_quantization is not None
    again = replace(settings, recipes=("auto",), source=SourceOptions())
    report = export_model(str(file), tmp_path / "again", again)
    kept, _ = read_card(tmp_path / "again" / f"{report.kept[0].file}.json")
    assert (kept.mean, kept.std, kept.input_quantization) == (card.mean, card.std, card.input_quantization)
    found = [Encoder.load(path).embed_pixels(PIXELS[0]) for path in (file, tmp_path / "again" / kept.file)]
    assert np.array_equal(*found)
    # Without its card the user may say it.
    Path(f"{file}.json").unlink()
    said = open_source(str(file), SAID)
    assert said.takes_normalized and said.embed(PIXELS)[0] == pytest.approx(found[0], abs=1e-6)


def test_options_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    file = str(write_onnx(TinyCnn(), tmp_path / "net.onnx"))
    for options in (replace(SAID, pool="gem"), replace(SAID, checkpoint=tmp_path / "gone.pth")):
        with pytest.raises(ExportError, match=r"arrived with net\.onnx, which brings its own"):
            open_source(file, options)


def test_a_module_stays_as_it_was() -> None:
    net = TinyCnn(classes=7).train()
    source = open_source(net, replace(SAID, output="middle"))
    source.embed(PIXELS)
    assert net.training and not net.middle._forward_hooks


def test_a_projection_of_a_projected_file(tmp_path: Path) -> None:
    source = open_source(TinyCnn(), SAID)
    first = fit_projection(np.random.default_rng(1).normal(size=(40, WIDTH)).astype(np.float32), 8)
    second = fit_projection(np.random.default_rng(2).normal(size=(40, 8)).astype(np.float32), 6)
    source.writer("onnx")(tmp_path / "once.onnx", first)
    once = open_source(str(tmp_path / "once.onnx"), SourceOptions(preprocessing=Overrides(normalize=False)))
    once.writer("onnx")(tmp_path / "once.onnx", second)
    twice = open_source(str(tmp_path / "once.onnx"), SourceOptions(preprocessing=Overrides(normalize=False)))
    twice.writer("onnx")(tmp_path / "thrice.onnx", fit_projection(np.eye(6, dtype=np.float32), 5))
    assert twice.embed(PIXELS) == pytest.approx(second.apply(once.embed(PIXELS)), rel=1e-4, abs=1e-4)
    assert (
        open_source(str(tmp_path / "thrice.onnx"), SourceOptions(preprocessing=Overrides(normalize=False))).dimension
        == 5
    )


def test_recipes_and_formats_are_made_once(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(
        shop, to=("onnx", "onnx"), recipes=("fp32", "auto", "fp32"), gate_points=100, layers=False, source=SAID
    )  # fmt: skip
    report = export_model(TinyCnn(), tmp_path / "out", settings)
    assert all(count == 1 for count in Counter(attempt.recipe for attempt in report.attempts).values())


def test_a_folder_in_the_way_is_found_before_anything_is_written(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "tinycnn-fp32.onnx.json").mkdir(parents=True)
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32",), layers=False, source=SAID)
    with pytest.raises(ExportError, match="is a folder; expected to write a file of that name"):
        export_model(TinyCnn(), tmp_path / "out", settings)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tinycnn-fp32.onnx.json"]


def test_names_that_are_no_unicode(shop: Path, tmp_path: Path) -> None:
    file = Path(f"{tmp_path}/n\udce9t.onnx")
    file.write_bytes(write_onnx(TinyCnn(), tmp_path / "net.onnx").read_bytes())
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32",), layers=False, source=SAID)
    export_model(str(file), tmp_path / "out", settings)
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["source"]["provenance"].endswith(
        "n?t.onnx"
    )


def test_a_keras_map_is_averaged_over_its_places(tmp_path: Path) -> None:
    """Channels are last there: the mean over the two last axes would leave one number a row."""
    keras = keras_on_torch()
    with quiet("saving a Keras model"):
        pixels = keras.layers.Input((32, 32, 3))
        model = keras.Model(pixels, keras.layers.Conv2D(24, 3, 4)(pixels))
        model.save(tmp_path / "map.keras")
        expected = model(torch.tensor(PIXELS).float(), training=False).mean(dim=(1, 2)).detach().numpy()
    said = SourceOptions(preprocessing=Overrides(size=(32, 32), normalize=False))
    assert open_source(str(tmp_path / "map.keras"), said).embed(PIXELS) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_keras_arithmetic_on_pixels_isnt_done_twice(tmp_path: Path) -> None:
    """preprocess_input called inside of the model, before an application whose name would bring the same again."""
    keras = keras_on_torch()
    with quiet("saving a Keras model"):
        base = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35, input_shape=(32, 32, 3))
        pixels = keras.layers.Input((32, 32, 3))
        prepared = keras.applications.mobilenet_v2.preprocess_input(keras.layers.RandomFlip()(pixels))
        model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(base(prepared, training=False)))
        model.save(tmp_path / "inside.keras")
        expected = model(torch.tensor(PIXELS).float(), training=False).detach().numpy()
    source = open_source(str(tmp_path / "inside.keras"), SourceOptions())
    assert source.preprocessing.mean is None
    assert source.embed(PIXELS) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("last", ["Activation", "Softmax"])
def test_a_keras_softmax_of_its_own(last: str, tmp_path: Path) -> None:
    keras = keras_on_torch()
    with quiet("saving a Keras model"):
        layers = keras.layers
        softmax = layers.Softmax() if last == "Softmax" else layers.Activation("softmax")
        model = keras.Sequential(
            [layers.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(16, 3, 2),
             layers.GlobalAveragePooling2D(), layers.Dense(5), softmax]
        )  # fmt: skip
        model.save(tmp_path / "net.keras")
    assert open_source(str(tmp_path / "net.keras"), SourceOptions()).dimension == 16


def test_tokens_without_a_class_token() -> None:
    """A mean leaves out no patch, and there is no class token to take."""
    transformers = need_transformers()
    config = transformers.SiglipVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    with quiet("making a tiny transformer"):
        net = transformers.SiglipVisionModel(config).eval()
        net = getattr(net, "vision_model", net)
        photo = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            mean = net(pixel_values=photo).last_hidden_state.mean(dim=1)
            found = Transformer(net, "avg")(photo)
    assert torch.allclose(found, mean, atol=1e-6)
    with pytest.raises(ExportError, match="without a class token"):
        pooled(torch.rand(1, 4, 8), "cls", 0)


def test_image_processors_that_crop_a_part_or_want_bgr() -> None:
    convnext = {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    found = from_image_processor(convnext)
    assert (found.height, found.resize, found.crop_fraction) == (224, "crop", 0.875)
    whole = from_image_processor({**convnext, "size": {"shortest_edge": 384}})
    assert (whole.height, whole.resize, whole.crop_fraction) == (384, "squash", 1.0)
    assert from_image_processor({**convnext, "do_flip_channel_order": True}).color_order == "BGR"
    for broken in ({"image_std": None}, {"rescale_factor": 0}, {"rescale_factor": "x"}, {"size": 0}, {"image_mean": 3}):
        with pytest.raises(ExportError):
            from_image_processor({**convnext, **broken})


@pytest.mark.parametrize(("products", "each"), [(999, 2), (1000, 2), (4000, 2), (30, 50), (1500, 3)])
def test_most_photos_that_are_kept_have_another_one(products: int, each: int) -> None:
    rows = [(Path(f"{sku}/{number}"), f"{sku}") for sku in range(products) for number in range(each)]
    kept = photos._thinned(rows)
    counts = Counter(sku for _, sku in kept)
    assert len(kept) <= photos.MAX_PHOTOS and len(set(kept)) == len(kept)
    assert sum(count for count in counts.values() if count > 1) >= 0.5 * min(photos.MAX_PHOTOS, len(rows))


def test_some_products_with_several_among_many_with_one() -> None:
    rows = [(Path(f"{sku}/{number}"), f"{sku}") for sku in range(5000) for number in range(10 if sku % 50 == 0 else 1)]
    counts = Counter(sku for _, sku in photos._thinned(rows))
    assert sum(count > 1 for count in counts.values()) == 100 and sum(count == 1 for count in counts.values()) >= 300


def test_pictures_one_by_one_where_litert_says_the_batch_is_free(tmp_path: Path) -> None:
    """As TensorFlow's conversions do."""
    model = tflite_graph.parse(tiny_models.average_tflite())
    graph = model.subgraphs[0]
    for tensor in (graph.tensors[int(graph.inputs[0])], graph.tensors[int(graph.outputs[0])]):
        tensor.shapeSignature = [-1, *tensor.shape[1:]]
    (tmp_path / "free.tflite").write_bytes(tflite_graph.pack(model))
    from shelfmatch.edge.encoders.infer_card import inspect_encoder

    card = inspect_encoder(tmp_path / "free.tflite")
    encoder = Encoder(card, (tmp_path / "free.tflite").read_bytes(), resizer="pillow")
    pictures = [np.asarray(tile_photo(number, 1, side=tiny_models.SIDE)) for number in range(3)]
    assert encoder.embed_batch(pictures) == pytest.approx(np.stack([encoder.embed_pixels(one) for one in pictures]))
