"""The encoders' joint training: batches from another process, and what a run leaves for the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFont

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.models import halves, real  # noqa: E402
from shelfmatch.models.ahead import Ahead  # noqa: E402
from shelfmatch.models.export_encoders import weights_of  # noqa: E402
from shelfmatch.models.mixer import Batch, Portions  # noqa: E402
from shelfmatch.models.networks import INPUT_SIDE  # noqa: E402
from shelfmatch.models.real import Picture  # noqa: E402
from shelfmatch.models.student import TEACHER_DIM, Student  # noqa: E402

pytestmark = pytest.mark.xdist_group("export")

MODELS = Path(__file__).resolve().parents[2] / "models"
FEW = Portions(runs=1, siblings=2, boxes=1, grocery=1, phone=0, local=2)


class Numbered:
    """Batches that are told apart, in the place of a mixer that needs a stock of typefaces and all the photos."""

    portions, printed = FEW, 5

    def __init__(self, most: int = 100) -> None:
        self.left, self.made = most, 0

    def batch(self) -> Batch:
        if self.made == self.left:
            raise ValueError("no more")
        self.made += 1
        count = FEW.pictures
        pixels = torch.full((count, 3, INPUT_SIDE, INPUT_SIDE), float(self.made))
        labels = torch.arange(count) + (1 << 40)
        return Batch(pixels, labels, torch.arange(FEW.real_pictures) * self.made)


def test_batches_arrive_whole_and_in_order() -> None:
    ahead = Ahead(Numbered, FEW)  # type: ignore[arg-type]
    try:
        for number in range(1, 6):
            batch = ahead.batch()
            assert batch.pixels.shape == (8, 3, INPUT_SIDE, INPUT_SIDE) and (batch.pixels == number).all()
            assert torch.equal(batch.labels, torch.arange(8) + (1 << 40))
            assert torch.equal(batch.rows, torch.arange(4) * number)
        assert ahead.printed == 5
    finally:
        ahead.close()
    assert not ahead.process.is_alive()


@pytest.mark.parametrize("how", ["fails", "is killed"])
def test_a_process_that_mixes_no_more_is_told(how: str) -> None:
    ahead = Ahead(lambda: Numbered(3 if how == "fails" else 100), FEW)  # type: ignore[arg-type, return-value]
    if how == "is killed":
        os.kill(ahead.process.pid or 0, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the process that mixes batches has ended"):
        for _ in range(5):
            ahead.batch()
    ahead.close()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock of one face, and eleven real pictures: groceries, boxes, and what stands behind them."""
    folder: Path = tmp_path_factory.mktemp("joint")
    (folder / "stock" / "fonts").mkdir(parents=True)
    face = ImageFont.load_default(20)
    assert isinstance(face, ImageFont.FreeTypeFont)
    (folder / "stock" / "fonts" / "own.ttf").write_bytes(face.font_bytes)
    sources = [{"file": "own.ttf", "family": "Own", "scripts": ["latin"], "licences": []}]
    (folder / "stock" / "sources.json").write_text(json.dumps(sources))
    (folder / "stock" / "words.json").write_text(json.dumps({"english": ["Honey", "River"], "ar": []}))
    shown = [Picture(kind, label, Image.effect_noise((90, 60), 60).convert("RGB")) for kind, label in REAL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "pictures", lambda data: iter(shown))
        real.pack(folder, None, folder / "real.npz")
    return folder


REAL = [("grocery", label) for label in (3, 3, 5, 5)] + [("box", number) for number in range(5)] + [("ground", -1)] * 2


