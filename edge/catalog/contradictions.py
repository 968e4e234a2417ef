"""What the rows of a CSV say of the products, and where they contradict each other or an article number is wrong."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from . import gtin
from .columns import plain
from .listing import Finding, few
from .numbers import number_in

_PRICES = ("price", "preis", "prix")
_ONE_EACH = ("name", *_PRICES, "category", "brand")
"""A product has one of each: where rows differ, it is said of each product. Other columns may say something of a photo."""


class Attributes:
    """The attributes of each SKU, row by row. The first row that says something counts; `clear_empty`: an empty cell says that
    there is none."""

    def __init__(self, *, clear_empty: bool = False) -> None:
        self._clear_empty = clear_empty
        self._attributes: dict[str, dict[str, str]] = {}
        self._said: dict[tuple[str, str], dict[str, int]] = {}
        self._wrong: list[tuple[int, str, gtin.CheckedGtin]] = []
        self._rewritten: list[tuple[str, str, str]] = []
        self._unread: dict[tuple[str, str, str], int] = {}
        self._owner: dict[str, str] = {}
        self._shared: dict[str, dict[str, int]] = {}

    def add(self, sku: str, row: dict[str, str], line: int) -> None:
        """What a row says of a SKU. The first row of each is kept, not copied."""
        for key in [key for key in row if _is_gtin(key) and row[key]]:
            row[key] = self._checked(sku, row[key], line)
        for key in [key for key in row if _is_price(key) and row[key] and number_in(row[key]) is None]:
            self._unread.setdefault((key, sku, row[key]), line)
        if not self._clear_empty:
            for key in [key for key, value in row.items() if not value]:
                del row[key]
        known = self._attributes.setdefault(sku, row)
        if known is row:
            return
        for key, value in row.items():
            if known.setdefault(key, value) != value and self._alike(key, known[key]) != self._alike(key, value):
                said = self._said.setdefault((sku, key), {known[key]: 0})
                said.setdefault(value, line)

    def by_sku(self) -> dict[str, dict[str, str]]:
        """SKU → attribute → value."""
        return self._attributes

    def findings(self) -> list[Finding]:
        """Contradictions, then prices, then article numbers."""
        return [*self._contradictions(), *self._prices(), *self._shared_numbers(), *self._numbers()]

    def findings_of_rows(self) -> list[Finding]:
        """The same without article numbers of several products: `shared_gtins` has those of all products, not of the rows alone."""
        return [*self._contradictions(), *self._prices(), *self._numbers()]

    @staticmethod
    def _alike(key: str, value: str) -> str:
        """A value as it is compared: 2,50 is the price 2.50 €."""
        if _is_price(key):
            number = re.sub(r"[^\d.,]", "", value).replace(",", ".")
            return number.rstrip("0").rstrip(".") if "." in number else number
        return value.casefold()

    def _checked(self, sku: str, value: str, line: int) -> str:
        found = gtin.check(value)
        if found.problem:
            self._wrong.append((line, sku, found))
        else:
            owner = self._owner.setdefault(found.value.zfill(14), sku)
            if owner != sku:
                self._shared.setdefault(found.value, {owner: 0}).setdefault(sku, line)
            if found.value != value:
                self._rewritten.append((sku, value, found.value))
        return found.value

    def _contradictions(self) -> list[Finding]:
        findings = []
        others: dict[str, list[str]] = defaultdict(list)
        for (sku, key), said in self._said.items():
            if plain(key) in _ONE_EACH or plain(key) in gtin.COLUMNS:
                values = few([f"{value!r}{f' (line {line})' if line else ''}" for value, line in said.items()])
                findings.append(
                    Finding(
                        "contradiction", f"{sku} has {len(said)} values of {key}: {values}; the first counts", (sku,)
                    )
                )
            else:
                others[key].append(sku)
        for key, skus in others.items():
            sentence = f"rows of {len(skus):,} products differ in {key} ({few(skus)}); the first of each counts"
            findings.append(Finding("contradiction", sentence, tuple(skus)))
        return findings

    def _prices(self) -> list[Finding]:
        """Prices are kept as they are written, for people to read; one that is no number passes no filter like price<3."""
        by_key: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for (key, sku, value), line in self._unread.items():
            by_key[key].append((sku, f"{value[:40]!r} of {sku} (line {line})"))
        return [
            Finding(
                "price",
                f"{key} {few(said for _, said in rows)} can't be read as a number; expected one like 2.50 or 2,50 €, filters like "
                f"{key}<3 leave such products out",
                tuple(dict.fromkeys(sku for sku, _ in rows)),
            )
            for key, rows in by_key.items()
        ]

    def _shared_numbers(self) -> list[Finding]:
        return [_shared(number, tuple(owners)) for number, owners in self._shared.items()]

    def _numbers(self) -> list[Finding]:
        findings = []
        by_problem: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for line, sku, found in self._wrong:
            right = f", {found.right} would be right" if found.right else ""
            by_problem[found.problem].append((sku, f"{found.value} of {sku} (line {line}{right})"))
        for problem, rows in by_problem.items():
            sentence = f"GTIN {few(dict.fromkeys(said for _, said in rows))}: {problem}"
            findings.append(Finding("gtin", sentence, tuple(dict.fromkeys(sku for sku, _ in rows))))
        if self._rewritten:
            skus = list(dict.fromkeys(sku for sku, _, _ in self._rewritten))
            _, before, after = self._rewritten[0]
            sentence = f"GTINs of {len(skus):,} products are written the usual way, like {before!r} as {after}"
            findings.append(Finding("gtin", sentence, tuple(skus)))
        return findings


def shared_gtins(
    products: Iterable[tuple[str, Mapping[str, str]]], changed: Iterable[Mapping[str, str]]
) -> list[Finding]:
    """The article numbers of `changed` attributes that several of a bundle's products have: (SKU, attributes) of all of them."""
    wanted = {number: value for attributes in changed for number, value in _gtins(attributes).items()}
    owners: dict[str, dict[str, None]] = {}
    for sku, attributes in products if wanted else ():
        for number in _gtins(attributes):
            if number in wanted:
                owners.setdefault(number, {})[sku] = None
    return [_shared(wanted[number], tuple(sorted(skus))) for number, skus in owners.items() if len(skus) > 1]


def _gtins(attributes: Mapping[str, str]) -> dict[str, str]:
    """A product's right article numbers: in 14 digits, to compare by, and as they are kept."""
    checked = [gtin.check(value) for key, value in attributes.items() if value and _is_gtin(key)]
    return {one.value.zfill(14): one.value for one in checked if not one.problem}


def _shared(number: str, owners: tuple[str, ...]) -> Finding:
    return Finding("gtin", f"GTIN {number} is given to {len(owners):,} products: {few(owners)}", owners)


@functools.lru_cache(1024)
def _is_gtin(key: str) -> bool:
    """Whether an attribute of this name is an article number."""
    return plain(key) in gtin.COLUMNS


@functools.lru_cache(1024)
def _is_price(key: str) -> bool:
    """Whether an attribute of this name is a price."""
    return plain(key) in _PRICES
