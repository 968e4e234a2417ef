"""Exports of tiny networks: what is written, what is measured, and what is refused.

One module of over 400 lines: its exports take longer than all tests of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch

from shelfmatch.edge import Encoder
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.resize import fit
from shelfmatch.export import (
    ExportReport,
    ExportSettings,
    GateNotMet,
    Overrides,
    SourceOptions,
    export_model,
    tflite_graph,
)
from shelfmatch.export.encoders import fit_projection
from shelfmatch.export.errors import ExportError, PhotosError
from shelfmatch.export.sources import open_source
from tests.conftest import tile_photo, write_tiles
from tests.support.tiny_networks import MEAN, SIDE, STD, WIDTH, Fragile, TinyCnn, write_onnx, write_tflite

pytestmark = pytest.mark.xdist_group("export")

OVERRIDES = Overrides(size=(SIDE, SIDE), mean=MEAN, std=STD)
PYTORCH = SourceOptions(preprocessing=OVERRIDES)
FILES = {"report.html", "report.json"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 products with 3 photos each."""
    return write_tiles(tmp_path_factory.mktemp("export") / "photos", range(16))


@pytest.fixture(scope="module")
def exported(shop: Path) -> tuple[ExportReport, Path]:
    """The tiny CNN in both formats, by `auto` and in float."""
    settings = ExportSettings(shop, recipes=("auto", "fp32"), source=PYTORCH)
    report = export_model(TinyCnn(), shop.parent / "out", settings)
    return report, shop.parent / "out"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def reference(net: Any, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What PyTorch says of uint8 pixels, written down once more: normalized, NCHW, unit norm."""
    value = (torch.from_numpy(pixels.astype(np.float32)) - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        vectors = net(value.permute(0, 3, 1, 2)).numpy()
    unit: np.ndarray[Any, Any] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def test_files_cards_and_recipes(exported: tuple[ExportReport, Path]) -> None:
    report, out = exported
    made = {f"tinycnn-{recipe}.{end}" for recipe in ("int8-static", "fp32") for end in ("onnx", "tflite")}
    assert {attempt.file for attempt in report.kept} == made
    assert names(out) == FILES | {name + end for name in made for end in ("", ".json", ".recipe.json")}
    for attempt in report.kept:
        card = json.loads((out / f"{attempt.file}.json").read_text())
        assert (card["input_dtype"], card["mean"], card["std"]) == ("uint8", "in the graph", "in the graph")
        assert card["layout"] == ("NHWC" if attempt.format == "tflite" else "NCHW") and card["dimension"] == WIDTH
        recipe = json.loads((out / f"{attempt.file}.recipe.json").read_text())
        assert recipe["recipe"] == attempt.recipe and recipe["sha256"] == card["sha256"] == attempt.sha256
        assert recipe["versions"]["torch"] == torch.__version__ and recipe["calibration"]["used"] == 48


def test_the_runtime_loads_them_and_finds_the_same(exported: tuple[ExportReport, Path], tmp_path: Path) -> None:
    report, out = exported
    tile_photo(3, 9).save(tmp_path / "photo.png")
    for attempt in report.kept:
        encoder = Encoder.load(out / attempt.file, resizer="pillow")
        pixels = fit(decode(tmp_path / "photo.png"), encoder.card)
        expected = reference(TinyCnn(), pixels[np.newaxis])[0]
        if attempt.recipe == "fp32":
            assert np.abs(encoder.embed(tmp_path / "photo.png")[0] - expected).max() < 1e-5
        else:
            assert 0.99 < float(encoder.embed(tmp_path / "photo.png")[0] @ expected) < 1.0
        assert attempt.score is not None and attempt.score.recall_loss_points <= 0.5
        assert attempt.size_bytes == (out / attempt.file).stat().st_size


_OLD_RUNTIME = """
import json, sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
from shelfmatch.edge import Encoder, EncoderError

interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(sys.argv[2]))
interpreter.invoke()
vector = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel().tolist()
try:
    Encoder.load(sys.argv[1], runtime="tflite-runtime").warm_up()
    refused = ""
except EncoderError as error:
    refused = str(error)
