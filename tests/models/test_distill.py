"""Teaching an encoder what several see together: what is asked of it, what stays as it is, and what a run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.edge.encoders.local import LocalHead  # noqa: E402
from shelfmatch.models import distill, export_local, together  # noqa: E402
from shelfmatch.models.export_encoders import learned_whole, weights_of  # noqa: E402
from shelfmatch.models.mixer import Portions  # noqa: E402
from shelfmatch.models.networks import EQUALIZED, INPUT_SIDE, equalized, from_onnx  # noqa: E402
from tests.models.test_joint import work  # noqa: E402, F401

pytestmark = pytest.mark.xdist_group("export")

MODELS = Path(__file__).resolve().parents[2] / "models"
CNN, NANO = "shelfmatch-cnn", "shelfmatch-nano"
CPU = torch.device("cpu")


def pictures(count: int) -> Any:
    torch.manual_seed(5)
    coarse = torch.rand(count, 3, 9, 9) * 255
    return torch.nn.functional.interpolate(coarse, (INPUT_SIDE, INPUT_SIDE), mode="bicubic").clamp(0, 255)


def source_of(name: str) -> Any:
    return from_onnx(name, MODELS / f"{name}-fp32.onnx")


def test_cosines_together_are_the_weighted_mean_of_each_teachers() -> None:
    nets, shares = [source_of(CNN), source_of(NANO)], [3.0, 1.0]
    seen = pictures(8)
    found = together.Together(nets, shares, CPU).whole(seen)
    cosines = []
    for net in nets:
        with torch.no_grad(), together.halves(CPU):
            unit = torch.nn.functional.normalize(net(together.sized(seen, net)).float(), dim=1)
        cosines.append(unit @ unit.T)
    assert torch.allclose(found @ found.T, 0.75 * cosines[0] + 0.25 * cosines[1], atol=2e-3)


def test_a_further_teacher_has_no_part_in_the_map_of_the_first() -> None:
    """The map that a student hands on is of the CNN that it goes on from; one of before reads the picture itself."""
    torch.manual_seed(8)
    other = source_of(CNN)
    for layer in other.blocks[3].layers:
        torch.nn.init.normal_(layer.conv.weight, std=0.05)
    teachers, seen = together.Together([source_of(CNN), other], [1.0, 1.0], CPU), pictures(6)
    tap = distill.Distilled(CNN, MODELS, CPU).tap(seen)
    assert torch.allclose(teachers.whole(seen, tap), teachers.whole(seen), atol=0.02)


def test_the_common_space_keeps_cosines() -> None:
    teachers = together.Together([source_of(CNN), source_of(NANO)], [1.0, 1.0], CPU)
    whole = teachers.whole(pictures(40))
    assert teachers.find_space(whole) > 0.999  # forty pictures span fewer directions than it keeps
    kept = teachers.reduced(whole)
    assert torch.allclose(kept @ kept.T, whole @ whole.T, atol=1e-4)


def test_neighbours_are_asked_for_and_not_directions() -> None:
    torch.manual_seed(6)
    wanted = torch.randn(12, 16)
    turned = torch.linalg.qr(torch.randn(16, 16)).Q
    assert abs(float(distill.neighbours(3.0 * wanted @ turned, wanted))) < 1e-4
    assert float(distill.neighbours(torch.randn(12, 16), wanted)) > 0.1


def test_the_cnn_learns_behind_the_map_of_local_matching() -> None:
    student = distill.Distilled(CNN, MODELS, CPU)
    teachers = together.Together([source_of(CNN), source_of(NANO)], [1.0, 1.0], CPU)
    seen = pictures(24)
    whole = teachers.whole(seen)
    teachers.find_space(whole)
    wanted = teachers.reduced(whole)
    student.ready()
    before = {key: value.clone() for key, value in student.net.state_dict().items()}
    tap = student.tap(seen)
    assert torch.allclose(teachers.whole(seen, tap), whole, atol=0.02)
    teachers.nets[0].stem = None  # the map isn't computed twice
    assert torch.allclose(teachers.whole(seen, tap), whole, atol=0.02)
    told = [student.learn(tap, wanted, 3e-4) for _ in range(8)]
    assert told[-1]["apart"] < told[0]["apart"]
    changed = {key for key, value in student.net.state_dict().items() if not torch.equal(value, before[key])}
    first = [key for key in changed if key.startswith("blocks.") and int(key.split(".")[1]) < student.net.TAP]
    assert not first and not [key for key in changed if key.startswith("stem")]
    assert {"embed.weight", "head.conv.weight"} <= changed
    assert torch.equal(student.tap(seen), tap)


def test_the_whole_cnn_learns_where_it_is_asked_to() -> None:
    student = distill.Distilled(CNN, MODELS, CPU, whole=True)
    student.ready()
    before = {key: value.clone() for key, value in student.net.state_dict().items()}
    assert student.tap(pictures(2)) is None
    student.learn(pictures(4), torch.randn(4, 256), 3e-4)
    changed = {key for key, value in student.net.state_dict().items() if not torch.equal(value, before[key])}
    assert [key for key in changed if key.startswith("blocks.3.")] and not [
        key for key in changed if "blocks.2." in key
    ]


def test_a_run_goes_on_and_leaves_what_is_exported(work: Path, tmp_path: Path) -> None:  # noqa: F811
    command = [
        sys.executable, "-m", "shelfmatch.models.distill", NANO, "--stock", work / "stock", "--real", work / "real.npz",
        "--weights", MODELS, "--out", tmp_path, "--pool", 64, "--portions", 4, 2, 5, 2, 0, 2, "--threads", 1, "--workers", 1,
    ]  # fmt: skip
    steps, told = [], []
    (also := tmp_path / f"{NANO}-before.onnx").write_bytes((MODELS / f"{NANO}-fp32.onnx").read_bytes())
    command += ["--also", also, 0.7]
    for seconds in (1, 12):
        done = subprocess.run(
            [*map(str, command), "--seconds", str(seconds)], capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        steps.append(torch.load(tmp_path / f"{NANO}-distill-state.pt", weights_only=True)["steps"])
        told.append("% of the teachers' in 256 directions" in done.stdout)
    assert told == [True, False]  # found once, and kept
    assert "rounded to int8 from here on" in done.stdout
    assert steps[1] > steps[0] > 0
    kept = torch.load(tmp_path / f"{NANO}-distill-state.pt", weights_only=True)["teachers"]
    assert list(kept) == [f"{CNN}-fp32 1", "shelfmatch-vit-fp32 1", f"{NANO}-fp32 0.4", f"{NANO}-before 0.7"]
    also.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {f"{NANO}-distill-state.pt", f"{NANO}-distilled.pt"}
    net = weights_of(NANO, tmp_path / f"{NANO}-distilled.pt")
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 112, 112)).shape == (1, 256)


def test_a_run_that_fails_ends(work: Path, tmp_path: Path) -> None:  # noqa: F811
    other = distill.Distilled(NANO, MODELS, CPU)
    other.teachers = {CNN: "other"}
    other.ready()
    other.keep(tmp_path, torch.zeros(2, 2))
    (damaged := tmp_path / "damaged").mkdir()
    for name in together.SHARES:
        whole = (MODELS / f"{name}-fp32.onnx").read_bytes()
        (damaged / f"{name}-fp32.onnx").write_bytes(whole[:-70_000] if name == NANO else whole)
    command = [
        sys.executable, "-m", "shelfmatch.models.distill", NANO, "--stock", work / "stock", "--real", work / "real.npz",
        "--out", tmp_path, "--pool", 64, "--portions", 4, 2, 5, 2, 0, 2, "--workers", 1, "--weights",
    ]  # fmt: skip
    for words, code, told in (
        ([MODELS], 1, "other teachers' files"),  # found once the processes run
        ([damaged], 2, f"{damaged}: shelfmatch-nano-fp32.onnx is no ONNX file"),
        ([tmp_path], 2, "has no shelfmatch-cnn-fp32.onnx"),
        ([MODELS, "--whole"], 2, "--whole is of the CNN alone"),
        ([MODELS, "--also", "nano.onnx", "0.7"], 2, "--also has nano.onnx; expected a file called by its network"),
        ([MODELS, "--also", f"{NANO}-8aa.onnx", "0.7"], 2, f"has no {NANO}-8aa.onnx"),
        ([MODELS, "--also", MODELS / f"{NANO}-fp32.onnx", "much"], 2, "--also has the share 'much'; expected a number"),
        ([MODELS, "--also", MODELS / f"{NANO}-fp32.onnx", "-1"], 2, "--also has the share -1; expected one above 0"),
        ([MODELS, "--real", tmp_path / "none.npz"], 2, "none.npz is not there"),
    ):
        done = subprocess.run([*map(str, command + words)], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code and told in done.stderr, done.stderr


class Dies:
    """A source of lessons that ends after two, or is killed while it writes one."""

    def __init__(self, writing: bool) -> None:
        self.source, self.student, self.writing, self.left = self, distill.Distilled(CNN, MODELS, CPU), writing, 2
        self.portions = Portions(runs=1, siblings=2, boxes=1, grocery=1, phone=0, local=2)
        self.process = subprocess.Popen(["sleep", "60"])

    def check(self) -> None:
        """The other process is there."""

    def batch(self) -> Any:
        if not self.left:
            if self.writing:
                self.lock.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return torch.ones(8, 96, 10, 10), torch.ones(8, 256)


@pytest.mark.parametrize("writing", [False, True])
def test_lessons_that_come_no_more_are_told(writing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    dies: Any = Dies(writing)
    monkeypatch.setattr(distill, "KEPT", 4)
    taught = distill.Lessons._teach

    def teach(self: Any, fresh: Any) -> None:
        fresh.lock = self._lock
        taught(self, fresh)

    monkeypatch.setattr(distill.Lessons, "_teach", teach)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork of more would wait for threads that it hasn't
    lessons = distill.Lessons(dies, dies, 1)
    try:
        assert os.getpriority(os.PRIO_PROCESS, dies.process.pid) >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        with pytest.raises(RuntimeError, match="asks the teachers has ended"):
            for _ in range(200):
                inputs, wanted = lessons.batch()
                assert inputs.shape == (8, 96, 10, 10) and wanted.shape == (8, 256)
                time.sleep(0.05)
    finally:
        torch.set_num_threads(threads)
        lessons.close()
        dies.process.kill()
        dies.process.wait()


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    student = distill.Distilled(CNN, MODELS, CPU, whole=True)
    student.ready()
    student.keep(tmp_path, torch.zeros(2, 2))
    with pytest.raises(ValueError, match="left by a run with --whole"):
        distill.Distilled(CNN, MODELS, CPU).resume(student.state_in(tmp_path))
    other = distill.Distilled(CNN, MODELS, CPU, whole=True)
    other.teachers = {CNN: "other"}
    with pytest.raises(ValueError, match="other teachers' files"):
        other.resume(student.state_in(tmp_path))
    assert learned_whole(tmp_path / f"{CNN}-distilled.pt")


def test_a_kept_map_stays_while_the_others_are_scaled() -> None:
    net = source_of(CNN)
    seen = pictures(4)
    pixels = seen.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    x = together.sized(torch.from_numpy(pixels.transpose(0, 3, 1, 2)), net)
    with torch.no_grad():
        embeddings, tap = net.mapped(x)
        kept, other = (equalized(net, pixels, EQUALIZED[CNN], keep_tap=keep).mapped(x) for keep in (True, False))
    assert torch.allclose(kept[1], tap, rtol=1e-3, atol=1e-3 * float(tap.abs().max()))
    assert not torch.allclose(other[1], tap, rtol=0.05, atol=0.05 * float(tap.abs().max()))
    for found in (kept[0], other[0]):
        assert torch.nn.functional.cosine_similarity(found, embeddings).min() > 0.9999


def test_a_local_head_moves_to_files_with_the_same_map(tmp_path: Path) -> None:
    for suffix in ("tflite", "onnx"):
        (tmp_path / f"{CNN}.{suffix}").write_bytes((MODELS / f"{CNN}.{suffix}").read_bytes())
    old = MODELS / f"{CNN}.tflite.local"
    written = export_local.write_beside(tmp_path, export_local.from_file(old))
    for path in written:
        shipped = MODELS / path.name
        assert LocalHead.from_bytes(path.read_bytes(), "").card == LocalHead.from_bytes(shipped.read_bytes(), "").card
        assert path.read_bytes() == shipped.read_bytes()
    for wrong, content in (("text.local", b"text"), ("text.pt", b"text"), ("none.pt", None)):
        if content is not None:
            (tmp_path / wrong).write_bytes(content)
        command = [
            sys.executable,
            "-m",
            "shelfmatch.models.export_local",
            "--head",
            str(tmp_path / wrong),
            "--out",
            ".",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2 and f"{wrong} is no local head" in done.stderr, done.stderr
    head = LocalHead.from_bytes(old.read_bytes(), "")
    coarser = head.beside(scale=2 * head.card.scale)
    rng = np.random.default_rng(7)
    tap = rng.integers(-60, 60, (1, 10, 10, 96)).astype(np.int8)
    tap = (tap // 2 * 2 + head.card.zero_point % 2).astype(np.int8)
    half = ((tap.astype(int) - head.card.zero_point) // 2 + head.card.zero_point).astype(np.int8)
    assert np.allclose(coarser.cells(half)[0], head.cells(tap)[0], atol=1e-5)
