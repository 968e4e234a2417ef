"""What a failed probe's message or signal means, and what a person is to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmatch.edge.doctor.advice import Failure, explained
from shelfmatch.edge.doctor.check import Check
from shelfmatch.edge.doctor.checks import RUNTIME_PACKAGES, Examination
from shelfmatch.edge.doctor.diagnosis import Diagnosis
from shelfmatch.edge.encoders.runtimes import RUNTIMES
from shelfmatch.edge.machine import cpu


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
    monkeypatch.setattr("shelfmatch.edge.doctor.checks._version", lambda _: "")
    examination = Examination(tmp_path, probe=lambda *_: Failure("import", signal=6))
    examination._sound = sound
    check = examination._order()
    assert (
        check.status == "problem" and advice in check.advice and check.advice.count("usearch") == ("usearch" in sound)
    )


def test_what_the_summary_calls_broken() -> None:
    onnx = Check("onnx", "problem", "", needed=False)
    memory = Check("memory", "problem", "")
    index, job = Check("index", "problem", ""), Check("end to end", "problem", "The job is lost.")
    ran = "This machine can run shelfmatch; its runtime is litert."
    assert Diagnosis((memory, job), True, "litert").summary == f"{ran} It is short of memory, though: see above."
    assert "needed for it: onnx. It is short" in Diagnosis((onnx, memory, job), True, "litert").summary
    assert Diagnosis((job,), True, "litert").summary == ran
    assert Diagnosis((onnx, index, job), False, None).summary.endswith("mend first: index.")
    assert Diagnosis((onnx, job), False, None).summary.endswith("yet: The job is lost.")


def test_every_runtime_has_a_package() -> None:
    assert {name: package.module for name, package in RUNTIME_PACKAGES.items()} == {
        name: runtime.module for name, runtime in RUNTIMES.items()
    }
