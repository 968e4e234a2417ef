"""ONNX files as other tools leave them: read rightly, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

from onnx import helper, numpy_helper

from shelfmatch.edge import CardRequired, Encoder, EncoderError
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.files import sha256_of
from shelfmatch.export import ExportSettings, Overrides, SourceOptions, export_model
from shelfmatch.export.errors import ExportError, SourceError
from shelfmatch.export.sources import open_source
from tests.conftest import tile_photo, write_tiles
from tests.support.cards import RECORD
from tests.support.odd_onnx import SIDE, WIDTH, computed, convolution, save

pytestmark = pytest.mark.xdist_group("export")

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 58.0, 56.0)
SAID = SourceOptions(preprocessing=Overrides(mean=MEAN, std=STD))
PIXELS = np.stack([np.asarray(tile_photo(number, 2, side=SIDE)) for number in range(3)])
PHOTOS = ((PIXELS - np.float32(MEAN)) / np.float32(STD)).astype(np.float32).transpose(0, 3, 1, 2)


def one_by_one(model: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([computed(model, photo[np.newaxis]) for photo in PHOTOS])


@pytest.fixture(scope="module")
def expected() -> np.ndarray[Any, Any]:
    return one_by_one(convolution())


def test_batch_normalization_in_training_mode_is_set_to_inference(tmp_path: Path, expected: Any) -> None:
    """It took the photo's own mean: cosine .29 to the network."""
    source = open_source(save(convolution(training=True), tmp_path / "net.onnx"), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    assert any("training mode" in note for note in source.notes)


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_an_old_opset(opset: int, tmp_path: Path, expected: Any) -> None:
    source = open_source(save(convolution(opset=opset), tmp_path / "net.onnx"), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(8)), to=("onnx",), gate_points=100, layers=False, source=SAID
    )
    report = export_model(str(tmp_path / "net.onnx"), tmp_path / "out", settings)
    assert report.kept[0].recipe == "int8-static"  # which asks for opset 13


def test_weights_in_a_second_file(tmp_path: Path, expected: Any) -> None:
    path = save(
        convolution(), tmp_path / "net.onnx", save_as_external_data=True, location="net.weights", size_threshold=0
    )
    assert open_source(path, SAID).embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    (tmp_path / "net.weights").unlink()
    with pytest.raises(SourceError, match=r"keeps its weights in net\.weights, which can't be read"):
        open_source(path, SAID)


def test_half_precision_inside_and_at_the_input(tmp_path: Path, expected: Any) -> None:
    source = open_source(save(convolution(half=True), tmp_path / "net.onnx"), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=2e-2)


def test_free_sides_take_the_size_that_is_said(tmp_path: Path, expected: Any) -> None:
    path = save(convolution(batch="n", sides=("h", "w")), tmp_path / "net.onnx")
    with pytest.raises(SourceError, match="say it, --size 224"):
        open_source(path, SAID)
    said = SourceOptions(preprocessing=Overrides(size=(SIDE, SIDE), mean=MEAN, std=STD))
    assert open_source(path, said).embed(PIXELS) == pytest.approx(expected, abs=1e-4)


def test_a_fixed_batch_of_eight(tmp_path: Path, expected: Any) -> None:
    source = open_source(save(convolution(batch=8), tmp_path / "net.onnx"), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)


def opened(model: Any, *, rank: bool = True) -> Any:
    """A model that computes its reshape out of the photo, so that the sides of its output are open, or even their number."""
    graph = model.graph
    reshape = next(node for node in graph.node if node.op_type == "Reshape")
    name = reshape.input[1]
    constant = next(one for one in graph.initializer if one.name == name)
    others = numpy_helper.to_array(constant)[1:]
    graph.initializer.remove(constant)
    graph.initializer.append(numpy_helper.from_array(others, "others"))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    made = [
        helper.make_node("Shape", ["photo"], ["sides"]), helper.make_node("Gather", ["sides", "first"], ["n"]),
        helper.make_node("ReduceMin", ["photo"], ["least"], keepdims=0), helper.make_node("Mul", ["least", "nothing"], ["zero"]),
        helper.make_node("Cast", ["zero"], ["whole"], to=7), helper.make_node("Add", ["others", "whole"], ["rest"]),
        helper.make_node("Concat", ["n", "rest"], [name], axis=0),
    ]  # fmt: skip
    place = list(graph.node).index(reshape)
    for number, node in enumerate(made):
        graph.node.insert(place + number, node)
    shape = graph.output[0].type.tensor_type.shape
    for number, side in enumerate(shape.dim):
        if number < 2:
            side.dim_param = f"side{number}"
    if not rank:
        graph.output[0].type.tensor_type.ClearField("shape")
    return model


