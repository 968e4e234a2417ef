"""What people get wrong: one clear line, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install 'shelfmatch[export]'")

import torch

from shelfmatch.edge import ShelfmatchError
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.golden import embedded_cards
from shelfmatch.export import ExportSettings, MissingPackage, Overrides, SourceOptions, export_model
from shelfmatch.export.staging import publish, staging
from shelfmatch.export.tools import quiet
from tests.conftest import tile_photo, write_tiles
from tests.support import tiny_models
from tests.support.cards import RECORD
from tests.support.odd_onnx import convolution, save
from tests.support.tiny_networks import SIDE, NoVector, TinyCnn, TwoOutputs, write_onnx

pytestmark = pytest.mark.xdist_group("export")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, networks and files that are none."""
    folder = tmp_path_factory.mktemp("wrong")
    write_tiles(folder / "photos", range(8))
    write_tiles(folder / "three", range(1))
    write_tiles(folder / "single", range(20), photos=1)
    (folder / "empty").mkdir()
    (folder / "texts" / "sku").mkdir(parents=True)
    (folder / "texts" / "sku" / "a.txt").write_text("no photo")
    (folder / "broken" / "sku").mkdir(parents=True)
    for number in range(20):
        (folder / "broken" / "sku" / f"{number}.jpg").write_text("no photo")
    write_onnx(TinyCnn(), folder / "net.onnx")
    write_onnx(TwoOutputs(), folder / "two.onnx", ("a", "b"))
    write_onnx(NoVector(), folder / "map.onnx")
    write_onnx(TinyCnn(), folder / "sizes.onnx", dynamic="size")
    classes = TinyCnn(classes=1000)
    classes.forward = lambda x: classes.head(classes.stem(x).flatten(2)[:, :, :24]).mean(dim=1)  # type: ignore[method-assign]
    write_onnx(classes, folder / "unpooled.onnx")
    (folder / "cut.onnx").write_bytes((folder / "net.onnx").read_bytes()[:2000])
    (folder / "zero.onnx").touch()
    (folder / "text.onnx").write_text("this is no network")
    (folder / "uint8.onnx").write_bytes(tiny_models.average_onnx())
    (folder / "int8.onnx").write_bytes(embedded_cards()["shelfmatch-cnn.onnx"].with_suffix("").read_bytes())
    (folder / "text.tflite").write_text("this is no network")
    (folder / "int8.tflite").write_bytes(tiny_models.average_tflite())
    (folder / "cut.tflite").write_bytes(tiny_models.average_tflite()[:300])
    (folder / "two.tflite").write_bytes(tiny_models.average_tflite(extra_output=True))
    (folder / "float.tflite").write_bytes(tiny_models.average_tflite(dtype="float32"))
    (folder / "text.keras").write_text("this is no model")
    torch.save(TinyCnn(classes=5).state_dict(), folder / "other.pth")
    torch.save({"epoch": 3}, folder / "number.pth")
    (folder / "text.pth").write_text("no weights")
    (folder / "text.safetensors").write_text("no weights")
    (folder / "hf-empty").mkdir()
    (folder / "hf-text").mkdir()
    (folder / "hf-text" / "config.json").write_text("{")
    tile_photo(1, 1).save(folder / "query.png")
    (folder / "header.csv").write_text("picture,code\nquery.png,sku-001\n")
    (folder / "foreign.csv").write_text("image,sku\nquery.png,sku-999\n")
    (folder / "unknowns.csv").write_text("image,sku\nquery.png,\n")
    (folder / "a-file").write_text("in the way")
    _odd_files(folder)
    return folder


def _odd_files(folder: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Flatten()), folder / "whole.pt")
    (folder / "stale.onnx").write_bytes((folder / "net.onnx").read_bytes())
    (folder / "stale.json").write_text(json.dumps({**RECORD, "file": "stale.onnx", "format": "onnx"}))
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").touch()
    (folder / "text.h5").write_text("this is no model")
    with quiet("writing TorchScript"):
        torch.jit.trace(TinyCnn(), torch.zeros(1, 3, SIDE, SIDE)).save(str(folder / "script.pt"))
    save(convolution(tokens=True), folder / "tokens.onnx")
    save(convolution(), folder / "split.onnx", save_as_external_data=True, location="split.weights", size_threshold=0)
    (folder / "split.weights").unlink()
    two = convolution()
    two.graph.input.append(two.graph.input[0])
    two.graph.input[1].name = "second"
    save(two, folder / "inputs.onnx")
    four = convolution()
    four.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    save(four, folder / "channels.onnx")


