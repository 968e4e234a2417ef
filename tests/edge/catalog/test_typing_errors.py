"""A search box forgives a typing error, and only where nothing else is found."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shelfmatch.edge.catalog import text_search
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.editor import CatalogEditor
from shelfmatch.edge.catalog.typing_errors import allowed_errors, meant, prefix_distance

PRODUCTS = {
    "CHO-1": "Chocolate dark 70 %", "CHO-2": "Schokolade Vollmilch", "TEA-0217": "Darjeeling Grüntee", "TEA-0218": "Earl Grey tea",
    "MUS-3": "Muesli with chocolate", "JAM-4": "Strawberry jam 4001234567890",
}  # fmt: skip


@pytest.fixture(params=["fts5", "like"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    if request.param == "like":
        monkeypatch.setattr(text_search, "has_fts5", lambda: False)
    editor = CatalogEditor(tmp_path / "c.sqlite")
    for sku, name in PRODUCTS.items():
        editor.put_product(sku, {"name": name})
    editor.finish()
    catalog = Catalog(tmp_path / "c.sqlite")
    yield catalog
    catalog.close()


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("choclate", {"CHO-1", "MUS-3"}), ("chcoolate", {"CHO-1", "MUS-3"}), ("chocolate", {"CHO-1", "MUS-3"}),
        ("chocolat dark", {"CHO-1"}), ("choclate drak", {"CHO-1"}), ("schocolade", {"CHO-2"}), ("darjiling", {"TEA-0217"}),
        ("straberry", {"JAM-4"}), ("erl grey", set()), ("eral grey", {"TEA-0218"}), ("musli", {"MUS-3"}), ("tee", set()),
        ("4001234567891", set()), ("xylophone", set()), ("choclate xylophone", set()), ("", set()), ("choclat", {"CHO-1", "MUS-3"}),
    ],
)  # fmt: skip
def test_a_typing_error_is_forgiven(catalog: Catalog, typed: str, found: set[str]) -> None:
    hits, instead = catalog.find_meant(typed, 10)
    assert {catalog.product(product).sku for product, _ in hits} == found
    strict = catalog.find(typed, 10)
    assert not strict or (hits == strict and instead == {}), "what is found as typed stays as it is"
    assert all(word not in others for word, others in instead.items())


def test_distances() -> None:
    for typed, word, distance in (
        ("tea", "tea", 0), ("tea", "teapot", 0), ("teh", "the", 1), ("choclate", "chocolate", 1), ("abcd", "wxyz", 3),
        ("musli", "muesli", 1), ("kaffe", "kaffee", 0), ("aple", "apple", 1),
    ):  # fmt: skip
        assert prefix_distance(typed, word, 2) == distance, (typed, word)
    assert [allowed_errors(word) for word in ("tea", "milk", "chocola", "chocolate", "4001234567890")] == [
        0,
        1,
        1,
        2,
        0,
    ]
    assert meant("milq", ["milk", "mild", "silk", "milkshake"]) == ["mild", "milk", "milkshake"]


def test_bounded_time_in_a_large_catalogue(tmp_path: Path) -> None:
    """50,000 products with SKUs and numbers of their own: 150,000 words."""
    letters = random.Random(0)
    names = ["".join(letters.choices("abcdefghijklmnoprstuvwz", k=9)) for _ in range(50_000)]
    editor = CatalogEditor(tmp_path / "c.sqlite")
    for number, name in enumerate(names):
        editor.put_product(f"P{number:05d}X", {"name": f"{name} nice", "gtin": f"4{number:012d}"})
    editor.finish()
    catalog = Catalog(tmp_path / "c.sqlite")
    typed = names[777][:4] + names[777][5:]
    start = time.process_time()
    hits, instead = catalog.find_meant(f"{typed} nice", 10)
    assert time.process_time() - start < 5, "0.5 s on a slow core"
    assert catalog.product(hits[0][0]).name.startswith(names[777]) and names[777] in instead[typed]
    catalog.close()
