"""device.toml: what was found to be fastest on this machine. `shelfmatch bench --sweep` writes it; matching and building read it.

Looked for in this order, the first one counts: the file that the environment variable SHELFMATCH_DEVICE names (empty: none at
all), $XDG_CONFIG_HOME/shelfmatch/device.toml (~/.config where that isn't set), /etc/shelfmatch/device.toml. Arguments that are
given explicitly win over it. `Matcher.open` takes runtime and threads from it, `build_bundle` the index and, where none is
named, the encoder. A file that can't be used is an error, not a silence: DeviceError says which, and why.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .errors import DeviceError

VARIABLE = "SHELFMATCH_DEVICE"
VERSION = 1
_SYSTEM_WIDE = Path("/etc/shelfmatch/device.toml")
_INDEXES = ("exact", "hnsw")


@dataclass(frozen=True, slots=True)
class Device:
    """This machine's settings; None where the file has nothing to say.

    `runtimes`: file format → the runtime for it. `threads`: per interpreter. `index`: exact or hnsw, `encoder`: a name, file or
    card, both for new bundles.
    """

    threads: int | None = None
    runtimes: tuple[tuple[str, str], ...] = ()
    index: str | None = None
    encoder: str | None = None

    def runtime_for(self, file_format: str) -> str:
        """The runtime for such files, or "auto"."""
        return dict(self.runtimes).get(file_format, "auto")

    def lines(self) -> tuple[str, ...]:
        """What is set, a line each, as the file's tables call it."""
        runtimes = {f"match.runtime.{file_format}": name for file_format, name in self.runtimes}
        named: dict[str, int | str | None] = {
            "match.threads": self.threads,
            **runtimes,
            "build.index": self.index,
            "build.encoder": self.encoder,
        }
        return tuple(f"{key} = {value}" for key, value in named.items() if value is not None)


def user_path() -> Path:
    """Where it is written unless told otherwise, and looked for first: the file of SHELFMATCH_DEVICE, or the user's."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "shelfmatch" / "device.toml"


def find() -> Path | None:
    """The file that counts, None where there is none. Raises DeviceError if SHELFMATCH_DEVICE names one that isn't there."""
    named = os.environ.get(VARIABLE)
    if named == "":
        return None
    try:
        path = user_path()
    except RuntimeError:  # a service without a home
        path = _SYSTEM_WIDE
    if named and not path.is_file():
        _unusable(path, f"{VARIABLE} names it and it isn't there", f"the file, or {VARIABLE} unset")
    return next((one for one in (path, _SYSTEM_WIDE) if _is_file(one)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def load() -> Device | None:
    """This machine's settings, None where nothing was written down. Raises DeviceError."""
    path = find()
    return None if path is None else read(path)[0]


def read(path: Path) -> tuple[Device, dict[str, Any]]:
    """The settings in a file, and what they rest on. Raises DeviceError."""
    import tomllib  # 4 ms of a cold start, for machines that have the file

    try:
        record = tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError) as error:
        _unusable(path, f"it can't be read ({error})", "TOML")
    return _checked(path, record), dict(_table(path, record, "measured"))


def over(found: Device, earlier: Device) -> Device:
    """Settings with those of an earlier sweep where they have nothing to say."""
    return Device(
        earlier.threads if found.threads is None else found.threads,
        tuple({**dict(earlier.runtimes), **dict(found.runtimes)}.items()),
        earlier.index if found.index is None else found.index,
        earlier.encoder if found.encoder is None else found.encoder,
    )


def encoder_for_builds() -> str:
    """What new bundles are built with where nothing else is asked for. Raises DeviceError."""
    from .encoders.registry import DEFAULT_ENCODER

    tuned = load()
    if tuned is None or tuned.encoder is None:
        return DEFAULT_ENCODER
    if Path(tuned.encoder).suffix and not Path(tuned.encoder).is_file():
        _unusable(find() or user_path(), f"build.encoder is {tuned.encoder!r}, which isn't there", "a file that is")
    return tuned.encoder


def index_for_builds() -> str:
    """The kind of index of new bundles, or "auto". Raises DeviceError."""
    tuned = load()
    return "auto" if tuned is None or tuned.index is None else tuned.index


def _checked(path: Path, record: Mapping[str, Any]) -> Device:
    if record.get("version") != VERSION:
        _unusable(path, f"version is {record.get('version')!r}", f"version = {VERSION}")
    match, build = _table(path, record, "match"), _table(path, record, "build")
    runtimes = _table(path, match, "runtime")
    _no_more(path, "", record, ("version", "match", "build", "measured"))
    _no_more(path, "match.", match, ("threads", "runtime"))
    _no_more(path, "match.runtime.", runtimes, ("tflite", "onnx"))
    _no_more(path, "build.", build, ("index", "encoder"))
    threads = match.get("threads")
    if threads is not None and not (type(threads) is int and 1 <= threads <= 256):
        _unusable(path, f"match.threads is {threads!r}", "a whole number from 1 to 256")
    for file_format, name in runtimes.items():
        _check_runtime(path, file_format, name)
    index = build.get("index")
    if index is not None and index not in _INDEXES:
        _unusable(path, f"build.index is {index!r}", " or ".join(_INDEXES))
    encoder = build.get("encoder")
    if encoder is not None and not (isinstance(encoder, str) and encoder):
        _unusable(path, f"build.encoder is {encoder!r}", "a name, a file or a card")
    return Device(threads, tuple(runtimes.items()), index, encoder)


def _check_runtime(path: Path, file_format: str, name: object) -> None:
    from .encoders.runtimes import RUNTIMES

    row = RUNTIMES.get(name) if isinstance(name, str) else None
    if row is None or row.format != file_format:
        known = ", ".join(one.name for one in RUNTIMES.values() if one.format == file_format)
        _unusable(path, f"match.runtime.{file_format} is {name!r}", known)
    if not row.is_installed():
        _unusable(path, f"match.runtime.{file_format} is {name!r}, which is not installed", row.install)


def _table(path: Path, record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = record.get(name, {})
    if not isinstance(table, Mapping):
        _unusable(path, f"{name} is {table!r}", f"a table [{name}]")
    return table


def _no_more(path: Path, where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            _unusable(path, f"it has {where}{key}", ", ".join(f"{where}{name}" for name in known))


def _unusable(path: Path, what: str, expected: str) -> NoReturn:
    raise DeviceError(
        f"{path}, the settings of this machine: {what}; expected {expected}; "
        "mend or remove it, or write it anew with shelfmatch bench --sweep"
    )


def write(path: Path, device: Device, measured: Mapping[str, str | int | float]) -> None:
    """Write the settings, and as `measured` what they rest on. Raises OSError."""
    from .files import write_atomic

    lines = [
        "# Settings of this machine, found by shelfmatch bench --sweep. shelfmatch match and build use them where no argument",
        "# says otherwise. Remove the file to go back to the defaults.",
        f"version = {VERSION}",
    ]
    if device.threads is not None:
        lines += ["", "[match]", f"threads = {device.threads}"]
    if device.runtimes:
        lines += ["", "[match.runtime]", *(f"{key} = {_quoted(name)}" for key, name in device.runtimes)]
    if device.index is not None or device.encoder is not None:
        lines += ["", "[build]"]
        lines += [f"index = {_quoted(device.index)}"] if device.index is not None else []
        lines += [f"encoder = {_quoted(device.encoder)}"] if device.encoder is not None else []
    lines += ["", "[measured]"]
    lines += [f"{key} = {_quoted(value) if isinstance(value, str) else value}" for key, value in measured.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
