"""The peers' virtual environments, one each with pinned versions, and the workers that run in them.

    python benchmarks/peers.py                      # all of them, about 3.2 GB
    python benchmarks/peers.py search mediapipe     # or some
    python benchmarks/peers.py --envs DIR           # elsewhere than $SHELFMATCH_BENCH_ENVS or ~/.cache/shelfmatch-bench

An environment that is there, whole and of the same pins is left alone. The benchmarks make the ones they need by
themselves. Debian packages that wheels can't bring: libegl1 and libgles2 (mediapipe), libusb-1.0-0 (tasklib), g++ and
Python's headers (search: hnswlib has no wheel). `tasklib` and `tflite` need Python 3.11, the last that they have
wheels for.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import reporting

WORKERS = Path(__file__).resolve().parent / "workers"
_STAMP = "shelfmatch-peer.json"
_ENVS_VARIABLE = "SHELFMATCH_BENCH_ENVS"
_chosen_root: Path | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """What goes into an environment, and the imports that prove it. `python`: the only version its wheels are for."""

    requirements: tuple[str, ...]
    imports: str
    python: str | None = None
    system: str = ""


PEERS: dict[str, Peer] = {
    "mediapipe": Peer(
        ("mediapipe==1.2.2", "numpy==2.4.6"),
        "from mediapipe.tasks.python import vision; import mediapipe.tasks.python.vision.image_embedder",
        system="libegl1 libgles2",
    ),
    "tasklib": Peer(
        # tflite-support was built for numpy 1.
        ("tflite-support==0.4.4", "numpy==1.26.4"),
        "from tflite_support.task import vision",
        python="3.11",
        system="libusb-1.0-0",
    ),
    "tflite": Peer(
        # The last release; under numpy 2 its first model fails with a SystemError.
        ("tflite-runtime==2.14.0", "numpy==1.26.4", "pillow==13.0.0"),
        "import tflite_runtime.interpreter, PIL",
        python="3.11",
    ),
    "search": Peer(
        ("faiss-cpu==1.15.1", "hnswlib==0.8.0", "numpy==2.4.6"),
        "import faiss, hnswlib",
        system="g++ python3-dev",
    ),
    "convert": Peer(
        # tf2onnx reads .tflite through TensorFlow. tflite2onnx 0.4.1 would do without, but knows no per-channel
        # quantization (MobileNetV2) and makes the uint8 input a float one.
        (
            "tf2onnx==1.17.0",
            "tensorflow-cpu==2.21.0; platform_machine == 'x86_64'",
            "tensorflow==2.21.0; platform_machine != 'x86_64'",
            "onnx==1.23.2",
            "onnxruntime==1.32.0",
            "numpy==2.4.6",
            "pillow==13.0.0",
        ),
        "import tf2onnx, onnxruntime, PIL",
    ),
}


class PeerUnavailable(SystemExit):
    """An environment can't be made here; not caught, it ends the benchmark with a message that says what is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--envs`, for the benchmarks that need a peer; call `use` with what it got."""
    parser.add_argument(
        "--envs",
        type=Path,
        metavar="DIR",
        help=f"the peers' environments (default: ${_ENVS_VARIABLE} or ~/.cache/shelfmatch-bench)",
    )


def use(root: Path | None) -> None:
    """Keep the environments under `root` from now on; None leaves the default."""
    global _chosen_root
    _chosen_root = root


def envs_folder() -> Path:
    """Where the environments are."""
    default = os.environ.get(_ENVS_VARIABLE) or Path.home() / ".cache" / "shelfmatch-bench"
    return (_chosen_root or Path(default)).expanduser().absolute()


def environment(name: str) -> Path:
    """The python of a peer's environment, made first where it isn't there. Raises PeerUnavailable."""
    if name not in PEERS:
        raise PeerUnavailable(f"unknown peer {name!r}; expected {', '.join(PEERS)}")
    folder = envs_folder() / name
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{name}.lock").open("w") as lock:  # two benchmarks may want the same one
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = _base_python(name)
        stamp = {"requirements": list(PEERS[name].requirements), "python": _version_of(name, base)}
        if not _is_made(folder, stamp):
            _make(name, folder, base)
            installed = _run(name, [str(python), "-m", "pip", "list", "--format=json"]).stdout
            versions = {package["name"].replace("_", "-"): package["version"] for package in json.loads(installed)}
            (folder / _STAMP).write_text(
                json.dumps({**stamp, "installed": versions}, indent=2) + "\n", encoding="utf-8"
            )
    return python


