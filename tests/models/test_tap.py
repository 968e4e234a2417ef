"""The second output of the CNN's device files: the map that local matching reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.edge.encoders.local import LocalHead, local_file  # noqa: E402
from shelfmatch.edge.encoders.registry import read_card  # noqa: E402
from shelfmatch.edge.encoders.runtimes import choose_runtime, open_session  # noqa: E402
from shelfmatch.edge.synthetic import products as rendered  # noqa: E402
from shelfmatch.models import local, tap  # noqa: E402
from shelfmatch.models.networks import INPUT_SIDE, from_onnx, normalized  # noqa: E402
from shelfmatch.models.pictures import to_square  # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / "models"
FORMATS = ("tflite", "onnx")


@pytest.fixture(scope="module")
def square() -> np.ndarray:
    return to_square(rendered.render_plain(rendered.make_shop(1, 5)[0], 240), INPUT_SIDE)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_tap_is_the_networks_map(file_format: str, square: np.ndarray) -> None:
    card, path = read_card(MODELS / f"{tap.ENCODER}.{file_format}.json")
    session = open_session(choose_runtime(file_format), path.read_bytes(), 1)  # type: ignore[arg-type]
    pixels = square[None] if card.layout == "NHWC" else square.transpose(2, 0, 1)[None]
    found = tap.read(path.read_bytes(), file_format)  # type: ignore[arg-type]
    numbers = session.run(np.ascontiguousarray(pixels), found.name).astype(np.float32)
    values = found.scale * (numbers - found.zero_point)
    values = values.transpose(0, 3, 1, 2) if found.channels_last else values
    net = from_onnx(tap.ENCODER, MODELS / f"{tap.ENCODER}-fp32.onnx")
    with torch.no_grad():
        exact = net.mapped(normalized(torch.from_numpy(square.transpose(2, 0, 1)[None].copy())))[1].numpy()
    assert values.shape == exact.shape == (1, local.TAP_CHANNELS, local.GRID, local.GRID)
    assert np.corrcoef(values.ravel(), exact.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_head_beside_a_file_is_that_files(file_format: str) -> None:
    """Its scale and layout are of this very file, and a damaged head is told by its golden value."""
    model = MODELS / f"{tap.ENCODER}.{file_format}"
    head = LocalHead.from_bytes(local_file(model).read_bytes(), str(model))
    found = tap.read(model.read_bytes(), file_format)  # type: ignore[arg-type]
    assert head.card.encoder_sha256 == tap.digest(model.read_bytes())
    assert (head.card.tap, head.card.scale, head.card.zero_point) == (found.name, found.scale, found.zero_point)
    assert head.card.layout == ("NHWC" if found.channels_last else "NCHW")
    assert head.golden_logit() == pytest.approx(head.card.golden_logit, abs=1e-4)
    assert local_file(model).stat().st_size < 64_000