NET = ["net.onnx", "--mean", "123", "--std", "58"]

WRONG: dict[str, tuple[list[str], str]] = {
    "an unknown kind": (["resnet50"], "is of no known kind; expected timm:NAME, hf:FOLDER"),
    "a missing file": (["gone.onnx"], "gone.onnx can't be read: No such file"),
    "a missing file of no kind": (["gone.pth"], "no such file exists"),
    "a truncated ONNX file": (["cut.onnx"], "can't load the encoder"),
    "an empty file": (["zero.onnx"], "zero.onnx is empty"),
    "a text as ONNX": (["text.onnx"], "can't load the encoder"),
    "a text as TFLite": (["text.tflite"], "can't load the encoder"),
    "a truncated TFLite file": (["cut.tflite"], "can't load the encoder"),
    "a text as Keras": (["text.keras"], "can't be read as a Keras model"),
    "a missing Keras file": (["gone.keras"], "gone.keras does not exist"),
    "two outputs": (["two.onnx", *NET[1:]], "has 2 outputs (a [1, 24], b [1, 24]); say which is the embedding"),
    "two outputs in TFLite": (["two.tflite"], "has 2 outputs"),
    "a feature map": (["map.onnx", *NET[1:]], "no pooled feature was found before it"),
    "a classifier without a pooled feature": (["unpooled.onnx", *NET[1:]], "no pooled feature was found before it"),
    "dynamic sizes": (["sizes.onnx", *NET[1:]], "expected one input of RGB photos of a fixed size"),
    "an int8 ONNX file": (["int8.onnx"], "is quantized already; expected the float network it was made from"),
    "a mean for uint8 pixels": (["uint8.onnx", "--mean", "1", "--std", "1"], "normalizes them itself; leave out --mean"),
    "no word on preprocessing": (["net.onnx"], "doesn't say how its photos were prepared"),
    "only a mean": (["net.onnx", "--mean", "123"], "doesn't say how its photos were prepared"),
    "another size": ([*NET, "--size", "64"], "takes 32x32 photos and 64x64 were asked for"),
    "a std of zero": (["net.onnx", "--mean", "1", "--std", "0"], "expected three positive numbers"),
    "two means": (["net.onnx", "--mean", "1,2", "--std", "1"], "expected one number or three"),
    "a mean for a network that normalizes": ([*NET, "--normalized"], "--normalized arrived with --mean or --std"),
    "a part of a squashed photo": ([*NET, "--crop-fraction", "0.9"], "--crop-fraction 0.9 arrived with --resize squash"),
    "a pooling of one of two outputs": (["two.onnx", *NET[1:], "--pool", "avg"], "say which are the tokens, --output NAME"),
    "a whole module": (["whole.pt"], "holds a pickled torch.nn.modules.container.Sequential, which runs code of its own"),
    "the card of another file": (["stale.onnx"], "its card stale.json says 000000000000…; they don't belong together"),
    "a crop fraction of 2": ([*NET, "--crop-fraction", "2"], "expected a number above 0 and up to 1"),
    "a size in words": ([*NET, "--size", "large"], "expected a size like 224"),
    "an unknown output": ([*NET, "--output", "feature"], "computes no tensor 'feature'"),
    "float TFLite to ONNX": (["float.tflite", "--normalized"], "can't become .onnx"),
    "int8 TFLite to int8": (["int8.tflite", "--to", "tflite", "--recipe", "int8-static"], "is quantized already"),
    "int8 TFLite with --dim": (["int8.tflite", "--to", "tflite", "--dim", "4"], "--dim goes with float networks"),
    "an unknown timm name": (["timm:mobilenet_v9"], "timm knows no model 'mobilenet_v9'"),
    "weights that can't be had": (["timm:test_vit"], "give --checkpoint FILE"),
    "a missing checkpoint": (["timm:test_vit", "--checkpoint", "gone.pth"], "checkpoint gone.pth does not exist"),
    "a checkpoint of another network": (["timm:test_vit", "--checkpoint", "other.pth"], "is of another network"),
    "a checkpoint without tensors": (["timm:test_vit", "--checkpoint", "number.pth"], "expected the tensors of a state_dict"),
    "a text as checkpoint": (["timm:test_vit", "--checkpoint", "text.pth"], "checkpoint text.pth can't be read"),
    "a text as safetensors": (["timm:test_vit", "--checkpoint", "text.safetensors"], "text.safetensors can't be read"),
    "a folder without a model": (["hf:hf-empty"], "hf-empty has no config.json"),
    "a folder with half a model": (["hf:hf-text"], "can't be read as a Hugging Face model"),
    "an unknown pool": ([*NET, "--pool", "max"], "invalid choice: 'max'"),
    "an unknown format": ([*NET, "--to", "coreml"], "unknown format 'coreml'; expected some of onnx, tflite"),
    "an unknown recipe": ([*NET, "--recipe", "int4"], "unknown recipe 'int4'; expected auto, or some of fp32"),
    "a gate of 200": ([*NET, "--gate", "200"], "expected 0 to 100 points"),
    "a gate in words": ([*NET, "--gate", "strict"], "expected a number"),
    "a dimension of zero": ([*NET, "--dim", "0"], "expected a whole number from 1"),
    "a layer that isn't there": ([*NET, "--keep-float", "stem/convolution"], "no layer 'stem/convolution' to keep in float"),
    "more dimensions than photos": ([*NET, "--dim", "24"], "carry 1 to 23"),
    "no calibration": ([*NET, "--calibration", "gone"], "gone does not exist"),
    "an empty calibration folder": ([*NET, "--calibration", "empty"], "empty holds no photos"),
    "calibration without photos": ([*NET, "--calibration", "texts"], "texts holds no photos"),
    "calibration photos that can't be read": ([*NET, "--calibration", "broken"], "0 readable photos, 20 more can't be read"),
    "three photos": ([*NET, "--calibration", "three"], "has 3 readable photos; expected at least 16"),
    "one photo a product": ([*NET, "--calibration", "single"], "has 0 photos whose product has another one, of 20"),
    "gate queries with another header": ([*NET, "--gate-queries", "header.csv"], "expected it to include image,sku"),
    "gate queries of other products": ([*NET, "--gate-queries", "foreign.csv"], "asks for none of the products"),
    "gate queries without a SKU": ([*NET, "--gate-queries", "unknowns.csv"], "no readable photo with a SKU"),
    "an unknown torchvision name": (["torchvision:resnet_9"], "torchvision knows no model 'resnet_9'"),
    "torchvision weights that can't be had": (["torchvision:resnet18"], "give --checkpoint FILE"),
    "weights without their network": (["other.pth"], "holds weights without their network"),
    "a text as TorchScript": (["text.pth"], "holds weights without their network"),
    "safetensors alone": (["text.safetensors"], "--checkpoint text.safetensors"),
    "TorchScript of no size": (["script.pt"], "doesn't say how large its photos are; say it: --size 224"),
    "TorchScript with a checkpoint": (["script.pt", "--checkpoint", "other.pth"], "arrived with script.pt, which brings its own"),
    "a SavedModel": (["saved"], "is a SavedModel, which TensorFlow alone reads"),
    "a missing .h5 file": (["gone.h5"], "gone.h5 does not exist"),
    "a text as .h5": (["text.h5"], "can't be read as a Keras model"),
    "a pooling of a vector": ([*NET, "--pool", "cls"], "--pool arrived with net.onnx, which brings its own"),
    "a pooling that tokens have not": (["tokens.onnx", *NET[1:], "--pool", "gem"], "--pool arrived with tokens.onnx"),
    "tokens": (["tokens.onnx", *NET[1:]], "or --pool cls or avg where these are tokens"),
    "a checkpoint for a file": ([*NET, "--checkpoint", "other.pth"], "--checkpoint arrived with net.onnx"),
    "weights that are gone": (["split.onnx", *NET[1:]], "keeps its weights in split.weights, which can't be read"),
    "two inputs": (["inputs.onnx", *NET[1:]], "expected one input of RGB photos"),
    "four channels": (["channels.onnx", *NET[1:]], "expected one input of RGB photos"),
    "another order of colours": ([*NET, "--color-order", "RBG"], "invalid choice: 'RBG'"),
    "another resize": ([*NET, "--resize", "fill"], "invalid choice: 'fill'"),
    "a mean in words": (["net.onnx", "--mean", "grey", "--std", "1"], "expected one number or three"),
    "a crop fraction of 0": ([*NET, "--crop-fraction", "0"], "expected a number above 0 and up to 1"),
    "a size of 0": ([*NET, "--size", "0"], "expected 1 to 4096 pixels a side"),
    "a negative gate": ([*NET, "--gate=-1"], "expected 0 to 100 points"),
    "a photo as calibration": ([*NET, "--calibration", "query.png"], "query.png"),
    "a file in the way": ([*NET, "-o", "a-file"], "a-file is a file; expected a folder"),
    "no folder to write in": ([*NET, "-o", "gone/out"], "gone does not exist; expected the folder in which out is made"),
}  # fmt: skip