def installed_versions(name: str) -> dict[str, str]:
    """Package → version of an environment that is made."""
    versions: dict[str, str] = json.loads((envs_folder() / name / _STAMP).read_text(encoding="utf-8"))["installed"]
    return versions


def _base_python(name: str) -> str:
    wanted = PEERS[name].python
    if wanted is None or wanted == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise PeerUnavailable(f"peer {name} has wheels for Python {wanted} only, and python{wanted} is not on the PATH")
    return found


def _version_of(name: str, python: str) -> str:
    if python == sys.executable:
        return f"{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _run(name, [python, "-c", code]).stdout.strip()


def _is_made(folder: Path, stamp: dict[str, Any]) -> bool:
    try:
        found = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (folder / "bin" / "python").exists() and all(found.get(key) == value for key, value in stamp.items())


def _make(name: str, folder: Path, base: str) -> None:
    print(f"making the environment {name} in {folder} …", file=sys.stderr, flush=True)
    peer = PEERS[name]
    (folder / _STAMP).unlink(missing_ok=True)
    _run(name, [base, "-m", "venv", "--clear", str(folder)])
    python = str(folder / "bin" / "python")
    _run(name, [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements])
    _run(name, [python, "-c", peer.imports])


def _run(name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, env=_clean_environment(), stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join(line[:300] for line in (done.stderr or done.stdout).strip().splitlines()[-4:])
        hint = f" It needs Debian's {PEERS[name].system}." if PEERS[name].system else ""
        raise PeerUnavailable(
            f"peer {name} can't be had here: {' '.join(command[1:4])} … exited {done.returncode}.{hint}\n{tail}"
        )
    return done


def _clean_environment(**extra: str) -> dict[str, str]:
    """This process's variables without those that would let its own packages into a peer's environment."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return {**kept, **extra}


ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GLOG_minloglevel": "2",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


class Worker:
    """A process that answers requests, one JSON object a line (workers/line_protocol.py).

    `peer`: the environment it runs in; None is the running interpreter, where shelfmatch is. `core` pins it to a core.
    """

    def __init__(
        self,
        peer: str | None,
        script: str,
        *arguments: str | Path,
        core: int | None = None,
        package_path: Path | None = None,
    ) -> None:
        python = sys.executable if peer is None else str(environment(peer))
        variables = _clean_environment(**ONE_THREAD)
        if package_path is not None:
            variables["PYTHONPATH"] = str(package_path)
        elif peer is None and "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        self.name = script if peer is None else f"{peer}: {script}"
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(WORKERS / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=variables,
        )
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})

    def send(self, operation: str, **request: Any) -> None:
        """Ask without waiting; `receive` gets the answer. One request at a time."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"operation": operation, **request}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f"worker {self.name} is gone: {self._last_words()}") from None

    def receive(self) -> dict[str, Any]:
        """The answer to what was sent. Raises RuntimeError with the worker's own message."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"worker {self.name} died: {self._last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"worker {self.name}: {reply['error']}")
        return reply

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:
        """Send and wait."""
        self.send(operation, **request)
        return self.receive()

    def _last_words(self) -> str:
        self._process.wait(timeout=30)
        self._errors.seek(0)
        return " | ".join(self._errors.read().strip().splitlines()[-4:])

    def close(self) -> None:
        """End the process by ending its input."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PEERS)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the installed versions")
    add_arguments(parser)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in PEERS]
    if unknown:
        parser.error(f"unknown peer {unknown[0]!r}; expected {', '.join(PEERS)}")
    use(arguments.envs)
    rows, document, failed = [], {}, False
    for name in arguments.names or PEERS:
        try:
            environment(name)
        except PeerUnavailable as error:
            failed = True
            print(error, file=sys.stderr)
            rows.append((name, "not available"))
            continue
        document[name] = installed_versions(name)
        pinned = [requirement.partition(";")[0].partition("==")[0] for requirement in PEERS[name].requirements]
        rows.append((name, ", ".join(f"{p} {document[name][p]}" for p in dict.fromkeys(pinned) if p in document[name])))
    reporting.print_table(f"Environments under {envs_folder()}", ("peer", "versions"), rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
