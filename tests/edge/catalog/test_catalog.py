"""The catalogue in a bundle: products, their photos, and ids that say which belong together."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import BundleDamaged, CatalogError
from shelfmatch.edge.catalog.catalog import Catalog, _Connection
from shelfmatch.edge.catalog.editor import CatalogEditor
from shelfmatch.edge.catalog.ids import MAX_PHOTOS, MAX_PRODUCTS, PHOTO_BITS, product_of
from shelfmatch.edge.index._vectors import MAX_ID
from shelfmatch.edge.kiosk.answers import product_with_code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three products with two photos each."""
    editor = CatalogEditor(tmp_path / "catalog.sqlite")
    for number, (sku, attributes) in enumerate(
        (("tea", {"name": "Tea", "price": "2.50", "kind": "drink"}), ("bread", {"kind": "food"}), ("salt", {}))
    ):
        product_id = editor.put_product(sku, attributes)
        for photo in range(2):
            editor.add_reference(product_id, f"{sku}/{photo}.png", bytes([number, photo]) * 16)
    editor.finish()
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    catalog = Catalog(path)
    yield catalog
    catalog.close()


def test_holds_what_was_put_in(catalog: Catalog) -> None:
    assert [
        (number, product.sku, product.name, dict(product.attributes)) for number, product in catalog.products()
    ] == [
        (0, "tea", "Tea", {"kind": "drink", "price": "2.50"}),
        (1, "bread", "", {"kind": "food"}),
        (2, "salt", "", {}),
    ]
    assert catalog.product(1).sku == "bread" and catalog.product(1) is catalog.product(1)
    assert (catalog.product_id("salt"), catalog.product_id("pepper")) == (2, None)
    assert [(reference.id, reference.photo) for reference in catalog.references(1)] == [
        (1 << PHOTO_BITS, "bread/0.png"),
        ((1 << PHOTO_BITS) + 1, "bread/1.png"),
    ]
    assert catalog.references(1)[1].photo_sha256 == bytes([1, 1]) * 16 and catalog.references(9) == []
    with pytest.raises(TypeError):
        catalog.product(0).attributes["price"] = "0"  # type: ignore[index]


def test_a_reference_knows_its_product() -> None:
    ids = np.array([0, MAX_PHOTOS - 1, MAX_PHOTOS, 5 * MAX_PHOTOS + 7, MAX_ID], np.uint32)
    assert product_of(ids).tolist() == [0, 0, 1, 5, MAX_PRODUCTS]
    assert ((MAX_PRODUCTS - 1) << PHOTO_BITS) + MAX_PHOTOS - 1 <= MAX_ID, "the last photo of the last product has an id"


def test_filters_by_all_conditions(catalog: Catalog) -> None:
    assert catalog.where({"kind": "drink"}).tolist() == [0]
    assert catalog.where({"kind": "drink", "price": "9"}).tolist() == []
    assert catalog.where({"sku": "salt"}).tolist() == [2] and catalog.where({"name": ""}).tolist() == [1, 2]
    assert catalog.where({}).tolist() == [0, 1, 2] and catalog.where({"kind": "other"}).dtype == np.uint32
    with pytest.raises(CatalogError, match="attribute 'colour'; the catalogue has kind, name, price, sku"):
        catalog.where({"colour": "red", "kind": "drink"})


def test_an_edited_copy_keeps_ids(path: Path, tmp_path: Path) -> None:
    editor = CatalogEditor(path)
    assert editor.remove_product(1) == [1 << PHOTO_BITS, (1 << PHOTO_BITS) + 1]
    assert editor.put_product("tea", {"price": "3.00", "origin": "Assam"}) == 0
    assert editor.put_product("salt", {}) == 2
    assert editor.put_product("rice", {"name": "Rice"}) == 3
    assert editor.add_reference(0, "tea/new.png", b"new") == 2
    editor.remove_references([1])
    assert editor.count() == 3
    assert [(sku, label) for sku, label, _ in editor.photos()] == [
        ("tea", "tea/0.png"), ("tea", "tea/new.png"), ("salt", "salt/0.png"), ("salt", "salt/1.png"),
    ]  # fmt: skip
    editor.finish()
    catalog = Catalog(path)
    assert [(number, product.sku) for number, product in catalog.products()] == [(0, "tea"), (2, "salt"), (3, "rice")]
    tea = catalog.product(0)
    assert tea.name == "Tea" and dict(tea.attributes) == {"kind": "drink", "origin": "Assam", "price": "3.00"}
    assert [reference.id for reference in catalog.references(0)] == [0, 2]
    catalog.close()


