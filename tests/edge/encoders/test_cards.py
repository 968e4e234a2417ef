"""The card of an encoder: the record, the pixels it describes, and the file it must fit."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderCard, EncoderError, VectorError, build_bundle
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from tests.support import tiny_models
from tests.support.cards import RECORD, plain_card
from tests.support.encoders import PIXELS, encoder_of, message_of, unit

PIXELS[0, 0], PIXELS[0, 1] = 0, 255

FULL: dict[str, Any] = {
    **RECORD,
    "color_order": "BGR",
    "resize": "crop",
    "crop_fraction": 0.875,
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "input_quantization": {"scale": 0.0186584, "zero_point": 114},
    "output_dtype": "int8",
    "output_quantization": {"scale": 0.25, "zero_point": -128},
    "provenance": "somewhere",
    "license": "Apache-2.0",
}


# The record


@pytest.mark.parametrize("record", [RECORD, FULL], ids=["least", "full"])
def test_a_card_survives_json(record: dict[str, Any]) -> None:
    card = EncoderCard.from_dict(record)
    again = EncoderCard.from_dict(json.loads(json.dumps(card.to_dict())))
    assert again == card and again.to_dict() == card.to_dict()
    for field, value in record.items():
        assert card.to_dict()[field] == value, field


def test_in_the_graph_is_written_out() -> None:
    record = plain_card().to_dict()
    assert record["mean"] == record["std"] == "in the graph" and record["card_version"] == 1
    assert plain_card(mean="in the graph", std="in the graph").mean is None
    assert plain_card(mean=None, std=None).mean is None


@pytest.mark.parametrize("field", [field for field in RECORD if field != "card_version"])
def test_a_missing_field_is_named(field: str) -> None:
    record = {key: value for key, value in RECORD.items() if key != field}
    message = message_of(EncoderError, lambda: EncoderCard.from_dict(record))
    assert message.startswith(f"encoder card: {field} missing; the fields are name, file, ")


FLOAT = {"input_dtype": "float32"}
MEAN = {**FLOAT, "mean": [1, 2, 3], "std": [1, 2, 3]}
STORED = {"scale": 1.0, "zero_point": 0}
WRONG: list[tuple[str, Any, dict[str, Any]]] = [
    *(
        (field, value, {})
        for field in ("name", "file", "sha256", "format", "layout", "input_name")
        for value in (7, None, [])
    ),
    *(
        (field, value, {})
        for field in ("width", "height", "dimension")
        for value in (0, -1, 65537, 1.5, "224", True, None)
    ),
    ("width", 10**400, {}),
    ("size_bytes", 0, {}),
    ("size_bytes", "big", {}),
    ("file", "", {}),
    ("file", "../elsewhere.tflite", {}),
    ("file", "folder/net.tflite", {}),
    ("file", "..", {}),
    ("format", "pb", {}),
    ("layout", "HWCN", {}),
    ("color_order", "rgb", {}),
    ("color_order", ["RGB"], {}),
    ("resize", "stretch", {}),
    ("input_dtype", "float16", {}),
    ("output_dtype", "int32", {}),
    *(("crop_fraction", value, {}) for value in (0, -0.5, 1.01, float("nan"), float("inf"), "1", True, None, [1])),
    *(("sha256", value, {}) for value in ("", "0" * 63, "0" * 65, "g" * 64, "A" * 64)),
    *(
        (field, value, MEAN)
        for field in ("mean", "std")
        for value in (
            *("127.5", "abc", "", 127.5, True, [], [1, 2], [1, 2, 3, 4], ["1", "2", "3"], [True, True, True]),
            *([[1], [2], [3]], [[1, 2, 3]], [1, None, 3], {"r": 1, "g": 2, "b": 3}, [1, float("nan"), 3]),
            *([1, float("inf"), 3], [1, 10**400, 3], "in the graph", None),
        )
    ),
    ("std", [1, 0, 1], MEAN),
    ("std", [1, -1, 1], MEAN),
    *(
        (field, value, {**FLOAT, dtype: "uint8"})
        for field, dtype in (("input_quantization", "input_dtype"), ("output_quantization", "output_dtype"))
        for value in (
            *(1.0, "none", [1.0, 0], True, {}, {"scale": 1.0}, {"scale": "1", "zero_point": 0}, {**STORED, "axis": 0}),
            *({**STORED, "zero_point": 0.5}, {**STORED, "zero_point": True}, {**STORED, "zero_point": 256}),
            *({**STORED, "zero_point": -1}, {**STORED, "zero_point": None}),
        )
    ),
    *(
        ("scale", value, {"input_quantization": {"scale": value, "zero_point": 0}})
        for value in (0, -1.0, 10**400, float("nan"))
    ),
    ("input_quantization", STORED, FLOAT),
    ("output_quantization", STORED, {"output_dtype": "float32"}),
    ("output_quantization", None, {"output_dtype": "uint8"}),
    ("input_quantization", None, {"mean": [1, 2, 3], "std": [1, 2, 3]}),
    ("shape", [1, 2], {}),
]


@pytest.mark.parametrize(("field", "value", "others"), WRONG, ids=lambda value: repr(value)[:24])
def test_a_wrong_field_is_named(field: str, value: Any, others: dict[str, Any]) -> None:
    record = {**RECORD, **others} if field == "scale" else {**RECORD, **others, field: value}
    message = message_of(EncoderError, lambda: EncoderCard.from_dict(record))
    assert message.startswith("encoder card: ") and field in message


@pytest.mark.parametrize("record", [None, [], "card", 7])
def test_a_card_is_an_object(record: Any) -> None:
    assert "expected a JSON object" in message_of(EncoderError, lambda: EncoderCard.from_dict(record))


def test_a_card_of_the_future() -> None:
    message = message_of(EncoderError, lambda: EncoderCard.from_dict({**RECORD, "card_version": 2}))
    assert "card_version is 2; expected 1; install a newer shelfmatch" in message


MEANS = [("RGB", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]), ("BGR", [10.0, 100.0, 200.0], [3.0, 70.0, 255.0])]


@pytest.mark.parametrize(("color_order", "mean", "std"), MEANS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(("scale", "shift"), [(0.0186584, 114), (1 / 32, 90), (0.5, 120)])
def test_quantized_inputs_are_exact(
    tmp_path: Path, dtype: str, scale: float, shift: int, color_order: str, mean: list[float], std: list[float]
) -> None:
    lowest, highest = (0, 255) if dtype == "uint8" else (-128, 127)
    stored = {"scale": scale, "zero_point": shift + lowest}
    model = tiny_models.identity_tflite(dtype, scale=scale, zero_point=shift + lowest)
    encoder = encoder_of(
        tmp_path,
        model,
        ".tflite",
        input_dtype=dtype,
        output_dtype=dtype,
        color_order=color_order,
        mean=mean,
        std=std,
        input_quantization=stored,
        output_quantization=stored,
    )
    real = (PIXELS - np.array(mean)) / np.array(std)
    if color_order == "BGR":
        real = real[:, :, ::-1]
    kept = np.clip(np.round(real / scale) + stored["zero_point"], lowest, highest) - stored["zero_point"]
    # Were one of the 192 values a step off, its number would differ by over 0.0005.
    assert np.abs(encoder.embed_pixels(PIXELS) - unit(kept)).max() < 1e-6


@pytest.mark.parametrize(("color_order", "mean", "std"), MEANS)
@pytest.mark.parametrize(("suffix", "layout"), [(".tflite", "NHWC"), (".onnx", "NHWC"), (".onnx", "NCHW")])
def test_float_inputs_are_normalized(
    tmp_path: Path, suffix: str, layout: str, color_order: str, mean: list[float], std: list[float]
) -> None:
    model = tiny_models.identity_tflite("float32") if suffix == ".tflite" else tiny_models.identity_onnx(layout=layout)
    settings = {"input_dtype": "float32", "layout": layout, "color_order": color_order, "mean": mean, "std": std}
    real = (PIXELS - np.array(mean)) / np.array(std)
    real = real if color_order == "RGB" else real[:, :, ::-1]
    real = real if layout == "NHWC" else real.transpose(2, 0, 1)
    assert np.abs(encoder_of(tmp_path, model, suffix, **settings).embed_pixels(PIXELS) - unit(real)).max() < 1e-6


@pytest.mark.parametrize(("dtype", "shift"), [("uint8", 0), ("int8", 128), ("float32", 0)])
@pytest.mark.parametrize("color_order", ["RGB", "BGR"])
def test_a_graph_that_normalizes_takes_the_pixels(tmp_path: Path, dtype: str, shift: int, color_order: str) -> None:
    stored = None if dtype == "float32" else {"scale": 0.1, "zero_point": 0}
    encoder = encoder_of(
        tmp_path,
        tiny_models.identity_tflite(dtype, scale=0.1),
        ".tflite",
        input_dtype=dtype,
        output_dtype=dtype,
        color_order=color_order,
        output_quantization=stored,
    )
    expected = PIXELS.astype(float) - shift
    expected = expected if color_order == "RGB" else expected[:, :, ::-1]
    assert np.abs(encoder.embed_pixels(PIXELS) - unit(expected)).max() < 1e-6


def test_the_output_is_dequantized_before_its_norm(tmp_path: Path) -> None:
    stored = {"scale": 0.3, "zero_point": 100}
    model = tiny_models.identity_tflite("uint8", scale=0.3, zero_point=100)
    encoder = encoder_of(tmp_path, model, ".tflite", output_dtype="uint8", output_quantization=stored)
    assert np.abs(encoder.embed_pixels(PIXELS) - unit(PIXELS.astype(float) - 100)).max() < 1e-6


def test_an_embedding_without_a_direction_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(VectorError, match="gave an embedding of norm 0"):
        tiny_encoder.embed(np.zeros((40, 40, 3), np.uint8))


@pytest.mark.parametrize("pixels", [PIXELS, np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.float32)])
def test_pixels_of_another_size_or_kind(tiny_encoder: Encoder, pixels: Any) -> None:
    assert "expected (32, 32, 3) uint8" in message_of(EncoderError, lambda: tiny_encoder.embed_pixels(pixels))


# Card against file


def test_bytes_that_are_not_the_card_s(tiny_tflite: Path) -> None:
    card, model = inspect_encoder(tiny_tflite), tiny_tflite.read_bytes()
    message = message_of(EncoderError, lambda: Encoder(card, model[:-1] + bytes([model[-1] ^ 1])))
    assert (
        "tiny.tflite has sha256" in message
        and f"its card says {card.sha256[:12]}…; they don't belong together" in message
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"width": 31}, "takes uint8 [1, 32, 32, 3]; its card says one input of uint8 [1, 32, 31, 3]"),
        ({"layout": "NCHW"}, "its card says one input of uint8 [1, 3, 32, 32]"),
        ({"input_dtype": "int8"}, "its card says one input of int8 [1, 32, 32, 3]"),
        ({"output_name": "feature"}, "has no output 'feature'; it has embedding"),
        ({"dimension": 47}, "gives uint8 [1, 48]; its card says uint8 with 47 elements"),
        ({"output_dtype": "int8"}, "gives uint8 [1, 48]; its card says int8 with 48 elements"),
        (
            {"output_quantization": {"scale": 1.0, "zero_point": 3}},
            "has output scale 1.0 and zero point 0; its card says 1.0 and 3",
        ),
        (
            {"input_quantization": {"scale": 0.5, "zero_point": 0}},
            "has input scale 1.0 and zero point 0; its card says 0.5 and 0",
        ),
    ],
)
def test_a_card_that_says_something_else_than_the_file(
    tiny_tflite: Path, changes: dict[str, Any], expected: str
) -> None:
    card = EncoderCard.from_dict({**inspect_encoder(tiny_tflite).to_dict(), **changes})
    encoder = Encoder(card, tiny_tflite.read_bytes())
    assert expected in message_of(EncoderError, encoder.prepare)


def test_mean_and_std_of_0_to_1_are_refused_where_a_card_is_read(tmp_path: Path) -> None:
    model = tiny_models.average_tflite(dtype="float32")
    (tmp_path / "net.tflite").write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    record = {**RECORD, "file": "net.tflite", "sha256": digest, "input_dtype": "float32"}
    said = {**record, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    (tmp_path / "net.json").write_text(json.dumps(said))
    message = message_of(EncoderError, lambda: Encoder.load(tmp_path / "net.tflite"))
    assert "net.json: encoder card: std is (0.229, 0.224, 0.225)" in message
    assert "multiply both by 255 (std 58.395, 57.12, 57.375)" in message
    said |= {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    (tmp_path / "net.json").write_text(json.dumps(said))
    assert Encoder.load(tmp_path / "net.json").card.std == (58.395, 57.12, 57.375)


def test_a_scale_written_by_hand_is_near_enough(tmp_path: Path) -> None:
    model = tiny_models.identity_tflite(scale=0.018658448)
    stored = {"scale": 0.01865845, "zero_point": 0}
    encoder = encoder_of(tmp_path, model, ".tflite", output_dtype="uint8", output_quantization=stored)
    # One scale for all numbers leaves the direction as it is: the pixels'.
    assert np.allclose(encoder.embed_pixels(PIXELS), unit(PIXELS.ravel()), atol=1e-6)
    for wrong in ({**stored, "scale": 0.01866}, {**stored, "zero_point": 1}):
        encoder = encoder_of(tmp_path, model, ".tflite", output_dtype="uint8", output_quantization=wrong)
        assert "its card says" in message_of(EncoderError, encoder.prepare)


@pytest.mark.parametrize("padding", [[1, 2], [0, 0, 256], [0, 0, 1.5], "grey", [True, 0, 0]])
def test_a_border_that_is_no_colour_is_refused(padding: Any) -> None:
    with pytest.raises(EncoderError, match=r"padding is .*; expected three whole numbers from 0 to 255, or null"):
        plain_card(resize="pad", padding=padding)


def test_a_card_without_a_border_is_written_as_ever() -> None:
    """Manifests of bundles hold cards: they stay the same to the byte."""
    assert "padding" not in plain_card(resize="pad").to_dict()
    card = plain_card(resize="pad", padding=[1, 2, 3])
    assert EncoderCard.from_dict(card.to_dict()) == card and card.border_color == (1, 2, 3)


def test_a_name_can_not_change_a_terminal(
    tmp_path: Path, tile_folder: Path, tiny_tflite: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = {**inspect_encoder(tiny_tflite).to_dict(), "name": "a\n\x1b[31mb"}
    (tmp_path / "tiny.json").write_text(json.dumps(card))
    shutil.copy(tiny_tflite, tmp_path / "tiny.tflite")
    build_bundle(tile_folder, tmp_path / "b", encoder=tmp_path / "tiny.json", adapt="off", workers=1)
    assert main(["info", str(tmp_path / "b"), "--verbose"]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out and "encoder  a\\n\\x1b[31mb, " in out
