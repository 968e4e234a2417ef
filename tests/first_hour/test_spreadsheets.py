"""CSVs as four spreadsheet programs write them in four languages, and what goes wrong with them."""

from __future__ import annotations

import pytest

from .conftest import FirstHour

HEADERS = {
    "en": ("Image", "SKU", "Name", "Price"),
    "de": ("Bild", "Artikelnummer", "Bezeichnung", "Preis"),
    "fr": ("Photo", "Référence", "Désignation", "Prix"),
    "zh": ("图片", "货号", "名称", "价格"),
}
NAMES = {
    "en": ("Green tea", "Crème fraîche, 200 g", '32" screen'),
    "de": ("Grüner Tee", "Käse, 200 g", "Weißbrot „groß“"),
    "fr": ("Thé vert", "Crème fraîche, 200 g", "Œufs de Pâques"),
    "zh": ("绿茶", "奶酪，二百克", "面包"),
}
PRICES = {
    "en": ("2.49", "1.00", "3"),
    "de": ("2,49 €", "1,00 €", "3 €"),
    "fr": ("2,49", "1,00", "3"),
    "zh": ("2.49", "1.00", "3"),
}
PROGRAMS = {
    # encoding, delimiter by language (, where a comma isn't the decimal mark), end of line
    "Excel": ({"en": "cp1252", "de": "cp1252", "fr": "cp1252", "zh": "gb18030"}, {"de": ";", "fr": ";"}, "\r\n"),
    "Excel, CSV UTF-8": (dict.fromkeys(HEADERS, "utf-8-sig"), {"de": ";", "fr": ";"}, "\r\n"),
    "Excel, Unicode text": (dict.fromkeys(HEADERS, "utf-16"), dict.fromkeys(HEADERS, "\t"), "\r\n"),
    "LibreOffice": (dict.fromkeys(HEADERS, "utf-8"), {}, "\n"),
    "Google Sheets": (dict.fromkeys(HEADERS, "utf-8"), {}, "\r\n"),
    "Numbers": (dict.fromkeys(HEADERS, "utf-8"), {"de": ";", "fr": ";"}, "\r\n"),
}


def cell(text: str, delimiter: str) -> str:
    return '"' + text.replace('"', '""') + '"' if delimiter in text or '"' in text else text


