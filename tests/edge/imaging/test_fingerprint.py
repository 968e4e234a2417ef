"""The same picture found again by its look, and pictures that show too little."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.fingerprint import FINGERPRINT_BYTES, is_same_picture, look_of, words_of
from tests.conftest import tile_photo


def look(picture: Image.Image) -> bytes:
    return look_of(np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX))).fingerprint


def saved(picture: Image.Image, kind: str, size: tuple[int, int], quality: int = 60) -> Image.Image:
    buffer = io.BytesIO()
    picture.resize(size).save(buffer, kind, quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize(("kind", "side", "quality"), [("JPEG", 192, 60), ("WEBP", 192, 60), ("JPEG", 160, 90)])
def test_a_picture_saved_again_is_the_same_and_another_is_not(kind: str, side: int, quality: int) -> None:
    pictures = [tile_photo(number, 0, 192) for number in range(20)]
    looks = [look(picture) for picture in pictures]
    for place, picture in enumerate(pictures):
        again = look(saved(picture, kind, (side, side), quality))
        assert [is_same_picture(again, other) for other in looks] == [n == place for n in range(20)]
        words = words_of(np.frombuffer(again + looks[place], np.uint8).reshape(2, -1))
        assert (words[0] == words[1]).any()
    assert len(looks[0]) == FINGERPRINT_BYTES == 200


def test_two_flavours_of_one_design_are_two(tmp_path: Path) -> None:
    design = np.full((96, 96, 3), 255, np.uint8)
    design[8:88, 24:72] = (30, 60, 120)
    design[16:40, 32:64] = (240, 240, 240)
    other = design.copy()
    design[56:80, 32:64], other[56:80, 32:64] = (200, 60, 60), (60, 160, 60)
    assert not is_same_picture(look(Image.fromarray(design)), look(Image.fromarray(other)))
    assert is_same_picture(look(Image.fromarray(design)), look(saved(Image.fromarray(design), "JPEG", (64, 64))))


def test_packshots_of_a_shop_are_told_apart_and_found_again(grocery: Path) -> None:
    files = sorted((grocery / "iconic-images-and-descriptions").rglob("*.jpg"))[::3]
    pictures = [Image.fromarray(np.asarray(decode(path).pixels)) for path in files]
    looks = [look(picture) for picture in pictures]
    for place, picture in enumerate(pictures):
        again = look(saved(picture, "JPEG", (picture.width // 2, picture.height // 2)))
        assert [n for n, other in enumerate(looks) if is_same_picture(again, other)] == [place], files[place]


def test_dark_and_blank(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (64, 64, 3))

    def fault(picture: np.ndarray) -> str | None:
        return look_of((picture + noise).clip(0, 255).astype(np.uint8)).fault

    tile = np.asarray(tile_photo(3, 0, 64), np.float32)
    assert fault(tile) is None
    assert fault(np.full((64, 64, 3), 250.0)) == fault(np.zeros((64, 64, 3))) == "blank"
    assert fault(tile * 0.15) == "dark"
    bright = np.zeros((64, 64, 3))
    bright[20:44, 20:44] = 220
    assert fault(bright) is None  # well lit, before a black cloth
