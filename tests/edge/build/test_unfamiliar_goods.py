"""Goods that all look alike to an encoder of packages: what the shop's own photos say counts for more than other shops."""

from __future__ import annotations

from pathlib import Path

from shelfmatch.edge import Matcher, build_bundle
from tests.conftest import tile_photo, write_tiles


def test_strangers_of_a_kind_that_no_other_shop_had_stay_unknown(tmp_path: Path) -> None:
    """Of 40 of them 34 were sold: other shops' threshold was far too low for such goods."""
    build_bundle(write_tiles(tmp_path / "tiles", range(8)), tmp_path / "shop.bundle")
    with Matcher.open(tmp_path / "shop.bundle") as matcher:
        known = [matcher.match(tile_photo(number, 5)).sku == f"sku-{number:03d}" for number in range(8)]
        sold = [matcher.match(tile_photo(number, 0)).sku for number in range(20, 60)]
    assert all(known)
    assert sum(sku is not None for sku in sold) <= 20
