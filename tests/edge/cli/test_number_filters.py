"""Filters by numbers, 'price<3', as a shop's prices are written; and words with typing errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfmatch.edge import CatalogError, Matcher, build_bundle
from shelfmatch.edge.catalog.numbers import Comparison, comparison_in, number_in
from shelfmatch.edge.catalog.where_texts import where_of
from tests.conftest import tile_photo
from tests.support.commands import document, exit_code_of, lines, tiny_options


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2.50", 2.5), ("2,50", 2.5), ("2,50 €", 2.5), ("$1,299.00", 1299.0), ("1.299,00 EUR", 1299.0), ("1 299,00", 1299.0),
        ("1'299.50 CHF", 1299.5), ("1.299,-", 1299.0), ("1'299.-", 1299.0), ("1,299.- CHF", 1299.0), ("2,50.", 2.5),
        ("-3", -3.0), ("1.234.567", 1234567.0), ("7", 7.0), ("ca. 500 g", 500.0),
        ("", None), ("cheap", None), ("2 for 3", None), ("1-2", None), ("...", None), ("1e400", None),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text: str, number: float | None) -> None:
    assert number_in(text) == (None if number is None else pytest.approx(number))


def test_a_comparison_is_one_only_with_a_number() -> None:
    assert comparison_in("<3") == Comparison("<", 3.0) and comparison_in(" >= 2,50 ") == Comparison(">=", 2.5)
    assert comparison_in("tea") is comparison_in("<tea") is comparison_in("3") is comparison_in("<") is None
    assert Comparison(">=", 2.5).holds("2,50 €") and not Comparison("<", 9.0).holds("on request")
    assert where_of(["price<3", "price>=2.5", "category=a<b=c"]) == {"price": ["<3", ">=2.5"], "category": ["a<b=c"]}
    for wrong in ("price<cheap", "price<", "<3"):
        with pytest.raises(CatalogError, match="expected"):
            where_of([wrong])


@pytest.mark.parametrize("signs", ["<>", "< >", "=<", "=>", "=>=", "<<", ">=>"])
def test_signs_that_say_something_else_are_refused(signs: str) -> None:
    """price<>3 was price<3, and price=<3 had no product at 3."""
    with pytest.raises(CatalogError, match="arrived; expected"):
        where_of([f"price{signs}3"])


def test_products_by_price(shop: Path, capfd: pytest.CaptureFixture[str], tiny_tflite: Path) -> None:
    prices = ["1.29", "2,49 €", "2.50", "3.00", "", "on request"]
    rows = [f'photos/sku-{n:03d}/0.png,S{n},{"red" if n % 2 else "blue"},"{price}"' for n, price in enumerate(prices)]
    (shop / "priced.csv").write_text("\n".join(["image,sku,colour,price", *rows]))
    build_bundle("priced.csv", "priced.bundle", encoder=tiny_tflite, adapt="off")

    def skus(*filters: str) -> set[str]:
        where = [part for one in filters for part in ("--where", one)]
        exit_code_of(["match", "priced.bundle", "query.png", "--top-k", "9", "--json", *where])
        out, err = capfd.readouterr()
        assert err == ""
        return {candidate["sku"] for candidate in json.loads(out)["candidates"]}

    assert skus("price<2.5") == {"S0", "S1"} and skus("price<=2.5") == {"S0", "S1", "S2"}
    assert skus("price>2") == {"S1", "S2", "S3"} and skus("price>=2", "price<3") == {"S1", "S2"}, "of one key all hold"
    assert skus("price>2", "colour=red") == {"S1", "S3"} and skus("price<2", "price=3.00") == {"S0", "S3"}
    with Matcher.open("priced.bundle") as matcher:
        found = matcher.match("query.png", where={"price": [">=2", "<3"]}, top_k=9)
        assert {candidate.sku for candidate in found.candidates} == {"S1", "S2"}
        assert {one.sku for one in matcher.similar("S0", where={"price": "<2,50"})} == {"S1"}
    assert exit_code_of(["match", "priced.bundle", "query.png", "--where", "price<cheap"]) == 2
    assert "'price<cheap' arrived; expected a number after <" in capfd.readouterr().err


def test_find_says_what_it_looked_for(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tile_photo(3, 5).save(shop / "c.png")
    (shop / "c.csv").write_text("image,sku,name\nc.png,CHO-1,Chocolate dark\n")
    document(capfd, "build", "c.csv", "-o", "c.bundle", *tiny_options(shop))
    found = document(capfd, "find", "c.bundle", "choclate")
    assert found["instead"] == {"choclate": ["chocolate"]} and found["products"][0]["sku"] == "CHO-1"
    assert document(capfd, "find", "c.bundle", "choco")["instead"] == {}
    assert lines(capfd, "find", "c.bundle", "choclate") == [
        "no product has choclate; these have chocolate", "CHO-1 Chocolate dark",
    ]  # fmt: skip


def test_find_keeps_to_a_filter(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = ["image,sku,name,price"]
    for number, price in enumerate(("1.50", "2.50", "9.00")):
        tile_photo(3, number).save(shop / f"t{number}.png")
        rows.append(f"t{number}.png,T{number},Tea {number},{price}")
    (shop / "t.csv").write_text("\n".join(rows))
    document(capfd, "build", "t.csv", "-o", "t.bundle", *tiny_options(shop))
    cheap = document(capfd, "find", "t.bundle", "tea", "--where", "price<3")["products"]
    assert {one["sku"] for one in cheap} == {"T0", "T1"}
    dear = document(capfd, "find", "t.bundle", "tea", "--where", "price>3", "--limit", "1")["products"]
    assert [one["sku"] for one in dear] == ["T2"], "the limit counts after the filter"
    with Matcher.open("t.bundle") as matcher:
        assert [one.sku for one in matcher.find("te", where={"price": ">3"})] == ["T2"]
    assert exit_code_of(["find", "t.bundle", "tea", "--where", "price<1"]) == 2
    assert "no product has price <1; price is from 1.50 to 9.00" in capfd.readouterr().err
