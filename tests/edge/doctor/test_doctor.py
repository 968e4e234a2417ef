"""`shelfmatch doctor` in environments that are really broken: packages missing, raising, dying, hanging, calculating wrongly."""

from __future__ import annotations

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
from shelfmatch.edge.doctor import machine_checks
from shelfmatch.edge.doctor.advice import Failure, explained
from shelfmatch.edge.doctor.check import Check
from shelfmatch.edge.doctor.checks import RUNTIME_PACKAGES, Examination, run_probe
from shelfmatch.edge.doctor.diagnosis import Diagnosis
from shelfmatch.edge.encoders.golden import LEAST_COSINE, GoldenEmbedding, embedded_cards, golden_file, golden_of
from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER, read_card
from shelfmatch.edge.encoders.runtimes import RUNTIMES
from shelfmatch.edge.machine import cpu

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
    assert document["runtime"] == checks["main job"]["runtime"] == "litert"
    assert document["summary"].startswith("This machine can do the main job; its runtime is litert.")
    assert [checks[name]["status"] for name in ("numpy", "pillow", "litert", "index", "main job")] == ["ok"] * 5
    assert checks["litert"]["cosine"] >= LEAST_COSINE and checks["litert"]["encode_ms"] > 0
    code, output, _ = doctor("--folder", str(tmp_path))
    assert code == 0 and str(tmp_path) in output and "LiteRT" in output.splitlines()[3]


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


def test_without_what_can_be_done_without(tmp_path: Path) -> None:
    python = environment_without(tmp_path, "onnxruntime", "usearch", "numkong", "cv2", "simplejpeg", "pillow_heif")
    code, document, checks = diagnosis(python)
    assert code == 0, document
    assert {checks[name]["status"] for name in ("onnx", "cv2", "simplejpeg", "pillow_heif")} == {"absent"}
    assert checks["index"]["status"] == "advice" and "pip install usearch numkong" in checks["index"]["advice"]


@pytest.mark.parametrize(("files", "name"), [(("numpy",), "numpy"), (("PIL", "pillow"), "pillow")])
def test_without_numpy_or_pillow(files: tuple[str, ...], name: str, tmp_path: Path) -> None:
    code, document, checks = diagnosis(environment_without(tmp_path, *files))
    assert code == 1 and document["runtime"] is None
    assert checks[name]["status"] == "problem" and checks[name]["advice"] == f"pip install {name}"
    assert "must work first" in checks["litert"]["finding"] and checks["main job"]["status"] == "problem"
    assert f"mend first: {name}" in document["summary"]


# Packages that are broken


@pytest.mark.parametrize("name", ["numpy", "PIL"])
def test_numpy_or_pillow_that_die_or_raise(name: str, package: Callable[..., Path]) -> None:
    code, _, checks = diagnosis(first=package(**{name: DIES}))
    check = checks["pillow" if name == "PIL" else name]
    assert code == 1 and check["status"] == "problem" and check["signal"] == 4
    assert "an instruction that this processor doesn't have" in check["finding"]
    assert "built for a newer processor" in check["advice"]
    code, _, checks = diagnosis(first=package(**{name: "raise ImportError('version `GLIBC_2.99\\' not found')"}))
    check = checks["pillow" if name == "PIL" else name]
    assert code == 1 and "built for a newer Linux" in check["finding"] and check["signal"] is None


def test_a_runtime_that_dies_on_import(package: Callable[..., Path]) -> None:
    code, document, checks = diagnosis(first=package(ai_edge_litert=DIES, onnxruntime=DIES))
    assert code == 1 and checks["litert"]["signal"] == checks["onnx"]["signal"] == 4
    assert "dies while ai_edge_litert.interpreter was being imported" in checks["litert"]["finding"]
    assert "mend first: litert, onnx" in document["summary"]
    assert "1.21.0 is known" in checks["onnx"]["advice"]


def test_a_broken_runtime_that_is_not_needed(package: Callable[..., Path]) -> None:
    missing = "raise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')"
    code, document, checks = diagnosis(first=package(onnxruntime=missing))
    assert code == 0 and document["runtime"] == "litert"
    assert "Broken, but not needed for it: onnx." in document["summary"]
    assert "needs the system's library libgomp.so.1" in checks["onnx"]["finding"]
    assert checks["onnx"]["advice"] == "As root: apt-get install libgomp1"


def test_an_index_library_that_dies(package: Callable[..., Path]) -> None:
    """Every shop needs NumKong where it is installed, only very large ones usearch."""
    code, document, checks = diagnosis(first=package(usearch=DIES))
    assert code == 0 and "Broken, but not needed for it: index." in document["summary"]
    assert (
        checks["index"]["signal"] == 4 and "Only shops with some hundred thousand photos" in checks["index"]["finding"]
    )
    code, document, checks = diagnosis(first=package(usearch="", numkong=DIES))
    assert code == 1 and "mend first: index" in document["summary"]
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


