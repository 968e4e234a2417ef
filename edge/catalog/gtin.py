"""Article numbers of the trade: GTIN-8, -12 (UPC), -13 (EAN) and -14, checked and written one way."""

from __future__ import annotations

import re
from dataclasses import dataclass

LENGTHS = (8, 12, 13, 14)
_COLUMN_WORDS = """
gtin gtin8 gtin12 gtin13 gtin14 ean ean8 ean13 eancode eannummer upc upca upccode barcode barcodes strichcode streckkod
codebarres codeàbarres codebarre gencod gencode codigodebarras códigodebarras codiceabarre 条码 条形码 商品条码 国际条码
"""
COLUMNS = frozenset(_COLUMN_WORDS.split())
"""Columns that hold such numbers, as `columns.plain` writes them."""

_SHORTENED = re.compile(r"\d([.,]\d+)?[eE]\+?\d+")


@dataclass(frozen=True, slots=True)
class CheckedGtin:
    """`value`: the number as it is kept; `problem`: what is wrong with it, "" where nothing is; `right`: with another last
    digit, it would be this."""

    value: str
    problem: str = ""
    right: str = ""


def check_digit(digits: str) -> str:
    """The digit that follows these: weights 3 and 1 from the right, the sum made up to a multiple of ten (GS1 General
    Specifications, "Standard check digit calculations for GS1 data structures")."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def is_gtin(text: str) -> bool:
    """Whether a text is 8, 12, 13 or 14 digits, the last of which is right."""
    return text.isascii() and text.isdecimal() and len(text) in LENGTHS and check_digit(text[:-1]) == text[-1]


def is_shortened(text: str) -> bool:
    """Whether a spreadsheet has shortened a long number to one like 4.00638E+12, whose last digits are lost."""
    return _SHORTENED.fullmatch(text) is not None


def normalized(digits: str) -> str:
    """A right GTIN as it is kept: eight digits as they are printed, 12 as the 13 that scanners give, 14 as 13 where they begin with
    a zero."""
    if len(digits) == 12:
        return f"0{digits}"
    return digits[1:] if len(digits) == 14 and digits[0] == "0" else digits


def check(text: str) -> CheckedGtin:
    """Check a cell. What is right is normalized; what isn't stays as it came, with what is wrong and what would be right."""
    if is_shortened(text):
        return CheckedGtin(text, "shortened by a spreadsheet, its last digits are lost; format the column as text")
    digits = re.sub(r"[\s\-\u00a0]", "", text).removesuffix(".0").removesuffix(",0")
    if not (digits.isascii() and digits.isdecimal()):
        return CheckedGtin(text, "not a number of 8, 12, 13 or 14 digits")
    if not digits.strip("0"):
        return CheckedGtin(text, "only zeros")
    if is_gtin(digits):
        return CheckedGtin(normalized(digits))
    for length in LENGTHS:  # a spreadsheet drops leading zeros; of more than two it is hardly one
        if length - 2 <= len(digits) < length and len(digits) >= 7 and is_gtin(digits.zfill(length)):
            return CheckedGtin(normalized(digits.zfill(length)))
    if len(digits) not in LENGTHS:
        return CheckedGtin(text, f"{len(digits)} digits; expected 8, 12, 13 or 14")
    return CheckedGtin(
        text,
        "a digit is wrong, since the last one, the check digit, doesn't fit",
        digits[:-1] + check_digit(digits[:-1]),
    )
