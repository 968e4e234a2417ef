"""Typefaces for text in pictures: Pillow's built-in one, one of our own with Latin, Greek and Cyrillic, and the system's.

Pillow's has little more than ASCII, and what a face doesn't have it draws as an empty box. So each text is set in the first face
that has all of its letters; where none has, part by part.
"""

from __future__ import annotations

import functools
import os
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from PIL import ImageDraw, ImageFont

Face: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

OWN = Path(__file__).with_name("DejaVuSans-subset.ttf")
"""DejaVu Sans, reduced; DejaVuSans-LICENSE.txt says how and under which terms."""
_ABSENT = "\U0010ffff"
"""No face has it: what is drawn for it is what is drawn for all that is missing."""
_PROBE_SIZE = 20
_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts",
)  # fmt: skip
_MOST_FILES = 3000
_LIKELY = ("notosanscjk", "sourcehansans", "wqy", "droidsansfallback", "ipaexg", "nanumgothic", "pingfang", "hiragino",
           "arialunicode", "notosans-regular", "notosansarabic", "notosanshebrew", "notosansdevanagari", "notosansthai", "freesans",
           "unifont", "dejavusans.", "liberationsans-regular")  # fmt: skip
"""Beginnings of file names, small and without blanks, in the order they are tried in where fontconfig isn't there."""


@functools.lru_cache(maxsize=64)
def _face(file: str, index: int, size: int) -> Face:
    """A face by its file; "" is Pillow's own. Raises OSError."""
    return ImageFont.truetype(file, size, index=index) if file else ImageFont.load_default(size)


@functools.lru_cache(maxsize=4096)
def _has(file: str, index: int, letter: str) -> bool:
    """Whether a face has a letter of its own."""
    if letter.isspace() or unicodedata.category(letter) == "Cf":  # joiners and marks of direction have no look
        return True
    try:
        face = _face(file, index, _PROBE_SIZE)
        drawn, missing = face.getmask(letter), face.getmask(_ABSENT)
        return (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))
    except (OSError, ValueError):  # no scalable face, or a damaged one
        return False


@functools.lru_cache(maxsize=256)
def _system_face(letter: str) -> tuple[str, int] | None:
    """The system's face for a letter: what fontconfig names, else one of the likely files; None where nothing has it."""
    for file, index in _candidates(letter):
        if _has(file, index, letter):
            return file, index
    return None


def _candidates(letter: str) -> Iterator[tuple[str, int]]:
    try:
        query = ["fc-match", "-f", "%{file}\n%{index}", f":charset={ord(letter):x}"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
        file, _, index = done.stdout.partition("\n")
        if done.returncode == 0 and file:
            yield file, int(index) if index.isdecimal() else 0
    except (OSError, subprocess.SubprocessError):
        pass
    yield from ((file, 0) for file in _likely_files())


@functools.cache
def _likely_files() -> tuple[str, ...]:
    found: list[tuple[int, str]] = []
    count = 0
    for folder in _FOLDERS:
        for above, _, names in os.walk(Path(folder).expanduser()):
            for name in names:
                count += 1
                plain = name.lower().replace(" ", "")
                places = [place for place, start in enumerate(_LIKELY) if plain.startswith(start)]
                if places and plain.endswith((".ttf", ".ttc", ".otf")):
                    found.append((places[0], str(Path(above, name))))
            if count > _MOST_FILES:
                break
    return tuple(file for _, file in sorted(found))


def _runs(text: str) -> list[tuple[str, tuple[str, int]]]:
    """The text in parts, each with the face that has its letters."""
    shipped: list[tuple[str, int]] = [("", 0), (str(OWN), 0)]
    for file, index in shipped:
        if all(_has(file, index, letter) for letter in text):
            return [(text, (file, index))]
    runs: list[tuple[str, tuple[str, int]]] = []
    for letter in text:
        before = [runs[-1][1]] if runs else []
        here = next((one for one in [*before, shipped[1]] if _has(*one, letter)), None)
        here = here or _system_face(letter) or shipped[1]
        if runs and runs[-1][1] == here:
            runs[-1] = runs[-1][0] + letter, here
        else:
            runs.append((letter, here))
    return runs


def length(text: str, size: int) -> float:
    """How wide a line is, in pixels."""
    return sum(_face(*where, size).getlength(run) for run, where in _runs(text))


def write(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    anchor: str,
) -> None:
    """One line of text at `place` (x, y). `anchor`: which point of the line that is, as Pillow's: l, m or r, then t, m or s."""
    runs = _runs(text)
    if len(runs) == 1:
        pen.text(place, text, colour, _face(*runs[0][1], size), anchor)
        return
    left = place[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * length(text, size)
    first = _face(*runs[0][1], size)
    # Faces differ in how high they stand: all parts stand on the first one's line.
    top = pen.textbbox((0, 0), runs[0][0], font=first, anchor=f"l{anchor[1]}")[1]
    base = place[1] + top - pen.textbbox((0, 0), runs[0][0], font=first, anchor="ls")[1]
    for run, where in runs:
        face = _face(*where, size)
        pen.text((left, base), run, colour, face, "ls")
        left += face.getlength(run)


def is_drawn(text: str) -> bool:
    """Whether every letter of a text has a face here: none becomes an empty box."""
    return all(_has(*where, letter) for run, where in _runs(text) for letter in run)