def test_what_is_closed_without_finishing_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    editor = CatalogEditor(path)
    editor.remove_product(0)
    editor.close()
    assert path.read_bytes() == before


def test_a_product_holds_so_many_photos_and_no_more(tmp_path: Path) -> None:
    editor = CatalogEditor(tmp_path / "catalog.sqlite")
    other, product_id = editor.put_product("other", {}), editor.put_product("full", {})
    ids = [editor.add_reference(product_id, f"{n}.png", b"") for n in range(MAX_PHOTOS)]
    assert product_of(np.array(ids, np.uint32)).tolist() == [product_id] * MAX_PHOTOS
    with pytest.raises(CatalogError, match="at most 4,096 photos"):
        editor.add_reference(product_id, "one too many.png", b"")
    assert editor.add_reference(other, "0.png", b"") == 0
    editor.close()


def test_numbers_of_photos_that_are_gone_are_used_again(tmp_path: Path) -> None:
    editor = CatalogEditor(tmp_path / "catalog.sqlite")
    other, product_id = editor.put_product("other", {}), editor.put_product("TEA-1", {})
    ids = [editor.add_reference(product_id, f"{n}.png", b"") for n in range(MAX_PHOTOS)]
    editor.remove_references([ids[7], ids[100]])
    assert [editor.add_reference(product_id, "new.png", b"") for _ in range(2)] == [ids[7], ids[100]]
    with pytest.raises(CatalogError, match="product 'TEA-1'; a product holds at most 4,096 photos"):
        editor.add_reference(product_id, "one too many.png", b"")
    assert editor.add_reference(other, "0.png", b"") == 0
    editor.close()


def test_how_many_photos_were_pruned_is_known_as_long_as_the_product(path: Path) -> None:
    editor = CatalogEditor(path)
    assert editor.pruned() == {}
    for product_id in (0, 1):
        editor.add_reference(product_id, "third.png", b"")
    editor.prune_references([0, 1, (1 << PHOTO_BITS) + 1])
    editor.finish()
    editor = CatalogEditor(path)
    assert editor.pruned() == {0: 2, 1: 1}
    editor.remove_references([1 << PHOTO_BITS])  # one is left
    assert editor.pruned() == {0: 2, 1: 1}
    editor.remove_product(0)
    editor.remove_references([(1 << PHOTO_BITS) + 2])
    assert editor.pruned() == {}
    editor.close()


def test_a_catalogue_holds_so_many_products_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small shop whose products came and went for years had no number left."""
    editor = CatalogEditor(tmp_path / "catalog.sqlite")
    editor._connection.execute("INSERT INTO product VALUES (?, 'last but one', '', '{}')", (MAX_PRODUCTS - 2,))
    last = editor.put_product("last", {})
    assert editor.add_reference(last, "0.png", b"") <= MAX_ID
    assert [editor.put_product(sku, {}) for sku in ("a", "b")] == [0, 1], "numbers that nobody has any more"
    monkeypatch.setattr("shelfmatch.edge.catalog.editor.MAX_PRODUCTS", 2)
    with pytest.raises(CatalogError, match="at most 2 products"):
        editor.put_product("one too many", {})
    assert editor.put_product("last", {"name": "Last"}) == last
    editor.close()


@pytest.mark.parametrize(
    "folder", ["plain", "a b", "50%", "%41", "what?", "#1", "å", "semi;colon", "quote'", "a?mode=rwc"]
)
def test_any_path_will_do(folder: str, path: Path, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    path.rename(tmp_path / folder / "catalog.sqlite")
    catalog = Catalog(tmp_path / folder / "catalog.sqlite")
    assert len(catalog.products()) == 3
    catalog.close()
    assert [entry.name for entry in (tmp_path / folder).iterdir()] == ["catalog.sqlite"]


def test_a_connection_in_a_circle_closes_itself() -> None:
    """An exception's traceback kept it; the garbage collector may find it before its catalogue, and Python 3.13 warned then."""
    closed: list[int] = []

    class Seen(_Connection):
        def close(self) -> None:
            closed.append(1)
            super().close()

    circle: list[object] = [sqlite3.connect(":memory:", factory=Seen)]
    circle.append(circle)
    del circle
    gc.collect()
    assert closed == [1]


def test_a_path_of_two_slashes_names_no_host(path: Path) -> None:
    catalog = Catalog(Path(f"/{path}"))
    assert len(catalog.products()) == 3
    catalog.close()


