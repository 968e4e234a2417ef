"""The rule that tells photos of nothing: fitted on little, never against the catalogue's own pictures."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmatch.edge.errors import BundleError
from shelfmatch.edge.fitting.blank_fit import ROOM, fit_blank_rule, with_room
from shelfmatch.edge.scoring.blank import BlankRule, Blanks

RANDOM = np.random.default_rng(18)


def around(center: int, count: int, spread: float = 0.2) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(count, 32) unit rows about an axis."""
    rows = RANDOM.normal(0, spread, (count, 32))
    rows[:, center] += 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_nothing_is_told_from_goods_that_the_fit_has_not_seen() -> None:
    rule = fit_blank_rule(around(0, 40), around(1, 60), around(2, 60))
    assert rule is not None
    blanks = Blanks(rule)
    assert not any(blanks.has(row) for row in (*around(0, 50), *around(1, 50)))
    assert all(blanks.has(row) for row in around(2, 50))


def test_a_shop_of_one_picture_does_not_take_all_else_for_nothing() -> None:
    one, goods, nothing = around(0, 1), around(1, 60), around(2, 60)
    rule = fit_blank_rule(one, goods, nothing)
    assert rule is not None
    assert not any(Blanks(rule).has(row) for row in around(1, 50))


def test_pictures_of_the_catalogue_are_never_nothing() -> None:
    nothing = around(2, 60)
    own = np.concatenate([around(0, 30), nothing[:1] * 0.55 + around(0, 1) * 0.45]).astype(np.float32)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    rule = fit_blank_rule(own, around(1, 60), nothing)
    assert rule is not None
    values = own @ rule.numbers()
    assert values.max() <= rule.offset - ROOM + 1e-3
    later = with_room(rule, (values.max() + ROOM / 2) * own[-1:] / values[-1])  # one that is added goes farther
    assert later is not None and later.offset == pytest.approx(rule.offset + ROOM / 2, abs=1e-3)


def test_no_rule_where_the_shop_sells_nothing() -> None:
    nothing = around(2, 60)
    assert fit_blank_rule(nothing[:20], around(1, 60), nothing) is None
    assert fit_blank_rule(nothing[:0], around(1, 60), nothing) is None


def test_a_rule_that_was_tampered_with_is_refused() -> None:
    rule = fit_blank_rule(around(0, 9), around(1, 60), around(2, 60))
    assert rule is not None
    assert BlankRule.from_dict(rule.to_dict(), 32) == rule
    for wrong in ({"direction": rule.direction[:-4]}, {"direction": "%%"}, {"offset": "x"}, {"offset": float("nan")}):
        with pytest.raises(BundleError, match="build the bundle again"):
            BlankRule.from_dict({**rule.to_dict(), **wrong}, 32)
    with pytest.raises(BundleError, match="64 bytes for 16 numbers"):
        BlankRule.from_dict(rule.to_dict(), 16)
