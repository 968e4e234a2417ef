"""What a probe's failure means, in sentences for somebody who set up the device and writes no code."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """How a probe ended: the stage it was in, and a signal, a time limit, or what it raised with its causes ((class, message), …).

    `output` is what it wrote on stderr; numpy explains there what the exception doesn't say.
    """

    stage: str
    signal: int = 0
    timeout_s: float = 0.0
    raised: tuple[tuple[str, str], ...] = ()
    output: str = ""

    @property
    def text(self) -> str:
        """All that was said, on one line."""
        return " ".join(" ".join([f"{kind}: {message}" for kind, message in self.raised] + [self.output]).split())

    @property
    def last(self) -> str:
        """The exception that came out, short, for who knows what to make of it."""
        if not self.raised:
            return self.output.strip().splitlines()[-1][:200] if self.output.strip() else "it ended without a word"
        kind, message = self.raised[0]
        return f"{kind}: {' '.join(message.split())[:200]}" if message else kind


_LIBRARIES = {
    "libgomp.so.1": "libgomp1",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libstdc++.so.6": "libstdc++6",
    "libopenblas.so.0": "libopenblas0",
    "libatomic.so.1": "libatomic1",
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libjpeg.so.62": "libjpeg62-turbo",
}
"""Shared libraries and the Debian packages that hold them."""

_CLASH = re.compile(
    r"_ARRAY_API|multiarray failed to import|compiled using NumPy|compiled against ABI version|numpy\.dtype size changed"
    r"|No module named 'numpy\._core|No module named 'numpy\.core|doesn't work with this numpy|compiled against API version"
)


def explained(
    failure: Failure, what: str, install: str, numpy_version: str, *, saturates: bool = False
) -> tuple[str, str]:
    """(what is wrong, what to do) as sentences. `what`: how the user calls it; `install`: the pip arguments that bring it;
    `saturates`: whether this processor's sums of 8-bit products stop at 16 bits."""
    reinstall = f"pip install --force-reinstall --no-cache-dir {install}"
    if failure.timeout_s:
        return (
            f"{what} did not finish within {failure.timeout_s:.0f} s ({_doing(failure.stage)}).",
            f"Try again when the machine is idle; if that doesn't help: {reinstall}",
        )
    if failure.signal:
        return _died(failure, what, install)
    if failure.raised and failure.raised[0][0] == "WrongNumbers":
        finding = f"{what} calculates wrongly on this machine: {failure.raised[0][1]}."
        if saturates and install.startswith("onnxruntime"):
            # https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (reduce_range)
            return (
                f"{finding} The likely cause: this x86 processor has no VNNI, and without it ONNX Runtime cuts sums of 8-bit "
                "products off at 16 bits.",
                "Another version won't help. Use LiteRT: pip install 'shelfmatch[litert]'; or, for your own encoder, its fp32 "
                ".onnx file, or export it again with shelfmatch export",
            )
        return (
            finding,
            f"Don't use it here, its answers are worth nothing. Another version may be right: pip install --upgrade {install}",
        )
    return _raised(failure, what, install, numpy_version, reinstall)


def _doing(stage: str) -> str:
    verb, _, rest = stage.partition(" ")
    return {
        "import": f"while {rest or 'it'} was being imported",
        "load": "while it loaded an encoder",
        "run": "while it was calculating",
        "build": "while a bundle was being built",
        "match": "while a photo was being matched",
    }.get(verb, f"at the step “{stage}”" if stage else "before its first step")


def _died(failure: Failure, what: str, install: str) -> tuple[str, str]:
    try:
        name = signal.Signals(failure.signal).name
    except ValueError:
        name = f"signal {failure.signal}"
    doing = _doing(failure.stage)
    if name == "SIGILL":
        return (
            f"{what} dies {doing}: it uses an instruction that this processor doesn't have (SIGILL).",
            "It was built for a newer processor. Another version may have been built for this one, often the one before: "
            f"pip index versions {install}, then pip install {install}==VERSION"
            + (" (1.21.0 is known for this on a Raspberry Pi 4)." if install == "onnxruntime" else "."),
        )
    if name == "SIGKILL":
        return (
            f"{what} was killed {doing} (SIGKILL), most likely because the memory ran out.",
            "Stop other programs, or add swap, and run the doctor again.",
        )
    return (
        f"{what} crashes {doing} ({name}).",
        f"Its native code doesn't fit this system or another package. Install it anew, and if it still dies another version: "
        f"pip install --force-reinstall --no-cache-dir {install}",
    )


def _raised(failure: Failure, what: str, install: str, numpy_version: str, reinstall: str) -> tuple[str, str]:
    text, last = failure.text, failure.last
    if _CLASH.search(text):
        return _clash(what, install, numpy_version)
    if (found := re.search(r"(lib[\w+.-]+\.so[\w.]*): cannot open shared object file", text)) is not None:
        package = _LIBRARIES.get(found[1])
        todo = (
            f"apt-get install {package}"
            if package
            else f"find the package that holds {found[1]}: apt-file search {found[1]}"
        )
        return f"{what} needs the system's library {found[1]}, which is not installed.", f"As root: {todo}"
    if (found := re.search(r"version `?(GLIBC\w*_[\d.]+)'? not found", text)) is not None:
        return (
            f"{what} was built for a newer Linux than this one ({found[1]} is missing).",
            f"Upgrade the operating system, or take an older version of the package: pip index versions {install}",
        )
    if "wrong ELF class" in text or "invalid ELF header" in text or "Exec format error" in text:
        return (
            f"{what} was installed for another kind of processor ({last}).",
            f"Was the folder copied from another machine? Install it here: {reinstall}",
        )
    if "static TLS block" in text:
        return (
            f"{what} was loaded too late: another library has used up the space that it needs (static TLS).",
            "Import it first in the program, or start the program with LD_PRELOAD set to the library that the message names: "
            + last,
        )
    if (found := re.search(r"No module named '([\w.]+)'", text)) is not None:
        return f"{what} is there, but a part is missing: the module {found[1]}.", f"Install it anew: {reinstall}"
    if "undefined symbol" in text or "Core version mismatch" in text or "C-extensions failed" in text:
        return (
            f"{what} is a mixture of two versions ({last}).",
            f"Install it anew; if it came from apt as well, remove one of the two: {reinstall}",
        )
    if any(kind == "MemoryError" for kind, _ in failure.raised):
        return (
            f"{what} ran out of memory {_doing(failure.stage)}.",
            "Stop other programs, or add swap, and run the doctor again.",
        )
    return f"{what} fails {_doing(failure.stage)}: {last}.", f"Install it anew: {reinstall}"


def _clash(what: str, install: str, numpy_version: str) -> tuple[str, str]:
    """Built for numpy 1 and met numpy 2, or the other way."""
    if numpy_version.startswith("1."):
        return (
            f"{what} was built for numpy 2 and finds numpy {numpy_version}.",
            "pip install --upgrade numpy; where something else needs numpy 1, give shelfmatch an environment of its own "
            "(python3 -m venv)",
        )
    todo = f"Take a version that was built for numpy 2: pip install --upgrade {install}"
    if install == "tflite-runtime":
        todo = "None is made for numpy 2: pip install 'numpy<2', which suits shelfmatch; or use LiteRT: pip install ai-edge-litert"
    return (
        f"{what} was built for numpy 1 and finds {f'numpy {numpy_version}' if numpy_version else 'another numpy'}.",
        todo,
    )
