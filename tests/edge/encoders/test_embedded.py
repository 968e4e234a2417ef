"""The encoders that come with the package: their files, their two runtimes, what they find, and that they can be made again."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Encoder
from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER, embedded_folders, known_encoders, read_card
from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view

ENCODERS = ("shelfmatch-cnn", "shelfmatch-vit", "shelfmatch-nano")
FORMATS = ("tflite", "onnx")
MODELS = Path(__file__).resolve().parents[3] / "models"
"""The checkout's: the fp32 sources are no part of the installed package."""


def load(name: str, file_format: str) -> Encoder:
    return Encoder.load(MODELS / f"{name}.{file_format}.json", resizer="pillow")


def val_photos(grocery: Path) -> tuple[list[Path], np.ndarray]:
    rows = [line.split(",") for line in (grocery / "val.txt").read_text().splitlines() if line.strip()]
    return [grocery / row[0].strip() for row in rows], np.array([int(row[1]) for row in rows])


def iconic_pictures(grocery: Path) -> list[Path]:
    with (grocery / "classes.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["Class ID (int)"]))
    return [grocery / row["Iconic Image Path (str)"].lstrip("/") for row in rows]


@pytest.mark.parametrize("name", ENCODERS)
def test_the_files(name: str) -> None:
    for file_format in FORMATS:
        card, path = read_card(MODELS / f"{name}.{file_format}.json")
        assert path.stat().st_size <= 3_000_000 and card.dimension == 256
        assert (card.name, card.resize, card.license) == (
            name,
            "pad",
            "Apache-2.0",
        ) and "models/joint.py" in card.provenance
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card.sha256
        # Pixels as they are: a device can't prepare them wrongly.
        assert card.input_dtype == "uint8" and card.mean is None and card.std is None
        assert (card.layout == "NHWC") == (file_format == "tflite")
    assert (MODELS / f"{name}.md").is_file() and (MODELS / f"{name}.log").is_file()


def test_the_sources_fit_the_repository() -> None:
    sources = [MODELS / f"{name}-fp32.onnx" for name in ENCODERS]
    assert sum(path.stat().st_size for path in sources) <= 25_000_000
    # They stay out of the package that devices install.
    for folder in embedded_folders():
        if folder.resolve() != MODELS:
            assert not list(folder.glob("*-fp32*"))


def test_the_runtime_chooses_the_file() -> None:
    assert DEFAULT_ENCODER in ENCODERS
    for name in ENCODERS:
        assert known_encoders()[name].name == f"{name}.tflite.json"
        assert known_encoders("onnx")[name].name == f"{name}.onnx.json"
        assert Encoder.load(name, runtime="onnx").card.format == "onnx"
        assert Encoder.load(name).card.format == "tflite"


@pytest.mark.parametrize(("name", "at_least"), [("shelfmatch-cnn", 0.999), ("shelfmatch-vit", 0.9993)])
def test_two_runtimes_on_real_photos(name: str, at_least: float, grocery: Path) -> None:
    photos, _ = val_photos(grocery)
    first, second = (load(name, file_format).embed(*photos[::4]) for file_format in FORMATS)
    cosines = (first * second).sum(axis=1)
    assert cosines.mean() > at_least and cosines.min() > 0.9955


@pytest.mark.parametrize(
    ("name", "at_least"), [("shelfmatch-cnn", 0.7), ("shelfmatch-vit", 0.7), ("shelfmatch-nano", 0.64)]
)
def test_val_photos_among_catalogue_pictures(name: str, at_least: float, grocery: Path) -> None:
    photos, labels = val_photos(grocery)
    encoder = load(name, "tflite")
    scores = encoder.embed(*photos) @ encoder.embed(*iconic_pictures(grocery)).T
    assert (scores.argmax(axis=1) == labels).mean() >= at_least


@pytest.mark.parametrize(("name", "at_least"), [("shelfmatch-cnn", 0.86), ("shelfmatch-vit", 0.84)])
def test_rendered_products_in_a_shop(name: str, at_least: float) -> None:
    """A large shop of the demo's kind, for among 60 products three more or less are chance. Measured: CNN 87.7 %, the one before it
    86.3, which is asked for; ViT 85.0."""
    products = make_shop(300, 77)
    encoder = load(name, "tflite")
    plain = encoder.embed(*(render_plain(product, 240) for product in products))
    views = encoder.embed(*(render_view(product, 1, (320, 240), 0.5) for product in products))
    assert ((views @ plain.T).argmax(axis=1) == np.arange(len(products))).mean() >= at_least


@pytest.mark.slow
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", ENCODERS)
def test_made_again_from_the_fp32_source(name: str, file_format: str, grocery: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[export]'")
    from shelfmatch.models.export_encoders import make_again

    made = make_again(name, file_format, MODELS, grocery)  # type: ignore[arg-type]
    card, path = read_card(MODELS / f"{name}.{file_format}.json")
    if made == path.read_bytes():
        return
    # Another processor rounds some float sums differently while ranges are measured; nothing more may differ.
    from dataclasses import replace

    again = Encoder(
        replace(card, sha256=hashlib.sha256(made).hexdigest(), size_bytes=len(made)), made, resizer="pillow"
    )
    photos, _ = val_photos(grocery)
    pictures = [Image.open(photo).convert("RGB") for photo in photos[::16]]
    cosines = (again.embed(*pictures) * load(name, file_format).embed(*pictures)).sum(axis=1)
    assert cosines.min() > 0.995
