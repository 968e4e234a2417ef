"""A card read off a network's file, as far as that is certain; finding encoders and their cards."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import CardRequired, Encoder, EncoderError
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.registry import find_encoder, read_card
from tests.conftest import tile_photo
from tests.support import tiny_models
from tests.support.cards import RECORD, plain_card
from tests.support.encoders import PIXELS, message_of, unit


def test_what_is_certain_about_a_tflite_file(tiny_tflite: Path) -> None:
    card = inspect_encoder(tiny_tflite)
    model = tiny_tflite.read_bytes()
    assert card == plain_card(
        name="tiny",
        file="tiny.tflite",
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        output_dtype="uint8",
        input_quantization={"scale": 1.0, "zero_point": 0},
        output_quantization={"scale": 1.0, "zero_point": 0},
        provenance="inspected",
    )


def test_what_is_certain_about_an_onnx_file(tiny_onnx: Path) -> None:
    card = inspect_encoder(tiny_onnx)
    assert (card.format, card.input_dtype, card.layout, card.dimension, card.mean) == (
        "onnx",
        "uint8",
        "NHWC",
        48,
        None,
    )
    assert (card.output_name, card.output_dtype, card.output_quantization) == ("embedding", "float32", None)


def test_int8_pixels_are_taken_minus_128(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny_models.identity_tflite("int8", scale=0.5, zero_point=-128))
    assert np.abs(Encoder.load(path).embed_pixels(PIXELS) - unit(PIXELS)).max() < 1e-6


def test_planes_first_is_seen(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(tiny_models.identity_onnx(dtype="uint8", layout="NCHW", height=10, width=12))
    assert_card_is_asked_for(tmp_path / "net.onnx", "output_quantization")
    card = plain_card(**card_in(tmp_path / "net.onnx"))
    assert (card.layout, card.height, card.width) == ("NCHW", 10, 12)


def card_in(path: Path) -> dict[str, Any]:
    """The card that the refusal of a file shows."""
    message = message_of(CardRequired, lambda: Encoder.load(path))
    record: dict[str, Any] = json.loads(message[message.index("{") :])
    return record


def assert_card_is_asked_for(path: Path, missing: str) -> None:
    message = message_of(CardRequired, lambda: Encoder.load(path))
    assert f"needs a card: write {path.with_suffix('.json')} with the right {missing}" in message


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("beside", ["net.json", "net{}.json"])
def test_a_float_file_shows_the_card_to_write(tmp_path: Path, suffix: str, beside: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(tiny_models.identity_tflite("float32") if suffix == ".tflite" else tiny_models.identity_onnx())
    assert_card_is_asked_for(path, "mean and std")
    card = {**card_in(path), "mean": [1, 2, 3], "std": [4, 5, 6]}
    (tmp_path / beside.format(suffix)).write_text(json.dumps(card))
    encoder = Encoder.load(path)
    assert encoder.card.std == (4, 5, 6)
    assert np.abs(encoder.embed_pixels(PIXELS) - unit((PIXELS - [1.0, 2.0, 3.0]) / [4.0, 5.0, 6.0])).max() < 1e-6
    (tmp_path / beside.format(suffix)).write_text(json.dumps({**card, "mean": "in the graph", "std": "in the graph"}))
    assert np.abs(Encoder.load(path).embed_pixels(PIXELS) - unit(PIXELS)).max() < 1e-6


def test_a_quantized_output_that_does_not_say_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_models.identity_onnx(dtype="int8"))
    assert_card_is_asked_for(path, "output_quantization")
    path.with_suffix(".json").write_text(
        json.dumps({**card_in(path), "output_quantization": {"scale": 0.1, "zero_point": -128}})
    )
    assert np.abs(Encoder.load(path).embed_pixels(PIXELS) - unit(PIXELS)).max() < 1e-6


@pytest.mark.parametrize(("mean", "std"), [([127.5], [127.5]), ([123.0, 116.0, 103.0], [58.0, 57.0, 57.5])])
def test_metadata_says_how_a_float_input_is_normalized(tmp_path: Path, mean: list[float], std: list[float]) -> None:
    path = tmp_path / "net.tflite"
    metadata = tiny_models.normalization_metadata(mean, std)
    path.write_bytes(tiny_models.with_metadata(tiny_models.identity_tflite("float32"), metadata))
    encoder = Encoder.load(path)
    assert encoder.card.mean == tuple(mean if len(mean) == 3 else mean * 3)
    assert np.abs(encoder.embed_pixels(PIXELS) - unit((PIXELS - np.array(mean)) / np.array(std))).max() < 1e-6


@pytest.mark.parametrize(
    "metadata",
    [
        tiny_models.normalization_metadata([1.0], [1.0], kind=2),
        tiny_models.normalization_metadata([1.0, 2.0], [1.0, 2.0]),
        tiny_models.normalization_metadata([1.0], [1.0, 2.0, 3.0]),
        tiny_models.normalization_metadata([], []),
        tiny_models.normalization_metadata([1.0], [1.0])[:60],
        bytes(8),
        b"\xff" * 200,
    ],
    ids=["other unit", "two channels", "uneven", "none", "cut", "zeros", "ones"],
)
def test_metadata_that_does_not_say_it(tmp_path: Path, metadata: bytes) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny_models.with_metadata(tiny_models.identity_tflite("float32"), metadata))
    assert_card_is_asked_for(path, "mean and std")


def test_metadata_with_flipped_bits_says_something_or_nothing(tmp_path: Path) -> None:
    path, right = tmp_path / "net.tflite", tiny_models.normalization_metadata([1.0], [2.0])
    for place in range(0, len(right) * 8, 5):
        damaged = bytearray(right)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(tiny_models.with_metadata(tiny_models.identity_tflite("float32"), bytes(damaged)))
        try:
            inspect_encoder(path)
        except EncoderError as error:  # CardRequired, or a card whose std is no longer above 0
            assert len(str(error).splitlines()) == 1


def test_metadata_that_google_wrote(coral_models: Path) -> None:
    from shelfmatch.edge.encoders.infer_card import tflite_normalization

    model = (coral_models / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes()
    assert tflite_normalization(model) == ([127.5] * 3, [127.5] * 3)


def test_an_output_of_two_is_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny_models.average_tflite(extra_output=True))
    message = message_of(EncoderError, lambda: find_encoder(path))
    assert (
        "net.tflite has 2 outputs (embedding uint8 [1, 48], cells uint8 [1, 4, 4, 3]); choose one with --output NAME"
        in message
    )
    card, _ = find_encoder(path, "embedding")
    assert card.output_name == "embedding"
    assert np.array_equal(
        Encoder(card, path.read_bytes()).embed(tile_photo(1, 1)),
        Encoder.load(saved_tiny(tmp_path)).embed(tile_photo(1, 1)),
    )
    assert "is not one vector a photo" in message_of(EncoderError, lambda: find_encoder(path, "cells"))
    assert "has no output 'feature'; it has embedding" in message_of(
        EncoderError, lambda: find_encoder(path, "feature")
    )


def saved_tiny(folder: Path) -> Path:
    (folder / "plain.tflite").write_bytes(tiny_models.average_tflite())
    return folder / "plain.tflite"


def test_a_classifier_is_refused_unless_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny_models.identity_tflite(height=9, width=809))
    message = message_of(EncoderError, lambda: find_encoder(path))
    assert (
        "looks like a classifier (embedding: 21843 outputs, as ImageNet has classes); cut it at its pooled feature with "
        "--output NAME" in message
    )
    assert "confirm with --output embedding" in message
    assert find_encoder(path, "embedding")[0].dimension == 21843


@pytest.mark.parametrize(
    ("model", "suffix", "expected"),
    [
        (
            tiny_models.identity_tflite(batch=4),
            ".tflite",
            "takes uint8 [4, 8, 8, 3]; expected one image input of fixed size",
        ),
        (tiny_models.identity_tflite("int32"), ".tflite", "expected uint8, int8 or float32"),
        (b"", ".tflite", "is it a whole .tflite file?"),
        (b"text", ".onnx", "is it a whole .onnx file?"),
        (tiny_models.average_tflite()[:500], ".tflite", "is it a whole .tflite file?"),
    ],
    ids=["batch", "int32", "empty", "text", "cut"],
)
def test_files_that_are_no_encoders(tmp_path: Path, model: bytes, suffix: str, expected: str) -> None:
    (tmp_path / f"net{suffix}").write_bytes(model)
    assert expected in message_of(EncoderError, lambda: Encoder.load(tmp_path / f"net{suffix}"))


# Finding


def test_the_card_beside_a_file_is_used(tmp_path: Path, tiny_tflite: Path) -> None:
    path = Path(shutil.copy(tiny_tflite, tmp_path / "net.tflite"))
    record = {**inspect_encoder(path).to_dict(), "resize": "pad", "name": "mine"}
    (tmp_path / "net.json").write_text(json.dumps(record))
    assert Encoder.load(path).card.resize == Encoder.load(tmp_path / "net.json").card.resize == "pad"
    (tmp_path / "net.tflite.json").write_text(json.dumps({**record, "resize": "crop"}))
    assert Encoder.load(path).card.resize == "crop"
    assert find_encoder(path, "embedding")[0].resize == "crop"


def test_a_card_that_names_another_file_is_not_this_one_s(tmp_path: Path, tiny_tflite: Path) -> None:
    path = Path(shutil.copy(tiny_tflite, tmp_path / "net.tflite"))
    shutil.copy(tiny_tflite, tmp_path / "other.tflite")
    record = {**inspect_encoder(path).to_dict(), "file": "other.tflite", "resize": "pad"}
    (tmp_path / "net.json").write_text(json.dumps(record))
    assert Encoder.load(path).card.resize == "squash"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "can't be read"),
        ("[" * 100_000, "can't be read"),
        (b"\xff\xfe", "can't be read"),
        ("[]", "list arrived; expected a JSON object"),
        ('{"labels": []}', "unknown field labels"),
        (json.dumps({**RECORD, "file": "gone.tflite"}), "names the file gone.tflite, which is not beside it"),
    ],
    ids=["cut", "deep", "binary", "list", "labels", "gone"],
)
def test_a_card_that_is_none_is_named(tmp_path: Path, tiny_tflite: Path, content: str | bytes, expected: str) -> None:
    path = Path(shutil.copy(tiny_tflite, tmp_path / "net.tflite"))
    path.with_suffix(".json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for source in (path, path.with_suffix(".json")):
        message = message_of(EncoderError, lambda source=source: Encoder.load(source))  # type: ignore[misc]
        assert expected in message and "net.json" in message


def test_encoders_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.tflite").mkdir()
    for source in ("folder.tflite", "none.tflite", "none.onnx"):
        assert f"{source} does not exist" in message_of(
            EncoderError, lambda source=source: find_encoder(tmp_path / source)
        )  # type: ignore[misc]
    assert "none.json can't be read" in message_of(EncoderError, lambda: find_encoder(tmp_path / "none.json"))
    message = message_of(EncoderError, lambda: find_encoder("mobilenet"))
    assert (
        message.startswith("unknown encoder 'mobilenet'; expected ") and "a .tflite or .onnx file, or a card" in message
    )


def test_read_card_of_a_file_beside(tmp_path: Path, tiny_tflite: Path) -> None:
    shutil.copy(tiny_tflite, tmp_path / "tiny.tflite")
    (tmp_path / "card.json").write_text(json.dumps(inspect_encoder(tiny_tflite).to_dict()))
    card, path = read_card(tmp_path / "card.json")
    assert path == tmp_path / "tiny.tflite" and card == inspect_encoder(tiny_tflite)
