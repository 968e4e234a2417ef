"""A network cut at an inner tensor: a classifier becomes an encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderCard, EncoderError
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.registry import find_encoder
from shelfmatch.export import cut, cut_if_inner, inner_tensors
from tests.conftest import tile_photo
from tests.support import tiny_models
from tests.support.cards import plain_card
from tests.support.encoders import message_of, unit


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
