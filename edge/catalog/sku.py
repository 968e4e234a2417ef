"""What may be a SKU."""

from __future__ import annotations

from .attributes import clean_sku
from .gtin import is_shortened

MAX_LENGTH = 200


def sku_problem(sku: str) -> str:
    """Why a text can't be a SKU, "" where it can."""
    cleaned = clean_sku(sku)
    if not cleaned or len(cleaned) > MAX_LENGTH or not cleaned.isprintable():
        return f"SKU {sku[:40]!r} arrived; expected 1 to {MAX_LENGTH} printable characters"
    if is_shortened(cleaned) and "E" in cleaned.upper() and "+" in cleaned:
        return (
            f"SKU {cleaned!r} arrived, a number that a spreadsheet has shortened, its last digits are lost; "
            "format the column as text, enter the numbers again and save"
        )
    return ""
