"""Explanations: the heat is where the product is, with every encoder, and the picture shows it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import CatalogError, ImageError, Matcher, build_bundle, remove_from_bundle
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.matching.explanation import GRID, find_reference_photo, occlusion, seen_by
from shelfmatch.edge.matching.explanation_card import heated
from shelfmatch.edge.matching.snapshot import Snapshot
from tests.conftest import tile_photo, write_tiles
from tests.support.cards import plain_card


def test_the_heat_is_where_the_score_comes_from() -> None:
    pixels = np.full((32, 32, 3), 100, np.uint8)
    pixels[24:32, 0:8] = 255

    def scores_of(pictures: object) -> list[float]:
        assert isinstance(pictures, list)
        return [float(picture[24:32, 0:8].mean()) for picture in pictures]

    heat = occlusion(pixels, scores_of, (4, 4))
    assert heat.shape == (4, 4) and heat.dtype == np.float32
    assert np.unravel_index(heat.argmax(), heat.shape) == (3, 0)
    assert heat[0, 3] == 0


@pytest.mark.parametrize("grid", [(0, 8), (8, 33), (8, -1)])
def test_grids_that_cannot_be(grid: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"expected 1x1 to 32x32"):
        occlusion(np.zeros((32, 32, 3), np.uint8), lambda pictures: [0.0] * len(pictures), grid)


@pytest.mark.parametrize("model", ["tiny_tflite", "tiny_onnx"])
def test_every_encoder_explains(model: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    photos = write_tiles(tmp_path / "photos", range(12))
    build_bundle(photos, tmp_path / "t.bundle", encoder=request.getfixturevalue(model), resizer="pillow", workers=1)
    half = np.asarray(tile_photo(2, 9)).copy()
    half[:, 24:] = half[:, 24:].mean(axis=(0, 1)).astype(np.uint8)  # the right half says nothing
    with Matcher.open(tmp_path / "t.bundle", look_again=False) as matcher:
        explanation = matcher.explain(half, photos=photos)
        coarse = matcher.explain(half, grid=(2, 4))
    assert explanation.heat.shape == GRID and coarse.heat.shape == (2, 4)
    assert explanation.result.candidates[0].sku == "sku-002"
    assert explanation.reference is not None and explanation.reference_label.startswith("sku-002/")
    assert explanation.heat[:, :3].mean() > 3 * explanation.heat[:, 5:].mean()


def test_the_picture_is_written_in_the_format_of_its_name(tile_bundle: Path, tile_folder: Path, tmp_path: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        explanation = matcher.explain(tile_photo(2, 9), photos=tile_folder)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP")):
        explanation.save(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert picture.format == kind and picture.width == explanation.picture().width
    with pytest.raises(ImageError, match=r"'a.txt' arrived; expected a name ending in .png"):
        explanation.save(tmp_path / "a.txt")
    assert not (tmp_path / "a.txt").exists()


def test_hot_is_bright_and_cold_is_dark(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        explanation = matcher.explain(tile_photo(2, 9), grid=(2, 2))
    explanation.heat[:] = [[0.5, 0.0], [-0.5, 0.0]]
    grey = Image.new("RGB", (80, 80), (128, 128, 128))
    shown = np.asarray(heated(grey, explanation.heat, explanation.seen)).astype(int)
    assert shown[5, 5].sum() > shown[75, 75].sum() + 100
    assert abs(shown[75, 5] - shown[75, 75]).max() < 10  # what stands in the way isn't shown as support


def test_without_photos_the_place_says_how_to_get_them(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        explanation = matcher.explain(tile_photo(2, 9))
        assert explanation.reference is None and explanation.picture().size[0] > 1000
        with pytest.raises(CatalogError, match="is not a folder"):
            matcher.explain(tile_photo(2, 9), photos="no-such-folder")


def test_only_the_photo_that_was_catalogued_is_shown(tmp_path: Path, tiny_tflite: Path) -> None:
    photos = write_tiles(tmp_path / "photos", range(3), photos=2)
    build_bundle(photos, tmp_path / "t.bundle", encoder=tiny_tflite, resizer="pillow", workers=1)
    with Matcher.open(tmp_path / "t.bundle") as matcher:
        references = matcher.catalog.references(0)
    found = find_reference_photo(references, photos)
    assert found is not None and found[1] == "sku-000/0.png"
    (photos / "sku-000" / "0.png").write_bytes((photos / "sku-001" / "0.png").read_bytes())
    found = find_reference_photo(references, photos)
    assert found is not None and found[1] == "sku-000/1.png"
    (photos / "sku-000" / "1.png").unlink()
    assert find_reference_photo(references, photos) is None


def test_a_photo_outside_the_folder_of_its_csv_is_shown(tmp_path: Path, tiny_tflite: Path) -> None:
    write_tiles(tmp_path / "photos", range(3), photos=1)
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists" / "shop.csv"
    rows = [f"../photos/sku-{n:03d}/0.png,sku-{n:03d}" for n in range(3)]
    listed.write_text("\n".join(["image,sku", *rows]))
    build_bundle(listed, tmp_path / "t.bundle", encoder=tiny_tflite, resizer="pillow", workers=1)
    with Matcher.open(tmp_path / "t.bundle") as matcher:
        references = matcher.catalog.references(2)
    found = find_reference_photo(references, listed)
    assert found == ((tmp_path / "photos" / "sku-002" / "0.png").read_bytes(), "sku-002/0.png")


def test_one_version_of_the_bundle_is_explained(tile_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the product is gone when the match is done."""
    with Matcher.open(tile_bundle) as matcher:
        fresh, calls = matcher._fresh, []

        def fresh_after_a_change() -> Snapshot:
            calls.append(1)
            if len(calls) == 2:
                remove_from_bundle(tile_bundle, ["sku-002"])
            return fresh()

        monkeypatch.setattr(matcher, "_fresh", fresh_after_a_change)
        explanation = matcher.explain(tile_photo(2, 9), grid=(2, 2))
    assert explanation.result.sku == "sku-002" and explanation.result.generation == 1 and explanation.heat.any()


