"""The packages' checks: each tried in a process of its own, and what came of it as a sentence."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from .. import device
from ..encoders.runtimes import RUNTIMES, Runtime
from ..errors import DeviceError
from ..machine import cpu
from . import machine_checks
from .advice import Failure, explained
from .check import Check, Status
from .probes import MARK

PROBE_TIMEOUT_S, JOB_TIMEOUT_S = 120.0, 300.0
"""A Raspberry Pi Zero 2 with a slow card takes ten seconds to import a runtime; what takes longer than this has stopped."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package as Python calls it, as people do, and as pip does (forks of it included)."""

    module: str
    title: str
    distributions: tuple[str, ...]
    use: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether it can be found; nothing is imported."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def distribution(self) -> str:
        """The fork that is installed, or the usual one."""
        return next((name for name in self.distributions if _version(name)), self.distributions[0])

    @property
    def version(self) -> str:
        """What pip says, or nothing."""
        return _version(self.distribution)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


NUMPY = Package("numpy", "numpy", ("numpy",))
PILLOW = Package("PIL", "Pillow", ("pillow", "pillow-simd"))
USEARCH = Package("usearch", "usearch", ("usearch",))
NUMKONG = Package("numkong", "NumKong", ("numkong",))
RUNTIME_PACKAGES = {
    "litert": Package("ai_edge_litert", "LiteRT", ("ai-edge-litert", "ai-edge-litert-nightly")),
    "tflite-runtime": Package("tflite_runtime", "tflite-runtime", ("tflite-runtime", "tflite-runtime-nightly")),
    "onnx": Package("onnxruntime", "ONNX Runtime", ("onnxruntime", "onnxruntime-gpu")),
}
EXTRAS = (
    Package(
        "cv2", "OpenCV", ("opencv-python-headless", "opencv-python", "opencv-contrib-python"), "resizes photos faster"
    ),
    Package("simplejpeg", "simplejpeg", ("simplejpeg",), "decodes JPEGs faster"),
    Package("pillow_heif", "pillow-heif", ("pillow-heif",), "reads photos of iPhones"),
)


def run_probe(*arguments: str, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, Any] | Failure:
    """One probe of `probes` in a process of its own: what it found, or how it ended."""
    import subprocess  # 8 ms that other commands don't need

    command = [sys.executable, "-P", "-m", f"{__package__}.probes", *arguments]
    timed_out = False
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
        process.kill()
        output, errors = process.communicate()
    except BaseException:  # the doctor is stopped
        process.kill()
        process.communicate()
        raise
    said: dict[str, Any] = {}
    for line in output.split("\n"):
        if line.startswith(MARK):
            said |= json.loads(line.removeprefix(MARK))
    if process.returncode == 0 and "found" in said:
        return dict(said["found"])
    return Failure(
        stage=said.get("stage", ""),
        signal=0 if timed_out else max(0, -process.returncode),
        timeout_s=timeout_s if timed_out else 0.0,
        raised=tuple((kind, message) for kind, message in said.get("raised", ())),
        output=errors[-4000:],
    )


class Probe(Protocol):
    """What `run_probe` does."""

    def __call__(self, *arguments: str, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, Any] | Failure: ...


