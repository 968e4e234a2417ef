"""The last layer, fitted to what several encoders see together in real photos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.models import last_layer, together  # noqa: E402
from shelfmatch.models.export_encoders import learned_whole, weights_of  # noqa: E402
from shelfmatch.models.networks import INPUT_SIDE, from_onnx  # noqa: E402
from tests.models.test_distill import pictures  # noqa: E402
from tests.models.test_joint import REAL, work  # noqa: E402, F401

pytestmark = pytest.mark.xdist_group("export")

MODELS = Path(__file__).resolve().parents[2] / "models"
CNN, NANO = "shelfmatch-cnn", "shelfmatch-nano"
CPU = torch.device("cpu")


def test_the_layer_is_the_one_that_comes_nearest() -> None:
    torch.manual_seed(9)
    read = torch.rand(900, 512)
    wanted = read @ torch.randn(512, 256) / 100 + torch.randn(256) / 10
    layer = torch.nn.Linear(512, 256)
    assert last_layer.fit(layer, read, wanted) > 0.9999
    with torch.no_grad():
        assert torch.nn.functional.cosine_similarity(layer(read), wanted).min() > 0.999
    nearest = layer.weight.detach().clone()
    last_layer.fit(layer, read, wanted[torch.randperm(len(wanted))])
    assert not torch.allclose(layer.weight, nearest, atol=0.1)


def test_the_photos_are_each_as_it_is_and_as_a_camera_sees_it(work: Path) -> None:  # noqa: F811
    found = last_layer.photos(work / "real.npz")
    shown = [kind for kind, _ in REAL if kind != "ground"]
    assert found.shape == (2 * len(shown), 3, INPUT_SIDE, INPUT_SIDE) and found.dtype == np.uint8
    plain, seen = found[::2].astype(int), found[1::2].astype(int)
    assert (plain[:, :, 0] == 128).all()  # padded with grey, as the matcher does it
    assert np.abs(plain - seen).mean(axis=(1, 2, 3)).min() > 1
    assert np.array_equal(found, last_layer.photos(work / "real.npz"))


def test_no_other_weight_changes_and_pictures_look_as_the_teachers_see_them() -> None:
    teachers = together.Together([from_onnx(name, MODELS / f"{name}-fp32.onnx") for name in (CNN, NANO)], [1, 1], CPU)
    net = from_onnx(NANO, MODELS / f"{NANO}-fp32.onnx")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    shown = pictures(80).to(torch.uint8)
    last_layer.fit_on(net, teachers, shown[:60].numpy())
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"embed.weight", "embed.bias"}

    def near(net: Any) -> float:
        """The mean cosine to the teachers in pictures that it wasn't fitted on."""
        wanted = teachers.reduced(teachers.whole(shown[60:].float()))
        with torch.no_grad():
            found = net(together.sized(shown[60:].float(), net))
        return float(torch.nn.functional.cosine_similarity(found, wanted).mean())

    other = from_onnx(NANO, MODELS / f"{NANO}-fp32.onnx")
    read, wanted = last_layer.pooled(other, shown[:60].float()), teachers.reduced(teachers.whole(shown[:60].float()))
    last_layer.fit(other.embed, read, wanted.roll(1, dims=0))
    assert near(net) > near(other) + 0.05


def test_the_command_leaves_what_is_exported_and_says_what_is_missing(work: Path, tmp_path: Path) -> None:  # noqa: F811
    net = from_onnx(CNN, MODELS / f"{CNN}-fp32.onnx")
    state = tmp_path / f"{CNN}-distilled.pt"
    torch.save({"folded": net.state_dict(), "whole": True}, state)
    (text := tmp_path / "text.pt").write_text("text")
    (damaged := tmp_path / "damaged").mkdir()
    for name in together.SHARES:
        (damaged / f"{name}-fp32.onnx").write_bytes((MODELS / f"{name}-fp32.onnx").read_bytes()[:-70_000])

    def told(state: Path, weights: Path, real: Path = work / "real.npz") -> subprocess.CompletedProcess[str]:
        words = [CNN, state, "--real", real, "--weights", weights, "--out", tmp_path / f"{CNN}-fitted.pt"]
        command = [sys.executable, "-m", "shelfmatch.models.last_layer", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    for wrong, line in (
        (told(tmp_path / "none.pt", MODELS), "none.pt is not there"),
        (told(state, MODELS, tmp_path / "none.npz"), "none.npz is not there"),
        (told(state, tmp_path), f"has no {CNN}-fp32.onnx"),
        (told(state, damaged), f"{damaged}: {CNN}-fp32.onnx is no ONNX file"),
        (told(text, MODELS), "text.pt has no weights of shelfmatch-cnn"),
        (told(state, MODELS, text), "text.pt holds no photos"),
    ):
        assert wrong.returncode == 2 and line in wrong.stderr, wrong.stderr
    done = told(state, MODELS)
    assert done.returncode == 0, done.stderr
    assert "mean cosine" in done.stdout
    fitted = tmp_path / f"{CNN}-fitted.pt"
    assert learned_whole(fitted)  # so that --keep-tap refuses it still
    found = weights_of(CNN, fitted).state_dict()
    assert torch.equal(found["stem.conv.weight"], net.state_dict()["stem.conv.weight"])
    assert not torch.equal(found["embed.weight"], net.state_dict()["embed.weight"])
