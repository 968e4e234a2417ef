"""A network cut at an inner tensor: a classifier becomes an encoder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install 'shelfmatch[export]'")

from shelfmatch.edge import Bundle, Encoder, EncoderCard, EncoderError, build_bundle
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.registry import find_encoder, names_resize
from shelfmatch.edge.files import sha256_of
from shelfmatch.export import cut, cut_if_inner, inner_tensors
from tests.conftest import tile_photo
from tests.support import tiny_models
from tests.support.cards import RECORD, plain_card
from tests.support.encoders import message_of, unit
from tests.support.odd_onnx import SIDE, WIDTH, computed, convolution, save


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


SAID = {
    "color_order": "BGR", "resize": "crop", "crop_fraction": 0.5, "mean": [10.0, 20.0, 30.0], "std": [40.0, 50.0, 60.0],
}  # fmt: skip


@pytest.fixture
def with_a_card(tmp_path: Path) -> Path:
    """A classifier that gives its feature "vector" as well, and a card for its scores "last" which says much of photos."""
    from onnx import TensorProto, helper

    model = convolution(classes=7)
    model.graph.output.append(helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, WIDTH]))
    path = tmp_path / "net.onnx"
    save(model, path)
    record = {
        **RECORD, **SAID, "file": path.name, "sha256": sha256_of(path), "size_bytes": path.stat().st_size, "format": "onnx",
        "width": SIDE, "height": SIDE, "input_name": "photo", "input_dtype": "float32", "layout": "NCHW",
        "output_name": "last", "dimension": 7, "license": "MIT",
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("output", ["vector", "pool"])
def test_a_card_keeps_its_word_on_photos_where_another_output_is_chosen(with_a_card: Path, output: str) -> None:
    """It was passed over, for one of the outputs and for a cut copy: a network that takes BGR got RGB."""
    with cut_if_inner(with_a_card, output) as (path, name):
        assert (name is None) == (output == "pool")
        card, file = find_encoder(path, name)
        said = {key: value for key, value in card.to_dict().items() if key in SAID}
        assert (said, card.license, names_resize(path)) == (SAID, "MIT", True)
        assert (card.output_name, card.dimension) == (output, WIDTH)
        pixels = np.asarray(tile_photo(1, 0, side=SIDE))
        found = Encoder(card, file.read_bytes()).embed_pixels(pixels)
    photo = ((pixels - np.float32([10, 20, 30])) / np.float32([40, 50, 60]))[..., ::-1].transpose(2, 0, 1)
    wanted = computed(convolution(), np.ascontiguousarray(photo[np.newaxis], np.float32))[0]
    assert found == pytest.approx(unit(wanted), abs=1e-5)


def test_a_card_and_another_output_in_a_build(with_a_card: Path, tile_folder: Path, tmp_path: Path) -> None:
    build_bundle(tile_folder, tmp_path / "s.bundle", encoder=with_a_card, output="vector", workers=1, adapt="off")
    card = Bundle.open(tmp_path / "s.bundle").manifest.branches[0].encoder
    assert (card.color_order, card.output_name, card.dimension) == ("BGR", "vector", WIDTH)
    named = with_a_card.with_suffix(".json")
    assert find_encoder(named, "vector")[0].dimension == WIDTH
    assert "has no output 'gone'" in message_of(EncoderError, lambda: find_encoder(named, "gone"))


def test_the_card_of_another_file_is_not_copied(with_a_card: Path) -> None:
    save(convolution(), with_a_card)
    with pytest.raises(EncoderError, match="they don't belong together"), cut_if_inner(with_a_card, "pool"):
        pass


def test_a_cut_copy_names_a_resize_rule_only_where_the_card_does(with_a_card: Path) -> None:
    record = json.loads(with_a_card.with_suffix(".json").read_text())
    del record["resize"]
    with_a_card.with_suffix(".json").write_text(json.dumps(record))
    with cut_if_inner(with_a_card, "pool") as (path, _):
        assert not names_resize(path)


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