def run(work: Path, weights: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Two steps of the whole program, in a process of its own."""
    words = ["--stock", work / "stock", "--real", work / "real.npz", "--weights", weights, "--out", out, "--steps", 2]
    words += [
        "--networks",
        "shelfmatch-nano",
        "--workers",
        1,
        "--pool",
        64,
        "--portions",
        4,
        2,
        9,
        2,
        2,
        2,
        "--threads",
        1,
    ]
    command = [sys.executable, "-m", "shelfmatch.models.joint", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_run_leaves_what_the_next_begins_with(work: Path, tmp_path: Path) -> None:
    # Asked for nine boxes and for phone photos, of which there are five and none.
    done = run(work, MODELS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "shelfmatch-nano goes on from shelfmatch-cnn-fp32.onnx" in done.stdout and "2 steps, 60 pictures" in done.stdout
    )
    assert {path.name for path in tmp_path.iterdir()} == {"shelfmatch-nano-state.pt", "shelfmatch-nano.npz"}
    again = run(work, tmp_path, tmp_path / "next")
    assert again.returncode == 0 and f"goes on from {tmp_path}/shelfmatch-nano.npz" in again.stdout, again.stderr


def test_a_run_that_fails_ends(work: Path, tmp_path: Path) -> None:
    done = run(work, tmp_path, tmp_path / "out")
    assert done.returncode == 1 and "shelfmatch-cnn-fp32.onnx" in done.stderr


def student(frozen: int = 0) -> Any:
    torch.manual_seed(3)
    return Student("shelfmatch-nano", torch.device("cpu"), frozen)


def batch_of(count: int) -> tuple[Batch, Any]:
    """A batch whose last products are real, and their teachers' features."""
    torch.manual_seed(4)
    pixels = torch.rand(2 * count, 3, INPUT_SIDE, INPUT_SIDE) * 255
    half = torch.cat([torch.arange(count - 2) + (1 << 40), torch.tensor([3, 5])])

    class Features:
        features = torch.randn(4, TEACHER_DIM)

    return Batch(pixels, torch.cat([half, half]), torch.arange(4)), Features()


def test_frozen_layers_stay_and_others_learn() -> None:
    made = student(frozen=3)
    made.ready(8)
    before = {key: value.clone() for key, value in made.net.state_dict().items()}
    batch, reals = batch_of(4)
    told, embeddings = made.learn(batch, reals, None, 1.0, FEW)
    assert embeddings.shape == (8, 256) and all(torch.isfinite(value) for value in told.values())
    changed = {
        ".".join(key.split(".")[:2])
        for key, value in made.net.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert {"blocks.2", "blocks.15", "head.conv", "embed.weight"} <= changed
    assert not {key for key in changed if key.startswith("stem") or key in ("blocks.0", "blocks.1")}


def test_a_small_file_is_gone_on_from_and_exported(tmp_path: Path) -> None:
    first = student()
    first.ready(8)
    batch, reals = batch_of(4)
    first.learn(batch, reals, None, 1.0, FEW)
    first.keep_small(tmp_path)
    small = tmp_path / "shelfmatch-nano.npz"
    assert small.stat().st_size < 4_000_000
    second = student()
    second.begin(tmp_path, batch.pixels)
    for part, module in second.parts().items():
        for key, value in module.state_dict().items():
            if "num_batches" not in key:
                assert torch.allclose(value, first.mean[part][key], rtol=1e-3, atol=1e-4), (part, key)
    first.net.eval().load_state_dict(first.mean["net"])
    whole = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        found, expected = weights_of("shelfmatch-nano", small)(whole), first.net(whole)
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999


def test_half_precision_keeps_what_it_can(tmp_path: Path) -> None:
    weights = {"a": torch.tensor([1.5, -2.0]), "large": torch.tensor([1e6]), "b.num_batches_tracked": torch.tensor(3)}
    halves.write(weights, tmp_path / "w.npz")
    found = halves.read(tmp_path / "w.npz")
    assert sorted(found) == ["a", "large"] and found["large"].item() == 1e6 and found["a"].tolist() == [1.5, -2.0]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    first = student()
    first.ready(8)
    first.keep_small(tmp_path)
    with pytest.raises(ValueError, match="is of another network"):
        weights_of("shelfmatch-vit", tmp_path / "shelfmatch-nano.npz")
    foreign = halves.read(tmp_path / "shelfmatch-nano.npz")
    halves.write({**foreign, "net.nowhere": torch.zeros(1)}, tmp_path / "shelfmatch-nano.npz")
    with pytest.raises(ValueError, match="the weights nowhere are missing in one of them"):
        student().begin(tmp_path, torch.zeros(1))