def test_explaining_matches_as_asked(tmp_path: Path, tile_folder: Path, tiny_tflite: Path, capsys: Any) -> None:
    rows = [f"{path},{path.parent.name},tile" for path in sorted(tile_folder.rglob("*.png"))]
    (tmp_path / "s.csv").write_text("\n".join(["image,sku,kind", *rows]))
    bundle = tmp_path / "s.bundle"
    build_bundle(tmp_path / "s.csv", bundle, encoder=tiny_tflite, resizer="pillow", workers=1, adapt="off")
    query = tile_folder / "sku-001" / "0.png"
    with Matcher.open(bundle) as matcher:
        result = matcher.explain(query, grid=(2, 2), top_k=7, labels=("kind",)).result
        assert result.labels == matcher.match(query, labels=("kind",)).labels and len(result.candidates) == 7
    explain = ("match", bundle, query, "--explain", tmp_path / "why.png", "--labels", "kind", "--json")
    for count in (1, 9):
        code, out, _ = run(capsys, *explain, "--top-k", count)
        answer = json.loads(out)
        assert code == 0 and len(answer["candidates"]) == count and answer["labels"]["kind"]["value"] == "tile"


def test_the_part_that_the_encoder_sees() -> None:
    assert seen_by(plain_card(32, 32), (640, 480)) == (0, 0, 1, 1)
    assert seen_by(plain_card(32, 32, resize="crop"), (640, 480)) == pytest.approx((0.125, 0, 0.875, 1))
    card = plain_card(32, 32, resize="squash-crop", crop_fraction=0.5)
    assert seen_by(card, (640, 480)) == pytest.approx((0.25, 0.25, 0.75, 0.75))
    assert seen_by(plain_card(32, 32, resize="pad"), (640, 480)) == pytest.approx((0, -1 / 6, 1, 7 / 6))
    # So nearly square that it is stretched to the whole input: there is no border.
    assert seen_by(plain_card(224, 224, resize="pad"), (640, 625)) == (0, 0, 1, 1)


def test_names_of_any_length_and_letters_fit(tmp_path: Path, tiny_tflite: Path) -> None:
    write_tiles(tmp_path, range(2))
    rows = "".join(
        f"sku-{n:03d}/{p}.png,{'Ä' * 90}{n},{'Tee – Grüntee Ærlig & 茶 ' * 9}\n" for n in range(2) for p in range(3)
    )
    (tmp_path / "c.csv").write_text(f"image,sku,name\n{rows}", encoding="utf-8")
    build_bundle(tmp_path / "c.csv", tmp_path / "t.bundle", encoder=tiny_tflite, resizer="pillow", workers=1)
    with Matcher.open(tmp_path / "t.bundle") as matcher:
        picture = matcher.explain(tile_photo(0, 9), photos=tmp_path / "c.csv").picture()
    margin: Pixels = np.asarray(picture)[:, -40:]
    assert (margin == 255).all()  # nothing runs over the edge


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_the_command_explains(
    tile_bundle: Path, tile_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query, target = tile_folder / "sku-001" / "0.png", tmp_path / "why.png"
    code, out, err = run(capsys, "match", tile_bundle, query, "--explain", target, "--photos", tile_folder, "--json")
    assert (code, err) == (0, "") and json.loads(out)["sku"] == "sku-001"
    assert Image.open(io.BytesIO(target.read_bytes())).format == "PNG"
    for wrong, said in (
        ((query, query, "--explain", target), "one image"),
        ((query, "--frames", "--explain", target), "--frames"),
        ((query, "--explain", tmp_path / "why.gif"), ".png"),
        ((query, "--photos", tile_folder), "without --explain"),
        ((query, "--frames", "--labels", "kind"), "--labels arrived with --frames"),
    ):
        code, out, err = run(capsys, "match", tile_bundle, *wrong)
        assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_an_image_that_cannot_be_explained_is_an_answer_too(tile_bundle: Path, tmp_path: Path, capsys: Any) -> None:
    wrong = ("match", tile_bundle, tmp_path / "none.jpg", "--explain", tmp_path / "why.png")
    code, out, err = run(capsys, *wrong, "--json")
    answer = json.loads(out)
    assert code == 2 and err == "" and answer["image"] == str(tmp_path / "none.jpg")
    assert answer["error"]["type"] == "ImageError" and "does not exist" in answer["error"]["message"]
    code, out, err = run(capsys, *wrong)
    assert code == 2 and out == "" and err.count("\n") == 1 and "does not exist" in err


def test_the_command_takes_frames(tile_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for number in range(3):
        tile_photo(6, 20 + number).save(tmp_path / f"{number}.png")
        paths.append(tmp_path / f"{number}.png")
    code, out, _ = run(capsys, "match", tile_bundle, *paths, "--frames", "--json")
    answer = json.loads(out)
    assert code == 0 and answer["sku"] == "sku-006" and answer["frames"] == 2 and answer["sure"]
    code, out, err = run(capsys, "match", tile_bundle, tmp_path / "none.png", *paths, "--frames", "--top-k", "2")
    assert code == 0 and out.startswith("sku-006, ") and "frames" in out and "none.png" in err
    assert out.count("\n") == 3
    code, out, err = run(capsys, "match", tile_bundle, tmp_path / "none.png", "--frames")
    assert code == 2 and out.startswith("unknown")
