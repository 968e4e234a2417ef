"""Article numbers: check digits, one way of writing them, and what spreadsheets do to them."""

from __future__ import annotations

import pytest

from shelfmatch.edge.catalog import gtin


@pytest.mark.parametrize("number", ["4006381333931", "96385074", "036000291452", "10012345678902", "9771234567003"])
def test_right_numbers_are_right_and_each_wrong_digit_is_seen(number: str) -> None:
    assert gtin.is_gtin(number)
    for place, digit in enumerate(number):
        wrong = number[:place] + str((int(digit) + 1) % 10) + number[place + 1 :]
        assert not gtin.is_gtin(wrong), wrong


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4006381333931", "4006381333931"),
        ("4 006381 333931", "4006381333931"),
        ("4006381-333931", "4006381333931"),
        ("4006381333931.0", "4006381333931"),
        ("04006381333931", "4006381333931"),  # a GTIN-14 of a single item
        ("10012345678902", "10012345678902"),  # of a case: another number
        ("036000291452", "0036000291452"),  # UPC-A as scanners give it
        ("36000291452", "0036000291452"),  # its zero was dropped
        ("96385074", "96385074"),
    ],
)
def test_one_way_of_writing(text: str, value: str) -> None:
    assert gtin.check(text) == gtin.CheckedGtin(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4006381333932", "the check digit, doesn't fit"),
        ("0000000000000", "only zeros"),
        ("4.00638E+12", "shortened by a spreadsheet"),
        ("4,00638E+12", "shortened by a spreadsheet"),
        ("4E+12", "shortened by a spreadsheet"),
        ("40063", "5 digits"),
        ("n/a", "not a number"),
        ("４００６３８１３３３９３１", "not a number"),
    ],
)
def test_what_is_wrong_is_said_and_the_cell_stays(text: str, words: str) -> None:
    found = gtin.check(text)
    assert found.value == text and words in found.problem


def test_what_would_be_right_is_said() -> None:
    assert gtin.check("4006381333932").right == "4006381333931" and gtin.check("40063").right == ""


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("4006381333931", ("04006381333931",)),
        ("04006381333931", ("04006381333931",)),
        ("036000291452", ("00036000291452",)),
        ("96385074", ("00000096385074",)),
        ("04252614", ("00042100005264",)),  # UPC-E alone: as an EAN-8 its check digit would be wrong
        ("(01)04006381333931(10)AB", ("04006381333931",)),
        ("010400638133393110AB", ("04006381333931",)),
        ("https://example.com/some/01/4006381333931?x=1", ("04006381333931",)),
        ("https://example.com/01/", ()),
        ("4006381333932", ()),
        ("abc", ()),
    ],
)
def test_one_spelling_to_compare_by(text: str, numbers: tuple[str, ...]) -> None:
    assert gtin.canonical(text) == numbers


def test_eight_digits_may_be_two_numbers() -> None:
    assert gtin.canonical("01234565") == ("00012345000065", "00000001234565")


def test_numbers_of_one_shop() -> None:
    assert gtin.is_of_one_shop("02912345012341") and gtin.is_of_one_shop("00212345678909")
    assert not gtin.is_of_one_shop("04006381333931") and not gtin.is_of_one_shop("12912345012341")
