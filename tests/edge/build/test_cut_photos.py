"""Catalogue photos that are cut to their product before they are embedded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import DetectorError, Matcher, add_to_bundle, build_bundle
from shelfmatch.edge.build.cut_photos import PhotoCutter
from tests.conftest import tile_photo
from tests.edge.matching.test_scene import MIDDLE, NOTHING, finding, messy
from tests.support.detectors import own_detector


@pytest.fixture
def messy_folder(tmp_path: Path) -> Path:
    """Eight products, each in the middle of other patterns."""
    for product in range(8):
        folder = tmp_path / "messy" / f"sku-{product:03d}"
        folder.mkdir(parents=True)
        Image.fromarray(messy(product)).save(folder / "0.png")
    return tmp_path / "messy"


def png(pixels: np.ndarray) -> bytes:  # type: ignore[type-arg]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_bundle_of_cut_photos_knows_the_products(tmp_path: Path, messy_folder: Path, tiny_tflite: Path) -> None:
    settings = {"encoder": tiny_tflite, "adapt": "off", "resizer": "pillow"}
    whole = build_bundle(messy_folder, tmp_path / "whole.bundle", **settings)  # type: ignore[arg-type]
    assert whole.cut == [] and "cut" not in whole.to_dict()
    cut = build_bundle(messy_folder, tmp_path / "cut.bundle", locate=True, detector=MIDDLE, **settings)  # type: ignore[arg-type]
    assert len(cut.cut) == 8 and cut.to_dict()["cut"][0] == "sku-000/0.png"
    found = {}
    for name in ("whole", "cut"):
        with Matcher.open(tmp_path / f"{name}.bundle", locate="off", look_again=False) as matcher:
            answers = [matcher.match(tile_photo(product, 50)).candidates[0].sku for product in range(8)]
            found[name] = sum(answer == f"sku-{product:03d}" for product, answer in enumerate(answers))
    assert found["cut"] == 8 > found["whole"]


def test_added_photos_are_cut_too(tmp_path: Path, messy_folder: Path, tile_bundle: Path) -> None:
    Image.fromarray(messy(40)).save(messy_folder / "sku-000" / "new.png")
    report = add_to_bundle(tile_bundle, messy_folder, locate=True, detector=MIDDLE)
    assert "sku-000/new.png" in report.cut and len(report.cut) == 9


def test_what_was_cut_is_not_taken_for_the_whole_photo(tmp_path: Path, messy_folder: Path, tiny_tflite: Path) -> None:
    """Embeddings that an interrupted build kept are of one part of a photo, or of all of it."""
    settings = {"encoder": tiny_tflite, "adapt": "off", "resizer": "pillow"}
    vectors = []
    for detector in (None, MIDDLE):
        bundle = tmp_path / "same.bundle"
        build_bundle(messy_folder, bundle, locate=detector is not None, detector=detector, **settings)  # type: ignore[arg-type]
        with Matcher.open(bundle, locate="off") as matcher:
            vectors.append(matcher.index.vectors(np.arange(8)))
    assert np.abs(vectors[0] - vectors[1]).max() > 0.05


def test_what_is_not_certain_stays_whole() -> None:
    photo = png(messy(3))
    assert PhotoCutter(MIDDLE, 1).cut(photo) is not None
    assert PhotoCutter(NOTHING, 1).cut(photo) is None
    assert PhotoCutter(finding((3, 3), (3, 5)), 1).cut(photo) is None, "two things side by side"
    unsure = own_detector({(4, 4): (-0.5, -9.0, (1.0, 1.0, 1.0, 1.0))})
    assert PhotoCutter(unsure, 1).cut(photo) is None
    tiny = own_detector({(4, 4): (3.0, -9.0, (0.3, 0.3, 0.3, 0.3))})
    assert PhotoCutter(tiny, 1).cut(photo) is None
    filling = own_detector({(4, 4): (3.0, -9.0, (4.4, 4.4, 3.4, 3.4)), (2, 2): (2.0, -9.0, (1.0, 1.0, 1.0, 1.0))})
    assert PhotoCutter(filling, 1).cut(photo) is None, "the product fills the photo"


def test_a_detector_that_is_not_there_is_said_before_anything_is_built(
    tmp_path: Path, messy_folder: Path, tiny_tflite: Path
) -> None:
    with pytest.raises(DetectorError, match=r"gone.onnx does not exist"):
        build_bundle(
            messy_folder, tmp_path / "a.bundle", encoder=tiny_tflite, locate=True, detector=tmp_path / "gone.onnx"
        )
    assert not (tmp_path / "a.bundle").exists()
