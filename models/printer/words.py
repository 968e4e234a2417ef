"""What is printed on packages: the words of trade, and words of scripts that Debian has no word lists for (`words.txt`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final


def _sections(text: str) -> dict[str, list[str]]:
    """[name], then entries between bars."""
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    return {
        name: [" ".join(entry.split()) for entry in body.split("|")]
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


_ALL: Final = _sections(Path(__file__).with_name("words.txt").read_text("utf-8"))
FLAVOURS: Final = _ALL["FLAVOURS"]
GOODS: Final = _ALL["GOODS"]
CLAIMS: Final = _ALL["CLAIMS"]
TABLE: Final = _ALL["TABLE"]
"""Of nutrition tables."""
OTHER: Final = {script: _ALL[script] for script in ("zh", "ja", "ko", "ar", "hi", "th", "ru", "el")}
ARABIC: Final = OTHER["ar"]
UNITS: Final = ("g", "kg", "ml", "L", "cl", "oz", "fl oz", "pcs", "x", "mg")
