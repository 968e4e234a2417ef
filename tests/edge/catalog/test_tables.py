"""CSVs as spreadsheets write them: encodings, delimiters, names of columns, and every line that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmatch.edge import CatalogError
from shelfmatch.edge.catalog.columns import columns_of
from shelfmatch.edge.catalog.listing import CatalogSource
from shelfmatch.edge.catalog.source import read_source
from shelfmatch.edge.catalog.tables import read_rows, read_table
from shelfmatch.edge.evaluation.evaluate import queries_and_findings


def read(folder: Path, text: str, encoding: str = "utf-8", **options: object) -> CatalogSource:
    path = folder / "shop.csv"
    path.write_bytes(text.encode(encoding))
    return read_source(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoding", "delimiter", "guess"),
    [
        ("utf-8", ";", ""),
        ("utf-8-sig", ";", ""),
        ("utf-8", "\t", ""),
        ("utf-8", "|", "vertical bars"),
        ("utf-16", "\t", ""),
        ("utf-16-le", "\t", "UTF-16"),
        ("utf-16-be", ",", "UTF-16"),
        ("cp1252", ";", "Windows-1252"),
        ("mac_roman", ";", "Mac Roman"),
    ],
)
def test_encodings_and_delimiters(encoding: str, delimiter: str, guess: str, tmp_path: Path) -> None:
    rows = [
        ["image", "sku", "name", "price"],
        ["a.png", "A", "Grüner Tee, 20 Stück", "2,49"],
        ["b.png", "B", "Käse", "3,—"],
    ]
    if encoding == "mac_roman":
        rows[2][3] = "3"
    text = "".join(delimiter.join(f'"{c}"' if delimiter in c else c for c in row) + "\r\n" for row in rows)
    source = read(tmp_path, text, encoding)
    assert source.attributes["A"] == {"name": "Grüner Tee, 20 Stück", "price": "2,49"}
    assert source.attributes["B"]["name"] == "Käse" and source.skus() == ["A", "B"]
    said = " ".join(finding.message for finding in source.findings if finding.kind == "guessed")
    assert guess in said and bool(said) == bool(guess)


def test_chinese_excel(tmp_path: Path) -> None:
    source = read(tmp_path, "图片,货号,名称,价格\r\na.png,A-1,绿茶,12.50\r\n", "gb18030")
    assert source.attributes == {"A-1": {"name": "绿茶", "价格": "12.50"}}
    said = " ".join(finding.message for finding in source.findings)
    assert "GB 18030" in said and "'图片' is taken for image" in said and "'货号' is taken for sku" in said


@pytest.mark.parametrize("word", ["Größe", "Fußöl", "créée", "Länge x Größe", "heißöl"])
def test_letters_with_accents_side_by_side_are_not_chinese(tmp_path: Path, word: str) -> None:
    """As GB 18030 the header Größe was read as a rare character, and the column under that name."""
    source = read(tmp_path, f"image;sku;{word}\r\na.png;A;12\r\n", "cp1252")
    assert source.attributes["A"] == {word: "12"}


@pytest.mark.parametrize("word", ["茶", "Cola可乐", "绿茶Tea", "A可", "啤酒330ml", "蛋"])
def test_chinese_beside_latin_letters_is_chinese(tmp_path: Path, word: str) -> None:
    source = read(tmp_path, f"image;sku;name\r\na.png;A;{word}\r\n", "gb18030")
    assert source.attributes["A"] == {"name": word}


def test_an_encoding_that_cannot_be_told_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"can't be read as a CSV.*save it as 'CSV UTF-8'"):
        read(tmp_path, "image,sku,name\na.png,A,Зелёный чай\n", "cp1251")
    with pytest.raises(CatalogError, match=r"utf-16.* is damaged"):
        (tmp_path / "cut.csv").write_bytes("image,sku\na.png,A\n".encode("utf-16")[:-1])
        read_source(tmp_path / "cut.csv")


@pytest.mark.parametrize(
    "header",
    [
        "Image,SKU",
        "IMAGE,Sku",
        "Photo,Article No.",
        "Bild,Artikelnr.",
        "Foto,Artikel-Nr",
        "Fichier,Réf.",
        "file name,item_code",
        "图片,商品编号",
        "Dateiname,Artikelnummer",
    ],
)
def test_usual_names_of_columns_are_known(header: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"{header}\na.png,A\n").skus() == ["A"]


def test_documented_columns_may_be_in_any_case_and_others_stay_as_they_are(tmp_path: Path) -> None:
    source = read(tmp_path, "Image,SKU,Name,Price,Category,Shelf No\na.png,A,Tea,1,tea,7\n")
    assert source.attributes == {"A": {"name": "Tea", "price": "1", "category": "tea", "Shelf No": "7"}}
    assert source.findings == ()  # the case of letters is no guess


def test_columns_are_named(tmp_path: Path) -> None:
    text = "foto;bestellcode;text;image\na.png;A;Tea;no\n"
    with pytest.raises(CatalogError, match=r"expected it to include image,sku; or say which is which: --columns sku=…"):
        read(tmp_path, text)
    source = read(tmp_path, text, columns=columns_of("image=foto,sku=Bestellcode,name=text"))
    assert source.skus() == ["A"] and source.attributes["A"]["name"] == "Tea" and source.findings == ()
    with pytest.raises(CatalogError, match="sku=code arrived; the columns are foto, bestellcode, text, image"):
        read(tmp_path, text, columns={"image": "foto", "sku": "code"})
    for wrong in ("image", "image=", "=foto", "image=a,image=b", ""):
        with pytest.raises(CatalogError, match="--columns"):
            columns_of(wrong)


def test_one_column_is_not_taken_for_two(tmp_path: Path) -> None:
    text = "foto,EAN,Preis\na.jpg,4006381333931,2\n"
    with pytest.raises(CatalogError, match="takes 'EAN' for sku and for gtin; expected a column for each"):
        read(tmp_path, text, columns=columns_of("sku=EAN,gtin=ean"))
    with pytest.raises(CatalogError, match="takes 'Preis' for price and for name; expected"):
        read(tmp_path, text, columns={"price": "Preis", "name": "Preis"})


def test_a_gtin_can_be_the_sku(tmp_path: Path) -> None:
    source = read(tmp_path, "image,EAN\na.png,4006381333931\n")
    assert source.skus() == ["4006381333931"] and "'EAN' is taken for it" in source.findings[0].message


def test_all_bad_lines_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    text = (
        "image,sku,name,price\n"
        "a.png,A,Tea,1\n"
        ",B,Tea,1\n"
        "c.png,,Tea,1\n"
        "d.png,D,Tea,2,49\n"
        "e.png\n"
        "https://shop.example/f.png,F,Tea,1\n"
        "C:\\photos\\g.png,G,Tea,1\n"
        "h.png,4.00638E+12,Tea,1\n"
        "i.png,I\x07,Tea,1\n"
        "j.png,J\n"  # Excel leaves empty cells at the end out
    )
    source = read(tmp_path, text)
    assert source.skus() == ["A", "J"]
    problems = dict(source.left_out)
    expected = {
        3: "names no image",
        4: "SKU '' arrived",
        5: "needs quotes around it",
        6: "has more or fewer fields",
        7: "download the photos",
        8: "a place on a Windows computer",
        9: "a spreadsheet has shortened",
        10: "printable",
    }
    assert set(problems) == {f"shop.csv line {line}" for line in expected}
    for line, words in expected.items():
        assert words in problems[f"shop.csv line {line}"], line


def test_where_every_line_counts_all_bad_ones_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("image,sku\na.png,A,x\nb.png,B\nc.png\nd.png,D,y\n")
    with pytest.raises(CatalogError, match=r"line 2 .*; line 4 .*; line 5 "):
        read_rows(tmp_path / "q.csv", ("image", "sku"))


def test_an_open_quote_costs_its_own_line_and_no_more(tmp_path: Path) -> None:
    """It took all rows to the file's end with it, and the line that was named was the last one."""
    rows = [f"{number}.png,P{number:03},Tea\n" for number in range(2, 33)]
    rows[2] = '4.png,P004,"Milk 1 kg\n'
    source = read(tmp_path, 'image,sku,name\nb.png,B,"32"" TV"\n' + "".join(rows))
    assert source.skus() == ["B", *(f"P{number:03}" for number in range(2, 33) if number != 4)]
    assert source.attributes["B"]["name"] == '32" TV'
    ((label, reason),) = source.left_out
    assert label == "shop.csv line 5" and "a quote that opens there is not closed; close it, or take it away" in reason


