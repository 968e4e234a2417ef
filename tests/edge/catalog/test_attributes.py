"""Filters: whatever passes, the best of it is found, and no fewer than there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import CatalogError, Matcher, add_to_bundle, remove_from_bundle
from shelfmatch.edge.build.build import write_bundle
from shelfmatch.edge.catalog.attributes import Where
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.editor import CatalogEditor
from shelfmatch.edge.catalog.ids import product_of
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.encoder import Encoder
from tests.conftest import tile_photo, write_tiles
from tests.support import tiers

CASES = tiers.count(400, soak=3000)
COLORS, SIZES, SHELVES = ("red", "green", "blue"), ("s", "m", "l", "xl"), tuple(f"A{n}" for n in range(12))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    editor = CatalogEditor(tmp_path / "catalog.sqlite")
    editor.put_product("tea", {"name": "Tea", "kind": "drink", "size": "s"})
    editor.put_product("coffee", {"name": "Coffee", "kind": "drink", "size": "l"})
    editor.put_product("bread", {"kind": "food", "size": "l"})
    editor.finish()
    catalog = Catalog(tmp_path / "catalog.sqlite")
    yield catalog
    catalog.close()


def test_several_values_of_one_key_mean_either(catalog: Catalog) -> None:
    assert catalog.where({"kind": ["drink", "food"]}).tolist() == [0, 1, 2]
    assert catalog.where({"kind": ("drink",), "size": {"l", "xl"}}).tolist() == [1]
    assert catalog.where({"sku": ["tea", "bread", "salt"]}).tolist() == [0, 2]
    assert catalog.where({"name": ["Tea", ""]}).tolist() == [0, 2]
    assert catalog.where({"kind": []}).tolist() == []


def test_an_answer_is_kept_and_cannot_be_changed(catalog: Catalog) -> None:
    first = catalog.where({"kind": "drink", "size": ["l", "s"]})
    assert catalog.where({"size": ["s", "l"], "kind": ["drink"]}) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 7
    for number in range(200):  # more filters than are remembered
        assert catalog.where({"sku": f"{number}"}).tolist() == []
    assert catalog.where({"kind": "drink", "size": ["l", "s"]}).tolist() == [0, 1]


@pytest.mark.parametrize("key", ["colour", "", "Kind", "kind ", "\udcff", "'; DROP TABLE product; --"])
def test_an_unknown_key_lists_the_known_ones(catalog: Catalog, key: str) -> None:
    with pytest.raises(CatalogError, match="the catalogue has kind, name, size, sku"):
        catalog.where({"kind": "drink", key: "red"})
    assert catalog.attribute_keys() == ["kind", "name", "size", "sku"]


@pytest.mark.parametrize("value", ["\udcff", "drink\0", "DRINK", "dri%", "' OR 1 = 1", "\U0010ffff"])
def test_odd_values_are_only_values_that_nothing_has(catalog: Catalog, value: str) -> None:
    assert catalog.where({"kind": value}).tolist() == catalog.where({"sku": value}).tolist() == []
    assert catalog.product_id(value) is None


def test_a_value_that_is_no_text_is_a_mistake(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"'size' has the value 3 \(int\); expected text"):
        catalog.where({"size": [3]})  # type: ignore[list-item]
    with pytest.raises(CatalogError, match=r"'size' has the value 3 \(int\); expected text"):
        catalog.where({"size": 3})  # type: ignore[dict-item]
    with pytest.raises(CatalogError, match=r"'size' has the value b's' \(bytes\); expected text"):
        catalog.where({"size": b"s"})  # type: ignore[dict-item]
    with pytest.raises(CatalogError, match=r"filter 3 \(int\) arrived; expected an attribute"):
        catalog.where({"size": "s", 3: "s"})  # type: ignore[dict-item]


def made_up_shop(path: Path, encoder: Encoder, kind: str, random: np.random.Generator) -> None:
    """60 products of 1 to 12 photos, some without some attribute, more than so many photos that a graph is walked."""
    products, owners = [], []
    for number in range(60):
        columns = {"color": COLORS[number % 3], "size": str(random.choice(SIZES)), "shelf": str(random.choice(SHELVES))}
        kept = {key: value for key, value in columns.items() if random.random() < 0.85}
        products.append(Product(f"P{number:02d}", f"Name {number % 7}", kept))
        owners += [number] * int(random.integers(4, 25))
    centers = random.standard_normal((60, 48))
    vectors = centers[owners] + random.standard_normal((len(owners), 48))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert len(vectors) > 600
    write_bundle(path, encoder, products, owners, vectors.astype(np.float32), index=kind, adapt="off")


def random_filter(random: np.random.Generator) -> dict[str, str | list[str]]:
    where: dict[str, str | list[str]] = {}
    for key, values in (
        ("color", COLORS),
        ("size", SIZES),
        ("shelf", SHELVES),
        ("name", [f"Name {n}" for n in range(8)]),
    ):
        if random.random() < 0.4:
            chosen = [str(value) for value in random.choice(values, int(random.integers(1, 4)))]
            where[key] = chosen[0] if random.random() < 0.5 else chosen
    return where or {"sku": [f"P{n:02d}" for n in random.integers(0, 65, 9)]}


def is_misspelt(matcher: Matcher, where: Where) -> bool:
    """Whether no product has any of the values of one of the attributes."""
    columns = [{"sku": one.sku, "name": one.name, **one.attributes} for _, one in matcher.catalog.products()]
    return any(
        not any(column.get(key) in ([v] if isinstance(v, str) else list(v)) for column in columns)
        for key, v in where.items()
    )


def by_force(matcher: Matcher, vector: Any, where: Where, count: int) -> list[tuple[str, float]]:
    """(SKU, score) from all products and all vectors, one after the other."""
    scores: dict[int, float] = {}
    cosines = matcher.index.vectors() @ vector
    for owner, cosine in zip(product_of(matcher.index.ids).tolist(), cosines.tolist(), strict=True):
        scores[owner] = max(cosine, scores.get(owner, -2.0))
    passing = []
    for product_id, product in matcher.catalog.products():
        columns = {"sku": product.sku, "name": product.name, **product.attributes}
        if all(columns.get(key) in ([v] if isinstance(v, str) else list(v)) for key, v in where.items()):
            passing.append((product.sku, scores[product_id]))
    return sorted(passing, key=lambda hit: -hit[1])[:count]


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_random_filters_find_what_brute_force_finds(kind: str, tmp_path: Path, tiny_encoder: Encoder) -> None:
    random = np.random.default_rng([2024, len(kind)])
    made_up_shop(tmp_path / "s.bundle", tiny_encoder, kind, random)
    asked = found = short = misspelt = 0
    for gone in (["P03", "P10", "P59"], [], ["P00", "P20", "P21", "P22"]):  # some removed before, some in between
        if gone:
            remove_from_bundle(tmp_path / "s.bundle", gone)
        with Matcher.open(tmp_path / "s.bundle", look_again=False) as matcher:
            assert matcher.index.kind == kind and len(matcher.index) > 512
            for _ in range(CASES // 3 + 1):
                image = tile_photo(int(random.integers(0, 10**6)), 0, side=32)
                where, count = random_filter(random), int(random.integers(1, 9))
                if is_misspelt(matcher, where):
                    with pytest.raises(CatalogError, match="no product has"):
                        matcher.match(image, top_k=count, where=where)
                    misspelt += 1
                    continue
                result = matcher.match(image, top_k=count, where=where)
                expected = by_force(matcher, matcher.encoder.embed(image)[0], where, count)
                assert [candidate.sku for candidate in result.candidates] == [sku for sku, _ in expected], where
                assert np.allclose([c.score for c in result.candidates], [score for _, score in expected], atol=1e-5)
                asked, found, short = asked + 1, found + len(expected), short + (len(expected) < count)
    assert asked + misspelt >= CASES and found > 2 * CASES and CASES / 20 < short < CASES / 2 and misspelt


def test_filters_follow_additions_replacements_and_removals(tile_bundle: Path, tmp_path: Path) -> None:
    write_tiles(tmp_path, range(50, 52))
    rows = [
        f"sku-{sku:03d}/{photo}.png,sku-{sku:03d},{kind}" for sku, kind in ((50, "x"), (51, "y")) for photo in (0, 1)
    ]
    (tmp_path / "more.csv").write_text("\n".join(["image,sku,kind", *rows]))
    with Matcher.open(tile_bundle, look_again=False) as matcher:

        def of_kind(*kinds: str) -> set[str]:
            result = matcher.match(tile_photo(50, 9), where={"kind": kinds}, top_k=20)
            return {candidate.sku for candidate in result.candidates}

        with pytest.raises(CatalogError, match=r"attribute 'kind'; the catalogue has name, sku$"):
            of_kind("x")
        add_to_bundle(tile_bundle, tmp_path / "more.csv")
        assert of_kind("x") == {"sku-050"} and of_kind("x", "y") == {"sku-050", "sku-051"}
        (tmp_path / "more.csv").write_text((tmp_path / "more.csv").read_text().replace(",x", ",y"))
        add_to_bundle(tile_bundle, tmp_path / "more.csv", replace=True)
        with pytest.raises(CatalogError, match=r"no product has kind 'x'; there are y$"):
            of_kind("x")
        assert of_kind("y") == {"sku-050", "sku-051"}
        remove_from_bundle(tile_bundle, ["sku-050"])
        assert of_kind("y") == {"sku-051"}


def test_where_twice_on_the_command_line_means_either(tmp_path: Path, tiny_tflite: Path, capsys: Any) -> None:
    write_tiles(tmp_path, range(6), photos=1)
    kinds = ("tea", "coffee", "cocoa")
    rows = [f"sku-{n:03d}/0.png,S{n},{kinds[n % 3]},{'big' if n > 2 else 'small'}" for n in range(6)]
    (tmp_path / "s.csv").write_text("\n".join(["image,sku,category,size", *rows]))
    bundle, photo = str(tmp_path / "s.bundle"), str(tmp_path / "sku-001" / "0.png")
    assert main(["build", str(tmp_path / "s.csv"), "-o", bundle, "--encoder", str(tiny_tflite)]) == 0
    capsys.readouterr()
    either = ["--where", "category=tea", "--where", "category=coffee", "--where", "size=big"]
    assert main(["match", bundle, photo, "--top-k", "9", *either]) == 1  # S1 is filtered out, and neither is a match
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]} == {"S3", "S4"}
    assert main(["match", bundle, photo, "--where", "categry=tea"]) == 2
    assert capsys.readouterr().err == (
        "shelfmatch: no product has the attribute 'categry'; the catalogue has category, name, size, sku\n"
    )
