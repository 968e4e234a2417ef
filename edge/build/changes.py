"""What a change did to each product: new ones, photos that came and went, names and attributes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..catalog.editor import CatalogEditor
from ..terminal import amount

Attributes = Mapping[str, tuple[str, str]]
"""Attribute → (before, after); name counts as one, "" is none."""


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What became of one product."""

    sku: str
    change: Literal["new", "changed", "gone"]
    photos_added: int = 0
    photos_removed: int = 0
    attributes: Attributes = field(default_factory=dict)

    def sentence(self) -> str:
        """For people."""
        parts: list[str] = [] if self.change == "changed" else [self.change]
        parts += [f"{amount(self.photos_added, 'photo')} added"] if self.photos_added else []
        parts += [f"{amount(self.photos_removed, 'photo')} removed"] if self.photos_removed else []
        parts += changes_said(self.attributes) if self.change == "changed" else []
        return f"{self.sku}: {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sku": self.sku,
            "change": self.change,
            "photos_added": self.photos_added,
            "photos_removed": self.photos_removed,
            "attributes": changes_record(self.attributes),
        }


def changes_said(attributes: Attributes) -> list[str]:
    """Changed attributes for people."""
    return [f"{key} {before or '(none)'} → {after or '(none)'}" for key, (before, after) in attributes.items()]


def changes_record(attributes: Attributes) -> dict[str, dict[str, str]]:
    """Changed attributes for JSON."""
    return {key: {"before": before, "after": after} for key, (before, after) in attributes.items()}


class Ledger:
    """Some products as they were before a change."""

    def __init__(self, editor: CatalogEditor, skus: Collection[str]) -> None:
        self._editor = editor
        self._before = {sku: _state(editor, sku) for sku in skus}

    def changes(self, removed: Mapping[str, int] | None = None) -> tuple[CatalogChange, ...]:
        """What became of them up to now, without those of which nothing changed. `removed`: SKU → photos that were removed, of
        those that are still there."""
        found = []
        for sku, before in self._before.items():
            after = _state(self._editor, sku)
            if before is None and after is None:
                continue
            had, old = before or (0, {})
            has, new = after or (0, {})
            gone = had if after is None else (removed or {}).get(sku, 0)
            change = CatalogChange(
                sku,
                "new" if before is None else "gone" if after is None else "changed",
                has - had + gone,
                gone,
                {
                    key: pair
                    for key in dict.fromkeys([*old, *new])
                    if len(set(pair := (old.get(key, ""), new.get(key, "")))) > 1
                },
            )
            if change != CatalogChange(sku, "changed"):
                found.append(change)
        return tuple(found)


def _state(editor: CatalogEditor, sku: str) -> tuple[int, dict[str, str]] | None:
    """How many photos a product has, and its name and attributes."""
    product_id = editor.product_id(sku)
    return None if product_id is None else (len(editor.references(product_id)), editor.attributes(product_id))
