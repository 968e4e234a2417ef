"""Finding an encoder: by name in the package and the user's folder, by its file, or by its card."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from .. import arguments
from ..errors import EncoderError, ShelfmatchError
from .card import EncoderCard
from .runtimes import RUNTIMES

EncoderNames: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One encoder, or two: names, files or cards; in text with a comma between them."""

DEFAULT_ENCODER = "shelfmatch-cnn"
_NO_CARDS = ("known_encoders.json", "measured.json", "report.json", ".recipe.json")
"""Records of other kinds that lie beside cards, by how their names end."""
_DETECTOR = "-detect"
"""How the names of detectors end, whose cards lie there as well."""


def encoders_folder() -> Path:
    """Where `shelfmatch encoders pull` puts encoders and names are looked up: SHELFMATCH_ENCODERS, or the user's data folder
    (XDG Base Directory Specification)."""
    if named := os.environ.get("SHELFMATCH_ENCODERS"):
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "shelfmatch" / "encoders"


def embedded_folders() -> list[Path]:
    """Where the package's own encoders are."""
    # Found as a folder, not imported: edge doesn't depend on models.
    spec = importlib.util.find_spec("shelfmatch.models")
    return [Path(folder) for folder in (spec.submodule_search_locations if spec is not None else None) or []]


def known_encoders(runtime: str = "auto") -> dict[str, Path]:
    """Name → card of the encoders that came with the package or were fetched. Where there is one file for each kind of
    runtime, the card of the file that `runtime` takes; for "auto", of the first whose runtime is installed."""
    return card_of_runtime(card_paths(detectors=False), runtime)


def card_paths(*, detectors: bool) -> dict[str, dict[str, Path]]:
    """Name → kind of file ("tflite", "onnx", "" where its name doesn't say) → card, of encoders or of detectors: those of detectors
    are called NAME-detect."""
    found: dict[str, dict[str, Path]] = {}
    for folder in [*embedded_folders(), encoders_folder()]:
        for path in sorted(folder.glob("*.json")):
            name, _, kind = path.stem.rpartition(".")
            if kind not in ("tflite", "onnx"):
                name, kind = path.stem, ""
            if not path.name.endswith(_NO_CARDS) and name.endswith(_DETECTOR) == detectors:
                found.setdefault(name, {}).setdefault(kind, path)
    return found


def card_of_runtime(found: dict[str, dict[str, Path]], runtime: str) -> dict[str, Path]:
    """Of each name's cards the one whose file `runtime` takes; for "auto", the first whose runtime is installed."""
    if runtime in RUNTIMES:
        order = [RUNTIMES[runtime].format]
    else:
        order = [candidate.format for candidate in RUNTIMES.values() if candidate.is_installed()]
    return {
        name: next((cards[kind] for kind in order if kind in cards), next(iter(cards.values())))
        for name, cards in found.items()
    }


def find_encoder(
    source: str | os.PathLike[str], output: str | None = None, runtime: str = "auto"
) -> tuple[EncoderCard, Path]:
    """The card and the file that a name, a file or a card stands for. `output`: another output of the file than the card's, which
    then says all the rest. Raises EncoderError or CardRequired."""
    card, path = _found(source, output, runtime)
    if output is not None and output != card.output_name:
        from .infer_card import with_output

        card = with_output(card, path, output)
    return card, path


def _found(source: str | os.PathLike[str], output: str | None, runtime: str) -> tuple[EncoderCard, Path]:
    arguments.path_of("encoder", source, DEFAULT_ENCODER, EncoderError)
    path = Path(source)
    if path.suffix == ".json":
        return read_card(path)
    if path.suffix in (".tflite", ".onnx"):
        if not path.is_file():
            raise EncoderError(
                f"encoder {path} does not exist; expected a .tflite or .onnx file, a card (.json) or a name"
            )
        beside = card_beside(path)
        if beside is not None:
            return beside[0], path
        from .infer_card import inspect_encoder

        return inspect_encoder(path, output), path
    known = known_encoders(runtime)
    if str(source) in known:
        return read_card(known[str(source)])
    raise EncoderError(
        f"unknown encoder {str(source)!r}; expected {', '.join(known)}, a .tflite or .onnx file, or a card; "
        "shelfmatch encoders lists those that can be had"
    )


