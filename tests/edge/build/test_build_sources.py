"""Reading a catalogue: a folder of folders named by SKU, or a CSV as people's spreadsheets write it."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import CatalogError, Matcher, add_to_bundle, build_bundle, remove_from_bundle
from shelfmatch.edge.bundle.bundle import Bundle
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.source import read_source
from shelfmatch.edge.catalog.tables import read_rows
from shelfmatch.edge.evaluation.evaluate import evaluate
from shelfmatch.edge.evaluation.results import Query
from tests.conftest import tile_photo


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write_csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "shop.csv").write_bytes(text.encode(encoding))
    return folder / "shop.csv"


def test_folders_are_skus_and_files_in_them_photos(tmp_path: Path) -> None:
    source = read_source(make(tmp_path, "b/2.png", "b/1.JPG", "a/deep/x.jpeg", "a/9.webp", "ü 日本/x.avif"))
    assert [(photo.label, photo.sku) for photo in source.photos] == [
        ("a/9.webp", "a"),
        ("a/deep/x.jpeg", "a"),
        ("b/1.JPG", "b"),
        ("b/2.png", "b"),
        ("ü 日本/x.avif", "ü 日本"),
    ]
    assert all(photo.path == tmp_path / photo.label for photo in source.photos)
    assert source.ignored == () and dict(source.attributes) == {}


def test_what_is_no_photo_is_listed_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    names = (
        "a/1.png",
        "a/notes.txt",
        "a/photo",
        "loose.png",
        "Thumbs.db",
        ".git/a.png",
        "a/.hidden.png",
        "a/.cache/x.png",
    )
    source = read_source(make(tmp_path, *names))
    assert [photo.label for photo in source.photos] == ["a/1.png"]
    assert source.ignored == ("Thumbs.db", "a/notes.txt", "a/photo")
    assert source.left_out == (("loose.png", "a photo beside the folders of products"),)


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    source = read_source(make(tmp_path, "a.jpg/1.png", "b/c.png/2.png"))
    assert [(photo.label, photo.sku) for photo in source.photos] == [
        ("a.jpg/1.png", "a.jpg"),
        ("b/c.png/2.png", "c.png"),
    ]


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    make(tmp_path / "shop", "a/1.png", "b/c/2.png")
    make(tmp_path / "store", "3.png", "deep/4.png")
    for sku in ("linked", "again"):
        (tmp_path / "shop" / sku).symlink_to(tmp_path / "store")
    (tmp_path / "shop" / "a" / "up").symlink_to(tmp_path / "shop")
    (tmp_path / "store" / "itself").symlink_to(".")
    (tmp_path / "shop" / "lost").symlink_to(tmp_path / "gone")
    source = read_source(tmp_path / "shop")
    assert [(photo.label, photo.sku) for photo in source.photos] == [
        ("a/1.png", "a"),
        ("again/3.png", "again"),
        ("again/deep/4.png", "again"),
        ("b/c/2.png", "c"),
        ("linked/3.png", "linked"),
        ("linked/deep/4.png", "linked"),
    ]
    assert source.ignored == ("lost",) and source.unreadable == ()


def test_folders_that_cannot_be_read_are_reported(
    tmp_path: Path, tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sku in ("a", "b"):
        (tmp_path / "shop" / sku).mkdir(parents=True)
        tile_photo(ord(sku), 0).save(tmp_path / "shop" / sku / "1.png")
    real, closed = os.scandir, {"b"}  # tests may run as root, whom no permission stops

    def scandir(path: Any) -> Any:
        if isinstance(path, (str, Path)) and Path(path).name in closed:  # rmtree hands a number over
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = build_bundle(tmp_path / "shop", tmp_path / "s.bundle", encoder=tiny_tflite)
    assert report.unreadable == [("b", "the folder can't be read: Permission denied")]
    assert (report.photos, report.products) == (1, 1)
    assert add_to_bundle(tmp_path / "s.bundle", tmp_path / "shop").unreadable == report.unreadable
    is_dir = Path.is_dir

    def not_looked_at(path: Path) -> bool:
        if path.name == "c":  # names can be listed, and no more
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return is_dir(path)

    (tmp_path / "shop" / "a" / "c").symlink_to(tmp_path / "shop" / "b")  # where a link leads is looked at
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", not_looked_at)
        assert read_source(tmp_path / "shop").unreadable == (
            ("a/c", "it can't be looked at: Permission denied"),
            *report.unreadable,
        )
    closed.add("a")
    with pytest.raises(CatalogError, match=r"no photos that can be read; the first folder: a: .*Permission denied"):
        read_source(tmp_path / "shop")


def test_skus_that_look_the_same_are_one(tmp_path: Path, tiny_tflite: Path) -> None:
    folders = make(tmp_path / "shop", "caf\u00e9/1.png", "cafe\u0301/2.png", "tea/3.png", "tea /4.png")
    assert read_source(folders).skus() == ["caf\u00e9", "tea"]
    make(tmp_path / "empty", " /1.png")
    with pytest.raises(CatalogError, match="SKU ' ' arrived"):
        read_source(tmp_path / "empty")
    for number in range(3):
        tile_photo(number, 0).save(tmp_path / f"{number}.png")
    path = write_csv(tmp_path, "image,sku,name\n0.png,caf\u00e9,\n1.png,cafe\u0301,Coffee\n2.png,tea,\n")
    assert read_source(path).attributes == {"caf\u00e9": {"name": "Coffee"}, "tea": {}}
    build_bundle(path, tmp_path / "s.bundle", encoder=tiny_tflite, resizer="pillow", adapt="off")
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        found = evaluate(matcher, [Query(tmp_path / "1.png", "1.png", "cafe\u0301")])
        assert found.recall_at_1 == 1.0 and matcher.similar("cafe\u0301")[0].sku == "tea"
    remove_from_bundle(tmp_path / "s.bundle", ["cafe\u0301 "])
    assert Bundle.open(tmp_path / "s.bundle").manifest.products == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no file names that aren't UTF-8")
def test_names_that_are_not_utf_8_can_be_catalogued(tmp_path: Path, tiny_tflite: Path) -> None:
    (tmp_path / "shop" / "sku").mkdir(parents=True)
    tile_photo(0, 0).save(tmp_path / "shop" / "sku" / "1.png")
    latin = os.fsencode(tmp_path / "shop" / "sku") + "/grün.png".encode("latin-1")
    os.link(tmp_path / "shop" / "sku" / "1.png", latin)
    Path(os.fsdecode(latin + b".txt")).touch()
    source = read_source(tmp_path / "shop")
    assert [photo.label for photo in source.photos] == ["sku/1.png", "sku/gr?n.png"]
    assert source.ignored == ("sku/gr?n.png.txt",)
    report = build_bundle(tmp_path / "shop", tmp_path / "s.bundle", encoder=tiny_tflite)
    assert report.references == 1 and report.duplicates == [("sku/gr?n.png", "the same file as sku/1.png")]
    (tmp_path / "shop" / "sku").rename(os.fsdecode(os.fsencode(tmp_path / "shop") + b"/\xe9"))
    with pytest.raises(CatalogError, match="printable"):
        read_source(tmp_path / "shop")


@pytest.mark.parametrize("source", ["missing", "empty", "only-text"])
def test_a_source_without_photos_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "only-text", "a/notes.txt", "loose.png")
    with pytest.raises(CatalogError, match="does not exist" if source == "missing" else "holds no photos"):
        read_source(tmp_path / source)


@pytest.mark.parametrize("sku", ["tab\tinside", "new\nline", "x" * 201, "\u200b", "nul\0"])
def test_skus_that_cannot_be_shown_are_refused(sku: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path, f'image,sku\na.png,"{sku}"\n')
    with pytest.raises(CatalogError, match="printable characters"):
        read_source(path)


def test_a_csv_names_photos_beside_it(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "sku,name,image,price\nA-1, Green tea ,photos/a.png,2.50\nB,,../b.png,\nA-1,,c.png,\n")
    source = read_source(path)
    assert [(photo.label, photo.sku, photo.path) for photo in source.photos] == [
        ("photos/a.png", "A-1", tmp_path / "photos/a.png"),
        ("../b.png", "B", tmp_path / "../b.png"),
        ("c.png", "A-1", tmp_path / "c.png"),
    ]
    assert source.attributes == {"A-1": {"name": "Green tea", "price": "2.50"}, "B": {}}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a.png", "a.png"),
        ("./a/../b.png", "b.png"),
        ("../shop/a.png", "a.png"),
        ("{folder}/deep/a.png", "deep/a.png"),
        ("../b.png", "../b.png"),
        ("../../home/alice/b.png", "alice/b.png"),
        ("a/../../../home/alice/b.png", "alice/b.png"),
        ("/home/alice/b.png", "alice/b.png"),
        ("{folder}/../../home/alice/b.png", "alice/b.png"),
        ("/b.png", "b.png"),
    ],
)
def test_labels_tell_nothing_of_what_is_above_the_source(image: str, label: str, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    path = write_csv(tmp_path / "shop", f"image,sku\n{image.format(folder=tmp_path / 'shop')},A\n")
    assert [photo.label for photo in read_source(path).photos] == [label]


def test_the_first_of_differing_attributes_counts(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "image,sku,price,colour\na.png,A,,red\nb.png,A,2.00,blue\nc.png,A,3.00,\n")
    assert read_source(path).attributes == {"A": {"colour": "red", "price": "2.00"}}


@pytest.mark.parametrize(
    "text",
    [
        "image,sku,name\na.png,A,Tea\n",
        "\ufeffimage,sku,name\na.png,A,Tea\n",  # Excel's "CSV UTF-8"
        "image,sku,name\r\na.png,A,Tea\r\n",
        "image, sku , name\na.png , A, Tea",
        '"image","sku","name"\n"a.png","A","Tea"\n',
        "image,sku,name\n\na.png,A,Tea\n\n\n",
        "image,sku,name\n   \na.png,A,Tea\n,,\n , ,\n",  # rows that were emptied, not deleted
        "image,sku,name,,\na.png,A,Tea,,\n",  # columns likewise
        "image,sku,name,\na.png,A,Tea,scribbled\n",
    ],
)
def test_spreadsheets_habits_do_not_matter(text: str, tmp_path: Path) -> None:
    source = read_source(write_csv(tmp_path, text))
    assert [(photo.label, photo.sku) for photo in source.photos] == [("a.png", "A")]
    assert source.attributes == {"A": {"name": "Tea"}}


def test_quotes_hold_commas_and_quotes_and_a_cell_is_one_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path, 'image,sku,name\n"a, b.png",A,"Tea ""Earl"", 20\nbags"\nc.png,B,Coffee\n')
    source = read_source(path)
    assert [photo.label for photo in source.photos] == ["a, b.png", "c.png"]
    assert source.attributes["A"]["name"] == 'Tea "Earl", 20 bags' and source.attributes["B"]["name"] == "Coffee"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; expected a CSV with the header image,sku"),
        ("a.png,A\n", r"has the header 'a.png,A'; expected it to include image,sku"),
        ("image,sku,sku\na.png,A,B\n", "the column sku twice"),
        ("image,sku\na.png\n", "line 2 has more or fewer fields"),
        ("image,sku\na.png,A,B\n", "line 2 has more or fewer fields"),
        ("image,sku\n,A\n", "line 2 names no image"),
        ("image,sku\na.png,\n", "line 2.*SKU '' arrived"),
        ('image,sku\n"a.png,A\n', "can't be read as a CSV"),
        ("image,sku\n" + "a" * 200_000 + ",A\n", "can't be read as a CSV"),
        ("image,sku\n", "has a header and no rows"),
    ],
)
def test_a_csv_that_is_none_says_where(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=words) as refusal:
        read_source(write_csv(tmp_path, text))
    assert "shop.csv" in str(refusal.value)


def test_rows_come_with_their_lines(tmp_path: Path) -> None:
    path = write_csv(tmp_path, 'image,sku\na,"1"\n\n"b\nb",2\n,\nc,3\n')
    assert [(line, row["sku"]) for line, row in read_rows(path, ("sku",))] == [(2, "1"), (4, "2"), (7, "3")]
    with pytest.raises(CatalogError, match=r"missing\.csv does not exist; expected a CSV"):
        read_rows(tmp_path / "missing.csv", ())


def test_what_was_read_can_be_built(tmp_path: Path, tiny_tflite: Path) -> None:
    (tmp_path / "photos").mkdir()
    for product in range(3):
        tile_photo(product, 0).save(tmp_path / "photos" / f"P{product}.png")
    source = read_source(tmp_path / "photos", sku_from="file")
    assert read_source(source) is source and str(source) == str(tmp_path / "photos")
    report = build_bundle(source, tmp_path / "s.bundle", encoder=tiny_tflite, adapt="off")
    assert report.products == 3 and add_to_bundle(tmp_path / "s.bundle", source).references == 0
    only = read_source(make(tmp_path / "more", "A/1.png"))
    with pytest.raises(CatalogError, match=r"none of the 1 photos in .*more can be used"):
        build_bundle(only, tmp_path / "t.bundle", encoder=tiny_tflite)


def test_a_csv_builds_the_shop_it_describes(tmp_path: Path, tiny_tflite: Path) -> None:
    (tmp_path / "photos").mkdir()
    for product in range(3):
        tile_photo(product, 0).save(tmp_path / "photos" / f"{product}.png")
    rows = "".join(f"photos/{n}.png,sku {n},Näme {n},{n}.00\n" for n in range(3))
    report = build_bundle(
        write_csv(tmp_path, f"image,sku,name,price\n{rows}"), tmp_path / "s.bundle", encoder=tiny_tflite
    )
    assert report.references == report.products == 3
    catalog = Catalog(Bundle.open(tmp_path / "s.bundle").file("catalog"))
    products = [(product.sku, product.name, dict(product.attributes)) for _, product in catalog.products()]
    catalog.close()
    assert products == [(f"sku {n}", f"Näme {n}", {"price": f"{n}.00"}) for n in range(3)]
