"""Photos looked at before a build: unreadable, dark, blank, and one picture of several products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shelfmatch.edge import CatalogError, build_bundle
from shelfmatch.edge.catalog.examine import examine, leave_out
from shelfmatch.edge.catalog.listing import SourcePhoto
from shelfmatch.edge.catalog.same_pictures import SamePictures
from shelfmatch.edge.catalog.source import read_source
from tests.conftest import tile_photo, write_tiles


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = write_tiles(tmp_path / "shop", range(12), photos=2)
    placeholder = tile_photo(99, 0, 192)
    for number in range(10):
        placeholder.save(folder / f"sku-{number:03d}" / "soon.png")
    placeholder.resize((96, 96)).save(folder / "sku-010" / "soon.jpg", quality=70)  # the same look, other bytes
    tile_photo(50, 0, 192).save(folder / "sku-010" / "twin.png")
    tile_photo(50, 0, 192).resize((96, 96)).save(folder / "sku-011" / "twin.jpg", quality=90)
    Image.fromarray((np.asarray(tile_photo(4, 5)) * 0.1).astype(np.uint8)).save(folder / "sku-004" / "dark.png")
    Image.new("RGB", (48, 48), "white").save(folder / "sku-005" / "blank.png")
    (folder / "sku-006" / "empty.jpg").touch()
    (folder / "sku-006" / "text.jpg").write_text("no photo")
    return folder


def test_what_is_wrong_is_one_line_each(shop: Path) -> None:
    source = examine(read_source(shop), workers=1)
    found = {finding.kind: finding for finding in source.findings}
    assert [finding.kind for finding in source.findings] == ["placeholder", "same picture", "dark", "blank"]
    assert found["placeholder"].skus == tuple(f"sku-{n:03d}" for n in range(11))
    assert found["placeholder"].message.startswith("the same picture stands for 11 products, perhaps a placeholder")
    assert "sku-000, sku-001" in found["placeholder"].message and "and 3 more" in found["placeholder"].message
    assert found["same picture"].photos == ("sku-010/twin.png", "sku-011/twin.jpg")
    assert found["dark"].photos == ("sku-004/dark.png",) and found["blank"].photos == ("sku-005/blank.png",)
    assert dict(source.unreadable)["sku-006/empty.jpg"].startswith("sku-006/empty.jpg is empty")
    assert dict(source.unreadable)["sku-006/text.jpg"].startswith("sku-006/text.jpg is damaged or not a photo")
    assert len(source.unreadable) == 2 and len(source.photos) == 24 + 15


def test_they_can_be_left_out(shop: Path) -> None:
    read = read_source(shop)
    source = leave_out(read, examine(read, workers=1).findings, ("dark", "placeholder"))
    left = {photo.label for photo in source.photos}
    assert "sku-004/dark.png" not in left and "sku-005/blank.png" in left and not any("soon" in label for label in left)
    assert len(source.left_out) == 12 and ("sku-004/dark.png", "a dark photo") in source.left_out
    assert [finding.message.endswith("; left out") for finding in source.findings] == [True, True]
    with pytest.raises(CatalogError, match="--leave-out ugly arrived; expected some of dark, blank, placeholder"):
        leave_out(source, (), ("ugly",))


def test_photos_that_are_called_alike_are_not_left_out_with_one_of_them(tmp_path: Path) -> None:
    """A CSV beside the photos calls them by their last folder: one dark photo, and the front/1.png of all products went with it."""
    rows = []
    for number in range(4):
        folder = tmp_path / "photos" / f"sku-{number}" / "front"
        folder.mkdir(parents=True)
        tile_photo(number, 0, 96).point(lambda value, number=number: value // 12 if not number else value).save(
            folder / "1.png"
        )
        rows.append(f"../photos/sku-{number}/front/1.png,sku-{number}\n")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "shop.csv").write_text(f"image,sku\n{''.join(rows)}")
    read = read_source(tmp_path / "csv" / "shop.csv")
    seen = examine(read, workers=1)
    assert [(one.kind, one.photos, one.skus) for one in seen.findings] == [("dark", ("front/1.png",), ("sku-0",))]
    source = leave_out(read, seen.findings, ("dark",))
    assert source.skus() == ["sku-1", "sku-2", "sku-3"]
    assert source.left_out == (("front/1.png", "a dark photo"),)


def test_where_nothing_would_be_left_it_is_said(tmp_path: Path) -> None:
    for sku in ("a", "b"):
        (tmp_path / sku).mkdir()
        Image.new("RGB", (48, 48), "white").save(tmp_path / sku / "1.png")
    with pytest.raises(CatalogError, match="holds only photos that are blank"):
        leave_out(read_source(tmp_path), examine(read_source(tmp_path)).findings, ("blank",))


def test_a_build_says_the_same(shop: Path, tmp_path: Path, tiny_tflite: Path) -> None:
    report = build_bundle(shop, tmp_path / "s.bundle", encoder=tiny_tflite, resizer="pillow", adapt="off", workers=1)
    assert [finding.kind for finding in report.findings] == ["placeholder", "same picture", "dark", "blank"]
    assert len(report.findings[0].skus) == 11
    assert [one["kind"] for one in report.to_dict()["findings"]] == ["placeholder", "same picture", "dark", "blank"]


def test_many_pictures_cost_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    from shelfmatch.edge.catalog import same_pictures

    compared = 0
    real = same_pictures.are_same_pictures

    def counted(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
        nonlocal compared
        compared += len(one)
        return real(one, other)

    monkeypatch.setattr(same_pictures, "are_same_pictures", counted)
    random = np.random.default_rng(0)
    alike, different = SamePictures(), SamePictures()
    for number in range(3000):
        cells = random.integers(0, 256, 192, np.uint8).tobytes()
        photo = SourcePhoto(f"{number}.png", f"{number}.png", f"sku {number}")
        alike.add(photo, random.bytes(32), bytes(8) + cells)  # hashes of flat colours
        different.add(photo, random.bytes(32), random.bytes(8) + cells)
    assert alike.findings() == [] and compared <= 3000 * 4 * 64
    compared = 0
    assert different.findings() == [] and compared <= 1000


def test_the_same_bytes_or_look_in_a_chain_are_one_group() -> None:
    same = SamePictures()
    cells = bytes(range(192))
    for number, (sha, look) in enumerate([(b"a", cells), (b"b", cells), (b"b", b""), (b"c", b""), (b"d", cells[::-1])]):
        photo = SourcePhoto(f"{number}.png", f"{number}.png", f"sku {number}")
        same.add(photo, sha * 32, bytes(8) + look if look else b"")
    assert same.groups() == [[0, 1, 2]] and same.findings()[0].skus == ("sku 0", "sku 1", "sku 2")
    assert SamePictures().findings() == []
