"""Products like a product, and a product's photos like a photo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import CatalogError, Matcher
from shelfmatch.edge.build.build import write_bundle
from shelfmatch.edge.catalog.ids import product_of
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.encoder import Encoder
from shelfmatch.edge.matching.similar import MAX_VIEWS, similar
from tests.conftest import tile_photo


def family_shop(path: Path, encoder: Encoder, kind: str = "exact", photos: int = 4) -> Path:
    """Ten families of three products each; members of a family point the same way, more or less."""
    random = np.random.default_rng(5)
    products, owners, vectors = [], [], []
    for number in range(30):
        products.append(
            Product(f"P{number:02d}", f"Product {number}", {"family": f"F{number // 3}", "side": "LR"[number % 2]})
        )
        center = np.random.default_rng(number // 3).standard_normal(48) + 0.6 * random.standard_normal(48)
        owners += [number] * photos
        vectors += [center + 0.5 * random.standard_normal(48) for _ in range(photos)]
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    write_bundle(path, encoder, products, owners, unit.astype(np.float32), index=kind, adapt="off")
    return path


def by_hand(matcher: Matcher, sku: str) -> list[tuple[str, float]]:
    """All other products by the mean, over the product's photos, of the cosine of the other's most similar one."""
    vectors, owners = matcher.index.vectors(), product_of(matcher.index.ids)
    own = vectors[owners == matcher.catalog.product_id(sku)]
    scores = [
        (product.sku, float((own @ vectors[owners == product_id].T).max(axis=1).mean()))
        for product_id, product in matcher.catalog.products()
        if product.sku != sku
    ]
    return sorted(scores, key=lambda hit: -hit[1])


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_finds_what_a_hand_finds(kind: str, tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Matcher.open(family_shop(tmp_path / "s.bundle", tiny_encoder, kind, photos=20)) as matcher:
        for number in (0, 13, 29):
            found = matcher.similar(f"P{number:02d}", top_k=4)
            expected = by_hand(matcher, f"P{number:02d}")[:4]
            assert [neighbour.sku for neighbour in found] == [sku for sku, _ in expected]
            assert [n.score for n in found] == pytest.approx([score for _, score in expected], abs=1e-5)
            assert {n.product.attributes["family"] for n in found[:2]} == {f"F{number // 3}"}
        everything = matcher.similar("P00", top_k=100)
        assert len(everything) == 29 and "P00" not in [neighbour.sku for neighbour in everything]


def test_only_what_passes_the_filter_and_never_fewer(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Matcher.open(family_shop(tmp_path / "s.bundle", tiny_encoder)) as matcher:
        lefts = [sku for sku, _ in by_hand(matcher, "P03") if int(sku[1:]) % 2 == 0]
        assert [n.sku for n in matcher.similar("P03", top_k=9, where={"side": "L"})] == lefts[:9]
        assert matcher.similar("P03", where={"sku": "P03"}) == ()
        with pytest.raises(CatalogError, match="attribute 'colour'; the catalogue has family, name, side, sku"):
            matcher.similar("P03", where={"colour": "red"})


def test_one_odd_photo_does_not_decide(tmp_path: Path, tiny_encoder: Encoder) -> None:
    """A picture that two products share, both shot before the same shelf, outweighs neither's others."""
    random = np.random.default_rng(1)
    first, second, shelf = random.standard_normal((3, 48))
    vectors = [first + 0.1 * random.standard_normal(48) for _ in range(4)]
    vectors += [first + 0.9 * random.standard_normal(48) for _ in range(4)]
    vectors += [second + 0.1 * random.standard_normal(48) for _ in range(4)]
    vectors[3] = vectors[11] = shelf
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    products = [Product("asked"), Product("like it"), Product("same shelf")]
    write_bundle(
        tmp_path / "s.bundle", tiny_encoder, products, [0] * 4 + [1] * 4 + [2] * 4, unit.astype(np.float32), adapt="off"
    )
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        assert [neighbour.sku for neighbour in matcher.similar("asked")] == ["like it", "same shelf"]


