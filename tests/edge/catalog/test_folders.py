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
