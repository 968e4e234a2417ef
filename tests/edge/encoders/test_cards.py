"""Cards: what stands between pixels and embedding, read off a file where that is certain and asked for where it isn't."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import CardRequired, Encoder, EncoderCard, EncoderError, VectorError
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.registry import find_encoder, read_card
from shelfmatch.export import cut, cut_if_inner, inner_tensors
from tests.conftest import tile_photo
from tests.support import tiny_models
from tests.support.cards import RECORD, plain_card

PIXELS = np.random.default_rng(3).integers(0, 256, (8, 8, 3)).astype(np.uint8)
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


def message_of(error: type[EncoderError], call: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


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


# Pixels → stored input → embedding, with networks that give their input back


def unit(vector: Any) -> Any:
    flat = np.asarray(vector, np.float64).reshape(-1)
    return flat / np.linalg.norm(flat)


def encoder_of(folder: Path, model: bytes, suffix: str, **changes: Any) -> Encoder:
    path = folder / f"net{suffix}"
    path.write_bytes(model)
    file_format = suffix.removeprefix(".")
    card = plain_card(
        8, 8, dimension=192, file=path.name, sha256=hashlib.sha256(model).hexdigest(), format=file_format, **changes
    )
    return Encoder(card, model)


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


# Inspection


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
    from shelfmatch.edge.encoders.infer_card import _tflite_normalization

    model = (coral_models / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes()
    assert _tflite_normalization(model) == ([127.5] * 3, [127.5] * 3)


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
        "looks like a classifier (embedding uint8 [1, 21843]); cut it at its pooled feature with --output NAME"
        in message
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
    assert find_encoder(path, "embedding")[0].resize == "squash"  # a chosen output asks for the file itself


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


def test_a_scale_written_by_hand_is_near_enough(tmp_path: Path) -> None:
    model = tiny_models.identity_tflite(scale=0.018658448)
    stored = {"scale": 0.01865845, "zero_point": 0}
    encoder = encoder_of(tmp_path, model, ".tflite", output_dtype="uint8", output_quantization=stored)
    encoder.prepare()


# Cutting


@pytest.mark.parametrize("output", ["cells", "1"])
def test_a_tflite_file_is_cut_at_a_tensor(tmp_path: Path, tiny_tflite: Path, output: str) -> None:
    path = cut(tiny_tflite, output, tmp_path / "cells.tflite")
    card = inspect_encoder_of_cells(path)
    assert card.output_name == "cells" and path.stat().st_size < tiny_tflite.stat().st_size
    embeddings = [Encoder(card, path.read_bytes()).embed(tile_photo(p, 0)) for p in range(3)]
    for product, embedding in enumerate(embeddings):
        assert np.array_equal(embedding, Encoder.load(tiny_tflite).embed(tile_photo(product, 0)))


def inspect_encoder_of_cells(path: Path) -> EncoderCard:
    """[1, 4, 4, 3] is no vector by itself, so inspection refuses it; the card is for who knows better."""
    assert "is not one vector a photo" in message_of(EncoderError, lambda: inspect_encoder(path))
    model = path.read_bytes()
    changes = {
        "file": path.name,
        "sha256": hashlib.sha256(model).hexdigest(),
        "format": path.suffix[1:],
        "output_name": "cells",
    }
    if path.suffix == ".tflite":
        changes |= {"output_dtype": "uint8", "output_quantization": {"scale": 1.0, "zero_point": 0}}  # type: ignore[dict-item]
    return plain_card(**changes)


def test_an_onnx_file_is_cut_at_a_tensor(tmp_path: Path, tiny_onnx: Path) -> None:
    path = cut(tiny_onnx, "cells", tmp_path / "cells.onnx")
    embedding = Encoder(inspect_encoder_of_cells(path), path.read_bytes()).embed(tile_photo(2, 0))
    assert np.array_equal(embedding, Encoder.load(tiny_onnx).embed(tile_photo(2, 0)))


@pytest.mark.parametrize("output", ["feature", "99", "-1", "0", "²", "", "pixels"])
def test_a_tensor_that_is_not_computed(tmp_path: Path, tiny_tflite: Path, tiny_onnx: Path, output: str) -> None:
    message = message_of(EncoderError, lambda: cut(tiny_tflite, output, tmp_path / "cut.tflite"))
    assert f"computes no tensor {output!r}; pooled features it has: 3 ('embedding' [1, 48])" in message
    message = message_of(EncoderError, lambda: cut(tiny_onnx, output, tmp_path / "cut.onnx"))
    assert f"computes no tensor {output!r}; the last ones are ['planes', 'pooled', 'cells', 'embedding']" in message
    assert list(tmp_path.iterdir()) == []


def test_the_classifier_comes_off_a_real_network(tmp_path: Path, coral_models: Path) -> None:
    source = coral_models / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    assert "looks like a classifier" in message_of(EncoderError, lambda: find_encoder(source))
    by_number = cut(source, "172", tmp_path / "172.tflite")
    pooled = next(tensor for tensor in inner_tensors(source) if tensor.index == 172)
    assert pooled.shape[-1] == 1280
    assert cut(source, pooled.name, tmp_path / "named.tflite").read_bytes() == by_number.read_bytes()
    encoder = Encoder.load(by_number, resizer="pillow")
    assert encoder.card.dimension == 1280 and encoder.card.output_dtype == "int8"
    assert by_number.stat().st_size < source.stat().st_size - 1_200_000  # the classifier's 1280 x 1001 weights
    a, b = encoder.embed(tile_photo(0, 0), tile_photo(0, 1)), encoder.embed(tile_photo(1, 0))
    assert a[0] @ a[1] > a[0] @ b[0]
    assert np.abs(encoder.embed(tile_photo(5, 0))[0] - preserved_172(source, encoder)).max() < 1e-6


def preserved_172(source: Path, encoder: Encoder) -> Any:
    """The same tensor read out of the whole network."""
    from ai_edge_litert.interpreter import Interpreter

    from shelfmatch.edge.imaging.decode import decode
    from shelfmatch.edge.imaging.resize import fit

    with pytest.warns(UserWarning, match="preserve_all_tensors"):
        interpreter = Interpreter(model_path=str(source), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    pixels = fit(decode(tile_photo(5, 0), encoder.card), encoder.card, "pillow")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[np.newaxis])
    interpreter.invoke()
    stored = encoder.card.output_quantization
    assert stored is not None
    return unit((interpreter.get_tensor(172).astype(float) - stored.zero_point) * stored.scale)


def test_cut_if_inner(tmp_path: Path, tiny_tflite: Path, tiny_onnx: Path) -> None:
    with cut_if_inner(tiny_tflite, "embedding") as (path, output):
        assert (path, output) == (tiny_tflite, "embedding")
    for source in (tiny_tflite, tiny_onnx):
        with cut_if_inner(source, "cells") as (path, output):
            assert output is None and Path(path).is_file() and Path(path) != source
        assert not Path(path).exists()
    (tmp_path / "net.json").write_text("{}")
    for wrong in (tmp_path / "net.json", "no-such-encoder"):
        with (
            pytest.raises(EncoderError, match="--output goes with a"),
            cut_if_inner(wrong, "cells"),
        ):
            pass
    with (
        pytest.raises(EncoderError, match=r"none\.tflite can't be read"),
        cut_if_inner(tmp_path / "none.tflite", "cells"),
    ):
        pass


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_damaged_files_are_not_cut(tmp_path: Path, suffix: str) -> None:
    model = tiny_models.average_tflite() if suffix == ".tflite" else tiny_models.average_onnx()
    source, target = tmp_path / f"net{suffix}", tmp_path / f"cut{suffix}"
    done = 0
    for number in range(600):
        random, damaged = np.random.default_rng(number), bytearray(model)
        for place in random.integers(len(model), size=2):
            damaged[place] ^= 1 << int(random.integers(8))
        source.write_bytes(damaged[: int(random.integers(len(model)))] if number % 4 == 0 else damaged)
        try:
            cut(source, "cells", target)
            done += 1
        except EncoderError as error:
            assert len(str(error).splitlines()) == 1
    assert 50 < done < 550


def test_a_text_is_not_cut(tmp_path: Path) -> None:
    for name in ("net.tflite", "net.onnx", "net.pb"):
        (tmp_path / name).write_text("not a network\n" * 20)
        message = message_of(EncoderError, lambda name=name: cut(tmp_path / name, "cells", tmp_path / "cut"))  # type: ignore[misc]
        assert name in message and ("lacks the identifier TFL3" in message or "is damaged" in message)


def test_read_card_of_a_file_beside(tmp_path: Path, tiny_tflite: Path) -> None:
    shutil.copy(tiny_tflite, tmp_path / "tiny.tflite")
    (tmp_path / "card.json").write_text(json.dumps(inspect_encoder(tiny_tflite).to_dict()))
    card, path = read_card(tmp_path / "card.json")
    assert path == tmp_path / "tiny.tflite" and card == inspect_encoder(tiny_tflite)
