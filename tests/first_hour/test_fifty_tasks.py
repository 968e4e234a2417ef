"""A first hour in fifty tasks and wrong steps, one after the other, in one folder: each is done, or refused in one line that names
the remedy, and nothing of the user's is lost.

Folders of every kind, CSVs of three spreadsheet programs in four languages, photos of a phone, and what goes wrong in between.
`python -m pytest tests/first_hour/test_fifty_tasks.py -m slow -s` prints the list with what each came to.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import tile_photo

from .conftest import FirstHour

DONE, NO, REFUSED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Task:
    """A command, its exit code, and words that stand in what it prints (of a refusal: on stderr)."""

    what: str
    command: str
    code: int
    says: str


TASKS = (
    # Folders of every kind
    Task("build before there are photos", "build photos -o shop.bundle", REFUSED, "does not exist; expected a folder"),
    Task("build from an empty folder", "build empty -o shop.bundle", REFUSED, "expected empty/SKU/photo.jpg"),
    Task(
        "build from the archive that was sent",
        "build photos.zip -o shop.bundle",
        REFUSED,
        "unpack it and name the folder",
    ),
    Task("build from one photo", "build folders/A/1.png -o shop.bundle", REFUSED, "expected the folder of folders"),
    Task("build without a name", "build folders", REFUSED, "-o/--output-bundle"),
    Task("look before building", "build folders --check", DONE, "3 products, 6 photos; nothing was built"),
    Task("folders named by SKU", "build folders -o folders.bundle", DONE, "3 products"),
    Task("categories and products", "build tree -o tree.bundle", DONE, "4 products"),
    Task("its categories", "info tree.bundle --products", DONE, "category tea"),
    Task("photos side by side", "build flat -o flat.bundle", REFUSED, "--sku-from file"),
    Task("so be it", "build flat -o flat.bundle --sku-from file", DONE, "2 products"),
    Task("views in folders", "build views -o views.bundle", DONE, "--sku-from folder"),
    Task("a tree in which some can't be read", "build damaged -o damaged.bundle", DONE, "unreadable: A/broken.jpg"),
    Task("one that nothing can be read of", "build broken -o broken.bundle", REFUSED, "none of the 1 photos in broken"),
    Task("a placeholder for six products", "build soon -o soon.bundle", DONE, "stands for 6 products"),
    Task("without it", "build soon -o soon.bundle --leave-out placeholder", DONE, "6 products"),
    Task("a dark photo", "build dark --check", NO, "--leave-out dark"),
    # Spreadsheets
    Task("the spreadsheet itself", "build liste.xlsx -o shop.bundle", REFUSED, "save it as 'CSV UTF-8'"),
    Task("Excel in German", "build excel-de.csv -o shop.bundle", DONE, "'Bild' is taken for image"),
    Task("its umlauts", "find shop.bundle Käse", DONE, "100-1 Käse, 200 g"),
    Task("LibreOffice in French", "build libre-fr.csv -o fr.bundle", DONE, "'Référence' is taken for sku"),
    Task("Google's in English", "build google-en.csv -o en.bundle", DONE, "2 products"),
    Task("Excel in Chinese", "build excel-zh.csv -o zh.bundle", DONE, "'图片' is taken for image"),
    Task("columns of their own", "build own.csv -o own.bundle", REFUSED, "say which is which: --columns image="),
    Task("named", "build own.csv -o own.bundle --columns image=wo,sku=was", DONE, "2 products"),
    Task("addresses instead of files", "build urls.csv -o urls.bundle", REFUSED, "download"),
    Task("paths of Windows", "build windows.csv -o windows.bundle", DONE, "2 products"),
    Task(
        "rows that contradict each other",
        "build contradicting.csv --check",
        NO,
        "1 has 2 values of name: 'Tea', 'Milk' (line 3); the first counts",
    ),
    Task("a GTIN that a spreadsheet spoilt", "build gtin.csv --check", NO, "4.00638E+12"),
    Task(
        "a report over the list",
        "build excel-de.csv -o shop.bundle --report excel-de.csv",
        REFUSED,
        "it is also an input",
    ),
    # Phone photos and queries
    Task("a photo as a phone stores it", "match shop.bundle IMG_0001.JPG", DONE, "100-1 Käse, 200 g, over 99% sure"),
    Task("a folder of photos", "match shop.bundle phone", DONE, "phone/IMG_0002.JPG: 100-2 Brot"),
    Task("a photo that isn't there", "match shop.bundle IMG_9999.JPG", REFUSED, "IMG_9999.JPG"),
    Task(
        "a bundle that isn't there",
        "match shp.bundle IMG_0001.JPG",
        REFUSED,
        "expected a bundle made by shelfmatch build",
    ),
    Task("the bundle forgotten", "match IMG_0001.JPG", REFUSED, "expected the bundle first"),
    Task(
        "only one category, misspelt",
        "match tree.bundle IMG_0001.JPG --where category=te",
        REFUSED,
        "there are milk, tea",
    ),
    Task("spelt right", "match tree.bundle IMG_0001.JPG --where category=tea --top-k 9", DONE, "2. T-2"),
    Task("why", "match shop.bundle IMG_0001.JPG --explain IMG_0001.JPG", REFUSED, "it is also an input"),
    Task("why, to a new file", "match shop.bundle IMG_0001.JPG --explain why.png", DONE, "100-1 Käse, 200 g"),
    Task("a typing error", "find shop.bundle Kaese", DONE, "no product has kaese; these have kase"),
    Task("another", "find en.bundle creem", DONE, "these have cream"),
    Task("by price", "similar en.bundle T-1 --where price<3", DONE, "T-2"),
    # Changes
    Task("a new product", "add shop.bundle more", DONE, "new: 100-3"),
    Task("once more", "add shop.bundle more", DONE, "shop.bundle has all of it already; nothing was changed"),
    Task("new prices", "update shop.bundle prices.csv", DONE, "Preis 2,49 € → 2,79 €"),
    Task("a photo too many", "photos shop.bundle 100-3", DONE, "100-3/2.png"),
    Task("goes", "remove shop.bundle 100-3 --photo 100-3/2.png", DONE, "100-3: 1 photo removed"),
    Task("a product that isn't there", "remove shop.bundle 999", REFUSED, "shelfmatch info --products lists them"),
    Task("one that is", "remove shop.bundle 100-3", DONE, "100-3: gone, 1 photo removed"),
    Task("another threshold", "tune shop.bundle --false-accept 5", REFUSED, "between 0 and 1, like 0.05"),
    Task("a shop of a few products", "tune shop.bundle --false-accept 0.1", DONE, "for 5% → 10% false accepts"),
    # Measuring
    Task("how good is it", "eval shop.bundle queries.csv", DONE, "'Foto' is taken for image"),
    Task("a folder of queries", "eval folders.bundle asked", DONE, "recall@1"),
    Task("a SKU that it hasn't", "eval folders.bundle asked-wrong", REFUSED, "put it into a folder named unknown"),
    Task("is all of it as it was built", "verify shop.bundle", DONE, "every byte is as built"),
)


def make_everything(hour: FirstHour) -> None:
    """What a shop has lying around."""
    (hour.folder / "empty").mkdir()
    hour.photos(*(f"folders/{sku}/{photo}.png" for sku in "ABC" for photo in (1, 2)))
    hour.photos("tree/tea/T-1/1.png", "tree/tea/T-2/1.png", "tree/milk/M-1/1.png", "tree/milk/oat/M-2/1.png")
    hour.photos("flat/4006381333931_1.png", "flat/4006381333931_2.png", "flat/96385074.png")
    hour.photos("views/A/front/1.png", "views/A/back/1.png", "views/B/front/1.png", "views/B/back/1.png")
    hour.photos("damaged/A/1.png", "damaged/B/1.png")
    hour.write("damaged/A/broken.jpg", "no photo")
    (hour.folder / "broken" / "A").mkdir(parents=True)
    hour.write("broken/A/1.jpg", "no photo")
    hour.photos(*(f"soon/P{number}/1.png" for number in range(6)))
    for number in range(6):
        tile_photo(500, 0).save(f"soon/P{number}/soon.png")
    hour.photos("dark/A/1.png", "dark/B/1.png")
    Image.fromarray((np.asarray(tile_photo(0, 3)) * 0.1).astype(np.uint8)).save("dark/A/dark.png")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("folders/A/1.png")
    make_tables(hour)
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: stored lying, to be turned a quarter
    tile_photo(0, 7, 480).rotate(90).save("IMG_0001.JPG", exif=exif)
    (hour.folder / "phone").mkdir()
    tile_photo(1, 7, 480).rotate(90).save("phone/IMG_0002.JPG", exif=exif)
    tile_photo(0, 8, 480).save("phone/IMG_0003.png")
    hour.photos("more/100-3/1.png", "more/100-3/2.png", first=30)
    hour.photos("asked/A/7.png", "asked/unknown/8.png", "asked-wrong/Z/1.png")


def make_tables(hour: FirstHour) -> None:
    """The same shop as spreadsheet programs write it."""
    hour.photos("bilder/a.png", "bilder/b.png")
    hour.write("liste.xlsx", "PK")
    german = "Bild;Artikelnummer;Bezeichnung;Preis\r\nbilder/a.png;100-1;Käse, 200 g;2,49 €\r\nbilder/b.png;100-2;Brot;1,00 €\r\n"
    hour.write("excel-de.csv", german, "cp1252")
    french = 'Photo;Référence;Désignation;Prix\nbilder/a.png;F-1;"Crème fraîche; 200 g";2,49\nbilder/b.png;F-2;Thé vert;1,00\n'
    hour.write("libre-fr.csv", french)
    hour.write(
        "google-en.csv", 'Image,SKU,Name,Price\r\nbilder/a.png,T-1,"Cream, 200 g",2.49\r\nbilder/b.png,T-2,Tea,1.00\r\n'
    )
    hour.write("excel-zh.csv", "图片,货号,名称\r\nbilder/a.png,Z-1,绿茶\r\nbilder/b.png,Z-2,奶酪\r\n", "gb18030")
    hour.write("own.csv", "wo,was\nbilder/a.png,1\nbilder/b.png,2\n")
    hour.write("urls.csv", "image,sku\nhttps://shop.example/a.png,1\n")
    hour.write("windows.csv", "image,sku\nbilder\\a.png,1\nbilder\\b.png,2\n")
    hour.write("contradicting.csv", "image,sku,name\nbilder/a.png,1,Tea\nbilder/b.png,1,Milk\n")
    hour.write("gtin.csv", "image,sku,gtin\nbilder/a.png,1,4.00638E+12\nbilder/b.png,2,4006381333931\n")
    hour.write("prices.csv", "Artikelnummer;Preis\n100-1;2,79 €\n")
    hour.write("queries.csv", "Foto;Artikel\nIMG_0001.JPG;100-1\nphone/IMG_0002.JPG;100-2\n")


def belongings(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What the user had before, file by file."""
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(".bundle")]
        for name in names:
            yield str(Path(above, name).relative_to(folder)), Path(above, name).read_bytes()


@pytest.mark.slow
def test_fifty_tasks(hour: FirstHour) -> None:
    make_everything(hour)
    before = dict(belongings(hour.folder))
    told, wrong = [], []
    for number, task in enumerate(TASKS, start=1):
        arguments = task.command.split()
        if arguments[0] == "build" and "--check" not in arguments:
            arguments += hour.encoder
        code, out, err = hour.run(*arguments)
        found = err if task.code == REFUSED else out
        lines = err.count("\n")
        is_right = code == task.code and task.says in found and lines == (1 if code == REFUSED else 0)
        is_right &= "Traceback" not in out + err and (code != REFUSED or not out)
        shown = f"{number:2}. {task.what}: shelfmatch {task.command}\n    {code}: {(out + err).strip()}"
        told.append(shown)
        if not is_right:
            wrong.append(f"{shown}\n    expected {task.code}: … {task.says} …")
        after = dict(belongings(hour.folder))
        lost = [name for name, data in before.items() if after.get(name) != data]
        assert not lost, f"{shown}\nlost or changed: {lost}"
    print("\n".join(told))
    assert not wrong, "\n".join(wrong)
    assert len(TASKS) >= 50
