"""`shelfmatch doctor` in environments that are really broken: packages missing, raising, dying, hanging, calculating wrongly.

One module of over 400 lines: all break copies of one environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.doctor.advice import Failure, explained
from shelfmatch.edge.doctor.checks import (
    EXTRAS,
    NUMKONG,
    NUMPY,
    PILLOW,
    RUNTIME_PACKAGES,
    USEARCH,
    Examination,
    Package,
    run_probe,
)
from shelfmatch.edge.doctor.diagnosis import Diagnosis
from shelfmatch.edge.encoders.golden import LEAST_COSINE, GoldenEmbedding, embedded_cards, golden_file, golden_of
from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER, read_card
from shelfmatch.edge.encoders.runtimes import RUNTIMES

DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


def doctor(*arguments: str, python: str = sys.executable, first: Path | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command; `first`: a folder whose packages are found before all others."""
    variables = {**os.environ, "PYTHONPATH": str(first)} if first is not None else dict(os.environ)
    done = subprocess.run(
        [python, "-P", "-m", "shelfmatch.edge.cli", "doctor", *arguments],
        capture_output=True, text=True, timeout=300, env=variables,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def diagnosis(python: str = sys.executable, first: Path | None = None) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """(exit code, the JSON document, its checks by name)."""
    code, output, errors = doctor("--json", python=python, first=first)
    assert errors == "" and code in (0, 1), errors
    document = json.loads(output)
    assert document["can_run"] == (code == 0)
    return code, document, {check["name"]: check for check in document["checks"]}


Examined = Callable[..., tuple[bool, dict[str, Any], dict[str, Any]]]

MODULES = {package.module for package in (NUMPY, PILLOW, USEARCH, NUMKONG, *RUNTIME_PACKAGES.values(), *EXTRAS)}
WELL: dict[str, dict[str, Any]] = {
    "numpy": {"version": np.__version__},
    "pillow": {"version": "12.0"},
    "runtime": {"encoder": DEFAULT_ENCODER, "is_default": True, "cosine": 1.0, "encode_ms": 5.0},
    "index": {"kinds": ["exact", "hnsw"], "numkong": True},
    "import": {},
    "job": {"runtime": "litert", "encoder": DEFAULT_ENCODER, "seconds": 0.3},
}
"""What the probes find on a machine that is well; `test_a_machine_that_is_well` holds the keys against real ones."""


def well(*arguments: str, **_: float) -> dict[str, Any]:
    """A probe on a machine that is well."""
    return dict(WELL[arguments[0]])


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["probe", "whole"])
def examined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Examined:
    """A diagnosis of a broken environment: (whether it can run, the JSON document, its checks by name).

    Names of probes, as "numpy" or "import cv2": these run in processes of their own, all others find a machine that is well. In
    the slow tier the same tests run the command with all its processes. `first` is a folder of packages that are found before
    all others; `without` are the beginnings of the names of files of packages that aren't installed.
    """

    def whole(*really: str, first: Path | None = None, without: tuple[str, ...] = ()) -> Any:
        python = environment_without(tmp_path, *without) if without else sys.executable
        code, document, checks = diagnosis(python, first)
        return code == 0, document, checks

    def quick(*really: str, first: Path | None = None, without: tuple[str, ...] = ()) -> Any:
        if first is not None:
            monkeypatch.setenv("PYTHONPATH", str(first))
        installed = {module for module in MODULES if module not in without and importlib.util.find_spec(module)}
        monkeypatch.setattr(Package, "is_installed", property(lambda package: package.module in installed))

        def probe(*arguments: str, **settings: float) -> dict[str, Any] | Failure:
            return (run_probe if {arguments[0], " ".join(arguments)} & set(really) else well)(*arguments, **settings)

        examination = Examination(tmp_path, probe)
        found = tuple(step() for step in examination.steps())
        document = Diagnosis(found, examination.can_run, examination.runtime).to_dict()
        return document["can_run"], document, {check["name"]: check for check in document["checks"]}

    return whole if request.param else quick


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Writes files of packages into a folder for PYTHONPATH."""

    def make(**files: str) -> Path:
        for name, code in files.items():
            path = tmp_path.joinpath("first", *name.split("__"), "__init__.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
        return tmp_path / "first"

    return make


def environment_without(folder: Path, *names: str) -> str:
    """The Python of an environment that has this one's packages but those whose files begin with one of the names."""
    venv.create(folder, symlinks=True, with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    for kind in ("purelib", "platlib"):
        for file in Path(sysconfig.get_path(kind)).iterdir():
            link = Path(paths[kind], file.name)
            if not file.name.startswith(names) and not link.is_symlink() and not link.exists():
                link.symlink_to(file)
    return str(folder / "bin" / "python")


# A machine that is well


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    code, document, checks = diagnosis()
    assert code == 0, document
    assert document["runtime"] == checks["end to end"]["runtime"] == "litert"
    assert document["summary"].startswith("This machine can run shelfmatch; its runtime is litert.")
    assert [checks[name]["status"] for name in ("numpy", "pillow", "litert", "index", "end to end")] == ["ok"] * 5
    assert checks["litert"]["cosine"] >= LEAST_COSINE and checks["litert"]["encode_ms"] > 0
    names = {"runtime": "litert", "job": "end to end"}
    for name in WELL.keys() - {"import"}:
        assert checks[names.get(name, name)].keys() >= WELL[name].keys(), name


def test_the_table_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shelfmatch.edge.doctor.checks.Examination", lambda folder, probe: Examination(folder, well))
    assert main(["doctor", "--folder", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert str(tmp_path) in output and "LiteRT" in output.splitlines()[3]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    code, output, errors = doctor("--folder", str(tmp_path / "nowhere"))
    assert (code, output) == (2, "") and "is not a folder" in errors and len(errors.splitlines()) == 1


def test_known_embeddings_belong_to_the_encoders() -> None:
    assert DEFAULT_ENCODER in {name.removesuffix(".tflite").removesuffix(".onnx") for name in embedded_cards()}
    for name, card_path in embedded_cards().items():
        file_format = read_card(card_path)[0].format
        if not any(runtime.is_installed() for runtime in RUNTIMES.values() if runtime.format == file_format):
            continue  # the emulated ARM processors have LiteRT alone
        encoder = Encoder.load(card_path)
        known = GoldenEmbedding.read(golden_file(card_path))
        refresh = f"{name} was changed: run python -m shelfmatch.models.known_embeddings"
        assert known.sha256 == encoder.card.sha256, refresh
        assert float(known.vector @ golden_of(encoder).vector) >= LEAST_COSINE, refresh
        assert float(known.vector @ known.vector) == pytest.approx(1, abs=1e-4)
        assert float(known.vector @ np.roll(known.vector, 1)) < LEAST_COSINE - 0.1  # other numbers don't pass


# Packages that are missing


def test_without_a_runtime(tmp_path: Path) -> None:
    python = environment_without(tmp_path, "ai_edge_litert", "tflite_runtime", "onnxruntime")
    code, document, checks = diagnosis(python)
    assert code == 1 and document["runtime"] is None
    assert checks["litert"]["status"] == "absent" and "pip install 'shelfmatch[litert]'" in checks["litert"]["finding"]
    assert "files is installed; pip install 'shelfmatch[" in document["summary"]


def test_without_what_can_be_done_without(examined: Examined) -> None:
    without = ("onnxruntime", "usearch", "numkong", "cv2", "simplejpeg", "pillow_heif")
    can_run, document, checks = examined(without=without)
    assert can_run, document
    assert {checks[name]["status"] for name in ("onnx", "cv2", "simplejpeg", "pillow_heif")} == {"absent"}
    assert checks["index"]["status"] == "advice" and "pip install usearch numkong" in checks["index"]["advice"]


@pytest.mark.parametrize(("files", "name"), [(("numpy",), "numpy"), (("PIL", "pillow"), "pillow")])
def test_without_numpy_or_pillow(files: tuple[str, ...], name: str, examined: Examined) -> None:
    can_run, document, checks = examined(without=files)
    assert not can_run and document["runtime"] is None
    assert checks[name]["status"] == "problem" and checks[name]["advice"] == f"pip install {name}"
    assert "must work first" in checks["litert"]["finding"] and checks["end to end"]["status"] == "problem"
    assert f"mend first: {name}" in document["summary"]


# Packages that are broken


@pytest.mark.parametrize("name", ["numpy", "PIL"])
def test_numpy_or_pillow_that_die_or_raise(name: str, package: Callable[..., Path], examined: Examined) -> None:
    can_run, _, checks = examined("numpy", "pillow", first=package(**{name: DIES}))
    check = checks["pillow" if name == "PIL" else name]
    assert not can_run and check["status"] == "problem" and check["signal"] == 4
    assert "an instruction that this processor doesn't have" in check["finding"]
    assert "built for a newer processor" in check["advice"]
    can_run, _, checks = examined(
        "numpy", "pillow", first=package(**{name: "raise ImportError('version `GLIBC_2.99\\' not found')"})
    )
    check = checks["pillow" if name == "PIL" else name]
    assert not can_run and "built for a newer Linux" in check["finding"] and check["signal"] is None


def test_a_runtime_that_dies_on_import(package: Callable[..., Path], examined: Examined) -> None:
    can_run, document, checks = examined("runtime", first=package(ai_edge_litert=DIES, onnxruntime=DIES))
    assert not can_run and checks["litert"]["signal"] == checks["onnx"]["signal"] == 4
    assert "dies while ai_edge_litert.interpreter was being imported" in checks["litert"]["finding"]
    assert "mend first: litert, onnx" in document["summary"]
    assert "1.21.0 is known" in checks["onnx"]["advice"]


def test_a_broken_runtime_that_is_not_needed(package: Callable[..., Path], examined: Examined) -> None:
    missing = "raise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')"
    can_run, document, checks = examined("runtime", first=package(onnxruntime=missing))
    assert can_run and document["runtime"] == "litert"
    assert "Broken, but not needed for it: onnx." in document["summary"]
    assert "needs the system's library libgomp.so.1" in checks["onnx"]["finding"]
    assert checks["onnx"]["advice"] == "As root: apt-get install libgomp1"


def test_an_index_library_that_dies(package: Callable[..., Path], examined: Examined) -> None:
    """Every shop needs NumKong where it is installed, only very large ones usearch."""
    can_run, document, checks = examined("index", first=package(usearch=DIES))
    assert can_run and "Broken, but not needed for it: index." in document["summary"]
    assert (
        checks["index"]["signal"] == 4 and "Only shops with some hundred thousand photos" in checks["index"]["finding"]
    )
    can_run, document, checks = examined("index", first=package(usearch="", numkong=DIES))
    assert not can_run and "mend first: index" in document["summary"]
    assert checks["index"]["finding"].startswith("NumKong ") and checks["index"]["signal"] == 4


BEHIND = """
import os, signal, sys
# The real package, found behind this one.
here = os.path.dirname(os.path.dirname(__file__))
sys.path.remove(here)
for name in [name for name in sys.modules if name.startswith("ai_edge_litert")]:
    del sys.modules[name]
import ai_edge_litert.interpreter as real
class Interpreter(real.Interpreter):
    {method}
real.Interpreter = Interpreter
"""
TURNED_ROUND = "def get_tensor(self, index): return super().get_tensor(index)[..., ::-1].copy()"


@pytest.mark.parametrize(
    ("method", "finding"),
    [
        (
            TURNED_ROUND,
            "calculates wrongly on this machine: the embedding of ",
        ),
        ("def invoke(self): os.kill(os.getpid(), signal.SIGSEGV)", "crashes while it was calculating (SIGSEGV)"),
        ("def allocate_tensors(self): os.kill(os.getpid(), signal.SIGILL)", "dies while it loaded an encoder"),
    ],
    ids=["wrong numbers", "dies when run", "dies when loading"],
)
def test_a_runtime_that_imports_and_then(
    method: str, finding: str, package: Callable[..., Path], examined: Examined
) -> None:
    first = package(ai_edge_litert=BEHIND.replace("{method}", method))
    can_run, document, checks = examined("runtime litert", first=first)
    assert not can_run and document["runtime"] is None, document
    assert finding in checks["litert"]["finding"] and checks["litert"]["advice"]


def test_a_whole_diagnosis_of_wrong_numbers(package: Callable[..., Path]) -> None:
    """One of the above with all its processes in the default tier, too."""
    code, document, _ = diagnosis(first=package(ai_edge_litert=BEHIND.replace("{method}", TURNED_ROUND)))
    assert code == 1 and document["runtime"] is None and "mend first: litert" in document["summary"]


def test_an_extra_that_takes_the_main_job_with_it(package: Callable[..., Path], examined: Examined) -> None:
    """OpenCV is used wherever it is installed."""
    can_run, document, checks = examined("import cv2", "job", first=package(cv2=DIES))
    assert not can_run and "mend first: cv2" in document["summary"]
    assert "pip uninstall opencv-python-headless" in checks["cv2"]["advice"]


def test_a_runtime_that_hangs(package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(package(onnxruntime="import time\ntime.sleep(600)")))
    for timeout_s in (2, 8, 32, 128):  # a slow machine takes its time until it comes to the package that hangs
        start = time.monotonic()
        outcome = run_probe("runtime", "onnx", timeout_s=timeout_s)
        assert isinstance(outcome, Failure) and outcome.timeout_s == timeout_s
        assert timeout_s <= time.monotonic() - start < timeout_s + 60
        if outcome.stage:
            break
    assert outcome.stage == "import onnxruntime"
    assert f"did not finish within {timeout_s} s" in explained(outcome, "ONNX Runtime", "onnxruntime", "2.0")[0]


def test_a_doctor_that_is_stopped_leaves_nothing(package: Callable[..., Path], tmp_path: Path) -> None:
    """cv2 is first imported for its own check, then in the main job, whose folder it tells."""
    told, temporary = tmp_path / "told", tmp_path / "temporary"
    temporary.mkdir()
    hangs = f"""
import glob, os, time
if glob.glob({str(temporary)!r} + "/shelfmatch-doctor-*/*"):
    with open({str(told)!r}, "w") as file:
        file.write(str(os.getpid()) + "\\n")
    time.sleep(100)
"""
    variables = {**os.environ, "PYTHONPATH": str(package(cv2=hangs)), "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "shelfmatch.edge.cli", "doctor", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (told.is_file() and told.read_text().endswith("\n")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "", "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    assert list(temporary.glob("*shelfmatch*")) == []


def test_a_device_file_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examined: Examined) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text("version = 1\n[match]\nthreads = -2\n")
    monkeypatch.setenv("SHELFMATCH_DEVICE", str(settings))
    can_run, document, checks = examined()
    assert not can_run and document["summary"].endswith("can't run shelfmatch yet: mend first: device.toml.")
    assert checks["device.toml"]["finding"].endswith("threads is -2; expected a whole number from 1 to 256.")
    assert checks["device.toml"]["advice"].startswith("Mend or remove it, or write it anew with ")
    assert checks["end to end"]["finding"] == "No bundle can be built until device.toml can be used."


def test_a_card_of_the_users_that_is_broken_blames_no_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examined: Examined
) -> None:
    (tmp_path / "labels.json").write_text('{"labels": 1}')
    monkeypatch.setenv("SHELFMATCH_ENCODERS", str(tmp_path))
    can_run, _, checks = examined("runtime")
    assert can_run and checks["litert"]["status"] == checks["onnx"]["status"] == "ok"


def test_an_encoder_of_the_device_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text(f'version = 1\n[build]\nencoder = "{tmp_path / ("far" * 60)}/gone.tflite"\n')
    monkeypatch.setenv("SHELFMATCH_DEVICE", str(settings))
    examination = Examination(tmp_path)
    assert examination._device().status == "ok"
    check = examination._job()
    assert check.status == "problem" and check.advice == "Mend that, then run the doctor again."
    assert "gone.tflite', which isn't there; expected a file that is; mend or remove it" in check.finding


# numpy 1 and numpy 2, and a usearch that kills


@pytest.mark.slow
def test_numpy_1_against_2(fetched: Callable[..., Path]) -> None:
    tflite_runtime, numpy_1 = fetched("tflite-runtime==2.14.0"), fetched("numpy==1.26.4")
    _, document, checks = diagnosis(first=tflite_runtime)
    assert "tflite-runtime" in checks["tflite-runtime"]["finding"] and document["runtime"] == "litert"
    assert f"was built for numpy 1 and finds numpy {np.__version__}" in checks["tflite-runtime"]["finding"]
    assert "pip install 'numpy<2'" in checks["tflite-runtime"]["advice"]
    assert "Broken, but not needed for it: tflite-runtime." in document["summary"]
    code, _, checks = diagnosis(first=Path(f"{numpy_1}{os.pathsep}{tflite_runtime}"))
    assert code == 0 and checks["numpy"]["version"] == "1.26.4"
    assert checks["litert"]["status"] == checks["tflite-runtime"]["status"] == "ok"
    assert checks["tflite-runtime"]["cosine"] >= LEAST_COSINE


@pytest.mark.slow
def test_numpy_1_with_what_was_built_for_2_only(fetched: Callable[..., Path], tmp_path: Path) -> None:
    """What asks for the inner modules of numpy 2, as packages compiled for it do, in an extra's place."""
    numpy_1 = fetched("numpy==1.26.4")
    (numpy_1 / "simplejpeg.py").write_text("import numpy._core.strings\n")
    code, _, checks = diagnosis(first=numpy_1)
    assert code == 0 and checks["simplejpeg"]["status"] == "problem"
    assert "was built for numpy 2 and finds numpy 1.26.4" in checks["simplejpeg"]["finding"]
    assert "pip install --upgrade numpy" in checks["simplejpeg"]["advice"]


@pytest.mark.slow
def test_a_usearch_that_ends_the_process_before_onnxruntime(fetched: Callable[..., Path]) -> None:
    code, document, checks = diagnosis(first=fetched("usearch==2.26.3"))
    if checks["import order"]["status"] == "ok":
        pytest.skip("usearch 2.26.3 gets along with the ONNX Runtime that is installed")
    assert code == 0 and "import order" in document["summary"]
    assert "usearch.index, then" in checks["import order"]["finding"]
    assert "pip install 'usearch<2.26'" in checks["import order"]["advice"]