@pytest.mark.parametrize(
    ("method", "finding"),
    [
        (
            "def get_tensor(self, index): return super().get_tensor(index)[..., ::-1].copy()",
            "calculates wrongly on this machine: the embedding of ",
        ),
        ("def invoke(self): os.kill(os.getpid(), signal.SIGSEGV)", "crashes while it was calculating (SIGSEGV)"),
        ("def allocate_tensors(self): os.kill(os.getpid(), signal.SIGILL)", "dies while it loaded an encoder"),
    ],
    ids=["wrong numbers", "dies when run", "dies when loading"],
)
def test_a_runtime_that_imports_and_then(method: str, finding: str, package: Callable[..., Path]) -> None:
    first = package(ai_edge_litert=BEHIND.replace("{method}", method))
    code, document, checks = diagnosis(first=first)
    assert code == 1 and document["runtime"] is None, document
    assert finding in checks["litert"]["finding"] and checks["litert"]["advice"]


def test_an_extra_that_takes_the_main_job_with_it(package: Callable[..., Path]) -> None:
    """OpenCV is used wherever it is installed."""
    code, document, checks = diagnosis(first=package(cv2=DIES))
    assert code == 1 and "mend first: cv2" in document["summary"]
    assert "pip uninstall opencv-python-headless" in checks["cv2"]["advice"]


def test_a_runtime_that_hangs(package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(package(onnxruntime="import time\ntime.sleep(60)")))
    start = time.monotonic()
    outcome = run_probe("runtime", "onnx", timeout_s=3)
    assert time.monotonic() - start < 20
    assert isinstance(outcome, Failure) and outcome.timeout_s == 3 and outcome.stage == "import onnxruntime"
    assert "did not finish within 3 s" in explained(outcome, "ONNX Runtime", "onnxruntime", "2.0")[0]


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


def test_a_device_file_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "device.toml"
    settings.write_text("version = 1\n[match]\nthreads = -2\n")
    monkeypatch.setenv("SHELFMATCH_DEVICE", str(settings))
    code, document, checks = diagnosis()
    assert code == 1 and document["summary"].endswith("can't do the main job yet: mend first: device.toml.")
    assert checks["device.toml"]["finding"].endswith("threads is -2; expected a whole number from 1 to 256.")
    assert checks["device.toml"]["advice"].startswith("Mend or remove it, or write it anew with ")
    assert checks["main job"]["finding"] == "The main job can't begin until device.toml can be used."


def test_a_card_of_the_users_that_is_broken_blames_no_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.json").write_text('{"labels": 1}')
    monkeypatch.setenv("SHELFMATCH_ENCODERS", str(tmp_path))
    code, _, checks = diagnosis()
    assert code == 0 and checks["litert"]["status"] == checks["onnx"]["status"] == "ok"


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


# What messages mean


@pytest.mark.parametrize(
    ("message", "numpy", "finding", "advice"),
    [
        (
            "ImportError: numpy.core.multiarray failed to import",
            "2.4.6",
            "built for numpy 1 and finds numpy 2.4.6",
            "--upgrade odd",
        ),
        (
            "ImportError: numpy.core.multiarray failed to import",
            "1.26.4",
            "built for numpy 2 and finds numpy 1.26.4",
            "--upgrade numpy",
        ),
        ("AttributeError: _ARRAY_API not found", "2.0.0", "built for numpy 1", "built for numpy 2"),
        (
            "ValueError: numpy.dtype size changed, may indicate binary incompatibility",
            "2.0.0",
            "built for numpy 1",
            "--upgrade odd",
        ),
        (
            "ImportError: libGL.so.1: cannot open shared object file: No such file",
            "2",
            "library libGL.so.1",
            "apt-get install libgl1",
        ),
        (
            "ImportError: libodd.so.7: cannot open shared object file: No such file",
            "2",
            "library libodd.so.7",
            "apt-file search",
        ),
        (
            "ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found (required by x.so)",
            "2",
            "newer Linux",
            "Upgrade the operating",
        ),
        ("ImportError: x.so: wrong ELF class: ELFCLASS32", "2", "another kind of processor", "--force-reinstall"),
        ("ImportError: libgomp.so.1: cannot allocate memory in static TLS block", "2", "loaded too late", "LD_PRELOAD"),
        (
            "ModuleNotFoundError: No module named 'odd.parts'",
            "2",
            "a part is missing: the module odd.parts",
            "--force-reinstall",
        ),
        ("ImportError: x.so: undefined symbol: PyFoo", "2", "a mixture of two versions", "from apt as well"),
        ("MemoryError: ", "2", "ran out of memory", "swap"),
        (
            "RuntimeError: something new",
            "2",
            "fails while odd was being imported: RuntimeError: something new",
            "--force-reinstall",
        ),
    ],
)
def test_what_messages_mean(message: str, numpy: str, finding: str, advice: str) -> None:
    kind, _, text = message.partition(": ")
    told = explained(Failure("import odd", raised=((kind, text),)), "Odd 1.0", "odd", numpy)
    assert finding in told[0] and advice in told[1] and "\n" not in told[0] + told[1]


