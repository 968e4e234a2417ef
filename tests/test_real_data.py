"""Real photos, real trained encoders: what we answer against an independent script's arithmetic."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Encoder, Matcher, build_bundle
from shelfmatch.edge.evaluation import Query, evaluate

V1 = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"


def read_split(grocery: Path, name: str) -> list[tuple[Path, str]]:
    """(photo, fine label) of train.txt or val.txt."""
    rows = [line.split(",") for line in (grocery / name).read_text().splitlines() if line.strip()]
    return [(grocery / row[0].strip(), row[1].strip()) for row in rows]


@pytest.fixture(scope="module")
def shop(grocery: Path, coral_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All train photos in a bundle of the MobileNetV1 extractor."""
    folder = tmp_path_factory.mktemp("grocery")
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "sku"), *read_split(grocery, "train.txt")])
    report = build_bundle(folder / "train.csv", folder / "shop.bundle", encoder=coral_models / V1, resizer="pillow")
    assert (report.products, report.references, report.unreadable) == (81, 2640, [])
    return folder / "shop.bundle"


def test_recall_equals_a_plain_scripts(shop: Path, grocery: Path, coral_models: Path) -> None:
    with Matcher.open(shop) as matcher:
        result = evaluate(matcher, [Query(path, path.name, label) for path, label in read_split(grocery, "val.txt")])
    # benchmarks/recall_numpy.py, which shares no code with us, gets 174 of 296 right.
    assert result.queries == 296
    assert result.recall_at_1 is not None and abs(result.recall_at_1 - 174 / 296) <= 0.003


def test_the_same_photo_small_and_large_embeds_alike(grocery: Path, coral_models: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(coral_models / V1, resizer="pillow")
    cosines = []
    for number, (path, _) in enumerate(read_split(grocery, "val.txt")[::30]):
        photo = Image.open(path).convert("RGB")
        for size in ((640, 480), (4032, 3024)):
            photo.resize(size, Image.Resampling.LANCZOS).save(tmp_path / f"{number}-{size[0]}.jpg", quality=90)
        small, large = encoder.embed(tmp_path / f"{number}-640.jpg", tmp_path / f"{number}-4032.jpg")
        cosines.append(float(small @ large))
    assert np.median(cosines) >= 0.997


def test_every_catalogue_photo_finds_itself(shop: Path, grocery: Path) -> None:
    photos = read_split(grocery, "train.txt")[::40]
    with Matcher.open(shop) as matcher:
        for path, label in photos:
            result = matcher.match(path)
            assert result.candidates[0].sku == label
            assert result.candidates[0].score > 0.9999