print(json.dumps([vector, refused]))
"""


@pytest.mark.slow
def test_tflite_runtime_refuses_what_it_computes_wrong(
    shop: Path, fetched: Callable[..., Path], tmp_path: Path
) -> None:
    """Should it ever compute this right, the first assertion fails and the refusal can go."""
    folders = [fetched("tflite-runtime==2.14.0"), fetched("numpy==1.26.4")]
    torch.manual_seed(5)
    uneven = torch.nn.Linear(TinyCnn()(torch.zeros(1, 3, SIDE, SIDE)).shape[1], 16)
    uneven.weight.data *= torch.logspace(-1, 1, 16)[:, None]
    net = torch.nn.Sequential(TinyCnn(), uneven).eval()
    settings = ExportSettings(shop, to=("tflite",), recipes=("int8-dynamic",), name="net", layers=False, source=PYTORCH)
    export_model(net, tmp_path / "out", settings)
    file, photo = tmp_path / "out" / "net-int8-dynamic.tflite", tmp_path / "photo.npy"
    pixels = fit(decode(next(shop.rglob("*.png"))), Encoder.load(file).card)[np.newaxis]
    np.save(photo, pixels)
    done = subprocess.run(
        [sys.executable, "-c", _OLD_RUNTIME, str(file), str(photo)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
    )  # fmt: skip
    vector, refused = json.loads(done.stdout.splitlines()[-1])
    right = Encoder.load(file).embed_pixels(pixels[0])
    assert float(np.array(vector) @ right) / np.linalg.norm(vector) < 0.99
    assert "tflite-runtime computes this encoder wrong" in refused and "--recipe int8-static or fp16" in refused


def test_the_report(exported: tuple[ExportReport, Path]) -> None:
    report, out = exported
    record = json.loads((out / "report.json").read_text())
    assert record["files"] == [attempt.file for attempt in report.kept]
    assert record["gate"]["queries"] == 48 and record["gate"]["source_recall_at_1"] > 0.9
    assert [(a["format"], a["recipe"], a["verdict"]) for a in record["attempts"]] == [
        (name, *rest) for name in ("onnx", "tflite") for rest in (("int8-static", "kept"), ("fp32", "kept"))
    ]
    for attempt in record["attempts"]:
        assert attempt["latency_ms"] > 0 and 0.99 < attempt["cosine_min"] <= attempt["cosine_mean"] <= 1 + 1e-9
    assert record["source"]["preprocessing"]["mean"] == list(MEAN)
    assert {name for name, losses in record["layer_losses"].items() if losses} == {"onnx", "tflite"}
    assert any("middle" in layer for layer in record["layer_losses"]["onnx"])
    page = (out / "report.html").read_text()
    assert "tinycnn-int8-static.onnx" in page and page.count("<svg") == 3
    assert not re.search(r"(src|href)=|<script|https?://", page)
    assert str(out) not in page and str(out) not in (out / "report.json").read_text()


def test_no_file_tells_of_the_machine(exported: tuple[ExportReport, Path]) -> None:
    report, out = exported
    for attempt in report.kept:
        data = (out / attempt.file).read_bytes()
        for trace in (b"site-packages", str(Path.home()).encode() + b"/", str(Path(__file__).parent).encode(), b".py"):
            assert trace not in data, f"{attempt.file} holds {trace!r}"


AGAIN = """
import sys
from pathlib import Path
from shelfmatch.export import ExportSettings, export_model
from tests.export.test_pipeline import PYTORCH
from tests.support.tiny_networks import TinyCnn
settings = ExportSettings(sys.argv[1], recipes=("auto", "fp32"), layers=False, source=PYTORCH)
export_model(TinyCnn(), sys.argv[2], settings)
"""


@pytest.mark.slow
def test_the_same_bytes_again(exported: tuple[ExportReport, Path], shop: Path, tmp_path: Path) -> None:
    """In a process of its own, whose sets have another order."""
    _, out = exported
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(shop), str(tmp_path / "again")], cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "again") == names(out)
    for name in sorted(names(out) - FILES):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


def test_onnx_takes_batches(shop: Path, tmp_path: Path) -> None:
    import onnxruntime

    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32", "fp16", "int8-static"), layers=False, source=PYTORCH)
    report = export_model(TinyCnn(), tmp_path / "out", settings)
    sizes = [attempt.size_bytes for attempt in report.kept]
    assert [attempt.recipe for attempt in report.kept] == ["fp32", "fp16", "int8-static"] and sizes[1] < sizes[0]
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, SIDE, SIDE), np.uint8)
    for attempt in report.kept:
        session = onnxruntime.InferenceSession(tmp_path / "out" / attempt.file, providers=["CPUExecutionProvider"])
        (together,) = session.run(None, {"pixels": pixels})
        (alone,) = session.run(None, {"pixels": pixels[2:3]})
        assert together.shape == (5, WIDTH) and np.allclose(together[2], alone[0], atol=1e-5)


def fragile_settings(shop: Path, **changes: Any) -> ExportSettings:
    return ExportSettings(shop, to=("onnx",), source=PYTORCH, **changes)


def test_the_gate_refuses_and_says_what_passes(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(GateNotMet, match=r"onnx int8-static is refused: .*; --recipe mixed passes") as refusal:
        export_model(Fragile(), tmp_path / "out", fragile_settings(shop, recipes=("int8-static",)))
    assert "\n" not in str(refusal.value) and names(tmp_path) == set()


def test_mixed_keeps_the_layer_that_hurts(shop: Path, tmp_path: Path) -> None:
    report = export_model(Fragile(), tmp_path / "out", fragile_settings(shop))
    assert [(a.recipe, a.verdict) for a in report.attempts] == [
        ("fp32", "reference"), ("int8-static", "refused"), ("mixed", "kept"),
    ]  # fmt: skip
    (kept,) = report.kept
    assert kept.base == "int8-static" and any("spread" in layer for layer in kept.kept_in_float)
    losses = report.layer_losses["onnx"]
    assert {name for name, loss in losses.items() if loss > 0.1} == {"spread/conv1", "gather/conv1"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "refused: " in page and "2 layers in float" in page


def test_a_gate_of_zero_lets_nothing_through_that_loses(shop: Path, tmp_path: Path) -> None:
    strict = fragile_settings(shop, recipes=("int8-static",), gate_points=0.0)
    with pytest.raises(GateNotMet):
        export_model(Fragile(), tmp_path / "out", strict)
    lenient = fragile_settings(shop, recipes=("int8-static",), gate_points=100.0)
    with pytest.raises(GateNotMet, match="nearest photos are the source's"):  # recall aside, it is another encoder
        export_model(Fragile(), tmp_path / "out", lenient)


LAST_WEEKS = '{"gate": {}, "attempts": []}'
"""A report of an export before, the least that it is told by."""


def test_a_refusal_leaves_what_was_there(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text(LAST_WEEKS)
    with pytest.raises(GateNotMet):
        export_model(Fragile(), tmp_path / "out", fragile_settings(shop, recipes=("int8-static",)))
    assert names(tmp_path) == {"out"} and (tmp_path / "out" / "report.json").read_text() == LAST_WEEKS
    assert names(tmp_path / "out") == {"report.json"}


def queries(path: Path, photos: Iterable[tuple[int, int]]) -> Path:
    """A CSV of photos (product, number), and of one that has no SKU."""
    rows = ["image,sku"]
    for product, number in (*photos, (99, 0)):
        tile_photo(product, number).save(path.parent / f"{product}-{number}.png")
        rows.append(f"{product}-{number}.png,{f'sku-{product:03d}' if product != 99 else ''}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_gate_queries(shop: Path, tmp_path: Path) -> None:
    """Those that are calibration photos find themselves, and count for nothing."""
    asked = [(product, 60) for product in range(16)] + [(product, 0) for product in range(4)] + [(40, 60)]
    settings = ExportSettings(
        shop, to=("onnx",), gate_queries=queries(tmp_path / "queries.csv", asked), recipes=("fp32",), source=PYTORCH
    )
    report = export_model(TinyCnn(), tmp_path / "out", settings)
    assert report.gate["queries"] == 16 and report.gate["source_recall_at_1"] == 1.0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([(n, 60) for n in range(15)], "has 15 photos of products of the calibration photos; the gate needs at least 16"),
        ([(n, 1) for n in range(16)], "has 0 photos of products .*, beside 16 that are calibration photos themselves"),
        ([(0, 60), *((n, 60) for n in range(40, 60))], "has 1 photos of products"),
    ],
)  # fmt: skip
def test_gate_queries_that_measure_nothing(shop: Path, tmp_path: Path, asked: list[tuple[int, int]], said: str) -> None:
    settings = ExportSettings(
        shop, to=("onnx",), gate_queries=queries(tmp_path / "queries.csv", asked), recipes=("fp32",), source=PYTORCH
    )
    with pytest.raises(PhotosError, match=said):
        export_model(TinyCnn(), tmp_path / "out", settings)


def test_projection(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(
        shop, to=("tflite",), recipes=("fp32",), dimension=12, gate_points=5.0, layers=False, source=PYTORCH
    )
    (kept,) = export_model(TinyCnn(), tmp_path / "out", settings).kept
    encoder = Encoder.load(tmp_path / "out" / kept.file, resizer="pillow")
    source = open_source(TinyCnn(), PYTORCH)
    photos = [np.asarray(tile_photo(n // 3, n % 3).resize((SIDE, SIDE), 2)) for n in range(48)]
    projection = fit_projection(source.embed(np.stack(photos)), 12)
    expected = projection.apply(source.embed(photos[5][np.newaxis]))[0]
    assert encoder.card.dimension == 12
    assert float(encoder.embed_pixels(photos[5]) @ expected / np.linalg.norm(expected)) > 0.99999


def test_the_projection_is_the_pca() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(60, 5)) @ np.diag([9, 5, 3, 0.1, 0.1]) + 4).astype(np.float32)
    projection = fit_projection(vectors, 3)
    projected = projection.apply(vectors)
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(centred.T))
    expected = centred @ directions[:, ::-1][:, :3]
    assert np.allclose(np.abs(projected), np.abs(expected), atol=1e-3)
    assert np.allclose(projected.var(axis=0, ddof=1), values[::-1][:3], rtol=1e-3)
    assert (fit_projection(vectors.copy(), 3).weight == projection.weight).all()
    for wrong in (0, 6, 60):
        with pytest.raises(ExportError, match="carry 1 to 5"):
            fit_projection(vectors, wrong)


def test_a_ready_onnx_file(shop: Path, tmp_path: Path) -> None:
    """Of a classifier, normalized outside: the classifier comes off, the normalization goes in."""
    write_onnx(TinyCnn(classes=1000), tmp_path / "net.onnx", dynamic="batch")
    options = SourceOptions(preprocessing=Overrides(mean=MEAN, std=STD))
    report = export_model(
        str(tmp_path / "net.onnx"), tmp_path / "out", ExportSettings(shop, to=("onnx",), source=options)
    )
    (kept,) = report.kept
    encoder = Encoder.load(tmp_path / "out" / kept.file, resizer="pillow")
    assert kept.recipe == "int8-static" and encoder.card.dimension == WIDTH and encoder.card.input_dtype == "uint8"
    pixels = np.asarray(tile_photo(2, 2, side=SIDE))
    net = TinyCnn(classes=1000)
    net.head = torch.nn.Identity()
    assert float(encoder.embed_pixels(pixels) @ reference(net, pixels[np.newaxis])[0]) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
def test_an_fp32_file_of_an_export_is_exported_again(file_format: Any, shop: Path, tmp_path: Path) -> None:
    """As the embedded encoders' sources lie beside them: uint8 pixels, normalization inside. The int8 file is the same."""
    settings = {"to": (file_format,), "name": "net", "gate_points": 100}
    made = ExportSettings(
        shop, recipes=("fp32", "int8-static"), source=SourceOptions(preprocessing=OVERRIDES), **settings
    )
    export_model(TinyCnn(), tmp_path / "first", made)
    source, made_file = (tmp_path / "first" / f"net-{recipe}.{file_format}" for recipe in ("fp32", "int8-static"))
    pixels = np.asarray(tile_photo(2, 2, side=SIDE))
    expected = Encoder.load(made_file, resizer="pillow").embed_pixels(pixels)
    for beside in (True, False):  # its card says how photos are cut; without one, squares are all the same
        if not beside:
            Path(f"{source}.json").unlink()
        target = tmp_path / f"again-{beside}"
        (kept,) = export_model(str(source), target, ExportSettings(shop, recipes=("int8-static",), **settings)).kept
        again = Encoder.load(target / kept.file, resizer="pillow").embed_pixels(pixels)
        assert kept.recipe == "int8-static" and float(again @ expected) > 0.9999


