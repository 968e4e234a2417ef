"""Text in pictures: no letter of a product's name becomes an empty box."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shelfmatch.edge.imaging import typefaces

NAMES = [
    "Šunka Žďár čerstvá",
    "Köttbullar på Åland ß",
    "Ελιές Καλαμάτας",
    "Творог Домашній Ґудзик Ѣ",
    "Phở bò đặc biệt",
    "₺ € £ – “x” … ½ №",
]


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    for function in (typefaces._system_face, typefaces._likely_files, typefaces._has):
        function.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_latin_greek_and_cyrillic_need_no_system_font(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typefaces, "_system_face", lambda letter: None)
    assert typefaces.is_drawn(name)
    assert not typefaces.is_drawn("Tea \U0010fffe"), "what no face has is seen"


def drawn(text: str, anchor: str = "lt") -> np.ndarray:
    image = Image.new("RGB", (400, 60), "white")
    typefaces.write(ImageDraw.Draw(image), (200 if anchor[0] != "l" else 4, 8), text, 24, (0, 0, 0), anchor)
    return np.asarray(image.convert("L"))


def test_each_letter_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's built-in face drew the same box for all of them."""
    monkeypatch.setattr(typefaces, "_system_face", lambda letter: None)
    pictures = [drawn(letter).tobytes() for letter in "čжλđ№"]
    assert len(set(pictures)) == len(pictures)


def test_the_systems_face_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a "system" whose one font is ours under another name, and with fontconfig or without."""
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    (fonts / "NotoSansCJK-Regular.ttf").write_bytes(typefaces.OWN.read_bytes())
    monkeypatch.setattr(typefaces, "_FOLDERS", (str(fonts),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typefaces._system_face("ж") == (str(fonts / "NotoSansCJK-Regular.ttf"), 0)
    assert typefaces._system_face("\U0010fffe") is None
    named = tmp_path / "named.ttf"
    named.write_bytes(typefaces.OWN.read_bytes())
    (tmp_path / "fc-match").write_text(f"#!/bin/sh\nprintf '{named}\\n0'\n")
    os.chmod(tmp_path / "fc-match", 0o755)  # noqa: PTH101
    typefaces._system_face.cache_clear()
    assert typefaces._system_face("ж") == (str(named), 0)


def test_parts_in_several_faces_stand_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typefaces, "_runs", lambda text: [("Te", ("", 0)), ("xt", (str(typefaces.OWN), 0))])
    for anchor in ("lt", "mm", "rt"):
        columns = np.flatnonzero((drawn("Text", anchor) < 128).any(axis=0))
        width = typefaces.length("Text", 24)
        assert columns[-1] - columns[0] == pytest.approx(width, abs=4)
        middle = (columns[0] + columns[-1]) / 2
        wanted = {"l": 4 + width / 2, "m": 200.0, "r": 200 - width / 2}[anchor[0]]
        assert middle == pytest.approx(wanted, abs=4)
    both = drawn("Text")
    rows = np.flatnonzero((both < 128).any(axis=1))
    assert rows[-1] - rows[0] < 30


def test_the_font_comes_with_its_licence() -> None:
    assert typefaces.OWN.stat().st_size <= 200_000
    licence = typefaces.OWN.with_name("DejaVuSans-LICENSE.txt").read_text()
    assert "Bitstream" in licence and "Tavmjong Bah" in licence and "fonts-dejavu-core" in licence