@pytest.mark.parametrize(
    ("number", "finding"), [(4, "SIGILL"), (9, "memory ran out"), (11, "SIGSEGV"), (6, "SIGABRT"), (99, "signal 99")]
)
def test_what_signals_mean(number: int, finding: str) -> None:
    told = explained(Failure("load", signal=number), "Odd 1.0", "odd", "2")
    assert finding in told[0] and "while it loaded an encoder" in told[0] and told[1]


def test_wrong_numbers_of_onnx_runtime_without_vnni(tmp_path: Path) -> None:
    wrong = Failure("run", raised=(("WrongNumbers", "a cosine of 0.985"),))
    finding, advice = explained(wrong, "ONNX Runtime 1.32.0", "onnxruntime", "2", saturates=True)
    assert "a cosine of 0.985. The likely cause: this x86 processor has no VNNI" in finding
    assert "pip install 'shelfmatch[litert]'" in advice and "fp32" in advice and "--upgrade" not in advice
    assert "--upgrade onnxruntime" in explained(wrong, "ONNX Runtime 1.32.0", "onnxruntime", "2")[1]
    assert "VNNI" not in explained(wrong, "LiteRT", "ai-edge-litert", "2", saturates=True)[0]


@pytest.mark.parametrize(
    ("cpuinfo", "saturates"),
    [
        ("flags\t\t: fpu avx2 avx512f\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("flags\t\t: fpu avx2 avx_vnni\n", False),
        ("Features\t: fp asimd\n", False),
        (None, False),
    ],
)
def test_processors_whose_sums_saturate(cpuinfo: str | None, saturates: bool, tmp_path: Path) -> None:
    if cpuinfo is not None:
        write(tmp_path, {"proc/cpuinfo": "processor\t: 0\n" + cpuinfo})
    assert cpu.saturates(tmp_path) == saturates


def test_the_doctor_asks_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "saturates", lambda: True)
    wrong = Failure("run", raised=(("WrongNumbers", "a cosine of 0.985"),))
    assert "VNNI" in Examination(tmp_path)._failed("onnx", RUNTIME_PACKAGES["onnx"], wrong).finding


@pytest.mark.parametrize(
    ("sound", "advice"),
    [({"litert", "onnx"}, "--upgrade ai-edge-litert onnxruntime"), ({"usearch", "onnx"}, "usearch<2")],
)
def test_usearch_is_blamed_only_where_it_was_there(
    sound: set[str], advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmatch.edge.doctor.checks.run_probe", lambda *_: Failure("import", signal=6))
    monkeypatch.setattr("shelfmatch.edge.doctor.checks._version", lambda _: "")
    examination = Examination(tmp_path)
    examination._sound = sound
    check = examination._order()
    assert (
        check.status == "problem" and advice in check.advice and check.advice.count("usearch") == ("usearch" in sound)
    )


def test_what_the_summary_calls_broken() -> None:
    onnx = Check("onnx", "problem", "", needed=False)
    memory = Check("memory", "problem", "")
    index, job = Check("index", "problem", ""), Check("main job", "problem", "The job is lost.")
    ran = "This machine can do the main job; its runtime is litert."
    assert Diagnosis((memory, job), True, "litert").summary == f"{ran} It is short of memory, though: see above."
    assert "needed for it: onnx. It is short" in Diagnosis((onnx, memory, job), True, "litert").summary
    assert Diagnosis((job,), True, "litert").summary == ran
    assert Diagnosis((onnx, index, job), False, None).summary.endswith("mend first: index.")
    assert Diagnosis((onnx, job), False, None).summary.endswith("yet: The job is lost.")


def test_every_runtime_has_a_package() -> None:
    assert {name: package.module for name, package in RUNTIME_PACKAGES.items()} == {
        name: runtime.module for name, runtime in RUNTIMES.items()
    }


# The board, from files like those of the kernel


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("available_kb", "limit", "status"),
    [
        (400_000, None, "ok"),
        (100_000, None, "advice"),
        (50_000, None, "problem"),
        (400_000, "60000000", "problem"),
        (400_000, "max", "ok"),
    ],
)
def test_memory(available_kb: int, limit: str | None, status: str, tmp_path: Path) -> None:
    files = {"proc/meminfo": f"MemTotal:      500000 kB\nMemFree: 20 kB\nMemAvailable: {available_kb} kB\n"}
    if limit is not None:
        files["sys/fs/cgroup/memory.max"] = limit + "\n"
    assert machine_checks.memory(write(tmp_path, files)).status == status


