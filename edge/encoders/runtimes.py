"""The table of runtimes: which is installed, which one a file takes, and opening a network with it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import EncoderError, RuntimeUnavailable, ShelfmatchError
from ..memory_short import is_short, out_of_memory

if TYPE_CHECKING:  # `shelfmatch doctor` reads the table where numpy is broken
    from .card import Format
    from .session import Session


@dataclass(frozen=True, slots=True)
class Runtime:
    """A row of the table of runtimes: to add one, write an opener and a row (CONTRIBUTING.md)."""

    name: str
    module: str
    format: Format
    install: str

    @property
    def entry(self) -> str:
        """What to import to have its native code loaded: the package alone may load nothing."""
        return f"{self.module}.interpreter" if self.name in ("litert", "tflite-runtime") else self.module

    def is_installed(self) -> bool:
        """Whether its package can be found; nothing is imported."""
        return importlib.util.find_spec(self.module) is not None


RUNTIMES: dict[str, Runtime] = {
    "litert": Runtime("litert", "ai_edge_litert", "tflite", "pip install 'shelfmatch[litert]'"),
    "tflite-runtime": Runtime("tflite-runtime", "tflite_runtime", "tflite", "pip install tflite-runtime 'numpy<2'"),
    "onnx": Runtime("onnx", "onnxruntime", "onnx", "pip install 'shelfmatch[onnx]'"),
}
"""In order of preference for a file they both take."""


MOST_THREADS = 1024
"""More than any machine has cores; runtimes take what they are given, or raise a TypeError over several lines."""


def choose_runtime(file_format: Format, wanted: str = "auto") -> Runtime:
    """The runtime for a file: the one asked for, or the first installed one that takes the format.

    Raises RuntimeUnavailable that names what to install, EncoderError if the runtime doesn't take such files.
    """
    if wanted != "auto":
        if not isinstance(wanted, str) or wanted not in RUNTIMES:
            raise RuntimeUnavailable(f"unknown runtime {wanted!r}; expected auto, {', '.join(RUNTIMES)}")
        runtime = RUNTIMES[wanted]
        if runtime.format != file_format:
            raise EncoderError(f"runtime {wanted!r} runs .{runtime.format} files; the encoder is a .{file_format} file")
        candidates = [runtime]
    else:
        candidates = [runtime for runtime in RUNTIMES.values() if runtime.format == file_format]
    for runtime in candidates:
        if runtime.is_installed():
            return runtime
    raise RuntimeUnavailable(f"no runtime for .{file_format} files is installed; {candidates[0].install}")


def open_session(runtime: Runtime, model: bytes, threads: int) -> Session:
    """Load a network from its bytes. Raises EncoderError if the file is damaged or uses what the runtime lacks."""
    if threads < 1:
        raise EncoderError(f"threads is {threads}; expected at least 1")
    if threads > MOST_THREADS:
        raise EncoderError(f"threads is {threads}; expected at most {MOST_THREADS:,}, as many as there are cores")
    opener: Callable[[Runtime, bytes, int], Session]
    if runtime.format == "onnx":
        from ._ort import open_ort as opener
    else:
        from ._litert import open_litert as opener
    try:
        return opener(runtime, model, threads)
    except ShelfmatchError:
        raise
    except Exception as error:
        ours = _refused(runtime, error)
        if ours is None:
            raise
        raise ours from error


def _refused(runtime: Runtime, error: Exception) -> ShelfmatchError | None:
    """What a runtime raised on loading a file, as an error of ours; None where it is none of the runtime's."""
    reason = " ".join(str(error).split())[:200]
    if is_short(error):
        return out_of_memory(f"{runtime.name} was loading the encoder ({reason})")
    if isinstance(error, ImportError):
        return RuntimeUnavailable(f"{runtime.name} can't be imported ({error}); {runtime.install}")
    if isinstance(error, SystemError):
        # tflite-runtime was built for numpy 1 and fails so on its first model under numpy 2.
        return RuntimeUnavailable(f"{runtime.name} doesn't work with this numpy ({error}); {runtime.install}")
    # onnxruntime raises classes of its own that share no base but Exception.
    if isinstance(error, (RuntimeError, ValueError)) or type(error).__module__.startswith("onnxruntime"):
        return EncoderError(f"{runtime.name} can't load the encoder: {reason}; is it a whole .{runtime.format} file?")
    return None


_PROBE = """
import importlib, importlib.metadata, sys
importlib.import_module(sys.argv[1])
try:
    version = importlib.metadata.version(sys.argv[2].replace("_", "-"))
except importlib.metadata.PackageNotFoundError:  # onnxruntime-gpu and its like
    version = getattr(sys.modules[sys.argv[2]], "__version__", "")
print()
print(version)
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a runtime did when imported in a process of its own."""

    runtime: str
    ok: bool
    version: str = ""
    problem: str = ""


def probe(runtime: Runtime, timeout_s: float = 60.0) -> Probe:
    """Import a runtime in a subprocess, so that one that dies takes nothing with it (onnxruntime#23957: SIGILL on a Pi 4)."""
    import subprocess  # 8 ms of a cold start that never probes

    if not runtime.is_installed():
        return Probe(runtime.name, False, problem=f"not installed; {runtime.install}")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, runtime.entry, runtime.module],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Probe(runtime.name, False, problem=f"did not import within {timeout_s:.0f} s; install another version")
    if done.returncode < 0:
        return Probe(
            runtime.name, False, problem=f"dies on import with signal {-done.returncode}; install another version"
        )
    if done.returncode:
        return Probe(runtime.name, False, problem=(done.stderr.strip().splitlines() or ["failed to import"])[-1])
    return Probe(runtime.name, True, version=done.stdout.splitlines()[-1])
