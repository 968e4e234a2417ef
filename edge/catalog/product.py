"""What a catalogue has: products, their photos, and how near one is to a query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the shop. `attributes` are the CSV's other columns: gtin, price, category, …"""

    sku: str
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """To copy and pickle: a view that nobody can write to can be neither."""
        return _product, (self.sku, self.name, dict(self.attributes))


@dataclass(frozen=True, slots=True)
class ScoredProduct:
    """A product and how near it is: what candidates and neighbours have in common."""

    product: Product
    score: float

    @property
    def sku(self) -> str:
        return self.product.sku

    @property
    def name(self) -> str:
        return self.product.name

    def described(self, **numbers: float) -> dict[str, Any]:
        """For JSON: SKU, name, these numbers; attributes only where there are any."""
        record: dict[str, Any] = {"sku": self.sku, "name": self.name, **numbers}
        if self.product.attributes:
            record["attributes"] = dict(self.product.attributes)
        return record


@dataclass(frozen=True, slots=True)
class Reference:
    """One catalogued photo: the id of its vector, its label and the sha256 of its file."""

    id: int
    photo: str
    photo_sha256: bytes


def product_from_row(sku: str, name: str, attributes: str) -> Product:
    """A product as the table `product` keeps it, with its attributes as JSON."""
    return _product(sku, name, json.loads(attributes))


def _product(sku: str, name: str, attributes: dict[str, str]) -> Product:
    return Product(sku, name, MappingProxyType(attributes))
