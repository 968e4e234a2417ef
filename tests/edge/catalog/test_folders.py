"""Trees of folders: what is a product, what a category, what belongs to neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmatch.edge import CatalogError
from shelfmatch.edge.catalog.source import read_source


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_categories_are_folders_above_products_at_any_depth(tmp_path: Path) -> None:
    source = read_source(
        make(
            tmp_path,
            "Fruit/Apple/Gala/1.jpg",
            "Fruit/Apple/Fuji/1.jpg",
            "Fruit/Lemon/1.jpg",
            "Fruit/Lemon/2.jpg",
            "Bag/1.jpg",
        )
    )
    assert source.skus() == ["Bag", "Fuji", "Gala", "Lemon"]
    assert source.attributes == {
        "Gala": {"category": "Fruit", "category2": "Apple"},
        "Fuji": {"category": "Fruit", "category2": "Apple"},
        "Lemon": {"category": "Fruit"},
    }
    assert source.findings == () and source.left_out == ()


def test_sku_from(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        "tea/A/1.jpg",
        "tea/A/more/2.jpg",
        "milk/4006381333931_2.jpg",
        "milk/4006381333931.jpg",
        "milk/x (2).png",
    )

    def read(sku_from: str) -> list[tuple[str, str]]:
        return [(photo.label, photo.sku) for photo in read_source(root, sku_from=sku_from).photos]  # type: ignore[arg-type]

    assert [sku for _, sku in read("auto")] == ["milk"] * 3 + ["A", "A"]
    assert [sku for _, sku in read("folder")] == ["milk"] * 3 + ["A", "more"]
    assert [sku for _, sku in read("path")] == ["milk"] * 3 + ["tea/A", "tea/A/more"]
    assert [sku for _, sku in read("file")] == ["4006381333931", "4006381333931", "x", "1", "2"]
    attributes = read_source(root, sku_from="file").attributes
    assert attributes["x"] == {"category": "milk"} and attributes["2"] == {
        "category": "tea",
        "category2": "A",
        "category3": "more",
    }
    with pytest.raises(CatalogError, match="sku_from is 'name'; expected one of auto, folder, path, file"):
        read("name")


def test_folders_of_views_belong_to_their_product(tmp_path: Path) -> None:
    source = read_source(
        make(tmp_path, "A/front/1.jpg", "A/back/1.jpg", "B/front/1.jpg", "B/back/1.jpg", "C/1.jpg", "C/Bilder/2.jpg")
    )
    assert source.skus() == ["A", "B", "C"] and len(source.photos) == 6 and source.attributes == {}
    assert "5 folders lie in folders of products" in source.findings[0].message


def test_photos_beside_product_folders_are_named_for_what_they_are(tmp_path: Path) -> None:
    source = read_source(make(tmp_path, "tea/banner.jpg", "tea/A/1.jpg", "tea/B/1.jpg", "logo.png", "C/1.jpg"))
    assert source.skus() == ["C", "A", "B"]
    assert source.left_out == (
        ("logo.png", "a photo beside the folders of products"),
        ("tea/banner.jpg", "a photo beside the folders of 2 products in tea"),
    )


def test_folders_that_were_left_out_are_listed(tmp_path: Path) -> None:
    make(
        tmp_path,
        "A/1.jpg",
        "B/notes.txt",
        "old.bundle/manifest.json",
        "old.bundle/catalog-0.sqlite",
        "bad\x07name/1.jpg",
    )
    (tmp_path / "C" / "D").mkdir(parents=True)
    source = read_source(tmp_path)
    assert source.skus() == ["A"] and source.ignored == ("B/notes.txt",)
    assert dict(source.left_out) == {
        "B": "a folder without photos",
        "C": "a folder without photos",
        "old.bundle": "a bundle of shelfmatch",
        "bad?name": "SKU 'bad\\x07name' arrived; expected 1 to 200 printable characters",
    }


def test_a_flat_folder_says_what_can_be_done(tmp_path: Path) -> None:
    make(tmp_path, "TEA-1.jpg", "TEA-2.jpg", "TEA-2 (1).jpg")
    with pytest.raises(CatalogError, match=r"3 photos lie in it side by side; .*--sku-from file .*\(2 products\)"):
        read_source(tmp_path)
    assert read_source(tmp_path, sku_from="file").skus() == ["TEA-1", "TEA-2"]
    make(tmp_path, "shop.csv")
    with pytest.raises(CatalogError, match=r"expected the CSV .*shop\.csv in it"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["P1_1", "P1_2", "P1_3", "P2_1", "P2_2"], "5 photos look like 2 products with several photos (P1_1 and P1_2)"),
        (["P1", "P1-2", "P2", "P2-2", "P3"], "4 photos look like 2 products"),
        (["P1.01", "P1.02", "P2.01", "P2.02"], "4 photos look like 2 products"),
        (["Cola_front", "Cola_back"], "2 photos look like 1 product with several photos (Cola_back and Cola_front)"),
        (["Cola vorne", "Cola hinten", "Tee-links", "Tee-rechts", "Tee-Foto2"], "5 photos look like 2 products"),
        (["P1_front_1", "P1_front_2", "P1_2_back", "P1_1_back"], "4 photos look like 1 product"),
        (["TEA-1", "TEA-2", "TEA-3"], ""),  # or they are three teas
        (["IMG_0001", "IMG_0002", "A-1001", "A-1002", "B-2001", "B-2002"], ""),
        (["Jeans-32", "Jeans-34", "Hose-32", "Hose-34"], ""),
        (["Windeln 1", "Windeln 2", "Kerze 1", "Kerze 2"], ""),
        (["P1_1", "P1_2", "P2_1", "P2_2", "A", "B", "C", "D", "E"], ""),  # less than half
        (["4006381333931_1", "4006381333931_2", "96385074_1", "96385074_2"], ""),  # GTINs: these are one SKU
        (["front", "back", "1", "2", "_1", "_2"], ""),
    ],
)
def test_numbered_photos_are_pointed_out_as_one_product(names: list[str], said: str, tmp_path: Path) -> None:
    """72 photos of 24 products became 72 products without a word, and the advice for a flat folder led there."""
    make(tmp_path, *(f"{name}.jpg" for name in names))
    source = read_source(tmp_path, sku_from="file")
    assert [one.kind for one in source.findings] == ["folders"] * bool(said)
    for finding in source.findings:
        assert said in finding.message and "put each product's photos into a folder named by its SKU" in finding.message
    with pytest.raises(CatalogError, match="--sku-from file") as raised:
        read_source(tmp_path)
    assert ("put each product's photos into a folder" in str(raised.value)) == bool(said) and said in str(raised.value)


def test_photos_of_one_number_in_other_folders_are_not_counted_together(tmp_path: Path) -> None:
    source = read_source(make(tmp_path, "tea/A_1.jpg", "milk/A_2.jpg", "juice/B_1.jpg", "tea/B_2.jpg"), sku_from="file")
    assert source.findings == ()


def test_folders_of_one_name_are_not_one_product_without_a_word(tmp_path: Path) -> None:
    root = make(tmp_path, "milk/Arla/1.jpg", "juice/Arla/1.jpg", "juice/4711-AB/1.jpg", "promo/4711-AB/1.jpg")
    source = read_source(root)
    assert source.skus() == ["4711-AB", "juice/Arla", "milk/Arla"]
    said = {finding.kind: finding.message for finding in source.findings}
    assert "add --sku-from folder" in said["folders"]
    assert "4711-AB in juice, promo" in said["contradiction"]
    assert read_source(root, sku_from="folder").skus() == ["4711-AB", "Arla"]


def test_photos_named_by_gtins_in_category_folders_are_pointed_out(tmp_path: Path) -> None:
    source = read_source(make(tmp_path, "tea/4006381333931.jpg", "tea/96385074.jpg", "milk/a.jpg"))
    assert source.skus() == ["milk", "tea"] and "add --sku-from file" in source.findings[0].message


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "A/1.jpg")
    (tmp_path / "shop.csv").write_text("image,sku\nA/1.jpg,A\n")
    with pytest.raises(CatalogError, match="--columns arrived with the folder"):
        read_source(tmp_path, columns={"sku": "artikel"})
    with pytest.raises(CatalogError, match="--sku-from file arrived with the file"):
        read_source(tmp_path / "shop.csv", sku_from="file")


def test_hundreds_of_folders_in_each_other_are_walked(tmp_path: Path) -> None:
    deepest = tmp_path
    for _ in range(100):
        deepest = deepest / "d"
        deepest.mkdir()
    (deepest / "1.jpg").touch()
    source = read_source(tmp_path)
    assert source.skus() == ["d"] and source.attributes["d"]["category99"] == "d"


def test_one_product_of_many_photos_and_a_table_beside_it_are_pointed_out(tmp_path: Path) -> None:
    source = read_source(make(tmp_path, "images/1.jpg", "images/2.jpg", "labels.csv"))
    assert [finding.message.split(";")[0] for finding in source.findings] == [
        "labels.csv beside the folders was not read",
        "all 2 photos are of one product, images",
    ]


def test_folders_that_systems_make_are_no_products(tmp_path: Path) -> None:
    made = ("@eaDir/A.jpg/SYNOPHOTO_THUMB.jpg", "#recycle/old/1.jpg", "__MACOSX/A/._1.jpg", "$RECYCLE.BIN/x/1.jpg")
    root = make(tmp_path, "A/1.jpg", "A/@eaDir/1.jpg/SYNOPHOTO_THUMB.jpg", "B/1.jpg", *made)
    source = read_source(root)
    assert [photo.label for photo in source.photos] == ["A/1.jpg", "B/1.jpg"]
    assert source.ignored == ("#recycle", "$RECYCLE.BIN", "@eaDir", "A/@eaDir", "__MACOSX")
    assert source.findings == ()


def test_photos_come_in_the_order_of_their_paths_parts(tmp_path: Path) -> None:
    root = make(tmp_path, "a-c/1.jpg", "a/2.jpg", "a/10.jpg", "a/front/1.jpg", "B/1.jpg")
    found = [photo.path for photo in read_source(root).photos]
    assert found == sorted(found) and found[1] == tmp_path / "a" / "10.jpg"
