"""Weights in whole int8 steps: what layers give stays, both formats' adapters see the same, normalization that is only a scale."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch
from torch import nn

from shelfmatch.edge import Encoder
from shelfmatch.edge.encoders.registry import read_card
from shelfmatch.edge.encoders.runtimes import choose_runtime, open_session
from shelfmatch.export import ExportSettings, Overrides, SourceOptions, export_model, onnx_rounding, tflite_rounding
from shelfmatch.export.onnx_graph import named_nodes
from shelfmatch.export.onnx_recipes import OnnxBench, calibration_input
from shelfmatch.export.rounding import Layer
from shelfmatch.export.sources import open_source
from shelfmatch.export.tflite_graph import operator_name, pack, parse, real_values, schema
from shelfmatch.export.tflite_recipes import TfliteBench
from tests.conftest import tile_photo, write_tiles
from tests.support.tiny_networks import MEAN, SIDE, STD, TinyCnn

pytestmark = pytest.mark.xdist_group("export")

PYTORCH = SourceOptions(preprocessing=Overrides(size=(SIDE, SIDE), mean=MEAN, std=STD))


def convolution(seed: int = 0, **said: Any) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(**{"in_channels": 8, "out_channels": 8, "kernel_size": 3, "bias": False, **said})


def correlated(channels: int, side: int, count: int) -> np.ndarray[Any, Any]:
    """(count, side, side, channels) non-negative, every place and channel much like its neighbours, as after ReLU."""
    rng = np.random.default_rng(5)
    coarse = rng.normal(0.5, 1, (count, -(-side // 4), -(-side // 4), 1)).repeat(4, axis=1).repeat(4, axis=2)
    values = coarse[:, :side, :side] + 0.1 * rng.normal(size=(count, side, side, channels))
    found: np.ndarray[Any, Any] = np.maximum(values, 0).astype(np.float32)
    return found


@pytest.mark.parametrize(
    "said",
    [
        {"padding": 1},
        {"kernel_size": 1},
        {"groups": 8, "stride": 2, "padding": 1},
        {"groups": 2, "kernel_size": (3, 1), "stride": (2, 1), "padding": (1, 0)},
    ],
)
def test_a_layer_sees_what_the_convolution_computes_from(said: dict[str, Any]) -> None:
    net = convolution(**said)
    inputs = correlated(8, 9, 1)
    layer = layer_of(net)
    patches = layer._patches(inputs)
    wide = layer.weight.reshape(layer.groups, -1, patches.shape[1])
    found = (wide @ patches).reshape(8, -1)
    with torch.no_grad():
        expected = net(torch.from_numpy(inputs.transpose(0, 3, 1, 2)))[0].flatten(1).numpy()
    assert found == pytest.approx(expected, abs=1e-5)


def layer_of(net: nn.Conv2d) -> Layer:
    (top, left), weight = net.padding, net.weight.detach().numpy().transpose(0, 2, 3, 1)  # type: ignore[misc]
    return Layer(weight, net.groups, net.stride, ((top, top), (left, left)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("groups", "share"), [(1, 1 / 3), (8, 0.8)])
def test_rounded_weights_keep_what_the_layer_gives(groups: int, share: float) -> None:
    """On photos that it hasn't seen: a share of the error of rounding each weight to its nearest step.

    A depthwise convolution has only nine weights an output to make up with.
    """
    net = convolution(groups=groups, padding=1)
    layer = layer_of(net)
    weight = layer.weight
    for photo in correlated(8, 24, 16)[:8]:
        layer.see(photo[np.newaxis])
    rounded, correction, _ = layer.rounded()
    step = np.abs(weight).reshape(8, -1).max(axis=1).reshape(8, 1, 1, 1) / 127
    assert np.abs(rounded / step - np.round(rounded / step)).max() < 1e-3
    assert np.abs(rounded).reshape(8, -1).max(axis=1) == pytest.approx(127 * step.ravel())
    patches = layer._patches(correlated(8, 24, 16)[8:])

    def output(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = (value.reshape(groups, -1, patches.shape[1]) @ patches).reshape(8, -1)
        return found

    nearest = np.abs(output(np.round(weight / step) * step) - output(weight)).mean()
    kept = np.abs(output(rounded) + correction[:, np.newaxis] - output(weight)).mean()
    assert kept < share * nearest


def test_one_scale_for_all_channels() -> None:
    weight = np.random.default_rng(6).normal(size=(5, 1, 1, 12)).astype(np.float32) * np.float32(
        [[[[1]]], [[[3]]], [[[0.2]]], [[[1]]], [[[2]]]]
    )
    layer = Layer(weight, one_scale=True)
    layer.see(correlated(12, 8, 1)[0].reshape(-1, 12))
    steps = layer.rounded()[0] / (np.abs(weight).max() / 127)
    assert np.abs(steps - np.round(steps)).max() < 1e-3 and np.abs(steps).max() == pytest.approx(127)


def test_a_layer_without_weights_or_inputs_stays_finite() -> None:
    layer = Layer(np.zeros((2, 1, 1, 3), np.float32))
    layer.see(np.zeros((1, 4, 4, 3), np.float32))
    rounded, correction, _ = layer.rounded()
    assert not rounded.any() and not correction.any()


def test_a_layer_that_saw_infinity_is_left_as_it_is() -> None:
    weight = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 1, 1, 3)
    layer = Layer(weight)
    layer.see(np.array([[1.0, np.inf, 0.0]], np.float32))
    rounded, correction, _ = layer.rounded()
    assert np.array_equal(rounded, weight) and not correction.any()


def test_a_channel_of_nothing_but_bias_gets_a_scale_that_holds_it() -> None:
    """32 bits of steps hold the bias, and what the made-up weight gives is next to nothing: its mean goes off the bias."""
    weight = np.zeros((2, 1, 1, 3), np.float32)
    weight[1] = 1.0
    layer = Layer(weight, bias=np.array([-40.0, 3.0], np.float32))
    inputs = np.random.default_rng(3).uniform(0, 6, (1, 8, 8, 3)).astype(np.float32)
    layer.see(inputs)
    rounded, correction, _ = layer.rounded()
    scales = np.abs(rounded).reshape(2, -1).max(axis=1) / 127
    assert scales[1] == pytest.approx(1 / 127)
    assert (40.0 + abs(correction[0])) / (scales[0] * inputs.max() / 255) < 2**29
    given = inputs.reshape(-1, 3) @ rounded[0, 0, 0] + correction[0]
    assert abs(given.mean()) < 1e-6 and 0 < np.abs(given).max() < 40.0 * 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_a_dead_filter_keeps_its_bias(file_format: Any, tmp_path: Path) -> None:
    """As training leaves some: no weights, and a bias that the layers behind it rely on."""
    net = TinyCnn()
    with torch.no_grad():
        for channel in (3, 7):
            net.stem[0].weight[channel] = 0.0
            net.stem[1].bias[channel] = 3.3
            net.middle[0].weight[channel] = 2.0
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(16)), to=(file_format,), recipes=("int8-static",), gate_points=100,
        layers=False, source=PYTORCH,
    )  # fmt: skip
    report = export_model(net, tmp_path / "out", settings)
    assert report.kept[0].score is not None and report.kept[0].score.cosine_min > 0.999


@pytest.fixture(scope="module")
def cores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tiny CNN as float files that take pixels."""
    source = open_source(TinyCnn(), PYTORCH)
    made = {}
    for file_format in ("onnx", "tflite"):
        path = tmp_path_factory.mktemp("cores") / f"core.{file_format}"
        source.writer(file_format)(path, None)  # type: ignore[arg-type]
        made[file_format] = path.read_bytes()
    return {**made, "onnx": named_nodes(made["onnx"])}


