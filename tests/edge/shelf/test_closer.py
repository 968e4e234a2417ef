"""A closer look names what stands in a facing as `match` names a photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shelfmatch.edge.imaging.image import Limits
from shelfmatch.edge.matching.locate import named
from shelfmatch.edge.shelf import closer
from tests.support.shelf import SmallShelf


def test_a_closer_look_is_as_sure_as_a_match_of_the_same_part(
    shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked for one candidate, and without a second one a lead is measured against any other product of the shop."""
    seen: list[tuple[Any, float]] = []

    def noted(snapshot: Any, pixels: Any, *rest: Any) -> Any:
        found = named(snapshot, pixels, *rest)
        assert found is not None
        seen.append((pixels, found[1][0].confidence))
        return found

    monkeypatch.setattr(closer, "named", noted)
    look = closer.CloserLook(shelf.matcher.snapshot)
    for slot in shelf.plan.slots:
        look(shelf.full, np.array(slot.polygon, np.float64))
    assert len(seen) > 5
    for pixels, confidence in seen:
        first = named(shelf.matcher.snapshot, pixels, Limits(), 5, None, None)
        assert first is not None and confidence == pytest.approx(first[1][0].confidence, abs=1e-6)
