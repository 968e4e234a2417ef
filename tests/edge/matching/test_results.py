"""How sure an answer is, in words."""

from __future__ import annotations

import pytest

from shelfmatch.edge.matching.results import sureness


@pytest.mark.parametrize(
    ("confidence", "said"),
    [(0.0, "0%"), (0.944, "94%"), (0.9949, "99%"), (0.995, "over 99%"), (0.999999, "over 99%"), (1.0, "100%")],
)
def test_only_what_is_certain_is_called_100_percent(confidence: float, said: str) -> None:
    assert sureness(confidence) == said
