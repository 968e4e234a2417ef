"""The second output of the CNN's device files: the map that local matching reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
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
def test_the_local_files_are_what_their_card_says(file_format: str) -> None:
    from shelfmatch.models.export_local import INPUTS, OUTPUTS, examples

    card = json.loads((MODELS / "matching" / "shelfmatch-local.json").read_text())
    of_encoder = card["encoders"][f"{tap.ENCODER}.{file_format}"]
    assert of_encoder["sha256"] == tap.digest((MODELS / f"{tap.ENCODER}.{file_format}").read_bytes())
    seen = {}
    for what in ("cells", "head"):
        record = card["files"][what][file_format]
        model = (MODELS / "matching" / record["file"]).read_bytes()
        assert tap.digest(model) == record["sha256"] and len(model) == record["size_bytes"]
        seen[what] = run(model, file_format, INPUTS[what], OUTPUTS[what], [value.numpy() for value in examples()[what]])
    golden = card["golden"]
    assert np.allclose(seen["cells"][0, 0, :4], golden["cells_first"], atol=1e-4)
    assert abs(float(seen["cells"][0, :, -1].mean()) - golden["cells_lengths_mean"]) < 1e-3
    assert abs(float(seen["head"].ravel()[0]) - golden["logit"]) < 2e-3


def run(model: bytes, file_format: str, inputs: list[str], output: str, values: list[np.ndarray]) -> np.ndarray:
    """All inputs of a file at once, which the encoders' session can't give."""
    if file_format == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'shelfmatch[onnx]'")
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return np.asarray(session.run([output], dict(zip(inputs, values, strict=True)))[0])
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="pip install 'shelfmatch[litert]'")
    interpreter = litert.Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    found = interpreter.get_signature_runner()(**{f"args_{place}": value for place, value in enumerate(values)})
    return np.asarray(next(iter(found.values())))
