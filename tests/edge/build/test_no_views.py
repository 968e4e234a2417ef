"""`--adapt off` embeds no views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import build_bundle
from shelfmatch.edge.build import draft, embed_photos
from tests.conftest import write_tiles


@pytest.mark.parametrize("photos", [1, 3])
def test_switched_off_no_photo_is_embedded_more_than_once(
    photos: int, tmp_path: Path, tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(pixels: Any, mask: Any, count: int) -> list[Any]:
        assert not count, "a view was made"
        return []

    made = []
    real = draft.photo_view

    def counted(pixels: Any, seed: int) -> Any:
        made.append(seed)
        return real(pixels, seed)

    monkeypatch.setattr(embed_photos, "views_of", none)
    monkeypatch.setattr(draft, "photo_view", counted)
    source = write_tiles(tmp_path / "photos", range(30), photos=photos)
    report = build_bundle(source, tmp_path / "s.bundle", encoder=tiny_tflite, adapt="off", workers=1)
    assert report.references == 30 * photos
    # Only where products have one photo, and 300 at most, for the threshold alone: nothing else tells right from wrong there.
    assert len(made) == (30 if photos == 1 else 0)
    with pytest.raises(AssertionError, match="a view was made"):
        build_bundle(source, tmp_path / "t.bundle", encoder=tiny_tflite, adapt="on", workers=1)
