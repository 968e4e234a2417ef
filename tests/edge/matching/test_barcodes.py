"""A bar code on the photo settles what its look leaves open; a foreign one is "unknown"; two that disagree settle nothing."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Matcher, add_to_bundle, build_bundle, remove_from_bundle
from shelfmatch.edge.catalog.gtin import check_digit
from shelfmatch.edge.detection.detection import Detection
from shelfmatch.edge.imaging import barcodes
from shelfmatch.edge.matching.scene import match_scene
from tests.conftest import tile_photo

zxing: Any = pytest.importorskip("zxingcpp", reason="pip install 'shelfmatch[barcode]'")

GTINS = ["4006381333931", "0036000291452", "96385074", "14006381333938"]
"""EAN-13, UPC-A, EAN-8, and the GTIN-14 of a case."""


def code(text: str, kind: str = "EAN13", scale: int = 2) -> Image.Image:
    """A printed bar code with its quiet zone."""
    made = zxing.create_barcode(text, getattr(zxing.BarcodeFormat, kind))
    return Image.fromarray(np.pad(np.asarray(zxing.write_barcode_to_image(made, scale=scale)), 16, constant_values=255))


def photo(*codes: Image.Image, tile: int = 41, turned: float = 0.0) -> Image.Image:
    """A foreign tile with bar codes stuck on it; of one that the shop's own look like, 42 for one, no code would be read."""
    picture = tile_photo(tile, 0).convert("RGB").resize((900, 900))
    for number, one in enumerate(codes):
        picture.paste(one.convert("RGB").rotate(turned, expand=True, fillcolor="white"), (60, 60 + 420 * number))
    return picture


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight tiles; the first four have article numbers, one of a scale the fifth."""
    folder = tmp_path_factory.mktemp("barcodes")
    rows = [("image", "sku", "EAN code", "category")]
    scale = "2912345" + "00000"
    numbers = [*GTINS, scale + check_digit(scale)]
    for number in range(8):
        for view in range(3):
            tile_photo(number, view).save(folder / f"{number}-{view}.png")
            own = numbers[number] if number < len(numbers) else ""
            rows.append((f"{number}-{view}.png", f"tile-{number}", own, "odd" if number % 2 else "even"))
    with (folder / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    build_bundle(folder / "shop.csv", folder / "shop.bundle", adapt="on")  # told from foreign tiles better than without
    return folder / "shop.bundle"


@pytest.fixture(scope="module")
def matcher(shop: Path) -> Iterator[Matcher]:
    with Matcher.open(shop) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "kind", "sku"),
    [
        ("4006381333931", "EAN13", "tile-0"),
        ("036000291452", "UPCA", "tile-1"),
        ("96385074", "EAN8", "tile-2"),
        ("14006381333938", "ITF14", "tile-3"),
        ("https://id.gs1.org/01/04006381333931/10/AB", "QRCode", "tile-0"),
        ("(01)04006381333931(10)AB", "DataBarExp", "tile-0"),
    ],
)
@pytest.mark.parametrize("turned", [0.0, 40.0, 180.0])
def test_an_own_number_decides(matcher: Matcher, text: str, kind: str, sku: str, turned: float) -> None:
    result = matcher.match(photo(code(text, kind, 3 if kind in ("QRCode", "DataBarExp") else 2), turned=turned))
    assert (result.decision, result.sku, result.decided_by) == ("match", sku, "barcode")
    assert result.barcode is not None and result.barcode.known and result.candidates[0].sku == sku
    record = result.to_dict()
    assert record["decided_by"] == "barcode" and record["barcode"]["gtin"] == result.barcode.number
    assert "look_again" not in record and record["latency_ms"]["barcode"] > 0


def test_a_scene_s_code_is_where_the_photo_has_it(matcher: Matcher) -> None:
    """It was in the pixels of the part that was cut out."""

    class Once:
        def detect(self, pixels: Any, kinds: Any = ()) -> list[Detection]:
            return [Detection((150.0, 200.0, 500.0, 500.0), 0.9, "product")]

    whole = Image.new("RGB", (800, 700), (128, 128, 128))
    whole.paste(code("4006381333931"), (200, 260))
    scene = match_scene(matcher.snapshot, Once(), whole)  # type: ignore[arg-type]
    (one,) = scene.products
    alone = matcher.match(whole)
    assert one.result is not None and one.result.barcode is not None and alone.barcode is not None
    assert np.abs(np.array(one.result.barcode.box) - alone.barcode.box).max() <= 3


def test_the_same_photo_without_the_code_is_unknown(matcher: Matcher) -> None:
    result = matcher.match(photo())
    assert result.decision == "unknown" and result.decided_by == "image" and result.barcode is None
    assert "barcode" not in result.to_dict()


def test_a_foreign_number_is_unknown_and_named(matcher: Matcher) -> None:
    """Also where the photo looks like a product of the catalogue, if it isn't sure."""
    result = matcher.match(photo(code("5901234123457")))
    assert (result.decision, result.sku, result.decided_by) == ("unknown", None, "barcode")
    assert result.barcode is not None and not result.barcode.known and result.barcode.number == "5901234123457"


