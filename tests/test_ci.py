"""`.ci/run` does the slow tests in turns: none may be in no turn."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def places() -> list[Path]:
    """The files and folders of the turns of slow tests."""
    turns = re.findall(r'^    "?slow (tests[^"\n]*)', (CHECKOUT / ".ci" / "run").read_text(), re.MULTILINE)
    return [CHECKOUT / place for turn in turns for place in turn.split()]


def test_every_slow_test_has_its_turn() -> None:
    found = places()
    assert len(found) > 5 and all(place.exists() for place in found)
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        if path != Path(__file__) and "mark.slow" in path.read_text():
            turns = [place for place in found if path.is_relative_to(place)]
            assert len(turns) == 1, f"{path.relative_to(CHECKOUT)} is in {len(turns)} turns of .ci/run; expected one"
