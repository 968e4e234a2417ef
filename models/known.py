"""The encoders this project knows of: those that came along, those that can be fetched, those that export makes.

`known_encoders.json` is the list of the latter two. A new encoder is one record there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ..edge.encoder import embedded_folders, known_encoders, read_card
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
        return self.name in known_encoders()

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


def all_encoders() -> list[KnownEncoder]:
    """The embedded ones, then the list. Raises EncoderError where a record of the package or a card is unreadable."""
    measured = _read(_MEASURED) if _MEASURED.exists() else {}
    listed = [_record(record, measured) for record in _read(_LIST)["encoders"]]
    names = {encoder.name for encoder in listed}
    return [*_with_cards(measured, names), *listed]


def encoder_named(name: str) -> KnownEncoder:
    """The encoder of that name. Raises EncoderError that lists what there is."""
    known = {encoder.name: encoder for encoder in all_encoders()}
    if name not in known:
        raise EncoderError(f"unknown encoder {name!r}; expected one of {', '.join(known)}")
    return known[name]


def _with_cards(measured: Mapping[str, Any], besides: set[str]) -> list[KnownEncoder]:
    """Those that have a card here: of the package, or of a folder that pull wrote to."""
    found = []
    for name, path in known_encoders().items():
        if name in besides:
            continue
        card, file = read_card(path)
        kind: Kind = "embedded" if path.parent in embedded_folders() else "own"
        found.append(
            KnownEncoder(
                name, kind, card.dimension, (card.height, card.width), card.resize, card.license, card.provenance,
                size_bytes=file.stat().st_size, file=card.file, sha256=card.sha256, measured=measured.get(name, {}),
            )
        )  # fmt: skip
    return found


def _record(record: Mapping[str, Any], measured: Mapping[str, Any]) -> KnownEncoder:
    return KnownEncoder(**{**record, "input": tuple(record["input"]), "measured": measured.get(record["name"], {})})


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} can't be read ({error}); install shelfmatch again") from error