def test_numbers_that_disagree_settle_nothing(matcher: Matcher) -> None:
    result = matcher.match(photo(code("4006381333931"), code("5901234123457")))
    assert result.decided_by == "image"
    twice = matcher.match(photo(code("4006381333931"), code("4006381333931")))
    assert twice.decided_by == "barcode" and twice.sku == "tile-0"


def test_a_scales_label_of_own_goods_is_no_foreign_number(matcher: Matcher) -> None:
    """Weight or price stands in the number: other digits may be the same goods."""
    same, other = (digits + check_digit(digits) for digits in ("2912345" + "01234", "2999999" + "01234"))
    assert matcher.match(photo(code(same))).decided_by == "image"
    assert matcher.match(photo(code(other))).decided_by == "barcode"


def test_a_filter_holds_for_bar_codes_too(matcher: Matcher) -> None:
    result = matcher.match(photo(code("4006381333931")), where={"category": "odd"})
    assert result.sku is None


def test_a_sure_look_reads_no_code(matcher: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own catalogue photo, with a foreign code in the corner: the product is what the photo shows."""
    read: list[int] = []
    real: Callable[..., Any] = barcodes.read_codes
    monkeypatch.setattr(
        "shelfmatch.edge.matching.barcode_pass.read_codes", lambda pixels: read.append(1) or real(pixels)
    )
    sure = matcher.match(tile_photo(2, 1))
    assert sure.sku == "tile-2" and sure.confidence >= 0.99 and not read
    matcher.match(photo())
    assert read


def test_the_box_is_in_pixels_of_the_upright_photo(matcher: Matcher) -> None:
    large = photo(code("4006381333931", scale=4)).resize((3600, 3600))  # halved before it is read
    result = matcher.match(large)
    assert result.barcode is not None
    left, top, right, bottom = result.barcode.box
    assert 240 <= left < right <= 240 + 4 * code("4006381333931", scale=4).width
    assert 240 <= top < bottom <= 240 + 4 * code("4006381333931", scale=4).height


def test_a_slanting_code_lies_where_it_is_said_to_lie() -> None:
    """A photo that was turned for the reader: the box is that of the photo as it came."""
    (read,) = barcodes.read_codes(np.asarray(photo(code("4006381333931", scale=3), turned=45.0)))
    whole = code("4006381333931", scale=3).rotate(45.0, expand=True)
    middle = 60 + whole.width / 2, 60 + whole.height / 2
    assert (
        abs((read.box[0] + read.box[2]) / 2 - middle[0]) < 25 and abs((read.box[1] + read.box[3]) / 2 - middle[1]) < 25
    )


def test_without_the_reader_looks_decide(matcher: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    barcodes.reader.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "zxingcpp", None)
    try:
        assert barcodes.read_codes(np.zeros((50, 50, 3), np.uint8)) == ()
        assert matcher.match(photo(code("4006381333931"))).decided_by == "image"
    finally:
        barcodes.reader.cache_clear()


def test_skus_that_are_article_numbers_name_products(tmp_path: Path) -> None:
    """A shop of folders called by their EANs has no column for them. One product without says that SKUs are something else."""
    for number, name in enumerate(("4006381333931", "036000291452", "96385074")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for view in range(3):
            tile_photo(number, view).save(tmp_path / "photos" / name / f"{view}.png")
    bundle = tmp_path / "shop.bundle"
    build_bundle(tmp_path / "photos", bundle, adapt="on")
    with Matcher.open(bundle) as matcher:
        result = matcher.match(photo(code("036000291452", "UPCA"), tile=43))
        assert (result.sku, result.decided_by) == ("036000291452", "barcode")
    (tmp_path / "more" / "apples").mkdir(parents=True)
    tile_photo(7, 0).save(tmp_path / "more" / "apples" / "0.png")
    add_to_bundle(bundle, tmp_path / "more")
    with Matcher.open(bundle) as matcher:
        assert not matcher.snapshot.reads_barcodes
    remove_from_bundle(bundle, ["apples"])
    with Matcher.open(bundle) as matcher:
        assert matcher.snapshot.reads_barcodes
