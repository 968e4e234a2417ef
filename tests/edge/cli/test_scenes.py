"""The commands that find products: match --all, match --locate, count, detectors."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.cli.match_lines import print_scene
from shelfmatch.edge.matching.labels import Label
from shelfmatch.edge.matching.results import Candidate, MatchResult
from shelfmatch.edge.matching.scene import Scene, SceneProduct
from tests.edge.matching.test_scene import PLACES, messy, shelf
from tests.support.commands import document, exit_code_of, lines
from tests.support.detectors import cells, constant_onnx, own_card


@pytest.fixture
def scene(shop: Path) -> Path:
    """Beside the shop: a shelf of five products and a gap, a messy photo, and detectors that find them."""
    Image.fromarray(shelf([3, 3, 4, 5, 3])).save(shop / "shelf.png")
    Image.fromarray(messy(5)).save(shop / "messy.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(shop / "noise.png")
    reach = (7 / 8,) * 4
    found = dict.fromkeys(PLACES[:5], (4.0, -9.0, reach)) | {PLACES[5]: (-9.0, 3.0, reach)}
    write_detector(shop, "shelf", found)
    write_detector(shop, "middle", {(4, 4): (3.0, -9.0, (11 / 8, 11 / 8, 3 / 8, 3 / 8))})
    write_detector(shop, "nothing", {})
    card = json.loads((shop / "nothing.json").read_bytes())
    (shop / "head.json").write_text(json.dumps({**card, "head": "nanodet", "classes": ["product"]}))
    near = {"name": "near", "dtype": "int8", "quantization": {"scale": 0, "zero_point": 0}}
    (shop / "scale.json").write_text(json.dumps({**card, "outputs": [near, *card["outputs"][1:]]}))
    (shop / "cut.onnx").write_bytes((shop / "nothing.onnx").read_bytes()[:300])
    (shop / "folder.onnx").mkdir()
    return shop


def write_detector(
    folder: Path, name: str, found: dict[tuple[int, int], tuple[float, float, tuple[float, ...]]]
) -> None:
    outputs = {"near": cells(found), "far": cells({}, stride=16)}  # type: ignore[arg-type]
    model = constant_onnx(outputs)
    (folder / f"{name}.onnx").write_bytes(model)
    card = own_card(model, outputs, name=name, file=f"{name}.onnx")
    (folder / f"{name}.json").write_text(json.dumps(card.to_dict()))


@pytest.mark.usefixtures("scene")
def test_all_products_of_a_scene(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["match", "shop.bundle", "shelf.png", "--all", "--detector", "shelf.onnx"]
    found = document(capfd, *command, code=0)
    assert [one["candidates"][0]["sku"] for one in found["products"]] == [
        "sku-003",
        "sku-003",
        "sku-004",
        "sku-005",
        "sku-003",
    ]
    assert set(found) == {"image", "size", "products", "latency_ms"} and found["image"] == "shelf.png"
    for one in found["products"]:
        assert {"box", "detection_score", "decision", "sku", "confidence", "candidates"} <= set(one)
    people = lines(capfd, *command)
    assert people[0].startswith("shelf.png: 5 products, ") and len(people) == 6
    assert people[1].startswith("  [40, 40, 152, 152]  ")


def test_labels_of_a_scenes_products_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """They were in the JSON alone."""
    best = Candidate(Product("A", "Tea"), 0.9, 0.97)
    labels = {"category": Label("tea", 0.8), "brand": None}
    result = MatchResult("", "match", "A", 0.97, (best,), {}, labels=labels)
    scene = Scene("a.jpg", (SceneProduct((1, 2, 3, 4), 0.5, result),), latency_ms={"total": 5.0})
    print_scene("a.jpg", scene, json=False, top_k=None)
    assert capsys.readouterr().out.splitlines()[2:] == ["    category: tea, 80% sure", "    brand: unknown"]


@pytest.mark.usefixtures("scene")
def test_all_without_any_product_is_no(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        document(capfd, "match", "shop.bundle", "shelf.png", "--all", "--detector", "nothing.onnx", code=1)["products"]
        == []
    )


@pytest.mark.usefixtures("scene")
def test_unreadable_photos_among_scenes(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["match", "shop.bundle", "text.jpg", "shelf.png", "--all", "--detector", "shelf.onnx", "--json"]) == 2
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first["error"]["type"] == "ImageError" and len(second["products"]) == 5
    assert first["error"]["message"].startswith("text.jpg is damaged or not a photo")
    assert main(["count", "text.jpg", "shelf.png", "--detector", "shelf.onnx"]) == 2
    assert "text.jpg is damaged or not a photo" in capfd.readouterr().err


@pytest.mark.usefixtures("scene")
def test_a_product_is_found_on_a_messy_photo(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["match", "shop.bundle", "messy.png", "--detector", "middle.onnx"]
    main([*command, "--json"])
    found = json.loads(capfd.readouterr().out)
    assert found["located"]["box"] == [200.0, 200.0, 312.0, 312.0] and found["candidates"][0]["sku"] == "sku-005"
    main([*command, "--locate", "off", "--json"])
    assert "located" not in json.loads(capfd.readouterr().out)


@pytest.mark.usefixtures("scene")
def test_a_shelf_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["count", "shelf.png", "--bundle", "shop.bundle", "--detector", "shelf.onnx"]
    found = document(capfd, *command, "--picture", "out.png", "--csv", "out.csv")
    assert [row["products"] for row in found["rows"]] == [3, 2] and len(found["gaps"]) == 1
    assert found["facings"][0]["sku"] == "sku-003" and found["facings"][0]["facings"] == 3
    table = list(csv.DictReader(Path("out.csv").read_text("utf-8-sig").splitlines()))
    assert [row["sku"] for row in table][:2] == ["sku-003", "sku-003"] and [row["kind"] for row in table][5:] == ["gap"]
    assert exit_code_of([*command, "--csv", "out.csv"]) == 0  # its own table is written anew
    with Image.open("out.png") as picture:
        assert picture.size == (512, 512)
    people = lines(capfd, *command)
    assert people[0].startswith("shelf.png: 5 facings in 2 rows, 1 empty place, ")
    assert "60% of facings" in people[1] and "sku-003" in people[1]


@pytest.mark.usefixtures("scene")
def test_without_a_bundle_places_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    found = document(capfd, "count", "shelf.png", "--detector", "shelf.onnx")
    assert len(found["products"]) == 5 and set(found["products"][0]) == {"box", "detection_score", "row"}
    assert set(found["gaps"][0]) == {"box", "score", "row"} and found["facings"] == []
    assert document(capfd, "count", "noise.png", "--detector", "nothing.onnx", code=1)["products"] == []


@pytest.mark.usefixtures("scene")
def test_a_photo_whose_name_is_no_utf_8_is_counted_into_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"b\xff.png")
    try:
        Path("shelf.png").rename(name)
    except OSError:
        pytest.skip("this disk takes no such name")
    found = document(capfd, "count", name, "--detector", "shelf.onnx", "--csv", "out.csv", "--picture", "out.png")
    assert found["image"] == name
    table = list(csv.DictReader(Path("out.csv").read_text("utf-8-sig").splitlines()))
    assert len(table) == 6 and {row["image"] for row in table} == {r"b\udcff.png"}


WRONG = {
    "a folder as a detector": (["detectors", "folder.onnx"], "detector folder.onnx is a folder; expected a .tflite or .onnx file"),
    "a card of another head": (["count", "shelf.png", "--detector", "head.json"], "its card says head nanodet, expected 80 cells"),
    "a card of no scale": (["count", "shelf.png", "--detector", "scale.json"], "quantization of near: scale is 0; expected"),
    "a detector cut short": (["detectors", "cut.onnx"], "can't load the detector cut.onnx"),
    "all and frames": (["match", "shop.bundle", "shelf.png", "--all", "--frames"], "--all arrived with --frames"),
    "all and explain": (["match", "shop.bundle", "shelf.png", "--all", "--explain", "a.png"], "--all arrived with --explain"),
    "all and locate": (["match", "shop.bundle", "shelf.png", "--all", "--locate", "off"], "--all arrived with --locate off"),
    "another locate": (["match", "shop.bundle", "shelf.png", "--locate", "maybe"], "invalid choice: 'maybe'"),
    "no detector": (["match", "shop.bundle", "shelf.png", "--detector", "gone.onnx"], "detector gone.onnx does not exist"),
    "an encoder for a detector": (["count", "shelf.png", "--detector", "tiny.onnx"], "which is none of the outputs"),
    "a text for a detector": (["count", "shelf.png", "--detector", "text.tflite"], "can't load the detector"),
    "no photo": (["count", "gone.png", "--detector", "shelf.onnx"], "gone.png does not exist"),
    "where alone": (["count", "shelf.png", "--where", "a=b", "--detector", "shelf.onnx"], "--where arrived without --bundle"),
    "picture of two": (["count", "shelf.png", "messy.png", "--picture", "a.png"], "--picture arrived with 2 photos"),
    "picture's ending": (["count", "shelf.png", "--picture", "a.gif", "--detector", "shelf.onnx"], "expected a name ending in"),
    "picture over the photo": (["count", "shelf.png", "--picture", "shelf.png", "--detector", "shelf.onnx"], "shelf.png"),
    "csv over the photo": (["count", "shelf.png", "--csv", "shelf.png"], "shelf.png can't be used: it is also an input"),
    "csv over a photo of the folder": (["count", ".", "--csv", "shelf.png"], "no table of shelfmatch is there already"),
    "csv over the bundle's": (
        ["count", "shelf.png", "--bundle", "shop.bundle", "--csv", "shop.bundle/manifest.json"],
        "no table of shelfmatch is there already",
    ),
    "csv over the picture": (
        ["count", "shelf.png", "--csv", "out.png", "--picture", "out.png"],
        "--csv and --picture arrived with out.png",
    ),
    "a detector for an encoder": (
        ["build", "photos", "-o", "b.bundle", "--encoder", "shelf.onnx"],
        "a detector's card arrived; expected an encoder's",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.usefixtures("scene")
def test_wrong_input_is_one_line(capfd: pytest.CaptureFixture[str], kind: str) -> None:
    arguments, said = WRONG[kind]
    assert exit_code_of(arguments) == 2
    out, err = capfd.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


@pytest.mark.usefixtures("scene")
def test_detectors_are_listed_and_read_off(capfd: pytest.CaptureFixture[str]) -> None:
    found = document(capfd, "detectors", "shelf.onnx")
    assert found[0]["name"] == "shelf" and found[0]["head"] == "shelfmatch" and found[0]["finds"] == ["product", "gap"]
    assert lines(capfd, "detectors", "shelf.onnx")[0].startswith("shelf: ")
    assert isinstance(document(capfd, "detectors"), list)
