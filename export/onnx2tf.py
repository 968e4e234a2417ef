"""ONNX → TFLite by onnx2tf, which lives in an environment of its own: it pins other versions of what we use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import onnx_graph, tflite_graph
from .encoders import Projection
from .errors import ExportError

ONNX2TF = "SHELFMATCH_ONNX2TF"
"""Names the onnx2tf command."""
_VERSION = "2.6.7"
"""The one that conversions were measured with; it takes Python 3.12 and later."""
_PYTHONS = ("python3.12", "python3.13", "python3.14", "python3")


def environment() -> Path:
    """Where `set_up` puts it (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "shelfmatch" / "onnx2tf"


def set_up(say: Callable[[str], None]) -> Path:
    """Make an environment with onnx2tf by a Python of 3.12 or later and pip; its command. What pip does is told line by line.

    Raises ExportError where there is no such Python, or pip fails; then nothing is left.
    """
    folder = environment()
    command = folder / "bin" / "onnx2tf"
    if _answers([str(command), "--version"]):
        return command
    python = next((name for name in (sys.executable, *_PYTHONS) if _answers([name, "-c", _RECENT])), None)
    if python is None:
        raise ExportError(
            "onnx2tf needs Python 3.12 or later beside this one, and no python3.12, python3.13 or python3.14 is there; install "
            "one (apt-get install python3.12, or uv python install 3.12), and run this again"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        for arguments in (
            [python, "-m", "venv", str(folder)],
            [
                str(folder / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                f"onnx2tf=={_VERSION}",
            ],
        ):
            _run_told(arguments, say)
        if not _answers([str(command), "--version"]):
            raise ExportError(f"onnx2tf was installed to {folder} and doesn't run; try {command} --version")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return command


_RECENT = "import sys, venv; sys.exit(sys.version_info < (3, 12))"


def _clean() -> dict[str, str]:
    """The environment without what would lead another Python into this one's packages."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def _answers(arguments: list[str]) -> bool:
    try:
        done = subprocess.run(arguments, env=_clean(), capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _run_told(arguments: list[str], say: Callable[[str], None]) -> None:
    last = ""
    with subprocess.Popen(
        arguments, env=_clean(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                last = line.strip() or last
                say(line.rstrip())
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # pip starts others
            raise
    if process.returncode:
        raise ExportError(f"{' '.join(arguments[1:4])} failed: {last[:200]}")


def _command() -> str | None:
    """What the variable names, what is on the path, or what `set_up` made."""
    made = environment() / "bin" / "onnx2tf"
    return os.environ.get(ONNX2TF) or shutil.which("onnx2tf") or (str(made) if made.is_file() else None)


def write_onnx(model: bytes, dimension: int, path: Path, projection: Projection | None) -> None:
    """Write a float graph, projected where asked."""
    path.write_bytes(onnx_graph.with_projection(model, projection, dimension) if projection else model)


def onnx_to_tflite(model: bytes, dimension: int, layout: str, path: Path, projection: Projection | None) -> None:
    """onnx2tf, run as a program of an environment of its own."""
    command = _command()
    if command and Path(command).name != command:
        command = str(Path(command).absolute())  # it runs in a folder of its own
    if not command:
        raise ExportError(
            "ONNX → TFLite needs onnx2tf, which can't live beside the other tools: shelfmatch export --setup-onnx2tf makes it an "
            f"environment of its own; or {ONNX2TF}=COMMAND names one, or --to onnx"
        )
    with tempfile.TemporaryDirectory(prefix="shelfmatch-onnx2tf-") as name:
        folder = Path(name)
        write_onnx(onnx_graph.with_fixed_batch(model), dimension, folder / "model.onnx", projection)
        arguments = [command, "-i", "model.onnx", "-o", "out", "-tb", "flatbuffer_direct"]
        if layout == "NHWC":
            arguments += ["-kat", onnx_graph.parse(model).graph.input[0].name]
        try:
            done = subprocess.run(
                arguments, cwd=folder, env=_clean(), capture_output=True, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=1800,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"{command} can't be run ({error}); set {ONNX2TF} to onnx2tf's command") from error
        if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
            raise ExportError(
                "onnx2tf was killed, by the kernel for want of memory if by nobody else (dmesg tells); export it on a machine with "
                "more, or with fewer other programs, or to ONNX alone with --to onnx"
            )
        made = sorted((folder / "out").glob("*float32.tflite"))
        if done.returncode or not made:
            last = ([line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no message"])[-1]
            raise ExportError(f"onnx2tf failed: {last.strip()[:200]}; export to ONNX alone with --to onnx")
        path.write_bytes(tflite_graph.with_signature(tflite_graph.renamed_tensors(made[0].read_bytes())))
