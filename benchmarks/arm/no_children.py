"""A pytest plugin for the emulation: no process can be started there, so a build trusts the runtime without trying it in one.

armpython -m pytest -p no_children tests/edge/matching/test_matcher.py       (with this folder in PYTHONPATH)
"""

from __future__ import annotations

from typing import Any

import pytest

from shelfmatch.edge.build import build


@pytest.fixture(autouse=True, scope="session")
def _trusted_runtime() -> None:
    """`build._probe` would start Python; the encoder itself is loaded and run right after."""

    def trusted(card: Any, runtime: str) -> None:
        return None

    build._probe = trusted
