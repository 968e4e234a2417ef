"""int8 in the loop: what rounds, by how much, and that a network in training so computes what its device file will."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.edge import Encoder  # noqa: E402
from shelfmatch.edge.synthetic.products import make_shop, render_view  # noqa: E402
from shelfmatch.models import distill, rounding  # noqa: E402
from shelfmatch.models.export_encoders import weights_of  # noqa: E402
from shelfmatch.models.networks import from_onnx, normalized  # noqa: E402
from shelfmatch.models.pictures import to_square  # noqa: E402

pytestmark = pytest.mark.xdist_group("export")

MODELS = Path(__file__).resolve().parents[2] / "models"
VIT = "shelfmatch-vit"


def test_a_weight_has_a_scale_for_each_channel_that_is_written() -> None:
    weight = torch.tensor([[1.27, -0.634, 0.006], [127.0, 0.4, 0.0]], requires_grad=True)
    found = rounding.rounded_weight(weight)
    assert torch.allclose(found, torch.tensor([[1.27, -0.63, 0.01], [127.0, 0.0, 0.0]]), atol=1e-5)
    (3 * found).sum().backward()
    assert torch.equal(weight.grad, torch.full((2, 3), 3.0))


def test_a_map_has_256_steps_and_keeps_zero() -> None:
    seen = rounding.Range()
    x = torch.linspace(-1, 4.1, 2000, requires_grad=True)
    found = seen(x).detach()
    assert len(found.unique()) == 256 and (found == 0).any()
    assert float((found - x.detach()).abs().max()) <= 0.5 * 5.1 / 255 + 1e-6
    for _ in range(40):
        assert seen(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    beyond = torch.tensor([1.0, 50.0], requires_grad=True)
    cut = seen(beyond)
    assert 1.0 < float(cut[1].detach()) < 3
    cut.sum().backward()
    assert beyond.grad.tolist() == [1.0, 0.0]


def test_no_one_picture_sets_the_range() -> None:
    seen = rounding.Range()
    for _ in range(60):
        seen(torch.tensor([0.0, 1.0]))
    seen(torch.tensor([0.0, 20.0]))
    assert 1.0 < float(seen.ends[1]) < 1.5


def test_a_rounded_network_loses_no_less_than_its_device_file() -> None:
    """More, in truth: what the exporter makes up for in biases and by choosing how a weight is rounded is not in it."""
    views = [render_view(product, 3, (200, 200), 0.4).convert("RGB") for product in make_shop(24, 5)]
    pixels = np.stack([to_square(view, 152) for view in views])
    x = normalized(torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))))
    net: Any = from_onnx(VIT, MODELS / f"{VIT}-fp32.onnx")
    names = list(net.state_dict())
    with torch.no_grad():
        plain = torch.nn.functional.normalize(net(x), dim=1).numpy()
        rounding.round_in([net])
        net(x)  # ranges
        found = torch.nn.functional.normalize(net(x), dim=1).numpy()
    assert list(net.state_dict()) == names
    encoder = Encoder.load(VIT, resizer="pillow", threads=1)
    device = np.stack([np.asarray(encoder.embed_pixels(picture)).ravel() for picture in pixels])
    device /= np.linalg.norm(device, axis=1, keepdims=True)
    of_file, of_training = (1 - float((one * plain).sum(axis=1).mean()) for one in (device, found))
    assert of_file < of_training < 0.01, (of_file, of_training)


def test_a_student_rounds_what_learns_and_leaves_plain_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    student = distill.Distilled(VIT, MODELS, torch.device("cpu"))
    student.ready()
    student.round()
    kept = {id(module) for part in student.unchanged() for module in part.modules()}
    rounds = [module for module in student.net.modules() if "forward" in vars(module)]
    assert rounds and not [module for module in rounds if id(module) in kept]
    inside = {type(module).__name__ for module in rounds}
    assert inside == {"Conv2d", "Linear"}
    seen, wanted = torch.rand(6, 3, 152, 152) * 255, torch.randn(6, 256)
    told = [student.learn(seen, wanted, 3e-4)["apart"] for _ in range(6)]
    assert told[-1] < told[0]
    student.keep(tmp_path, torch.zeros(2, 2))
    net = weights_of(VIT, tmp_path / f"{VIT}-distilled.pt")
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 152, 152)).shape == (1, 256)
