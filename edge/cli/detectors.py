"""`shelfmatch detectors`: those that came along; and of a file, what it is read as and its card."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..terminal import DONE, print_json, quiet_native, size_text
from .options import Command

if TYPE_CHECKING:
    from ..detection.card import DetectorCard


def register(command: Command) -> None:
    """The command detectors."""
    parser = command("detectors", _run, "list the detectors that are here, or say how a file is read")
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE|CARD",
        help="a .tflite or .onnx file or a card: what it is, and the card to change",
    )


def _run(options: argparse.Namespace) -> int:
    from ..detection.registry import find_detector, known_detectors

    with quiet_native():
        found = [find_detector(source)[0] for source in options.files or known_detectors()]
    if options.json:
        print_json([{**card.to_dict(), "finds": _finds(card)} for card in found])
        return DONE
    for card in found:
        print("\n".join(_lines(card)))
    if not found:
        print("none is installed; --detector takes a .tflite or .onnx file of YOLO, NanoDet or SSD")
    return DONE


def _finds(card: DetectorCard) -> list[str]:
    from ..detection.detector import kinds_of

    return list(kinds_of(card))


def _lines(card: DetectorCard) -> list[str]:
    """A few lines for people."""
    classes: Any = ", ".join(card.classes[:6]) + (f" and {len(card.classes) - 6} more" if len(card.classes) > 6 else "")
    return [
        f"{card.name}: {size_text(card.size_bytes)}, {card.width}x{card.height}, head {card.head}, "
        f"finds {' and '.join(f'{kind}s' for kind in _finds(card))}, {card.license or 'no licence said'}",
        f"  classes: {classes}; scores from {card.floor:.2f} on",
        *([f"  {card.provenance}"] if card.provenance else []),
    ]