@pytest.mark.slow
def test_a_layer_that_is_to_stay_in_float(shop: Path, tmp_path: Path) -> None:
    """What the report names is left in float; in the other format, where it has another name, nothing is."""
    settings = ExportSettings(shop, recipes=("int8-static",), source=PYTORCH, name="net", gate_points=100)
    whole = {a.format: a for a in export_model(TinyCnn(), tmp_path / "whole", settings).kept}
    layer = next(
        name
        for name in json.loads((tmp_path / "whole" / "report.json").read_text())["layer_losses"]["tflite"]
        if "middle.2" in name
    )
    again = {
        a.format: a for a in export_model(TinyCnn(), tmp_path / "again", replace(settings, keep_float=(layer,))).kept
    }
    assert again["tflite"].kept_in_float == (layer,) and again["onnx"].kept_in_float == ()
    assert again["tflite"].size_bytes > whole["tflite"].size_bytes and again["onnx"].sha256 == whole["onnx"].sha256
    recipe = json.loads((tmp_path / "again" / f"{again['tflite'].file}.recipe.json").read_text())
    assert recipe["kept_in_float"] == [layer]


def test_a_ready_float_tflite_file(shop: Path, tmp_path: Path) -> None:
    """It can't be given its normalization: the card keeps it, and int8 input is quantized from normalized values."""
    write_tflite(TinyCnn(), tmp_path / "net.tflite")
    options = SourceOptions(preprocessing=Overrides(mean=MEAN, std=STD))
    report = export_model(
        str(tmp_path / "net.tflite"), tmp_path / "out", ExportSettings(shop, to=("tflite",), source=options)
    )
    (kept,) = report.kept
    encoder = Encoder.load(tmp_path / "out" / kept.file, resizer="pillow")
    assert kept.recipe == "int8-static" and encoder.card.mean == MEAN and encoder.card.input_dtype == "int8"
    pixels = np.asarray(tile_photo(2, 2, side=SIDE))
    assert float(encoder.embed_pixels(pixels) @ reference(TinyCnn(), pixels[np.newaxis])[0]) > 0.99
    with pytest.raises(ExportError, match=r"can't become \.onnx: no well-kept converter"):
        export_model(str(tmp_path / "net.tflite"), tmp_path / "both", ExportSettings(shop, source=options))