def test_both_formats_are_rounded_alike(cores: dict[str, bytes]) -> None:
    photos = np.stack([np.asarray(tile_photo(n, 1).resize((SIDE, SIDE)), np.float32) for n in range(12)])
    nchw = np.ascontiguousarray(photos.transpose(0, 3, 1, 2))
    tflite = tflite_rounding.rounding(cores["tflite"], photos)
    onnx = onnx_rounding.rounding(cores["onnx"], nchw)
    assert len(tflite) == len(onnx) == 4
    compared = 0
    for (weight, correction, step), (other, other_correction, other_step) in zip(
        tflite.values(), onnx.values(), strict=True
    ):
        assert weight.shape == other.shape
        # Where .onnx has larger steps, for its pairs, numbers differ.
        same = np.isclose(step, other_step)
        compared += int(same.sum())
        if same.any():
            # Sums in another order may tip a weight that lies between two steps.
            assert np.mean(np.abs(weight - other)[same] > step[same].reshape(-1, 1, 1, 1) / 2) < 0.02
        assert correction == pytest.approx(other_correction, abs=0.02 * float(np.abs(weight).max()))
    assert compared >= 20


def test_neighbours_never_add_up_to_more_than_16_bits_hold() -> None:
    """Of weights, times the largest activation: x86 without VNNI saturates. The error stays near that without this."""
    rng = np.random.default_rng(8)
    weight = rng.normal(size=(12, 3, 3, 9)).astype(np.float32)
    weight[0, 0, 0, :2] = 4.0, 3.9
    weight[1, 0, 0, 2:4] = -4.0, -3.9
    layers = [Layer(weight, in_pairs=in_pairs) for in_pairs in (False, True)]
    for photo in correlated(9, 12, 8):
        for layer in layers:
            layer.see(photo[np.newaxis])
    free, paired = (layer.rounded() for layer in layers)
    numbers = np.rint(paired.weight.reshape(12, -1) / paired.step[:, np.newaxis])
    assert paired.weight.reshape(12, -1) == pytest.approx(numbers * paired.step[:, np.newaxis], abs=1e-5)
    assert np.abs(numbers).max() <= 127
    assert most_of_a_pair(numbers) <= 32767 // 255
    free_numbers = np.rint(free.weight.reshape(12, -1) / free.step[:, np.newaxis])
    assert most_of_a_pair(free_numbers) > 32767 // 255
    assert np.median(paired.step / free.step) < 1.6, "half of all steps"