@pytest.mark.parametrize(
    ("opens", "between", "closes", "count"),
    [
        ('b.png,B01,"Bio Apfel', ["c.png,C02,Birne"], 'd.png,D03,Rohr 1/2"', 2),
        ('b.png,B01,"Bio Apfel', [], 'd.png,D03,"Rohr"', 0),  # closes before a word: no CSV at all
        ('b.png,B01,"Bio Apfel', ['c.png,C02,""', ""], 'd.png,D03,x"', 2),
        ('"b.png,B01,Bio Apfel', ["c.png,C02,Birne"], 'd.png,D03,Rohr 1/2"', 2),
        ('b,B01,"Bio Apfel', ["c,C02,Birne"], 'd,D03,Rohr 1/2"', 2),  # photos without their endings
    ],
)
def test_a_stray_quote_swallows_no_rows(
    opens: str, between: list[str], closes: str, count: int, tmp_path: Path
) -> None:
    """Three rows became one product whose name was all of them, and nobody was told."""
    source = read(
        tmp_path, "\n".join(["image,sku,name", "a.png,A00,Tea", opens, *between, closes, "e.png,E04,Tea", ""])
    )
    assert source.skus() == ["A00", *(["C02"] if any(between) else []), "D03", "E04"]
    ((label, reason),) = source.left_out
    assert label == "shop.csv line 3"
    assert (
        f"a quote that opens there takes the {count} rows after it into its cell" if count else "is not closed"
    ) in reason


