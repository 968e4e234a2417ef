"""What can be set of a kiosk: every key with its type, its bounds and its meaning, read from a TOML file and from the command line.

Only the standard library, so that `serve --help` and the documents can list the keys where the extra isn't installed.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from ..arguments import TURNS
from ..errors import KioskError
from ..files import shown_name

_Section = TypeVar("_Section")


IN_CREDENTIAL: Final = "credential"
"""As `camera.source`: the camera's address is in systemd's credential, for everybody may read the settings, and the address has a
password."""
CAMERA_CREDENTIAL: Final = "camera"
"""Name of systemd's credential with the camera's address."""


def _key(
    default: Any,
    meaning: str,
    least: float | None = None,
    most: float | None = None,
    one_of: tuple[Any, ...] = (),
    like: str = "",
) -> Any:
    """A field with what is said of it: bounds for numbers, `like` a pattern for texts."""
    return field(
        default=default,
        metadata={"meaning": meaning, "least": least, "most": most, "one_of": one_of, "like": like},
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the service listens, and what it takes from a client."""

    host: str = _key("127.0.0.1", "address to listen on; 127.0.0.1 is this device alone")
    port: int = _key(8080, "port to listen on", 0, 65535)
    hosts: tuple[str, ...] = _key(
        (), "names and addresses by which clients may call the service, besides localhost; any other Host is refused"
    )
    connections: int = _key(64, "connections at one time; more are turned away with 503", 1, 4096)
    body_bytes: int = _key(16_777_216, "largest request, in bytes", 65_536, 268_435_456)
    memory_bytes: int = _key(67_108_864, "bytes of all requests that are being received at one time", 65_536, 2**33)
    head_seconds: float = _key(5.0, "so long a client may take for the head of a request", 0.1, 300)
    body_seconds: float = _key(20.0, "so long a client may take for the body of a request", 0.1, 3600)
    idle_seconds: float = _key(30.0, "a connection without a request is closed after so long", 1, 3600)


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How photos are answered."""

    workers: int = _key(
        0, "photos in work at one time; 0: one a core, at most 4, 2 with less than 768 MB of memory", 0, 64
    )
    threads: int = _key(0, "threads of each; 0: those of device.toml, else 1", 0, 64)
    queue: int = _key(16, "photos that may wait; more are answered 503 with Retry-After", 0, 1024)
    top_k: int = _key(5, "candidates in an answer", 1, 50)
    pixels: int = _key(25_000_000, "largest photo, in pixels", 10_000, 200_000_000)
    runtime: str = _key("auto", "runtime of the encoder", one_of=("auto", "litert", "onnx", "tflite-runtime"))
    locate: str = _key(
        "auto", "find the product on the photo where the whole photo isn't sure of it", one_of=("auto", "off")
    )
    watch_seconds: float = _key(2.0, "how often to look for a new bundle; 0: only at SIGHUP", 0, 86_400)


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the page shows."""

    title: str = _key("shelfmatch", "the shop's name, on top of the page")
    language: str = _key("auto", "language at the start", one_of=("auto", "en", "de", "zh"))
    currency: str = _key("", "currency of prices without one: EUR, CNY, …", like=r"([A-Z]{3})?")
    camera: str = _key(
        "auto", "the browser's camera, the device's own (camera.source), or the browser's where it has one",
        one_of=("auto", "browser", "device", "off"),
    )  # fmt: skip
    mirror: bool = _key(True, "show the picture as a mirror does")
    idle_seconds: float = _key(45.0, "an answer is cleared after so long without a touch or a product", 5, 3600)