class Examination:
    """The checks in their order, and what later ones take from earlier ones.

    `folder`: where bundles would be written. `probe` runs one probe, by default in a process of its own (`run_probe`): it takes
    the probe's name and arguments, and `timeout_s` by name, and returns what was found or how it ended.
    """

    def __init__(self, folder: Path, probe: Probe | None = None) -> None:
        self._folder = folder
        self._probe = probe if probe is not None else run_probe
        self._broken: list[str] = []
        self._sound: set[str] = set()
        self._has_explained = False
        self.can_run = False
        self.runtime: str | None = None

    def steps(self) -> list[Callable[[], Check]]:
        """One function a check."""
        return [
            machine_checks.processor,
            lambda: self._needed("numpy", NUMPY),
            lambda: self._needed("pillow", PILLOW),
            *(lambda runtime=runtime: self._runtime(runtime) for runtime in RUNTIMES.values()),
            self._index,
            self._order,
            *(lambda extra=extra: self._extra(extra) for extra in EXTRAS),
            self._device,
            lambda: machine_checks.disk(self._folder),
            machine_checks.memory,
            machine_checks.temperature,
            machine_checks.camera,
            self._job,
        ]

    def _needed(self, name: str, package: Package) -> Check:
        """numpy or Pillow: nothing goes without."""
        if not package.is_installed:
            self._broken.append(package.title)
            return Check(name, "problem", f"{package.title} isn't installed.", f"pip install {package.distribution}")
        outcome = self._probe(name)
        if isinstance(outcome, Failure):
            self._broken.append(package.title)
            return self._failed(name, package, outcome)
        return Check(name, "ok", f"{package.title} {outcome['version']} works.", details=outcome)

    def _failed(self, name: str, package: Package, failure: Failure, status: Status = "problem") -> Check:
        titled = f"{package.title} {package.version}".strip()
        finding, advice = explained(failure, titled, package.distribution, NUMPY.version, saturates=cpu.saturates())
        self._has_explained = True
        details = {
            "stage": failure.stage,
            "signal": failure.signal or None,
            "error": failure.last,
            "version": package.version,
        }
        return Check(name, status, finding, advice, details)

    def _waits(self, name: str, title: str) -> Check | None:
        """What can't be tried because numpy or Pillow is broken."""
        if not self._broken:
            return None
        return Check(name, "absent", f"{title} was not tried: {' and '.join(self._broken)} must work first.")

    def _runtime(self, runtime: Runtime) -> Check:
        package = RUNTIME_PACKAGES[runtime.name]
        if not package.is_installed:
            beside = [name for name in self._sound if RUNTIMES[name].format == runtime.format]
            use = (
                f"nor needed beside {beside[0]}" if beside else f"it runs .{runtime.format} encoders: {runtime.install}"
            )
            return Check(runtime.name, "absent", f"{package.title} isn't installed, {use}.")
        if (waiting := self._waits(runtime.name, package.title)) is not None:
            return waiting
        outcome = self._probe("runtime", runtime.name)
        if isinstance(outcome, Failure):
            # One that works and is preferred answers without it.
            return replace(self._failed(runtime.name, package, outcome), needed=not self._sound)
        self._sound.add(runtime.name)
        outcome["version"] = package.version
        titled = f"{package.title} {package.version}".strip()
        finding = f"{titled} gives the golden embedding of {outcome['encoder']}, in {outcome['encode_ms']:.1f} ms."
        return Check(runtime.name, "ok", finding, details=outcome)

    def _index(self) -> Check:
        missing = [package.title for package in (USEARCH, NUMKONG) if not package.is_installed]
        if (waiting := self._waits("index", "The index")) is not None:
            return waiting
        outcome = self._probe("index")
        if isinstance(outcome, Failure):
            package = USEARCH if outcome.stage == "hnsw" else NUMKONG
            check = self._failed("index", package if package.is_installed else NUMPY, outcome)
            if package is not USEARCH:
                self._broken.append("the index")
                return check
            finding = f"{check.finding} Only shops with some hundred thousand photos need it."
            return Check("index", "problem", finding, check.advice, check.details, needed=False)
        self._sound |= {"usearch"} if "hnsw" in outcome["kinds"] else set()
        details = {**outcome, "versions": {package.distribution: package.version for package in (USEARCH, NUMKONG)}}
        titles = " and ".join(
            f"{package.title} {package.version}" for package in (USEARCH, NUMKONG) if package.is_installed
        )
        if missing:
            what = f"The exact index works; {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing."
            return Check(
                "index", "advice", what, f"For quicker searches: pip install {' '.join(missing).lower()}", details
            )
        return Check("index", "ok", f"{titles} find what was put in.", details=details)

    def _order(self) -> Check:
        """Native libraries together, in both orders: usearch 2.26.3 before ONNX Runtime ends the process."""
        if (waiting := self._waits("import order", "The order of imports")) is not None:
            return waiting
        sound = ["usearch.index"] if "usearch" in self._sound else []
        sound += [runtime.entry for runtime in RUNTIMES.values() if runtime.name in self._sound]
        if len(sound) < 2:
            return Check("import order", "ok", "There are no two native libraries that could disturb each other.")
        for order in (sound, sound[::-1]):
            outcome = self._probe("import", *order)
            if isinstance(outcome, Failure):
                finding, _ = explained(outcome, f"Python with {', then '.join(order)}", "", NUMPY.version)
                advice = "Each alone works. pip install 'usearch<2.26', which goes with all of them; or import the others first."
                if "usearch.index" not in order:
                    names = [RUNTIME_PACKAGES[name].distribution for name in RUNTIMES if name in self._sound]
                    advice = f"Each alone works. Use one of them, or try other versions: pip install --upgrade {' '.join(names)}"
                details = {"order": order, "signal": outcome.signal or None}
                return Check("import order", "problem", finding, advice, details, needed=False)
        return Check("import order", "ok", f"{', '.join(sound)} get along in either order.", details={"modules": sound})

    def _extra(self, extra: Package) -> Check:
        if not extra.is_installed:
            return Check(extra.module, "absent", f"{extra.title} isn't installed; it {extra.use}.")
        outcome = self._probe("import", extra.module)
        if isinstance(outcome, Failure):
            check = self._failed(extra.module, extra, outcome)
            advice = f"{check.advice}; or do without: pip uninstall {extra.distribution}"
            return Check(extra.module, "problem", check.finding, advice, check.details)
        return Check(
            extra.module, "ok", f"{extra.title} {extra.version} can be used.", details={"version": extra.version}
        )

    def _device(self) -> Check:
        try:
            path, _ = device.find(), device.load()
        except DeviceError as error:
            self._broken.append("device.toml")
            finding, _, advice = str(error).rpartition("; ")
            return Check("device.toml", "problem", f"{finding}.", f"{advice[:1].upper()}{advice[1:]}")
        if path is None:
            return Check("device.toml", "absent", "There is none, so the defaults are used.")
        return Check("device.toml", "ok", f"{path} can be used.", details={"path": str(path)})

    def _job(self) -> Check:
        if self._broken:
            what = " and ".join(self._broken)
            return Check("end to end", "problem", f"No bundle can be built until {what} can be used.")
        with ExitStack() as stack:
            folder = []
            with suppress(OSError):  # the probe will say why
                # Made here: the probe can't tidy up if it dies.
                folder.append(stack.enter_context(tempfile.TemporaryDirectory(prefix="shelfmatch-doctor-")))
            outcome = self._probe("job", *folder, timeout_s=JOB_TIMEOUT_S)
        if isinstance(outcome, Failure):
            finding, advice = explained(outcome, "The end-to-end check", "shelfmatch", NUMPY.version)
            if outcome.raised and outcome.raised[0][0] != "WrongNumbers":
                kind, message = outcome.raised[0]
                what = "what is said above" if self._has_explained else "that"
                finding = f"The end-to-end check fails: {kind}: {' '.join(message.split()).rstrip('.')[:1000]}."
                advice = f"Mend {what}, then run the doctor again."
            return Check("end to end", "problem", finding, advice, {"stage": outcome.stage, "error": outcome.last})
        if outcome["runtime"] not in self._sound:
            finding = f"The end-to-end check passes, but with {outcome['runtime']}, which can't be trusted here."
            return Check(
                "end to end", "problem", finding, "Mend or uninstall that runtime; another is used then.", outcome
            )
        self.can_run, self.runtime = True, outcome["runtime"]
        finding = f"A small shop was built and a photo matched in {outcome['seconds']:.1f} s with {outcome['runtime']}."
        return Check("end to end", "ok", finding, details=outcome)