@pytest.mark.parametrize("language", HEADERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_csv_of_any_program_in_any_language(program: str, language: str, hour: FirstHour) -> None:
    encodings, delimiters, end = PROGRAMS[program]
    delimiter = delimiters.get(language, ",")
    hour.photos("photos/1.png", "photos/2.png", "photos/3.png")
    rows = [HEADERS[language]]
    for number, (name, price) in enumerate(zip(NAMES[language], PRICES[language], strict=True), start=1):
        rows.append((f"photos/{number}.png", f"A-{number}", name, price))
    text = "".join(delimiter.join(cell(one, delimiter) for one in row) + end for row in rows)
    hour.write("shop.csv", text, encodings[language])
    built = hour.build("shop.csv")
    assert (built["products"], built["references"], built["left_out"]) == (3, 3, [])
    price = "price" if language == "en" else HEADERS[language][3]
    for number, (sku, row) in enumerate(hour.products().items()):
        assert (sku, row["name"], row[price]) == (f"A-{number + 1}", NAMES[language][number], PRICES[language][number])
    said = " ".join(finding["message"] for finding in built["findings"])
    assert ("is taken for sku" in said) == (language != "en")  # what was guessed is said


def test_columns_with_names_of_their_own(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png")
    hour.write("shop.csv", "datei_1;bestellung;text\na.png;A;Tee\nb.png;B;Milch\n")
    hour.build_refused("shop.csv", remedy="--columns image=…")
    hour.build_refused(
        "shop.csv", "--columns", "image=datei,sku=bestellung", remedy="the columns are datei_1, bestellung, text"
    )
    hour.build_refused("shop.csv", "--columns", "datei_1", remedy="like image=foto,sku=artikel")
    hour.build("shop.csv", "--columns", "image=datei_1,sku=bestellung,name=text")
    assert {sku: row["name"] for sku, row in hour.products().items()} == {"A": "Tee", "B": "Milch"}


def test_the_spreadsheet_itself(hour: FirstHour) -> None:
    hour.photos("a.png")
    (hour.folder / "shop.xlsx").write_bytes(b"PK\x03\x04 and so on")
    hour.build_refused("shop.xlsx", remedy="save it as 'CSV UTF-8' and name that file")


def test_long_numbers_that_excel_shortened(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png", "c.png")
    hour.write("shop.csv", "image,sku\na.png,4.00638E+12\nb.png,4.00638E+12\n")
    hour.build_refused("shop.csv", remedy="format the column as text")
    hour.write("shop.csv", "image,sku,gtin\na.png,A,4.00638E+12\nb.png,B,4006381333931\nc.png,C,4006381333932\n")
    built = hour.build("shop.csv")
    said = [finding["message"] for finding in built["findings"] if finding["kind"] == "gtin"]
    assert "format the column as text" in said[0] and "4006381333931 would be right" in said[1]
    assert hour.products()["C"]["gtin"] == "4006381333932"  # nothing of the user's is lost


def test_rows_with_mistakes_are_listed_all_at_once(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png", "c.png")
    hour.write("shop.csv", "image,sku,name,price\na.png,A,Tea,2,49\nb.png,,Milk,1\nb.png,B,Milk,1\n,C,,\n\n")
    checked = hour.done("build", "shop.csv", "--check", code=1)
    assert [entry["path"] for entry in checked["left_out"]] == ["shop.csv line 2", "shop.csv line 3", "shop.csv line 5"]
    assert checked["ok"] is False and checked["products"] == 1
    assert [path.name for path in hour.folder.iterdir() if path.suffix == ".bundle"] == []
    assert hour.build("shop.csv")["left_out"] == checked["left_out"]
    hour.write("shop.csv", 'image,sku,name,price\na.png,A,Tea,"2,49"\nb.png,B,Milk,1\nc.png,C,,\n')
    assert hour.done("build", "shop.csv", "--check")["ok"] is True


def test_addresses_and_places_on_another_computer(hour: FirstHour) -> None:
    hour.write("shop.csv", "image,sku\nhttps://shop.example/a.jpg,A\n")
    hour.build_refused("shop.csv", remedy="download the photos")
    hour.write("shop.csv", "image,sku\nC:\\Users\\me\\a.jpg,A\n")
    hour.build_refused("shop.csv", remedy="put the photos beside it")


def test_paths_written_on_windows(hour: FirstHour) -> None:
    hour.photos("Photos/A.PNG", "Photos/b.png")
    hour.write("shop.csv", "image;sku\r\nPhotos\\a.png;A\r\nPhotos\\B.png;B\r\n")
    built = hour.build("shop.csv")
    assert built["references"] == 2 and "backslashes are read as slashes" in built["findings"][0]["message"]


def test_rows_that_contradict_each_other(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png")
    hour.write("shop.csv", "image,sku,name,price\na.png,A,Tea,1\nb.png,A,Coffee,2\n")
    code, out, _ = hour.run("build", "shop.csv", "-o", "shop.bundle", *hour.encoder)
    assert code == 0 and "note: A has 2 values of name: 'Tea', 'Coffee' (line 3); the first counts" in out
    assert "values of price" in out


def test_names_with_characters_that_cannot_be_shown(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png")
    hour.write("shop.csv", "image,sku,name\na.png,A,\x1b[2JTea\u202e\nb.png,B\x07,Milk\n")
    built = hour.build("shop.csv")
    assert hour.products()["A"]["name"] == "[2JTea" and "B" not in hour.products()
    assert "expected 1 to 200 printable characters" in built["left_out"][0]["message"]


def test_new_prices_without_photos(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png")
    hour.write("shop.csv", "image,sku,name,price\na.png,A,Tea,1.00\nb.png,B,Milk,2.00\n")
    hour.build("shop.csv")
    hour.write("prices.csv", "sku;price;new_sku\r\nA;1,20;\r\nB;;MILK-1\r\nC;3,00;\r\n", "cp1252")
    report = hour.done("update", "shop.bundle", "prices.csv")
    assert [change["sku"] for change in report["changed"]] == ["A", "B"] and report["unknown"] == ["C"]
    assert hour.products() == {
        "A": {"name": "Tea", "price": "1,20", "photos": 1},
        "MILK-1": {"name": "Milk", "price": "2.00", "photos": 1},
    }
    code, out, _ = hour.run("update", "shop.bundle", "prices.csv")
    assert code == 0 and "nothing was changed" in out and "not in the bundle: B" in out
    hour.write("prices.csv", "Artikel,Preis\nX,1\n")
    hour.refused("update", "shop.bundle", "prices.csv", remedy="shelfmatch info --products lists those it has")
    hour.write("prices.csv", "sku,new_sku\nA,MILK-1\n")
    hour.refused("update", "shop.bundle", "prices.csv", remedy="expected one that no product has")


def test_an_evaluation_says_what_it_guessed(hour: FirstHour) -> None:
    hour.photos("a.png", "b.png")
    hour.write("shop.csv", "image,sku\na.png,A\nb.png,B\n")
    hour.build("shop.csv")
    hour.write("queries.csv", "Bild;Artikel;Käse\na.png;A;ü\n", "cp1252")
    said = [finding["message"] for finding in hour.done("eval", "shop.bundle", "queries.csv")["findings"]]
    assert any("'Bild' is taken for image" in one for one in said) and any("Windows-1252" in one for one in said), said
    code, out, _ = hour.run("eval", "shop.bundle", "queries.csv")
    assert code == 0 and "note: queries.csv: 'Bild' is taken for image" in out
    hour.write("queries.csv", "where,what\na.png,A\n")
    hour.refused("eval", "shop.bundle", "queries.csv", remedy="say which is which: --columns image=…")
    assert hour.done("eval", "shop.bundle", "queries.csv", "--columns", "image=where,sku=what")["findings"] == []