def command(arguments: list[str]) -> list[str]:
    """The arguments with a destination and photos, where they don't say them."""
    full = ["export", *arguments]
    if "-o" not in arguments:
        full += ["-o", "out"]
    if "--calibration" not in arguments:
        full += ["--calibration", "photos"]
    return full if "--to" in arguments or arguments[0] == "float.tflite" else [*full, "--to", "onnx"]


def everything(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(
    case: str, prepared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, said = WRONG[case]
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # no test asks a network
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    before = everything(prepared), sorted(path.name for path in prepared.iterdir())
    try:
        code = main(command(arguments))
    except SystemExit as usage:
        code = usage.code if isinstance(usage.code, int) else -1
    out, err = capfd.readouterr()
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1 and len(err) < 600 and "Traceback" not in err
    assert said in err
    assert (everything(prepared), sorted(path.name for path in prepared.iterdir())) == before


def test_there_are_sixty() -> None:
    assert len(WRONG) >= 60 and len({tuple(arguments) for arguments, _ in WRONG.values()}) == len(WRONG)


MODULES: dict[str, tuple[Callable[[], object], str]] = {
    "two outputs": (TwoOutputs, "gives 2 outputs; expected one tensor"),
    "no vector": (NoVector, "which is no vector"),
    "a classifier": (lambda: torch.nn.Sequential(TinyCnn(classes=1000), torch.nn.ReLU()), "looks like a classifier"),
    "another input": (lambda: torch.nn.Linear(7, 7), "running linear on a grey 32x32 photo failed"),
    "no module": (lambda: 7, "int arrived; expected the name of a model"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODULES)
def test_wrong_modules(case: str, prepared: Path, tmp_path: Path) -> None:
    make, said = MODULES[case]
    options = SourceOptions(preprocessing=Overrides(size=(SIDE, SIDE), normalize=False))
    with pytest.raises(ShelfmatchError) as error:
        export_model(make(), tmp_path / "out", ExportSettings(prepared / "photos", source=options))
    assert said in str(error.value) and "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_a_persons_own_report_is_not_written_over(
    name: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`-o .` in a home took it; the report of an export before is one that may go."""
    monkeypatch.chdir(prepared)
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"quarter": 3}')
    arguments = command(["net.onnx", "--mean", "123", "--std", "58", "--recipe", "fp32", "-o", str(out)])
    assert main(arguments) == 2
    assert f"{name} is no report of an export" in (said := capfd.readouterr().err) and said.count("\n") == 1
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == '{"quarter": 3}'
    (out / name).unlink()
    assert main(arguments) == 0 and main(arguments) == 0


def test_what_a_killed_export_leaves_is_no_persons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its report.html and before its report.json, it stood in the way of the next one."""
    (tmp_path / "out").mkdir()
    with staging(tmp_path / "out") as work:
        (work / "report.json").write_text('{"gate": {}, "attempts": []}')
        (work / "report.html").write_text("the page")
        named: list[str] = []
        real = Path.replace

        def killed(self: Path, target: Path) -> Path:
            if named:
                raise KeyboardInterrupt
            named.append(self.name)
            return real(self, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "replace", killed)
            publish(work, tmp_path / "out")
    assert named == ["report.json"]
    with staging(tmp_path / "out"):
        pass


def test_a_full_disk(prepared: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for it."""
    (tmp_path / "work").mkdir()
    arguments = ["net.onnx", "--mean", "123", "--std", "58", "--recipe", "fp32", "-o", str(tmp_path / "work" / "out")]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", sys.executable, "-m", "shelfmatch.edge.cli", *command(arguments)],
        cwd=prepared, capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    assert list((tmp_path / "work").iterdir()) == [] and list(tmp_path.glob("shelfmatch-*")) == []


@pytest.mark.parametrize(
    "tool",
    [
        "torch",
        "litert_torch",
        "ai_edge_quantizer",
        *(pytest.param(tool, marks=pytest.mark.slow) for tool in ("onnxslim", "timm", "keras")),
    ],
)
def test_a_missing_tool_is_named_with_its_extra(tool: str, prepared: Path, tmp_path: Path) -> None:
    """In a process of its own that can't import it."""
    code = f"import sys; sys.modules[{tool!r}] = None\nfrom shelfmatch.edge.cli.app import main\nsys.exit(main(sys.argv[1:]))"
    model = {"torch": "timm:test_vit", "timm": "timm:test_vit", "keras": "text.keras", "onnxslim": "net.onnx"}.get(tool)
    arguments = [model or "float.tflite", "--normalized", "-o", str(tmp_path / "out")]
    arguments += [
        "--to",
        "onnx" if tool in ("onnxslim", "torch", "timm", "keras") else "tflite",
        "--recipe",
        "int8-static",
    ]
    if tool == "litert_torch":
        from shelfmatch.export import torch_encoder
        from shelfmatch.export.preprocessing import Preprocessing

        with pytest.MonkeyPatch.context() as patch, pytest.raises(MissingPackage, match=r"shelfmatch\[export\]"):
            patch.setitem(sys.modules, tool, None)
            made = torch_encoder.torch_encoder(TinyCnn(), Preprocessing(SIDE, SIDE, None, None), name="tiny")
            made.writers["tflite"](tmp_path / "x.tflite", None)
        return
    done = subprocess.run(
        [sys.executable, "-c", code, *command(arguments)], cwd=prepared, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"needs {tool}, which can't be imported" in done.stderr and "pip install 'shelfmatch[export]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_onnx_to_tflite_names_the_tool_it_needs(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("SHELFMATCH_ONNX2TF", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(command([*NET, "--to", "tflite"])) == 2
    assert "shelfmatch export --setup-onnx2tf" in capfd.readouterr().err
    monkeypatch.setenv("SHELFMATCH_ONNX2TF", "/bin/false")
    assert main(command([*NET, "--to", "tflite"])) == 2
    assert "onnx2tf failed" in capfd.readouterr().err
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setenv("SHELFMATCH_ONNX2TF", str(killed))
    assert main(command([*NET, "--to", "tflite"])) == 2
    assert (
        "onnx2tf was killed, by the kernel for want of memory" in (said := capfd.readouterr().err)
        and said.count("\n") == 1
    )
    assert not (prepared / "out").exists()


def test_a_card_beside_the_file_says_how(prepared: Path, tmp_path: Path) -> None:
    """What `--mean` and `--std` say otherwise."""
    from shelfmatch.edge.files import sha256_of
    from shelfmatch.export.sources import open_source

    path = tmp_path / "net.onnx"
    path.write_bytes((prepared / "net.onnx").read_bytes())
    record = {
        **RECORD, "file": "net.onnx", "sha256": sha256_of(path), "format": "onnx", "input_dtype": "float32",
        "layout": "NCHW", "dimension": 24, "mean": [1, 2, 3], "std": [4, 5, 6], "resize": "crop", "crop_fraction": 0.9,
    }  # fmt: skip
    (tmp_path / "net.onnx.json").write_text(json.dumps(record))
    found = open_source(str(path), SourceOptions()).preprocessing
    assert (found.mean, found.std, found.resize, found.crop_fraction) == ((1, 2, 3), (4, 5, 6), "crop", 0.9)


def test_setting_up_onnx2tf_without_a_python_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("this Python would do")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with pytest.raises(SystemExit) as ended:
        main(["export", "--setup-onnx2tf"])
    out, err = capfd.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1) and "needs Python 3.12 or later" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [2.0, 8.0, 14.0])
def test_sigterm_leaves_nothing(after_s: float, prepared: Path, tmp_path: Path) -> None:
    """Whatever step it comes in."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    arguments = ["net.onnx", "--mean", "123", "--std", "58", "-o", str(tmp_path / "work" / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "shelfmatch.edge.cli", *command(arguments)], cwd=prepared, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "temporary"), "HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.terminate()
    process.communicate(timeout=60)
    if process.returncode == 0 or (tmp_path / "work" / "out" / "report.json").exists():
        pytest.skip("it was done before")
    # By the signal itself before the command has begun.
    assert process.returncode in (143, -signal.SIGTERM)
    left = [path.name for folder in ("work", "temporary") for path in (tmp_path / folder).iterdir()]
    assert set(left) <= {".ses"}  # one file of that name, which a library of the export writes when it is loaded


@pytest.mark.slow
def test_sigterm_while_onnx2tf_is_set_up(tmp_path: Path) -> None:
    """pip and whatever it started end, and half an environment is none."""
    pythons = [shutil.which(name) for name in ("python3.12", "python3.13", "python3.14")]
    if not any(
        python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0 for python in pythons
    ):
        pytest.skip("there is no Python of 3.12 or later")
    process = subprocess.Popen(
        [sys.executable, "-m", "shelfmatch.edge.cli", "export", "--setup-onnx2tf"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )  # fmt: skip
    made = tmp_path / "shelfmatch" / "onnx2tf"
    deadline = time.monotonic() + 120
    while not (made / "pyvenv.cfg").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143 and list((tmp_path / "shelfmatch").iterdir()) == []
    assert not [one for one in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(one)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended
        return b""
