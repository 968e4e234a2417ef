"""Pictures of slots: none with a person in it. (What the kiosk keeps is tested in its own room.)"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.errors import EncoderError
from shelfmatch.edge.kiosk.pictures import small_jpeg
from shelfmatch.edge.pages import html
from shelfmatch.edge.privacy.people import PeopleFinder
from tests.support import people


def shelf(person: Image.Image | None, left: int) -> Image.Image:
    """A plain shelf with somebody before a part of it."""
    picture = Image.new("RGB", (1280, 960), (150, 160, 150))
    picture.paste(Image.linear_gradient("L").resize((200, 200)).convert("RGB"), (1000, 120))
    if person is not None:
        picture.paste(person.resize((round(person.width * 640 / person.height), 640)), (left, 200))
    return picture


def test_no_slot_with_somebody_before_it() -> None:
    finder, person = PeopleFinder(people.detector()), people.portrait()
    box = (1000 / 1280, 120 / 960, 1200 / 1280, 320 / 960)
    kept = finder.slot_picture(np.asarray(shelf(person, 60)), box)
    assert kept is not None and Image.open(io.BytesIO(kept)).size == (200, 200)
    for left in (700, 800, 400):  # what belongs to a person is far wider than the face
        assert finder.slot_picture(np.asarray(shelf(person, left)), box) is None
    before = (0.05, 0.2, 0.4, 0.9)
    assert finder.slot_picture(np.asarray(shelf(person, 60)), before) is None
    assert finder.slot_picture(np.asarray(shelf(None, 0)), before) is not None


@pytest.mark.parametrize("form", ["JPEG", "GIF"])
def test_what_is_kept_of_a_photo_has_none_of_its_metadata(
    form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pillow writes the comment of the file that a picture came from into each one that is made of it."""
    exif = Image.Exif()
    exif[0x010E] = "of Anna"
    more = {"exif": exif, "xmp": b"<x>of Anna</x>", "icc_profile": b"of Anna" * 30} if form == "JPEG" else {}
    shelf(None, 0).save(tmp_path / "photo", form, comment=b"taken by Anna, Mill Lane 5", **more)
    photo = (tmp_path / "photo").read_bytes()
    monkeypatch.setattr(PeopleFinder, "__init__", lambda self: None)  # whom it finds is tested elsewhere
    monkeypatch.setattr(PeopleFinder, "faces", lambda self, picture: [])
    kept = PeopleFinder().without_people(photo)  # type: ignore[call-arg]
    assert kept is not None and b"Anna" in photo
    for made in (kept, small_jpeg(photo), base64.b64decode(html.thumbnail(tmp_path / "photo", 200).partition(",")[2])):
        assert made[:2] == b"\xff\xd8" and b"Anna" not in made


def test_an_error_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = PeopleFinder(people.detector())
    picture = np.asarray(shelf(None, 0))
    assert finder.slot_picture(picture, (0.5, 0.5, 0.5, 0.5)) is None
    assert finder.slot_picture(np.zeros((4, 4, 4, 4), np.uint8), (0.0, 0.0, 1.0, 1.0)) is None

    def broken(*_: object) -> object:
        raise EncoderError("it can't be run")

    monkeypatch.setattr(finder._session, "run", broken)
    assert finder.slot_picture(picture, (0.0, 0.0, 1.0, 1.0)) is None