@dataclass(frozen=True, slots=True)
class StaffSettings:
    """Who may teach products."""

    tokens: str = _key("", "file with hashed staff codes, made by `shelfmatch kiosk code`; empty: no staff mode")
    attempts: int = _key(10, "wrong codes in five minutes, from one address, before a pause", 1, 1000)
    folder: str = _key("", "folder for what staff teach; needed with tokens")


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """Pictures of products, which bundles don't hold."""

    folder: str = _key(
        "", "the folder or CSV that the bundle was built from, or a folder with SKU.jpg; empty: no pictures"
    )


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """The device's own camera, for screens that reach the service over plain HTTP."""

    source: str = _key(
        "",
        "number of a camera, csi, a video file, or an rtsp:// address; the word credential: systemd's credential camera has the "
        "address, for everybody may read this file; empty: none",
    )
    frames_per_second: float = _key(10.0, "frames shown in a second", 0.5, 60)
    turn: int = _key(
        0,
        "degrees clockwise by which its pictures are turned: 180 for a camera that hangs upside down; a browser shows its own "
        "as it hangs (page.camera)",
        0,
        270,
        TURNS,
    )


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What is kept of the people before the camera: nothing, unless a shop turns it on."""

    keep_unknowns: str = _key("", "folder for crops of unknown products, to enrol them; empty: none are kept")
    detector: str = _key("", "BlazeFace full-range .tflite that finds people; without one nothing is kept: fail-closed")
    most_files: int = _key(200, "so many crops are kept, the latest", 1, 100_000)
    days: float = _key(7.0, "crops are deleted after so many days", 0.01, 365)


@dataclass(frozen=True, slots=True)
class Settings:
    """All keys of a kiosk, by section."""

    server: ServerSettings = field(default_factory=ServerSettings)
    answers: AnswerSettings = field(default_factory=AnswerSettings)
    page: PageSettings = field(default_factory=PageSettings)
    staff: StaffSettings = field(default_factory=StaffSettings)
    pictures: PictureSettings = field(default_factory=PictureSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)


SECTIONS: Final[dict[str, type[Any]]] = {
    "server": ServerSettings,
    "answers": AnswerSettings,
    "page": PageSettings,
    "staff": StaffSettings,
    "pictures": PictureSettings,
    "camera": CameraSettings,
    "privacy": PrivacySettings,
}
"""Section of the TOML file → its record."""
_KINDS: Final = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
_LIST: Final = "tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, for help and documents: `server.port`, its default as TOML, and what it means."""

    name: str
    default: str
    meaning: str


def keys() -> Iterator[Key]:
    """Every key there is, in the order of the file."""
    for section, record in SECTIONS.items():
        for one in dataclasses.fields(record):
            choices = one.metadata["one_of"]
            meaning = one.metadata["meaning"] + (f" ({', '.join(map(str, choices))})" if choices else "")
            yield Key(f"{section}.{one.name}", _as_toml(one.default), meaning)


def as_toml(settings: Settings) -> str:
    """The settings as a file, each key with its meaning above it."""
    lines = ["# A kiosk of shelfmatch: shelfmatch serve --config THIS-FILE SHOP.bundle", ""]
    for section, record in SECTIONS.items():
        lines += [f"[{section}]", f"# {(record.__doc__ or '').splitlines()[0]}"]
        for one in dataclasses.fields(record):
            value = getattr(getattr(settings, section), one.name)
            lines += [f"# {one.metadata['meaning']}", f"{one.name} = {_as_toml(value)}"]
        lines.append("")
    return "\n".join(lines)


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    return f"{value:g}" if isinstance(value, float) and value != int(value) else str(value)


def read_settings(path: Path | None, changes: Iterable[str] = ()) -> Settings:
    """The settings of a TOML file (none: the defaults), with changes like "server.port=8081" over them.

    Relative paths in the file are taken from its folder. Raises KioskError: what arrived, what was expected.
    """
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    if path is not None:
        for section, table in _read_toml(path).items():
            _check_section(section, table, str(path))
            for name, value in table.items():
                tables[section][name] = _from_folder(path.parent, section, name, value)
    for change in changes:
        section, name, value = _parsed(change)
        tables[section][name] = value
    where = str(path) if path is not None else "--set"
    made = {section: _made(SECTIONS[section], section, table, where) for section, table in tables.items()}
    settings = Settings(**made)
    _check_together(settings, where)
    return settings


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KioskError(f"{path} can't be read: {error.strerror}; expected the TOML file of a kiosk") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KioskError(f"{path} is not TOML: {error}; see the keys in shelfmatch serve --help") from error


def _check_section(section: str, table: object, where: str) -> None:
    if section not in SECTIONS:
        raise KioskError(f"{where} has the section [{section}]; the sections are {', '.join(SECTIONS)}")
    if not isinstance(table, Mapping):
        raise KioskError(f"{where}: {section} is {table!r}; expected a section, [{section}]")