def card_beside(path: Path) -> tuple[EncoderCard, Path] | None:
    """The card beside an encoder file and where it is, None where there is none of this file. Raises EncoderError."""
    for card_path in (Path(f"{path}.json"), path.with_suffix(".json")):
        if card_path.is_file():
            card, model_path = read_card(card_path)
            if model_path.resolve() == path.resolve():
                return card, card_path
    return None


def names_resize(source: str | os.PathLike[str]) -> bool:
    """Whether a name, a file or a card comes with a resize rule: in a card, not read off the network's file. Of what `find_encoder`
    finds."""
    path = Path(source)
    if path.suffix not in (".tflite", ".onnx", ".json"):
        return True
    beside = (None, path) if path.suffix == ".json" else card_beside(path)
    return beside is not None and "resize" in json.loads(beside[1].read_bytes())


def find_encoders(
    source: EncoderNames, output: str | None = None, runtime: str = "auto"
) -> list[tuple[EncoderCard, Path]]:
    """Card and file of each of one or two encoders. Raises EncoderError or CardRequired."""
    names = encoder_names(source)
    if len(names) > 1 and output is not None:
        raise EncoderError(
            f"output {output!r} arrived with two encoders; expected it with one, cut the network first "
            "(shelfmatch.export.cut) and name the file it becomes"
        )
    found = [find_encoder(name, output, runtime) for name in names]
    if len(found) > 1 and found[0][0].sha256 == found[1][0].sha256:
        raise EncoderError(
            f"encoders {names[0]} and {names[1]} are the same file; expected two different ones, or one alone"
        )
    return found


def encoder_names(source: EncoderNames) -> tuple[str | os.PathLike[str], ...]:
    """One or two names, files or cards, from such a tuple or from text with a comma. Raises EncoderError."""
    names: tuple[str | os.PathLike[str], ...]
    if isinstance(source, str) and "," in source and not os.path.exists(source):  # noqa: PTH110  (Path's raises OSError for long texts)
        names = tuple(part.strip() for part in source.split(","))
    elif isinstance(source, (str, os.PathLike)):
        names = (source,)
    else:
        names = tuple(source) if isinstance(source, Sequence) else ()
        if not isinstance(source, Sequence) or not all(isinstance(name, (str, os.PathLike)) for name in names):
            raise EncoderError(
                f"encoder is {source!r} ({type(source).__name__}); expected a name, a file, a card, or two of them"
            )
    if not 1 <= len(names) <= 2 or "" in map(str, names):
        given = ", ".join(repr(str(name)) for name in names) or "none"
        raise EncoderError(f"encoders {given} arrived; expected one, or two with a comma between them")
    return names


def read_card(path: Path) -> tuple[EncoderCard, Path]:
    """A card and the encoder file beside it. Raises EncoderError."""
    card, model_path = read_card_as(EncoderCard.from_dict, path, EncoderError)
    # Here, where people's own cards come in, and not in the card itself: a bundle of an older version is still read.
    if card.std is not None and max(card.std) < 1:
        raise EncoderError(
            f"{path}: encoder card: std is {card.std!r}, which looks like units of 0 to 1; expected mean and std in units of 0 to "
            f"255, multiply both by 255 (std {', '.join(f'{255 * value:g}' for value in card.std)})"
        )
    return card, model_path


class _NamesFile(Protocol):
    @property
    def file(self) -> str: ...


_Card = TypeVar("_Card", bound=_NamesFile)


def read_card_as(from_dict: Callable[[object], _Card], path: Path, wrong: type[ShelfmatchError]) -> tuple[_Card, Path]:
    """A card of any kind and the file beside it. Raises `wrong`, as `from_dict` does."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise wrong(f"card {path} can't be read ({error}); expected a JSON file") from error
    try:
        card = from_dict(record)
    except wrong as error:
        raise wrong(f"{path}: {error}") from error
    model_path = path.parent / card.file
    if not model_path.is_file():
        raise wrong(f"card {path} names the file {card.file}, which is not beside it")
    return card, model_path
