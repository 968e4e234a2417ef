"""Rows that contradict each other, and article numbers that are wrong or given twice."""

from __future__ import annotations

from pathlib import Path

from shelfmatch.edge import update_bundle
from shelfmatch.edge.catalog.listing import CatalogSource
from shelfmatch.edge.catalog.source import read_source


def read(folder: Path, text: str) -> CatalogSource:
    (folder / "shop.csv").write_text(text)
    return read_source(folder / "shop.csv")


def test_two_names_and_prices_of_one_sku_are_listed(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        "image;sku;name;price;angle\na;A;Tea;2,50;front\nb;A;Coffee;2.5;back\nc;A;Tea;3,00;\nd;B;Milk;1;front\ne;B;milk;;\n",
    )
    messages = [(finding.kind, finding.message) for finding in source.findings]
    assert messages == [
        ("contradiction", "A has 2 values of name: 'Tea', 'Coffee' (line 3); the first counts"),
        ("contradiction", "A has 2 values of price: '2,50', '3,00' (line 4); the first counts"),
        ("contradiction", "rows of 1 products differ in angle (A); the first of each counts"),
    ]
    assert source.attributes["A"] == {"name": "Tea", "price": "2,50", "angle": "front"}


def test_gtins_are_normalized_and_reported(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        "image,sku,EAN\na,A,4 006381 333931\nb,B,4006381333932\nc,C,4.00638E+12\nd,D,36000291452\ne,E,4006381333931\nf,F,\n",
    )
    assert [source.attributes[sku].get("EAN") for sku in "ABCDEF"] == [
        "4006381333931",
        "4006381333932",
        "4.00638E+12",
        "0036000291452",
        "4006381333931",
        None,
    ]
    messages = [finding.message for finding in source.findings if finding.kind == "gtin"]
    assert messages[0] == "GTIN 4006381333931 is given to 2 products: A, E"
    assert "4006381333932 of B (line 3, 4006381333931 would be right): a digit is wrong" in messages[1]
    assert "4.00638E+12 of C (line 4): shortened by a spreadsheet" in messages[2]
    assert messages[3].startswith("GTINs of 2 products are written the usual way")


def test_a_price_that_is_no_number_is_told(tmp_path: Path) -> None:
    source = read(tmp_path, "image;sku;price\na;A;abc\na2;A;abc\nb;B;2,50 €\nc;C;\nd;D;on request\ne;E;CHF 1'299.-\n")
    (finding,) = [one for one in source.findings if one.kind == "price"]
    assert finding.skus == ("A", "D")
    assert finding.message == (
        "price 'abc' of A (line 2), 'on request' of D (line 6) can't be read as a number; expected one like 2.50 or 2,50 €, "
        "filters like price<3 leave such products out"
    )


def test_an_update_tells_a_price_that_is_no_number(tile_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("sku,price\nsku-001,abc\nsku-002,2.50\n")
    report = update_bundle(tile_bundle, tmp_path / "prices.csv")
    assert [(one.kind, one.skus) for one in report.findings] == [("price", ("sku-001",))]
