"""What the rows of a CSV say of the products, and where they contradict each other or an article number is wrong."""

from __future__ import annotations

import re
from collections import defaultdict

from . import gtin
from .columns import plain
from .listing import Finding, few

_ONE_EACH = ("name", "price", "preis", "prix", "category", "brand")
"""A product has one of each: where rows differ, it is said of each product. Other columns may say something of a photo."""


class Attributes:
    """The attributes of each SKU, row by row. The first row that says something counts; `clear_empty`: an empty cell says that
    there is none."""

    def __init__(self, *, clear_empty: bool = False) -> None:
        self._clear_empty = clear_empty
        self._gtin_columns: dict[str, bool] = {}
        self._attributes: dict[str, dict[str, str]] = {}
        self._said: dict[tuple[str, str], dict[str, int]] = {}
        self._wrong: list[tuple[int, str, gtin.CheckedGtin]] = []
        self._rewritten: list[tuple[str, str, str]] = []
        self._owner: dict[str, str] = {}
        self._shared: dict[str, dict[str, int]] = {}

    def add(self, sku: str, row: dict[str, str], line: int) -> None:
        """What a row says of a SKU. The first row of each is kept, not copied."""
        for key in [key for key in row if self._is_gtin(key) and row[key]]:
            row[key] = self._checked(sku, row[key], line)
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

    def _is_gtin(self, key: str) -> bool:
        found = self._gtin_columns.get(key)
        if found is None:
            found = self._gtin_columns[key] = plain(key) in gtin.COLUMNS
        return found

    def by_sku(self) -> dict[str, dict[str, str]]:
        """SKU → attribute → value."""
        return self._attributes

    def findings(self) -> list[Finding]:
        """Contradictions, then article numbers."""
        return [*self._contradictions(), *self._numbers()]

    @staticmethod
    def _alike(key: str, value: str) -> str:
        """A value as it is compared: 2,50 is the price 2.50 €."""
        if plain(key) in ("price", "preis", "prix"):
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
        for number, owners in self._shared.items():
            sentence = f"GTIN {number} is given to {len(owners):,} products: {few(owners)}"
            findings.append(Finding("gtin", sentence, tuple(owners)))
        return findings

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
