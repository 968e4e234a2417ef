"""Names, prices, attributes and SKUs of a bundle, changed without its photos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shelfmatch.edge import BundleError, CatalogError, Matcher, add_to_bundle, update_bundle
from shelfmatch.edge.bundle.bundle import Bundle
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli import main
from tests.conftest import tile_photo


def write(folder: Path, text: str) -> Path:
    (folder / "prices.csv").write_text(text)
    return folder / "prices.csv"


def products(bundle: Path) -> dict[str, Product]:
    catalog = Catalog(Bundle.open(bundle).file("catalog"))
    try:
        return {product.sku: product for _, product in catalog.products()}
    finally:
        catalog.close()


def test_names_prices_and_skus_change_and_nothing_else_does(tmp_path: Path, tile_bundle: Path) -> None:
    before = Bundle.open(tile_bundle)
    table = write(
        tmp_path,
        "Image;SKU;Name;Price;New SKU\nx.png;sku-000;Green tea;2,49;\n;sku-001;;;TEA-1\n;sku-999;Nothing;1;\n;;x;;\n;sku-002;;;\n",
    )
    with Matcher.open(tile_bundle) as matcher:
        report = update_bundle(tile_bundle, table)
        found = matcher.match(tile_photo(1, 50))  # follows the change
        assert found.sku == "TEA-1"
        assert [one.name for one in matcher.match(tile_photo(0, 50)).candidates[:1]] == ["Green tea"]
        assert [one.sku for one in matcher.find("green")] == ["sku-000"]
    after = Bundle.open(tile_bundle)
    assert after.verify() == [] and after.manifest.generation == before.manifest.generation + 1
    changed = {role for role in after.manifest.files if after.entry(role) != before.entry(role)}
    assert changed == {"catalog"} and after.manifest.decision == before.manifest.decision
    assert report.to_dict()["changed"] == [
        {
            "sku": "sku-000",
            "new_sku": None,
            "attributes": {"name": {"before": "", "after": "Green tea"}, "price": {"before": "", "after": "2,49"}},
        },
        {"sku": "sku-001", "new_sku": "TEA-1", "attributes": {}},
    ]
    assert (report.products, report.unchanged, report.unknown) == (12, 1, ["sku-999"])
    assert report.left_out == [("prices.csv line 5", "SKU '' arrived; expected 1 to 200 printable characters")]
    assert dict(products(tile_bundle)["sku-000"].attributes) == {"price": "2,49"}


def test_the_same_again_writes_nothing(tmp_path: Path, tile_bundle: Path) -> None:
    table = write(tmp_path, "sku,name\nsku-000,Tea\n")
    update_bundle(tile_bundle, table)
    generation = Bundle.open(tile_bundle).manifest.generation
    report = update_bundle(tile_bundle, table)
    assert not report.changed and Bundle.open(tile_bundle).manifest.generation == generation


def test_empty_cells_leave_what_is_there_or_take_it_away(tmp_path: Path, tile_bundle: Path) -> None:
    update_bundle(tile_bundle, write(tmp_path, "sku,name,price\nsku-000,Tea,1\n"))
    table = write(tmp_path, "sku,name,price\nsku-000,,\n")
    assert not update_bundle(tile_bundle, table).changed
    assert update_bundle(tile_bundle, table, clear_empty=True).changed[0].attributes == {
        "name": ("Tea", ""),
        "price": ("1", ""),
    }
    assert products(tile_bundle)["sku-000"] == Product("sku-000", "", {})


def test_skus_can_be_exchanged(tmp_path: Path, tile_bundle: Path) -> None:
    update_bundle(tile_bundle, write(tmp_path, "sku,new_sku\nsku-000,sku-001\nsku-001,sku-000\n"))
    with Matcher.open(tile_bundle) as matcher:
        assert matcher.match(tile_photo(0, 50)).candidates[0].sku == "sku-001"
        assert matcher.match(tile_photo(1, 50)).candidates[0].sku == "sku-000"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sku,new_sku\nsku-000,sku-001\n", "the new SKU 'sku-001' is another product's"),
        ("sku,new_sku\nsku-000,X\nsku-001,X\n", "gives 2 products the new SKU 'X'"),
        ("sku,new_sku\nsku-000,X\nsku-000,Y\n", "gives 'sku-000' two new SKUs, 'X' and 'Y'"),
        ("sku,name\nA,Tea\nB,Tea\n", "none of the 2 SKUs in .* are in .*, like A, B; shelfmatch info --products"),
        ("name,price\nTea,1\n", "expected it to include sku"),
        ("sku,name\n", "has a header and no rows"),
        ("sku,name\n,Tea\n", "line 2: SKU '' arrived"),
    ],
)
def test_what_cannot_be_done_changes_nothing(text: str, words: str, tmp_path: Path, tile_bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in tile_bundle.iterdir()}
    with pytest.raises(CatalogError, match=words):
        update_bundle(tile_bundle, write(tmp_path, text))
    assert {path.name: path.read_bytes() for path in tile_bundle.iterdir()} == before


def test_a_bundle_that_is_none_is_said_to_be_so(tmp_path: Path, tile_bundle: Path) -> None:
    table = write(tmp_path, "sku,name\nsku-000,Tea\n")
    shutil.rmtree(tile_bundle)
    with pytest.raises(BundleError, match="does not exist"):
        update_bundle(tile_bundle, table)


def test_an_article_number_of_several_products_is_noted_as_by_build(tmp_path: Path, tile_bundle: Path) -> None:
    """Counted are the bundle's products as they are now, whatever the CSV names of them."""
    update_bundle(tile_bundle, write(tmp_path, "sku,ean\nsku-000,4006381333931\nsku-001,96385074\n"))

    def noted(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
        found = update_bundle(tile_bundle, write(tmp_path, text)).findings
        return [(one.kind, one.message, one.skus) for one in found if "is given to" in one.message]

    again = "GTIN 4006381333931 is given to 2 products: sku-000, sku-002"
    for _ in range(2):  # also where the bundle has it so already
        assert noted("sku,gtin\nsku-002,4006381333931\n") == [("gtin", again, ("sku-000", "sku-002"))]
    more = "GTIN 4006381333931 is given to 3 products: new, sku-000, sku-002"
    text = "sku,gtin,new_sku\nsku-003,04006381333931,new\nsku-002,4006381333931,\nsku-999,4006381333931,\n"
    assert noted(text) == [("gtin", more, ("new", "sku-000", "sku-002"))]
    assert noted("sku,price\nsku-002,1\n") == []  # nothing that this CSV says
    assert noted("sku,ean\nsku-004,96385074\nsku-001,4006381333948\n") == []  # it went from one to the other


def test_an_added_product_with_another_ones_number_is_noted(tmp_path: Path, tile_bundle: Path) -> None:
    update_bundle(tile_bundle, write(tmp_path, "sku,gtin\nsku-000,4006381333931\n"))
    for product in (20, 21):
        tile_photo(product, 0).save(tmp_path / f"{product}.png")
    rows = "image,sku,gtin\n20.png,new-a,4006381333931\n21.png,new-b,96385074\n21.png,new-c,96385074\n"
    found = add_to_bundle(tile_bundle, write(tmp_path, rows)).findings
    assert [one.message for one in found if one.kind == "gtin"] == [
        "GTIN 96385074 is given to 2 products: new-b, new-c",
        "GTIN 4006381333931 is given to 2 products: new-a, sku-000",
    ]


def test_the_command_prints_the_note(tmp_path: Path, tile_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["update", str(tile_bundle), str(write(tmp_path, "sku,gtin\nsku-000,96385074\n"))]) == 0
    assert main(["update", str(tile_bundle), str(write(tmp_path, "sku,gtin\nsku-001,96385074\n"))]) == 0
    assert "  note: GTIN 96385074 is given to 2 products: sku-000, sku-001\n" in capsys.readouterr().out
