"""Finding a detector: by name in the package and the user's folder, by its file, or by its card."""

from __future__ import annotations

import os
from pathlib import Path

from ..encoders.registry import card_of_runtime, card_paths, read_card_as
from ..errors import DetectorError
from .card import DetectorCard

DEFAULT_DETECTOR = "shelfmatch-detect"


def known_detectors(runtime: str = "auto") -> dict[str, Path]:
    """Name → card of the detectors that came with the package or lie in the user's folder of encoders (`encoders_folder`); for the
    kinds of files as for encoders."""
    return card_of_runtime(card_paths(detectors=True), runtime)


def check_source(source: object) -> None:
    """Raise DetectorError for what can be no name, file or card."""
    if not isinstance(source, (str, os.PathLike)):
        raise DetectorError(
            f"detector is {source!r} ({type(source).__name__}); expected a name, a file, a card or a Detector"
        )


def find_detector(source: str | os.PathLike[str], runtime: str = "auto") -> tuple[DetectorCard, Path]:
    """The card and the file that a name, a file or a card stands for. Raises DetectorError."""
    check_source(source)
    path = Path(source)
    if path.suffix == ".json":
        return read_detector_card(path)
    if path.suffix in (".tflite", ".onnx"):
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
            raise DetectorError(f"detector {path} {found}; expected a .tflite or .onnx file, a card (.json) or a name")
        for card_path in (Path(f"{path}.json"), path.with_suffix(".json")):
            if card_path.is_file():
                card, model_path = read_detector_card(card_path)
                if model_path.resolve() == path.resolve():
                    return card, path
        from .infer_card import inspect_detector

        return inspect_detector(path), path
    known = known_detectors(runtime)
    if str(source) in known:
        return read_detector_card(known[str(source)])
    names = "".join(f"{name}, " for name in known)
    raise DetectorError(f"unknown detector {str(source)!r}; expected {names}a .tflite or .onnx file, or a card")


def read_detector_card(path: Path) -> tuple[DetectorCard, Path]:
    """A card and the detector file beside it. Raises DetectorError."""
    return read_card_as(DetectorCard.from_dict, path, DetectorError)