def most_of_a_pair(numbers: np.ndarray[Any, Any]) -> int:
    """Of (outputs, inputs): the largest sum of what has one sign in the first two inputs, the next two, and so on."""
    even = np.pad(numbers.astype(int), ((0, 0), (0, numbers.shape[1] % 2))).reshape(len(numbers), -1, 2)
    return int(max(np.maximum(even, 0).sum(axis=2).max(), np.maximum(-even, 0).sum(axis=2).max()))


def test_a_bias_that_layers_share_is_corrected_for_each(cores: dict[str, bytes]) -> None:
    """Keras' converter writes one bias of zeros for several layers; the correction of one must not reach the others."""
    parsed = parse(cores["tflite"])
    graph = parsed.subgraphs[0]
    weighted = [op for op in graph.operators if operator_name(parsed, op) in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    first, second = (op for op in weighted if list(graph.tensors[int(op.inputs[2])].shape) == [16])
    second.inputs = np.array([*second.inputs[:2], first.inputs[2]], np.int32)
    shared = real_values(parsed, graph.tensors[int(first.inputs[2])])
    photos = np.stack([np.asarray(tile_photo(n, 1).resize((SIDE, SIDE)), np.float32) for n in range(4)])
    found = tflite_rounding.rounding(pack(parsed), photos)
    changed = parse(tflite_rounding.with_rounding(pack(parsed), found))
    graph = changed.subgraphs[0]
    for operator in graph.operators:
        name = graph.tensors[int(operator.outputs[0])].name.decode()
        if name in found and len(found[name][1]) == 16:
            bias = real_values(changed, graph.tensors[int(operator.inputs[2])])
            assert bias == pytest.approx(shared + found[name][1], rel=1e-5)
            assert np.abs(found[name][1]).max() > 1e-4


@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_files_hold_the_steps_that_were_chosen(file_format: str, cores: dict[str, bytes]) -> None:
    """What the quantizer writes is what rounding chose, to the last step: no weight is rounded twice."""
    pixels = np.stack([np.asarray(tile_photo(n, 1).resize((SIDE, SIDE))) for n in range(12)])
    if file_format == "tflite":
        photos = calibration_input(pixels, "NHWC")
        chosen = tflite_rounding.rounding(cores["tflite"], photos)
        found = tflite_weights(TfliteBench(cores["tflite"], photos).static())
    else:
        photos = calibration_input(pixels, "NCHW")
        chosen = onnx_rounding.rounding(cores["onnx"], photos)
        with contextlib.closing(OnnxBench(cores["onnx"], lambda layout: photos)) as bench:
            found = onnx_weights(bench.static())
    moved = 0
    # The first layer, normalization, has one weight a channel.
    for (weight, _, steps), whole, exact in zip(list(chosen.values())[1:], found[-3:], floats(), strict=True):
        step = steps.reshape(-1, 1, 1, 1)
        assert np.array_equal(whole, np.round(weight / step))
        moved += int((whole != np.round(exact / step)).sum())
        if file_format == "onnx" and whole.shape[3] > 1:
            assert most_of_a_pair(whole.reshape(len(whole), -1)) <= 128
    assert moved > 50, "every weight is at its nearest step"


@pytest.mark.parametrize("kept", [(), ("stem.1/conv1",)])
def test_onnx_runtime_computes_what_the_file_says(kept: tuple[str, ...], cores: dict[str, bytes]) -> None:
    """As it does without its optimizations: no sum saturates, and a layer that is kept in float stays one."""
    import onnxruntime

    pixels = np.stack([np.asarray(tile_photo(n, 1).resize((SIDE, SIDE))) for n in range(12)])
    photos = calibration_input(pixels, "NCHW")
    with contextlib.closing(OnnxBench(cores["onnx"], lambda layout: photos)) as bench:
        assert set(kept) <= set(bench.layers)
        model = bench.static(keep_float=kept)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exact = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session = open_session(choose_runtime("onnx"), model, threads=1)
    bright = np.where(photos > 100, 255, 0).astype(np.uint8)
    for photo in bright:
        (expected,) = exact.run(None, {session.inputs[0].name: photo[np.newaxis]})
        found = session.run(photo[np.newaxis], session.outputs[0].name)
        assert found == pytest.approx(expected, abs=0.01 * float(np.abs(expected).max()))


def floats() -> list[np.ndarray[Any, Any]]:
    """The tiny CNN's convolutions with batch norm folded, (outputs, height, width, inputs)."""
    net = TinyCnn()
    stem = nn.utils.fusion.fuse_conv_bn_eval(net.stem[0], net.stem[1])
    return [layer.weight.detach().numpy().transpose(0, 2, 3, 1) for layer in (stem, net.middle[0], net.middle[2])]


def tflite_weights(data: bytes) -> list[np.ndarray[Any, Any]]:
    model = parse(data)
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        name = operator_name(model, operator)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            tensor = graph.tensors[int(operator.inputs[1])]
            assert tensor.type == schema().TensorType.INT8
            weight = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(tensor.shape)
            found.append(weight.transpose(3, 1, 2, 0) if name == "DEPTHWISE_CONV_2D" else weight)
    return found


def onnx_weights(data: bytes) -> list[np.ndarray[Any, Any]]:
    import onnx

    graph = onnx.load_model_from_string(data).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    return [
        constants[made[node.input[1]].input[0]].transpose(0, 2, 3, 1) for node in graph.node if node.op_type == "Conv"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_a_last_product_gives_its_floats(file_format: Any, tmp_path: Path) -> None:
    """Not rounded to 8 bits once more. In .tflite its weights have one scale: older runtimes compute no other product of a kind."""
    import onnx

    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(16)), to=(file_format,), recipes=("int8-static",), dimension=8,
        layers=False, source=PYTORCH,
    )  # fmt: skip
    (kept,) = export_model(TinyCnn(), tmp_path / "out", settings).kept
    data = (tmp_path / "out" / kept.file).read_bytes()
    if file_format == "onnx":
        graph = onnx.load_model_from_string(data).graph
        (last,) = (node for node in graph.node if graph.output[0].name in node.output)
        assert last.op_type == "Gemm"
    else:
        model = parse(data)
        tensors = model.subgraphs[0].tensors
        (last,) = (op for op in model.subgraphs[0].operators if int(model.subgraphs[0].outputs[0]) in op.outputs)
        weight = tensors[int(last.inputs[1])]
        assert operator_name(model, last) == "FULLY_CONNECTED" and weight.type == schema().TensorType.INT8
        assert len(weight.quantization.scale) == 1
        assert tensors[int(last.outputs[0])].type == schema().TensorType.FLOAT32
    assert read_card(tmp_path / "out" / f"{kept.file}.json")[0].output_dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "std", "folds"), [((127.5,) * 3, (127.5,) * 3, True), (MEAN, STD, False)])
