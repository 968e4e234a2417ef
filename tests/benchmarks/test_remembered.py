"""benchmarks/remembered.py: a photo runs through an encoder's file once, and comes out the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_same_photo_runs_once_and_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    remembered: Any = importlib.import_module("remembered").remembered
    photos = [np.full((90, 70, 3), level, np.uint8) for level in (20, 200)]
    encoder = Encoder.load("shelfmatch-nano")
    plain, run, ran = encoder.embed(*photos), Encoder._run, []

    def counted(self: Any, value: Any, *, check: bool) -> Any:
        ran.append(1)
        return run(self, value, check=check)

    monkeypatch.setattr(Encoder, "_run", counted)
    for _ in range(2):
        with remembered(tmp_path / "kept.sqlite"):
            assert (encoder.embed(*photos, photos[0]) == plain[[0, 1, 0]]).all()
    assert len(ran) == 2
    assert Encoder._run is counted
