"""Folders of every kind, as shops have them."""

from __future__ import annotations

import unicodedata
import zipfile

import numpy as np
from PIL import Image

from tests.conftest import tile_photo

from .conftest import FirstHour


def test_folders_named_by_sku(hour: FirstHour) -> None:
    hour.photos("photos/A/1.png", "photos/B/1.png", "photos/B/2.JPG")
    built = hour.build("photos")
    assert (built["products"], built["references"], built["findings"], built["left_out"]) == (2, 3, [], [])
    tile_photo(0, 7).save("query.png")
    assert hour.nearest("query.png")[0] == "A"


def test_categories_and_products(hour: FirstHour) -> None:
    hour.photos("photos/Tea/A/1.png", "photos/Tea/B/1.png", "photos/Milk/Oat/C/1.png", "photos/D/1.png")
    hour.build("photos")
    assert hour.products() == {
        "A": {"name": "", "category": "Tea", "photos": 1},
        "B": {"name": "", "category": "Tea", "photos": 1},
        "C": {"name": "", "category": "Milk", "category2": "Oat", "photos": 1},
        "D": {"name": "", "photos": 1},
    }
    tile_photo(2, 7).save("query.png")
    assert set(hour.nearest("query.png", "--where", "category=Tea")) == {"A", "B"}


def test_a_tree_in_a_folder_too_many(hour: FirstHour) -> None:
    hour.photos("upload/images/A/1.png", "upload/images/B/1.png")
    assert hour.build("upload")["products"] == 2 and set(hour.products()) == {"A", "B"}


def test_a_banner_beside_products(hour: FirstHour) -> None:
    hour.photos("photos/Tea/A/1.png", "photos/Tea/B/1.png", "photos/Tea/banner.png", "photos/logo.png")
    built = hour.build("photos")
    assert built["products"] == 2 and [entry["path"] for entry in built["left_out"]] == ["Tea/banner.png", "logo.png"]
    code, out, _ = hour.run("build", "photos", "-o", "shop.bundle", *hour.encoder)
    assert code == 0 and "left out: logo.png: a photo beside the folders of products" in out
    hour.build("photos", "--report", "page.html")
    assert "a photo beside the folders of products" in (hour.folder / "page.html").read_text()


def test_views_of_each_product_in_folders(hour: FirstHour) -> None:
    hour.photos("photos/A/vorne/1.png", "photos/A/hinten/1.png", "photos/B/vorne/1.png", "photos/B/hinten/1.png")
    built = hour.build("photos")
    assert set(hour.products()) == {"A", "B"} and "add --sku-from folder" in built["findings"][0]["message"]


def test_all_photos_in_one_folder(hour: FirstHour) -> None:
    hour.photos("photos/4006381333931_1.png", "photos/4006381333931_2.png", "photos/TEA-2.png", "photos/TEA-2 (1).png")
    hour.build_refused("photos", remedy="--sku-from file to make each photo's name its SKU (2 products)")
    hour.build("photos", "--sku-from", "file")
    assert {sku: row["photos"] for sku, row in hour.products().items()} == {"4006381333931": 2, "TEA-2": 2}


def test_a_csv_lies_in_the_folder_of_photos(hour: FirstHour) -> None:
    hour.photos("shop/a.png", "shop/b.png")
    hour.write("shop/products.csv", "image,sku\na.png,A\nb.png,B\n")
    hour.build_refused("shop", remedy="expected the CSV shop/products.csv in it")
    assert hour.build("shop/products.csv")["products"] == 2


def test_photos_named_by_gtin_in_categories(hour: FirstHour) -> None:
    hour.photos("photos/tea/4006381333931.png", "photos/tea/96385074.png", "photos/milk/036000291452.png")
    assert "add --sku-from file" in hour.build("photos")["findings"][0]["message"]
    hour.build("photos", "--sku-from", "file")
    assert {sku: row["category"] for sku, row in hour.products().items()} == {
        "036000291452": "milk",
        "4006381333931": "tea",
        "96385074": "tea",
    }


def test_brands_in_several_categories(hour: FirstHour) -> None:
    hour.photos("photos/milk/Arla/1.png", "photos/juice/Arla/1.png")
    built = hour.build("photos")
    assert (
        set(hour.products()) == {"milk/Arla", "juice/Arla"} and "--sku-from folder" in built["findings"][0]["message"]
    )
    hour.build("photos", "--sku-from", "folder")
    assert set(hour.products()) == {"Arla"}
    hour.build("photos", "--sku-from", "path")
    assert set(hour.products()) == {"milk/Arla", "juice/Arla"}


def test_empty_and_foreign_folders(hour: FirstHour) -> None:
    hour.photos("photos/A/1.png")
    (hour.folder / "photos" / "B").mkdir()
    hour.write("photos/A/notes.txt", "x")
    hour.write("photos/Thumbs.db", "x")
    built = hour.build("photos")
    assert built["left_out"] == [{"path": "B", "message": "a folder without photos"}]
    assert built["ignored"] == ["A/notes.txt", "Thumbs.db"]


def test_the_bundle_lies_in_the_folder_that_is_built(hour: FirstHour) -> None:
    hour.photos("A/1.png", "B/1.png")
    hour.build(".")
    built = hour.build(".")
    assert (built["products"], built["ignored"]) == (2, [])
    assert built["left_out"] == [{"path": "shop.bundle", "message": "a bundle of shelfmatch"}]