def test_a_sku_is_the_same_however_it_was_typed(tmp_path: Path) -> None:
    editor = CatalogEditor(tmp_path / "catalog.sqlite")
    editor.put_product("caf\u00e9", {})
    old = editor.put_product("the\u0301", {})  # as bundles have it that were built before SKUs were composed
    assert editor.product_id("cafe\u0301 ") == 0 and editor.product_id("the\u0301") == old
    editor.finish()
    catalog = Catalog(tmp_path / "catalog.sqlite")
    for spelt in ("caf\u00e9", "cafe\u0301", " cafe\u0301 "):
        assert catalog.product_id(spelt) == 0 and catalog.where({"sku": spelt}).tolist() == [0]
    assert catalog.product_id("the\u0301") == old and catalog.where({"sku": "the\u0301"}).tolist() == [old]
    assert catalog.product_id("cafe") is None
    catalog.close()


def test_threads_share_one_catalogue(catalog: Catalog) -> None:
    wrong: list[str] = []

    def ask() -> None:
        for number in range(600):
            sku = ("tea", "bread", "salt")[number % 3]
            product_id = catalog.product_id(sku)
            labels = [reference.photo for reference in catalog.references(number % 3)]
            if product_id != number % 3 or labels != [f"{sku}/0.png", f"{sku}/1.png"]:
                wrong.append(sku)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_file_that_is_no_catalogue_is_refused(path: Path, tmp_path: Path) -> None:
    for data in (b"", b"text" * 1000, path.read_bytes()[:5000], b"SQLite format 3\0" + bytes(4080)):
        (tmp_path / "bad.sqlite").write_bytes(data)
        with pytest.raises(BundleDamaged, match=r"bad\.sqlite"):
            Catalog(tmp_path / "bad.sqlite")
    with pytest.raises(BundleDamaged, match="missing"):
        Catalog(tmp_path / "missing.sqlite")
    assert not (tmp_path / "missing.sqlite").exists()


def test_a_product_the_index_knows_and_the_catalogue_does_not(catalog: Catalog) -> None:
    with pytest.raises(BundleDamaged, match="no product 7"):
        catalog.product(7)


def test_outlives_its_name(path: Path) -> None:
    catalog = Catalog(path)
    path.unlink()
    assert catalog.product(0).sku == "tea" and len(catalog.references(2)) == 2
    catalog.close()


def _numbers(path: Path, products: list[tuple[str, dict[str, str]]]) -> dict[str, list[str]]:
    """Article number → SKUs of a catalogue of these products."""
    editor = CatalogEditor(path)
    for sku, attributes in products:
        editor.put_product(sku, attributes)
    editor.finish()
    catalog = Catalog(path)
    try:
        return {number: [catalog.product(one).sku for one in ids] for number, ids in catalog.by_gtin().items()}
    finally:
        catalog.close()


def test_skus_that_are_all_article_numbers_are_the_article_numbers(tmp_path: Path) -> None:
    found = _numbers(tmp_path / "a", [("4006381333931", {}), ("036000291452", {"gtin": ""}), ("96385074", {})])
    assert found == {
        "04006381333931": ["4006381333931"],
        "00036000291452": ["036000291452"],
        "00000096385074": ["96385074"],
    }
    # A product taught at the kiosk by its bar code has the number twice.
    taught = _numbers(tmp_path / "b", [("4006381333931", {}), ("0036000291452", {"gtin": "0036000291452"})])
    assert taught == {"04006381333931": ["4006381333931"], "00036000291452": ["0036000291452"]}


@pytest.mark.parametrize("other", ["apples", "4006381333932", "400638133393", "00000000"])
def test_one_sku_that_is_no_article_number_says_that_none_is(other: str, tmp_path: Path) -> None:
    assert _numbers(tmp_path / "a", [("4006381333931", {}), (other, {})]) == {}


def test_a_number_that_is_not_the_sku_says_that_skus_are_none(tmp_path: Path) -> None:
    found = _numbers(tmp_path / "a", [("4006381333931", {}), ("96385074", {"EAN": "0036000291452"})])
    assert found == {"00036000291452": ["96385074"]}


def test_the_kiosk_finds_a_sku_however_a_scanner_writes_it(tmp_path: Path) -> None:
    editor = CatalogEditor(tmp_path / "a")
    editor.put_product("036000291452", {})
    editor.finish()
    served: Any = SimpleNamespace(snapshot=SimpleNamespace(catalog=Catalog(tmp_path / "a")))
    for text in ("036000291452", "0036000291452", "(01)00036000291452"):
        found = product_with_code(served, text)
        assert found is not None and found.sku == "036000291452", text
    assert product_with_code(served, "4006381333931") is None
    served.snapshot.catalog.close()
