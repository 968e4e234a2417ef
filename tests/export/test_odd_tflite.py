"""TFLite files as other tools leave them: with metadata, with weights of 16 bits, cut."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch

from shelfmatch.edge import CardRequired, Encoder, EncoderError
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.export import ExportSettings, Overrides, SourceOptions, cut, cut_if_inner, export_model, tflite_graph
from shelfmatch.export.sources import open_source
from shelfmatch.export.tflite_recipes import TfliteBench
from shelfmatch.export.tools import need, quiet
from tests.conftest import tile_photo, write_tiles
from tests.support import tiny_models
from tests.support.tiny_networks import MEAN, SIDE, STD, TinyCnn, write_tflite

pytestmark = pytest.mark.xdist_group("export")

PIXELS = np.stack([np.asarray(tile_photo(number, 2, side=SIDE)) for number in range(3)])
SAID = SourceOptions(preprocessing=Overrides(mean=MEAN, std=STD))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A float file of 1000 classes that says nothing of its photos."""
    folder = tmp_path_factory.mktemp("odd-tflite")
    return write_tflite(TinyCnn(classes=1000), folder / "net.tflite").read_bytes()


def expected() -> np.ndarray:  # type: ignore[type-arg]
    values = ((PIXELS - np.float32(MEAN)) / np.float32(STD)).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return np.asarray(TinyCnn()(torch.from_numpy(values)).numpy())


def test_metadata_of_a_classifier_say_how_photos_are_normalized(classifier: bytes, tmp_path: Path) -> None:
    """They were looked for through the card, which a classifier has none of; and a cut file keeps them."""
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny_models.with_metadata(classifier, tiny_models.normalization_metadata(list(MEAN), list(STD))))
    source = open_source(str(path), SourceOptions())
    assert source.preprocessing.mean == MEAN and source.preprocessing.read_from == "the file's metadata"
    assert source.embed(PIXELS) == pytest.approx(expected(), abs=1e-4)
    with pytest.raises(EncoderError, match=r"looks like a classifier .*--output (\d+), or confirm") as refusal:
        inspect_encoder(path)
    feature = str(refusal.value).partition("--output ")[2].partition(",")[0]
    encoder = Encoder.load(cut(path, feature, tmp_path / "cut.tflite"))
    wanted = expected()[0]
    assert encoder.embed_pixels(PIXELS[0]) == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-5)


def test_advice_points_to_no_folder_that_is_gone(classifier: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(classifier)
    feature = open_source(str(path), SAID)
    assert feature.dimension == 24
    number = str(tflite_graph.last_product_input(classifier)[0])  # type: ignore[index]
    match = r"shelfmatch export .*net\.tflite --output"
    with pytest.raises(CardRequired, match=match) as refusal, cut_if_inner(path, number) as (file, _):
        Encoder.load(file)
    assert "shelfmatch-cut-" not in str(refusal.value)


def test_weights_of_16_bits_become_32(tmp_path: Path) -> None:
    core = tmp_path / "core.tflite"
    write_tflite(TinyCnn(), core)
    model = tflite_graph.with_signature(core.read_bytes())
    with contextlib.closing(TfliteBench(model, PIXELS.astype(np.float32), takes_normalized=True)) as bench:
        half = bench.fp16()
    assert len(half) < len(tflite_graph.in_float32(half))
    (tmp_path / "half.tflite").write_bytes(half)
    source = open_source(str(tmp_path / "half.tflite"), SAID)
    assert source.embed(PIXELS) == pytest.approx(expected(), abs=1e-2)
    source.writer("tflite")(tmp_path / "written.tflite", None)
    operators = tflite_graph.parse((tmp_path / "written.tflite").read_bytes())
    assert "DEQUANTIZE" not in [tflite_graph.operator_name(operators, one) for one in operators.subgraphs[0].operators]


@pytest.mark.parametrize("preprocessing", [Overrides(mean=MEAN, std=STD), Overrides(normalize=False)])
def test_colours_first_as_pytorch_has_them(preprocessing: Overrides, tmp_path: Path) -> None:
    """Calibration photos came with their colours last, and int8 couldn't be made."""
    with quiet("writing a tiny .tflite file"):
        litert_torch = need("litert_torch", "a test")
        litert_torch.convert(TinyCnn(), (torch.zeros(1, 3, SIDE, SIDE),)).export(str(tmp_path / "net.tflite"))
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(8)), to=("tflite",), recipes=("int8-static",), gate_points=10, layers=False,
        source=SourceOptions(preprocessing=preprocessing),
    )  # fmt: skip
    (kept,) = export_model(str(tmp_path / "net.tflite"), tmp_path / "out", settings).kept
    assert kept.score is not None and kept.score.cosine_min > 0.98
    assert Encoder.load(tmp_path / "out" / kept.file).card.layout == "NCHW"


class Scaling(TinyCnn):
    """Begins with a layer that looks like a normalization of all colours alike: three times the value, less one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 3, 1, groups=3)
        with torch.no_grad():
            self.first.weight.fill_(3.0)
            self.first.bias.fill_(-1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.first(x))


def test_a_first_layer_of_the_networks_own_stays(tmp_path: Path) -> None:
    """It came off, and what it does to normalized floats with it."""
    write_tflite(Scaling(), tmp_path / "net.tflite")
    settings = ExportSettings(
        write_tiles(tmp_path / "photos", range(8)), to=("tflite",), recipes=("int8-static",), gate_points=100, layers=False,
        source=SourceOptions(preprocessing=Overrides(mean=(127.5,) * 3, std=(127.5,) * 3)),
    )  # fmt: skip
    (kept,) = export_model(str(tmp_path / "net.tflite"), tmp_path / "out", settings).kept
    assert kept.score is not None and kept.score.cosine_min > 0.99


class Attending(torch.nn.Module):
    """A convolution, and attention among its places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, stride=4)
        self.last = torch.nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = self.first(x).flatten(2)
        shares = (places.transpose(1, 2) @ places / 4).softmax(dim=-1)
        return self.last((shares @ places.transpose(1, 2)).mean(dim=1))


def test_a_softmax_of_attention_stays_in_float(tmp_path: Path) -> None:
    """In int8 ARM's kernels and x86's rounded it differently: shelfmatch-vit's embeddings had a cosine of .9997 between the two,
    and now of 1."""
    torch.manual_seed(0)
    core = write_tflite(Attending().eval(), tmp_path / "net.tflite").read_bytes()
    with contextlib.closing(TfliteBench(core, PIXELS.astype(np.float32), takes_normalized=True)) as bench:
        made = tflite_graph.parse(bench.static())
    graph, kinds = made.subgraphs[0], {}
    for op in graph.operators:
        kinds[tflite_graph.operator_name(made, op)] = graph.tensors[int(op.inputs[0])].type
    floats, whole = tflite_graph.schema().TensorType.FLOAT32, tflite_graph.schema().TensorType.INT8
    assert kinds["SOFTMAX"] == floats and kinds["BATCH_MATMUL"] == whole and kinds["CONV_2D"] == whole