def carded(path: Path, dimension: int) -> Path:
    """A card beside it."""
    record = {
        **RECORD, "file": path.name, "sha256": sha256_of(path), "size_bytes": path.stat().st_size, "format": "onnx",
        "width": SIDE, "height": SIDE, "input_name": "photo", "input_dtype": "float32", "layout": "NCHW",
        "output_name": "last", "dimension": dimension, "mean": MEAN, "std": STD,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("rank", [True, False])
def test_a_vector_whose_sides_are_left_open(rank: bool, tmp_path: Path, expected: Any) -> None:
    """It was no vector to `build`, and its card no card of the file."""
    path = Path(save(opened(convolution(batch="n"), rank=rank), tmp_path / "net.onnx"))
    source = open_source(str(path), SAID)
    assert (source.dimension, source.embed(PIXELS)) == (WIDTH, pytest.approx(expected, abs=1e-4))
    with pytest.raises(CardRequired, match=f'"dimension": {WIDTH}'):
        inspect_encoder(path)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    encoder = Encoder.load(carded(path, WIDTH))
    assert encoder.embed_pixels(PIXELS[0]) == pytest.approx(unit[0], abs=1e-4)
    assert encoder.embed_batch(list(PIXELS)) == pytest.approx(unit, abs=1e-4)


def test_a_file_without_an_output_is_told(tmp_path: Path) -> None:
    model = convolution()
    del model.graph.output[:]
    with pytest.raises(SourceError, match=r"net\.onnx has no output; expected one vector a photo"):
        open_source(save(model, tmp_path / "net.onnx"), SAID)


def test_tokens_of_an_open_number_are_no_vector(tmp_path: Path) -> None:
    """[n, tokens, 24] passed for 24 numbers, of which there are 64 times as many."""
    path = Path(save(opened(convolution(batch="n", tokens=True)), tmp_path / "net.onnx"))
    with pytest.raises(SourceError, match=r"gives \[1, 64, 24\], and no pooled feature .*--pool cls or avg"):
        open_source(str(path), SAID)
    with pytest.raises(EncoderError, match=r"\[-1, -1, 24\] and gives \[1, 64, 24\], which is not one vector a photo"):
        inspect_encoder(path)
    encoder = Encoder.load(carded(path, WIDTH))
    with pytest.raises(EncoderError, match=r"gives float32 \[1, 64, 24\]; its card says float32 with 24 elements"):
        encoder.embed_pixels(PIXELS[0])
    pooled = SourceOptions(pool="avg", preprocessing=SAID.preprocessing)
    assert open_source(str(path), pooled).dimension == WIDTH
    kept = open_source(str(path), SourceOptions(output="last", preprocessing=SAID.preprocessing))
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(8)), to=("onnx",), recipes=("fp32",), layers=False,
        source=SourceOptions(output="last", preprocessing=SAID.preprocessing),
    )  # fmt: skip
    (file,) = export_model(str(path), tmp_path / "out", settings).kept
    assert Encoder.load(tmp_path / "out" / file.file).card.dimension == kept.dimension == 64 * WIDTH


