"""The encoders this project knows of: those that came along, those that can be fetched, those that export makes.

`known_encoders.json` is the list of the latter two. A new encoder is one record there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ..edge.encoders.registry import embedded_folders, known_encoders, read_card
from ..edge.errors import EncoderError

Kind = Literal["embedded", "own", "download", "export"]
"""Came with the package; a card of the user's own in the encoders' folder; fetched by pull; made by export."""

_LIST: Final = Path(__file__).with_name("known_encoders.json")
_MEASURED: Final = Path(__file__).with_name("measured.json")


@dataclass(frozen=True, slots=True)
class KnownEncoder:
    """One encoder. `input` is (height, width); `output` names the tensor to cut a classifier at; `source` is what
    `shelfmatch export` takes. `measured`: figures by the field's names, from benchmarks/encoders.py; empty where unmeasured.
    """

    name: str
    kind: Kind
    dimension: int
    input: tuple[int, int]
    resize: str
    license: str
    about: str
    size_bytes: int = 0
    file: str = ""
    url: str = ""
    sha256: str = ""
    output: str | None = None
    source: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)

    def here(self) -> bool:
        """Whether `--encoder NAME` works now."""
        try:
            read_card(known_encoders()[self.name])
        except (KeyError, EncoderError, OSError):
            return False
        return True

    def how(self) -> str:
        """The command that makes it usable, "" where it is."""
        if self.here():
            return ""
        if self.kind == "download":
            return f"shelfmatch encoders pull {self.name}"
        return f"shelfmatch export {self.source} --calibration PHOTOS -o {self.name}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without what doesn't apply."""
        record: dict[str, Any] = {"name": self.name, "kind": self.kind, "here": self.here()}
        for key in ("size_bytes", "dimension", "license", "about", "resize", "url", "sha256", "output", "source"):
            if getattr(self, key):
                record[key] = getattr(self, key)
        return {**record, "input": list(self.input), "measured": dict(self.measured), "get": self.how() or None}


def all_encoders(tell: Callable[[str], object] = lambda problem: None) -> list[KnownEncoder]:
    """The embedded ones and the user's own, then the list. `tell` hears, on one line, of each own card that can't be used.

    Raises EncoderError where a record or a card of the package is unreadable.
    """
    measured = _measured()
    listed = _listed(measured)
    found = []
    for name, path in known_encoders().items():
        try:
            encoder = _with_card(name, path, measured)
        except (EncoderError, OSError) as error:
            if path.parent in embedded_folders():
                raise
            tell(f"{error}; the list goes on without this card: mend it, or take it out of {path.parent}")
            continue
        if name not in listed:
            found.append(encoder)
    return [*found, *listed.values()]


def encoder_named(name: str) -> KnownEncoder:
    """The encoder of that name. Raises EncoderError: its card can't be used, or there is none, with what there is."""
    measured = _measured()
    listed = _listed(measured)
    if name in listed:
        return listed[name]
    cards = known_encoders()
    if name not in cards:
        raise EncoderError(f"unknown encoder {name!r}; expected one of {', '.join({**cards, **listed})}")
    return _with_card(name, cards[name], measured)


def _with_card(name: str, path: Path, measured: Mapping[str, Any]) -> KnownEncoder:
    """One that has a card here: of the package, or of the folder that pull writes to."""
    card, file = read_card(path)
    return KnownEncoder(
        name, "embedded" if path.parent in embedded_folders() else "own",
        card.dimension, (card.height, card.width), card.resize, card.license, card.provenance,
        size_bytes=file.stat().st_size, file=card.file, sha256=card.sha256, measured=measured.get(name, {}),
    )  # fmt: skip


def _listed(measured: Mapping[str, Any]) -> dict[str, KnownEncoder]:
    """The list, by name."""
    return {
        record["name"]: KnownEncoder(
            **{**record, "input": tuple(record["input"]), "measured": measured.get(record["name"], {})}
        )
        for record in _read(_LIST)["encoders"]
    }


def _measured() -> Mapping[str, Any]:
    return _read(_MEASURED) if _MEASURED.exists() else {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} can't be read ({error}); install shelfmatch again") from error