@pytest.mark.slow
@pytest.mark.parametrize("names", [[b""], [b"layer"], [b"layer", b"other", b""]])
def test_tensors_without_names_of_their_own(names: list[bytes], shop: Path, tmp_path: Path) -> None:
    """A file needn't name its tensors, nor each differently; the quantizer and the rounding tell layers apart by names."""
    settings = ExportSettings(shop, to=("tflite",), source=SourceOptions(preprocessing=Overrides(mean=MEAN, std=STD)))
    write_tflite(TinyCnn(), tmp_path / "net.tflite")
    export_model(str(tmp_path / "net.tflite"), tmp_path / "named", settings)
    parsed = tflite_graph.parse((tmp_path / "net.tflite").read_bytes())
    for number, tensor in enumerate(parsed.subgraphs[0].tensors):
        tensor.name = names[number % len(names)]
    (tmp_path / "net.tflite").write_bytes(tflite_graph.pack(parsed))
    (kept,) = export_model(str(tmp_path / "net.tflite"), tmp_path / "out", settings).kept
    assert kept.recipe == "int8-static"
    pixels = np.asarray(tile_photo(2, 2, side=SIDE))
    one, other = (
        Encoder.load(tmp_path / folder / kept.file, resizer="pillow").embed_pixels(pixels)
        for folder in ("named", "out")
    )
    assert np.array_equal(one, other)