def test_a_network_whose_embedding_changes_its_size(tmp_path: Path) -> None:
    """It gives the numbers above a bound alone, as many as there are."""
    model = convolution(batch="n")
    even = computed(model, np.ones((1, 3, SIDE, SIDE), np.float32))
    bound = numpy_helper.from_array(np.float32(np.median(even)), "bound")
    model.graph.initializer.append(bound)
    model.graph.node[-1].output[0] = "all"
    model.graph.node.append(helper.make_node("Greater", ["all", "bound"], ["above"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "to_one_row"))
    model.graph.node.append(helper.make_node("Reshape", ["above", "to_one_row"], ["mask"]))
    model.graph.node.append(helper.make_node("Compress", ["all", "mask"], ["last"]))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert computed(model, PHOTOS[:1]).size != WIDTH // 2 == computed(model, np.ones_like(PHOTOS[:1])).size
    encoder = Encoder.load(carded(Path(save(model, tmp_path / "net.onnx")), WIDTH // 2))
    with pytest.raises(
        EncoderError, match=r"net\.onnx gave \[\d+\] for 1 of the photos; its card says 12 elements each"
    ):
        encoder.embed_pixels(PIXELS[0])
    with pytest.raises(EncoderError, match=r"for 3 of the photos; its card says 12 elements each"):
        encoder.embed_batch(list(PIXELS))


def test_attention_that_fixes_its_batch_is_freed_or_refused(tmp_path: Path) -> None:
    """By a 0 in the place of 2 N heads, all rows became one head's: another network, and its own reference (cosine .39 to .85)."""
    wanted = one_by_one(convolution(rows_a_head=12))
    source = open_source(save(convolution(batch=8, rows_a_head=12), tmp_path / "said.onnx"), SAID)
    assert source.embed(PIXELS) == pytest.approx(wanted, abs=1e-4)
    path = save(convolution(batch=8, rows_a_head=-1), tmp_path / "net.onnx")
    with pytest.raises(
        SourceError, match=r"net\.onnx fixes its batch of 8 inside; export it anew with a free batch or 1"
    ):
        open_source(path, SAID)


def test_a_reshape_of_another_number_than_the_batch_stays(tmp_path: Path) -> None:
    """Of weights, for example: 0 in its place kept the 1 that comes."""
    model = convolution(batch=8)
    shape = numpy_helper.from_array(np.array([WIDTH, 3, 4, 4], np.int64), "to_weight")
    weight = model.graph.initializer[0]
    flat = numpy_helper.from_array(numpy_helper.to_array(weight).reshape(1, -1), "flat")
    model.graph.node.insert(0, helper.make_node("Reshape", ["flat", "to_weight"], ["weight"]))
    model.graph.initializer.remove(weight)
    model.graph.initializer.extend([shape, flat])
    source = open_source(save(model, tmp_path / "net.onnx"), SAID)
    assert source.embed(PIXELS) == pytest.approx(one_by_one(convolution()), abs=1e-4)


@pytest.mark.parametrize("pool", ["cls", "avg"])
def test_tokens_are_pooled_where_it_is_said_how(pool: str, tmp_path: Path) -> None:
    model = convolution(tokens=True)
    path = save(model, tmp_path / "net.onnx")
    with pytest.raises(ExportError, match="--pool cls"):
        open_source(path, SAID)
    tokens = one_by_one(model)
    wanted = tokens[:, 0] if pool == "cls" else tokens.mean(axis=1)
    source = open_source(path, SourceOptions(pool=pool, preprocessing=SAID.preprocessing))
    assert source.embed(PIXELS) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("classes", [6, 81, 965])
def test_class_scores_without_a_softmax_are_cut_and_said(classes: int, tmp_path: Path, expected: Any) -> None:
    """`build` refuses by the same rule, and names the tensor that `--output` wants."""
    path = tmp_path / "net.onnx"
    save(convolution(classes=classes), path)
    source = open_source(str(path), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected, abs=1e-4)
    assert any(f"taken for class scores (a last linear layer with {classes} outputs" in note for note in source.notes)
    with pytest.raises(EncoderError, match=r"looks like a classifier .*--output vector, or confirm with --output last"):
        inspect_encoder(path)
    kept = open_source(str(path), SourceOptions(output="last", preprocessing=SAID.preprocessing))
    assert kept.dimension == classes


def test_a_linear_layer_of_an_embeddings_size_stays_and_is_said(tmp_path: Path) -> None:
    source = open_source(save(convolution(classes=16), tmp_path / "net.onnx"), SAID)
    assert source.dimension == 16
    assert any("16 numbers of 24, and was taken for the embedding" in note for note in source.notes)


def test_what_was_assumed_of_a_bare_file_is_said(tmp_path: Path) -> None:
    path = save(convolution(), tmp_path / "net.onnx")
    assert any("squash was assumed" in note for note in open_source(path, SAID).notes)
    said = SourceOptions(preprocessing=Overrides(mean=MEAN, std=STD, resize="crop"))
    assert not any("assumed" in note for note in open_source(path, said).notes)


def test_mean_and_std_of_another_unit_are_doubted(tmp_path: Path) -> None:
    small = SourceOptions(preprocessing=Overrides(mean=(0.5,) * 3, std=(0.5,) * 3))
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(8)), to=("onnx",), recipes=("fp32",), layers=False, source=small
    )
    report = export_model(save(convolution(), tmp_path / "net.onnx"), tmp_path / "out", settings)
    assert any("look like units of 0 to 1" in note for note in report.notes)
    assert "units of 0 to 1" in (tmp_path / "out" / "report.html").read_text()
    assert any(line.startswith("note: ") for line in report.table().splitlines())


def test_colours_in_the_other_order(tmp_path: Path) -> None:
    said = Overrides(mean=MEAN, std=STD, color_order="BGR")
    path = save(convolution(), tmp_path / "net.onnx")
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(8)), to=("onnx",), recipes=("fp32",), layers=False,
        source=SourceOptions(preprocessing=said),
    )  # fmt: skip
    report = export_model(path, tmp_path / "out", settings)
    assert report.kept[0].score is not None and report.kept[0].score.cosine_min > 0.99999
    from shelfmatch.edge import Encoder

    flipped = np.ascontiguousarray(PHOTOS[:1, ::-1])
    wanted = computed(convolution(), flipped)[0]
    found = Encoder.load(tmp_path / "out" / report.kept[0].file).embed_pixels(PIXELS[0])
    assert found == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-4)


def test_a_network_that_sees_nothing_is_doubted() -> None:
    from shelfmatch.export.doubts import doubts
    from shelfmatch.export.preprocessing import Preprocessing

    prepared = Preprocessing(SIDE, SIDE, MEAN, STD)
    skus = [f"{number // 2}" for number in range(40)]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)
    constant = (1 + 1e-4 * rng.normal(size=(40, WIDTH))).astype(np.float32)
    varied = rng.normal(size=(40, WIDTH)).astype(np.float32)
    assert doubts(prepared, pixels, skus, varied, 0.9, 40) == []
    assert [text[:10] for text in doubts(prepared, pixels, skus, constant, 0.9, 40)] == ["all photos"]
    assert "chance alone of 2.6%" in doubts(prepared, pixels, skus, varied, 0.05, 40)[0]
