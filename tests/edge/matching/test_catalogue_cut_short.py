"""A catalogue that is cut short under an open bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Bundle, BundleDamaged, Matcher, build_bundle
from tests.conftest import tile_photo, write_tiles

QUESTIONS: list[Callable[[Matcher], Any]] = [
    lambda matcher: matcher.find("sku 003"),
    lambda matcher: matcher.match(np.asarray(tile_photo(3, 9)), top_k=200),
    lambda matcher: matcher.match(np.asarray(tile_photo(3, 9)), where={"sku": "sku-003"}),
    lambda matcher: matcher.similar("sku-003"),
    lambda matcher: matcher.catalog.products(),
    lambda matcher: matcher.catalog.attribute_keys(),
    lambda matcher: matcher.nearest_photos(np.asarray(tile_photo(3, 9)), "sku-003"),
]


@pytest.fixture(scope="module")
def large_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_tflite: Path) -> Path:
    """So many products that SQLite reads the catalogue as it is asked."""
    folder = tmp_path_factory.mktemp("large")
    write_tiles(folder / "shop", range(200), photos=1)
    build_bundle(folder / "shop", folder / "shop.bundle", encoder=tiny_tflite, resizer="pillow", adapt="off")
    return folder / "shop.bundle"


@pytest.mark.parametrize("ask", QUESTIONS)
def test_is_damage_by_name(large_bundle: Path, ask: Callable[[Matcher], Any]) -> None:
    """sqlite3.DatabaseError came out of every one."""
    file = Bundle.open(large_bundle).file("catalog")
    whole = file.read_bytes()
    with Matcher.open(large_bundle) as matcher:
        try:
            file.write_bytes(whole[:4096])
            with pytest.raises(BundleDamaged, match=r"catalog-.*is damaged.*copy or build the bundle again"):
                ask(matcher)
        finally:
            file.write_bytes(whole)