def test_normalization_of_all_colours_alike_costs_nothing(
    mean: tuple[float, ...], std: tuple[float, ...], folds: bool, tmp_path: Path
) -> None:
    shop = write_tiles(tmp_path / "photos", range(16))
    overrides = Overrides(size=(SIDE, SIDE), mean=mean, std=std)
    settings = ExportSettings(
        shop, to=("tflite",), recipes=("int8-static",), source=SourceOptions(preprocessing=overrides)
    )
    report = export_model(TinyCnn(), tmp_path / "out", settings)
    model = parse((tmp_path / "out" / report.kept[0].file).read_bytes())
    names = [operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert names[0] == "QUANTIZE" and (names[1] == "DEPTHWISE_CONV_2D") != folds
    card, path = read_card(tmp_path / "out" / f"{report.kept[0].file}.json")
    encoder = Encoder(replace(card), path.read_bytes(), resizer="pillow")
    pixels = np.asarray(tile_photo(3, 9).resize((SIDE, SIDE)))
    value = (torch.from_numpy(pixels.astype(np.float32)) - torch.tensor(mean)) / torch.tensor(std)
    with torch.no_grad():
        expected = TinyCnn()(value.permute(2, 0, 1)[None]).numpy()[0]
    assert float(encoder.embed(pixels)[0] @ expected / np.linalg.norm(expected)) > 0.995