def test_a_stray_quote_swallows_no_prices(tmp_path: Path) -> None:
    """As for a catalogue, for a table of new names and prices, which names no photos."""
    (tmp_path / "u.csv").write_text('sku,name\nP001,"Apfel\nP002,Birne\nP003,Rohr 1/2"\nP004,Tee\n')
    table = read_table(tmp_path / "u.csv", ("sku",))
    assert [row["sku"] for _, row in table.rows] == ["P002", "P003", "P004"]
    assert table.bad[0][0] == 2 and "takes the 2 rows after it" in table.bad[0][1]


@pytest.mark.parametrize(
    ("header", "start", "cell"),
    [
        ("image,sku,text", "a.png,A1", "Green, from Assam, loose\nCups, pots, bags\n\n20 pieces, 2, 3"),
        ("image,sku,text", "a.png,A1", 'Says "hello"\nand, well, "goodbye"'),
        ("sku,text", "A1", "Tea, green\nOrganic, fresh\n1,5 kg\n250,5"),
        ("sku,text", "4006381333931", "Tea, green\n2,5 kg\n7,5"),
        ("sku,text,price", "A1", "a\nb"),
    ],
)
def test_cells_with_line_breaks_are_what_they_are(header: str, start: str, cell: str, tmp_path: Path) -> None:
    """Descriptions from a shop's system have them, and as many commas on a line as there may be columns."""
    quoted = cell.replace('"', '""')
    last = start.replace("A1", "B2")
    (tmp_path / "u.csv").write_text(f'{header}\n{start},"{quoted}"\n{last},x\n{last},x,y,z,z\n')
    table = read_table(tmp_path / "u.csv", header.split(",")[:-1][:2] if "price" not in header else ("sku",))
    assert [line for line, _ in table.rows] == [2, 3 + cell.count("\n")] and table.rows[0][1]["text"] == " ".join(
        cell.split()
    )
    assert [line for line, _ in table.bad] == [4 + cell.count("\n")]


def test_excels_own_tricks(tmp_path: Path) -> None:
    source = read(tmp_path, 'sep=;\r\nimage;sku;name\r\na.png;="00123";Tea\r\n\r\n;;\r\nb.png;;x\r\n')
    assert source.skus() == ["00123"]
    assert [label for label, _ in source.left_out] == ["shop.csv line 6"]  # the line that an editor shows


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    for name, start, words in (
        ("a.xlsx", b"PK\x03\x04", "is a spreadsheet; open it, save it as 'CSV UTF-8'"),
        ("a.csv", b"PK\x03\x04", "save it as 'CSV UTF-8'"),
        ("a.zip", b"PK\x03\x04", "is an archive; unpack it"),
        ("a.jpg", b"\xff\xd8\xff", "is one photo; expected the folder"),
        ("b.csv", b"\xff\xd8\xff", "a photo, not a CSV"),
        ("c.csv", bytes(range(32)) * 9, "it is no text"),
    ):
        (tmp_path / name).write_bytes(start)
        with pytest.raises(CatalogError, match=words):
            read_source(tmp_path / name)