def _from_folder(folder: Path, section: str, name: str, value: Any) -> Any:
    if f"{section}.{name}" in PATHS and isinstance(value, str) and value:
        return str(folder / value)
    return value


PATHS: Final = frozenset(
    {"staff.tokens", "staff.folder", "pictures.folder", "privacy.keep_unknowns", "privacy.detector"}
)
"""Keys that are files or folders."""


def _parsed(change: str) -> tuple[str, str, Any]:
    """A change of the command line: server.port=8081."""
    found = re.fullmatch(r"(\w+)\.(\w+)=(.*)", change, re.DOTALL)
    record = SECTIONS.get(found[1]) if found else None
    fields = {} if record is None else {one.name: one for one in dataclasses.fields(record)}
    if found is None or found[2] not in fields:
        expected = f"one of {', '.join(f'{found[1]}.{name}' for name in fields)}" if found and fields else "SECTION.KEY"
        raise KioskError(f"--set {_shown(change)!r} arrived; expected {expected}=VALUE, like server.port=8081")
    kind, text = str(fields[found[2]].type), found[3]
    try:
        readers: dict[str, Callable[[str], Any]] = {
            "int": int,
            "float": float,
            "bool": lambda given: {"true": True, "false": False}[given.lower()],
            _LIST: lambda given: tuple(part.strip() for part in given.split(",") if part.strip()),
        }
        value = readers.get(kind, str)(text)
    except (ValueError, KeyError):
        raise KioskError(f"--set {_shown(change)!r} arrived; expected {_KINDS.get(kind, 'texts')} after =") from None
    return found[1], found[2], value


def _shown(given: Any) -> Any:
    """A value, or KEY=VALUE, as messages show it: without a camera's password."""
    from ..imaging.camera import shown_source

    if not isinstance(given, str):
        return given
    key, is_change, value = given.partition("=")
    return shown_name(f"{key}={shown_source(value)}" if is_change and "://" not in key else shown_source(given))


def _made(record: type[_Section], section: str, table: Mapping[str, Any], where: str) -> _Section:
    fields = {one.name: one for one in dataclasses.fields(record)}  # type: ignore[arg-type]
    values = {}
    for name, value in table.items():
        if name not in fields:
            raise KioskError(f"{where}: [{section}] has no key {name!r}; its keys are {', '.join(fields)}")
        one = fields[name]
        problem = _problem(str(one.type), one.metadata, value)
        if problem:
            raise KioskError(f"{where}: {section}.{name} is {_shown(value)!r}; expected {problem}")
        values[name] = tuple(value) if one.type == _LIST else float(value) if one.type == "float" else value
    return record(**values)


def _problem(kind: str, said: Mapping[str, Any], value: Any) -> str:
    """What was expected instead of a value; "" where it is right."""
    if kind == _LIST:
        is_list = isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)
        return "" if is_list else "a list of texts"
    expected: Any = {"str": str, "int": int, "float": (int, float), "bool": bool}[kind]
    if not isinstance(value, expected) or (kind != "bool" and isinstance(value, bool)):
        return _KINDS[kind]
    if said["one_of"] and value not in said["one_of"]:
        return f"one of {', '.join(map(str, said['one_of']))}"
    if said["like"] and not re.fullmatch(said["like"], value):
        return "three capital letters, like EUR"
    if kind in ("int", "float") and not said["least"] <= value <= said["most"]:
        return f"{said['least']:g} to {said['most']:g}"
    return ""


def _check_together(settings: Settings, where: str) -> None:
    """What one key needs of another. Raises KioskError."""
    if settings.staff.tokens and not settings.staff.folder:
        raise KioskError(f"{where}: staff.tokens arrived without staff.folder; expected a folder for what staff teach")
    if settings.page.camera == "device" and not settings.camera.source:
        raise KioskError(f"{where}: page.camera is 'device' without camera.source; name the camera, like \"0\"")
    if settings.camera.turn and not settings.camera.source:
        raise KioskError(
            f'{where}: camera.turn arrived without camera.source; name the camera, like "0": a browser\'s is not turned'
        )
    if settings.privacy.keep_unknowns and not settings.privacy.detector:
        raise KioskError(
            f"{where}: privacy.keep_unknowns arrived without privacy.detector; expected the detector's file, since nothing is kept "
            "that wasn't searched for people"
        )
