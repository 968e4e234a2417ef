"""An .onnx file's bytes: weights that lie in a second file are seen, without the onnx package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="pip install 'shelfmatch[export]'")

import onnx
from onnx import helper, numpy_helper

from shelfmatch.edge import Encoder, EncoderError, build_bundle
from shelfmatch.edge.encoders.golden import embedded_cards
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.onnx_wire import refuse_weights_elsewhere
from shelfmatch.edge.files import sha256_of
from shelfmatch.export import cut
from tests.support.cards import RECORD
from tests.support.odd_onnx import SIDE, WIDTH, convolution, save

SAID = r"keeps its weights in a second file, net\.weights; .* shelfmatch export FILE makes one file"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """An encoder with its card, whose weights are in a file beside it."""
    path = tmp_path / "split" / "net.onnx"
    path.parent.mkdir()
    save(convolution(), path, save_as_external_data=True, location="net.weights", size_threshold=0)
    record = {
        **RECORD, "file": path.name, "sha256": sha256_of(path), "size_bytes": path.stat().st_size, "format": "onnx",
        "width": SIDE, "height": SIDE, "input_name": "photo", "input_dtype": "float32", "layout": "NCHW",
        "output_name": "last", "dimension": WIDTH, "mean": [127.5] * 3, "std": [127.5] * 3,
    }  # fmt: skip
    path.with_name("net.onnx.json").write_text(json.dumps(record))
    return path


def test_an_encoder_in_two_files_is_refused(
    split: Path, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime took the second file of the folder that the program ran in, be it another network's."""
    monkeypatch.chdir(split.parent)
    with pytest.raises(EncoderError, match=SAID):
        Encoder.load(split)
    with pytest.raises(EncoderError, match=SAID):
        build_bundle(tile_folder, tmp_path / "shop.bundle", encoder=split, workers=1)
    assert not (tmp_path / "shop.bundle").exists()
    with pytest.raises(EncoderError, match=SAID):
        cut(split, "pool", tmp_path / "cut.onnx")
    split.with_name("net.onnx.json").unlink()
    with pytest.raises(EncoderError, match=SAID):
        inspect_encoder(split)


def inside(tensor: Any, *, of_a_branch: bool = False) -> bytes:
    """A graph with this tensor as a constant's value, in a branch of an If."""
    graph = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "g", [], [])
    if of_a_branch:
        graph = helper.make_graph(
            [helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)], "g", [], []
        )
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


@pytest.mark.parametrize("of_a_branch", [False, True])
def test_constants_of_nodes_are_looked_at(of_a_branch: bool) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    refuse_weights_elsewhere(inside(tensor, of_a_branch=of_a_branch), "it")
    onnx.external_data_helper.set_external_data(tensor, location="net.weights")
    tensor.ClearField("raw_data")
    with pytest.raises(EncoderError, match=f"it {SAID}"):
        refuse_weights_elsewhere(inside(tensor, of_a_branch=of_a_branch), "it")


def test_a_tensor_that_came_inside_says_still_where_it_was() -> None:
    """Only data_location counts: tools leave the name of the second file behind."""
    model = convolution()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location="net.weights")
    model.graph.initializer[0].data_location = 0
    refuse_weights_elsewhere(model.SerializeToString(), "it")


def test_our_own_encoders_and_damaged_files_pass() -> None:
    for name, path in embedded_cards().items():
        if name.endswith("onnx"):
            refuse_weights_elsewhere(path.with_suffix("").read_bytes(), name)
    for model in (b"", b"\x3a\xff\xff\xff", b"\x0a\x08location", b"\x3a\xff\xff\xff\x0a\x08location" * 9):
        refuse_weights_elsewhere(model, "it")