def test_many_photos_are_asked_in_a_sample(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Matcher.open(family_shop(tmp_path / "s.bundle", tiny_encoder, photos=MAX_VIEWS + 9)) as matcher:
        found = matcher.similar("P10", top_k=3)
        assert [neighbour.sku for neighbour in found[:2]] == [sku for sku, _ in by_hand(matcher, "P10")[:2]]
        assert similar(matcher.index, matcher.catalog, "P10", 3, None) == found


def test_wrong_questions(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        for sku in ("sku-999", "", "\udcff"):
            with pytest.raises(CatalogError, match=r"has no product .*; shelfmatch info --products lists them"):
                matcher.similar(sku)
            with pytest.raises(CatalogError, match="has no product"):
                matcher.nearest_photos(tile_photo(1, 1), sku)
        with pytest.raises(CatalogError, match="top_k is 0; expected at least 1"):
            matcher.similar("sku-000", top_k=0)


def test_a_products_photos_nearest_first(tile_bundle: Path, tile_folder: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        for photo in range(3):
            nearest = matcher.nearest_photos(tile_folder / "sku-004" / f"{photo}.png", "sku-004")
            assert nearest[0].photo == f"sku-004/{photo}.png" and len({one.id for one in nearest}) == 3


def test_the_commands(tmp_path: Path, tiny_encoder: Encoder, capfd: Any) -> None:
    bundle = str(family_shop(tmp_path / "s.bundle", tiny_encoder))
    capfd.readouterr()
    with Matcher.open(bundle) as matcher:
        expected = matcher.similar("P07", top_k=2, where={"side": ["L"]})
        found = matcher.find("product 7")
    assert main(["similar", bundle, "P07", "--top-k", "2", "--where", "side=L", "--json"]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record == {"sku": "P07", "similar": [neighbour.to_dict() for neighbour in expected]}
    assert set(record["similar"][0]) == {"sku", "name", "score", "attributes"}
    assert main(["similar", bundle, "P07", "--top-k", "1"]) == 0
    assert capfd.readouterr().out.startswith("1. P08 Product 8  score 0.")
    assert main(["similar", bundle, "P07", "--where", "sku=P07"]) == 1
    assert capfd.readouterr().out == "no other product passes the filter\n"
    assert main(["find", bundle, "product", "7", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "words": "product 7", "instead": {}, "products": [neighbour.to_dict() for neighbour in found],
    }  # fmt: skip
    assert main(["find", bundle, "PRODÜCT", "2", "--limit", "3"]) == 0
    assert capfd.readouterr().out.splitlines()[0] == "P02 Product 2  (family F0, side L)"
    assert main(["find", bundle, 'NEAR("']) == 1
    assert capfd.readouterr().out == 'no product has all of: NEAR("\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["similar", "{}", "P99"],
            "shelfmatch: the shop has no product 'P99'; shelfmatch info --products lists them\n",
        ),
        (["similar", "{}", "P01", "--where", "side"], "--where 'side' arrived; expected KEY=VALUE, like category=tea"),
        (["similar", "gone", "P01"], "gone does not exist; expected a bundle made by shelfmatch build"),
        (["find", "gone", "tea"], "gone does not exist; expected a bundle made by shelfmatch build"),
        (
            ["match", "{}", "x.jpg", "--labels", "colour"],
            "attribute 'colour' to label by; the catalogue has family, side",
        ),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, tiny_encoder: Encoder, capfd: Any
) -> None:
    bundle = family_shop(tmp_path / "s.bundle", tiny_encoder)
    tile_photo(1, 1).save(tmp_path / "x.jpg")
    capfd.readouterr()
    places = {"{}": str(bundle), "x.jpg": str(tmp_path / "x.jpg")}
    assert main([places.get(word, word) for word in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_bad_options_are_refused(tile_bundle: Path, capfd: Any) -> None:
    for arguments in (["similar", "b", "s", "--top-k", "0"], ["find", "b", "w", "--limit", "x"], ["find", "b"],
                      ["match", "b", "i", "--labels", "a,,b"], ["match", "b", "i", "--labels", ""]):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2 and capfd.readouterr().err.count("\n") == 1
