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

_DIGITAL_LINK = re.compile(r"https?://[^\s]*?/01/(\d{8,14})(?:[/?#]|$)")
_ELEMENT = re.compile(r"\(?01\)?(\d{14})")
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


def canonical(text: str) -> tuple[str, ...]:
    """The one spelling of an article number, 14 digits, to compare by; none for what is no such number, and two for eight digits
    that may be an EAN-8 or a UPC-E.

    GTIN-8, -12, -13 and -14 with leading zeros or without, UPC-E, a GS1 element string ("(01)…", "01…") and a GS1 Digital Link
    ("https://…/01/…") that has one are the same number.
    """
    for pattern in (_DIGITAL_LINK, _ELEMENT):
        inside = pattern.match(text)
        if inside is not None:
            text = inside[1]
            break
    digits = check(text).value
    wide = upc_e_as_upc_a(digits)
    return tuple(one.zfill(14) for one in (wide, digits) if one and is_gtin(one))


def upc_e_as_upc_a(digits: str) -> str:
    """The 12 digits that a UPC-E's 8 are short for, "" where they are none (GS1 General Specifications, section 5.2.2.4.2)."""
    if not (digits.isascii() and digits.isdecimal() and len(digits) == 8 and digits[0] in "01"):
        return ""
    system, body, last = digits[0], digits[1:7], digits[6]
    if last in "012":
        number = f"{body[:2]}{last}0000{body[2:5]}"
    elif last == "3":
        number = f"{body[:3]}00000{body[3:5]}"
    elif last == "4":
        number = f"{body[:4]}00000{body[4]}"
    else:
        number = f"{body[:5]}0000{last}"
    wide = system + number + digits[7]
    return wide if is_gtin(wide) else ""


def is_of_one_shop(number: str) -> bool:
    """Whether a canonical number is one that each shop may give anew (GS1 prefixes 02, 04 and 20 to 29): a scale's label, with
    weight or price in the number, or a shop's own goods."""
    return number[:1] == "0" and (number[1:3] in ("02", "04") or number[1] == "2")


def item_of(number: str) -> str:
    """Of such a number the part that names the goods: prefix and five digits; what follows may be weight or price."""
    return number[1:8]