def test_an_archive_a_photo_and_nothing(hour: FirstHour) -> None:
    hour.photos("a.png")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("a.png")
    hour.build_refused("photos.zip", remedy="unpack it and name the folder")
    hour.build_refused("a.png", remedy="expected the folder of folders that it lies in")
    hour.build_refused("phtos", remedy="does not exist; expected a folder")
    (hour.folder / "empty").mkdir()
    hour.build_refused("empty", remedy="expected empty/SKU/photo.jpg")


def test_photos_that_cannot_be_read(hour: FirstHour) -> None:
    hour.photos("photos/A/1.png", "photos/B/1.png")
    hour.write("photos/A/2.jpg", "")
    hour.write("photos/B/2.jpg", "no photo")
    (hour.folder / "photos" / "B" / "1.png").unlink()
    built = hour.build("photos")
    assert [entry["image"] for entry in built["unreadable"]] == ["A/2.jpg", "B/2.jpg"] and built["without_photos"] == [
        "B"
    ]
    assert "<" not in built["unreadable"][1]["message"]  # the file, not its bytes
    checked = hour.done("build", "photos", "--check", code=1)
    assert checked["unreadable"] == built["unreadable"] and checked["without_photos"] == ["B"]


def test_a_placeholder_stands_for_many_products(hour: FirstHour) -> None:
    hour.photos(*(f"photos/P{number:02d}/1.png" for number in range(60)))
    soon = tile_photo(500, 0, 192)
    for number in range(60):
        soon.resize((96 + number % 2 * 32,) * 2).save(f"photos/P{number:02d}/soon.jpg", quality=90)
    code, out, _ = hour.run("build", "photos", "-o", "shop.bundle", *hour.encoder)
    said = [line for line in out.splitlines() if "soon" in line or "placeholder" in line]
    assert code == 0 and len(said) == 1 and "stands for 60 products" in said[0] and "P00, P01" in said[0]
    built = hour.build("photos", "--leave-out", "placeholder")
    assert (built["products"], built["references"], len(built["left_out"])) == (60, 60, 60)
    code, out, _ = hour.run("build", "photos", "-o", "shop.bundle", *hour.encoder, "--leave-out", "placeholder")
    assert len([line for line in out.splitlines() if "soon" in line or "placeholder" in line]) == 1
    hour.build_refused("photos", "--leave-out", "ugly", remedy="expected some of dark, blank, placeholder")


def test_dark_and_blank_photos(hour: FirstHour) -> None:
    hour.photos("photos/A/1.png", "photos/B/1.png")
    Image.fromarray((np.asarray(tile_photo(0, 3)) * 0.1).astype(np.uint8)).save("photos/A/dark.png")
    Image.new("RGB", (64, 64), "white").save("photos/B/blank.png")
    said = {finding["kind"]: finding["message"] for finding in hour.build("photos")["findings"]}
    assert "A/dark.png" in said["dark"] and "--leave-out dark" in said["dark"] and "B/blank.png" in said["blank"]
    built = hour.build("photos", "--leave-out", "dark,blank")
    assert (built["photos"], built["references"]) == (2, 2)
    hour.write("photos/A/text.jpg", "no photo")
    built = hour.build("photos", "--leave-out", "dark,blank")
    assert (built["photos"], built["references"], len(built["unreadable"])) == (3, 2, 1)


def test_one_bad_name_stops_nothing(hour: FirstHour) -> None:
    hour.photos("photos/A/1.png", "photos/B\x07/1.png", "photos/C/new\nline.png")
    built = hour.build("photos")
    assert set(hour.products()) == {"A", "C"}
    assert built["left_out"] == [
        {"path": "B?", "message": "SKU 'B\\x07' arrived; expected 1 to 200 printable characters"}
    ]


def test_names_as_macos_stores_them(hour: FirstHour) -> None:
    hour.photos(f"photos/{unicodedata.normalize('NFD', 'Käse')}/1.png", "photos/B/1.png")
    hour.build("photos")
    hour.photos("more/Käse/2.png", first=7)
    assert hour.done("add", "shop.bundle", "more")["products"] == 2
    hour.done("remove", "shop.bundle", unicodedata.normalize("NFD", "Käse"))
    assert set(hour.products()) == {"B"}


def test_photos_of_a_phone(hour: FirstHour) -> None:
    hour.photos("photos/A/1.png", "photos/B/1.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: stored lying, to be turned a quarter
    tile_photo(0, 7, 480).rotate(90).save("IMG_0001.JPG", exif=exif)
    hour.build("photos")
    assert hour.nearest("IMG_0001.JPG")[0] == "A"
    (hour.folder / "photos" / "A" / "IMG_0002.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    built = hour.build("photos")
    assert built["unreadable"][0]["image"] == "A/IMG_0002.HEIC" and built["references"] == 2


def test_adding_from_a_tree(hour: FirstHour) -> None:
    hour.photos("photos/Tea/A/1.png", "photos/Tea/B/1.png")
    hour.build("photos")
    hour.photos("new/Milk/C/1.png", "new/Tea/A/2.png", first=9)
    assert hour.done("add", "shop.bundle", "new")["products"] == 3
    assert {sku: (row["category"], row["photos"]) for sku, row in hour.products().items()} == {
        "A": ("Tea", 2),
        "B": ("Tea", 1),
        "C": ("Milk", 1),
    }
    hour.refused("add", "shop.bundle", "new", "--columns", "sku=a", remedy="expected a CSV, whose columns it names")