@pytest.mark.parametrize(
    ("group", "files", "free_mb"),
    [
        ("", {"memory.max": "100000000", "memory.current": "60000000", "memory.stat": "inactive_file 0\n"}, 40),
        (
            "",
            {"memory.max": "100000000", "memory.current": "90000000", "memory.stat": "anon 1\ninactive_file 30000000"},
            40,
        ),
        ("", {"memory.max": "100000000"}, 100),
        ("", {"memory.max": "100000000", "memory.current": "110000000", "memory.stat": ""}, 0),
        (
            "/memory",
            {
                "memory.limit_in_bytes": "100000000",
                "memory.usage_in_bytes": "75000000",
                "memory.stat": "total_inactive_file 0",
            },
            25,
        ),
    ],
)
def test_memory_that_a_container_has_left(group: str, files: dict[str, str], free_mb: int, tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal:      500000 kB\nMemAvailable: 400000 kB\n"})
    write(tmp_path, {f"sys/fs/cgroup{group}/{name}": text for name, text in files.items()})
    assert machine_checks.memory(tmp_path).details == {"total_mb": 100, "available_mb": free_mb}


def test_the_hottest_of_sensors_of_one_name(tmp_path: Path) -> None:
    for number, degrees in enumerate([50, 85, 60]):
        folder = f"sys/class/thermal/thermal_zone{number}"
        write(tmp_path, {f"{folder}/temp": f"{degrees}000\n", f"{folder}/type": "cpu\n"})
    check = machine_checks.temperature(tmp_path)
    assert check.status == "advice" and check.details == {"celsius": {"cpu": 85.0}}


def test_temperature(tmp_path: Path) -> None:
    assert machine_checks.temperature(tmp_path).status == "absent"
    write(
        tmp_path,
        {"sys/class/thermal/thermal_zone0/temp": "51540\n", "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n"},
    )
    check = machine_checks.temperature(tmp_path)
    assert (check.status, check.finding) == ("ok", "52 °C at the sensor cpu-thermal.")
    write(
        tmp_path, {"sys/class/thermal/thermal_zone1/temp": "83000\n", "sys/class/thermal/thermal_zone1/type": "gpu\n"}
    )
    write(
        tmp_path, {"sys/class/thermal/thermal_zone2/temp": "-274000\n", "sys/class/thermal/thermal_zone2/type": "x\n"}
    )
    check = machine_checks.temperature(tmp_path)
    assert check.status == "advice" and "83 °C at the sensor gpu" in check.finding and "heat sink" in check.advice


def test_camera(tmp_path: Path) -> None:
    assert machine_checks.camera(tmp_path).status == "absent"
    videos = {
        0: ("HD Webcam C615", "0"),
        1: ("HD Webcam C615", "1"),
        10: ("bcm2835-codec-decode", "0"),
        14: ("bcm2835-isp-output0", "0"),
    }
    for number, (name, index) in videos.items():
        folder = f"sys/class/video4linux/video{number}"
        write(tmp_path, {f"{folder}/name": name + "\n", f"{folder}/index": index + "\n"})
    check = machine_checks.camera(tmp_path)  # its device file is not there, so it can't be opened
    assert (
        check.status == "advice"
        and check.details["cameras"] == {"/dev/video0": "HD Webcam C615"}
        and "usermod" in check.advice
    )
    write(tmp_path, {"dev/video0": ""})
    assert machine_checks.camera(tmp_path).status == "ok"


@pytest.mark.parametrize(
    ("name", "is_camera"),
    [
        ("Studio Display Camera", True),
        ("Crispy Cam", True),
        ("bcm2835-isp-capture0", False),
        ("rkisp1_stats", False),
        ("ISP output", False),
        ("pispbe-input", False),
    ],
)
def test_names_of_cameras(name: str, is_camera: bool, tmp_path: Path) -> None:
    write(tmp_path, {"sys/class/video4linux/video0/name": name + "\n", "sys/class/video4linux/video0/index": "0\n"})
    assert (machine_checks.camera(tmp_path).status != "absent") == is_camera


def test_disk(tmp_path: Path) -> None:
    assert machine_checks.disk(tmp_path).status == "ok" and list(tmp_path.iterdir()) == []
    unwritable = machine_checks.disk(Path("/proc"))
    assert unwritable.status == "advice" and "Nothing can be written to /proc" in unwritable.finding
