"""What the printer has in store: typefaces by script, words, pictograms, small pictures; read from the folder that
`gather` fills."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFont

from shelfmatch.models.printer import words

ASCENT_SIZES: Final = 96
"""Type is never set larger: what is wider is not printed on 200 pixels."""


@lru_cache(maxsize=6000)
def typeface(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A face at a size in pixels. The basic layout is the same everywhere; Arabic words come shaped (`gather`)."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


class Stock:
    """Faces, words and pictures to draw from; `photos` are RGB pictures that may be printed on packages."""

    def __init__(self, folder: Path, photos: Sequence[Image.Image] = ()) -> None:
        sources: list[dict[str, Any]] = json.loads((folder / "sources.json").read_text())
        self.faces: dict[str, list[str]] = {}
        self.icons: list[tuple[str, str]] = []
        for entry in sources:
            path = str(folder / "fonts" / entry.get("file", ""))
            if "file" not in entry or not Path(path).is_file():
                continue
            if entry["scripts"] == ["icons"]:
                self.icons += [(path, chr(point)) for point in entry["points"]]
            else:
                for script in entry["scripts"]:
                    self.faces.setdefault(script, []).append(path)
        self.words: dict[str, list[str]] = json.loads((folder / "words.json").read_text())
        self.shaped: list[str] = self.words.pop("ar", [])
        self.lists = list(self.words.values())
        emoji = (
            np.load(folder / "emoji.npz")["pictures"]
            if (folder / "emoji.npz").is_file()
            else np.zeros((0, 8, 8, 4), np.uint8)
        )
        self.pictures = [Image.fromarray(picture, "RGBA") for picture in emoji]
        self.photos = list(photos)

    def face(self, rng: random.Random, script: str = "latin") -> str:
        """A typeface that has the script; Latin where none does."""
        return rng.choice(self.faces.get(script) or self.faces["latin"])

    def word(self, rng: random.Random, script: str = "latin") -> str:
        """One word: of a list of its language, or one that trade uses."""
        if script == "latin":
            latin = [words for words in self.lists if words[0][0] < "\u0250"]
            return rng.choice(rng.choice(latin)) if latin and rng.random() < 0.7 else rng.choice(words.GOODS)
        if script == "ar":
            return rng.choice(self.shaped or words.OTHER["ar"])
        cyrillic = [listed for listed in self.lists if "\u0400" <= listed[0][0] < "\u0500"]
        if script == "ru" and cyrillic and rng.random() < 0.7:
            found: str = rng.choice(rng.choice(cyrillic))
            return found
        word: str = rng.choice(words.OTHER[script])
        return word + rng.choice(words.OTHER[script]) if script in ("zh", "ja") and rng.random() < 0.4 else word
