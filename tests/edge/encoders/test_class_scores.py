"""Embedding or class scores: one rule, for `build` and for `export`."""

from __future__ import annotations

import pytest

from shelfmatch.edge.encoders.class_scores import CLASS_COUNTS, Ending, ending_of, why_class_scores
from shelfmatch.edge.encoders.golden import embedded_cards
from tests.support import tiny_models


@pytest.mark.parametrize("count", [5, 6, 81, 965, 1000, 5089, 21843])
def test_counts_of_classes(count: int) -> None:
    assert str(count) in Ending("scores", feature="pool", width=1280).class_scores(count)


@pytest.mark.parametrize("count", [16, 128, 256, 512, 1280])
def test_sizes_of_embeddings(count: int) -> None:
    assert why_class_scores(count, linear=True, name="scores") == ""
    assert Ending("probabilities", softmax=True).class_scores(count) != ""


def test_an_output_that_says_it_is_an_embedding() -> None:
    assert why_class_scores(12, linear=True, name="projected") == ""
    assert why_class_scores(12, linear=True, name="out") != ""
    assert why_class_scores(12, linear=False, name="out") == ""
    assert all(why_class_scores(count, linear=False, name="embedding") for count in CLASS_COUNTS)


def test_networks_without_a_linear_end() -> None:
    for model, kind in ((tiny_models.average_tflite(), "tflite"), (tiny_models.average_onnx(), "onnx")):
        assert ending_of(model, kind, "embedding") == Ending("embedding")  # type: ignore[arg-type]


def test_our_own_encoders_are_none() -> None:
    for name, path in embedded_cards().items():
        model = path.with_suffix("")
        ending = ending_of(model.read_bytes(), "onnx" if name.endswith("onnx") else "tflite", "embedding")
        assert ending.class_scores(256) == "", name


@pytest.mark.parametrize("model", [b"", b"\x3a\xff\xff\xff", b"no network at all", bytes(40)])
def test_damaged_files_say_nothing(model: bytes) -> None:
    for kind in ("onnx", "tflite"):
        assert ending_of(model, kind, "x") == Ending("x")  # type: ignore[arg-type]
