"""Names, prices, attributes and SKUs of a bundle's products, changed without their photos."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import arguments
from ..bundle.writer import BundleWriter
from ..catalog.attributes import clean_sku
from ..catalog.contradictions import Attributes, shared_gtins
from ..catalog.listing import Finding, few
from ..catalog.sku import sku_problem
from ..catalog.tables import Table, read_table, wrong_lines
from ..errors import CatalogError
from .change import copied_catalog
from .changes import changes_record, changes_said


@dataclass(frozen=True, slots=True)
class ProductChange:
    """What changed of one product: `sku` as it was, `new_sku` where it got another, and attribute → (before, after); name counts
    as one, "" is none."""

    sku: str
    new_sku: str | None
    attributes: Mapping[str, tuple[str, str]]

    def sentence(self) -> str:
        """For people."""
        parts = [f"is now {self.new_sku}"] if self.new_sku is not None else []
        return f"{self.sku}: {', '.join([*parts, *changes_said(self.attributes)])}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"sku": self.sku, "new_sku": self.new_sku, "attributes": changes_record(self.attributes)}


@dataclass(slots=True)
class UpdateReport:
    """What an update did: the products that changed, how many rows said what the bundle had already, SKUs that it doesn't have,
    (line, reason) of rows that can't be used, and what the CSV's owner should know."""

    products: int = 0
    changed: list[ProductChange] = field(default_factory=list)
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The document of `update --json`."""
        return {
            "products": self.products,
            "changed": [change.to_dict() for change in self.changed],
            "unchanged": self.unchanged,
            "unknown": self.unknown,
            "left_out": [{"path": label, "message": reason} for label, reason in self.left_out],
            "findings": [finding.to_dict() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }


def update_bundle(
    bundle: str | os.PathLike[str],
    table: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    clear_empty: bool = False,
    wait_s: float = 0.0,
) -> UpdateReport:
    """Change names and attributes of a bundle's products from a CSV with the column sku, any of name, price, category, …, and
    perhaps new_sku; a column image says nothing here. Photos, embeddings and the decision stay as they are.

    Empty cells leave what is there, or take it away with `clear_empty`. SKUs that the bundle doesn't have are listed. `wait_s`:
    seconds to wait for another writer. All changes are made or none: CatalogError, changing nothing, if no SKU of the CSV is in
    the bundle, or a new SKU is another product's.
    Raises also BundleError, BundleLocked.
    """
    start = time.perf_counter()
    arguments.path_of("table", table, "prices.csv")
    arguments.columns(columns)
    path = Path(table)
    read = read_table(path, ("sku",), columns)
    report = UpdateReport()
    attributes, renames = _wanted(path, read, report, clear_empty)
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        editor = copied_catalog(writer, writer.opened())
        try:
            ids = {sku: editor.product_id(sku) for sku in attributes.by_sku()}
            report.unknown = [sku for sku, number in ids.items() if number is None]
            known = {sku: number for sku, number in ids.items() if number is not None}
            if not known:
                raise CatalogError(
                    f"none of the {len(ids):,} SKUs in {path} are in {bundle}, like {few(ids, 3)}; "
                    "shelfmatch info --products lists those it has"
                )
            renames = {sku: new for sku, new in renames.items() if sku in known and new != sku}
            for sku, number in known.items():
                changes = editor.change_attributes(number, attributes.by_sku()[sku])
                if changes or sku in renames:
                    report.changed.append(ProductChange(sku, renames.get(sku), changes))
            editor.rename_products({known[sku]: new for sku, new in renames.items()})
            report.findings += shared_gtins(editor.products(), [attributes.by_sku()[sku] for sku in known])
            report.unchanged = len(known) - len(report.changed)
            report.products = editor.count()
            if report.changed:
                editor.finish()
                writer.recommit()
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def _wanted(path: Path, table: Table, report: UpdateReport, clear_empty: bool) -> tuple[Attributes, dict[str, str]]:
    """What the rows say of each SKU, and the new SKUs. Raises CatalogError where no row can be used, or two want one new SKU."""
    attributes = Attributes(clear_empty=clear_empty)
    renames: dict[str, str] = {}
    bad = list(table.bad)
    for line, row in table.rows:
        row.pop("image", None)
        sku, new = row.pop("sku"), row.pop("new_sku", "")
        problem = sku_problem(sku) or (sku_problem(new) if new else "")
        if problem:
            bad.append((line, problem))
            continue
        attributes.add(clean_sku(sku), row, line)
        if new and renames.setdefault(clean_sku(sku), clean_sku(new)) != clean_sku(new):
            raise CatalogError(
                f"{path} gives {sku!r} two new SKUs, {renames[clean_sku(sku)]!r} and {new!r}; expected one"
            )
    if not attributes.by_sku():
        raise CatalogError(wrong_lines(path, sorted(bad)) if bad else f"{path} has a header and no rows")
    for new, count in Counter(renames.values()).most_common(1):
        if count > 1:
            raise CatalogError(f"{path} gives {count} products the new SKU {new!r}; expected one each")
    report.left_out = [(f"{path.name} line {line}", problem) for line, problem in sorted(bad)]
    report.findings = [Finding("guessed", f"{path.name}: {guess}") for guess in table.guessed]
    report.findings += [Finding("cleaned", f"{path.name}: {what}") for what in table.cleaned]
    report.findings += attributes.findings_of_rows()
    return attributes, renames