def test_a_quantized_tflite_file_gets_its_card(shop: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    report = export_model(str(tiny_tflite), tmp_path / "out", ExportSettings(shop, to=("tflite",)))
    (kept,) = report.kept
    assert kept.recipe == "as-it-is" and (tmp_path / "out" / kept.file).read_bytes() == tiny_tflite.read_bytes()
    assert Encoder.load(tmp_path / "out" / kept.file).card.dimension == 48


def test_checkpoints(tmp_path: Path) -> None:
    import safetensors.torch

    wanted = TinyCnn(seed=5, classes=10)
    torch.save({"state_dict": {f"module.{k}": v for k, v in wanted.state_dict().items()}}, tmp_path / "a.pth")
    safetensors.torch.save_file(wanted.state_dict(), tmp_path / "a.safetensors")
    pixels = np.asarray(tile_photo(1, 1, side=SIDE))[np.newaxis]
    expected = open_source(TinyCnn(seed=5), PYTORCH).embed(pixels)
    assert not np.allclose(open_source(TinyCnn(), PYTORCH).embed(pixels), expected, atol=1e-3)
    for name in ("a.pth", "a.safetensors"):
        options = SourceOptions(checkpoint=tmp_path / name, preprocessing=OVERRIDES)
        assert np.allclose(open_source(TinyCnn(), options).embed(pixels), expected, atol=1e-6)


def test_an_inner_module_as_embedding() -> None:
    options = SourceOptions(output="stem", pool="gem", preprocessing=OVERRIDES)
    pixels = np.asarray(tile_photo(1, 1, side=SIDE))[np.newaxis]
    net = TinyCnn(classes=1000)
    found = open_source(net, options).embed(pixels)
    value = (torch.from_numpy(pixels.astype(np.float32)) - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        feature = TinyCnn(classes=1000).stem(value.permute(0, 3, 1, 2)).clamp(min=1e-6).numpy()
    assert np.allclose(found, (feature.astype(np.float64) ** 3).mean(axis=(2, 3)) ** (1 / 3), atol=1e-4)


@pytest.mark.slow
def test_a_file_that_is_cut_at_a_module_exports(shop: Path, tmp_path: Path) -> None:
    settings = ExportSettings(
        shop, to=("onnx",), recipes=("fp32",), source=SourceOptions(output="middle", preprocessing=OVERRIDES)
    )
    report = export_model(TinyCnn(classes=1000), tmp_path / "out", settings)
    assert report.kept[0].score is not None and report.kept[0].score.cosine_min > 0.99999


def command(folder: Path, shop: Path, *more: str) -> list[str]:
    """`shelfmatch export` of net.onnx in the folder."""
    words = ["export", str(folder / "net.onnx"), "-o", str(folder / "out"), "--calibration", str(shop), "--to", "onnx"]
    return [*words, "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)), *more]


def test_the_command(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(TinyCnn(), tmp_path / "net.onnx")
    words = command(tmp_path, shop, "--no-layers")
    assert main([*words, "--json"]) == 0
    out, err = capfd.readouterr()
    record = json.loads(out)
    assert err == "" and record["ok"] and record["files"] == ["net-int8-static.onnx"]
    assert main([*words, "--name", "mine", "--recipe", "fp32"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and "mine-fp32.onnx" in out and out.endswith("report.html\n")
    assert {"mine-fp32.onnx", "net-int8-static.onnx"} <= names(tmp_path / "out")


def test_a_files_name_changes_no_terminal(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = str(write_onnx(TinyCnn(), tmp_path / "a\n\x1b[31mb.onnx"))
    arguments = [
        "export",
        file,
        "-o",
        str(tmp_path / "device"),
        "--calibration",
        str(shop),
        "--to",
        "onnx",
        "--mean",
        "123",
    ]
    assert main([*arguments, "--std", "58", "--no-layers", "--recipe", "fp32"]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out and "note: a\\n\\x1b[31mb.onnx doesn't say how photos become" in out


def test_a_name_that_no_file_can_have_is_told_before_the_work(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--name of 300 bytes arrived; expected at most 200"):
        export_model("gone.onnx", tmp_path / "device", ExportSettings(shop, name="é" * 150))
    file = write_onnx(TinyCnn(), tmp_path / f"{'a' * 240}.onnx")
    said = Overrides(mean=MEAN, std=STD)
    settings = ExportSettings(shop, to=("onnx",), recipes=("fp32",), source=SourceOptions(preprocessing=said))
    with pytest.raises(
        ExportError, match=r"a model's name of 240 bytes arrived; expected .* a shorter one with --name"
    ):
        export_model(str(file), tmp_path / "device", settings)
    assert not (tmp_path / "device").exists()


def test_the_command_says_no(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(Fragile(), tmp_path / "net.onnx")
    words = command(tmp_path, shop, "--recipe", "int8-static")
    assert main(words) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "--recipe mixed passes" in err
    assert names(tmp_path) == {"net.onnx"}
    assert main([*words, "--json"]) == 1
    out, _ = capfd.readouterr()
    assert json.loads(out)["error"]["type"] == "GateNotMet"
