"""Labels by vote: what the nearest products agree on, and whether the confidence is what it says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import CatalogError, Matcher
from shelfmatch.edge.build.build import write_bundle
from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.encoder import Encoder
from shelfmatch.edge.matching.labels import MIN_SAMPLES, NEAREST, Label, Vote, _fitted, fit_vote, labels_of
from shelfmatch.edge.metrics import calibration_error
from tests.conftest import tile_photo

KINDS = 12


def directions(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 48))


def unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def product_center(number: int) -> Any:
    """Products of a kind lie around its direction, so that kinds overlap at their edges."""
    return directions(1, KINDS)[number % KINDS] + 1.7 * directions(1000 + number, 1)[0]


def photos_of(number: int, count: int, first: int = 0) -> Any:
    noise = directions(50_000 + number, first + count)[first:]
    return unit(product_center(number) + 0.7 * noise)


def shop(
    path: Path, encoder: Encoder, products: int = 72, photos: int = 4, without: str = "", kind: str = "exact"
) -> Path:
    listed = []
    for number in range(products):
        attributes = {"kind": f"K{number % KINDS}", "code": f"{number}"}
        if without and number % 3 == 0:
            del attributes[without]
        listed.append(Product(f"P{number:03d}", f"Product {number}", attributes))
    vectors = np.concatenate([photos_of(number, photos) for number in range(products)])
    write_bundle(
        path, encoder, listed, np.repeat(np.arange(products), photos).tolist(), vectors, index=kind, adapt="off"
    )
    return path


def answers(matcher: Matcher, products: range, count: int) -> list[tuple[float, bool]]:
    """(confidence, right) for unseen photos of products."""
    rows = []
    for number in products:
        for vector in photos_of(number, count, first=10):
            label = labels_of(matcher.index, matcher.catalog, vector, ["kind"], None)["kind"]
            assert label is not None
            rows.append((label.confidence, label.value == f"K{number % KINDS}"))
    return rows


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_confidence_is_the_share_that_is_right_for_known_and_unknown_products(
    kind: str, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    with Matcher.open(shop(tmp_path / "s.bundle", tiny_encoder, kind=kind)) as matcher:
        known, unknown = answers(matcher, range(72), 6), answers(matcher, range(72, 144), 6)
    right = [np.mean([hit for _, hit in rows]) for rows in (known, unknown)]
    assert right[0] > 0.9 and 0.55 < right[1] < 0.9, "unknown products of a kind are told, but not always"
    error = calibration_error(*zip(*known, *unknown, strict=True))
    assert error is not None and error < 0.06
    flat = calibration_error([0.999] * len(known + unknown), [hit for _, hit in known + unknown])
    assert flat is not None and flat > 0.12, "a confidence that doesn't care would be seen"
    sure = [hit for confidence, hit in known + unknown if confidence > 0.9]
    unsure = [hit for confidence, hit in known + unknown if confidence < 0.6]
    assert len(sure) > 100 and len(unsure) > 40 and np.mean(sure) > np.mean(unsure) + 0.25


def test_the_vote_by_hand() -> None:
    values = {1: "tea", 2: "coffee", 3: "tea", 4: "cocoa", 9: "tea"}
    hits = [(2, 0.80), (1, 0.79), (7, 0.78), (3, 0.77), (4, 0.40)]  # 7 has no value, and no vote
    weights = {"coffee": 1.0, "tea": math.exp(-0.2) + math.exp(-0.6), "cocoa": math.exp(-8)}
    total = sum(weights.values())
    assert Vote(0.05).label(hits, values) == Label("tea", pytest.approx(weights["tea"] / (total + 1)))
    share = weights["tea"] / total
    logit = -0.3 + 1.5 * math.log(share / (1 - share))
    fitted = Vote(0.05, intercept=-0.3, slope=1.5, samples=99)
    assert fitted.label(hits, values) == Label("tea", pytest.approx(1 / (1 + math.exp(-logit))))
    assert Vote(0.001).label(hits, values) == Label("coffee", pytest.approx(0.5, abs=0.01)), (
        "a nearer one outweighs two"
    )
    assert Vote().label([], values) is Vote().label([(7, 0.9)], values) is None
    alone = Vote().label([(1, 0.9)], values)
    assert alone == Label("tea", 0.5), "one product alone is no proof"
    far = [(1, 0.9)] + [(n, 0.9) for n in range(100, 100 + NEAREST)]
    assert Vote().label(far, {n: "tea" for n, _ in far}) == Label("tea", NEAREST / (NEAREST + 1)), "so many vote"


def test_too_few_photos_fit_nothing(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Matcher.open(shop(tmp_path / "one.bundle", tiny_encoder, products=30, photos=1)) as matcher:
        assert _fitted(matcher.index, matcher.catalog, "kind")[2].samples == 30, (
            "products left out are queries all the same"
        )
        label = labels_of(matcher.index, matcher.catalog, photos_of(3, 1)[0], ["kind"], None)["kind"]
        assert label.value == "K3" and 0 < label.confidence < 1
    with Matcher.open(shop(tmp_path / "few.bundle", tiny_encoder, products=MIN_SAMPLES - 1, photos=1)) as matcher:
        assert _fitted(matcher.index, matcher.catalog, "kind")[2] == Vote()
    rows: Any = [("tea", [(1, 0.9), (2, 0.8)], [(2, 0.8)])] * (MIN_SAMPLES - 1)
    values = {1: "tea", 2: "coffee"}
    assert fit_vote(rows, values) == Vote()
    assert fit_vote([*rows, rows[0]], values).samples == MIN_SAMPLES


def test_confidence_holds_for_one_photo_a_product(tmp_path: Path, tiny_encoder: Encoder) -> None:
    """Of products that are not in the catalogue it is right, of those that are it is careful."""
    with Matcher.open(shop(tmp_path / "one.bundle", tiny_encoder, products=144, photos=1)) as matcher:
        known, unknown = answers(matcher, range(144), 4), answers(matcher, range(144, 288), 4)
    error = calibration_error(*zip(*unknown, strict=True))
    assert error is not None and error < 0.08
    flat = calibration_error([0.5] * len(unknown), [hit for _, hit in unknown])
    assert flat is not None and flat > 0.08, "50 % for all would be seen"
    assert np.mean([hit for _, hit in known]) > np.mean([confidence for confidence, _ in known])
    spread = [confidence for confidence, _ in known + unknown]
    assert max(spread) - min(spread) > 0.3, "they are not all alike"


def test_products_without_the_attribute_have_no_vote(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Matcher.open(shop(tmp_path / "s.bundle", tiny_encoder, without="code")) as matcher:
        values, voters, _ = _fitted(matcher.index, matcher.catalog, "code")
        assert len(values) == 48 and voters is not None and voters.sum() == 48 * 4
        for number in (0, 3, 6):
            label = labels_of(matcher.index, matcher.catalog, photos_of(number, 1)[0], ["code"], None)["code"]
            assert int(label.value) % 3 != 0
        allowed = matcher.catalog.passing(matcher.index.ids, {"sku": ["P000", "P003"]})
        assert labels_of(matcher.index, matcher.catalog, photos_of(0, 1)[0], ["code"], allowed) == {"code": None}


def test_match_labels_when_asked(tile_folder: Path, tmp_path: Path, tiny_tflite: Path, capfd: Any) -> None:
    rows = [f"{path},{path.parent.name},{'even' if int(path.parent.name[-1]) % 2 == 0 else 'odd'},b{path.parent.name[-1]}"
            for path in sorted(tile_folder.rglob("*.png"))]  # fmt: skip
    (tmp_path / "s.csv").write_text("\n".join(["image,sku,parity,brand", *rows]))
    bundle, photo = str(tmp_path / "s.bundle"), tmp_path / "q.png"
    tile_photo(3, 99).save(photo)
    assert (
        main(["build", str(tmp_path / "s.csv"), "-o", bundle, "--encoder", str(tiny_tflite), "--resizer", "pillow"])
        == 0
    )
    with Matcher.open(bundle) as matcher:
        plain, result = matcher.match(photo), matcher.match(photo, labels=["parity", "brand"])
        assert plain.labels == {} and "labels" not in plain.to_dict()
        assert list(result.labels) == ["parity", "brand"] and result.labels["parity"].value == "odd"
        assert result.labels["brand"].value == "b3" and 0 < result.labels["brand"].confidence <= 1
        assert matcher.match(photo, labels="parity").labels == {"parity": result.labels["parity"]}
        only = matcher.match(photo, labels=["parity"], where={"parity": "even"})
        assert only.labels["parity"].value == "even", "who may be found may vote"
        many = list(matcher.match_many([photo, photo], labels=["brand"], workers=2))
        assert [one.to_dict()["labels"] for one in many if not isinstance(one, Exception)] == [
            {"brand": result.labels["brand"].to_dict()}
        ] * 2
        for attribute in ("colour", "sku", "name"):
            with pytest.raises(
                CatalogError, match=f"attribute '{attribute}' to label by; the catalogue has brand, parity"
            ):
                matcher.match(photo, labels=[attribute])
    capfd.readouterr()
    assert main(["match", bundle, str(photo), "--labels", "parity, brand", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["labels"] == result.to_dict()["labels"]
    assert main(["match", bundle, str(photo), "--labels", "parity"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert len(printed) == 2 and printed[1].startswith("  parity: odd, ") and printed[1].endswith("% sure")


def test_nobody_to_vote_is_null_and_unknown(tmp_path: Path, tiny_tflite: Path, tile_folder: Path, capfd: Any) -> None:
    rows = [
        f"{path},{path.parent.name},{'b' if path.parent.name == 'sku-003' else ''}"
        for path in tile_folder.rglob("*.png")
    ]
    (tmp_path / "s.csv").write_text("\n".join(["image,sku,brand", *rows]))
    bundle, photo = str(tmp_path / "s.bundle"), tile_folder / "sku-004" / "0.png"
    assert main(["build", str(tmp_path / "s.csv"), "-o", bundle, "--encoder", str(tiny_tflite)]) == 0
    capfd.readouterr()
    arguments = ["match", bundle, str(photo), "--labels", "brand", "--where", "sku=sku-004"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["labels"] == {"brand": None}
    assert main(arguments) == 0
    assert capfd.readouterr().out.splitlines()[1] == "  brand: unknown"


@pytest.mark.parametrize("asked", ["kind", ("kind",), np.array(["kind"])], ids=["a name", "a tuple", "an array"])
def test_one_name_is_a_list_of_it_also_for_a_photo_of_nothing(
    tmp_path: Path, tiny_encoder: Encoder, asked: Any
) -> None:
    nothing = np.full((96, 96, 3), 128, np.uint8)
    with Matcher.open(shop(tmp_path / "s.bundle", tiny_encoder), locate="off") as matcher:
        assert matcher.match(nothing, labels=asked).labels == {"kind": None}
        (label,) = matcher.match(np.asarray(tile_photo(3, 9)), labels=asked).labels.items()
        assert label[0] == "kind" and label[1] is not None


def test_an_attribute_that_no_product_has_is_told_for_a_photo_of_nothing_too(
    tmp_path: Path, tiny_encoder: Encoder
) -> None:
    """It was "unknown" there, and an error for any other photo."""
    with Matcher.open(shop(tmp_path / "s.bundle", tiny_encoder), locate="off") as matcher:
        for photo in (np.full((96, 96, 3), 128, np.uint8), np.asarray(tile_photo(3, 9))):
            with pytest.raises(CatalogError, match="nope"):
                matcher.match(photo, labels=["nope"])


def test_a_changed_bundle_is_fitted_anew(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with Matcher.open(shop(tmp_path / "s.bundle", tiny_encoder)) as matcher:
        first = _fitted(matcher.index, matcher.catalog, "kind")
        assert _fitted(matcher.index, matcher.catalog, "kind") is first
        shop(tmp_path / "s.bundle", tiny_encoder, products=36)
        assert matcher.reload()
        assert len(_fitted(matcher.index, matcher.catalog, "kind")[0]) == 36
