"""The judging generator of shelf life: seeded, exact, and true to its protocol."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge.shelf.planogram import planogram_of

pytest.importorskip("cv2", reason="needs OpenCV: pip install 'shelfmatch[fast]'")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, from its folder, which is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("shelf_judge")
    for name in set(sys.modules) - before:
        if name.startswith("shelf_"):
            del sys.modules[name]


def test_the_same_seed_gives_the_same_frames(judge: Any, tmp_path: Path) -> None:
    one, again, other = (judge.life(seed=seed, hours=0.5, slots=12, events=6) for seed in (4, 4, 5))
    frames = list(itertools.islice(one.frames(), 30))
    for (frame, truth), (same, same_truth), (unlike, _) in zip(frames, again.frames(), other.frames(), strict=False):
        assert np.array_equal(frame.pixels, same.pixels) and truth == same_truth
        assert frame.pixels.shape == (960, 1280, 3) and not np.array_equal(frame.pixels, unlike.pixels)
    for frame, truth in frames[:6]:  # as in the reference, and nobody there
        difference = np.abs(frame.pixels.astype(int) - one.full.astype(int)).mean()
        assert difference < 6 and not truth.hidden and truth.camera == "ok"
        assert {slot.state for slot in truth.slots.values()} == {"full"}
    plan = planogram_of(one.plan)
    assert len(plan.slots) == 12
    one.catalogue(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= set(plan.skus)
    assert one.empty is not None and other.empty is None


def test_a_day_has_its_events(judge: Any) -> None:
    one = judge.life(seed=6)
    now = {place.id: judge.truth_of(place, one._first[n], one._catalogue) for n, place in enumerate(one._places)}
    changes = 0
    for move in one._moves:
        place = one._places[move.slot]
        truth = judge.truth_of(place, move.facings, one._catalogue)
        assert ((truth.state, truth.by) != (now[place.id].state, now[place.id].by)) <= move.is_event
        changes += (truth.state, truth.by) != (now[place.id].state, now[place.id].by)
        now[place.id] = truth
    assert 270 <= changes <= 320
    assert {"moved", "covered", "frozen", "dark"} <= set(one._states.values())
    calm = judge.life(seed=6, uneventful=True)
    assert not calm._moves and set(calm._states.values()) == {"dark"}
    assert np.abs(calm._poses[:, 0]).max() <= 128 and np.abs(calm._poses[:, 0]).max() > 10