def test_photos_are_found_as_they_are_meant(tmp_path: Path) -> None:
    (tmp_path / "Photos").mkdir()
    for name in ("a.JPG", "b.png", "c.webp", "Ka\u0308se.png"):
        (tmp_path / "Photos" / name).touch()
    source = read(
        tmp_path, "image,sku\nPhotos\\a.JPG,A\nPhotos/B.PNG,B\nPhotos/c,C\nPhotos\\gone.png,D\nPhotos/K\u00e4se.png,E\n"
    )
    assert [photo.label for photo in source.photos] == [
        "Photos/a.JPG",
        "Photos/b.png",
        "Photos/c.webp",
        "Photos/gone.png",
        "Photos/Ka\u0308se.png",
    ]
    said = " ".join(finding.message for finding in source.findings)
    assert "in 2 image names backslashes are read as slashes" in said
    assert "the case of letters" in said and "ending is missing" in said and "how letters are put together" in said
    queries, findings = queries_and_findings(tmp_path / "shop.csv")
    assert [query.path for query in queries] == [tmp_path / photo.label for photo in source.photos], (
        "eval reads the same"
    )
    assert {finding.message for finding in findings} <= {finding.message for finding in source.findings}


def test_characters_that_cannot_be_shown_leave_names(tmp_path: Path) -> None:
    source = read(tmp_path, "image,sku,name\na.png,A,Gr\x1b[31meen\u202e tea\x07\nb.png,B,نمی\u200cخواهم\n")
    assert source.attributes["A"]["name"] == "Gr[31meen tea" and "\u200c" in source.attributes["B"]["name"]
    assert [finding.kind for finding in source.findings] == ["cleaned"] and "line 2 name" in source.findings[0].message


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("\n \r\n,,\nimage,sku\na.png,A\n", "utf-8"),  # lines before the header
        ("\ufeff\ufeffimage,sku\na.png,A\n", "utf-8"),  # a mark of two programs
        ("image,sku\na.png,A\n", "utf-32"),
    ],
)
def test_what_stands_before_a_header_is_read_over(text: str, encoding: str, tmp_path: Path) -> None:
    source = read(tmp_path, text, encoding)
    assert source.skus() == ["A"] and source.left_out == ()


def test_lines_before_the_header_are_counted(tmp_path: Path) -> None:
    source = read(tmp_path, "\n\nimage,sku\na.png,A\n,B\n")
    assert source.left_out == (("shop.csv line 5", "names no image; expected a path relative to the CSV"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "shop.csv is empty; expected a CSV with the header image,sku"),
        (" \n\n", "is empty"),
        ("image,sku\n", "has a header and no rows; expected a row for each photo"),
        ("Export of today,\n,\nimage,sku\na.png,A\n", "its header seems to be line 3: take away the lines above it"),
        ("sku;image1;Image 2\nA;a.png;b.png\n", "image1, Image 2 are several photos of one product"),
        ('image,sku\n"a.png, b.png",A\n', "line 2 names several photos, 'a.png, b.png'; expected one photo a row"),
    ],
)
def test_what_is_no_catalogue_yet_is_told_what_to_mend(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as raised:
        read(tmp_path, text)
    assert words in str(raised.value) and "--columns" not in str(raised.value)


def test_a_photo_may_be_called_like_two(tmp_path: Path) -> None:
    (tmp_path / "a.png, b.png").touch()
    assert len(read(tmp_path, 'image,sku\n"a.png, b.png",A\n').photos) == 1


def test_skus_that_differ_in_case_alone_are_listed(tmp_path: Path) -> None:
    source = read(tmp_path, "image,sku\na.png,ab-1\nb.png,AB-1\nc.png,X\nd.png,ab-1\n")
    assert source.skus() == ["ab-1", "AB-1", "X"]
    (finding,) = source.findings
    assert finding.kind == "contradiction" and finding.skus == ("AB-1", "ab-1")
    assert "AB-1 and ab-1" in finding.message and "write them alike" in finding.message
