"""How many photos a kiosk works on at one time, where nobody says."""

from __future__ import annotations

import os

import pytest

from shelfmatch.edge.kiosk.kiosk import workers_here
from shelfmatch.edge.machine.memory import Memory


@pytest.mark.parametrize(
    ("cores", "total_mb", "workers"),
    [(4, 475, 2), (4, 767, 2), (4, 768, 4), (16, 8000, 4), (1, 475, 1), (2, 8000, 2), (4, None, 4)],
)
def test_little_memory_has_two_workers(
    cores: int, total_mb: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    found = None if total_mb is None else Memory(total_mb << 20, total_mb << 19)
    assert workers_here(found) == workers
