"""What is in a bundle, byte by byte and by product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shelfmatch.edge import (
    Bundle,
    VectorIndex,
)
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.ids import product_of


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its name there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def skus_in(bundle: Path) -> dict[str, int]:
    """How many photos each product has, as the catalogue says and the vectors agree."""
    opened = Bundle.open(bundle)
    assert opened.verify() == []
    catalog = Catalog(opened.check("catalog"))
    counts = {product.sku: len(catalog.references(product_id)) for product_id, product in catalog.products()}
    index = VectorIndex.load(opened.file("vectors"))
    in_index = np.unique(product_of(index.ids), return_counts=True)
    assert dict(zip(*(part.tolist() for part in in_index), strict=True)) == {
        product_id: len(catalog.references(product_id)) for product_id, _ in catalog.products()
    }
    assert len(counts) == opened.manifest.products and len(index) == opened.manifest.index.references
    catalog.close()
    return counts


def interrupt_after(photos: int) -> Any:
    """A progress that presses Ctrl-C."""

    def progress(stream: Iterator[Any], total: int) -> Iterable[Any]:
        for number, one in enumerate(stream):
            if number == photos:
                raise KeyboardInterrupt
            yield one

    return progress
